"""A stored fit as a linear basis: itself about its best parameters, and coarser ones within it."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from bayescg.analysis._linear_basis import NESTED, LinearBasis, _basis, _pair_basis, chosen_features
from bayescg.errors import InputError
from bayescg.inference import Prior
from bayescg.physics import AngleFourier, Potential, SplinePair
from bayescg.physics._spline import DEGREE

LEAST_INTERVALS = DEGREE + 1
"""Intervals of the shortest spline."""


def local_basis(prior: Prior, z: Float[np.ndarray, " coordinate"]) -> LinearBasis:
    """The model about a point, η = η(z) + J δ, with the prior's Gaussian there and hyperparameters held.

    With as many parameters as features the linear model is the model itself, whatever its parametrisation; with fewer
    it is the tangent at z. The prior is exact where it is Gaussian in z, as a random walk of given scale is; elsewhere its
    precision is minus the Hessian of the log prior at z, directions along which that is not positive left free.

    Args:
        prior: maps coordinates to potentials.
        z: the point, such as the MAP.

    Returns:
        The basis of displacements δ of the coordinates that are no hyperparameters.

    Example:
        >>> import numpyro.distributions as dist
        >>> from bayescg.inference import independent_prior
        >>> angle = AngleFourier(0.0, 0.0)
        >>> prior = independent_prior(angle, {"angle_kappa1": dist.Normal(0, 2), "angle_kappa2": dist.Normal(1, 2)})
        >>> basis = local_basis(prior, np.array([0.5, 0.5]))
        >>> basis.offset.tolist(), basis.prior_mean.tolist(), np.diag(basis.prior_precision).tolist()
        ([0.5, 0.5], [-0.5, 0.5], [0.25, 0.25])
    """
    at = jnp.asarray(z, float)
    free = np.flatnonzero([c.site not in prior.hyperparameters for c in prior.coordinates])

    @jax.jit
    def derivatives(x):
        coefficients = lambda y: prior.potential(y).coefficients()  # noqa: E731
        log_prior = prior.log_density
        return (
            coefficients(x),
            jax.jacobian(coefficients)(x),
            jax.grad(log_prior)(x),
            jax.hessian(log_prior)(x),
        )

    eta, jacobian, gradient, hessian = (np.asarray(a, float) for a in derivatives(at))
    gradient, precision = -gradient[free], -hessian[np.ix_(free, free)]
    values, vectors = np.linalg.eigh(0.5 * (precision + precision.T))
    held = values > 1e-12 * max(float(values[-1]), 1e-300)
    vectors, values = vectors[:, held], values[held]
    return LinearBasis(
        str(len(free)),
        jacobian[:, free],
        eta,
        (vectors * values) @ vectors.T,
        -vectors @ ((vectors.T @ gradient) / values),
    )


def within(own: LinearBasis, coarse: LinearBasis) -> LinearBasis:
    """A coarser basis under the prior of a finer one that holds all its functions.

    Coefficients θ of the coarse basis are displacements d + D θ of the fine one, so that the prior on θ is Gaussian with
    the precision DᵀΛD: the same law for the same function, however many coefficients make it.

    Args:
        own: the finer basis, with its prior.
        coarse: the coarser one, its own prior ignored.

    Raises:
        InputError: functions that the finer basis cannot make.

    Example:
        >>> own = chosen_features(3, [0, 1, 2], precision=4.0)
        >>> within(own, chosen_features(3, [0, 2])).prior_precision.tolist()
        [[4.0, 0.0], [0.0, 4.0]]
    """
    target = np.column_stack([coarse.offset - own.offset, coarse.matrix])
    moved = np.linalg.lstsq(own.matrix, target, rcond=None)[0]
    misfit = np.abs(own.matrix @ moved - target).max(initial=0.0)
    if misfit > 1e3 * NESTED * max(1.0, float(np.abs(target).max(initial=0.0))):
        raise InputError(
            f"basis '{coarse.label}': it holds functions that the basis '{own.label}' cannot make; take one within it"
        )
    shift, change = moved[:, 0], moved[:, 1:]
    precision = change.T @ own.prior_precision @ change
    pull = change.T @ own.prior_precision @ (own.prior_mean - shift)
    mean = np.linalg.lstsq(precision, pull, rcond=1e-12)[0] if coarse.size else np.zeros(0)
    return coarse._replace(prior_precision=precision, prior_mean=mean)


def default_sizes(potential: Potential) -> tuple[int, ...]:
    """Sizes of coarser bases worth trying: a third of the potential's own size and up, evenly in the logarithm.

    Args:
        potential: a linear spline or a Fourier series of angles; anything else has none.

    Example:
        >>> spline = SplinePair.uniform(inner=0.3, cutoff=0.9, spacing=0.025, core_distance=0.3, core_strength=1.0)
        >>> default_sizes(spline)  # of 24 coefficients
        (8, 10, 12, 15, 19)
    """
    if isinstance(potential, SplinePair):
        own = len(potential.knots) - 1
        tried = np.geomspace(max(LEAST_INTERVALS, own / 3.0), own, 6).round()
        return tuple(int(n) for n in np.unique(tried) if n < own)
    return (0, 1) if isinstance(potential, AngleFourier) else ()


def coarser_bases(potential: Potential, own: LinearBasis, sizes: tuple[int, ...]) -> list[LinearBasis]:
    """Bases of given sizes within a potential's own, under its prior, and that one itself.

    A coarser spline has knots as even, or as graded, as the potential's own, so that a model file can ask for it; each of
    its functions is replaced by the nearest one that the own basis makes, exactly itself where the knots are among the
    own ones. A coarser series has the lowest harmonics.

    Args:
        potential: a linear spline or a Fourier series of angles.
        own: its own basis; see `local_basis`.
        sizes: numbers of coefficients.

    Raises:
        InputError: another potential; sizes that are not below the potential's own, too small, or none.

    Example:
        >>> import numpyro.distributions as dist
        >>> from bayescg.inference import independent_prior
        >>> angle = AngleFourier(0.0, 0.0)
        >>> prior = independent_prior(angle, {f"angle_kappa{k}": dist.Normal(0, 2) for k in (1, 2)})
        >>> [basis.label for basis in coarser_bases(angle, local_basis(prior, np.zeros(2)), (0, 1))]
        ['0', '1', '2']
    """
    least = {SplinePair: LEAST_INTERVALS, AngleFourier: 0}.get(type(potential))
    if least is None:
        raise InputError(
            f"basis sweep: the potential is {type(potential).__name__}, which has no coarser bases; expected one spline or"
            " Fourier series of angles, so leave the sizes out"
        )
    if not sizes or not all(least <= n < own.size for n in sizes):
        raise InputError(
            f"basis sweep: sizes {', '.join(map(str, sizes)) or 'none'}; expected coarser ones than the run's basis of"
            f" {own.size}, from {least} to {own.size - 1}"
        )
    chosen = sorted(set(sizes))
    if isinstance(potential, AngleFourier):
        coarse = [chosen_features(len(own.offset), range(n)) for n in chosen]
    else:
        assert isinstance(potential, SplinePair)
        coarse = [_nearest_spline(potential, n) for n in chosen]
    return [*(within(own, basis) for basis in coarse), own]


def _nearest_spline(own: SplinePair, size: int) -> LinearBasis:
    """The coarser spline's functions as the own basis makes them, nearest in the mean square over r²."""
    count = len(own.knots) - 1
    coarse = SplinePair(  # type: ignore[call-arg]  # mypy counts the abstract cutoff as a field
        jnp.zeros(size),  # type: ignore[arg-type]
        knots=tuple(np.interp(np.linspace(0, count, size + 1), np.arange(count + 1), own.knots).tolist()),
        core_distance=own.core_distance,
        core_strength=own.core_strength,
        name=own.name,
    )
    r2 = jnp.linspace(own.knots[0], own.cutoff, max(2048, 40 * count)) ** 2
    fine, wanted = (np.asarray(_pair_basis(term, r2))[:, :-1] for term in (own, coarse))
    matrix = np.linalg.lstsq(fine, wanted, rcond=None)[0]
    core = np.append(np.zeros(count), 1.0)
    return _basis(str(size), np.vstack([matrix, np.zeros(size)]), core, np.zeros((size, size)))
