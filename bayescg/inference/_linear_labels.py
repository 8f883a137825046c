"""Labelled data and a potential that is linear in its parameters: closed form, with evidence.

Once noise and prior scales are given, posterior and evidence are those of the linear-Gaussian model. The scales
themselves are few: where they are not given, the log evidence plus their log prior is maximised.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.optimize
from jaxtyping import Float

from bayescg.errors import ConvergenceError, InputError
from bayescg.inference._labelled import LabelledData
from bayescg.inference._linear_check import check_linear, reduced_rows
from bayescg.inference._linear_gaussian import linear_gaussian_posterior, prior_centre
from bayescg.inference._linearised import LabelRows, label_rows
from bayescg.inference._noise_free import label_spread, learned_quantities, refuse_exact_labels
from bayescg.inference._prior import Prior
from bayescg.inference._white_rows import free_coordinates, local

PRIOR_DOMINATED = 0.01
"""A direction whose prior variance the labels reduce by less than this share is named."""

DIFFERENCE = 1e-3
"""Step of finite differences of the log marginal posterior, in unconstrained coordinates of the scales."""

FARTHEST = 15.0
"""How far, in unconstrained coordinates, scales are searched about the start."""


class LinearLabelFit(NamedTuple):
    """The posterior of labelled data where predictions are linear in the parameters.

    Attributes:
        z: the mode: scales where their marginal posterior is largest, parameters at their mean given those [coordinate].
        free: indices of the coordinates that are parameters of the potential [free].
        covariance: of these, scales given [free free].
        scales: indices of the other coordinates: noise scales, smoothness, scales of the prior [scale].
        scale_covariance: of these, by Laplace's approximation of their marginal posterior [scale scale].
        log_evidence_given_scales: log p(labels | scales), exact.
        log_evidence: log p(labels), the scales integrated out by Laplace's approximation; the same number where all
            are given.
        contraction: share of each coordinate's prior variance that the labels take away, scales given [free].
        prior_dominated: coordinates that weigh most in a direction of which the labels say next to nothing.

    Example:
        >>> fit = LinearLabelFit(
        ...     z=np.array([-11.7]), free=np.arange(1), covariance=np.array([[0.005]]), scales=np.arange(0),
        ...     scale_covariance=np.zeros((0, 0)), log_evidence_given_scales=-2.3, log_evidence=-2.3,
        ...     contraction=np.array([0.995]), prior_dominated=(),
        ... )
        >>> np.sqrt(np.diag(fit.covariance)).round(3).tolist()  # standard deviations, scales given
        [0.071]
    """

    z: np.ndarray
    free: np.ndarray
    covariance: np.ndarray
    scales: np.ndarray
    scale_covariance: np.ndarray
    log_evidence_given_scales: float
    log_evidence: float
    contraction: np.ndarray
    prior_dominated: tuple[str, ...]


class _Given(NamedTuple):
    """What follows once the scales are given."""

    log_marginal: float  # log p(labels, scales)
    step: np.ndarray  # from the origin to the mean
    half: np.ndarray  # its product with its transpose is the covariance


class LinearLabels:
    """Closed form of labelled data for a potential that is linear in its parameters, with normal priors.

    With y = Gθ + ε, ε ~ N(0, diag σ²(u)), θ ~ N(m(u), C(u)) and scales u (noise by quantity and group, smoothness,
    scales of the prior), p(θ | y, u) and p(y | u) are closed forms; û maximises log p(y | u) + log p(u) in the
    coordinates of the prior. Rows of one kind are first reduced to as many as there are parameters, by an orthogonal
    transformation, which changes none of this.

    Args:
        prior: from `labelled_prior`, with normal or `Smoothness` priors of all parameters; noise `known` or `learned`.
            Scales that a model of one's own draws must be among the `hyperparameters` of `Prior`.
        data: configurations and labels.
        start: where scales are searched from [coordinate]; default the medians of the prior.
        rows: `label_rows` at the start, if they are known already.

    Raises:
        InputError: a potential that is not linear in its parameters, a prior that is not normal or improper, noise
            scales to be learned from labels without noise.

    Example:
        >>> from bayescg.inference import example_labels
        >>> import numpy as np
        >>> atoms, data, prior = example_labels()
        >>> fit = LinearLabels(prior, data).run()
        >>> round(float(fit.z[0]), 2), round(float(np.sqrt(fit.covariance[0, 0])), 3)
        (-11.7, 0.071)

    References:
        Lindley & Smith (1972), doi:10.1111/j.2517-6161.1972.tb00885.x; MacKay (1992), doi:10.1162/neco.1992.4.3.415,
        the evidence for scales.
    """

    def __init__(
        self,
        prior: Prior,
        data: LabelledData,
        *,
        start: Float[np.ndarray, " coordinate"] | None = None,
        rows: LabelRows | None = None,
    ):
        if rows is not None and start is None:
            raise InputError("linear labels: rows are given without the start that they belong to")
        self.prior, self.data = prior, data
        self.free = free_coordinates(prior)
        self.scales = np.setdiff1d(np.arange(prior.size), self.free)
        origin = prior_centre(prior) if start is None else np.array(start, float)
        potential = prior.potential(jnp.asarray(origin)).potential
        rows = label_rows(potential, data) if rows is None else rows
        check_linear(prior, data, origin, rows, free=self.free)
        n_groups = len(data.groups)
        refuse_exact_labels(
            rows, spread=label_spread(data), n_groups=n_groups, learned=learned_quantities(prior)
        )
        chain = local(self.prior)(origin).chain[:, self.free]
        kinds = np.unique(rows.kind)
        reduced = [reduced_rows(rows, chain, rows.kind == kind) for kind in kinds]
        self._kind = np.concatenate([np.full(len(r), kind) for kind, r in zip(kinds, reduced, strict=True)])
        self._rows, self._kinds = np.concatenate(reduced), kinds
        self._count = np.array([rows.weight[rows.kind == kind].sum() for kind in kinds])
        self._recentre(origin)

    def _recentre(self, origin: np.ndarray) -> None:
        """Move the origin to the mean at its own scales, so that residuals there are small and nothing cancels."""
        self.origin = np.asarray(origin, float)
        for _ in range(2):
            step = self._given(self.origin[self.scales]).step
            self.origin = self.origin.copy()
            self.origin[self.free] += step
            self._rows = self._rows.copy()
            self._rows[:, -1] += self._rows[:, :-1] @ step

    def _given(self, u: np.ndarray) -> _Given:
        z = self.origin.copy()
        z[self.scales] = u
        here, p = local(self.prior)(z), len(self.free)
        rows = self._rows / here.noise[self._kind][:, None]
        root = np.linalg.cholesky(-here.hessian[np.ix_(self.free, self.free)])
        solve = scipy.linalg.solve_triangular
        white = solve(root, rows[:, :-1].T, lower=True).T
        factor = np.linalg.cholesky(np.eye(p) + white.T @ white)
        slope = solve(root, here.score[self.free], lower=True) - white.T @ rows[:, -1]
        inner = scipy.linalg.cho_solve((factor, True), slope)
        log_marginal = (
            float(here.log_prior)
            - 0.5 * rows[:, -1] @ rows[:, -1]
            - self._count @ (np.log(here.noise[self._kinds]) + 0.5 * np.log(2.0 * np.pi))
            + 0.5 * (slope @ inner + p * np.log(2.0 * np.pi))
            - np.sum(np.log(np.diag(root)) + np.log(np.diag(factor)))
        )
        half = solve(root.T, solve(factor, np.eye(p), lower=True).T, lower=False)
        return _Given(float(log_marginal), solve(root.T, inner, lower=False), half)

    def run(self) -> LinearLabelFit:
        """Scales where their marginal posterior is largest, and the posterior there.

        Raises:
            ConvergenceError: scales without a maximum, such as a noise scale of fewer labels than parameters.
        """
        u, scale_covariance = self._best_scales()
        z = self.origin.copy()
        z[self.scales] = u
        here = local(self.prior)(z)
        prior_covariance = np.linalg.inv(-here.hessian[np.ix_(self.free, self.free)])
        prior_covariance = (prior_covariance + prior_covariance.T) / 2.0
        design, sigma = self._rows[:, :-1], here.noise[self._kind]
        given = linear_gaussian_posterior(
            design, -self._rows[:, -1], sigma, prior_covariance @ here.score[self.free], prior_covariance
        )
        rest = self._count - np.array([np.sum(self._kind == kind) for kind in self._kinds])
        log_evidence = given.log_evidence - float(
            rest @ (np.log(here.noise[self._kinds]) + 0.5 * np.log(2.0 * np.pi))
        )
        integrated = log_evidence
        if len(u):
            volume = np.linalg.slogdet(2.0 * np.pi * scale_covariance)[1]
            integrated = self._given(u).log_marginal + 0.5 * float(volume)
        z[self.free] += given.mean
        contraction = 1.0 - np.diag(given.covariance) / np.diag(prior_covariance)
        # a coordinate that no label contains keeps its prior exactly; rounding must not say otherwise
        contraction = np.where(np.any(design != 0.0, axis=0), np.clip(contraction, 0.0, 1.0), 0.0)
        return LinearLabelFit(
            z,
            free=self.free,
            covariance=given.covariance,
            scales=self.scales,
            scale_covariance=scale_covariance,
            log_evidence_given_scales=log_evidence,
            log_evidence=integrated,
            contraction=contraction,
            prior_dominated=self._prior_dominated(design / sigma[:, None], prior_covariance),
        )

    def _best_scales(self) -> tuple[np.ndarray, np.ndarray]:
        start = self.origin[self.scales]
        if not len(start):
            return start, np.zeros((0, 0))

        def cost(u: np.ndarray) -> float:
            try:
                value = -self._given(u).log_marginal
            except np.linalg.LinAlgError:
                return 1e300
            return value if np.isfinite(value) else 1e300

        steps = DIFFERENCE * np.eye(len(start))

        def slope(u: np.ndarray) -> np.ndarray:
            return np.array([cost(u + h) - cost(u - h) for h in steps]) / (2.0 * DIFFERENCE)

        found = scipy.optimize.minimize(
            cost, start, jac=slope, method="L-BFGS-B", bounds=[(x - FARTHEST, x + FARTHEST) for x in start],
            options={"maxiter": 500, "ftol": 1e-12, "gtol": 1e-3},
        )  # fmt: skip
        gone = np.abs(found.x - start) > FARTHEST - 1e-3
        curvature = np.array([slope(found.x + h) - slope(found.x - h) for h in steps]) / (2.0 * DIFFERENCE)
        curvature = (curvature + curvature.T) / 2.0
        if np.any(gone) or np.linalg.eigvalsh(curvature)[0] <= 0.0:
            flat = np.abs(np.linalg.eigh(curvature)[1][:, 0])
            worst = self.prior.coordinates[
                self.scales[int(np.argmax(gone) if np.any(gone) else np.argmax(flat))]
            ]
            raise ConvergenceError(
                f"linear labels: the marginal posterior has no maximum in '{worst}': too few labels for a scale of their own;"
                " give it, or share it among groups"
            )
        return found.x, np.linalg.inv(curvature)

    def _prior_dominated(self, white: np.ndarray, prior_covariance: np.ndarray) -> tuple[str, ...]:
        root = np.linalg.cholesky(prior_covariance)
        sizes, vectors = np.linalg.eigh(root.T @ (white.T @ white) @ root)
        sd = np.sqrt(np.diag(prior_covariance))
        poor = np.flatnonzero(sizes / (1.0 + np.maximum(sizes, 0.0)) < PRIOR_DOMINATED)
        heaviest = [int(np.argmax(np.abs(root @ vectors[:, k]) / sd)) for k in poor]
        return tuple(dict.fromkeys(str(self.prior.coordinates[self.free[i]]) for i in heaviest))

    def draws(self, fit: LinearLabelFit, *, n: int, seed: int) -> Float[np.ndarray, "draw coordinate"]:
        """Posterior draws: scales from their Laplace approximation, parameters exactly given each draw's scales.

        Args:
            fit: what `run` returned.
            n: number of draws.
            seed: of every random number.
        """
        rng = np.random.default_rng(seed)
        z = np.tile(self.origin, (n, 1))
        if len(self.scales):
            z[:, self.scales] = rng.multivariate_normal(fit.z[self.scales], fit.scale_covariance, size=n)
        given = self._given(z[0, self.scales])
        for row, u in zip(z, z[:, self.scales].copy(), strict=True):
            given = self._given(u) if len(u) else given
            row[self.free] += given.step + given.half @ rng.normal(size=len(self.free))
        return z
