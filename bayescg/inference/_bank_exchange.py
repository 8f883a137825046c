"""The exchange algorithm under the contract of all samplers: its data sets are reference frames, drawn by their weights."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from bayescg.errors import InputError
from bayescg.inference._exchange import ExchangeState, ExchangeTarget, run_exchange
from bayescg.inference._likelihood import RelativeEntropy
from bayescg.inference._posterior import Posterior
from bayescg.inference._prior import Prior
from bayescg.inference._sampler import Draws, Target, dispersed, effective_frames_barrier, energies_at
from bayescg.physics import Potential, Surrogate

PROPOSALS_PER_COORDINATE = 10
"""Data sets drawn per kept draw and coordinate: a random walk's steps are short, and fewer than half are taken."""
SCALE = 1.7
"""Length of a proposal in Laplace standard deviations, over the root of the number of coordinates."""


class BankFrames(eqx.Module):
    """Data sets drawn from the reference frames by the weights that reweight them to a potential.

    With P(n) ∝ exp(−β η·φ_n)/D_n on the frames of the bank, whose normalising constant is the surrogate's Z(η), the frames
    are independent, exact draws of that discrete model. So the exchange algorithm with them samples the posterior that
    has the surrogate's log Z in it without ever computing it; how far that is from the true one is for a fresh
    simulation to say.

    Attributes:
        surrogate: of the bank.
        n_frames: frames of a data set.

    Example:
        >>> from bayescg.inference import example_spring
        >>> spring, _, surrogate = example_spring()  # k = 2, ⟨x²⟩/2 = 1/4
        >>> mean = BankFrames(surrogate, 20_000).mean_features(jax.random.key(0), spring)
        >>> bool(abs(mean[0] - 0.25) < 0.01)
        True
    """

    surrogate: Surrogate
    n_frames: int = eqx.field(static=True)

    def mean_features(self, key: Key[Array, ""], potential: Potential) -> Float[Array, " feature"]:
        """⟨φ⟩ of n_frames frames, drawn with replacement."""
        log_weights = self.surrogate.log_weights(potential.coefficients())
        cumulative = jnp.cumsum(jnp.exp(log_weights - jnp.max(log_weights)))
        u = jax.random.uniform(key, (self.n_frames,), cumulative.dtype) * cumulative[-1]
        drawn = jnp.minimum(jnp.searchsorted(cumulative, u, side="right"), len(cumulative) - 1)
        return self.surrogate.centre + self.surrogate.centred_features[drawn].mean(axis=0)


class _Guarded(eqx.Module):
    """The prior, less the barrier that keeps every sampler where the surrogate can be trusted."""

    prior: Prior = eqx.field(static=True)
    target: Target

    def potential(self, z: Float[Array, " coordinate"]) -> Potential:
        return self.prior.potential(z)

    def log_density(self, z: Float[Array, " coordinate"]) -> Float[Array, ""]:
        n_eff = self.target.likelihood.effective_frames(self.prior.potential(z))
        return self.prior.log_density(z) - effective_frames_barrier(self.target, n_eff)


class BankExchange:
    """The exchange algorithm on the reference bank: see `Exchange` and `BankFrames`.

    Draws of the posterior that the other samplers of the log density draw from, by a random walk that never evaluates
    log Z: a check of them, not of the reweighting. A proposal costs a pass over the bank and a data set, and a random
    walk crosses p coordinates in about p steps: for few parameters.

    Args:
        posterior: the posterior.
        n_frames: frames of the data.
        n_warmup: draws thrown away.
        scale: length of a proposal in Laplace standard deviations, over √p.

    Example:
        >>> from bayescg.inference import example_frames
        >>> posterior, frames, target = example_frames()
        >>> target = target._replace(root=jnp.array([[(2 / 500) ** 0.5]]))  # Laplace's
        >>> exchange = BankExchange(posterior, n_frames=500)
        >>> state = exchange.initial_state(jax.random.key(0), target, n_chains=4)
        >>> state, draws = exchange.step(state, target, n=200)
        >>> bool(0.055 < draws.z.std() < 0.075)  # √(2/500)
        True
    """

    name = "exchange"

    def __init__(self, posterior: Posterior, *, n_frames: int, n_warmup: int = 0, scale: float = SCALE):
        self.posterior, self.n_frames, self.n_warmup, self.scale = posterior, n_frames, n_warmup, scale
        self._energies = eqx.filter_jit(energies_at)

    def initial_state(
        self, key: Key[Array, ""], target: Target, *, n_chains: int, spread: float = 1.0
    ) -> ExchangeState:
        """Chains dispersed around the centre by `spread` Laplace standard deviations."""
        start_key, chain_key = jax.random.split(key)
        return self.state_at(
            chain_key, target, dispersed(start_key, target, n_chains=n_chains, spread=spread)
        )

    def state_at(
        self, key: Key[Array, ""], target: Target, start: Float[Array, "chain coordinate"]
    ) -> ExchangeState:
        """Chains that start at given whitened coordinates."""
        return ExchangeState(jnp.asarray(start), jax.random.split(key, len(start)))

    def step(self, state: ExchangeState, target: Target, *, n: int) -> tuple[ExchangeState, Draws]:
        """Advance all chains by n draws; `n_steps` counts the data sets drawn for each.

        Raises:
            InputError: a likelihood without reference frames.
        """
        size = target.centre.size
        likelihood = target.likelihood
        if not isinstance(likelihood, RelativeEntropy):
            raise InputError(
                f"{self.name}: needs the likelihood of frames with a reference bank, found {type(likelihood).__name__}; use"
                " the sampler 'nuts'"
            )
        exchange = ExchangeTarget(
            BankFrames(likelihood.surrogate, self.n_frames), likelihood.mean_features, likelihood.surrogate.beta,
            target.centre, target.root,
        )  # fmt: skip
        state, draws = run_exchange(
            state, exchange, _Guarded(self.posterior.prior, target),
            scale=self.scale / float(np.sqrt(size)), n=n, thin=PROPOSALS_PER_COORDINATE * size,
        )  # fmt: skip
        energies = np.asarray(self._energies(self.posterior, target, jnp.asarray(draws.z)))
        return state, draws._replace(energy=energies)
