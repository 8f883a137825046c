"""The boundary of the model manifold along the softest direction, and the reduced model that lies there.

A geodesic that starts at the best fit in the direction the data know least soon leaves the region where parameters mean
what they did: some of them run to a limit while predictions hardly change. What is left at the limit is a model with one
parameter fewer that fits nearly as well (Transtrum & Qiu 2014, doi:10.1103/PhysRevLett.113.098701).
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.integrate import solve_ivp

from bayescg.analysis._manifold import Manifold
from bayescg.analysis._monomials import combination
from bayescg.errors import InputError

NULL = 1e-10
"""Share of the metric's largest eigenvalue below which a direction counts as having no length."""

STEEP = 50.0
"""Growth of ln speed per length at which a fold is looked for: there it diverges."""

SETTLED = 1e-3
"""Change of the velocity over the last tenth of the way up to which parameters are said to run to a limit."""

RUNNING = 0.02
"""Share of the final speed from which on a coordinate counts as running to a limit."""


class End(StrEnum):
    """Why a geodesic ended."""

    limit = "parameters run to a limit"
    fold = "the manifold ends at finite parameters"
    bank = "the reference frames end before the manifold does"
    open = "no boundary within reach"


class ManifoldBoundary(NamedTuple):
    """A geodesic and where it leads. Lengths are in the unconstrained coordinates.

    Attributes:
        end: why it ended.
        names: of the coordinates.
        z: along it, the start first [point coordinate].
        length: from the start [point].
        log_speed: ln of the speed |dz/dτ| relative to the start, τ the length on the manifold; it diverges at a
            boundary [point].
        smallest_eigenvalue: of the metric [point].
        edge: the last point, or where the manifold folds just beyond it [coordinate].
        velocity: unit vector at the end [coordinate].
        running: indices of the coordinates that run to a limit.
        words: the reduced model.

    Example:
        >>> from bayescg.analysis import least_squares_manifold
        >>> def springs(z):  # two in series, ln of what is seen of them
        ...     return -jnp.logaddexp(-z[0], -z[1])[None] / jnp.sqrt(2.0)
        >>> found = manifold_boundary(least_squares_manifold(springs), np.log([1.0, 3.0]), names=("k1", "k2"))
        >>> print(found.words)
        k2 -> infinity, with k1 -> 0.75: one parameter fewer
    """

    end: End
    names: tuple[str, ...]
    z: np.ndarray
    length: np.ndarray
    log_speed: np.ndarray
    smallest_eigenvalue: np.ndarray
    edge: np.ndarray
    velocity: np.ndarray
    running: tuple[int, ...]
    words: str


