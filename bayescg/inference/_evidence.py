"""Log evidence with every error that it has, and Bayes factors that refuse what can't be compared."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from scipy.special import logsumexp

from bayescg.data import frame_independence
from bayescg.data._independence import NEGLIGIBLE
from bayescg.errors import InputError
from bayescg.inference._calibrate import symmetric_root
from bayescg.inference._importance import smoothed_weights
from bayescg.inference._laplace_draws import FattenedLaplace
from bayescg.inference._posterior import Mode, Posterior
from bayescg.inference._problem import FitResult
from bayescg.inference._sampler import BATCH, Target, log_volume, whitened_potential
from bayescg.inference._tempered_smc import TemperedSmc
from bayescg.physics import ReferenceBank

KHAT_LIMIT = 0.7
"""Pareto k̂ above which importance sampling's mean, and all the more its error, is not to be trusted."""

PROPOSAL = FattenedLaplace()
"""What importance sampling draws from unless told."""

POINTS = 400
"""Posterior draws over which the error of log Z is averaged."""


class EvidenceBasis(NamedTuple):
    """What an evidence rests on besides prior and likelihood.

    Attributes:
        n_frames: of the data.
        statistical_inefficiency: of the data's frames, in the worst direction.
        bank: the simulations that give log Z; None where log Z is exact.
        inefficiency_limit: up to which the frames pass as independent; see `data.frame_independence`.

    Example:
        >>> EvidenceBasis(n_frames=50, statistical_inefficiency=1.0).anchor
        'exact'
    """

    n_frames: int
    statistical_inefficiency: float
    bank: ReferenceBank | None = None
    inefficiency_limit: float = NEGLIGIBLE

    @property
    def anchor(self) -> str:
        """Identity of the state whose log Z is the zero."""
        return "exact" if self.bank is None else self.bank.anchor

    @property
    def pool(self) -> str:
        """Identity of the frames that log Z comes from."""
        return "exact" if self.bank is None else self.bank.pool


class Evidence(NamedTuple):
    """log p(D), relative to N log Z of the anchor.

    Attributes:
        log_evidence: the estimate.
        standard_error: of the two errors that follow together.
        monte_carlo_error: standard error of the integral over the parameters; 0 for Laplace, which has a bias instead.
        log_z_error: standard error from N log Z, whose reference simulations are finite; to first order, so a value
            above 1 says that the simulations are too short for an evidence at all.
        khat: Pareto k̂ of the importance weights; NaN where there are none.
        method: how it was estimated.
        n_frames: of the data.
        statistical_inefficiency: of the data's frames, in the worst direction.
        anchor: identity of the state whose log Z is the zero.
        pool: identity of the frames that log Z comes from.
        log_z_influence: what each block of these frames contributes to the error of −N log Z [block].
        inefficiency_limit: up to which the frames pass as independent; see `data.frame_independence`.

    Example:
        >>> exact = Evidence(-66.9, 0.0, 0.0, 0.0, np.nan, "laplace", 50, 1.0, "exact", "exact", np.zeros(0))
        >>> exact.log_evidence
        -66.9
    """

    log_evidence: float
    standard_error: float
    monte_carlo_error: float
    log_z_error: float
    khat: float
    method: str
    n_frames: int
    statistical_inefficiency: float
    anchor: str
    pool: str
    log_z_influence: np.ndarray
    inefficiency_limit: float = NEGLIGIBLE


class BayesFactor(NamedTuple):
    """The evidence of one model over that of another, in logarithms.

    Attributes:
        log_bayes_factor: log p(D | a) − log p(D | b).
        standard_error: of it.

    Example:
        >>> round(float(np.exp(BayesFactor(2.303, 0.1).log_bayes_factor)))  # a is ten times as probable
        10
    """

    log_bayes_factor: float
    standard_error: float


