"""The relative-entropy likelihood of configurations at thermal equilibrium."""

import abc
from typing import Any, Protocol

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayescg.physics import Potential, SufficientStatistics, Surrogate


class Likelihood(Protocol):
    """What a posterior needs of the data: a function of what its prior draws, as an array pytree."""

    def log_likelihood(self, model: Any, /) -> Float[Array, ""]:
        """log p(D | model), up to a constant."""
        ...

    def log_likelihood_and_effective_frames(self, model: Any, /) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The same, and the effective number of frames that it rests on; infinite where nothing is reweighted."""
        ...

    def effective_frames(self, model: Any, /) -> Float[Array, ""]:
        """The latter alone."""
        ...


class ExactLikelihood(eqx.Module):
    """A likelihood that reweights nothing: it rests on infinitely many effective frames."""

    @abc.abstractmethod
    def log_likelihood(self, model: Any, /) -> Float[Array, ""]:
        """log p(D | model)."""

    def log_likelihood_and_effective_frames(self, model: Any, /) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The same, and infinity."""
        return self.log_likelihood(model), jnp.asarray(jnp.inf)

    def effective_frames(self, model: Any, /) -> Float[Array, ""]:
        """Infinite."""
        return jnp.asarray(jnp.inf)


class RelativeEntropy(eqx.Module):
    """log p(D|θ) = −β Σ_i U_θ(x_i) − N log Z_θ, up to the anchor's N log Z.

    With U = η·φ it depends on the data through ⟨φ⟩ alone: −N [β η·⟨φ⟩ + log Z(η)]. Maximising it
    minimises the relative entropy between the mapped atomistic ensemble and the model.
    An array pytree: pass it to compiled functions as an argument.

    Attributes:
        mean_features: ⟨φ⟩ of the data [feature].
        n_frames: N, counted as if frames were independent (calibration corrects for it).
        surrogate: log Z differences.

    References:
        Shell (2008), doi:10.1063/1.2992060, eq. 6.
    """

    mean_features: Float[Array, " feature"]
    n_frames: Float[Array, ""]
    surrogate: Surrogate

    def log_likelihood(self, potential: Potential) -> Float[Array, ""]:
        """log p(D|θ) relative to the anchor."""
        eta = potential.coefficients()
        energy = self.surrogate.beta * eta @ self.mean_features
        return -self.n_frames * (energy + self.surrogate.log_z(eta))

    def log_likelihood_and_effective_frames(
        self, potential: Potential
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """log p(D|θ) and the effective number of reference frames, from one pass over them."""
        eta = potential.coefficients()
        log_z, n_eff = self.surrogate.log_z_and_effective_frames(eta)
        return -self.n_frames * (self.surrogate.beta * eta @ self.mean_features + log_z), n_eff

    def effective_frames(self, potential: Potential) -> Float[Array, ""]:
        """Effective number of reference frames of the reweighting to θ."""
        return self.surrogate.effective_frames(potential.coefficients())


def relative_entropy(statistics: SufficientStatistics, surrogate: Surrogate) -> RelativeEntropy:
    """The likelihood of reduced frames, with log Z from a surrogate."""
    return RelativeEntropy(
        jnp.asarray(statistics.features.mean(axis=0)), jnp.asarray(float(statistics.n_frames)), surrogate
    )


def block_log_likelihood(
    statistics: SufficientStatistics, likelihood: RelativeEntropy, potential: Potential, *, edges: np.ndarray
) -> Float[Array, " block"]:
    """log p of each contiguous block of frames, the pointwise quantity that predictive scores take.

    Args:
        statistics: the reduced frames.
        likelihood: gives β and log Z.
        potential: θ.
        edges: first frame of each block and the end of the last [block + 1].
    """
    eta = potential.coefficients()
    sums = jnp.asarray(np.add.reduceat(statistics.features, edges[:-1], axis=0))
    sizes = jnp.asarray(np.diff(edges))
    return -likelihood.surrogate.beta * sums @ eta - sizes * likelihood.surrogate.log_z(eta)
