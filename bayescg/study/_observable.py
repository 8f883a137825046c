"""Observables that are functions of one frame's positions: the user's own, and those known by name."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayescg.errors import InputError
from bayescg.physics import NeighbourShell, steinhardt, tetrahedral_order
from bayescg.study._predicted_observables import OBSERVABLES

if TYPE_CHECKING:
    from bayescg.study._trajectory_observable import TrajectoryObservable

OfFrame = Callable[[Float[Array, "site dim"], Float[Array, " dim"]], Array]
"""Of positions and box edges [length], a number or a row of numbers."""

TAKEN = (
    "draw", "simulation", "block", "bound", "part", "which", "direction", "coordinate", "observable", "mean", "variance",
    "share", "rest", "total_sd", "naive_sd", "noise_sd", "parametric_sd", "simulation_sd", "fluctuation_sd", "below_noise",
)  # fmt: skip
"""Names that what predictions are stored as uses itself."""


def refuse_place_names(name: str, along: str, at: np.ndarray | None) -> None:
    """Raise an InputError for an observable without a name, an `along` that is taken, or an `at` that does not rise."""
    if not name.strip():
        raise InputError("observable: it has no name; give one")
    if along in TAKEN or not along.strip():
        raise InputError(
            f"observable {name!r}: along {along!r}; a word expected that is none of {', '.join(TAKEN)}"
        )
    if at is None:
        return
    places = np.asarray(at, float)
    if places.ndim != 1 or not len(places) or not np.isfinite(places).all() or (np.diff(places) <= 0.0).any():
        raise InputError(f"observable {name!r}: `at` {places.tolist()}; a row of rising numbers expected")


class Observable(eqx.Module):
    """An observable of the user's own: a function of one frame, averaged over the frames of new simulations.

    `predict` compiles the function and maps it over frames, replicas and draws; write it with `jax.numpy`. Its error bar
    is split like all others, chance included. Positions may lie outside the box: take the minimum image. What needs a
    series in time is a `TrajectoryObservable`.

    Attributes:
        name: in tables; none that `predict` knows already.
        unit: of the values.
        of_frame: of positions [site dim] and box [dim] a number or a row of numbers, finite.
        at: places that a row's numbers belong to, rising; None counts them.
        along: name of what `at` measures; none that predictions are stored along themselves, such as `draw`.
        at_unit: of `at`.
        long_name: in words; default the name.

    Raises:
        InputError: no name, an `along` that is taken, an `at` that does not rise.

    Example:
        >>> extent = Observable(name="extent", unit="nm", of_frame=lambda x, box: jnp.ptp(x, axis=0).max())
        >>> extent.in_words, float(extent.of_frame(jnp.array([[0.0, 1.0], [3.0, 2.0]]), jnp.ones(2)))
        ('extent', 3.0)
    """

    name: str = eqx.field(static=True)
    unit: str = eqx.field(static=True)
    of_frame: OfFrame = eqx.field(static=True)
    at: np.ndarray | None = None
    along: str = eqx.field(static=True, default="component")
    at_unit: str = eqx.field(static=True, default="1")
    long_name: str = eqx.field(static=True, default="")

    def __check_init__(self):
        refuse_place_names(self.name, self.along, self.at)

    @property
    def in_words(self) -> str:
        """Long name, or name."""
        return self.long_name or self.name

    def n_values(self, n_sites: int, dim: int) -> int | None:
        """How many numbers it gives of a frame; None for a single one that is no row.

        Raises:
            InputError: a function that fails, or gives anything but a number or a row of as many as there are places.
        """
        floating = jnp.result_type(float)
        frame, edges = jax.ShapeDtypeStruct((n_sites, dim), floating), jax.ShapeDtypeStruct((dim,), floating)
        try:
            made = jax.eval_shape(self.of_frame, frame, edges)
        except Exception as error:  # whatever the user's function raises
            why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise InputError(
                f"observable {self.name!r}: its function fails on positions of shape ({n_sites}, {dim}) and a box of {dim}"
                f" edges ({why}); write it with jax.numpy, for one frame"
            ) from error
        shape = getattr(made, "shape", None)
        if (
            shape is None
            or len(shape) > 1
            or shape == (0,)
            or jnp.issubdtype(made.dtype, jnp.complexfloating)
        ):
            what = "no array" if shape is None else f"an array of shape {shape} and type {made.dtype}"
            raise InputError(
                f"observable {self.name!r}: its function gives {what} of a frame; a real number or a row of them expected"
            )
        if self.at is not None and shape != (len(self.at),):
            raise InputError(
                f"observable {self.name!r}: its function gives shape {shape} of a frame, and `at` has {len(self.at)} places; a"
                " row of as many numbers expected"
            )
        return shape[0] if shape else None

    def places(self, n_values: int) -> np.ndarray:
        """What a row's numbers belong to."""
        return np.arange(float(n_values)) if self.at is None else np.asarray(self.at, float)


