"""Profile posteriors: one combination of coordinates held at a value, all the others optimised again."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy.interpolate import CubicHermiteSpline
from scipy.optimize import brentq
from scipy.stats import chi2

from bayescg.analysis._constrained_maximum import ConstrainedMaximum, Density, maximise_along, terms
from bayescg.errors import ConvergenceError, InputError
from bayescg.inference import Mode, Posterior
from bayescg.inference._likelihood import Likelihood

LEVEL = float(chi2.ppf(0.95, 1) / 2.0)
"""Fall of a profile that bounds a 95 % interval, 1.92."""

PRIOR_DEPTH = 20.0
"""Fall of the log density up to which a bound by the likelihood is looked for: where the prior holds a combination with
nine times the data's strength, a normal likelihood has fallen by 1.92 there."""

LARGEST_ADVANCE = 1.6
"""A scan goes on from a point where √(2 · fall) grew by at most this many times what was wanted."""

LARGEST_STEP_CHANGE = 2.0
"""A step along a profile is at most this many times as long as the one before, and as short."""


class Profiles(NamedTuple):
    """Profiles of combinations c·z, each from its maximum outwards until it has fallen far or its points are used up.

    Points are in ascending order of c·z; rows are filled up with NaN. Densities are relative to their maximum.

    Attributes:
        names: of the combinations.
        directions: c [profile coordinate].
        grid: c·z [profile point].
        log_density: log p(z | D), largest for the c·z of the point [profile point].
        log_likelihood: log p(D | z) there [profile point].
        z: all coordinates there [profile point coordinate].
        effective_frames: reference frames that the likelihood rests on there [profile point].
        interval: c·z where the log density has fallen by 1.92 below and above its maximum; NaN where it never
            does [profile 2].
        likelihood_interval: the same for the log likelihood; NaN says that the data do not bound the combination on
            that side within what the prior allows: practically unidentifiable there [profile 2].
        bank_ended: whether reweighting, not the density, ended the scan on a side; NaN then only says
            that more reference simulations are needed [profile 2].
        converged: whether no optimisation on a side failed [profile 2].
        rise: by how much a profile rises above the mode it started at: above 0 a better mode is near [profile].

    Example:
        >>> grid = np.linspace(-3.0, 3.0, 7)[None]
        >>> parabola = -(grid**2) / 2
        >>> held = np.array([[-1.96, 1.96]])
        >>> one = Profiles(
        ...     ("x",), np.eye(1), grid, parabola, parabola, grid[..., None], np.full((1, 7), np.inf), held, held,
        ...     np.zeros((1, 2), bool), np.ones((1, 2), bool), np.zeros(1),
        ... )
        >>> one.practically_unidentifiable.tolist()
        [[False, False]]
    """

    names: tuple[str, ...]
    directions: np.ndarray
    grid: np.ndarray
    log_density: np.ndarray
    log_likelihood: np.ndarray
    z: np.ndarray
    effective_frames: np.ndarray
    interval: np.ndarray
    likelihood_interval: np.ndarray
    bank_ended: np.ndarray
    converged: np.ndarray
    rise: np.ndarray

    @property
    def practically_unidentifiable(self) -> Bool[np.ndarray, "profile 2"]:
        """Whether the likelihood stays within 1.92 of its maximum below and above, although the scan went on."""
        return np.isnan(self.likelihood_interval) & ~self.bank_ended & self.converged


