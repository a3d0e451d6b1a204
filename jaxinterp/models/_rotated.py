"""Another basis for the units of one layer: rotations, fractions of them, and a model whose layer reports in that basis."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jaxtyping import Float

from jaxinterp._base import Activations, Model, Taps
from jaxinterp.models._wrapped import Beside


@dataclasses.dataclass(frozen=True)
class Rotated(Beside):
    """A network one of whose layers is reported in another basis; a hashable value, the rotation is a parameter.

    Attributes:
        network: what runs.
        layer: the layer, whose positions a rotation of units does not move.
    """

    def apply(
        self, params: Any, stats: Any, images: Array, *, key: Array | None, taps: Taps, train: bool
    ) -> tuple[Array, Activations, Any]:
        """Evaluates the network; a tap on the layer works in the new basis, and what it returns is rotated back."""
        rotation, within = params["rotation"], dict(taps)
        if self.layer in taps:
            tap = taps[self.layer]
            within[self.layer] = lambda activation: _product(tap(_product(activation, rotation.T)), rotation)
        logits, activations, stats = self.network.apply(params["network"], stats, images, key=key, taps=within, train=train)
        return logits, {**activations, self.layer: _product(activations[self.layer], rotation.T)}, stats


def rotated(model: Model, layer: str, rotation: Float[np.ndarray, "u u"] | Float[Array, "u u"]) -> Model:
    """The same model, one layer of which reports Q a instead of a: the units are rotated, the predictions stay.

    What follows the layer sees the activation that it always saw, Q^T Q a. A tap on the layer replaces Q a, and the network
    goes on with Q^T times that. Rotated activations can be negative.

    Args:
        model: any model.
        layer: the layer whose units are rotated, `[n h w u]` or `[n u]`.
        rotation: Q, orthogonal; `haar_rotation` draws one, `rotation_power` takes a fraction of it.

    Returns:
        A model of the same size, classes and layers; its parameters are the model's and the rotation.

    Raises:
        ValueError: an unknown layer, a rotation of another size, or a matrix that is not orthogonal.

    Example:
        >>> import jax, jaxinterp as ji
        >>> model = ji.models.cifar_resnet20(key=jax.random.key(0))
        >>> quarter = ji.models.rotation_power(ji.models.haar_rotation(jax.random.key(1), 64), 0.25)
        >>> turned = ji.models.rotated(model, "layer3.2", quarter)
        >>> turned(jax.numpy.zeros((1, 32, 32, 3)))[1]["layer3.2"].shape
        (1, 8, 8, 64)

    References:
        David Bau, Bolei Zhou, Aditya Khosla, Aude Oliva, Antonio Torralba, "Network Dissection: Quantifying
        Interpretability of Deep Visual Representations", 2017, section 3.2 (axis-aligned interpretability).
    """
    num_units = model.layer(layer).shape[2]
    if rotation.shape != (num_units, num_units):
        raise ValueError(
            f"expected a rotation [{num_units} {num_units}] for layer {layer!r}, got shape {rotation.shape}; "
            f"write haar_rotation(key, {num_units})."
        )
    _check_orthogonal(rotation)
    params = {"network": model.params, "rotation": jnp.asarray(rotation, jnp.float32)}
    return Model(params, model.stats, Rotated(model.network, layer))


def haar_rotation(key: Array, num_units: int) -> Float[np.ndarray, "u u"]:
    """A rotation of `num_units` dimensions, uniform over all of them (Haar measure on SO(u)).

    The orthogonal factor of a Gaussian matrix, its columns signed such that the triangular factor has a positive
    diagonal, is uniform over the orthogonal group; where the determinant is -1, the first column changes sign.

    Args:
        key: random key.
        num_units: u.

    Returns:
        Q in float64, orthogonal, of determinant 1.

    Raises:
        ValueError: fewer than 1 unit.

    References:
        Francesco Mezzadri, "How to generate random matrices from the classical compact groups", 2007, section 5.
    """
    if num_units < 1:
        raise ValueError(f"expected num_units >= 1, got {num_units}.")
    gaussian = np.asarray(jax.random.normal(key, (num_units, num_units), jnp.float32), np.float64)
    orthogonal, triangular = np.linalg.qr(gaussian)
    orthogonal = orthogonal * np.where(np.diag(triangular) < 0, -1.0, 1.0)[None, :]
    orthogonal[:, 0] *= np.linalg.slogdet(orthogonal)[0]
    return orthogonal


def rotation_power(rotation: Float[np.ndarray, "u u"], exponent: float) -> Float[np.ndarray, "u u"]:
    """Q to a real power: the same planes, every angle times `exponent`.

    The real Schur form Z S Z^T of a rotation has 2 x 2 rotations and ones on the diagonal of S. The angles lie in (-pi, pi];
    minus ones, of which there is an even number, are taken in pairs, as half turns. Then Q^0 = 1, Q^1 = Q and
    Q^s Q^t = Q^(s + t).

    Args:
        rotation: Q, orthogonal, of determinant 1.
        exponent: the power; between 0 and 1 a path from the identity to Q.

    Returns:
        Q^exponent in float64.

    Raises:
        ValueError: a matrix that is no rotation.

    References:
        David Bau, Bolei Zhou, Aditya Khosla, Aude Oliva, Antonio Torralba, "Network Dissection: Quantifying
        Interpretability of Deep Visual Representations", 2017, section 3.2 (Q^a for 0 <= a <= 1).
    """
    import scipy.linalg

    _check_orthogonal(rotation)
    exact = np.asarray(rotation, np.float64)
    if np.linalg.slogdet(exact)[0] < 0:
        raise ValueError("expected a rotation, of determinant 1, got a reflection; change the sign of one column.")
    schur, basis = scipy.linalg.schur(exact, output="real")[:2]
    below = np.diag(schur, -1)
    first = np.flatnonzero(np.abs(below) > 1e-8)
    angles = np.arctan2(below[first], np.diag(schur)[first])
    single = np.setdiff1d(np.arange(len(exact)), np.concatenate([first, first + 1]))
    turned = single[np.diag(schur)[single] < 0]
    rows, columns = np.concatenate([first, turned[0::2]]), np.concatenate([first + 1, turned[1::2]])
    angles = exponent * np.concatenate([angles, np.full(len(turned) // 2, np.pi)])
    power = np.eye(len(exact))
    power[rows, rows] = power[columns, columns] = np.cos(angles)
    power[columns, rows] = np.sin(angles)
    power[rows, columns] = -np.sin(angles)
    return basis @ power @ basis.T


def _product(activation: Array, matrix: Array) -> Array:
    return jnp.matmul(activation, matrix.astype(activation.dtype), precision="highest")


def _check_orthogonal(matrix: np.ndarray | Array) -> None:
    """Raises `ValueError` where a square matrix with known values is not orthogonal."""
    if isinstance(matrix, Tracer):
        return
    exact = np.asarray(matrix, np.float64)
    deviation = float(np.abs(exact @ exact.T - np.eye(len(exact))).max())
    if not deviation < 1e-3:
        raise ValueError(f"expected an orthogonal matrix, got one with Q Q^T off by {deviation:.1e}; write haar_rotation.")
