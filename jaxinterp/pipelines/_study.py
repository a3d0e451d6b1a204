"""What a recipe builds: a study, its members and how they are trained."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import optax

from jaxinterp import attacks, metrics
from jaxinterp._base import Attack, Model
from jaxinterp.data import Augment, Source
from jaxinterp.pipelines._dissection_settings import Dissection
from jaxinterp.pipelines._gates_settings import Gates
from jaxinterp.pipelines._occlusion_settings import Occlusion
from jaxinterp.pipelines._transfer_settings import Transfer
from jaxinterp.training import Objective


@dataclasses.dataclass(frozen=True)
class Member:
    """One network of a study.

    Attributes:
        name: names it in every table and file.
        build: makes the model; called when its weights are needed, and under `models.abstract` for its shapes.
        layer: the layer whose units are studied.
    """

    name: str
    build: Callable[[], Model]
    layer: str


@dataclasses.dataclass(frozen=True)
class Training:
    """How every member of a study is trained.

    Attributes:
        source: builds the training images.
        objective: `(member) -> objective`.
        optimizer: `(member) -> optax transformation`.
        num_steps: `(member) -> how many steps`.
        batch_size: images in a step, over all devices.
        seed: of the order of the images and of every draw.
        num_checkpoints: how many checkpoints are written on the way, evenly spaced.
        flip: mirror every other image, at random.
        augment: changes every image at random after that, see `data.training_batches`; None takes them as they are.
        start: `(member, model) -> model`, the network that is trained in the member's place; None trains the member itself.
        finish: `(member, model) -> model`, turns what was trained into a network like the member; None keeps it.
    """

    source: Callable[[], Source]
    objective: Callable[[Member], Objective]
    optimizer: Callable[[Member], optax.GradientTransformation]
    num_steps: Callable[[Member], int]
    batch_size: int = 64
    seed: int = 0
    num_checkpoints: int = 4
    flip: bool = False
    augment: Augment | None = None
    start: Callable[[Member, Model], Model] | None = None
    finish: Callable[[Member, Model], Model] | None = None


@dataclasses.dataclass(frozen=True)
class Robustness:
    """What the table of accuracies is made of.

    Attributes:
        epsilon: radius of FGSM and of PGD, in [0, 1] units.
        num_images: how many held-out images are attacked.
        num_steps: of PGD.
        num_restarts: random starts of PGD; an image counts as right only if it is after all of them.
        transferred_from: builds another network, whose adversarial images (MI-FGSM, ten steps, the same radius) are tried too:
            accuracy under a black box. It sees images of the same size and knows the same classes. None leaves it out.

    Raises:
        ValueError: epsilon outside (0, 1], or less than one start.
    """

    epsilon: float
    num_images: int
    num_steps: int = 20
    num_restarts: int = 1
    transferred_from: Callable[[], Model] | None = None

    def __post_init__(self) -> None:
        if not 0 < self.epsilon <= 1:
            raise ValueError(f"expected epsilon in (0, 1], got {self.epsilon:g}; write {self.epsilon:g}/255.")
        if self.num_restarts < 1:
            raise ValueError(f"expected num_restarts of at least 1, got {self.num_restarts}.")


@dataclasses.dataclass(frozen=True)
class Standard:
    """A threat model, and the attacks that stand for it.

    Attributes:
        epsilon: radius in [0, 1] units.
        norm: "linf" or "l2".
        num_images: how many held-out images are attacked, spread evenly over them; None for all.
        num_steps: of APGD and of FAB-T.
        num_targets: classes that APGD-T and FAB-T are driven to, at most all wrong ones.
        max_queries: of Square.
        num_draws: for networks that draw at random: over how many draws gradients and predictions are averaged. The attacks
            then are those of `attacks.standard_attacks_on_draws`. 0 for networks that draw nothing.
        batch_size: images in a batch.

    Raises:
        ValueError: a radius that is none in that norm, another norm, or a number below 1.
    """

    epsilon: float
    norm: str = "linf"
    num_images: int | None = None
    num_steps: int = 100
    num_targets: int = 9
    max_queries: int = 5000
    num_draws: int = 0
    batch_size: int = 100

    def __post_init__(self) -> None:
        self.attacks(self.num_targets + 1)
        if self.num_draws < 0:
            raise ValueError(f"expected num_draws >= 0, got {self.num_draws}; write num_draws=20, or 0 where nothing is drawn.")
        for name in ("num_images", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"expected {name} of at least 1, got {value}.")

    def attacks(self, num_classes: int) -> tuple[attacks.StandardAttack, ...]:
        """The attacks in their order, the same objects for equal settings, so that what was compiled is used again."""
        num_targets = min(self.num_targets, num_classes - 1)
        return _attacks(self.epsilon, self.norm, self.num_steps, num_targets, self.max_queries, self.num_draws)


@functools.lru_cache(maxsize=16)
def _attacks(epsilon: float, norm: str, *numbers: int) -> tuple[attacks.StandardAttack, ...]:
    num_steps, num_targets, max_queries, num_draws = numbers
    if num_draws > 0:
        return attacks.standard_attacks_on_draws(epsilon, norm=norm, num_steps=num_steps, num_samples=num_draws)
    return attacks.standard_attacks(epsilon, norm=norm, num_steps=num_steps, num_targets=num_targets, max_queries=max_queries)


@dataclasses.dataclass(frozen=True)
class Study:
    """The paper's whole study of an ensemble of networks.

    Attributes:
        title: heads the page.
        description: one line under the title.
        methods: the methods paragraph, as `report.methods_paragraph` writes it.
        members: the networks, which are also the ensemble that is attacked.
        source: builds the images that are analysed and attacked; None for a study of concept images alone.
        attack: `(phase) -> attack` on the tuple of the members' models; phase is "normal" or "robust".
        num_targets: least-likely classes an image is driven to.
        num_attacked: how many images of `source` are attacked, spread evenly over it; None for all.
        held_out: builds the images on which accuracy is measured; None measures it on `source`.
        background: builds the same held-out images without their objects; None where that cannot be had.
        pretraining: how the members are trained before anything else; None takes them as built.
        finetuning: adversarial training of the members after the first analysis; None ends the study there.
        robustness: the table of accuracies; None leaves it out.
        standard: the threat model of the standard evaluation; None leaves it out.
        transfer: which members are attacked for the matrix of transfer, and how; None leaves it out.
        dissection: the concept set that the members are dissected over, apart from `source`; None leaves it out.
        occlusion: marks in the galleries of the members' own layers what a unit needs of an image, by sliding an occluder;
            None marks where its map is high.
        gates: how the units of the members' layers are asked for the classes that they speak for; None leaves it out.
        shard_size: adversarial images in a shard.
        batch_size: images in a batch, over all devices.
        attack_batch_size: the same for the attack.
        num_traced: adversarial images over which tracing is measured; patching counts those of them that the attack turned.
        num_null_draws: permutations of the label maps behind each detector count.
        num_null_images: images on which that null is counted, spread evenly over the set.
        label_size: side of the label maps that units are compared with, in pixels; half of the images' by default, as
            in Broden.
        num_bootstrap_draws: resamples of the source images behind the intervals of LC and CS.
        min_class_images: where a class has fewer images, classes are merged along WordNet before LC, CS and r.
        min_images: the least number of images of a merged class.
        similarity: of classes, in LC and in the smoothed CS: "path" by the length of paths, "wu_palmer" or "lin"; see
            `metrics.taxonomy_similarity`. "lin" counts the images of each class.
        hierarchy: a file of a hierarchy of one's own whose nodes are the source's classes, see `metrics.read_hierarchy`; None
            for WordNet.
        sigma: of "path", in edges.
        iou_threshold: a unit detects a concept above this IoU.
        seed: of every draw of the analysis and of the attack.
    """

    title: str
    description: str
    methods: str
    members: tuple[Member, ...]
    source: Callable[[], Source] | None
    attack: Callable[[str], Attack]
    num_targets: int
    num_attacked: int | None = None
    held_out: Callable[[], Source] | None = None
    background: Callable[[], Source] | None = None
    pretraining: Training | None = None
    finetuning: Training | None = None
    robustness: Robustness | None = None
    standard: Standard | None = None
    transfer: Transfer | None = None
    dissection: Dissection | None = None
    occlusion: Occlusion | None = None
    gates: Gates | None = None
    shard_size: int = 256
    batch_size: int = 128
    attack_batch_size: int = 64
    num_traced: int = 240
    num_null_draws: int = 20
    num_null_images: int = 1000
    label_size: int | None = None
    num_bootstrap_draws: int = 200
    min_class_images: int = 10
    min_images: int = 20
    similarity: metrics.Measure = "path"
    hierarchy: str | None = None
    sigma: float = 2.0
    iou_threshold: float = 0.04
    seed: int = 0

    def __post_init__(self) -> None:
        names = [member.name for member in self.members]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"expected members of different names, got {names}.")
        if self.transfer:
            self.transfer.check_members(names)
        if self.dissection:
            self.dissection.check_members(names)
        self._check_source()
        for name in ("num_targets", "shard_size", "batch_size", "attack_batch_size", "num_traced"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected {name} of at least 1, got {getattr(self, name)}.")

    def stage_names(self) -> tuple[str, ...]:
        """The stages of this study in the order in which they run."""
        stages = []
        for phase in ("normal", "robust") if self.finetuning else ("normal",):
            if phase == "robust" or self.pretraining:
                stages.append(f"train.{phase}")
            stages += [name if name == "inspect" else f"{name}.{phase}" for name in self._measured(phase)]
        return (*stages, "trace") if self.source else tuple(stages)

    def _measured(self, phase: str) -> tuple[str, ...]:
        """What is measured of the networks of a phase, in order."""
        analysis = ("generate", "dissect", "consistency") if self.source else ()
        beside = (("evaluate", self.robustness), ("robustness", self.standard), ("transfer", self.transfer))
        accuracies = tuple(name for name, settings in beside if settings)
        concepts = tuple(name for name, settings in (("concepts", self.dissection), ("gates", self.gates)) if settings)
        if phase == "normal":
            return (*(("inspect",) if self.source else ()), *analysis, *accuracies, *concepts)
        return (*accuracies, *analysis, *concepts)

    def _check_source(self) -> None:
        """Raises `ValueError` where a stage has no images."""
        if self.source is not None:
            return
        if self.dissection is None and self.gates is None:
            raise ValueError("expected source= or dissection=, got neither; a study needs images.")
        asked = [name for name in ("robustness", "standard", "transfer", "gates") if getattr(self, name) is not None]
        if asked and self.held_out is None:
            raise ValueError(f"expected images for {asked[0]}, got none; give the study held_out= or source=.")

    def described(self) -> dict[str, Any]:
        """The fields that are plain numbers or text."""
        return {
            field.name: value
            for field in dataclasses.fields(self)
            if isinstance(value := getattr(self, field.name), int | float | str | None)
        }
