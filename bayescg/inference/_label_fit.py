"""The posterior of labelled data: modes, draws, and a width that counts configurations, not components."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from bayescg.errors import ConvergenceError, InputError
from bayescg.inference._bent import MOST_BENT, BentLabels
from bayescg.inference._calibrate import spread_draws
from bayescg.inference._checkpoint import Checkpoints
from bayescg.inference._label_draws import LabelSampler, Surrogate
from bayescg.inference._labelled import EnergyForceStress, gaussian
from bayescg.inference._linearised import (
    LabelRows,
    LinearisedLabels,
    QuadraticLabels,
    label_rows,
    parameter_vector,
    with_parameter_vector,
)
from bayescg.inference._noise_free import (
    NoiseFreeLabels,
    label_spread,
    learned_quantities,
    refuse_exact_labels,
)
from bayescg.inference._nuts import NutsDraws
from bayescg.inference._posterior import Mode, Posterior, laplace, maximise
from bayescg.inference._prior import Prior
from bayescg.inference._second_order import MOST_PARAMETERS, with_curvature
from bayescg.physics._design_matrix import has_design_matrix
from bayescg.progress import Progress, SilentProgress


class LabelSettings(NamedTuple):
    """How much work is done.

    Attributes:
        seed: of every random number.
        n_starts: where the search for modes begins: the given start and n_starts − 1 prior draws.
        max_linearisations: Gauss–Newton steps per start.
        tolerance: squared length of the last step, in posterior standard deviations.
        n_chains: NUTS chains.
        n_warmup: adaptation iterations.
        n_draws: kept draws per chain.
        n_checks: draws at which the linearised likelihood is first compared with the exact one.

    Example:
        >>> LabelSettings(seed=3, n_starts=4)._replace(n_draws=100).n_draws
        100
    """

    seed: int = 0
    n_starts: int = 1
    max_linearisations: int = 60
    tolerance: float = 1e-8
    n_chains: int = 4
    n_warmup: int = 400
    n_draws: int = 1000
    n_checks: int = 32


class LabelMode(NamedTuple):
    """One maximum of the posterior of labelled data.

    Attributes:
        mode: where, with the Laplace approximation of the posterior there.
        rows: residuals and their Jacobian there.
        surrogate: the likelihood to second order there, or with predictions linearised.
        n_starts: how many starts led to it.

    Example:
        >>> peak = Mode(np.zeros(1), np.array([[0.04]]), -1.0, -2.0, interior=True, effective_frames=0.0)
        >>> LabelMode(peak, None, None, n_starts=3).n_starts
        3
    """

    mode: Mode
    rows: LabelRows
    surrogate: Surrogate
    n_starts: int


class LabelFit(NamedTuple):
    """The posterior of labelled data.

    Attributes:
        modes: all maxima that were found, highest first.
        draws: raw draws about the highest mode; resampled by their importance weights where those were needed.
        calibrated: draws with the sandwich covariance [chain draw coordinate].
        covariance: V, the sandwich [coordinate coordinate].
        degrees_of_freedom: ν of the calibrated draws' multivariate t.
        few_configurations: whether there were too few to estimate the scores' covariance, so that one factor widens
            all directions.
        khat: Pareto k̂ of the weights between the linearised and the exact posterior; 0 where the predictions are
            linear, NaN where NUTS ran on the exact posterior.
        method: `linear`, `expanded and reweighted`, `fitted and reweighted` or `exact`.
        weight_error: root mean square error of the log weights, 0 where the exact density was computed at every draw.

    Example:
        >>> fit = LabelFit(
        ...     (), None, np.zeros((4, 500, 2)), np.eye(2), 50.0, few_configurations=False, khat=0.0, method="linear"
        ... )
        >>> fit.calibrated.reshape(-1, 2).shape  # draws by coordinates
        (2000, 2)
    """

    modes: tuple[LabelMode, ...]
    draws: NutsDraws
    calibrated: np.ndarray
    covariance: np.ndarray
    degrees_of_freedom: float
    few_configurations: bool
    khat: float
    method: str
    weight_error: float = 0.0


class LabelFitter:
    """Finds the modes, draws from the posterior and calibrates its width.

    Predictions are linearised at the mode, where NUTS costs nothing; the exact likelihood at the draws then says
    whether that was enough, mends it by importance weights, or is sampled itself.

    Args:
        prior: from `labelled_prior`.
        likelihood: configurations, labels and noise.
        start: unconstrained coordinates where the search begins [coordinate]; default a prior draw.
        settings: how much work is done.
        checkpoints: where modes and chains leave their state; None keeps nothing.
        progress: who listens.

    Example:
        >>> from bayescg.inference import example_labels
        >>> atoms, data, prior = example_labels()
        >>> mode, = LabelFitter(prior, EnergyForceStress(data)).modes()  # `run()` draws about it
        >>> round(float(mode.mode.z[0]), 2), round(float(mode.mode.covariance[0, 0]), 4)
        (-11.7, 0.005)
    """

    def __init__(
        self,
        prior: Prior,
        likelihood: EnergyForceStress,
        *,
        start: Float[np.ndarray, " coordinate"] | None = None,
        settings: LabelSettings | None = None,
        checkpoints: Checkpoints | None = None,
        progress: Progress | None = None,
    ):
        self.prior, self.likelihood = prior, likelihood
        self.checkpoints = checkpoints
        self.progress = SilentProgress() if progress is None else progress
        self.settings = settings = LabelSettings() if settings is None else settings
        self.posterior = Posterior(prior)
        self._key = jax.random.key(settings.seed)
        extra = np.asarray(prior.sample(jax.random.fold_in(self._key, 1), max(1, settings.n_starts)))
        self.starts = list(extra) if start is None else [np.asarray(start, float), *extra[1:]]
        self._log_density = eqx.filter_jit(self.posterior.log_density)
        self._score_jacobian = eqx.filter_jit(
            jax.jacfwd(lambda z, likelihood: likelihood.per_configuration(self.prior.potential(z)))
        )
        self.sampler = LabelSampler(
            self.posterior,
            likelihood,
            n_chains=settings.n_chains,
            n_warmup=settings.n_warmup,
            n_draws=settings.n_draws,
            n_checks=settings.n_checks,
            seed=settings.seed,
            checkpoints=checkpoints,
            progress=self.progress,
        )
        self._learned, self._spread = learned_quantities(prior), label_spread(likelihood.data)

    def run(self) -> LabelFit:
        """The whole inference.

        Raises:
            ConvergenceError: no start led to a maximum.
            InputError: noise scales to be learned from labels that the potential says exactly.
        """
        modes = self.modes()
        best = modes[0]
        draws, khat, method, error = self.sampler.run(best.mode, best.surrogate, best.rows)
        covariance, nu, few = self.sandwich(best)
        rng = np.random.default_rng([self.settings.seed, 2])
        calibrated = spread_draws(
            draws.z, best.mode.z, covariance,
            precision=np.linalg.inv(best.mode.covariance), degrees_of_freedom=nu, rng=rng,
        )  # fmt: skip
        return LabelFit(modes, draws, calibrated, covariance, nu, few, khat, method, error)

    # Modes ------------------------------------------------------------------------------------------------

    def modes(self) -> tuple[LabelMode, ...]:
        """The distinct maxima that the starts lead to, highest first."""
        saved = self.checkpoints.load("modes") if self.checkpoints else None
        if saved is not None:
            known = zip(saved["z"], saved["log_density"], saved["n_starts"], strict=True)
            return tuple(self._mode_at(z, float(value), int(n)) for z, value, n in known)
        found: list[LabelMode] = []
        trouble: list[str] = []
        self.progress.stage("searching modes", total=len(self.starts), unit="starts")
        for i, start in enumerate(self.starts):
            self.progress.update(i)
            try:
                new = self._maximum(start)
            except NoiseFreeLabels:
                raise
            except (ConvergenceError, InputError) as error:
                trouble.append(str(error))
                continue
            for k, old in enumerate(found):
                if _same(old.mode, new.mode):
                    better = max((old, new), key=lambda one: one.mode.log_density)
                    found[k] = better._replace(n_starts=old.n_starts + 1)
                    break
            else:
                found.append(new)
        if not found:
            raise ConvergenceError(
                f"none of {len(self.starts)} starts led to a maximum; the first: {trouble[0]}"
            )
        modes = tuple(sorted(found, key=lambda one: -one.mode.log_density))
        if self.checkpoints:
            self.checkpoints.save(
                "modes",
                {
                    "z": np.stack([one.mode.z for one in modes]),
                    "log_density": np.asarray([one.mode.log_density for one in modes]),
                    "n_starts": np.asarray([one.n_starts for one in modes]),
                },
            )
        return modes

    def mode_at(self, z: Float[np.ndarray, " coordinate"]) -> LabelMode:
        """The expansion at a maximum that is known already."""
        return self._mode_at(z, float(self._log_density(jnp.asarray(z), self.likelihood)), 1)

    def information(self, z: Float[np.ndarray, " coordinate"]) -> Float[np.ndarray, "coordinate coordinate"]:
        """Minus the Hessian of the log likelihood with predictions linearised, anywhere."""
        surrogate = self.linearised(z, self._rows(z))
        return -np.asarray(self.posterior.likelihood_hessian(jnp.asarray(z), surrogate))

    def _mode_at(self, z: np.ndarray, log_density: float, n_starts: int) -> LabelMode:
        """The linearisation at a maximum."""
        rows = self._rows(z)
        surrogate = self.second_order(z, rows)
        mode = laplace(self.posterior, surrogate, z, interior=False)
        return LabelMode(mode._replace(log_density=log_density), rows, surrogate, n_starts)

    def _rows(self, z: np.ndarray) -> LabelRows:
        return label_rows(self.prior.potential(jnp.asarray(z)).potential, self.likelihood.data)

    def linearised(self, z: np.ndarray, rows: LabelRows) -> QuadraticLabels | LinearisedLabels:
        """The likelihood with predictions linearised at z."""
        potential = self.prior.potential(jnp.asarray(z)).potential
        data, power = self.likelihood.data, float(self.likelihood.power)
        if self.likelihood.family is gaussian:
            return QuadraticLabels.of(rows, potential, n_groups=len(data.groups), power=power)
        return LinearisedLabels.of(
            rows,
            potential,
            n_configurations=data.n_configurations,
            family=self.likelihood.family,
            power=power,
        )

    def second_order(self, z: np.ndarray, rows: LabelRows) -> Surrogate:
        """The likelihood near z: linearised; for Gaussian noise with predictions to second order, or where parameters are
        many with the exact curvature of the sums of squares."""
        surrogate = self.linearised(z, rows)
        potential = self.prior.potential(jnp.asarray(z)).potential
        size = rows.jacobian.shape[1]
        if (
            not isinstance(surrogate, QuadraticLabels)
            or has_design_matrix(potential)
            or size > MOST_PARAMETERS
        ):
            return surrogate
        curved: BentLabels | QuadraticLabels
        if size <= MOST_BENT:
            power = float(self.likelihood.power)
            curved = BentLabels.of(rows, potential, self.likelihood.data, power=power)
        else:
            curved = with_curvature(surrogate, potential, self.likelihood.data)
        curvature = -np.asarray(self.posterior.hessian(jnp.asarray(z), curved))
        # near the mode it is positive; where rounding or a kink says otherwise, Gauss and Newton's is kept
        return curved if np.linalg.eigvalsh((curvature + curvature.T) / 2.0)[0] > 0.0 else surrogate

    def _maximum(self, start: np.ndarray) -> LabelMode:
        """Gauss–Newton: maximise with predictions linearised, shorten the step until the exact density rises."""
        z = np.asarray(start, float)
        value = float(self._log_density(jnp.asarray(z), self.likelihood))
        if not np.isfinite(value):
            raise ConvergenceError(
                "the log density is not finite at a start; choose another start or a narrower prior"
            )
        for k in range(self.settings.max_linearisations):
            rows = self._rows(z)
            if k == 0:
                self._refuse_exact_labels(z, rows)
            surrogate = self.linearised(z, rows)
            mode = maximise(self.posterior, surrogate, z, least_effective_frames=0.0, refuse_flat=False)
            step = mode.z - z
            if step @ np.linalg.solve(mode.covariance, step) < self.settings.tolerance:
                break
            better = self._shortened(z, step, value)
            if better is None:
                better = self._shortened(z, self._ascent(z, surrogate), value)
            if better is None:
                break
            z, value = better
        return self._mode_at(z, value, 1)

    def _shortened(self, z: np.ndarray, step: np.ndarray, value: float) -> tuple[np.ndarray, float] | None:
        """Where along a step, halved as often as it takes, the exact log density is above a value."""
        for shorten in 0.5 ** np.arange(16):
            candidate = z + shorten * step
            new = float(self._log_density(jnp.asarray(candidate), self.likelihood))
            if np.isfinite(new) and new > value:
                return candidate, new
        return None

    def _ascent(self, z: np.ndarray, surrogate: QuadraticLabels | LinearisedLabels) -> np.ndarray:
        """Newton's step with the moduli of the curvatures: uphill, which the way to the surrogate's maximum need not be."""
        point = jnp.asarray(z)
        gradient = np.asarray(self.posterior.value_and_gradient(point, surrogate)[1])
        hessian = np.asarray(self.posterior.hessian(point, surrogate))
        eigenvalues, vectors = np.linalg.eigh((hessian + hessian.T) / 2.0)
        size = np.maximum(np.abs(eigenvalues), 1e-12 * np.abs(eigenvalues).max())
        return vectors @ ((vectors.T @ gradient) / size)

    def _refuse_exact_labels(self, z: np.ndarray, rows: LabelRows) -> None:
        """Raise where noise scales are learned and the search leads to residuals that vanish."""
        potential, data = self.prior.potential(jnp.asarray(z)).potential, self.likelihood.data

        def after(step: np.ndarray) -> LabelRows:
            return label_rows(with_parameter_vector(potential, parameter_vector(potential) + step), data)

        refuse_exact_labels(
            rows, spread=self._spread, n_groups=len(data.groups), learned=self._learned, after=after
        )

    # Width ------------------------------------------------------------------------------------------------

    def scores(self, best: LabelMode) -> Float[np.ndarray, "configuration coordinate"]:
        """∂ log p/∂z of every configuration at a mode."""
        potential = self.prior.potential(jnp.asarray(best.mode.z)).potential
        data = self.likelihood.data
        rows = LinearisedLabels.of(
            best.rows, potential, n_configurations=data.n_configurations, family=self.likelihood.family
        )
        return np.asarray(self._score_jacobian(jnp.asarray(best.mode.z), rows))

    def curvature(self, best: LabelMode) -> Float[np.ndarray, "coordinate coordinate"]:
        """Minus the Hessian of the log likelihood at a mode, predictions linearised."""
        prior = -np.asarray(self.posterior.prior_hessian(jnp.asarray(best.mode.z)))
        return np.linalg.inv(best.mode.covariance) - prior

    def prior_information(self, best: LabelMode) -> Float[np.ndarray, "coordinate coordinate"]:
        """Λ̄, the covariance of the prior's score."""
        return np.asarray(
            self.prior.score_covariance(jnp.asarray(best.mode.z), key=jax.random.fold_in(self._key, 5))
        )

    def sandwich(self, best: LabelMode) -> tuple[np.ndarray, float, bool]:
        """V = H_p⁻¹ (η² Σ_c (s_c − s̄)(s_c − s̄)ᵀ n/(n − 1) + Λ̄) H_p⁻¹ with configurations as independent units.

        With fewer than three configurations per coordinate the scores' covariance has too few degrees of freedom; its
        ratio to the curvature, averaged over directions, then widens all of them alike (never narrows).

        Returns:
            V, the degrees of freedom of its t-inflation, and whether there were too few configurations.

        References:
            White (1982), doi:10.2307/1912526; the prior's share as in `calibrate`.
        """
        curvature, middle_prior = self.curvature(best), self.prior_information(best)
        scores = float(self.likelihood.power) * self.scores(best)
        scores = scores[np.any(scores != 0.0, axis=1)]
        n, p = scores.shape
        centred = scores - scores.mean(axis=0)
        outer = centred.T @ centred * n / max(n - 1.0, 1.0)
        few = n < 3 * p
        if few:
            ratio = float(
                np.trace(best.mode.covariance @ outer)
                / max(np.trace(best.mode.covariance @ curvature), 1e-300)
            )
            outer = max(ratio, 1.0) * _positive_part(curvature)
        covariance = best.mode.covariance @ (outer + middle_prior) @ best.mode.covariance
        return (covariance + covariance.T) / 2.0, max(3.0, 1.5 * (n - 1.0)), few


