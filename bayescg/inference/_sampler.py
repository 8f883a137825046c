"""The one contract of samplers of a log density, what they sample, and what they give."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from bayescg.inference._likelihood import Likelihood
from bayescg.inference._posterior import BATCH, Posterior

GUARD_WIDTH = 0.25
"""Width of the effective-frames barrier in log n_eff."""


class Target(NamedTuple):
    """What one compiled step of a sampler needs: arrays only.

    Attributes:
        likelihood: with its surrogate.
        centre: origin of the whitened coordinates [coordinate].
        root: z = centre + root @ w [coordinate coordinate].
        least_effective_frames: where the barrier begins.

    Example:
        >>> target = Target(None, jnp.array([1.0]), jnp.array([[0.5]]), jnp.asarray(50.0))
        >>> target.coordinates(jnp.array([2.0])).tolist()
        [2.0]
    """

    likelihood: Likelihood
    centre: Float[Array, " coordinate"]
    root: Float[Array, "coordinate coordinate"]
    least_effective_frames: Float[Array, ""]

    def coordinates(self, w: Float[Array, "*batch coordinate"]) -> Float[Array, "*batch coordinate"]:
        """z at whitened coordinates w."""
        return self.centre + w @ self.root.T


class Draws(NamedTuple):
    """Draws and their diagnostics, the same columns for every sampler.

    A sampler that follows no trajectories has none to count and none that diverge: 0 steps, and NaN where there is no
    number (a zero energy or step size would be a wrong one).

    Attributes:
        z: [chain draw coordinate].
        energy: Hamiltonian energy, or the potential energy −log p of samplers without momenta [chain draw].
        acceptance_rate: mean acceptance probability of the trajectory [chain draw].
        n_steps: leapfrog steps, or updates along a noisy gradient [chain draw].
        diverging: whether the trajectory diverged [chain draw].
        step_size: [chain draw].

    Example:
        >>> Draws.without_trajectories(np.zeros((4, 10, 2)), np.ones((4, 10))).n_steps.sum()
        np.int64(0)
    """

    z: np.ndarray
    energy: np.ndarray
    acceptance_rate: np.ndarray
    n_steps: np.ndarray
    diverging: np.ndarray
    step_size: np.ndarray

    @classmethod
    def without_trajectories(
        cls, z: Float[np.ndarray, "chain draw coordinate"], energy: Float[np.ndarray, "chain draw"]
    ) -> "Draws":
        """Draws of a sampler that has neither acceptance nor steps."""
        nothing = np.full(z.shape[:2], np.nan)
        none = np.zeros(z.shape[:2], int)
        return cls(np.asarray(z), np.asarray(energy), nothing, none, none.astype(bool), nothing)


class Sampler(Protocol):
    """Draws from a posterior, many chains in lockstep, in chunks that can be resumed to the same bits.

    All that the next chunk depends on, PRNG keys included, is in the state: a pytree of arrays that a checkpoint holds.

    Attributes:
        name: what the model file and stored results call it.
        n_warmup: iterations whose draws are thrown away.

    Example:
        >>> from bayescg.inference import BlackjaxNuts, LaplaceDraws, Nuts, TemperedSmc
        >>> [sampler.name for sampler in (Nuts, BlackjaxNuts, TemperedSmc, LaplaceDraws)]
        ['nuts', 'blackjax-nuts', 'smc', 'laplace']
    """

    name: str
    n_warmup: int

    def initial_state(
        self, key: Key[Array, ""], target: Target, *, n_chains: int, spread: float = 1.0
    ) -> Any:
        """Chains dispersed around the centre by `spread` Laplace standard deviations."""
        ...

    def step(self, state: Any, target: Target, *, n: int) -> tuple[Any, Draws]:
        """Advance all chains by n iterations: the new state and the draws on the way."""
        ...


class MarkovChains(Sampler, Protocol):
    """A sampler whose chains can start anywhere.

    Example:
        >>> from bayescg.inference import BlackjaxNuts, LaplaceDraws, Nuts
        >>> ["state_at" in vars(sampler) for sampler in (Nuts, BlackjaxNuts, LaplaceDraws)]
        [True, True, False]
    """

    def state_at(self, key: Key[Array, ""], target: Target, start: Float[Array, "chain coordinate"]) -> Any:
        """Chains that start at given whitened coordinates."""
        ...


SamplerChoice = Callable[..., Sampler]
"""Makes a sampler: called with a posterior and the keyword `n_warmup`."""


def guarded_potential(
    posterior: Posterior, target: Target, z: Float[Array, " coordinate"]
) -> Float[Array, ""]:
    """The potential energy that samplers see: −log p(z | D) up to a constant, and the effective-frames barrier."""
    model = posterior.prior.potential(z)
    log_likelihood, n_eff = target.likelihood.log_likelihood_and_effective_frames(model)
    log_density = posterior.prior.log_density(z) + log_likelihood
    return -log_density + effective_frames_barrier(target, n_eff)


def effective_frames_barrier(target: Target, n_eff: Float[Array, ""]) -> Float[Array, ""]:
    """Energy that keeps samplers where the surrogate can be trusted.

    Where fewer reference frames than the limit carry the reweighting, the surrogate's log Z is not to be trusted: the
    barrier (log n_limit/n_eff)²/2 in units of its width keeps samplers out, smoothly.
    """
    shortfall = jnp.log(target.least_effective_frames) - jnp.log(n_eff)
    return 0.5 * (jnp.maximum(shortfall, 0.0) / GUARD_WIDTH) ** 2


def whitened_potential(
    posterior: Posterior, target: Target
) -> Callable[[Float[Array, " coordinate"]], Float[Array, ""]]:
    """`guarded_potential` as a function of whitened coordinates."""
    return lambda w: guarded_potential(posterior, target, target.centre + target.root @ w)


def energies_at(
    posterior: Posterior, target: Target, z: Float[Array, "chain draw coordinate"]
) -> Float[Array, "chain draw"]:
    """The same potential energy at draws that were made without it."""
    w = jnp.linalg.solve(target.root, (z - target.centre).reshape(-1, z.shape[-1]).T).T
    return jax.lax.map(whitened_potential(posterior, target), w, batch_size=BATCH).reshape(z.shape[:2])


def log_volume(target: Target) -> Float[Array, ""]:
    """log |∂z/∂w|."""
    return jnp.linalg.slogdet(target.root)[1]


def dispersed(
    key: Key[Array, ""], target: Target, *, n_chains: int, spread: float
) -> Float[Array, "chain coordinate"]:
    """Whitened starting points around the centre."""
    return spread * jax.random.normal(key, (n_chains, target.centre.size))


def concatenate_draws(parts: list[Draws]) -> Draws:
    """Chunks of draws joined along the draw axis."""
    return Draws(*(np.concatenate(column, axis=1) for column in zip(*parts, strict=True)))
