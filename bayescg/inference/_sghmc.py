"""SGHMC: Langevin dynamics with momenta along a noisy gradient, the known noise counted as part of the friction."""

from jaxtyping import Array, Float, Key

from bayescg.errors import InputError
from bayescg.inference._sampler import Draws
from bayescg.inference._sgld import ChainState, GradientTarget, Sgld, run_chains


class Sghmc:
    """Stochastic-gradient Hamiltonian Monte Carlo in whitened coordinates, many chains in lockstep.

        v ← (1 − α) v + (a/2) ĝ + √(α a I − (a²/4) S) ξ,    w ← w + v.

    The friction α heats back what the gradient's noise of covariance S puts in; what is missing is injected. α = 1 is
    SGLD. On a quadratic log density the variance is 1/(1 − a/(4(2 − α))) of the true one, (1 + a s/(4α)) times that
    without the correction, and an effective draw costs 4α/a updates: momenta make no better use of a noisy gradient than
    SGLD does, but forget the start sooner, and allow larger a/α.

    Args:
        decay: α, the share of the velocity that is lost in every update.
        corrected: whether the gradient's noise is subtracted.
        thin: updates per kept draw.
        n_warmup: draws that a driver should drop at the start.

    Raises:
        InputError: decay, thin or n_warmup is impossible.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from bayescg.inference import example_gradient
        >>> target = GradientTarget(
        ...     example_gradient(noise=5.0), jnp.zeros(2), jnp.eye(2), 5.0 * jnp.eye(2), jnp.asarray(0.1)
        ... )
        >>> sampler = Sghmc(decay=0.3, thin=10)
        >>> state = sampler.initial_state(jax.random.key(0), target, n_chains=200)
        >>> state, draws = sampler.step(state, target, n=20)
        >>> bool(abs(draws.z.var() - 1.015) < 0.1)
        True

    References:
        Chen, Fox & Guestrin (2014), JMLR W&CP 32(2), 1683, eqs. 13 and 15.
    """

    name = "sghmc"

    def __init__(self, *, decay: float = 0.1, corrected: bool = True, thin: int = 1, n_warmup: int = 0):
        if not 0.0 < decay <= 1.0:
            raise InputError(f"decay is {decay}, expected above 0 and at most 1 (1 is SGLD)")
        self._positions = Sgld(corrected=corrected, thin=thin, n_warmup=n_warmup)
        self.decay, self.corrected, self.thin, self.n_warmup = decay, corrected, thin, n_warmup

    def initial_state(
        self, key: Key[Array, ""], target: GradientTarget, *, n_chains: int, spread: float = 1.0
    ) -> ChainState:
        """Chains dispersed around the centre by `spread` posterior standard deviations, at rest."""
        return self._positions.initial_state(key, target, n_chains=n_chains, spread=spread)

    def state_at(
        self, key: Key[Array, ""], target: GradientTarget, start: Float[Array, "chain coordinate"]
    ) -> ChainState:
        """Chains that start at given whitened coordinates, at rest."""
        return self._positions.state_at(key, target, start)

    def step(self, state: ChainState, target: GradientTarget, *, n: int) -> tuple[ChainState, Draws]:
        """Advance all chains by n draws; the log density is unknown, so that the draws carry no energy."""
        return run_chains(state, target, n=n, thin=self.thin, decay=self.decay, corrected=self.corrected)