def profiles(
    posterior: Posterior,
    likelihood: Likelihood,
    mode: Mode,
    *,
    directions: Float[np.ndarray, "profile coordinate"] | None = None,
    names: Sequence[str] | None = None,
    prior_power: float = 1.0,
    depth: float = 4.5,
    n_points: int = 8,
    least_effective_frames: float = 50.0,
) -> Profiles:
    """Profile posteriors on a likelihood that costs no simulation.

    In coordinates whitened by the mode's covariance, where the first step outwards needs no correction at all, each
    profile is followed outwards from the mode: a tangent predicts the next maximum of the others, a few damped Newton
    steps find it. Steps are chosen for equal steps of √(2 · fall); where a profile is flat they double.

    Args:
        posterior: prior and likelihood.
        likelihood: at its final state.
        mode: a maximum of the posterior, with a covariance that sets the scale.
        directions: c of each profile; default every coordinate.
        names: of the directions; default those of the coordinates.
        prior_power: power of the prior: 1 for profiles of the posterior, 0 for those of the likelihood alone. At 0 the
            maximum is searched anew; give 0 only where the data hold every direction.
        depth: fall of the log density at which a scan ends, if the likelihood has fallen by 1.92 there; else it goes on to
            a fall of 20.
        n_points: points on each side of a profile that falls like a parabola; up to three times as many may be used.
        least_effective_frames: points that rest on fewer reference frames are not taken.

    Raises:
        InputError: directions of a wrong shape or without length.
        ConvergenceError: no maximum where the scans begin.

    Example:
        >>> import jax
        >>> import numpyro.distributions as dist
        >>> from bayescg.inference import RelativeEntropy, independent_prior, maximise
        >>> from bayescg.physics import DoubleWell, Surrogate
        >>> x = jnp.linspace(-4.0, 4.0, 200)  # log Z by quadrature in place of a bank
        >>> features = jnp.stack([-(x**2) / 2, x**4 / 4], axis=1)
        >>> surrogate = Surrogate(jnp.ones(()), jnp.zeros(2), features, jnp.zeros(200))
        >>> likelihood = RelativeEntropy(jnp.array([-0.6, 0.55]), jnp.asarray(100.0), surrogate)
        >>> well = DoubleWell(1.0, 1.0)
        >>> posterior = Posterior(independent_prior(well, {"well_t1": dist.Normal(1, 2), "well_t2": dist.Gamma(2, 1)}))
        >>> mode = maximise(posterior, likelihood, np.zeros(2), least_effective_frames=1.0)
        >>> found = profiles(posterior, likelihood, mode, least_effective_frames=1.0)
        >>> found.names, found.interval.round(1).tolist()
        (('well_t1', 'well_t2'), [[1.7, 4.1], [0.3, 1.0]])

    References:
        Raue et al. (2009), doi:10.1093/bioinformatics/btp358, section 2.2.
    """
    size = len(mode.z)
    chosen = np.eye(size) if directions is None else np.asarray(directions, float)
    if chosen.ndim != 2 or chosen.shape[1] != size or not np.all(np.linalg.norm(chosen, axis=1) > 0.0):
        raise InputError(
            f"profiles: directions of shape {chosen.shape} do not fit {size} coordinates, or one has no length; give one"
            " row for each profile"
        )
    default = (
        posterior.prior.coordinates if directions is None else [f"direction {i}" for i in range(len(chosen))]
    )
    labels = tuple(str(name) for name in (default if names is None else names))
    if len(labels) != len(chosen):
        raise InputError(f"profiles: {len(labels)} names for {len(chosen)} directions: give one for each")
    root = np.linalg.cholesky(mode.covariance)
    scale = np.linalg.norm(chosen @ root, axis=1)
    along = (chosen @ root) / scale[:, None]
    density = Density(jnp.asarray(mode.z), jnp.asarray(root), jnp.asarray(prior_power), likelihood)
    start = _start(posterior, density)
    if not bool(start.converged):
        raise ConvergenceError(
            "profiles: no maximum was found where the scans begin: the density is not finite there, or nothing holds"
            " some direction; give every parameter a proper prior"
        )
    centre = density.at(start.w)
    density = density._replace(centre=centre)
    tasks = np.stack([-along, along], axis=1).reshape(-1, size)
    settings = _Settings(
        jnp.asarray(np.sqrt(2.0 * depth) / n_points), jnp.asarray(depth), jnp.asarray(least_effective_frames)
    )
    sides = _scans(posterior, density, jnp.asarray(tasks), settings, n_points=3 * n_points)
    kept = _Points(*(np.asarray(a).reshape(len(chosen), 2, *a.shape[1:]) for a in sides))
    return _assemble(labels, chosen, scale, np.asarray(centre), kept)


