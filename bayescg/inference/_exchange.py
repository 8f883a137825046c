"""The exchange algorithm: exact draws from a posterior whose normalising constant is unknown."""

from typing import NamedTuple, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from bayescg.errors import InputError
from bayescg.inference._prior import Prior
from bayescg.inference._sampler import Draws
from bayescg.physics import Potential, SufficientStatistics


class AuxiliaryData(Protocol):
    """Draws data sets from the model: an array pytree with one method, traceable.

    The algorithm is exact where the frames are independent draws from exp(−βU)/Z; frames of a simulation make it
    approximate, the more so the less that simulation forgets its start.

    Example:
        >>> class Spring(eqx.Module):  # 10 frames of exp(-theta x²), whose feature is x²
        ...     n_frames: int = eqx.field(static=True)
        ...     def mean_features(self, key, potential):
        ...         x2 = jax.random.normal(key, (self.n_frames, 1)) ** 2 / (2 * potential.coefficients())
        ...         return x2.mean(axis=0)
        >>> auxiliary: AuxiliaryData = Spring(10)
        >>> auxiliary.n_frames
        10
    """

    @property
    def n_frames(self) -> int:
        """Frames of a data set."""
        ...

    def mean_features(self, key: Key[Array, ""], potential: Potential) -> Float[Array, " feature"]:
        """⟨φ⟩ of n_frames fresh independent frames of the model."""
        ...


class Parameters(Protocol):
    """What the parameters are: the prior, or the prior and what else is known of them."""

    def potential(self, z: Float[Array, " coordinate"]) -> Potential:
        """U at z."""
        ...

    def log_density(self, z: Float[Array, " coordinate"]) -> Float[Array, ""]:
        """log p(z), up to a constant."""
        ...


class ExchangeTarget(NamedTuple):
    """What one compiled step needs: an array pytree.

    Attributes:
        auxiliary: draws data sets of as many frames as the data.
        mean_features: ⟨φ⟩ of the data [feature].
        beta: 1/kT [1/energy].
        centre: origin of the whitened coordinates [coordinate].
        root: z = centre + root @ w; proposals are isotropic in w [coordinate coordinate].

    Example:
        >>> ExchangeTarget(None, jnp.zeros(1), jnp.asarray(1.0), jnp.zeros(1), jnp.eye(1)).root.shape
        (1, 1)
    """

    auxiliary: AuxiliaryData
    mean_features: Float[Array, " feature"]
    beta: Float[Array, ""]
    centre: Float[Array, " coordinate"]
    root: Float[Array, "coordinate coordinate"]


class ExchangeState(NamedTuple):
    """Chains between two proposals.

    Attributes:
        w: whitened coordinates [chain coordinate].
        keys: one PRNG key per chain.
    """

    w: Float[Array, "chain coordinate"]
    keys: Key[Array, " chain"]


def exchange_target(
    statistics: SufficientStatistics,
    *,
    auxiliary: AuxiliaryData,
    beta: float,
    centre: Float[np.ndarray, " coordinate"],
    covariance: Float[np.ndarray, "coordinate coordinate"],
) -> ExchangeTarget:
    """What `Exchange` needs, from the data.

    Args:
        statistics: the data, reduced.
        auxiliary: draws data sets of the model.
        beta: 1/kT [1/energy].
        centre: near the maximum of the posterior [coordinate].
        covariance: about that of the posterior; it shapes the proposals [coordinate coordinate].

    Raises:
        InputError: auxiliary data sets of another size than the data, or a covariance that is not positive definite.

    Example:
        >>> class Spring(eqx.Module):  # frames of exp(-theta x²), whose feature is x²
        ...     n_frames: int = eqx.field(static=True)
        ...     def mean_features(self, key, potential):
        ...         x2 = jax.random.normal(key, (self.n_frames, 1)) ** 2 / (2 * potential.coefficients())
        ...         return x2.mean(axis=0)
        >>> frames = SufficientStatistics(np.full((10, 1), 0.25), *np.zeros((2, 10, 0)), np.zeros(10, int))
        >>> target = exchange_target(
        ...     frames, auxiliary=Spring(10), beta=1.0, centre=np.zeros(1), covariance=np.eye(1)
        ... )
        >>> target.mean_features.tolist()
        [0.25]
    """
    if auxiliary.n_frames != statistics.n_frames:
        raise InputError(
            f"auxiliary data sets have {auxiliary.n_frames} frames, the data {statistics.n_frames}: the exchange"
            " algorithm needs equal numbers"
        )
    try:
        root = np.linalg.cholesky(np.asarray(covariance, float))
    except np.linalg.LinAlgError as error:
        raise InputError("the covariance that shapes the proposals is not positive definite") from error
    mean = jnp.asarray(statistics.features.mean(axis=0))
    return ExchangeTarget(auxiliary, mean, jnp.asarray(beta), jnp.asarray(centre), jnp.asarray(root))