def manifold_boundary(
    manifold: Manifold,
    start: Float[np.ndarray, " coordinate"],
    *,
    names: Sequence[str],
    logarithmic: Sequence[bool] | None = None,
    direction: Float[np.ndarray, " coordinate"] | None = None,
    reach: float = 30.0,
    least_effective_frames: float = 50.0,
    n_points: int = 200,
) -> ManifoldBoundary:
    """Follows the geodesic from a best fit along its softest direction to the edge of the manifold.

    The geodesic is traced by its length s in the coordinates, with unit velocity u,

        u' = a − (a·u) u,   (ln speed)' = a·u,   g a = −Γ(u, u),

    so that nothing diverges where the speed does. Where the metric has a null direction, a is the smallest solution, and
    the curve keeps to the set of equal predictions.

    Args:
        manifold: from `least_squares_manifold` or `equilibrium_manifold`.
        start: z of the best fit.
        names: of the coordinates.
        logarithmic: whether each is the logarithm of what its name says; default all.
        direction: to start in; default the metric's softest eigenvector, turned so that the speed grows, or where it
            does not change, so that the coordinate that moves most grows.
        reach: length after which the search ends.
        least_effective_frames: the geodesic ends where its predictions rest on fewer reference frames.
        n_points: points that are kept.

    Raises:
        InputError: names that do not fit, or a metric that is not finite at the start.

    Example:
        >>> from bayescg.analysis import least_squares_manifold
        >>> def lines(z):  # a straight part of x/(K + x) V: only V/K is seen
        ...     return jnp.exp(z[0]) * jnp.array([0.1, 0.2]) / (jnp.exp(z[1]) + jnp.array([0.1, 0.2]))
        >>> found = manifold_boundary(least_squares_manifold(lines), np.zeros(2), names=("V", "K"))
        >>> print(found.words)
        V -> infinity and K -> infinity, with V / K -> 0.85: one parameter fewer

    References:
        Transtrum & Qiu (2014), doi:10.1103/PhysRevLett.113.098701, eqs. 3 and 4.
    """
    start = np.asarray(start, float)
    logs = (True,) * len(names) if logarithmic is None else tuple(bool(log) for log in logarithmic)
    if start.shape != (len(names),) or len(logs) != len(names):
        raise InputError(
            f"manifold: {len(names)} names and {len(logs)} kinds for a start of shape {start.shape}"
        )
    geodesic = _Geodesic(manifold)
    u = geodesic.softest(start) if direction is None else np.asarray(direction, float)
    found = geodesic.follow(start, u / np.linalg.norm(u), reach, least_effective_frames)
    length = np.linspace(0.0, found.length, n_points)
    states = found.at(length).T
    size = len(start)
    smallest = np.array([np.linalg.eigvalsh(geodesic.metric(state[:size]))[0] for state in states])
    velocity = states[-1, size : 2 * size]
    running = tuple(int(i) for i in np.flatnonzero(np.abs(velocity) > RUNNING * np.abs(velocity).max()))
    end = found.end
    if end is End.limit and not geodesic.settled(found):
        end = End.open
    edge = states[-1, :size]
    if end is End.fold:  # the speed goes as 1 over the distance to it
        edge = edge + velocity / geodesic.rate(states[-1])[-1]
    words = _words(end, names, logs, start, edge, velocity, running)
    return ManifoldBoundary(
        end, tuple(names), states[:, :size], length, states[:, -1], smallest, edge, velocity, running, words
    )


class _Path(NamedTuple):
    """A geodesic as a function of its length, [z, u, ln speed]."""

    at: Callable[[np.ndarray], np.ndarray]
    length: float
    end: End


class _Geodesic:
    """The equations of a manifold's geodesics, compiled, and their integration."""

    def __init__(self, manifold: Manifold):
        metric, support = jax.jit(manifold.metric), jax.jit(manifold.support)
        rate = jax.jit(lambda state: _rate(manifold, state))
        self.metric = lambda z: np.asarray(metric(jnp.asarray(z)))
        self.support = lambda z: float(support(jnp.asarray(z)))
        self.rate = lambda state: np.asarray(rate(jnp.asarray(state)))

    def softest(self, z: np.ndarray) -> np.ndarray:
        """The softest eigenvector, turned so that the speed grows along it, or else its largest entry is positive."""
        metric = self.metric(z)
        if not np.all(np.isfinite(metric)):
            raise InputError(
                "manifold: the metric at the start is not finite; check the start and the predictions"
            )
        u = np.linalg.eigh(metric)[1][:, 0]
        growth = self.rate(np.concatenate([z, u, [0.0]]))[-1]
        largest = u[np.argmax(np.abs(u) > 0.99 * np.abs(u).max())]
        return u * np.sign(growth if abs(growth) > 1e-6 else largest)

    def follow(self, z: np.ndarray, u: np.ndarray, reach: float, least_effective_frames: float) -> _Path:
        """Up to the reach, a fold, or the end of the reference frames."""
        size = len(z)

        def spent(_: float, state: np.ndarray) -> float:
            return self.support(state[:size]) - least_effective_frames

        def steep(_: float, state: np.ndarray) -> float:
            return self.rate(state)[-1] - STEEP

        spent.terminal = steep.terminal = True  # type: ignore[attr-defined]
        parts, first, state = [], 0.0, np.concatenate([z, u, [0.0]])
        watched = [spent, steep]
        while True:
            part = solve_ivp(
                lambda _, y: self.rate(y), (first, reach), state, "DOP853", dense_output=True, events=watched,
                rtol=1e-9, atol=1e-11,
            )  # fmt: skip
            parts.append(part)
            first, state = float(part.t[-1]), part.y[:, -1]
            if len(part.t_events[0]):
                return _Path(_joined(parts), first, End.bank)
            if part.status == 0 or len(watched) == 1:
                return _Path(_joined(parts), first, End.limit if part.status == 0 else End.open)
            if self._folds(state[:size], state[size:-1]):
                return _Path(_joined(parts), first, End.fold)
            watched = [spent]  # an edge at infinity may be as steep: go on

    def _folds(self, z: np.ndarray, u: np.ndarray) -> bool:
        """Whether the smallest eigenvalue, nearly 0 here, grows again just beyond."""
        here, beyond = (np.linalg.eigvalsh(self.metric(z + step * u))[0] for step in (0.0, 8.0 / STEEP))
        return bool(beyond > 4.0 * here)

    def settled(self, path: _Path) -> bool:
        """Whether the velocity no longer changes, and predictions neither."""
        before, last = path.at(np.array([0.9, 1.0]) * path.length).T
        size = (len(last) - 1) // 2
        u = last[size:-1]
        first = path.at(np.zeros(1))[:, 0]
        lengths = [
            float(v @ self.metric(z) @ v) for z, v in ((first[:size], first[size:-1]), (last[:size], u))
        ]
        largest = np.linalg.eigvalsh(self.metric(first[:size]))[-1]
        still = lengths[1] <= 1e-6 * lengths[0] or lengths[1] <= NULL * largest
        return bool(np.linalg.norm(u - before[size:-1]) < SETTLED and still)