class _Settings(NamedTuple):
    """What ends a scan, and its first step in whitened units."""

    step: Array
    depth: Array
    least_effective_frames: Array


class _Points(NamedTuple):
    """What is kept of every point of a scan; slopes are by the length t along the direction. Traced, then NumPy arrays."""

    t: Any
    z: Any
    log_density: Any
    log_density_slope: Any
    log_likelihood: Any
    log_likelihood_slope: Any
    effective_frames: Any
    converged: Any
    taken: Any
    supported: Any


class _State(NamedTuple):
    """Where a scan stands: the last good point with its tangent and √(2 · fall), the next step, and whether it goes on."""

    t: Array
    y: Array
    tangent: Array
    step: Array
    root: Array
    alive: Array


@eqx.filter_jit
def _start(posterior: Posterior, density: Density) -> ConstrainedMaximum:
    """The maximum over all coordinates."""
    size = density.centre.size
    nothing = jnp.zeros(size)
    return maximise_along(posterior, density, nothing, jnp.eye(size), jnp.zeros(()), nothing)


@eqx.filter_jit
def _scans(
    posterior: Posterior,
    density: Density,
    along: Float[Array, "side coordinate"],
    settings: _Settings,
    *,
    n_points: int,
) -> _Points:
    """All scans, one after the other: one gradient over the frames keeps the cores busy, and each ends when it is done."""
    size = density.centre.size
    log_prior, highest_likelihood, _ = terms(posterior, density, density.centre)
    highest = density.prior_power * log_prior + highest_likelihood

    def point(state: _State, a: Array, rest: Array) -> tuple[_State, _Points]:
        t = state.t + state.step
        found = maximise_along(posterior, density, a, rest, t, state.y + state.tangent * state.step)
        z = density.at(found.w)
        _, log_likelihood, n_eff = terms(posterior, density, z)
        supported = n_eff >= settings.least_effective_frames
        good = found.converged & supported
        fall, lost = highest - found.value, highest_likelihood - log_likelihood
        deep = fall > 0.999 * settings.depth  # from here on only to see whether the likelihood falls as well
        spacing = jnp.where(deep, 2.0, 1.0) * settings.step
        root = jnp.sqrt(2.0 * jnp.maximum(fall, 0.0))
        advance = root - state.root
        near = advance < LARGEST_ADVANCE * spacing  # a point too far out is kept, but not gone on from
        onwards = good & near
        wanted = jnp.where(fall > 0.0, -spacing * root / jnp.minimum(found.slope, -1e-12), jnp.inf)
        longer = jnp.clip(wanted, state.step / LARGEST_STEP_CHANGE, state.step * LARGEST_STEP_CHANGE)
        shorter = state.step * jnp.where(good, jnp.clip(spacing / advance, 0.2, 0.8), 0.25)
        after = _State(
            jnp.where(onwards, t, state.t),
            jnp.where(onwards, found.y, state.y),
            jnp.where(onwards, found.tangent, state.tangent),
            jnp.where(onwards, jnp.where(state.step > 0.0, longer, settings.step), shorter),
            jnp.where(onwards, root, state.root),
            jnp.where(onwards, ~deep | ((lost < LEVEL) & (fall < PRIOR_DEPTH)), state.step > 0.0),
        )
        kept = _Points(
            t, z, found.value, found.slope, log_likelihood, found.likelihood_slope, n_eff, found.converged, good,
            supported | ~found.converged,
        )  # fmt: skip
        return after, kept

    def nothing(state: _State, a: Array, rest: Array) -> tuple[_State, _Points]:
        nan = jnp.full((), jnp.nan)
        z = jnp.full(size, jnp.nan)
        yes = jnp.ones((), bool)
        return state, _Points(nan, z, nan, nan, nan, nan, nan, yes, ~yes, yes)

    def side(a: Array) -> _Points:
        rest, zero = _complement(a), jnp.zeros(())
        middle = jnp.zeros(size - 1)
        state = _State(
            zero, middle, middle, zero, zero, jnp.ones((), bool)
        )  # the first point is the mode itself
        _, points = jax.lax.scan(
            lambda state, _: jax.lax.cond(state.alive, point, nothing, state, a, rest),
            state,
            length=n_points + 1,
        )
        return points

    return jax.lax.map(side, along)


