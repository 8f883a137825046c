"""What frames at another state point would tell: a state as a candidate of the optimal design."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayescg.analysis._frame_information import weighted_information
from bayescg.errors import InputError
from bayescg.inference import Posterior
from bayescg.physics import Surrogate


class StateInformation(NamedTuple):
    """Fisher information that frames of one state would add.

    Attributes:
        information: N F, what is added to the posterior's precision [coordinate coordinate].
        effective_frames: reference frames that the averages rest on.

    Example:
        >>> StateInformation(np.array([[50.0]]), 900.0).information.tolist()
        [[50.0]]
    """

    information: np.ndarray
    effective_frames: float


def state_information(
    posterior: Posterior,
    z: Float[np.ndarray, " coordinate"],
    surrogate: Surrogate,
    *,
    n_frames: float,
    beta: float | None = None,
    least_effective_frames: float = 50.0,
) -> StateInformation:
    """Information of N independent frames at a state point, N β² Jᵀ Cov(φ) J with J = ∂η/∂z, before they are made.

    It is what `optimal_design` takes for a candidate. The references are either simulations at that state, of its own
    box and density, or those of the run, which are reweighted to another temperature of the same box. That needs a
    potential that does not depend on temperature, and reaches only as far as the frames overlap.

    Args:
        posterior: prior and form.
        z: where the information is taken, best at the mode.
        surrogate: of references with the features of that form.
        n_frames: N; where frames will be correlated, their number over the statistical inefficiency.
        beta: 1/kT of the state [1/energy]; default that of the references.
        least_effective_frames: refused where reweighting leaves fewer.

    Raises:
        InputError: numbers that are not positive, or too few effective frames.

    Example:
        >>> from bayescg.inference import example_spring
        >>> spring, prior, surrogate = example_spring()
        >>> posterior = Posterior(prior)
        >>> found = state_information(posterior, np.zeros(1), surrogate, n_frames=100, beta=0.5)
        >>> found.information.round(3).tolist()  # N/2 in ln k, at any temperature
        [[50.0]]

    References:
        Chaloner & Verdinelli (1995), doi:10.1214/ss/1177009939, section 2; Shirts & Chodera (2008),
        doi:10.1063/1.2978177, the reweighting.
    """
    beta = float(surrogate.beta) if beta is None else float(beta)
    if not (beta > 0.0 and n_frames > 0.0):
        raise InputError(f"state: β {beta:g} and {n_frames:g} frames; expected positive numbers")
    # the pooled frames' base weights do not depend on the state that they are reweighted to
    there = eqx.tree_at(lambda s: s.beta, surrogate, jnp.asarray(beta))
    per_frame, effective = _information(posterior, there, jnp.asarray(z))
    if not float(effective) >= least_effective_frames:
        raise InputError(
            f"state: at β {beta:g} the information rests on {float(effective):.0f} effective reference frames, expected"
            f" {least_effective_frames:g}; simulate references at that state and give their surrogate"
        )
    return StateInformation(float(n_frames) * np.asarray(per_frame), float(effective))


@eqx.filter_jit
def _information(
    posterior: Posterior, surrogate: Surrogate, z: Float[Array, " coordinate"]
) -> tuple[Array, Array]:
    def coefficients(point: Array) -> Array:
        return posterior.prior.potential(point).coefficients()

    eta = coefficients(z)
    found = weighted_information(surrogate, eta, jax.jacfwd(coefficients)(z))
    return found, surrogate.effective_frames(eta)
