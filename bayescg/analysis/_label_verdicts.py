"""Checks of a posterior of labelled data, each with what it means in words."""

import numpy as np

from bayescg.analysis._verdicts import FAILED, NOT_TESTED, PASSED, Check
from bayescg.inference import LabelFit, LabelledData, mode_weights
from bayescg.inference._labelled import QUANTITIES

SEVERAL_MODES = 0.01
"""Share of the probability in other modes from which on the draws, which know one mode, mislead."""
ASSUMED_NOISE = 0.7
"""Root mean square of residuals over the noise scale below which the assumed noise is too large."""


def mode_check(fit: LabelFit) -> Check:
    """Whether the highest mode holds nearly all of the probability, by Laplace's approximation of each.

    Args:
        fit: the inference's outcome.

    Example:
        >>> from bayescg.inference import LabelMode, Mode
        >>> peaks = [
        ...     Mode(np.zeros(1), np.eye(1), value, 0.0, interior=True, effective_frames=0.0) for value in (-1.0, -3.0)
        ... ]
        >>> fit = LabelFit(
        ...     tuple(LabelMode(peak, None, None, 1) for peak in peaks), None, np.zeros((4, 500, 1)), np.eye(1), 50.0,
        ...     few_configurations=False, khat=0.0, method="linear",
        ... )
        >>> mode_check(fit).verdict  # the second holds 12 % of the probability
        'failed'
    """
    weights, starts = mode_weights(fit), [mode.n_starts for mode in fit.modes]
    others = float(1.0 - weights[0])
    if sum(starts) == 1:
        return Check(
            "modes", NOT_TESTED, None, SEVERAL_MODES,
            "One start was tried: other maxima of the posterior would go unseen; raise inference.starts.",
        )  # fmt: skip
    found = f"{sum(starts)} starts led to {len(fit.modes)} maxim{'um' if len(fit.modes) == 1 else 'a'}"
    if others < SEVERAL_MODES:
        return Check(
            "modes", PASSED, others, SEVERAL_MODES,
            f"{found}; the highest holds {100 * weights[0]:.3g} % of the probability.",
        )  # fmt: skip
    return Check(
        "modes", FAILED, others, SEVERAL_MODES,
        f"{found}, and those that were not drawn from hold {100 * others:.0f} % of the probability: compare them in the"
        " group `modes`, and choose by the prior or by more data.",
    )  # fmt: skip


def linearisation_check(fit: LabelFit) -> Check:
    """How the draws were made, and whether the linearised predictions were good enough.

    Args:
        fit: the inference's outcome.

    Example:
        >>> fit = LabelFit(
        ...     (), None, np.zeros((4, 500, 2)), np.eye(2), 50.0, few_configurations=False, khat=0.0, method="linear"
        ... )
        >>> linearisation_check(fit).sentence
        'Predictions are linear in the parameters: the draws are of the posterior itself.'
    """
    cubic = (
        f"; a polynomial gives the log weights of most draws, to {fit.weight_error:.1g}"
        if fit.weight_error
        else ""
    )
    sentences = {
        "linear": "Predictions are linear in the parameters: the draws are of the posterior itself.",
        "expanded and reweighted": f"Draws of the posterior expanded about its mode, resampled by the exact likelihood (Pareto"
        f" k-hat {fit.khat:.2f}{cubic}).",
        "fitted and reweighted": "Draws of the posterior with polynomials through exact predictions at earlier draws,"
        f" resampled by the exact likelihood (Pareto k-hat {fit.khat:.2f}{cubic}).",
        "exact": "Predictions bend over the posterior's width; NUTS ran on the exact likelihood.",
    }
    value = fit.khat if fit.method.endswith("reweighted") else None
    return Check("expansion", PASSED, value, 0.7, sentences[fit.method])


def noise_check(fit: LabelFit, data: LabelledData, noise: np.ndarray) -> Check:
    """Whether the residuals at the mode are as large as the noise that was assumed or learned.

    Args:
        fit: the inference's outcome.
        data: the training configurations.
        noise: noise scale at the mode, of each quantity and group one after the other [quantity·group].

    Example:
        >>> from bayescg.inference import LabelMode, LabelRows
        >>> rows = LabelRows(
        ...     np.array([0.1, -0.1]), jacobian=np.ones((2, 1)), kind=np.zeros(2, int), weight=np.ones(2),
        ...     configuration=np.arange(2),
        ... )
        >>> fit = LabelFit(
        ...     (LabelMode(None, rows, None, 1),), None, np.zeros((4, 500, 1)), np.eye(1), 50.0,
        ...     few_configurations=False, khat=0.0, method="linear",
        ... )
        >>> data = LabelledData((), ("all",), 2, ((2,), (0,), (0,)))
        >>> noise_check(fit, data, np.array([1.0, 1.0, 1.0])).verdict  # residuals of 0.1 where 1 was assumed
        'failed'
    """
    rows = fit.modes[0].rows
    count = np.bincount(rows.kind, minlength=len(noise))
    square = np.bincount(rows.kind, weights=rows.residual**2, minlength=len(noise))
    used = count > 0
    ratio = np.sqrt(square[used] / count[used]) / noise[used]
    names = np.asarray([f"{quantity} of {group}" for quantity in QUANTITIES for group in data.groups])[used]
    least = int(np.argmin(ratio))
    if fit.few_configurations:
        return Check(
            "noise", NOT_TESTED, float(ratio[least]), ASSUMED_NOISE,
            "Too few configurations to tell the labels' noise from what the parameters take up.",
        )  # fmt: skip
    if ratio[least] < ASSUMED_NOISE:
        return Check(
            "noise", FAILED, float(ratio[least]), ASSUMED_NOISE,
            f"The residuals of {names[least]} are only {ratio[least]:.2g} of the noise that was assumed. The calibrated"
            " intervals follow the residuals and are narrower than that noise allows: give the noise that the labels"
            " have, or learn it.",
        )  # fmt: skip
    return Check(
        "noise", PASSED, float(ratio[least]), ASSUMED_NOISE,
        f"Residuals are {ratio.min():.2g} to {ratio.max():.2g} times the noise scales.",
    )  # fmt: skip


def configurations_check(fit: LabelFit) -> Check:
    """Whether there are enough configurations for the width of every direction.

    Args:
        fit: the inference's outcome.

    Example:
        >>> fit = LabelFit(
        ...     (), None, np.zeros((4, 500, 2)), np.eye(2), 50.0, few_configurations=False, khat=0.0, method="linear"
        ... )
        >>> configurations_check(fit).verdict
        'passed'
    """
    if fit.few_configurations:
        return Check(
            "configurations", FAILED, None, None,
            "Fewer than three configurations for each parameter: one factor widens all directions alike, and their"
            " widths are rough.",
        )  # fmt: skip
    return Check(
        "configurations", PASSED, None, None,
        "There are at least three configurations for each parameter, enough for the width of every direction.",
    )  # fmt: skip
