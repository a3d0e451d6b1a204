"""Dissection of several layers of a network at once over a source with concept labels, in passes of bounded memory."""

import contextlib
import math
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh
from jaxtyping import Float32

from jaxinterp import _mesh, activations, data, metrics
from jaxinterp._base import Model, Statistic
from jaxinterp.activations import MaskSet, Tally, TopK
from jaxinterp.data import Source
from jaxinterp.pipelines._beyond_iou import BeyondIoU, beyond_iou
from jaxinterp.pipelines._dissection_settings import Dissection
from jaxinterp.pipelines._kept_maps import KeptMaps, kept_maps
from jaxinterp.pipelines._passes import computed, fold, renumbered

_BEYOND = 1
"""Folded into a layer's key for what goes beyond one concept."""

Thresholds = Mapping[str, Float32[np.ndarray, " u"]]
"""Layer -> T_k of its units."""


class LayerDissection(NamedTuple):
    """What the units of one layer answer to.

    Attributes:
        thresholds: T_k.
        top: the images that each unit answers to most.
        tally: the pixel counts over all images.
        detectors: what each unit detects.
        own: the same with the thresholds of these images, a second reading where others were given.
        null: the same counts on a sample of the images, beside what permuted label maps give.
        stability: what becomes of each unit's concept when the images of the sample are resampled.
        masks: masks and label maps of that sample.
        beyond: formulas and average precision on that sample; None where the settings leave them out.
    """

    thresholds: Float32[np.ndarray, " u"]
    top: TopK
    tally: Tally
    detectors: metrics.Detectors
    own: metrics.Detectors
    null: metrics.PermutedNull
    stability: metrics.LabelStability
    masks: MaskSet
    beyond: BeyondIoU | None


def dissect_layers(
    key: Array,
    model: Model,
    source: Source,
    *,
    layers: tuple[str, ...],
    settings: Dissection,
    thresholds: Thresholds | None = None,
    mesh: Mesh | None = None,
    scratch: pathlib.Path | None = None,
    title: str = "dissect",
) -> dict[str, LayerDissection]:
    """What the units of some layers answer to, over a source with concept labels.

    Three passes serve all layers: two count the exact thresholds, the first of them keeps the top images (and counts the
    overlaps at thresholds that are given), the third counts the overlaps. A fourth goes over the sample of the null, layer by
    layer. Memory does not grow with the number of images, only with that of the sample. Given a folder for the maps, the
    network runs in the first pass alone; the figures are the same.

    Args:
        key: of the permutations behind the null, and of the resamples.
        model: the network.
        source: images with concept labels.
        layers: the layers; names of the model.
        settings: quantile, anchor, sizes, draws. Its `source`, `layers`, `num_images` and `adversarial` are not looked at.
        thresholds: T_k of every layer from another set of images; None for those of these images.
        mesh: the devices; all of them by default.
        scratch: a folder in which maps are kept between passes, see `settings.max_kept_bytes`; None computes them anew.
        title: of the progress bars.

    Returns:
        The dissection of each layer.

    Raises:
        ValueError: a source without concept labels, images of another size than the model's, an unknown layer, activations
            that are not finite.

    References:
        David Bau, Bolei Zhou, Aditya Khosla, Aude Oliva, Antonio Torralba, "Network Dissection: Quantifying
        Interpretability of Deep Visual Representations", 2017, section 2.
    """
    found = _Passes(model, source, layers, settings, _mesh.data_parallel(mesh), title)
    with found.keeping(scratch):
        return _dissected(key, found, settings, thresholds)


def _dissected(key: Array, found: "_Passes", settings: Dissection, thresholds: Thresholds | None) -> dict[str, LayerDissection]:
    top, given, own = found.thresholds(thresholds)
    tallies = found.tallies(own)
    known = own if thresholds is None else thresholds
    knobs = {"threshold": settings.iou_threshold, "min_images": settings.min_images}
    results = {}
    for number, layer in enumerate(layer.name for layer in found.layers):
        (masks, pooled), key_of_layer = found.sample(layer, known[layer]), jax.random.fold_in(key, number)
        tally = given.get(layer, tallies[layer])
        results[layer] = LayerDissection(
            thresholds=np.asarray(known[layer]),
            top=top[layer],
            tally=tally,
            detectors=metrics.detectors(tally, **knobs),
            own=metrics.detectors(tallies[layer], **knobs),
            null=metrics.permuted_null(
                key_of_layer,
                masks,
                found.categories,
                num_draws=settings.num_null_draws,
                area_rule=settings.area_rule,
                **knobs,
            ),
            stability=metrics.label_stability(
                np.random.default_rng(np.asarray(jax.random.key_data(key_of_layer))),
                masks,
                found.categories,
                num_draws=settings.num_bootstrap_draws,
                **knobs,
            ),
            masks=masks,
            beyond=beyond_iou(
                jax.random.fold_in(key_of_layer, _BEYOND),
                masks,
                pooled,
                found.categories,
                num_draws=settings.num_formula_draws,
                min_images=settings.min_images,
            )
            if pooled is not None
            else None,
        )
    return results


