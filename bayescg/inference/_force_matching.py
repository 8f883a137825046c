"""Force matching: the posterior of a potential from mean forces, without a simulation.

With U = η(θ) · φ(x) the forces are F = G η, G = −∂φ/∂x, whatever θ. GᵀG, GᵀF and FᵀF are summed once over the
frames, in constant memory; every fit, likelihood and score after that is algebra on matrices of feature size.

| symbol | name |
|---|---|
| G | `ForceFeatures.matrix` |
| Σ GᵀG, Σ GᵀF, Σ FᵀF | `gram`, `projection`, `square` |
| σ | `sigma`, sd of a force component about the model's |
| ν | `degrees_of_freedom` |

References:
    Ercolessi & Adams (1994), doi:10.1209/0295-5075/26/8/005; Noid et al. (2008), doi:10.1063/1.2938860 (why the fit
    of instantaneous forces tends to the many-body mean force).
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from bayescg.data import Frames
from bayescg.errors import InputError
from bayescg.inference._linear_gaussian import QuadraticForm, QuadraticSearch, block_sandwich, prior_centre
from bayescg.inference._prior import Prior
from bayescg.physics import PairPotential, Potential
from bayescg.physics._potential import terms_of
from bayescg.physics._reduce import TABLE_BINS, table_nodes
from bayescg.physics._space import minimum_image

FRAMES_AT_ONCE, SMALL_SYSTEM = 8, 4096
"""Frames in one compiled call, and the sites that a call should have at least (small systems: more frames)."""
SITES_AT_ONCE = 49
"""Sites whose pair rows are gathered together: the rows then stay in the processor's cache."""
NOISE_FREE = 1e-2
"""Residual sd relative to the forces' rms below which (R² > 0.9999) forces count as free of noise."""


class ForceFeatures(eqx.Module):
    """G = −∂φ/∂x of a potential's features.

    A tabulated pair term uses the force of the engine's table, piecewise constant in r²; other pair terms their
    analytic derivative, and any other potential automatic differentiation.

    Attributes:
        terms: of the potential; their parameter values do not matter.
        tables: f/r of each basis function in bins of r², 0 in the row beyond the cutoff; None for other terms.
    """

    terms: tuple[Potential, ...]
    tables: tuple[Float[Array, "bin feature"] | None, ...]

    @classmethod
    def of(cls, potential: Potential) -> "ForceFeatures":
        """The features' forces of a potential; samples the tables.

        Raises:
            InputError: JAX is not in its 64-bit mode.
        """
        if jnp.zeros(()).dtype != jnp.float64:
            raise InputError(
                "force and score matching need JAX's 64-bit mode: call jax.config.update('jax_enable_x64', True) first"
            )
        terms = terms_of(potential)
        return cls(terms, tuple(factor_table(t) if is_tabulated(t) else None for t in terms))

    def matrix(
        self, positions: Float[Array, "site dim"], box: Float[Array, " dim"]
    ) -> Float[Array, "component feature"]:
        """G of one frame, components in the order of `forces.reshape(-1)` [force / unit of the coefficient]."""
        columns = []
        for term, table in zip(self.terms, self.tables, strict=True):
            if isinstance(term, PairPotential):
                columns.append(pair_force_matrix(term, table, positions, box))
            else:
                gradient = jax.jacrev(lambda x, term=term: term.features(x, box))(positions)
                columns.append(-gradient.reshape(gradient.shape[0], -1).T)
        return jnp.concatenate(columns, axis=1)


def is_tabulated(term: Potential) -> bool:
    """Whether the engine samples a table of this term."""
    return isinstance(term, PairPotential) and term.tabulated


def factor_table(term: Potential) -> Float[Array, "bin feature"]:
    """f/r = −2 db/d(r²) of each basis function in the bins of the engine's table, and a last row of zeros."""
    assert isinstance(term, PairPotential)
    basis = term.pair_basis(jnp.asarray(table_nodes(term.cutoff)))
    factors = -2.0 * jnp.diff(basis, axis=0) / (term.cutoff**2 / TABLE_BINS)
    return jnp.concatenate([factors, jnp.zeros((1, factors.shape[1]))])


