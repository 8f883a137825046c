"""Stochastic-gradient chains about a known maximum, under the contract of all samplers."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from bayescg.errors import ConvergenceError, InputError
from bayescg.inference._gradient_plan import measure_noise
from bayescg.inference._posterior import Posterior
from bayescg.inference._sampler import Draws, Target, energies_at
from bayescg.inference._sghmc import Sghmc
from bayescg.inference._sgld import ChainState, GradientTarget, Sgld, run_chains
from bayescg.inference._step_choice import GradientNoise, StepChoice, choose_step, predict_step
from bayescg.inference._stochastic_gradient import RelativeEntropyGradient

MOST_WARM_UP = 50
"""Draws thrown away at most: nothing is adapted, and as many autocorrelation times as 25 forget any start."""
MOST_BIAS = 1.0
"""Predicted error of a standard deviation beyond which a given step is refused, not only flagged."""
DRAWS_PER_TIME = 2.0
"""Kept draws per predicted autocorrelation time."""


class ReplicaChainState(NamedTuple):
    """Chains, and the noise that their step was chosen from; all arrays, so that it can be stored.

    Attributes:
        chains: positions, replicas and keys.
        noise: of the gradient at the centre: the parts of `GradientNoise`, one after the other.

    Example:
        >>> state = ReplicaChainState(None, jnp.ones((3, 2, 2)))
        >>> GradientNoise(*np.asarray(state.noise)).long_run.shape
        (2, 2)
    """

    chains: ChainState
    noise: Float[Array, "part coordinate coordinate"]


class StochasticGradientChains:
    """SGLD or SGHMC along simulations that go on while the parameters move, started about the maximum of the surrogate.

    The covariance that whitens the target, which the bank's Fisher information gives, is the preconditioner. Replicas
    at the centre then measure the gradient's noise, and the largest step is taken that changes no standard deviation by
    more than the tolerance, and lets the replicas lag behind by no more of one than that: the law of the variance is
    that of a normal posterior, others are shifted by the lag as well. The draws don't depend on the reweighted free
    energy, only their energies do. A kept draw is half an autocorrelation time from the next.

    Args:
        posterior: the posterior.
        gradient: its noisy gradient, with the replicas of one chain.
        dynamics: says how the chains move; its own `thin` and `n_warmup` do not count.
        tolerance: largest predicted error of means and standard deviations, in posterior standard deviations.
        step: given instead of chosen; then `choice` says whether it keeps the tolerance.
        n_warmup: draws thrown away; more than 50 are not.

    Raises:
        InputError: an impossible tolerance or step.

    Example:
        >>> from bayescg.data import Topology, get_unit_system
        >>> from bayescg.inference import example_frames, relative_entropy_gradient
        >>> from bayescg.physics import DoubleWell, persistent_replicas
        >>> posterior, frames, target = example_frames()
        >>> target = target._replace(root=jnp.array([[(2 / 500) ** 0.5]]))  # Laplace's
        >>> replicas = persistent_replicas(
        ...     DoubleWell(-1.0, 0.0), starts=np.ones((1, 1, 1)), topology=Topology(("A",), np.ones(1)),
        ...     box=np.array([np.inf]), units=get_unit_system("lj"), temperature=1.0, time_step=0.3, friction=1.0,
        ...     stride=4, n_replicas=128,
        ... )
        >>> gradient = relative_entropy_gradient(posterior.prior, frames, beta=1.0, replicas=replicas)
        >>> chains = StochasticGradientChains(posterior, gradient=gradient, dynamics=Sgld(), n_warmup=10)
        >>> state = chains.initial_state(jax.random.key(0), target, n_chains=4)
        >>> state, draws = chains.step(state, target, n=50)
        >>> chains.choice(state).width_bias <= 0.1 >= chains.choice(state).lag and bool(0.04 < draws.z.std() < 0.09)
        True
    """

    def __init__(
        self,
        posterior: Posterior,
        *,
        gradient: RelativeEntropyGradient,
        dynamics: Sgld | Sghmc,
        tolerance: float = 0.1,
        step: float | None = None,
        n_warmup: int = MOST_WARM_UP,
    ):
        if not 0.0 < tolerance < 1.0:
            raise InputError(
                f"tolerance is {tolerance}, expected a share of a standard deviation between 0 and 1, such as 0.1"
            )
        largest = 4.0 * (2.0 - dynamics.decay)
        if step is not None and not 0.0 < step < largest:
            raise InputError(
                f"step is {step}, expected above 0 and below {largest:g}, where {dynamics.name} is unstable"
            )
        self.name = dynamics.name
        self.n_warmup = min(n_warmup, MOST_WARM_UP)
        self.posterior, self.gradient, self.dynamics = posterior, gradient, dynamics
        self.tolerance, self.given_step = tolerance, step
        self._energies = eqx.filter_jit(energies_at)

    def choice(self, state: ReplicaChainState) -> StepChoice:
        """The step of the chains and its predicted bias."""
        noise = GradientNoise(*np.asarray(state.noise))
        corrected, decay = self.dynamics.corrected, self.dynamics.decay
        # A variance off by less than 1 - (1 - t)² has a root that is off by less than t, on both sides.
        of_variance = 1.0 - (1.0 - self.tolerance) ** 2
        if self.given_step is not None:
            return predict_step(
                self.given_step, noise, tolerance=of_variance, corrected=corrected, decay=decay
            )
        return choose_step(noise, tolerance=of_variance, corrected=corrected, decay=decay, lag=self.tolerance)

    def initial_state(
        self, key: Key[Array, ""], target: Target, *, n_chains: int, spread: float = 1.0
    ) -> ReplicaChainState:
        """Chains dispersed around the centre by `spread` Laplace standard deviations, after the noise was measured.

        Raises:
            InputError: a given step that would more than double a width, so that nothing could be made of the draws.
        """
        noise_key, chain_key = jax.random.split(key)
        noise = measure_noise(
            self.gradient, np.asarray(target.centre), np.asarray(target.root), key=noise_key
        )
        moving = self._moving(target, noise, 0.0)
        chains = self.dynamics.initial_state(chain_key, moving, n_chains=n_chains, spread=spread)
        state = ReplicaChainState(chains, jnp.stack([jnp.asarray(part) for part in noise]))
        choice = self.choice(state)
        if not choice.width_bias <= MOST_BIAS:
            raise InputError(
                f"{self.name}: the step {choice.step:g} is predicted to change posterior standard deviations by"
                f" {100 * choice.width_bias:.0f} %, beyond any use: leave it out to have it chosen, or take a tenth of it"
            )
        return state

    def step(self, state: ReplicaChainState, target: Target, *, n: int) -> tuple[ReplicaChainState, Draws]:
        """Advance all chains by n draws; energies are those of the target's own log density.

        Raises:
            ConvergenceError: a chain left the finite numbers.
        """
        choice = self.choice(state)
        thin = max(1, round(choice.autocorrelation_time / DRAWS_PER_TIME))
        chains, draws = run_chains(
            state.chains,
            self._moving(target, GradientNoise(*np.asarray(state.noise)), choice.step),
            n=n,
            thin=thin,
            decay=self.dynamics.decay,
            corrected=self.dynamics.corrected,
        )
        if draws.diverging.any():
            raise ConvergenceError(
                f"{self.name}: a chain left the finite numbers with the step {choice.step:.3g}: use a smaller tolerance or"
                " step"
            )
        energies = np.asarray(self._energies(self.posterior, target, jnp.asarray(draws.z)))
        return state._replace(chains=chains), draws._replace(energy=energies)

    def _moving(self, target: Target, noise: GradientNoise, step: float) -> GradientTarget:
        return GradientTarget(
            self.gradient, target.centre, target.root, jnp.asarray(noise.long_run), jnp.asarray(step)
        )
