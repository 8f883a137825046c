"""Langevin dynamics of parameters at a chosen temperature, under the contract of all samplers."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from bayescg.errors import ConvergenceError, InputError
from bayescg.inference._posterior import Posterior
from bayescg.inference._sampler import Draws, Target, guarded_potential
from bayescg.inference._tempered_langevin import LangevinState, LossTarget, TemperedLangevin

TIME_STEP = 0.25
"""In whitened coordinates, where an oscillation takes 2π: a quarter of the time 1/√curvature."""
FRICTION = 1.0
STEPS = 8
"""Between kept draws: after two units of time little is left of where a chain was."""


class LangevinChains:
    """Draws from p(z | D)^(1/τ) by underdamped Langevin dynamics in coordinates that Laplace's approximation whitens.

    At τ = 1 these are draws of the posterior, but for an error of the time step of order h² that no Metropolis test
    removes (none in a normal posterior). At any other temperature they are not: a normal posterior's widths come out
    √τ times too large, minima are occupied by exp(−L/τ); see `TemperedLangevin`.

    Args:
        posterior: the posterior.
        temperature: τ.
        time_step: h, in whitened coordinates.
        n_warmup: draws thrown away.

    Raises:
        InputError: a temperature or time step that is not positive.

    Example:
        >>> import jax
        >>> from bayescg.inference import example_observation
        >>> posterior, target = example_observation()  # N(0.8, 0.2)
        >>> chains = LangevinChains(posterior, temperature=4.0)
        >>> state = chains.initial_state(jax.random.key(0), target, n_chains=20)
        >>> state, draws = chains.step(state, target, n=100)
        >>> bool(abs(draws.z[:, 10:].var() - 4.0 * 0.2) < 0.1)
        True
    """

    name = "tempered-langevin"

    def __init__(
        self,
        posterior: Posterior,
        *,
        temperature: float = 1.0,
        time_step: float = TIME_STEP,
        n_warmup: int = 0,
    ):
        if not (np.isfinite(temperature) and temperature > 0.0):
            raise InputError(
                f"temperature is {temperature}, expected a positive number; 1 gives the posterior itself"
            )
        self.posterior, self.temperature, self.n_warmup = posterior, temperature, n_warmup
        self._langevin = TemperedLangevin(self._loss, time_step=time_step, friction=FRICTION, thin=STEPS)

    def _loss(self, z: Float[Array, " coordinate"], target: Target) -> Float[Array, ""]:
        return guarded_potential(self.posterior, target, z)

    def _at_temperature(self, target: Target) -> LossTarget:
        return LossTarget(target, target.centre, target.root, jnp.asarray(self.temperature))

    def initial_state(
        self, key: Key[Array, ""], target: Target, *, n_chains: int, spread: float = 1.0
    ) -> LangevinState:
        """Chains dispersed around the centre by `spread` standard deviations of p^(1/τ), with thermal momenta."""
        width = spread * self.temperature**0.5
        return self._langevin.initial_state(
            key, self._at_temperature(target), n_chains=n_chains, spread=width
        )

    def state_at(
        self, key: Key[Array, ""], target: Target, start: Float[Array, "chain coordinate"]
    ) -> LangevinState:
        """Chains that start at given whitened coordinates, with thermal momenta."""
        return self._langevin.state_at(key, self._at_temperature(target), start)

    def step(self, state: LangevinState, target: Target, *, n: int) -> tuple[LangevinState, Draws]:
        """Advance all chains by n draws.

        Raises:
            ConvergenceError: a chain left the finite numbers.
        """
        state, draws = self._langevin.step(state, self._at_temperature(target), n=n)
        if draws.diverging.any():
            raise ConvergenceError(
                f"{self.name}: a chain left the finite numbers at temperature {self.temperature:g}: the log density is too"
                " steep for its time step; use the sampler 'nuts'"
            )
        return state, draws
