"""Score matching: a start for relative entropy from positions alone, without forces and without a simulation.

For p ∝ exp(−βU) the expected squared difference between the model's and the data's ∂ log p/∂x is, up to a constant,

    J(θ) = E[½ β² |∇U|² − β ∇²U] = ½ β² ηᵀ E[GᵀG] η − β E[∇²φ] · η,

a quadratic form in the coefficients η(θ) without the normalisation Z. Its minimum is consistent for θ, with up to a
few times the variance of the maximum likelihood. exp(−N J) is *not* a likelihood: taken as one it would be many times
too narrow, so only the mode and its sandwich covariance are offered.

References:
    Hyvärinen (2005), JMLR 6, 695, eq. 4.
"""

from collections.abc import Iterable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from bayescg.data import Frames
from bayescg.errors import InputError
from bayescg.inference._force_matching import (
    BlockSums,
    ForceFeatures,
    default_max_blocks,
    in_chunks,
    sum_over_blocks,
)
from bayescg.inference._linear_gaussian import QuadraticForm, QuadraticSearch, block_sandwich, prior_centre
from bayescg.inference._prior import Prior
from bayescg.physics import PairPotential, Potential
from bayescg.physics._reduce import TABLE_BINS, table_nodes
from bayescg.physics._space import pair_distances_squared

SHELL = 0.02
"""Width of the shell, relative to the cutoff, in which pairs are counted for the jump of the force there."""


class FeatureLaplacian(eqx.Module):
    """∇²φ, the sum of second derivatives by all coordinates of each feature.

    A pair function b(r), s = r², contributes 2 (b″ + (d − 1) b′/r) = 2 (2d db/ds + 4s d²b/ds²) per pair, and where
    its slope jumps to 0 at the cutoff a delta function of weight −2 b′(r_c), counted in a thin shell. Tabulated pair
    terms take differences of the engine's table, which hold such jumps wherever they are.

    Attributes:
        terms: of the potential; their parameter values do not matter.
        tables: contribution per pair in bins of r², None for other terms.
    """

    terms: tuple[Potential, ...]
    tables: tuple[Float[Array, "bin feature"] | None, ...]

    @classmethod
    def of(cls, features: ForceFeatures, *, dim: int) -> "FeatureLaplacian":
        """For the same terms as the force features, in `dim` dimensions."""
        tables = zip(features.terms, features.tables, strict=True)
        return cls(
            features.terms, tuple(None if t is None else laplacian_table(p, t, dim=dim) for p, t in tables)
        )

    def __call__(
        self, positions: Float[Array, "site dim"], box: Float[Array, " dim"]
    ) -> Float[Array, " feature"]:
        """∇²φ of one frame [unit of the feature / length²]."""
        parts = []
        for term, table in zip(self.terms, self.tables, strict=True):
            if not isinstance(term, PairPotential):
                parts.append(laplacian_by_differentiation(term, positions, box))
            elif table is None:
                parts.append(pair_laplacian(term, positions, box))
            else:
                parts.append(pair_counts(term, positions, box) @ table)
        return jnp.concatenate(parts)


def laplacian_table(
    term: Potential, factors: Float[Array, "bin feature"], *, dim: int
) -> Float[Array, "bin feature"]:
    """2 (2d db/ds + 4s d²b/ds²) in the bins of the engine's table and one bin beyond the cutoff."""
    assert isinstance(term, PairPotential)
    width = term.cutoff**2 / TABLE_BINS
    slope = -0.5 * factors
    after = jnp.concatenate([slope[1:], jnp.zeros_like(slope[:1])])
    before = jnp.concatenate([slope[:1], slope[:-1]])
    middle = width * (jnp.arange(TABLE_BINS + 1) + 0.5)[:, None]
    resolved = (jnp.arange(TABLE_BINS + 1) * width > table_nodes(term.cutoff)[0] + 2 * width)[:, None]
    bend = jnp.where(resolved, (after - before) / (2.0 * width), 0.0)
    return 2.0 * (2.0 * dim * slope + 4.0 * middle * bend)