class _Passes:
    """The passes over one source for some layers of one network."""

    def __init__(
        self, model: Model, source: Source, layers: tuple[str, ...], settings: Dissection, mesh: Mesh, title: str
    ) -> None:
        if source.concepts is None or (example := source[0].concepts) is None:
            raise ValueError("expected images with concept labels, got none; take a source such as data.broden(...).")
        if source.image_size != model.image_size:
            raise ValueError(
                f"expected images of {model.image_size} px, got {source.image_size}; "
                f"write models.at_size(model, {source.image_size})."
            )
        self.model, self.source, self.settings, self.mesh, self.title = model, source, settings, mesh, title
        self.layers = [model.layer(layer) for layer in layers]
        self.categories = source.concepts.categories
        self.label_size = settings.label_size or example.shape[0]
        self.label_layers = example.shape[2]
        self.batch_size = _mesh.rounded(settings.batch_size, mesh)
        self.num_top = min(settings.num_top, len(source))
        self.kept: KeptMaps | None = None

    @contextlib.contextmanager
    def keeping(self, folder: pathlib.Path | None) -> Iterator[None]:
        """While it lasts, the maps of the first pass serve the others, where there is a folder with room for them."""
        size = 4 * len(self.source) * sum(math.prod(layer.shape) for layer in self.layers)
        if folder is None or size > min(self.settings.max_kept_bytes, shutil.disk_usage(folder).free / 2):
            yield
            return
        with kept_maps(folder, [layer.name for layer in self.layers]) as self.kept:
            yield
        self.kept = None

    def thresholds(self, given: Thresholds | None) -> tuple[dict[str, TopK], dict[str, Tally], Thresholds]:
        """The top images, the overlaps at given thresholds, and the thresholds of these images, in two passes."""
        top = [activations.top_k(layer.name, num_units=layer.shape[2], k=self.num_top) for layer in self.layers]
        coarse = [
            activations.quantile_coarse(layer.name, num_units=layer.shape[2], quantile=self.settings.quantile)
            for layer in self.layers
        ]
        tallies = self._tallies(given) if given is not None else []
        found = self._fold((*coarse, *top, *tallies), "thresholds 1/2", read_concepts=bool(tallies), first=True)
        count = len(self.layers)
        high = found[:count]
        fine = [activations.quantile_fine(layer.name, one) for layer, one in zip(self.layers, high, strict=True)]
        own = self._named(self._fold(tuple(fine), "thresholds 2/2"))
        return self._named(found[count : 2 * count]), self._named(found[2 * count :]) if tallies else {}, own

    def tallies(self, thresholds: Thresholds) -> dict[str, Tally]:
        """The overlaps of every layer, in one pass."""
        return self._named(self._fold(tuple(self._tallies(thresholds)), "overlaps", read_concepts=True))

    def sample(self, name: str, thresholds: Float32[np.ndarray, " u"]) -> tuple[MaskSet, Float32[np.ndarray, "n u"] | None]:
        """Masks and label maps of the sample on which the null is counted, and maxima where they are asked for.

        Images are named by their place in the sample.
        """
        sample, layer = data.spread(self.source, self.settings.num_null_images), self.model.layer(name)
        masks = activations.masks(
            layer,
            thresholds=thresholds,
            num_images=len(sample),
            label_layers=self.label_layers,
            label_size=self.settings.null_label_size or max(1, self.label_size // 2),
            image_size=self.source.image_size,
            anchor=self.settings.anchor,
        )
        further = (
            (activations.pooled(name, num_units=layer.shape[2], num_images=len(sample)),)
            if self.settings.num_formula_draws
            else ()
        )
        found = fold(
            self.model,
            (name,),
            renumbered(sample),
            (masks, *further),
            mesh=self.mesh,
            batch_size=self.batch_size,
            title=f"{self.title} {name} null",
            read_images=not self.kept,
            maps=self.kept.reading((name,), sample.indices, self.batch_size) if self.kept else None,
        )
        return found[0], found[1] if further else None

    def _tallies(self, thresholds: Thresholds) -> list[Statistic]:
        return [
            activations.tally(
                layer,
                thresholds=thresholds[layer.name],
                categories=self.categories,
                label_size=self.label_size,
                image_size=self.source.image_size,
                anchor=self.settings.anchor,
                area_rule=self.settings.area_rule,
            )
            for layer in self.layers
        ]

    def _named(self, results: tuple[Any, ...]) -> dict[str, Any]:
        return {layer.name: result for layer, result in zip(self.layers, results, strict=True)}

    def _fold(
        self, statistics: tuple[Statistic, ...], what: str, *, read_concepts: bool = False, first: bool = False
    ) -> tuple[Any, ...]:
        names = tuple(layer.name for layer in self.layers)
        maps = None
        if self.kept:
            every = range(len(self.source))
            maps = self.kept.keeping(computed(self.model, names)) if first else self.kept.reading(names, every, self.batch_size)
        return fold(
            self.model,
            names,
            self.source,
            statistics,
            mesh=self.mesh,
            batch_size=self.batch_size,
            title=f"{self.title} {what}",
            read_concepts=read_concepts,
            read_images=first or not self.kept,
            maps=maps,
            batches=self.kept.batches() if self.kept and not first and not read_concepts else None,
        )