def _joined(parts: list) -> Callable[[np.ndarray], np.ndarray]:
    """One function of the length from integrations that follow each other."""

    def at(length: np.ndarray) -> np.ndarray:
        which = np.minimum(np.searchsorted([part.t[-1] for part in parts], length), len(parts) - 1)
        return np.stack([parts[i].sol(s) for i, s in zip(which, length)], axis=1)

    return at


def _rate(manifold: Manifold, state: Float[Array, " state"]) -> Float[Array, " state"]:
    """Derivative of [z, u, ln speed] by the length."""
    size = (state.size - 1) // 2
    z, u = state[:size], state[size:-1]
    u = u / jnp.linalg.norm(u)
    values, vectors = jnp.linalg.eigh(manifold.metric(z))
    floor = NULL * jnp.max(jnp.abs(values))
    inverse = values / (values**2 + floor**2)
    acceleration = -vectors @ (inverse * (vectors.T @ manifold.turning(z, u)))
    growth = acceleration @ u
    return jnp.concatenate([u, acceleration - growth * u, growth[None]])


def _words(
    end: End,
    names: Sequence[str],
    logs: tuple[bool, ...],
    start: np.ndarray,
    z: np.ndarray,
    velocity: np.ndarray,
    running: tuple[int, ...],
) -> str:
    """The reduced model."""

    def value(direction: np.ndarray, *, least_participation: float = 1e-9) -> str:
        found = combination(direction, names, logarithmic=logs, least_participation=least_participation)
        largest = found.places[np.argmax(np.abs(found.exponents))]
        written = found.vector(len(names))
        # what runs to a limit needs its exact exponents, or the rounding would run with it
        kept = np.where(written != 0.0, direction, 0.0) if end is not End.fold else written
        number = float(kept @ z) * written[largest] / kept[largest]
        return f"{found.text} -> {np.exp(number) if all(found.logarithmic) else number:.3g}"

    unit = np.eye(len(names))
    if end is End.open:
        return f"no boundary within a length of {np.linalg.norm(z - start):.3g}: the softest direction has no limit there"
    if end is End.fold:
        return f"the manifold ends where {value(velocity, least_participation=0.01)}: one parameter fewer"
    limits = [
        f"{names[i]} -> {'infinity' if velocity[i] > 0 else ('0' if logs[i] else '-infinity')}"
        for i in running
    ]
    reference = max(running, key=lambda i: abs(velocity[i]))
    ratios = [
        value(unit[i] - velocity[i] / velocity[reference] * unit[reference])
        for i in running
        if i != reference
    ]
    moved = [i for i in range(len(names)) if i not in running and abs(z[i] - start[i]) > 0.01]
    kept = ratios + [value(unit[i]) for i in sorted(moved, key=lambda i: -abs(z[i] - start[i]))[:3]]
    text = " and ".join(limits) + (f", with {' and '.join(kept)}" if kept else "")
    if end is End.bank:
        return f"towards {text}, as far as the reference frames reach"
    return f"{text}: one parameter fewer"