def pair_counts(
    term: PairPotential, positions: Float[Array, "site dim"], box: Float[Array, " dim"]
) -> Float[Array, " bin"]:
    """Number of pairs in each bin of the engine's table and in one bin beyond the cutoff."""
    place = pair_distances_squared(positions, box) * (TABLE_BINS / term.cutoff**2)
    counts = jnp.zeros(TABLE_BINS + 2).at[jnp.minimum(place, TABLE_BINS + 1.0).astype(jnp.int32)].add(1.0)
    return counts[:-1]


def pair_laplacian(
    term: PairPotential, positions: Float[Array, "site dim"], box: Float[Array, " dim"]
) -> Float[Array, " feature"]:
    """∇²φ of an analytic pair term, with the jump of its slope at the cutoff."""
    s, dim = pair_distances_squared(positions, box), positions.shape[1]

    def slope(x: Float[Array, "*pair"]) -> Float[Array, "*pair feature"]:
        return jax.jvp(term.pair_basis, (x,), (jnp.ones_like(x),))[1]

    first, second = jax.jvp(slope, (s,), (jnp.ones_like(s),))
    smooth = jnp.sum(2.0 * (2.0 * dim * first + 4.0 * s[:, None] * second), axis=0)
    width = SHELL * term.cutoff
    at_cutoff = jnp.sum(jnp.abs(jnp.sqrt(s) - term.cutoff) < 0.5 * width) / width
    jump = 2.0 * term.cutoff * slope(jnp.asarray(term.cutoff**2 * (1.0 - 1e-12)))
    return smooth - 2.0 * jump * at_cutoff


def laplacian_by_differentiation(
    term: Potential, positions: Float[Array, "site dim"], box: Float[Array, " dim"]
) -> Float[Array, " feature"]:
    """∇²φ of any potential with twice differentiable features, one coordinate after the other."""

    def features(x: Float[Array, " component"]) -> Float[Array, " feature"]:
        return term.features(x.reshape(positions.shape), box)

    def along(index: Array) -> Float[Array, " feature"]:
        direction = jnp.zeros(positions.size).at[index].set(1.0)

        def slope(x):
            return jax.jvp(features, (x,), (direction,))[1]

        return jax.jvp(slope, (positions.reshape(-1),), (direction,))[1]

    indices = jnp.arange(positions.size)
    return jnp.sum(jax.lax.map(along, indices, batch_size=min(16, positions.size)), axis=0)


class ScoreMatching(NamedTuple):
    """A score-matched potential.

    Attributes:
        z: the mode in unconstrained coordinates [coordinate].
        eta: coefficients at the mode [feature].
        potential: at the mode.
        covariance: sandwich covariance of z with blocks of frames as the unit; None for too few blocks.
        n_frames: frames used.
        calibration: one sentence on the covariance.
    """

    z: np.ndarray
    eta: np.ndarray
    potential: Potential
    covariance: np.ndarray | None
    n_frames: int
    calibration: str


@eqx.filter_jit
def _score_sums(
    features: ForceFeatures,
    laplacian: FeatureLaplacian,
    positions: Float[Array, "frame site dim"],
    box: Float[Array, "frame dim"],
) -> Float[Array, "frame quantity"]:
    def one(frame):
        x, edge = frame
        g = features.matrix(x, edge)
        return jnp.concatenate([(g.T @ g).reshape(-1), laplacian(x, edge)])

    return jax.lax.map(one, (positions, box))


def score_form(blocks: Iterable[Frames], potential: Potential) -> QuadraticForm:
    """N J as a quadratic form in the coefficients, summed over all frames.

    Args:
        blocks: blocks of frames in thermal equilibrium.
        potential: the potential whose features are wanted; its parameter values do not matter.

    Raises:
        InputError: no frames, frames at different temperatures, or JAX in 32-bit mode.
    """
    precision, linear, _ = _score_blocks(blocks, potential, None)
    return QuadraticForm(precision.sum(axis=0), linear.sum(axis=0))


