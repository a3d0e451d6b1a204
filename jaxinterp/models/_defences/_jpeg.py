"""JPEG, differentiable."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxinterp._base import Model
from jaxinterp.models._defences._defended import defended
from jaxinterp.models._defences._rounding import round_through

LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
"""The quantisation tables of the standard's annex K, for quality 50; the row is the vertical frequency."""

TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))
"""Of JFIF; the second and third of Y, Cb, Cr are stored plus 128."""

HIGHEST = jax.lax.Precision.HIGHEST
"""Half precision in the transforms would change what is rounded."""


@dataclasses.dataclass(frozen=True)
class Jpeg:
    """What a JPEG file keeps of the image, decoded."""

    quality: int
    chroma_subsampling: bool

    def __call__(self, key: Array | None, image: Array) -> Array:
        """The decoded image, of 8-bit values."""
        height, width, channels = image.shape
        values = jnp.clip(round_through(image * 255), 0, 255)
        bright, colour = quantisation_tables(self.quality)
        if channels == 1:
            return _coded(values[..., 0], bright)[..., None] / 255
        if channels != 3:
            raise ValueError(f"expected images of 1 or 3 channels for JPEG, got {channels}.")
        centre = jnp.asarray((0, 128, 128), image.dtype)[None, None]
        ycc = jnp.clip(round_through(_mixed(values, TO_YCC) + centre), 0, 255)
        planes = [_coded(ycc[..., 0], bright)]
        for index in (1, 2):
            plane = ycc[..., index]
            plane = _doubled(_coded(_halved(plane), colour)) if self.chroma_subsampling else _coded(plane, colour)
            planes.append(plane[:height, :width])
        decoded = _mixed(jnp.stack(planes, axis=-1) - centre, TO_RGB)
        return jnp.clip(round_through(decoded), 0, 255) / 255


def with_jpeg(model: Model, *, quality: int = 75, chroma_subsampling: bool = True) -> Model:
    """The model behind JPEG: colours to Y, Cb, Cr, cosine transforms of 8 x 8 blocks, rounding to multiples of a table.

    The decoded image is that of libjpeg up to a few grey levels, by which its integer transforms differ. The gradient passes
    every rounding as if it were the identity. The entropy coding loses nothing and is left out.

    Args:
        model: any model of colour or grey images.
        quality: 1 to 100, what scales the tables of the standard, by the formula of the Independent JPEG Group.
        chroma_subsampling: keep Cb and Cr at half the resolution (4:2:0), as most encoders do at this quality; they come back
            by linear interpolation.

    Returns:
        A model; see `defended`.

    Raises:
        ValueError: a quality outside 1 to 100; images that have neither one nor three channels.

    Example:
        >>> import jax, jaxinterp as ji
        >>> model = ji.models.with_jpeg(ji.models.cifar_resnet20(key=jax.random.key(0)), quality=75)
        >>> model(jax.numpy.zeros((2, 32, 32, 3)))[0].shape
        (2, 10)

    References:
        G. K. Dziugaite, Z. Ghahramani, D. M. Roy, "A Study of the Effect of JPG Compression on Adversarial Images", 2016.
        C. Guo, M. Rana, M. Cisse, L. van der Maaten, "Countering Adversarial Images using Input Transformations", ICLR 2018.
        ITU-T T.81, 1992, annexes A and K (transform and tables). A. Athalye, N. Carlini, D. Wagner, "Obfuscated Gradients
        Give a False Sense of Security", ICML 2018, section 4.1 (the straight-through gradient).
    """
    if quality not in range(1, 101):
        raise ValueError(f"expected quality in 1 to 100, got {quality}; write quality=75.")
    return defended(model, Jpeg(int(quality), chroma_subsampling))


def quantisation_tables(quality: int) -> tuple[np.ndarray, np.ndarray]:
    """The tables of luminance and chrominance `[8 8]`, row by vertical frequency, that libjpeg uses at this quality."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    bright, colour = (np.clip((np.asarray(table) * percent + 50) // 100, 1, 255) for table in (LUMINANCE, CHROMINANCE))
    return bright, colour


def _coded(plane: Array, table: np.ndarray) -> Array:
    """A plane `[h w]` of 0 to 255 after the rounding of its cosine transform, the border repeated to whole blocks."""
    height, width = plane.shape
    padded = jnp.pad(plane, ((0, -height % 8), (0, -width % 8)), mode="edge") - 128
    blocks = padded.reshape(padded.shape[0] // 8, 8, padded.shape[1] // 8, 8)
    cosines, steps = jnp.asarray(_COSINES, plane.dtype), jnp.asarray(8 * table, plane.dtype)[None, :, None, :]
    waves = jnp.einsum("ui,aibj,vj->aubv", cosines, blocks, cosines, precision=HIGHEST)
    kept = round_through(waves / steps) * steps / 64
    blocks = jnp.einsum("ui,aubv,vj->aibj", cosines, kept, cosines, precision=HIGHEST)
    return jnp.clip(round_through(blocks.reshape(padded.shape) + 128), 0, 255)[:height, :width]


def _halved(plane: Array) -> Array:
    """The means of 2 x 2 values, the border repeated where the size is odd; every other column rounds its halves down."""
    padded = jnp.pad(plane, ((0, plane.shape[0] % 2), (0, plane.shape[1] % 2)), mode="edge")
    means = padded.reshape(padded.shape[0] // 2, 2, padded.shape[1] // 2, 2).mean(axis=(1, 3))
    down = jnp.where(jnp.arange(means.shape[1]) % 2 == 0, 0.25, 0.0).astype(plane.dtype)
    return round_through(means - down[None])


def _doubled(plane: Array) -> Array:
    """Twice the size: each value three quarters of the nearest and one quarter of the next, along both axes."""
    return round_through(jax.image.resize(plane, (2 * plane.shape[0], 2 * plane.shape[1]), "linear"))


def _mixed(values: Array, matrix: tuple[tuple[float, ...], ...]) -> Array:
    return jnp.einsum("hwc,dc->hwd", values, jnp.asarray(matrix, values.dtype), precision=HIGHEST)


def _cosines() -> np.ndarray:
    """The cosine transform times the root of 8, so that the first row is of ones and sums are exact."""
    frequency, place = np.arange(8)[:, None], np.arange(8)[None]
    return np.cos((2 * place + 1) * frequency * math.pi / 16) * np.where(frequency == 0, 1.0, math.sqrt(2.0))


_COSINES = _cosines()