class Exchange:
    """The exchange algorithm with a random walk, many chains in lockstep.

    A proposal z' comes with a data set y drawn afresh from the model at z'. It is accepted with the probability

        min{1, p(z') f(x|z') f(y|z) / [p(z) f(x|z) f(y|z')]},    f(x|z) = exp(−β Σ U_z(x_i)),

    in which every Z cancels; for U = η·φ it needs ⟨φ⟩ of x and of y alone. Each proposal costs as many independent model
    frames as there are data: the exact check of cheaper methods, for toys.

    Args:
        prior: the prior on z.
        scale: standard deviation of the proposals, in units of the posterior's.
        thin: proposals per kept draw.
        n_warmup: draws that a driver should drop at the start.

    Raises:
        InputError: a number is impossible.

    Example:
        >>> import numpyro.distributions as dist
        >>> from bayescg.inference import independent_prior
        >>> from bayescg.physics import LinearPotential
        >>> class Spring(eqx.Module):
        ...     n_frames: int = eqx.field(static=True)
        ...     def mean_features(self, key, potential):
        ...         x2 = jax.random.normal(key, (self.n_frames, 1)) ** 2 / (2 * potential.coefficients())
        ...         return x2.mean(axis=0)
        >>> def square(positions, box):
        ...     return jnp.sum(positions**2).reshape(1)
        >>> spring = LinearPotential(jnp.ones(1), function=square, name="spring")
        >>> prior = independent_prior(spring, {"spring_theta": dist.Gamma(2.0, 1.0)})
        >>> frames = SufficientStatistics(np.full((20, 1), 0.5), *np.zeros((2, 20, 0)), np.zeros(20, int))
        >>> target = exchange_target(
        ...     frames, auxiliary=Spring(20), beta=1.0, centre=np.zeros(1), covariance=0.1 * np.eye(1)
        ... )
        >>> exchange = Exchange(prior, thin=5)
        >>> state = exchange.initial_state(jax.random.key(0), target, n_chains=200)
        >>> state, draws = exchange.step(state, target, n=40)
        >>> theta = np.exp(draws.z[:, 5:])
        >>> bool(abs(theta.mean() - 12 / 11) < 0.02)  # Gamma(2 + 20/2, 1 + 20 * 0.5)
        True

    References:
        Murray, Ghahramani & MacKay (2006), arXiv:1206.6848, algorithm 3; Møller et al. (2006),
        doi:10.1093/biomet/93.2.451.
    """

    name = "exchange"

    def __init__(self, prior: Prior, *, scale: float = 1.0, thin: int = 1, n_warmup: int = 0):
        if not scale > 0.0:
            raise InputError(f"scale is {scale}, expected a positive number such as 1")
        if thin < 1 or n_warmup < 0:
            raise InputError(f"thin {thin} and n_warmup {n_warmup}: expected at least 1 and at least 0")
        self.prior, self.scale, self.thin, self.n_warmup = prior, scale, thin, n_warmup

    def initial_state(
        self, key: Key[Array, ""], target: ExchangeTarget, *, n_chains: int, spread: float = 1.0
    ) -> ExchangeState:
        """Chains dispersed around the centre by `spread` standard deviations of the proposals' covariance."""
        start_key, chain_key = jax.random.split(key)
        w = spread * jax.random.normal(start_key, (n_chains, target.centre.size), target.centre.dtype)
        return self.state_at(chain_key, target, w)

    def state_at(
        self, key: Key[Array, ""], target: ExchangeTarget, start: Float[Array, "chain coordinate"]
    ) -> ExchangeState:
        """Chains that start at given whitened coordinates."""
        return ExchangeState(jnp.asarray(start), jax.random.split(key, len(start)))

    def step(self, state: ExchangeState, target: ExchangeTarget, *, n: int) -> tuple[ExchangeState, Draws]:
        """Advance all chains by n draws; `n_steps` counts the data sets drawn for each."""
        return run_exchange(state, target, self.prior, scale=self.scale, n=n, thin=self.thin)


def run_exchange(
    state: ExchangeState, target: ExchangeTarget, prior: Parameters, *, scale: float, n: int, thin: int
) -> tuple[ExchangeState, Draws]:
    """n draws of every chain, thin proposals apart; the log density is unknown, so that they carry no energy."""
    state, (z, acceptance) = _run(state, target, prior, jnp.asarray(scale), n, jnp.asarray(thin))
    draws = Draws.without_trajectories(np.asarray(z), np.full(z.shape[:2], np.nan))
    return state, draws._replace(
        acceptance_rate=np.asarray(acceptance),
        n_steps=np.full(z.shape[:2], thin),
        step_size=np.full(z.shape[:2], scale),
    )


@eqx.filter_jit
def _run(
    state: ExchangeState,
    target: ExchangeTarget,
    prior: Parameters,
    scale: Array,
    n: int,
    thin: Int[Array, ""],
) -> tuple[ExchangeState, tuple[Array, Array]]:
    weight = target.beta * target.auxiliary.n_frames

    def propose(_: Array, carry: tuple[ExchangeState, Array]) -> tuple[ExchangeState, Array]:
        (w, key), total = carry
        key, move_key, data_key, accept_key = jax.random.split(key, 4)
        new = w + scale * jax.random.normal(move_key, w.shape, w.dtype)
        z, new_z = (target.centre + target.root @ x for x in (w, new))
        potential, proposed = prior.potential(z), prior.potential(new_z)
        drawn = target.auxiliary.mean_features(data_key, proposed)
        change = proposed.coefficients() - potential.coefficients()
        log_ratio = (
            prior.log_density(new_z) - prior.log_density(z) + weight * change @ (drawn - target.mean_features)
        )
        chance = jnp.where(jnp.isnan(log_ratio), 0.0, jnp.exp(jnp.minimum(log_ratio, 0.0)))
        take = jax.random.uniform(accept_key, dtype=chance.dtype) < chance
        return ExchangeState(jnp.where(take, new, w), key), total + chance

    def draw(state: ExchangeState, _: None) -> tuple[ExchangeState, tuple[Array, Array]]:
        start = (state, jnp.zeros((), state.w.dtype))
        state, total = jax.lax.fori_loop(0, thin, propose, start)
        return state, (target.centre + target.root @ state.w, total / thin)

    return jax.vmap(lambda one: jax.lax.scan(draw, one, None, length=n))(state)
