"""What a model costs away from the state it was fitted at."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float

from bayescg.data import long_run_covariance
from bayescg.errors import InputError
from bayescg.inference import Calibration, Mode, Posterior, calibrate, maximise, relative_entropy
from bayescg.physics import ReferenceBank, SufficientStatistics

LEAST_EFFECTIVE_FRAMES = 50.0
"""Effective reference frames below which log Z at another state's fit is not to be trusted."""


class StateData(NamedTuple):
    """Data of one state and references that serve there.

    Attributes:
        state: what the states are told apart by, such as a temperature or a composition.
        statistics: the frames, reduced with the potential.
        bank: references at this state's temperature and box, reaching from its own fit to those of the other states.
        start: unconstrained coordinates near its fit [coordinate].

    Example:
        >>> x2 = np.random.default_rng(0).normal(size=(4, 100, 1)) ** 2 / 2
        >>> none = x2[..., :0]
        >>> from bayescg.physics import Reference
        >>> bank = ReferenceBank(1.0, (Reference(np.ones(1), x2, none, none, x2[:0]),))
        >>> frames = SufficientStatistics(x2[0], x2[0], x2[0, :, :0], np.zeros(100, int))
        >>> StateData(300.0, frames, bank, np.zeros(1)).state
        300.0
    """

    state: float
    statistics: SufficientStatistics
    bank: ReferenceBank
    start: Float[np.ndarray, " coordinate"]


class _Fit(NamedTuple):
    """A state's own best model."""

    mode: Mode
    eta: np.ndarray
    jacobian: np.ndarray
    calibration: Calibration


def transferability(states: Sequence[StateData], posterior: Posterior, *, units: str = "1") -> xr.Dataset:
    """Relative entropy lost by using a model fitted at one state at another, for every pair of states.

        Δ(s_fit → s) = [β η_fit·⟨φ⟩_s + log Z_s(η_fit)] − [β η_s·⟨φ⟩_s + log Z_s(η_s)],

    with η_s the best model of the same form at s and both log Z from the bank at s, so that the anchor cancels. It is
    0 on the diagonal, and what no refit at the first state can mend. Its variance adds three parts to first order,
    with J the long-run covariance of the features and V the calibrated covariance of the first fit,

        β² (η_fit − η_s)ᵀ J_s (η_fit − η_s) / N_s   data at s,
        dᵀ V_fit d, d = β (∂η/∂z)ᵀ (⟨φ⟩_s − ⟨φ⟩_η_fit)   data at s_fit,
        Var[log Z_s(η_fit) − log Z_s(η_s)]   finite simulation at s.

    Where all three vanish to first order, the fits alone leave a floor, `noise` = ½ tr(H_s (V_fit + V_s)): a penalty of
    that size is found between two data sets of one state.

    Args:
        states: at least two.
        posterior: prior and form; a wide prior, since it is no part of the penalty.
        units: of the state.

    Returns:
        `penalty`, `penalty_se`, `noise` and `effective_reference_frames` along (`fitted_at`, `used_at`).

    Raises:
        InputError: fewer than two states, or states named alike.

    References:
        Shell (2008), doi:10.1063/1.2992060, the relative entropy; Carmichael & Shell (2012), doi:10.1021/jp2114994,
        its use for transferability.

    Example:
        >>> import numpyro.distributions as dist
        >>> from bayescg.inference import independent_prior
        >>> from bayescg.physics import LinearPotential, Reference
        >>> def square(positions, box):
        ...     return jnp.sum(positions**2).reshape(1) / 2
        >>> prior = independent_prior(
        ...     LinearPotential(jnp.ones(1), function=square, name="k"), {"k_theta": dist.LogNormal(0.0, 3.0)}
        ... )
        >>> x2 = np.random.default_rng(0).normal(size=(20, 500, 1)) ** 2 / 2
        >>> none = x2[..., :0]
        >>> bank = ReferenceBank(1.0, (Reference(np.ones(1), x2, none, none, x2[:0]),))
        >>> def data(variance):
        ...     rows = variance * np.random.default_rng(1).normal(size=(400, 1)) ** 2 / 2
        ...     return SufficientStatistics(rows, rows, rows[:, :0], np.zeros(400, int))
        >>> pairs = [StateData(v, data(v), bank, np.zeros(1)) for v in (0.9, 1.1)]
        >>> found = transferability(pairs, Posterior(prior))
        >>> round(float(found["penalty"].sel(fitted_at=0.9, used_at=1.1)), 2)  # (1.1/0.9 − 1 − log(1.1/0.9)) / 2
        0.01
    """
    names = [one.state for one in states]
    if len(states) < 2 or len(set(names)) < len(names):
        raise InputError(
            f"transferability: states {names}; expected at least two that differ, one entry for each"
        )
    fits = [_fit(one, posterior) for one in states]
    shape = (len(states), len(states))
    penalty, error, noise, effective = (np.zeros(shape) for _ in range(4))
    for used, (state, own) in enumerate(zip(states, fits, strict=True)):
        surrogate = state.bank.surrogate()
        mean = state.statistics.features.mean(axis=0)
        spread = _mean_covariance(state.statistics)
        influence = _influence(state.bank, own.eta)
        curvature = own.calibration.curvature
        for fitted, other in enumerate(fits):
            effective[fitted, used] = float(surrogate.effective_frames(jnp.asarray(other.eta)))
            if fitted == used:
                continue
            apart = other.eta - own.eta
            log_z = state.bank.delta_log_z(other.eta) - state.bank.delta_log_z(own.eta)
            penalty[fitted, used] = state.bank.beta * apart @ mean + log_z
            slope = mean - np.asarray(surrogate.mean_features(jnp.asarray(other.eta)))
            lever = state.bank.beta * other.jacobian.T @ slope
            error[fitted, used] = np.sqrt(
                state.bank.beta**2 * apart @ spread @ apart
                + lever @ other.calibration.covariance @ lever
                + np.sum((_influence(state.bank, other.eta) - influence) ** 2)
            )
            both = other.calibration.covariance + own.calibration.covariance
            noise[fitted, used] = 0.5 * np.trace(curvature @ both)
    return _dataset(names, fits, penalty, error, noise, effective, units)