_TWELVE = NeighbourShell(12)
_Q_EDGES = np.linspace(0.0, 1.0, 51)


def _mean_tetrahedral_order(positions: Array, box: Array) -> Array:
    return jnp.mean(tetrahedral_order(positions, box))


def _bond_order_distribution(positions: Array, box: Array) -> Array:
    """Density of the sites' q6 in bins, 1 when summed over them times their width."""
    q = steinhardt(positions, box, degree=6, shell=_TWELVE)[:, None]
    width = _Q_EDGES[1] - _Q_EDGES[0]
    inside = (q >= _Q_EDGES[:-1]) & (q < _Q_EDGES[1:])
    return jnp.where(jnp.isfinite(q), inside, jnp.nan).mean(axis=0) / width


BUILT_IN = {
    "tetrahedral-order": Observable(
        name="tetrahedral-order",
        unit="1",
        of_frame=_mean_tetrahedral_order,
        long_name=OBSERVABLES["tetrahedral-order"].long_name,
    ),
    "bond-order": Observable(
        name="bond-order",
        unit="1",
        of_frame=_bond_order_distribution,
        at=0.5 * (_Q_EDGES[1:] + _Q_EDGES[:-1]),
        along="q6",
        long_name=OBSERVABLES["bond-order"].long_name,
    ),
}
"""Known by name."""


def told_apart(
    observables: "Sequence[str | Observable | TrajectoryObservable]",
) -> tuple[tuple[str, ...], dict[str, Observable]]:
    """Names of all, each once, and the functions of a frame among them, those known by name included.

    Raises:
        InputError: two observables of one name.

    Example:
        >>> names, functions = told_apart(["energy", "bond-order"])
        >>> names, list(functions)
        (('energy', 'bond-order'), ['bond-order'])
    """
    functions: dict[str, Observable] = {}
    names: list[str] = []
    own: set[str] = set()
    for one in observables:
        name = one if isinstance(one, str) else one.name
        if name in own or (name in names and not isinstance(one, str)):
            raise InputError(f"observable {name!r}: there are two of that name; give another")
        if isinstance(one, Observable):
            functions[name] = one
        elif isinstance(one, str) and name in BUILT_IN:
            functions[name] = BUILT_IN[name]
        if not isinstance(one, str):
            own.add(name)
        names.append(name)
    return tuple(dict.fromkeys(names)), functions


def refuse_known(own: Collection[str]) -> None:
    """Raise an InputError for a function of the user's own that has the name of an observable that is known already."""
    for name in own:
        if name in OBSERVABLES:
            raise InputError(f"observable {name!r}: the name is one that is known already; give another")


def refuse_not_finite(functions: Mapping[str, Observable], frame: np.ndarray, box: np.ndarray) -> None:
    """Raise an InputError for a function that gives other than finite numbers of a frame, before anything is sampled."""
    for name, one in functions.items():
        one.n_values(*np.shape(frame))
        values = np.asarray(jax.jit(one.of_frame)(jnp.asarray(frame, float), jnp.asarray(box, float)), float)
        if not np.isfinite(values).all():
            raise InputError(not_finite(name, "the first frame of the starts"))


def not_finite(name: str, where: str) -> str:
    """What is said of a function that gives NaN or infinity."""
    return f"observable {name!r}: its function gives NaN or infinity at {where}; finite numbers expected of every frame"
