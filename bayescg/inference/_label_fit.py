"""The posterior of labelled data: modes, draws, and a width that counts configurations, not components."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from bayescg.errors import ConvergenceError, InputError
from bayescg.inference._calibrate import spread_draws, symmetric_root
from bayescg.inference._labelled import EnergyForceStress, gaussian
from bayescg.inference._linearised import LabelRows, LinearisedLabels, QuadraticLabels, label_rows
from bayescg.inference._nuts import Nuts, NutsDraws, Target
from bayescg.inference._posterior import Mode, Posterior, laplace, maximise
from bayescg.inference._prior import Prior

KHAT_LIMIT = 0.7
"""Largest Pareto k̂ at which importance weights may mend the linearised posterior."""


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
    """

    seed: int = 0
    n_starts: int = 1
    max_linearisations: int = 60
    tolerance: float = 1e-8
    n_chains: int = 4
    n_warmup: int = 400
    n_draws: int = 500
    n_checks: int = 32


class LabelMode(NamedTuple):
    """One maximum of the posterior of labelled data.

    Attributes:
        mode: where, with the Laplace approximation of the linearised posterior there.
        rows: residuals and their Jacobian there.
        n_starts: how many starts led to it.
    """

    mode: Mode
    rows: LabelRows
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
        method: `linear`, `linearised and reweighted` or `exact`.
    """

    modes: tuple[LabelMode, ...]
    draws: NutsDraws
    calibrated: np.ndarray
    covariance: np.ndarray
    degrees_of_freedom: float
    few_configurations: bool
    khat: float
    method: str


class LabelFitter:
    """Finds the modes, draws from the posterior and calibrates its width.

    Predictions are linearised at the mode, where NUTS costs nothing; the exact likelihood at the draws then says
    whether that was enough, mends it by importance weights, or is sampled itself.

    Args:
        prior: from `labelled_prior`.
        likelihood: configurations, labels and noise.
        start: unconstrained coordinates where the search begins [coordinate]; default a prior draw.
        settings: how much work is done.
    """

    def __init__(
        self,
        prior: Prior,
        likelihood: EnergyForceStress,
        *,
        start: Float[np.ndarray, " coordinate"] | None = None,
        settings: LabelSettings | None = None,
    ):
        self.prior, self.likelihood = prior, likelihood
        self.settings = settings = LabelSettings() if settings is None else settings
        self.posterior = Posterior(prior)
        self._key = jax.random.key(settings.seed)
        extra = np.asarray(prior.sample(jax.random.fold_in(self._key, 1), max(1, settings.n_starts)))
        self.starts = list(extra) if start is None else [np.asarray(start, float), *extra[1:]]
        self._log_density = eqx.filter_jit(self.posterior.log_density)

    def run(self) -> LabelFit:
        """The whole inference.

        Raises:
            ConvergenceError: no start led to a maximum.
        """
        modes = self.modes()
        best = modes[0]
        draws, khat, method = self._sample(best)
        covariance, nu, few = self.sandwich(best)
        rng = np.random.default_rng([self.settings.seed, 2])
        calibrated = spread_draws(
            draws.z, best.mode.z, covariance,
            precision=np.linalg.inv(best.mode.covariance), degrees_of_freedom=nu, rng=rng,
        )  # fmt: skip
        return LabelFit(modes, draws, calibrated, covariance, nu, few, khat, method)

    # Modes ------------------------------------------------------------------------------------------------

    def modes(self) -> tuple[LabelMode, ...]:
        """The distinct maxima that the starts lead to, highest first."""
        found: list[LabelMode] = []
        trouble: list[str] = []
        for start in self.starts:
            try:
                new = self._maximum(start)
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
        return tuple(sorted(found, key=lambda one: -one.mode.log_density))

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

    def _maximum(self, start: np.ndarray) -> LabelMode:
        """Gauss–Newton: maximise with predictions linearised, shorten the step until the exact density rises."""
        z = np.asarray(start, float)
        value = float(self._log_density(jnp.asarray(z), self.likelihood))
        if not np.isfinite(value):
            raise ConvergenceError(
                "the log density is not finite at a start; choose another start or a narrower prior"
            )
        for _ in range(self.settings.max_linearisations):
            rows = self._rows(z)
            surrogate = self.linearised(z, rows)
            mode = maximise(self.posterior, surrogate, z, least_effective_frames=0.0, refuse_flat=False)
            step = mode.z - z
            if step @ np.linalg.solve(mode.covariance, step) < self.settings.tolerance:
                break
            for shorten in 0.5 ** np.arange(16):
                candidate = z + shorten * step
                new = float(self._log_density(jnp.asarray(candidate), self.likelihood))
                if np.isfinite(new) and new > value:
                    break
            else:
                break
            z, value = candidate, new
        rows = self._rows(z)
        mode = laplace(self.posterior, self.linearised(z, rows), z)
        return LabelMode(mode._replace(log_density=value), rows, 1)

    # Draws ------------------------------------------------------------------------------------------------

    def _sample(self, best: LabelMode) -> tuple[NutsDraws, float, str]:
        surrogate = self.linearised(best.mode.z, best.rows)
        draws = self._nuts(surrogate, best.mode)
        flat = draws.z.reshape(-1, draws.z.shape[-1])
        rng = np.random.default_rng([self.settings.seed, 3])
        some = rng.choice(len(flat), min(self.settings.n_checks, len(flat)), replace=False)
        gap = self._gaps(flat[some], surrogate)
        if np.ptp(gap) < 1e-6 * max(1.0, np.max(np.abs(gap))) + 1e-6:
            return draws, 0.0, "linear"
        khat = np.inf
        if np.std(gap) < 3.0:
            weights, khat = _smoothed_weights(self._gaps(flat, surrogate))
            if khat < KHAT_LIMIT:
                chosen = rng.choice(len(flat), len(flat), p=weights)
                mended = flat[chosen].reshape(draws.z.shape)
                return draws._replace(z=mended), khat, "linearised and reweighted"
        return self._nuts(self.likelihood, best.mode), np.nan, "exact"

    def _gaps(self, points: np.ndarray, surrogate: QuadraticLabels | LinearisedLabels) -> np.ndarray:
        """Exact minus linearised log density."""
        exact = [float(self._log_density(jnp.asarray(z), self.likelihood)) for z in points]
        linear = [float(self._log_density(jnp.asarray(z), surrogate)) for z in points]
        return np.asarray(exact) - np.asarray(linear)

    def _nuts(self, likelihood, mode: Mode) -> NutsDraws:
        settings = self.settings
        nuts = Nuts(self.posterior, n_warmup=settings.n_warmup)
        root = jnp.asarray(symmetric_root(mode.covariance))
        target = Target(likelihood, jnp.asarray(mode.z), root, jnp.asarray(1.0))
        state = nuts.initial_state(jax.random.fold_in(self._key, 4), target, n_chains=settings.n_chains)
        state, _ = nuts.step(state, target, n=settings.n_warmup)
        return nuts.step(state, target, n=settings.n_draws)[1]

    # Width ------------------------------------------------------------------------------------------------

    def scores(self, best: LabelMode) -> Float[np.ndarray, "configuration coordinate"]:
        """∂ log p/∂z of every configuration at a mode."""
        potential = self.prior.potential(jnp.asarray(best.mode.z)).potential
        data = self.likelihood.data
        rows = LinearisedLabels.of(
            best.rows, potential, n_configurations=data.n_configurations, family=self.likelihood.family
        )
        jacobian = eqx.filter_jit(
            jax.jacfwd(lambda z, likelihood: likelihood.per_configuration(self.prior.potential(z)))
        )
        return np.asarray(jacobian(jnp.asarray(best.mode.z), rows))

    def sandwich(self, best: LabelMode) -> tuple[np.ndarray, float, bool]:
        """V = H_p⁻¹ (η² Σ_c (s_c − s̄)(s_c − s̄)ᵀ n/(n − 1) + Λ̄) H_p⁻¹ with configurations as independent units.

        With fewer than three configurations per coordinate the scores' covariance has too few degrees of freedom; its
        ratio to the curvature, averaged over directions, then widens all of them alike (never narrows).

        Returns:
            V, the degrees of freedom of its t-inflation, and whether there were too few configurations.

        References:
            White (1982), doi:10.2307/1912526; the prior's share as in `calibrate`.
        """
        z = jnp.asarray(best.mode.z)
        total = np.linalg.inv(best.mode.covariance)
        prior_precision = -np.asarray(self.posterior.prior_hessian(z))
        middle_prior = np.asarray(self.prior.score_covariance(z, key=jax.random.fold_in(self._key, 5)))
        scores = float(self.likelihood.power) * self.scores(best)
        scores = scores[np.any(scores != 0.0, axis=1)]
        n, p = scores.shape
        centred = scores - scores.mean(axis=0)
        outer = centred.T @ centred * n / max(n - 1.0, 1.0)
        few = n < 3 * p
        if few:
            curvature = total - prior_precision
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


def _smoothed_weights(log_ratio: np.ndarray) -> tuple[np.ndarray, float]:
    """Pareto-smoothed importance weights, normalised, and k̂."""
    from arviz_stats.base import array_stats

    log_weights, khat = array_stats.psislw(-log_ratio)[:2]
    weights = np.exp(log_weights - np.max(log_weights))
    return weights / weights.sum(), float(khat)


class Tempering(NamedTuple):
    """A power on the likelihood that stands for a temperature, and what it does to the error bars.

    Attributes:
        temperature: T₀ = 2 C₀ / number of parameters, C₀ the cost ½ Σ (residual/σ)² at the best fit.
        power: 1/T₀.
        warning: empty, or why the tempered posterior must not be trusted.
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