def pair_force_matrix(
    term: PairPotential,
    table: Float[Array, "bin feature"] | None,
    positions: Float[Array, "site dim"],
    box: Float[Array, " dim"],
) -> Float[Array, "component feature"]:
    """G of a pair term: for each site Σ_j b_f(r_ij) (r_i − r_j), with b_f the force factors of the basis."""

    def factors(s: Float[Array, " pair"]) -> Float[Array, "pair feature"]:
        if table is not None:
            return table[jnp.minimum(s * (TABLE_BINS / term.cutoff**2), TABLE_BINS).astype(jnp.int32)]
        safe = jnp.where(s > 0.0, s, term.cutoff**2)  # a site and itself
        return -2.0 * jax.jvp(term.pair_basis, (safe,), (jnp.ones_like(safe),))[1]

    def site(position: Float[Array, " dim"]) -> Float[Array, "dim feature"]:
        displacement = minimum_image(position - positions, box)
        return displacement.T @ factors(jnp.sum(displacement**2, axis=1))

    rows = jax.lax.map(site, positions, batch_size=min(SITES_AT_ONCE, positions.shape[0]))
    return rows.reshape(positions.size, -1)


class BlockSums(NamedTuple):
    """Sums over contiguous blocks of frames.

    Attributes:
        sums: [block quantity].
        n_frames: frames in each block [block].
        trajectory: the independent trajectory that each block lies in [block].
    """

    sums: np.ndarray
    n_frames: Int[np.ndarray, " block"]
    trajectory: Int[np.ndarray, " block"]

    def trajectory_lengths(self) -> tuple[int, ...]:
        """Number of blocks of each trajectory, in order."""
        starts = np.flatnonzero(np.r_[True, np.diff(self.trajectory) != 0, True])
        return tuple(int(n) for n in np.diff(starts))