def laplace_evidence(posterior: Posterior, mode: Mode, *, basis: EvidenceBasis) -> Evidence:
    """Laplace's log evidence, log p(z*, D) + (p/2) log 2π − ½ log |−∂²|, in the prior's unconstrained coordinates.

    The density over them holds the Jacobian of the constraining transform, so the mode is that of p(z | D), not of the
    parameters. The bias is of the order of p/N_eff; no estimate of it is in the error.

    Args:
        posterior: the posterior.
        mode: its maximum.
        basis: what it rests on.

    Example:
        >>> peak = Mode(np.array([0.0]), np.array([[1.0]]), -3.0, -2.08, interior=True, effective_frames=np.inf)
        >>> laplace_evidence(None, peak, basis=EvidenceBasis(50, 1.0)).log_evidence
        -2.08
    """
    influence = _influence(posterior, basis, mode.z[None], np.ones(1))
    return _evidence(mode.log_evidence, 0.0, np.nan, "laplace", basis, influence)


def importance_evidence(
    posterior: Posterior,
    target: Target,
    *,
    key: Key[Array, ""],
    basis: EvidenceBasis,
    n_draws: int = 4000,
    proposal: FattenedLaplace = PROPOSAL,
) -> Evidence:
    """Log evidence by importance sampling from a fattened Laplace approximation: log mean p(z, D)/q(z).

    Args:
        posterior: the posterior.
        target: centred at its mode and whitened by Laplace's covariance; the barrier is part of what is integrated.
        key: of the random numbers.
        basis: what it rests on.
        n_draws: of the proposal.
        proposal: q, in whitened coordinates.

    Example:
        >>> from bayescg.inference import example_observation
        >>> posterior, target = example_observation()
        >>> found = importance_evidence(posterior, target, key=jax.random.key(0), basis=EvidenceBasis(1, 1.0))
        >>> bool(abs(found.log_evidence - -0.5 * np.log(2 * np.pi * 1.25) + 0.4) < 4 * found.standard_error)
        True

    References:
        Vehtari et al. (2024), JMLR 25, 72, for k̂.
    """
    w = proposal.sample(key, n_draws, size=target.centre.size)
    log_density, log_proposal = _log_ratio_terms(posterior, target, proposal, w)
    log_weights = np.asarray(log_density - log_proposal, float)
    log_weights = np.where(np.isfinite(log_weights), log_weights, -np.inf)
    log_evidence, error = _log_mean(log_weights)
    khat = -np.inf if np.ptp(log_weights) < 1e-9 else smoothed_weights(log_weights)[1]
    weights = np.exp(log_weights - logsumexp(log_weights))
    positions = (np.arange(POINTS) + 0.5) / POINTS
    some = np.minimum(np.searchsorted(np.cumsum(weights), positions), n_draws - 1)
    z = np.asarray(target.coordinates(w[some]))
    influence = _influence(posterior, basis, z, np.full(POINTS, 1.0 / POINTS))
    return _evidence(log_evidence, error, khat, "importance sampling", basis, influence)


