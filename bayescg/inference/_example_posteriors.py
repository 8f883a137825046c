"""The smallest posteriors, which the examples of samplers, scores and identifiability share."""

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float

from bayescg.inference._likelihood import ExactLikelihood, relative_entropy
from bayescg.inference._posterior import Posterior
from bayescg.inference._prior import Prior, independent_prior
from bayescg.inference._sampler import Target
from bayescg.physics import (
    DoubleWell,
    LinearPotential,
    Reference,
    ReferenceBank,
    SufficientStatistics,
    Surrogate,
)


class _Seen(ExactLikelihood):
    """One observation, 1, of a number with a standard error of 1/2."""

    def log_likelihood(self, model: Float[Array, ""]) -> Float[Array, ""]:
        return dist.Normal(model, 0.5).log_prob(1.0)


def example_observation() -> tuple[Posterior, Target]:
    """A standard normal x of which 1 ± 1/2 was observed: p(x | 1) = N(0.8, 0.2), p(1) = N(1; 0, 1.25).

    Returns:
        The posterior, and a target centred at its mode and whitened.

    Example:
        >>> posterior, target = example_observation()
        >>> float(target.centre[0]), round(float(posterior.log_likelihood(target.centre, target.likelihood)), 4)
        (0.8, -0.3058)
    """
    posterior = Posterior(Prior(lambda: numpyro.sample("x", dist.Normal(0.0, 1.0))))
    return posterior, Target(_Seen(), jnp.array([0.8]), jnp.array([[0.2**0.5]]), jnp.asarray(1.0))


def _half_square(positions: Float[Array, "site dim"], box: Float[Array, " dim"]) -> Float[Array, " feature"]:
    return jnp.sum(positions**2).reshape(1) / 2


def example_spring() -> tuple[LinearPotential, Prior, Surrogate]:
    """U = k x²/2 on a line at β = 1 with k = 2, log k standard normal, and its exact free energy by quadrature.

    Returns:
        The potential, the prior, and a surrogate whose "frames" are a grid; features are x²/2.

    Example:
        >>> spring, prior, surrogate = example_spring()
        >>> round(float(surrogate.mean_features(spring.coefficients())[0]), 6)  # ⟨x²⟩/2 = 1/(2k)
        0.25
    """
    x = jnp.linspace(-8.0, 8.0, 400)
    surrogate = Surrogate(jnp.ones(()), jnp.zeros(1), (x**2 / 2)[:, None], jnp.zeros(400))
    spring = LinearPotential(jnp.array([2.0]), function=_half_square, name="spring")
    return spring, independent_prior(spring, {"spring_theta": dist.LogNormal(0.0, 1.0)}), surrogate


def example_frames() -> tuple[Posterior, SufficientStatistics, Target]:
    """500 independent frames of a unit normal, U = −t₁ x²/2 with t₁ = −1 and a prior N(−1, 2²), and simulations of it.

    Returns:
        The posterior, the frames, and a target centred at t₁ = −1, not whitened.

    Example:
        >>> posterior, frames, target = example_frames()
        >>> frames.n_frames, target.centre.tolist()
        (500, [-1.0])
    """
    x, nothing = np.random.default_rng(0).normal(size=(4, 500)), np.zeros((4, 500, 0))
    features = np.stack([-(x**2) / 2, x**4 / 4], axis=-1)
    reference = Reference(np.array([-1.0, 0.0]), features, nothing, nothing, np.zeros((0, 1, 1)))
    bank = ReferenceBank(1.0, (reference,))
    frames = SufficientStatistics(features[0], nothing[0], nothing[0], np.zeros(500, int))
    posterior = Posterior(
        Prior(lambda: DoubleWell(numpyro.sample("t1", dist.Normal(-1.0, 2.0)), jnp.zeros(())))
    )
    likelihood = relative_entropy(frames, bank.surrogate())
    return posterior, frames, Target(likelihood, jnp.array([-1.0]), jnp.eye(1), jnp.asarray(1.0))
