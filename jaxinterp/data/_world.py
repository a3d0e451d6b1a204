"""The embedded concept world: pictures drawn by a program, with exact pixel labels in all six categories of Broden."""

import dataclasses
from typing import NamedTuple

from jaxinterp.data._concepts import ConceptTable
from jaxinterp.data._fingerprint import digest
from jaxinterp.data._source import Example
from jaxinterp.data._world_classes import KINDS, SCENES, clutter, placed
from jaxinterp.data._world_depth import DEPTH_VERSION, render_depth
from jaxinterp.data._world_draws import Draws, balanced
from jaxinterp.data._world_render import draw_style, render, world_concepts
from jaxinterp.data._world_sketch import Sketch
from jaxinterp.data._world_textures import TEXTURES

VERSION = 1
"""Version of the drawings; it changes whenever a pixel or a label could change, and with it the fingerprint."""

_SCENES = tuple(SCENES)


class Plan(NamedTuple):
    """What one picture shows: the class, the scene, the texture of the object and that of the walls of the scene."""

    label: int
    scene: str
    texture: str
    wall: str


@dataclasses.dataclass(frozen=True)
class ConceptWorld:
    """A source of drawn pictures of 24 classes, made when they are asked for; see `concept_world`.

    Attributes:
        seed: names the world; another seed gives other pictures of the same classes and concepts.
        num_images: how many examples it has.
        image_size: side of the pictures in pixels.
        confounding: how strongly texture and scene are tied to the class, 0 to 1.
        background_only: whether the object is left out.
        first: id of the example at index 0.
        depth: whether the examples have depth.
    """

    seed: int
    num_images: int
    image_size: int
    confounding: float
    background_only: bool
    first: int
    depth: bool = False

    @property
    def classes(self) -> tuple[str, ...]:
        """WordNet ids; a label is an index into this."""
        return tuple(kind.wnid for kind in KINDS)

    @property
    def class_names(self) -> tuple[str, ...]:
        """What people call the classes."""
        return tuple(kind.name for kind in KINDS)

    @property
    def concepts(self) -> ConceptTable:
        """What the numbers of the concept maps mean; layer `l` of a map is category `CATEGORIES[l]`."""
        return world_concepts()

    @property
    def fingerprint(self) -> str:
        """Hex digest of everything that the pictures depend on, the version of the drawings included."""
        knobs = dataclasses.asdict(self)
        if not knobs.pop("depth"):
            return digest("concept world", VERSION, knobs)
        return digest("concept world", VERSION, knobs, "depth", DEPTH_VERSION)

    def __len__(self) -> int:
        return self.num_images

    def __getitem__(self, index: int, /) -> Example:
        """The example at an index; a picture depends on the seed, on `first + index` and on the knobs, on nothing else."""
        if not 0 <= index < self.num_images:
            raise IndexError(f"expected an index of 0 .. {self.num_images - 1}, got {index}")
        number = self.first + index
        plan = plan_of(self.seed, number, self.confounding)

        setting = Draws(self.seed, number, "background")
        backdrop, litter = Sketch(setting, textures=TEXTURES, texture=plan.wall), Sketch(setting, textures=TEXTURES)
        SCENES[plan.scene](backdrop)
        main = [colour for shape in backdrop.shapes[:3] for colour in (shape.paint.colour, shape.paint.accent)]
        clutter(litter)
        style = draw_style(setting)
        kind, thing = KINDS[plan.label], []
        if not self.background_only:
            draws = Draws(self.seed, number, "object")
            sketch = Sketch(draws, textures=TEXTURES, texture=plan.texture, avoid=main)
            kind.draw(sketch)
            thing = placed(sketch.shapes, draws, kind.turn)
        image, concepts = render(
            [*backdrop.shapes, *litter.shapes], thing, scene=plan.scene, name=kind.name, style=style, size=self.image_size
        )
        depth = None
        if self.depth:
            depth = render_depth(plan.scene, backdrop.shapes, litter.shapes, thing, size=self.image_size)
        return Example(image, plan.label, -1, number, number, concepts, depth)


def plan_of(seed: int, number: int, confounding: float) -> Plan:
    """What the picture of that number shows, with every choice balanced over aligned blocks of numbers."""
    label = balanced(number, len(KINDS), seed, "label")
    scene = balanced(number, len(_SCENES), seed, "scene")
    texture = balanced(number, len(TEXTURES), seed, "texture")
    wall = balanced(number, len(TEXTURES), seed, "wall")
    tied = Draws(seed, number, "confounding")
    scene = label if tied.coin(confounding) else scene
    texture = label if tied.coin(confounding) else texture
    return Plan(label, _SCENES[scene], TEXTURES[texture], TEXTURES[wall])


def concept_world(
    *,
    seed: int,
    num_images: int,
    image_size: int = 64,
    confounding: float = 0.0,
    background_only: bool = False,
    first: int = 0,
    depth: bool = False,
) -> ConceptWorld:
    """The embedded concept world: pictures of 24 WordNet classes with exact pixel labels.

    Each picture is a scene, some clutter and one object, drawn from parts that several classes share (wheel, leg, wing,
    leaf, window ...), with free colour, texture, material, pose, size and position. The concept map `[h w 6]` holds one
    layer per category, in the order of `CATEGORIES`: color by the pixel's RGB value, texture and material of the surface,
    the scene over the whole picture, the part and the object. Every class, and where `confounding` is 0 every scene, is
    equally often in each aligned block of ids, so each scene and each texture covers less than 5 % of the pixels that
    its category labels; a concept that covers more cannot reach the IoU of a detector.

    The picture with id `first + i` is the same in every world of that seed, size and confounding, however many images
    the world has: disjoint ranges of ids are disjoint splits.

    Args:
        seed: names the world.
        num_images: how many examples.
        image_size: side of the pictures in pixels, 32 to 256; the same picture is drawn at every size.
        confounding: probability that the scene, and independently the object's texture, is the one tied to its class
            instead of any; 0 makes them independent of the class, 1 determines them by it.
        background_only: leaves out the object and nothing else, which shows what can be read off the background.
        first: id of the first example.
        depth: give every example a depth map too, see `WORLD_DEPTH`; pictures and labels stay the same.

    Returns:
        A `Source`; the object's class name is a concept of category "object".

    Raises:
        ValueError: for a knob out of its range.

    Example:
        >>> example = concept_world(seed=0, num_images=10)[3]
        >>> example.image.shape, example.concepts.shape
        ((64, 64, 3), (64, 64, 6))
    """
    if num_images < 0:
        raise ValueError(f"expected num_images >= 0, got {num_images}; write how many pictures you want.")
    if not 32 <= image_size <= 256:
        raise ValueError(f"expected image_size of 32 to 256 pixels, got {image_size}; write image_size=64.")
    if not 0 <= confounding <= 1:
        raise ValueError(f"expected confounding in [0, 1], got {confounding}; write 0.0 for none.")
    if first < 0:
        raise ValueError(f"expected first >= 0, got {first}; ids count from 0.")
    return ConceptWorld(seed, num_images, image_size, float(confounding), background_only, first, depth)