def sum_over_blocks(
    blocks: Iterable[Frames],
    quantities: Callable[[Frames], Float[np.ndarray, "frame quantity"]],
    *,
    max_blocks: int,
) -> BlockSums:
    """Streams frames into about `max_blocks` sums of equal numbers of frames (but for each trajectory's last).

    Neighbouring blocks of one trajectory are merged in pairs whenever there are too many; every trajectory keeps at
    least one, so more trajectories than `max_blocks` give that many blocks.

    Raises:
        InputError: no frames.
    """
    size, sums, counts = 1, np.zeros((0, 0)), np.zeros(0, np.int64)
    trajectory, place = (
        np.zeros(0, np.int64),
        np.zeros(0, np.int64),
    )  # place: number of the block in its trajectory
    current, seen = None, 0
    for frames in blocks:
        labels = np.asarray(frames.trajectory)
        within = np.empty(frames.n_frames, np.int64)
        for start, stop in run_bounds(labels):
            seen = seen if labels[start] == current else 0
            within[start:stop] = seen + np.arange(stop - start)
            current, seen = labels[start], seen + stop - start
        new = np.asarray(quantities(frames), np.float64)
        sums = new if sums.size == 0 else np.concatenate([sums, new])
        counts = np.concatenate([counts, np.ones(frames.n_frames, np.int64)])
        trajectory = np.concatenate([trajectory, labels])
        place = np.concatenate([place, within // size])
        first = True
        while first or (len(sums) > max_blocks and place.any()):
            size, place = (size, place) if first else (2 * size, place // 2)
            starts = np.flatnonzero(np.r_[True, (np.diff(trajectory) != 0) | (np.diff(place) != 0)])
            sums, counts = np.add.reduceat(sums, starts, axis=0), np.add.reduceat(counts, starts)
            trajectory, place, first = trajectory[starts], place[starts], False
    if not len(sums):
        raise InputError("force sums: the source yields no frames; check start, stop and stride")
    return BlockSums(sums, counts, trajectory)


def run_bounds(labels: Int[np.ndarray, " frame"]) -> list[tuple[int, int]]:
    """Start and end of each run of equal labels."""
    edges = np.flatnonzero(np.r_[True, np.diff(labels) != 0, True])
    return [(int(a), int(b)) for a, b in zip(edges[:-1], edges[1:])]


def in_chunks(function: Callable[..., Array], *arrays: Float[np.ndarray, "frame *rest"]) -> np.ndarray:
    """Applies a compiled function of frames to chunks of one size; the last is padded with copies of its end."""
    parts, size = [], max(FRAMES_AT_ONCE, SMALL_SYSTEM // arrays[0].shape[1])
    for start in range(0, len(arrays[0]), size):
        chunk = [a[start : start + size] for a in arrays]
        n = len(chunk[0])
        padded = [np.concatenate([a, np.repeat(a[-1:], size - n, axis=0)]) for a in chunk]
        parts.append(np.asarray(function(*padded))[:n])
    return np.concatenate(parts)


def default_max_blocks(n_features: int) -> int:
    """512 blocks, fewer where their Gram matrices would fill more than 128 MiB."""
    return int(np.clip(2**24 // n_features**2, 48, 512))


class ForceNormalEquations(NamedTuple):
    """Everything that force matching needs to know of the frames, by contiguous blocks.

    Attributes:
        gram: Σ GᵀG [block feature feature].
        projection: Σ GᵀF [block feature].
        square: Σ FᵀF [block].
        n_frames: frames in each block [block].
        trajectory: the independent trajectory that each block lies in [block].
        n_components: force components in all [sites · dim · frames].
    """

    gram: np.ndarray
    projection: np.ndarray
    square: np.ndarray
    n_frames: np.ndarray
    trajectory: np.ndarray
    n_components: int

    def trajectory_lengths(self) -> tuple[int, ...]:
        """Number of blocks of each trajectory, in order."""
        return BlockSums(self.square, self.n_frames, self.trajectory).trajectory_lengths()

    def residual_square(self, eta: Float[np.ndarray, " feature"]) -> float:
        """Σ |F − Gη|² [force²]."""
        gram, projection = self.gram.sum(axis=0), self.projection.sum(axis=0)
        return max(float(self.square.sum() - 2.0 * projection @ eta + eta @ gram @ eta), 0.0)


@eqx.filter_jit
def _force_sums(
    features: ForceFeatures,
    positions: Float[Array, "frame site dim"],
    box: Float[Array, "frame dim"],
    forces: Float[Array, "frame site dim"],
) -> Float[Array, "frame quantity"]:
    def one(frame):
        x, edge, force = frame
        g, f = features.matrix(x, edge), force.reshape(-1)
        return jnp.concatenate([(g.T @ g).reshape(-1), g.T @ f, (f @ f)[None]])

    return jax.lax.map(one, (positions, box, forces))


def force_normal_equations(
    blocks: Iterable[Frames], potential: Potential, *, max_blocks: int | None = None
) -> ForceNormalEquations:
    """Sums GᵀG, GᵀF and FᵀF over frames that arrive block by block, in constant memory.

    Args:
        blocks: blocks of frames with forces (`Frames.blocks(size)` or a streamed reader's).
        potential: the potential whose features are wanted; its parameter values do not matter.
        max_blocks: sums kept apart for the sandwich; default 512, fewer for hundreds of features.

    Raises:
        InputError: frames without forces, no frames, or JAX in 32-bit mode.

    References:
        Noid et al. (2008), doi:10.1063/1.2938860, eq. 39.
    """
    features, n_components = ForceFeatures.of(potential), 0
    n_features = potential.coefficients().size

    def quantities(frames: Frames) -> np.ndarray:
        nonlocal n_components
        if frames.forces is None:
            raise InputError(
                "force matching: the frames hold no forces; write forces in the simulation, or use score matching or"
                " relative entropy, which need positions only"
            )
        n_components += frames.forces.size
        return in_chunks(lambda *a: _force_sums(features, *a), frames.positions, frames.box, frames.forces)

    sums = sum_over_blocks(blocks, quantities, max_blocks=max_blocks or default_max_blocks(n_features))
    gram, projection, square = np.split(sums.sums, [n_features**2, n_features**2 + n_features], axis=1)
    return ForceNormalEquations(
        gram.reshape(-1, n_features, n_features),
        projection,
        square[:, 0],
        sums.n_frames,
        sums.trajectory,
        n_components,
    )


class ForceMatchingLikelihood(eqx.Module):
    """log p(F | θ, σ) = −½ Σ |F − G η(θ)|² / σ² − n log(σ √2π), from the normal equations.

    It treats the n force components as independent; correlated frames and sites make its posterior too narrow
    (`force_matching_mode` gives the calibrated one). An array pytree: pass it to compiled functions as an argument.

    Attributes:
        gram: Σ GᵀG [feature feature].
        projection: Σ GᵀF [feature].
        square: Σ FᵀF [force²].
        n_components: n.
        sigma: σ where none is given [force].
    """

    gram: Float[Array, "feature feature"]
    projection: Float[Array, " feature"]
    square: Float[Array, ""]
    n_components: Float[Array, ""]
    sigma: Float[Array, ""]

    def log_likelihood(self, potential: Potential, sigma: Float[Array, ""] | None = None) -> Float[Array, ""]:
        """log p(F | θ, σ), normalised over the forces."""
        sd = self.sigma if sigma is None else sigma
        eta = potential.coefficients()
        residual = self.square - 2.0 * self.projection @ eta + eta @ (self.gram @ eta)
        return -0.5 * residual / sd**2 - self.n_components * (jnp.log(sd) + 0.5 * jnp.log(2.0 * jnp.pi))

    def effective_frames(self, potential: Potential) -> Float[Array, ""]:
        """Infinite: nothing is reweighted."""
        return jnp.asarray(jnp.inf)


def force_matching_likelihood(equations: ForceNormalEquations, *, sigma: float) -> ForceMatchingLikelihood:
    """The likelihood of reduced frames.

    Args:
        equations: from `force_normal_equations`.
        sigma: sd of a force component about the model's [force], e.g. the mode's.
    """
    sums = (equations.gram.sum(axis=0), equations.projection.sum(axis=0), equations.square.sum())
    return ForceMatchingLikelihood(*(jnp.asarray(x, float) for x in (*sums, equations.n_components, sigma)))


class ForceMatching(NamedTuple):
    """A force-matched potential and what the forces say about it.

    Attributes:
        z: the mode in unconstrained coordinates [coordinate].
        eta: coefficients at the mode [feature].
        sigma: sd of a force component about the model's [force].
        explained_variance: R² = 1 − Σ|F − Gη|² / Σ|F|².
        covariance: Laplace, as if all force components were independent [coordinate coordinate].
        calibrated_covariance: sandwich with blocks of frames as the unit; the Laplace one if `calibration` says so.
        degrees_of_freedom: of the t-distribution of calibrated draws.
        potential: at the mode.
        interval_is_meaningful: False for (nearly) noise-free forces.
        verdict: one sentence on the fit.
        calibration: one sentence on the calibrated covariance.
    """

    z: np.ndarray
    eta: np.ndarray
    sigma: float
    explained_variance: float
    covariance: np.ndarray
    calibrated_covariance: np.ndarray
    degrees_of_freedom: float
    potential: Potential
    interval_is_meaningful: bool
    verdict: str
    calibration: str

    def draw(self, key: Key[Array, ""], n: int) -> Float[np.ndarray, "draw coordinate"]:
        """Calibrated draws of z from the multivariate t about the mode; `prior.potential(z)` makes potentials.

        Raises:
            InputError: the interval is meaningless, see `verdict`.
        """
        if not self.interval_is_meaningful:
            raise InputError(f"force matching: no draws; {self.verdict}")
        normal_key, stretch_key = jax.random.split(key)
        values, vectors = np.linalg.eigh(self.calibrated_covariance)
        root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
        normal = np.asarray(jax.random.normal(normal_key, (n, self.z.size)))
        nu = self.degrees_of_freedom
        stretch = np.ones(n)
        if np.isfinite(nu):
            stretch = np.sqrt(nu / (2.0 * np.asarray(jax.random.gamma(stretch_key, nu / 2.0, (n,)))))
        return self.z + stretch[:, None] * (normal @ root)


def force_matching_mode(
    equations: ForceNormalEquations,
    prior: Prior,
    *,
    key: Key[Array, ""],
    start: Float[np.ndarray, " coordinate"] | None = None,
    sigma: float | None = None,
) -> ForceMatching:
    """Maximises log p(z) − ½ Σ |F − G η(z)|² / σ², with σ² = RSS / (n − p_eff) found along with it.

    One Newton step serves a potential that is linear in z. The calibrated covariance takes blocks of frames, not
    force components, as the statistical unit: forces on neighbours in one frame are anything but independent.

    Args:
        equations: from `force_normal_equations`.
        prior: the prior on z.
        key: for the average over the prior in the calibrated covariance.
        start: where the search begins; default the prior's median.
        sigma: σ where it is known [force].

    Raises:
        ConvergenceError: no maximum.

    Example:
        >>> import numpyro.distributions as dist
        >>> from bayescg.data import State, Topology, get_unit_system
        >>> from bayescg.inference import independent_prior
        >>> from bayescg.physics import DoubleWell
        >>> noise = np.random.default_rng(1).normal(size=(2, 50, 20, 1))
        >>> x = 1.5 * noise[0]
        >>> topology, state = Topology(("A",) * 20, np.ones(20)), State(1.0)
        >>> forces = 2.0 * x - x**3 + 0.1 * noise[1]
        >>> frames = Frames(x, np.array([np.inf]), topology, state, get_unit_system("lj"), forces=forces)
        >>> well = DoubleWell(1.0, 1.0)
        >>> prior = independent_prior(well, {"well_t1": dist.Normal(1, 2), "well_t2": dist.LogNormal(0, 1)})
        >>> equations = force_normal_equations(frames.blocks(25), well)
        >>> fit = force_matching_mode(equations, prior, key=jax.random.key(2))
        >>> [round(float(x), 1) for x in (fit.potential.t1, fit.potential.t2, fit.sigma)]
        [2.0, 1.0, 0.1]
    """
    search = QuadraticSearch(prior)
    gram, projection, square = (
        equations.gram.sum(axis=0),
        equations.projection.sum(axis=0),
        equations.square.sum(),
    )
    n = equations.n_components
    z = prior_centre(prior) if start is None else np.asarray(start, float)
    sd = float(np.sqrt(square / n)) if sigma is None else sigma
    floor = 1e-8 * float(np.sqrt(square / n))  # what float64 can still tell from an exact fit
    for _ in range(100):
        mode = search(QuadraticForm(gram / sd**2, projection / sd**2), z)
        z, previous = mode.z, sd
        residual = equations.residual_square(mode.eta)
        if sigma is not None:
            break
        spent = float(np.trace(np.linalg.solve(mode.curvature + mode.prior_precision, mode.curvature)))
        sd = max(float(np.sqrt(residual / max(n - spent, 1.0))), floor)
        if abs(sd - previous) < 1e-9 * sd:
            break
    scores = (equations.projection - equations.gram @ mode.eta) @ mode.jacobian / sd**2
    sandwich = block_sandwich(
        mode,
        scores,
        lengths=equations.trajectory_lengths(),
        prior_score_covariance=search.prior_score_covariance(mode.z, key=key),
    )
    explained = 1.0 - residual / float(square)
    meaningful = bool(np.sqrt(residual / float(square)) > NOISE_FREE)
    return ForceMatching(
        z=mode.z,
        eta=mode.eta,
        sigma=sd,
        explained_variance=explained,
        covariance=mode.covariance,
        calibrated_covariance=mode.covariance if sandwich is None else sandwich.covariance,
        degrees_of_freedom=np.inf if sandwich is None else sandwich.degrees_of_freedom,
        potential=prior.potential(jnp.asarray(mode.z)),
        interval_is_meaningful=meaningful,
        verdict=_verdict(meaningful, explained, float(np.sqrt(residual / n)), float(np.sqrt(square / n))),
        calibration=f"not calibrated: {len(scores)} blocks of frames are too few; force components count as independent"
        if sandwich is None
        else sandwich.sentence,
    )


def _verdict(meaningful: bool, explained: float, residual: float, rms: float) -> str:
    if meaningful:
        return (
            f"the potential explains {100.0 * explained:.1f} % of the force variance; the rest, {residual:.3g} per"
            " component, is noise and what such a potential cannot express"
        )
    return (
        f"the forces fit to rounding (residual {residual:.2g} per component, {residual / rms:.1e} of their rms):"
        " intervals are of the size of the file's rounding; refusing an interval"
    )