def smc_evidence(
    posterior: Posterior,
    target: Target,
    *,
    key: Key[Array, ""],
    basis: EvidenceBasis,
    n_runs: int = 8,
    smc: TemperedSmc | None = None,
) -> Evidence:
    """Log evidence by tempered SMC: the mean over independent runs, whose scatter is its error.

    Args:
        posterior: the posterior.
        target: centred at its mode and whitened by Laplace's covariance; the barrier is part of what is integrated.
        key: of the random numbers.
        basis: what it rests on.
        n_runs: independent runs.
        smc: how each is done; from the prior, with 512 particles, if None.

    Raises:
        InputError: fewer than two runs.
        ConvergenceError: a run did not reach the posterior.

    Example:
        >>> from bayescg.inference import example_observation
        >>> posterior, target = example_observation()
        >>> found = smc_evidence(posterior, target, key=jax.random.key(0), basis=EvidenceBasis(1, 1.0))
        >>> bool(abs(found.log_evidence - -0.5 * np.log(2 * np.pi * 1.25) + 0.4) < 4 * found.standard_error)
        True
    """
    if n_runs < 2:
        raise InputError(f"smc_evidence: {n_runs} run; the error comes from the scatter of at least 2")
    smc = TemperedSmc(posterior, from_prior=True) if smc is None else smc
    state = smc.initial_state(key, target, n_chains=n_runs)
    state, _ = smc.step(state, target, n=smc.n_warmup)
    each = -(-POINTS // n_runs)
    runs = np.asarray(state.log_evidence, float)
    log_evidence, error = _log_mean(runs)
    _, draws = smc.step(state, target, n=each)
    shares = np.repeat(np.exp(runs - logsumexp(runs)), each) / each
    z = draws.z.reshape(-1, draws.z.shape[-1])
    return _evidence(
        log_evidence, error, np.nan, "tempered SMC", basis, _influence(posterior, basis, z, shares)
    )


def fit_evidence(
    posterior: Posterior,
    fit: FitResult,
    *,
    key: Key[Array, ""],
    n_draws: int = 4000,
    least_effective_frames: float = 50.0,
) -> Evidence:
    """Log evidence of a finished relative-entropy fit, by importance sampling from its Laplace approximation.

    Args:
        posterior: that of the fit.
        fit: the inference's outcome.
        key: of the random numbers.
        n_draws: of the proposal.
        least_effective_frames: where the barrier begins, as in `FitSettings`.

    Example:
        >>> import numpyro
        >>> import numpyro.distributions as dist
        >>> from bayescg.data import long_run_covariance
        >>> from bayescg.inference import Calibration, Prior, maximise, relative_entropy
        >>> from bayescg.physics import DoubleWell, Reference, SufficientStatistics
        >>> x = np.random.default_rng(0).normal(size=(16, 200))
        >>> phi = np.stack([-(x**2) / 2, x**4 / 4], axis=-1)
        >>> bank = ReferenceBank(1.0, (Reference(np.array([-1.0, 0.0]), phi, phi[..., :0], phi[..., :0], x[:0]),))
        >>> data = SufficientStatistics(phi[0], phi[0, :, :0], phi[0, :, :0], np.zeros(200, int))
        >>> likelihood = relative_entropy(data, bank.surrogate())
        >>> posterior = Posterior(Prior(lambda: DoubleWell(numpyro.sample("t1", dist.Normal(-1.0, 2.0)), 0.0)))
        >>> mode = maximise(posterior, likelihood, -np.ones(1), least_effective_frames=50.0)
        >>> calibration = Calibration(*[None] * 9)._replace(long_run=long_run_covariance(phi[0, :, :1]))
        >>> fit = FitResult(*[None] * len(FitResult._fields))
        >>> fit = fit._replace(mode=mode, calibration=calibration, likelihood=likelihood, bank=bank)
        >>> found = fit_evidence(posterior, fit, key=jax.random.key(0), n_draws=500)
        >>> bool(abs(found.log_evidence - mode.log_evidence) < 0.1), found.log_z_error > found.monte_carlo_error
        (True, True)
    """
    mode, long_run = fit.mode, fit.calibration.long_run
    g, limit = frame_independence(long_run)
    basis = EvidenceBasis(long_run.n_frames, g, fit.bank, limit)
    target = Target(
        fit.likelihood,
        jnp.asarray(mode.z),
        jnp.asarray(symmetric_root(mode.covariance)),
        jnp.asarray(min(least_effective_frames, 0.5 * mode.effective_frames)),
    )
    return importance_evidence(posterior, target, key=key, basis=basis, n_draws=n_draws)


def bayes_factor(a: Evidence, b: Evidence) -> BayesFactor:
    """The log Bayes factor of a over b, with both errors; what they share through one bank of references cancels.

    Raises:
        InputError: the frames are correlated beyond chance, the data differ in number, log Z has different anchors, or
            importance sampling failed.

    Example:
        >>> a = Evidence(-60.0, 0.3, 0.3, 0.0, 0.2, "importance sampling", 50, 1.0, "exact", "exact", np.zeros(0))
        >>> b = a._replace(log_evidence=-62.0, monte_carlo_error=0.4, standard_error=0.4)
        >>> bayes_factor(a, b)
        BayesFactor(log_bayes_factor=2.0, standard_error=0.5)
    """
    for one in (a, b):
        if one.statistical_inefficiency > one.inefficiency_limit:
            raise InputError(
                f"Bayes factor: one independent frame is worth {one.statistical_inefficiency:.2f} frames of these data (by"
                f" chance at most {one.inefficiency_limit:.2f}), and the evidence takes all as independent: thin the"
                " frames, or compare by blocks' predictive scores"
            )
    if a.anchor != b.anchor:
        raise InputError(
            f"Bayes factor: log Z is relative to anchor {a.anchor} in one evidence and to {b.anchor} in the other, so"
            " N log Z of the two anchors is missing: fit both with references of one bank"
        )
    if a.n_frames != b.n_frames:
        raise InputError(
            f"Bayes factor: one evidence is of {a.n_frames} frames, the other of {b.n_frames}: use the same data for both"
        )
    khat = np.nanmax([a.khat, b.khat, -np.inf])
    if khat > KHAT_LIMIT:
        raise InputError(
            f"Bayes factor: the importance weights of an evidence have no mean to speak of (Pareto k-hat {khat:.2f},"
            f" at most {KHAT_LIMIT:g} is allowed): use `smc_evidence`"
        )
    if a.pool == b.pool:
        log_z = float(np.sum((a.log_z_influence - b.log_z_influence) ** 2))
    else:
        log_z = a.log_z_error**2 + b.log_z_error**2
    error = np.sqrt(a.monte_carlo_error**2 + b.monte_carlo_error**2 + log_z)
    return BayesFactor(a.log_evidence - b.log_evidence, float(error))


@eqx.filter_jit
def _log_ratio_terms(posterior: Posterior, target: Target, proposal: FattenedLaplace, w: Array):
    potential = whitened_potential(posterior, target)
    energies = jax.lax.map(potential, w, batch_size=BATCH)
    return log_volume(target) - energies, jax.vmap(proposal.log_density)(w)


@eqx.filter_jit
def _coefficients(posterior: Posterior, z: Array) -> Array:
    return jax.lax.map(posterior.coefficients, z, batch_size=BATCH)


def _log_mean(log_weights: Float[np.ndarray, " draw"]) -> tuple[float, float]:
    """log of the mean weight, and its standard error by the delta method."""
    n = len(log_weights)
    total = logsumexp(log_weights)
    relative = np.exp(log_weights - total) * n
    return float(total - np.log(n)), float(np.std(relative, ddof=1) / np.sqrt(n))


def _influence(
    posterior: Posterior, basis: EvidenceBasis, z: np.ndarray, weights: np.ndarray
) -> Float[np.ndarray, " block"]:
    """Contributions to the error of −N ⟨log Z⟩ over posterior draws: δ log p(D) = −N ⟨δ log Z⟩ to first order."""
    if basis.bank is None:
        return np.zeros(0)
    eta = np.asarray(_coefficients(posterior, jnp.asarray(z)))
    return -basis.n_frames * basis.bank.log_z_influence(eta, weights=weights)


def _evidence(
    log_evidence: float, error: float, khat: float, method: str, basis: EvidenceBasis, influence: np.ndarray
) -> Evidence:
    log_z_error = float(np.sqrt(np.sum(influence**2)))
    return Evidence(
        float(log_evidence), float(np.hypot(error, log_z_error)), error, log_z_error, float(khat), method,
        basis.n_frames, basis.statistical_inefficiency, basis.anchor, basis.pool, influence, basis.inefficiency_limit,
    )  # fmt: skip
