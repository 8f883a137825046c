"""Posterior predictive checks: would data of the model, averaged as the data are, look like the data?"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy import stats

from bayescg.data import statistical_inefficiency
from bayescg.errors import InputError
from bayescg.physics import ReferenceBank

UNLIKELY, VERY_UNLIKELY = 0.05, 0.001
"""Two-sided tail probabilities, for the whole family of observables, below which the sentence calls for a look."""


class ObservedAverages(NamedTuple):
    """Averages of the data and how many independent frames each of them is worth.

    Attributes:
        mean: [observable].
        independent_frames: N / g [observable].

    Example:
        >>> series = np.repeat(np.random.default_rng(0).normal(size=(500, 1)), 4, axis=0)  # each value four times
        >>> bool(300 < observed_averages(series).independent_frames[0] < 700)
        True
    """

    mean: np.ndarray
    independent_frames: np.ndarray


def observed_averages(
    values: Float[np.ndarray, "frame observable"], *, lengths: Sequence[int] | None = None
) -> ObservedAverages:
    """Averages of an observable's time series, and their worth in independent frames.

    Args:
        values: of every frame of the data.
        lengths: frames of each independent trajectory.

    Example:
        >>> observed_averages(np.array([[1.0], [3.0], [2.0], [2.0]])).mean.tolist()
        [2.0]
    """
    g = statistical_inefficiency(values, lengths=lengths)
    return ObservedAverages(values.mean(axis=0), len(values) / g)


def predictive_checks(
    bank: ReferenceBank,
    coefficients: Float[np.ndarray, "draw feature"],
    values: Float[np.ndarray, "frame observable"] | Float[np.ndarray, "draw frame observable"],
    observed: ObservedAverages,
    *,
    names: Sequence[str],
) -> xr.Dataset:
    """Averages of the data against replicated averages, by reweighting the bank: no new simulation.

    At each draw θ_s the model has the mean m_s and the variance v_s of an observable. Replicated data of N_eff
    independent frames average to m_s + √(v_s/N_eff) ε, so that with b the bank's own Monte-Carlo error of the mean

        z = (observed − mean_s m_s) / √(Var_s m_s + mean_s v_s/N_eff + b²),
        P(replicated ≥ observed) = mean_s Φ((m_s − observed) / √(v_s/N_eff + b²)).

    Averages are taken as normal, which rare events (the first bins of g(r)) are not: there N_eff frames may hold few or
    none. Observables that the fit itself matched are hit better than by chance, since they made the posterior; the
    others are the test.

    Args:
        bank: reference simulations.
        coefficients: η of posterior draws, calibrated ones.
        values: the observable in every pooled frame of the bank, in the order of `bank.features`; with a leading axis
            of draws where it depends on the parameters (energy, pressure).
        observed: the data's averages.
        names: of the observables.

    Returns:
        Of each `observable`: `observed`, `predicted`, `epistemic_sd` (between draws), `sampling_sd` (of N_eff frames),
        `simulation_sd` (b), `z`, `upper_tail`, `p_value` (two-sided) and a `sentence`.

    Raises:
        InputError: arrays that don't fit together.

    References:
        Gelman, Meng & Stern (1996), Statistica Sinica 6, 733; the average over the draws' own tails is their eq. 7.

    Example:
        >>> from bayescg.physics import Reference
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=(16, 500))
        >>> phi = x[..., None] ** 2 / 2
        >>> bank = ReferenceBank(1.0, (Reference(np.ones(1), phi, phi, phi[..., :0], np.zeros((0, 1, 1))),))
        >>> seen = ObservedAverages(np.array([1.0, 3.9]), np.array([200.0, 200.0]))  # of a model with 1 and 3
        >>> fourth = np.stack([x.ravel() ** 2, x.ravel() ** 4], axis=1)
        >>> check = predictive_checks(bank, np.array([[0.95], [1.05]]), fourth, seen, names=["x2", "x4"])
        >>> (abs(check["z"].values) < 1.0).tolist(), print(check["sentence"].values[0])  # doctest: +ELLIPSIS
        x2: as the model expects (z = ...
        ([True, False], None)
    """
    n_draws, n_observables = len(coefficients), len(names)
    per_draw = values.ndim == 3
    if values.shape[-2:] != (len(bank.features), n_observables) or (per_draw and len(values) != n_draws):
        raise InputError(
            f"predictive checks: values {values.shape} for {n_draws} draws, {len(bank.features)} pooled frames and"
            f" {n_observables} names; expected [frame observable] or [draw frame observable]"
        )
    if observed.mean.shape != (n_observables,) or observed.independent_frames.shape != (n_observables,):
        raise InputError(
            f"predictive checks: observed averages of shape {observed.mean.shape} for {n_observables} names"
        )
    mean, variance = np.empty((2, n_draws, n_observables))
    for draw, eta in enumerate(coefficients):
        own = values[draw] if per_draw else values
        weights = bank.weights(eta)
        mean[draw] = weights @ own
        variance[draw] = weights @ (own - mean[draw]) ** 2
    middle = coefficients.mean(axis=0)
    error = reweighting_error(bank, middle, values.mean(axis=0) if per_draw else values)
    sampling = variance / observed.independent_frames
    noise = np.maximum(np.sqrt(sampling + error**2), 1e-300)
    epistemic = mean.std(axis=0, ddof=1) if n_draws > 1 else np.zeros(n_observables)
    total = np.sqrt(epistemic**2 + sampling.mean(axis=0) + error**2)
    difference = observed.mean - mean.mean(axis=0)
    z = np.divide(difference, total, out=np.zeros_like(total), where=total > 0.0)
    upper = stats.norm.cdf((mean - observed.mean) / noise).mean(axis=0)
    p = np.minimum(2.0 * np.minimum(upper, 1.0 - upper), 1.0)
    per = "observable"
    return xr.Dataset(
        {
            "observed": (per, observed.mean),
            "predicted": (per, mean.mean(axis=0)),
            "epistemic_sd": (per, epistemic),
            "sampling_sd": (per, np.sqrt(sampling.mean(axis=0))),
            "simulation_sd": (per, error),
            "z": (per, z, {"long_name": "observed minus predicted, in predictive standard deviations"}),
            "upper_tail": (per, upper, {"long_name": "probability that replicated data average to more"}),
            "p_value": (per, p, {"long_name": "two-sided tail probability"}),
            "sentence": (per, [_sentence(*row, n_observables) for row in zip(names, z, p, strict=True)]),
        },
        coords={per: list(names)},
    )


def reweighting_error(
    bank: ReferenceBank,
    coefficients: Float[np.ndarray, " feature"],
    values: Float[np.ndarray, "frame observable"],
) -> Float[np.ndarray, " observable"]:
    """Monte-Carlo standard error of reweighted means, whole replicas as blocks, free energies taken as known.

    Args:
        bank: reference simulations.
        coefficients: η.
        values: in every pooled frame.

    Raises:
        InputError: a reference of a single replica that is too short to be cut.

    Example:
        >>> from bayescg.physics import Reference
        >>> phi = np.random.default_rng(0).normal(size=(20, 50, 1))
        >>> bank = ReferenceBank(1.0, (Reference(np.ones(1), phi, phi, phi[..., :0], np.zeros((0, 1, 1))),))
        >>> bool(0.02 < reweighting_error(bank, np.ones(1), phi.reshape(-1, 1))[0] < 0.045)  # 1/√1000 = 0.032
        True
    """
    weights = bank.weights(coefficients)
    influence = weights[:, None] * (values - weights @ values)
    sums = np.zeros((bank.block_index[-1] + 1, values.shape[1]))
    np.add.at(sums, bank.block_index, influence)
    owner = bank.reference_index[np.unique(bank.block_index, return_index=True)[1]]
    variance = np.zeros(values.shape[1])
    for k in range(len(bank.references)):
        part = sums[owner == k]
        if len(part) < 2:
            raise InputError("the Monte-Carlo error needs at least 2 replicas in every reference simulation")
        variance += len(part) / (len(part) - 1) * np.sum((part - part.mean(axis=0)) ** 2, axis=0)
    return np.sqrt(variance)


def _sentence(name: str, z: float, p: float, n_observables: int) -> str:
    """In words; p is adjusted for the number of observables."""
    family = min(1.0, p * n_observables)
    if family >= UNLIKELY:
        return f"{name}: as the model expects (z = {z:+.1f}, p = {p:.2g})"
    side = "higher" if z > 0.0 else "lower"
    what = "not reproduced" if family < VERY_UNLIKELY else "doubtful"
    return f"{name}: {what}, the data are {side} than replicated data ever are but in {100 * p:.2g} % (z = {z:+.1f})"


def predictive_check_sentence(check: xr.Dataset) -> str:
    """How many observables the model reproduces, and which it misses most.

    Args:
        check: of `predictive_checks`.

    Example:
        >>> check = xr.Dataset(
        ...     {"z": ("observable", [0.3, 8.0]), "p_value": ("observable", [0.76, 1e-9])},
        ...     coords={"observable": ["x2", "pressure"]},
        ... )
        >>> predictive_check_sentence(check)
        'Replicated data agree with the data in 1 of 2 averages; worst is pressure (z = +8.0).'
    """
    n = check.sizes["observable"]
    good = int(np.sum(np.minimum(1.0, check["p_value"].values * n) >= UNLIKELY))
    worst = int(np.argmax(np.abs(check["z"].values)))
    name, z = str(check["observable"].values[worst]), float(check["z"].values[worst])
    lead = "all" if good == n else f"{good} of"
    word = "largest deviation" if good == n else "worst"
    return f"Replicated data agree with the data in {lead} {n} averages; {word} is {name} (z = {z:+.1f})."