def _fit(state: StateData, posterior: Posterior) -> _Fit:
    likelihood = relative_entropy(state.statistics, state.bank.surrogate())
    mode = maximise(posterior, likelihood, state.start, least_effective_frames=LEAST_EFFECTIVE_FRAMES)
    z = jnp.asarray(mode.z)
    eta, jacobian = np.asarray(posterior.coefficients(z)), np.asarray(posterior.coefficient_jacobian(z))
    n = state.statistics.n_frames
    precision = -np.asarray(posterior.prior_hessian(z))
    calibration = calibrate(
        state.statistics, beta=state.bank.beta, coefficient_jacobian=jacobian,
        curvature=-np.asarray(posterior.likelihood_hessian(z, likelihood)) / n,
        prior_precision=precision, prior_score_covariance=np.zeros_like(precision),
        feature_error=state.bank.feature_covariance_error(eta),
    )  # fmt: skip
    return _Fit(mode, eta, jacobian, calibration)


def _mean_covariance(statistics: SufficientStatistics) -> np.ndarray:
    """Covariance of the mean features of correlated frames; zero for those that do not vary."""
    features = statistics.features
    varying = features.std(axis=0) > 0.0
    covariance = np.zeros((features.shape[1], features.shape[1]))
    found = long_run_covariance(features[:, varying], lengths=statistics.trajectory_lengths())
    covariance[np.ix_(varying, varying)] = found.covariance / statistics.n_frames
    return covariance


def _influence(bank: ReferenceBank, eta: np.ndarray) -> np.ndarray:
    return bank.log_z_influence(eta[None], weights=np.ones(1))


def _dataset(
    names: list[float],
    fits: list[_Fit],
    penalty: np.ndarray,
    error: np.ndarray,
    noise: np.ndarray,
    effective: np.ndarray,
    units: str,
) -> xr.Dataset:
    pair, nats = ("fitted_at", "used_at"), {"units": "nats/frame"}
    return xr.Dataset(
        {
            "penalty": (pair, penalty, nats | {"long_name": "relative entropy lost by a model of another state"}),
            "penalty_se": (pair, error, nats | {"long_name": "its standard error, to first order"}),
            "noise": (pair, noise, nats | {"long_name": "penalty that finite data leave between equal states"}),
            "effective_reference_frames": (
                pair, effective, {"units": "1", "long_name": "of the reweighting to the model of the other state"}
            ),
            "coefficients": (
                ("fitted_at", "feature"), np.stack([fit.eta for fit in fits]), {"long_name": "η of each state's fit"}
            ),
        },
        coords={
            "fitted_at": ("fitted_at", names, {"units": units, "long_name": "state that the model was fitted at"}),
            "used_at": ("used_at", names, {"units": units, "long_name": "state that it is used at"}),
        },
        attrs={"least_effective_frames": LEAST_EFFECTIVE_FRAMES},
    )  # fmt: skip
