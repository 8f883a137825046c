"""What is quadratic in the coefficients: the linear-Gaussian posterior, and the mode when coefficients bend.

Forces, and everything else linear in the features of U = η(θ) · φ, give a log likelihood that is a quadratic form in
η. If η is linear in θ and the prior is Gaussian, all is closed form (`linear_gaussian_posterior`). Otherwise the
mode is found by Newton's method on the same form (`quadratic_mode`), never touching a frame again.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float, Key

from bayescg.data import long_run_covariance
from bayescg.errors import ConvergenceError, InputError
from bayescg.inference._prior import Prior

FEWEST_BLOCKS = 20
"""Below this many blocks of frames no long-run covariance is estimated."""


class LinearGaussian(NamedTuple):
    """The posterior N(mean, covariance) of a linear-Gaussian model.

    Attributes:
        mean: [parameter].
        covariance: [parameter parameter].
        log_evidence: log p(observations), every normalisation constant included.
    """

    mean: np.ndarray
    covariance: np.ndarray
    log_evidence: float


def linear_gaussian_posterior(
    design: Float[np.ndarray, "observation parameter"],
    observations: Float[np.ndarray, " observation"],
    noise_sd: float | Float[np.ndarray, " observation"],
    prior_mean: Float[np.ndarray, " parameter"],
    prior_covariance: Float[np.ndarray, "parameter parameter"],
) -> LinearGaussian:
    """Exact posterior and evidence of y = Xθ + ε, ε ~ N(0, σ²), θ ~ N(m, C).

    With P = C⁻¹ + Xᵀσ⁻²X the posterior is N(P⁻¹(C⁻¹m + Xᵀσ⁻²y), P⁻¹), and the evidence N(y; Xm, σ² + XCXᵀ), computed
    by the matrix determinant lemma so that no matrix of the size of the observations is formed.

    Args:
        design: X [unit of the observations / unit of the parameter].
        observations: y.
        noise_sd: σ, one for all or one each [unit of the observations].
        prior_mean: m.
        prior_covariance: C, positive definite.

    Raises:
        InputError: shapes that disagree, a noise that is not positive, a prior covariance not positive definite.

    Example:
        >>> x = np.array([[1.0], [2.0]])
        >>> posterior = linear_gaussian_posterior(x, np.array([2.1, 3.9]), 0.1, np.zeros(1), np.eye(1) * 100)
        >>> round(float(posterior.mean[0]), 3)
        1.98

    References:
        Lindley & Smith (1972), doi:10.1111/j.2517-6161.1972.tb00885.x.
    """
    x, y = np.asarray(design, float), np.asarray(observations, float)
    m, c = np.atleast_1d(np.asarray(prior_mean, float)), np.atleast_2d(np.asarray(prior_covariance, float))
    if x.ndim != 2 or y.shape != x.shape[:1] or m.shape != x.shape[1:] or c.shape != (m.size, m.size):
        raise InputError(
            f"linear-Gaussian posterior: design {x.shape}, observations {y.shape}, prior mean {m.shape}, prior"
            f" covariance {c.shape}; expected [n p], [n], [p], [p p]"
        )
    sigma = np.broadcast_to(np.asarray(noise_sd, float), y.shape)
    if not np.all(sigma > 0.0):
        raise InputError("linear-Gaussian posterior: noise_sd must be positive everywhere")
    try:
        root = np.linalg.cholesky(c)
    except np.linalg.LinAlgError as error:
        raise InputError("linear-Gaussian posterior: prior_covariance is not positive definite") from error
    # In coordinates where the prior is N(0, 1) the precision is 1 + AᵀA: well conditioned for vague priors too.
    a, residual = (x @ root) / sigma[:, None], (y - x @ m) / sigma
    factor = np.linalg.cholesky(np.eye(m.size) + a.T @ a)
    white = scipy.linalg.cho_solve((factor, True), a.T @ residual)
    half = root @ scipy.linalg.solve_triangular(factor, np.eye(m.size), lower=True).T
    squares = residual @ (residual - a @ white)
    log_evidence = (
        -0.5 * (squares + y.size * np.log(2.0 * np.pi)) - np.log(sigma).sum() - np.log(np.diag(factor)).sum()
    )
    return LinearGaussian(m + root @ white, half @ half.T, float(log_evidence))


class QuadraticForm(NamedTuple):
    """A log likelihood ℓ · η − ½ ηᵀPη, up to a constant.

    Attributes:
        precision: P [feature feature].
        linear: ℓ [feature].
    """

    precision: np.ndarray
    linear: np.ndarray


class QuadraticMode(NamedTuple):
    """The maximum over z of a quadratic form in η(z) plus the log prior, and the derivatives there.

    Attributes:
        z: where [coordinate].
        eta: η(z) [feature].
        jacobian: ∂η/∂z [feature coordinate].
        curvature: minus the Hessian of the log likelihood [coordinate coordinate].
        prior_precision: minus the Hessian of the log prior [coordinate coordinate].
        n_iterations: Newton steps taken.
    """

    z: np.ndarray
    eta: np.ndarray
    jacobian: np.ndarray
    curvature: np.ndarray
    prior_precision: np.ndarray
    n_iterations: int

    @property
    def covariance(self) -> np.ndarray:
        """Inverse of minus the Hessian of the log posterior: the Laplace approximation."""
        return np.linalg.inv(self.curvature + self.prior_precision)


class QuadraticSearch:
    """Newton's method on quadratic forms in η(z), compiled once per prior.

    Args:
        prior: gives η(z) and log p(z).
    """

    def __init__(self, prior: Prior):
        self.prior = prior
        self._eta_and_jacobian = jax.jit(lambda z: (self._eta(z), jax.jacfwd(self._eta)(z)))
        self._value = jax.jit(self._gain)
        self._derivatives = jax.jit(self._derivatives_traced)
        self._score_covariance = jax.jit(lambda z, key: prior.score_covariance(z, key=key))

    def prior_score_covariance(
        self, z: Float[np.ndarray, " coordinate"], *, key: Key[Array, ""]
    ) -> Float[np.ndarray, "coordinate coordinate"]:
        """Λ̄ at z, compiled in one piece (see `Prior.score_covariance`)."""
        return np.asarray(self._score_covariance(jnp.asarray(z), key))

    def _eta(self, z: Float[Array, " coordinate"]) -> Float[Array, " feature"]:
        return self.prior.potential(z).coefficients()

    def _form(self, z: Array, centre: Array, slope: Array, precision: Array) -> Float[Array, ""]:
        # About a nearby centre: nearly exact forces would lose all digits in the difference of two large squares.
        step = self._eta(z) - centre
        return slope @ step - 0.5 * step @ (precision @ step)

    def _gain(self, z: Array, centre: Array, slope: Array, precision: Array) -> Float[Array, ""]:
        return self._form(z, centre, slope, precision) + self.prior.log_density(z)

    def _derivatives_traced(self, z: Array, *form: Array) -> tuple[Array, Array, Array, Array]:
        value, gradient = jax.value_and_grad(self._gain)(z, *form)
        return value, gradient, -jax.hessian(self._form)(z, *form), -jax.hessian(self.prior.log_density)(z)

    def __call__(
        self,
        form: QuadraticForm,
        start: Float[np.ndarray, " coordinate"],
        *,
        max_iterations: int = 200,
        tolerance: float = 1e-10,
    ) -> QuadraticMode:
        """The mode: damped Newton steps until the expected gain of the log density is below the tolerance.

        Raises:
            ConvergenceError: no finite start, no convergence, or a direction without a maximum.
        """
        z, damping, decrement, n_iterations = np.asarray(start, float), 0.0, np.inf, 0
        while True:
            centre, jacobian = (np.asarray(x) for x in self._eta_and_jacobian(z))
            local = (centre, form.linear - form.precision @ centre, form.precision)
            value, gradient, curvature, prior_precision = (
                np.asarray(x) for x in self._derivatives(z, *local)
            )
            total = curvature + prior_precision
            if not (np.isfinite(value) and np.all(np.isfinite(gradient)) and np.all(np.isfinite(total))):
                raise ConvergenceError(
                    "the log density or its derivatives are not finite: choose another start"
                )
            eigenvalues, vectors = np.linalg.eigh((total + total.T) / 2.0)
            size = np.maximum(np.abs(eigenvalues), 1e-14 * np.abs(eigenvalues).max())
            projected = vectors.T @ gradient
            decrement = float(projected @ (projected / size))
            if decrement < tolerance or n_iterations >= max_iterations:
                break
            improved = False
            while not improved and damping < 1e10:
                candidate = z + vectors @ (projected / (size * (1.0 + damping)))
                gain = float(self._value(candidate, *local)) - float(value)
                improved = np.isfinite(gain) and gain > 0.0
                damping = damping / 10.0 if improved else max(4.0 * damping, 1e-2)
            damping = 0.0 if damping < 1e-2 else damping
            if not improved:
                break
            z, n_iterations = candidate, n_iterations + 1
        if decrement > 1e-4:
            raise ConvergenceError(
                f"the search for the mode stopped after {n_iterations} steps, still {decrement:.2g} below it in"
                " log density: choose a start nearer to the data"
            )
        if eigenvalues[0] <= 0.0:
            softest = self.prior.coordinates[int(np.argmax(np.abs(vectors[:, 0])))]
            raise ConvergenceError(
                f"the log density has no maximum in the direction of '{softest}' (curvature {eigenvalues[0]:.2e}):"
                " the data do not determine it and the prior does not hold it; give it a proper, narrower prior"
            )
        return QuadraticMode(z, centre, jacobian, curvature, prior_precision, n_iterations)


def prior_centre(prior: Prior, *, n: int = 256) -> Float[np.ndarray, " coordinate"]:
    """The median of each coordinate over a fixed set of prior draws: a start when there is no better one."""
    return np.median(np.asarray(jax.jit(lambda key: prior.sample(key, n))(jax.random.key(0))), axis=0)


class BlockSandwich(NamedTuple):
    """Covariance of a mode that correlated, misfitted data deserve.

    Attributes:
        covariance: V [coordinate coordinate].
        degrees_of_freedom: ν of the t-inflation that the estimated J calls for.
        inefficiency: largest statistical inefficiency of the blocks' scores [block].
        sentence: how it was made.
    """

    covariance: np.ndarray
    degrees_of_freedom: float
    inefficiency: float
    sentence: str


def block_sandwich(
    mode: QuadraticMode,
    scores: Float[np.ndarray, "block coordinate"],
    *,
    lengths: tuple[int, ...],
    prior_score_covariance: Float[np.ndarray, "coordinate coordinate"],
) -> BlockSandwich | None:
    """V = H_p⁻¹ (n J + Λ̄) H_p⁻¹ with n blocks of frames as the statistical unit; None for too few blocks.

    J is the long-run covariance of the blocks' scores by lugsail batch means. With fewer batches than three per
    coordinate it is their plain covariance times the largest inefficiency, and with fewer blocks than that a multiple
    of the curvature that has the same trace. So, within a block, components may be as correlated and as unequal in
    their noise as they like.

    Args:
        mode: the mode and its curvatures.
        scores: gradient of each block's log likelihood at the mode.
        lengths: number of blocks of each independent trajectory.
        prior_score_covariance: Λ̄, E[s sᵀ] of the prior's score.

    References:
        Huber (1967), the sandwich; Vats & Flegal (2022), doi:10.1093/biomet/asab049, the lugsail estimate of J.
    """
    n = len(scores)
    if n < FEWEST_BLOCKS:
        return None
    curvature = mode.curvature / n
    informed = np.diag(curvature) > 1e-12 * np.abs(np.diag(curvature)).max()
    p, inner = int(informed.sum()), np.ix_(informed, informed)
    long_run = long_run_covariance(scores[:, informed], lengths=lengths, curvature=curvature[inner])
    inefficiency = float(np.max(long_run.inefficiency))
    if long_run.n_batches >= 3 * p:
        block, nu, how = (
            long_run.covariance,
            max(3.0, 1.5 * (long_run.n_batches - 1.0)),
            "lugsail batch means",
        )
    elif n >= 3 * p:
        block, nu = inefficiency * long_run.sample_covariance, max(3.0, n / inefficiency - p)
        how = f"the blocks' covariance times their largest inefficiency {inefficiency:.2g}"
    else:
        ratio = max(float(np.trace(np.linalg.solve(curvature[inner], long_run.sample_covariance))) / p, 0.5)
        block, nu = inefficiency * ratio * curvature[inner], max(3.0, n / inefficiency - 1.0)
        how = f"{inefficiency * ratio:.3g} times the curvature, since {n} blocks are too few for {p} coordinates"
    middle = np.array(prior_score_covariance, float)
    middle[inner] += n * block
    inverse = mode.covariance
    covariance = inverse @ middle @ inverse
    sentence = f"sandwich over {n} blocks of frames, score covariance by {how}"
    return BlockSandwich((covariance + covariance.T) / 2.0, nu, inefficiency, sentence)
