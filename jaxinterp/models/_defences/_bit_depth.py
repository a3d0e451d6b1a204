"""Fewer grey levels."""

import dataclasses

from jax import Array

from jaxinterp._base import Model
from jaxinterp.models._defences._defended import defended
from jaxinterp.models._defences._rounding import round_through


@dataclasses.dataclass(frozen=True)
class BitDepth:
    """Rounds to `2 ** bits` evenly spaced levels, 0 and 1 among them."""

    bits: int

    def __call__(self, key: Array | None, image: Array) -> Array:
        """The image in fewer levels."""
        steps = 2**self.bits - 1
        return round_through(image * steps) / steps


def with_bit_depth(model: Model, bits: int) -> Model:
    """The model behind a reduction of the colour depth, `round(x (2^bits - 1)) / (2^bits - 1)` in every channel.

    The gradient passes the rounding as if it were the identity.

    Args:
        model: any model.
        bits: of each channel; 8 changes no 8-bit image, 1 leaves black and white.

    Returns:
        A model; see `defended`.

    Raises:
        ValueError: bits outside 1 to 8.

    Example:
        >>> import jax, jaxinterp as ji
        >>> model = ji.models.with_bit_depth(ji.models.cifar_resnet20(key=jax.random.key(0)), 4)

    References:
        W. Xu, D. Evans, Y. Qi, "Feature Squeezing: Detecting Adversarial Examples in Deep Neural Networks", NDSS 2018,
        section III-A. C. Guo, M. Rana, M. Cisse, L. van der Maaten, "Countering Adversarial Images using Input
        Transformations", ICLR 2018. A. Athalye, N. Carlini, D. Wagner, "Obfuscated Gradients Give a False Sense of
        Security", ICML 2018, section 4.1 (the straight-through gradient).
    """
    if bits not in range(1, 9):
        raise ValueError(f"expected bits in 1 to 8, got {bits}; write bits=5.")
    return defended(model, BitDepth(bits))