def _score_blocks(
    blocks: Iterable[Frames], potential: Potential, max_blocks: int | None
) -> tuple[np.ndarray, np.ndarray, BlockSums]:
    """β² Σ GᵀG [block feature feature], β Σ ∇²φ [block feature], and the blocks."""
    features, n_features = ForceFeatures.of(potential), potential.coefficients().size
    betas: set[float] = set()
    laplacian: FeatureLaplacian | None = None

    def quantities(frames: Frames) -> np.ndarray:
        nonlocal laplacian
        betas.add(frames.units.beta(frames.state.temperature))
        if len(betas) > 1:
            raise InputError("score matching: frames at different temperatures; match each state by itself")
        if laplacian is None:
            laplacian = FeatureLaplacian.of(features, dim=frames.dim)
        return in_chunks(lambda *a: _score_sums(features, laplacian, *a), frames.positions, frames.box)

    sums = sum_over_blocks(blocks, quantities, max_blocks=max_blocks or default_max_blocks(n_features))
    beta = betas.pop()
    precision = beta**2 * sums.sums[:, : n_features**2].reshape(-1, n_features, n_features)
    linear = beta * sums.sums[:, n_features**2 :]
    return precision, linear, sums


def score_matching_mode(
    blocks: Iterable[Frames],
    potential: Potential,
    prior: Prior,
    *,
    key: Key[Array, ""],
    start: Float[np.ndarray, " coordinate"] | None = None,
    max_blocks: int | None = None,
) -> ScoreMatching:
    """Minimises N J(z) − log p(z), frames streamed in constant memory.

    β follows from the frames' temperature and units. The potential must be finite wherever frames are; an open or
    periodic space is assumed, without hard walls (there the score's boundary term would not vanish).

    Args:
        blocks: blocks of frames in thermal equilibrium (`Frames.blocks(size)` or a streamed reader's).
        potential: the potential whose features are wanted; its parameter values do not matter.
        prior: the prior on z, of potentials with these features.
        key: for the average over the prior in the sandwich covariance.
        start: where the search begins; default the prior's median.
        max_blocks: sums kept apart for the sandwich; default 512, fewer for hundreds of features.

    Raises:
        ConvergenceError: no minimum.
        InputError: no frames, frames at different temperatures, or JAX in 32-bit mode.

    Example:
        >>> import numpyro.distributions as dist
        >>> from bayescg.data import State, Topology, get_unit_system
        >>> from bayescg.inference import independent_prior
        >>> from bayescg.physics import LinearPotential
        >>> def harmonic(positions, box):
        ...     return jnp.sum(positions**2)[None] / 2
        >>> x = np.random.default_rng(1).normal(size=(40, 50, 1)) / 2
        >>> topology = Topology(("A",) * 50, np.ones(50))
        >>> frames = Frames(x, np.array([np.inf]), topology, State(1.0), get_unit_system("lj"))
        >>> spring = LinearPotential(jnp.zeros(1), function=harmonic, name="spring")
        >>> prior = independent_prior(spring, {"spring_theta": dist.Normal(0, 10)})
        >>> fit = score_matching_mode(frames.blocks(20), spring, prior, key=jax.random.key(2))
        >>> bool(abs(fit.z[0] - 4.0) < 0.4)
        True
    """
    precision, linear, sums = _score_blocks(blocks, potential, max_blocks)
    search = QuadraticSearch(prior)
    mode = search(
        QuadraticForm(precision.sum(axis=0), linear.sum(axis=0)),
        prior_centre(prior) if start is None else start,
    )
    sandwich = block_sandwich(
        mode,
        (linear - precision @ mode.eta) @ mode.jacobian,
        lengths=sums.trajectory_lengths(),
        prior_score_covariance=search.prior_score_covariance(mode.z, key=key),
    )
    too_few = f"no covariance: {len(linear)} blocks of frames are too few"
    return ScoreMatching(
        z=mode.z,
        eta=mode.eta,
        potential=prior.potential(jnp.asarray(mode.z)),
        covariance=None if sandwich is None else sandwich.covariance,
        n_frames=int(sums.n_frames.sum()),
        calibration=too_few if sandwich is None else sandwich.sentence,
    )