def _positive_part(matrix: np.ndarray) -> np.ndarray:
    eigenvalues, vectors = np.linalg.eigh((matrix + matrix.T) / 2.0)
    return (vectors * np.maximum(eigenvalues, 0.0)) @ vectors.T


def _same(first: Mode, second: Mode) -> bool:
    """Whether two maxima are one, to a tenth of a standard deviation."""
    step = second.z - first.z
    return bool(step @ np.linalg.solve(first.covariance, step) < 0.01 * len(step))


class Tempering(NamedTuple):
    """A power on the likelihood that stands for a temperature, and what it does to the error bars.

    Attributes:
        temperature: T₀ = 2 C₀ / number of parameters, C₀ the cost ½ Σ (residual/σ)² at the best fit.
        power: 1/T₀.
        warning: empty, or why the tempered posterior must not be trusted.

    Example:
        >>> cost_temperature(12.0, 8)
        Tempering(temperature=3.0, power=0.3333333333333333, warning='')
    """

    temperature: float
    power: float
    warning: str


def cost_temperature(cost: float, n_parameters: int) -> Tempering:
    """The temperature at which the best fit's cost equals that of as many harmonic degrees of freedom as parameters.

    Where the data are (nearly) free of noise and the model nearly right, T₀ < 1 *shrinks* the error bars.

    Args:
        cost: C₀, half the sum of squared residuals over their noise scales.
        n_parameters: number of parameters of the potential.

    Example:
        >>> cost_temperature(2.0, 8).warning.startswith("T0 = 0.5")
        True

    References:
        Frederiksen et al. (2004), doi:10.1103/PhysRevLett.93.165501.
    """
    if not cost > 0.0 or n_parameters < 1:
        raise InputError(
            f"tempering: a positive cost and at least one parameter are needed, found {cost}, {n_parameters}"
        )
    temperature = 2.0 * cost / n_parameters
    warning = ""
    if temperature < 1.0:
        warning = (
            f"T0 = {temperature:.3g} is below 1: it shrinks the error bars by {np.sqrt(temperature):.2g}, as if the data"
            " were better than their noise scales say; do not temper here"
        )
    return Tempering(temperature, 1.0 / temperature, warning)