def _complement(a: Float[Array, " coordinate"]) -> Float[Array, "coordinate rest"]:
    """An orthonormal basis of what is orthogonal to a unit vector: the reflection that takes it to an axis, less that."""
    axis = jnp.argmax(jnp.abs(a))
    sign = jnp.where(a[axis] < 0.0, -1.0, 1.0)
    mirror = a.at[axis].add(sign)
    reflection = jnp.eye(a.size) - 2.0 * jnp.outer(mirror, mirror) / jnp.sum(mirror**2)
    others = jnp.where(jnp.arange(a.size - 1) < axis, jnp.arange(a.size - 1), jnp.arange(1, a.size))
    return reflection[:, others]


def _assemble(
    names: tuple[str, ...], directions: np.ndarray, scale: np.ndarray, start: np.ndarray, sides: _Points
) -> Profiles:
    """Both sides of every profile in one ascending row, the start once, and where it has fallen far enough."""

    order = np.argsort(np.where(sides.taken, sides.t, np.inf), axis=2, kind="stable")

    def row(side: np.ndarray) -> np.ndarray:
        more = (1,) * (side.ndim - 3)
        kept = np.where(sides.taken.reshape(*sides.taken.shape, *more), side, np.nan)
        kept = np.take_along_axis(kept, order.reshape(*order.shape, *more), axis=2)
        return np.concatenate([kept[:, 0, :0:-1], kept[:, 1]], axis=1)

    rows = _Points(*map(row, sides))
    n_points = sides.t.shape[2]
    outwards = np.concatenate([-np.ones(n_points - 1), np.ones(n_points)])
    t = rows.t * outwards
    fallen = [
        np.array([_interval(*each) for each in zip(t, value, slope * outwards)])
        for value, slope in (
            (rows.log_density, rows.log_density_slope),
            (rows.log_likelihood, rows.log_likelihood_slope),
        )
    ]
    at = (directions @ start)[:, None]
    log_density, log_likelihood = (
        value - np.max(value, axis=1, initial=-np.inf, where=np.isfinite(value), keepdims=True)
        for value in (rows.log_density, rows.log_likelihood)
    )
    tried = np.isfinite(sides.t)
    last = np.maximum(np.sum(tried, axis=2, keepdims=True) - 1, 0)
    return Profiles(
        names,
        directions,
        grid=at + scale[:, None] * t,
        log_density=log_density,
        log_likelihood=log_likelihood,
        z=rows.z,
        effective_frames=rows.effective_frames,
        interval=at + scale[:, None] * fallen[0],
        likelihood_interval=at + scale[:, None] * fallen[1],
        bank_ended=np.any(tried & ~sides.supported, axis=2),
        converged=np.any(sides.taken[..., 1:], axis=2)
        & np.take_along_axis(sides.converged, last, axis=2)[..., 0],
        rise=np.abs(log_density[:, n_points - 1]),
    )


def _interval(t: np.ndarray, value: np.ndarray, slope: np.ndarray) -> tuple[float, float]:
    """Where a curve, cubic between its points, has fallen by `LEVEL` below and above its highest point."""
    there = np.isfinite(t)
    t, value, slope = t[there], value[there], slope[there]
    if len(t) < 2:
        return np.nan, np.nan
    curve = CubicHermiteSpline(t, value, slope)
    fine = np.linspace(t[:-1], t[1:], 33, axis=1).reshape(-1)
    heights = curve(fine)
    peak = int(np.argmax(heights))
    level = float(heights[peak]) - LEVEL
    below = np.flatnonzero(heights[:peak] < level)
    above = peak + 1 + np.flatnonzero(heights[peak + 1 :] < level)
    lower = brentq(lambda x: curve(x) - level, fine[below[-1]], fine[below[-1] + 1]) if len(below) else np.nan
    upper = brentq(lambda x: curve(x) - level, fine[above[0] - 1], fine[above[0]]) if len(above) else np.nan
    return float(lower), float(upper)
