"""Fisher information of one frame, from reference frames that exist already."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayescg.errors import InputError
from bayescg.inference import Posterior, RelativeEntropy
from bayescg.physics import Potential, Surrogate


class FrameInformation(NamedTuple):
    """What one independent frame tells of a potential's parameters, F = β² Cov(∂U/∂θ).

    Attributes:
        names: of the parameters, entries of arrays numbered.
        values: θ [parameter].
        matrix: F in the parameters themselves [parameter parameter].
        effective_frames: reference frames that the averages rest on.

    Example:
        >>> one = FrameInformation(("k",), np.array([2.0]), np.array([[0.125]]), 1000.0)
        >>> one.in_logarithms().tolist()
        [[0.5]]
    """

    names: tuple[str, ...]
    values: np.ndarray
    matrix: np.ndarray
    effective_frames: float

    def in_logarithms(self) -> Float[np.ndarray, "parameter parameter"]:
        """F in ln θ, θ_i F_ij θ_j.

        Raises:
            InputError: a parameter that is not positive.
        """
        bad = [name for name, value in zip(self.names, self.values) if not value > 0.0]
        if bad:
            raise InputError(
                f"the logarithm of {', '.join(bad)} does not exist: the value is not positive; use the matrix in the"
                " parameters themselves"
            )
        return self.values[:, None] * self.matrix * self.values


def frame_information(surrogate: Surrogate, potential: Potential) -> FrameInformation:
    """Fisher information per frame in a potential's parameters, by reweighting the pooled reference frames to it.

    With U = η(θ)·φ it is β² (∂η/∂θ)ᵀ Cov_θ(φ) (∂η/∂θ): the Jacobian of the coefficients carries it over where a
    potential is not linear in its parameters.

    Args:
        surrogate: of a bank whose features are the potential's.
        potential: at the θ that is asked for.

    Example:
        >>> from bayescg.inference import example_spring
        >>> spring, prior, surrogate = example_spring()
        >>> frame_information(surrogate, spring).matrix.round(6).tolist()  # 1/(2 k²)
        [[0.125]]
    """
    names = tuple(
        info.name + (f"[{','.join(map(str, place))}]" if info.shape else "")
        for info in potential.parameters()
        for place in np.ndindex(*info.shape)
    )
    values, matrix, n_eff = _information(surrogate, potential)
    return FrameInformation(names, np.asarray(values), np.asarray(matrix), float(n_eff))


@eqx.filter_jit
def _information(surrogate: Surrogate, potential: Potential) -> tuple[Array, Array, Array]:
    values = potential.parameter_values()
    sizes = np.cumsum([0] + [value.size for value in values.values()])

    def coefficients(vector: Array) -> Array:
        parts = {
            name: jnp.reshape(vector[first:last], value.shape)
            for (name, value), first, last in zip(values.items(), sizes[:-1], sizes[1:])
        }
        return potential.with_parameters(parts).coefficients()

    vector = jnp.concatenate([jnp.ravel(value) for value in values.values()])
    jacobian = jax.jacfwd(coefficients)(vector)
    eta = potential.coefficients()
    return vector, weighted_information(surrogate, eta, jacobian), surrogate.effective_frames(eta)


def weighted_information(
    surrogate: Surrogate,
    coefficients: Float[Array, " feature"],
    jacobian: Float[Array, "feature direction"],
) -> Float[Array, "direction direction"]:
    """β² Jᵀ Cov_η(φ) J, traceable."""
    weights = jax.nn.softmax(surrogate.log_weights(coefficients))
    scores = surrogate.beta * (surrogate.centred_features @ jacobian)
    scores = scores - weights @ scores
    return scores.T @ (weights[:, None] * scores)


def information_at(
    posterior: Posterior, likelihood: RelativeEntropy, z: Float[np.ndarray, "point coordinate"]
) -> Float[np.ndarray, "point coordinate coordinate"]:
    """Fisher information per frame in the unconstrained coordinates, at several points.

    A direction that has none at every one of them is structurally unidentifiable.

    Args:
        posterior: whose prior gives the potential at z.
        likelihood: of the frames; its surrogate reweights.
        z: the points, for example posterior draws.

    Example:
        >>> from bayescg.inference import example_spring
        >>> spring, prior, surrogate = example_spring()
        >>> posterior = Posterior(prior)
        >>> likelihood = RelativeEntropy(jnp.array([0.25]), jnp.asarray(100.0), surrogate)
        >>> information_at(posterior, likelihood, np.zeros((2, 1))).round(6).tolist()  # in ln k, for any k
        [[[0.5]], [[0.5]]]
    """
    return np.asarray(_at_points(posterior, likelihood.surrogate, jnp.asarray(z)))


@eqx.filter_jit
def _at_points(posterior: Posterior, surrogate: Surrogate, z: Array) -> Array:
    def coefficients(point: Array) -> Array:
        return posterior.prior.potential(point).coefficients()

    def one(point: Array) -> Array:
        return weighted_information(surrogate, coefficients(point), jax.jacfwd(coefficients)(point))

    return jax.lax.map(one, z)
