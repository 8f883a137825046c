"""Umbrella windows: biases on reaction coordinates, written as potentials that are linear in their features."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayescg.errors import InputError
from bayescg.physics._potential import NamedPotential, ParameterInfo
from bayescg.physics._reaction_coordinates import ReactionCoordinate

_STAGES, _CORRECTIONS = 40, 4
"""Steps on the way into a window, and Newton steps at the end of each."""


class UmbrellaBias(NamedPotential):
    """Bias that holds reaction coordinates near a centre c with stiffness k.

    ½ k (ξ − c)² without its constant ½ k c² where ξ has no period; k s² [1 − cos((ξ − c)/s)] without its constant k s²
    where it has the period L = 2π s, which has the same curvature at c and no kink on the far side. Both are linear in
    features that do not know k and c: (½ ξ², −ξ), and −s² (cos ξ/s, sin ξ/s).

    Attributes:
        stiffness: k of each coordinate [energy / unit of the coordinate²].
        centre: c of each [unit of the coordinate].
        coordinates: the reaction coordinates.
        name: prefix of the parameters' names.

    Raises:
        InputError: other than one stiffness and one centre for each coordinate.

    References:
        Torrie & Valleau (1977), doi:10.1016/0021-9991(77)90121-8.

    Example:
        >>> from bayescg.physics import PairDistance
        >>> bias = UmbrellaBias(jnp.array([10.0]), jnp.array([2.0]), coordinates=(PairDistance(0, 1),))
        >>> pair = jnp.array([[0.0, 0.0, 0.0], [0.0, 0.0, 2.5]])
        >>> float(bias.energy(pair, jnp.full(3, jnp.inf))) + 10.0 * 2.0**2 / 2
        1.25
    """

    stiffness: Float[Array, " coordinate"] = eqx.field(converter=jnp.asarray)
    centre: Float[Array, " coordinate"] = eqx.field(converter=jnp.asarray)
    coordinates: tuple[ReactionCoordinate, ...] = eqx.field(static=True, kw_only=True)
    name: str = eqx.field(static=True, default="umbrella", kw_only=True)

    def __check_init__(self):
        n = len(self.coordinates)
        if self.stiffness.shape != (n,) or self.centre.shape != (n,):
            raise InputError(
                f"umbrella bias: stiffness of the shape {self.stiffness.shape}, centre {self.centre.shape}; expected one"
                f" number for each of {n} reaction coordinates"
            )

    def coefficients(self) -> Float[Array, " feature"]:
        parts = []
        for k, c, coordinate in zip(self.stiffness, self.centre, self.coordinates, strict=True):
            s = coordinate.period / (2.0 * np.pi)
            parts += [k * jnp.cos(c / s), k * jnp.sin(c / s)] if np.isfinite(s) else [k, k * c]
        return jnp.stack(parts)

    def features(
        self, positions: Float[Array, "site dim"], box: Float[Array, " dim"]
    ) -> Float[Array, " feature"]:
        parts = []
        for coordinate in self.coordinates:
            x, s = coordinate.value(positions, box), coordinate.period / (2.0 * np.pi)
            parts += (
                [-(s**2) * jnp.cos(x / s), -(s**2) * jnp.sin(x / s)] if np.isfinite(s) else [x**2 / 2.0, -x]
            )
        return jnp.stack(parts)

    def parameters(self) -> tuple[ParameterInfo, ...]:
        shape, labels = self.centre.shape, tuple(float(i) for i in range(self.centre.size))
        return (
            ParameterInfo(
                f"{self.name}_stiffness", "energy", "stiffness of the bias", "positive", 1.0, shape, labels
            ),
            ParameterInfo(
                f"{self.name}_centre", "dimensionless", "centre of the bias", "real", 1.0, shape, labels
            ),
        )


def coordinate_values(
    features: Float[np.ndarray, "*batch feature"], coordinates: Sequence[ReactionCoordinate]
) -> Float[np.ndarray, "*batch coordinate"]:
    """ξ of frames from the features of their `UmbrellaBias`, periodic ones from −L/2 to L/2."""
    columns = []
    for i, coordinate in enumerate(coordinates):
        first, second = features[..., 2 * i], features[..., 2 * i + 1]
        s = coordinate.period / (2.0 * np.pi)
        columns.append(s * np.arctan2(-second, -first) if np.isfinite(s) else -second)
    return np.stack(columns, axis=-1)


class UmbrellaWindows(NamedTuple):
    """Centres and stiffnesses of the windows.

    Attributes:
        centres: c [window coordinate] [unit of the coordinate].
        stiffness: k [window coordinate] [energy / unit of the coordinate²].

    Example:
        >>> UmbrellaWindows.grid([0.0, 1.0, 2.0], [0.0, 0.5], stiffness=[10.0, 20.0]).centres.shape
        (6, 2)
    """

    centres: Float[np.ndarray, "window coordinate"]
    stiffness: Float[np.ndarray, "window coordinate"]

    @classmethod
    def grid(cls, *centres: Sequence[float], stiffness: Sequence[float]) -> "UmbrellaWindows":
        """Windows at every combination of the centres of each coordinate, all with the same stiffnesses.

        Args:
            centres: of each coordinate.
            stiffness: of each coordinate.

        Raises:
            InputError: other than one positive stiffness for each coordinate.
        """
        if len(stiffness) != len(centres) or not np.all(np.asarray(stiffness) > 0.0):
            raise InputError(
                f"umbrella windows: stiffness {list(stiffness)}; expected a positive number for each of"
                f" {len(centres)} coordinates"
            )
        mesh = np.meshgrid(*(np.asarray(c, float) for c in centres), indexing="ij")
        points = np.stack([m.ravel() for m in mesh], axis=-1)
        return cls(points, np.broadcast_to(np.asarray(stiffness, float), points.shape))

    def names(self) -> list[str]:
        """Number and centre of each window, for messages."""
        return [f"{i} at ({', '.join(f'{x:.4g}' for x in c)})" for i, c in enumerate(self.centres)]


def starts_in_windows(
    positions: Float[np.ndarray, "replica site dim"],
    windows: UmbrellaWindows,
    *,
    coordinates: Sequence[ReactionCoordinate],
    box: Float[np.ndarray, " dim"],
) -> Float[np.ndarray, "window replica site dim"]:
    """Configurations moved into every window: straight towards its centre, by the shortest change of positions.

    The coordinates go from where they are to the centre in equal steps, each made by Newton's method along their
    gradients. Nothing looks at the potential, so in a crowded system the sites may come too close.

    Args:
        positions: configurations to begin with [length].
        windows: where to go.
        coordinates: of the windows.
        box: edge lengths, inf where open [length].

    Raises:
        InputError: a window that is not reached, as where the gradient vanishes on the way.

    Example:
        >>> from bayescg.physics import PairDistance
        >>> windows = UmbrellaWindows.grid([1.0, 4.0], stiffness=[10.0])
        >>> pair = np.array([[[0.0, 0.0, 0.0], [0.0, 0.0, 2.0]]])
        >>> starts = starts_in_windows(pair, windows, coordinates=[PairDistance(0, 1)], box=np.full(3, np.inf))
        >>> np.linalg.norm(starts[:, 0, 0] - starts[:, 0, 1], axis=-1).round(3).tolist()
        [1.0, 4.0]
    """
    chosen = tuple(coordinates)
    if windows.centres.ndim != 2 or windows.centres.shape[1] != len(chosen):
        raise InputError(
            f"umbrella windows: centres of the shape {windows.centres.shape}; expected [window, {len(chosen)}]"
        )
    moved, left = _moved(
        jnp.asarray(positions), jnp.asarray(windows.centres), jnp.asarray(box), coordinates=chosen
    )
    worst = np.asarray(jnp.max(jnp.abs(left), axis=(1, 2)))
    missed = ~(worst < 1e-3 * (1.0 + np.abs(windows.centres).max(axis=1)))
    if missed.any():
        names = ", ".join(np.asarray(windows.names())[missed])
        raise InputError(
            f"umbrella windows {names}: not reached from the given configurations; start from other ones, nearer to them"
        )
    return np.asarray(moved)


@partial(jax.jit, static_argnames="coordinates")
def _moved(
    positions: Float[Array, "replica site dim"],
    centres: Float[Array, "window coordinate"],
    box: Float[Array, " dim"],
    *,
    coordinates: tuple[ReactionCoordinate, ...],
) -> tuple[Float[Array, "window replica site dim"], Float[Array, "window replica coordinate"]]:
    """The configurations in their windows, and what they still lack of the centres."""
    period = np.array([c.period if np.isfinite(c.period) else 0.0 for c in coordinates])

    def values(x: Array) -> Array:
        return jnp.stack([coordinate.value(x, box) for coordinate in coordinates])

    def apart(target: Array, x: Array) -> Array:
        d = target - values(x)
        return d - period * jnp.round(d / np.where(period > 0.0, period, 1.0))

    def towards(x: Array, target: Array) -> Array:
        slopes = jax.jacobian(values)(x).reshape(len(coordinates), -1)
        gram = slopes @ slopes.T
        ridge = 1e-9 * jnp.trace(gram) * jnp.eye(len(gram))
        return x + (slopes.T @ jnp.linalg.solve(gram + ridge, apart(target, x))).reshape(x.shape)

    def one(centre: Array, x: Array) -> tuple[Array, Array]:
        begin, way = values(x), apart(centre, x)

        def stage(x: Array, share: Array) -> tuple[Array, None]:
            target = begin + share * way
            return jax.lax.fori_loop(0, _CORRECTIONS, lambda _, y: towards(y, target), x), None

        x, _ = jax.lax.scan(stage, x, jnp.arange(1, _STAGES + 1) / _STAGES)
        return x, apart(centre, x)

    return jax.vmap(lambda centre: jax.vmap(lambda x: one(centre, x))(positions))(centres)
