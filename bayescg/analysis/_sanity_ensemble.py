"""Checks that a thermostat and a barostat sample their ensemble, not only its averages."""

import numpy as np
from jaxtyping import Float
from scipy import stats

from bayescg.analysis._verdicts import FAILED, NOT_TESTED, PASSED, Check
from bayescg.data import statistical_inefficiency
from bayescg.errors import InputError
from bayescg.physics import Estimate, time_blocks

Series = Float[np.ndarray, "replica frame"]

P_LIMIT = 1e-3
"""Tail probability below which a distribution counts as wrong."""
Z_LIMIT = 3.5
"""Standard errors beyond which a slope counts as wrong: 5 in 10,000 by chance."""
SHARP = 0.2
"""Relative error of the slope above which the check can't tell a right thermostat from a wrong one."""
FEWEST_FRAMES = 50
"""Independent frames below which a distribution isn't tested."""
PIECES = 10


def kinetic_energy_check(
    kinetic_energies: Series, *, kT: float, degrees_of_freedom: int, level: float = P_LIMIT
) -> Check:
    """Whether kinetic energies follow their canonical distribution, Gamma(f/2, k_B T).

    Three tests of frames thinned to independent ones, together at one level: the mean, the variance, and the largest
    distance of the distribution functions (Kolmogorov and Smirnov). A thermostat that only rescales velocities
    has the mean right and the variance wrong.

    Full-step velocities of BAOAB are cold by (ω Δt)²/4 for a vibration ω, which this check finds if it is large enough.

    Args:
        kinetic_energies: of frames in each replica [energy].
        kT: thermal energy of the thermostat [energy].
        degrees_of_freedom: f: 3N, less constraints and conserved momenta.
        level: tail probability below which it fails; divide it by the number of runs that are tested together.

    References:
        Merz & Shirts (2018), doi:10.1371/journal.pone.0202764, section "Kinetic energy distribution".

    Example:
        >>> good = np.random.default_rng(0).gamma(45.0, 1.0, size=(4, 500))  # 30 sites at kT = 1
        >>> kinetic_energy_check(good, kT=1.0, degrees_of_freedom=90).verdict
        'passed'
        >>> kinetic_energy_check(45 + 0.5 * (good - 45), kT=1.0, degrees_of_freedom=90).verdict
        'failed'
    """
    k = _series("kinetic energy", kinetic_energies)
    if not (kT > 0 and degrees_of_freedom > 0):
        raise InputError(
            f"kinetic-energy check: kT {kT:g}, {degrees_of_freedom} degrees of freedom; expected positive"
        )
    g = _inefficiency(k)
    thin = k[:, :: int(np.ceil(g))].ravel() / kT
    shape, n = 0.5 * degrees_of_freedom, len(thin)
    if n < FEWEST_FRAMES:
        sentence = (
            f"Only {n} independent kinetic energies: too few to tell their distribution; simulate longer."
        )
        return Check("kinetic energy", NOT_TESTED, None, level, sentence)
    expected = stats.gamma(shape)
    z_mean = (thin.mean() - shape) / np.sqrt(shape / n)
    # variance of a sample variance, with the excess kurtosis 6/shape of the Gamma distribution
    z_variance = (thin.var(ddof=1) / shape - 1.0) / np.sqrt(2.0 / (n - 1) + 6.0 / (shape * n))
    each = [*(2.0 * stats.norm.sf(np.abs([z_mean, z_variance]))), stats.kstest(thin, expected.cdf).pvalue]
    p = float(min(1.0, 3.0 * min(each)))
    temperature, width = thin.mean() / shape, thin.std(ddof=1) / np.sqrt(shape)
    told = (
        f"{n} independent kinetic energies have {temperature:.4f} of the thermostat's temperature and {width:.3f} of the"
        " canonical width"
    )
    if p >= level:
        return Check("kinetic energy", PASSED, p, level, f"{told}: the thermostat samples the ensemble.")
    if abs(z_mean) > Z_LIMIT:
        why = (
            "wrong mean: a time step that is too long, too many or too few degrees of freedom counted, or parts of the"
            " system that the thermostat does not reach; shorten the step, and count again"
        )
    else:
        why = (
            "right mean, wrong spread: a thermostat that rescales velocities, which falsifies fluctuations and lets heat"
            " gather in few motions; use a Langevin or another canonical thermostat"
        )
    return Check("kinetic energy", FAILED, p, level, f"{told} (p = {p:.1g}): {why}.")


def state_slope(first: Series, second: Series) -> Estimate:
    """Slope b of ln p₂(x)/p₁(x) = a + b x between two states, by maximum likelihood with an honest error.

    Logistic regression of the state on x: no histogram. The standard error is the sandwich over ten or more pieces of
    each run, so that correlated frames count for what they are worth.

    Args:
        first: x in the first state.
        second: x in the second state.

    Raises:
        InputError: the distributions do not overlap.

    References:
        Shirts (2013), doi:10.1021/ct300688p, section 2.3.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x1, x2 = rng.normal(0.0, 1.0, (5, 2000)), rng.normal(0.8, 1.0, (5, 2000))
        >>> found = state_slope(x1, x2)
        >>> bool(abs(found.value - 0.8) < 4 * found.standard_error)
        True
    """
    runs = [_series("ensemble check", x) for x in (first, second)]
    both = np.concatenate([x.ravel() for x in runs])
    centre, scale = both.mean(), both.std()
    if not scale > 0.0 or runs[0].max() <= runs[1].min() or runs[1].max() <= runs[0].min():
        raise InputError(
            "ensemble check: the two states' distributions do not overlap; choose states closer to each other, about two"
            " standard deviations apart"
        )
    label = np.concatenate([np.zeros(runs[0].size), np.ones(runs[1].size)])
    design = np.stack([np.ones_like(both), (both - centre) / scale], axis=1)
    coefficients, information = _logistic(design, label)
    start, meat, freedom = 0, np.zeros((2, 2)), 0
    chance = 1.0 / (1.0 + np.exp(-design @ coefficients))
    scores = (label - chance)[:, None] * design
    for x in runs:
        mine = scores[start : start + x.size].reshape(*x.shape, 2)
        start += x.size
        pieces = time_blocks(mine, n_blocks=max(1, -(-PIECES // len(x)))).sum(axis=1)
        meat += len(pieces) * np.cov(pieces, rowvar=False)
        freedom += len(pieces) - 1
    inverse = np.linalg.inv(information)
    error = np.sqrt((inverse @ meat @ inverse)[1, 1])
    return Estimate(float(coefficients[1] / scale), float(error / scale), float(freedom))


def ensemble_check(first: Series, second: Series, *, slope: float, quantity: str = "energy") -> Check:
    """Whether the distributions of one quantity in two states differ as Boltzmann's factors do.

    Whatever the density of states, ln p₂(x)/p₁(x) is a straight line of known slope: for the potential or total energy
    at two temperatures −(β₂ − β₁); for the enthalpy U + PV at constant pressure and two temperatures the same; for the
    volume at two pressures −β (P₂ − P₁). Averages alone do not enter: a thermostat or barostat with too narrow a
    distribution has too steep a line. The states should lie about two standard deviations apart.

    Args:
        first: the quantity in the first state.
        second: in the second state.
        slope: that is expected, in the quantity's inverse unit.
        quantity: its name, for the sentence.

    Raises:
        InputError: the distributions do not overlap, or the expected slope is 0.

    References:
        Merz & Shirts (2018), doi:10.1371/journal.pone.0202764; Shirts (2013), doi:10.1021/ct300688p.

    Example:
        >>> rng = np.random.default_rng(0)  # volumes of an ideal gas of 50 sites at βP = 1 and 1.3
        >>> v1, v2 = rng.gamma(51.0, size=(5, 2000)), rng.gamma(51.0, size=(5, 2000)) / 1.3
        >>> ensemble_check(v1, v2, slope=-0.3, quantity="volume").verdict
        'passed'
        >>> narrow = [x.mean() + 0.6 * (x - x.mean()) for x in (v1, v2)]  # the averages are right
        >>> ensemble_check(*narrow, slope=-0.3, quantity="volume").verdict
        'failed'
    """
    if slope == 0.0:
        raise InputError(
            "ensemble check: both states are the same; simulate a second temperature or pressure, about two standard"
            " deviations of the quantity away"
        )
    found = state_slope(first, second)
    z = (found.value - slope) / found.standard_error
    name = f"distribution of the {quantity}"
    ratio, error = found.value / slope, found.standard_error / abs(slope)
    told = (
        f"Between two states the distribution of the {quantity} changes by {ratio:.3f} ± {error:.3f} of what Boltzmann's"
        " factor demands"
    )
    if abs(z) > Z_LIMIT:
        guess = "narrow" if ratio > 1.0 else "wide"
        sentence = (
            f"{told}: its fluctuations are too {guess}, and with them heat capacity or compressibility, although averages"
            " may be right; use a thermostat and barostat made for the ensemble (not weak coupling), shorten the time"
            " step, and look whether both runs are equilibrated."
        )
        return Check(name, FAILED, float(z), Z_LIMIT, sentence)
    if error > SHARP:
        sentence = (
            f"{told}: too uncertain to tell a right ensemble from a wrong one; simulate longer, or take states farther"
            " apart."
        )
        return Check(name, NOT_TESTED, float(z), Z_LIMIT, sentence)
    return Check(name, PASSED, float(z), Z_LIMIT, f"{told}: the ensemble is sampled.")


def _logistic(design: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of a logistic regression by Newton's method, and the information there."""
    coefficients = np.zeros(design.shape[1])
    for _ in range(100):
        chance = 1.0 / (1.0 + np.exp(-design @ coefficients))
        information = (design * (chance * (1.0 - chance))[:, None]).T @ design
        step = np.linalg.solve(information, design.T @ (label - chance))
        # a step of more than one standardised unit would overshoot where the states hardly overlap
        coefficients = coefficients + step / max(1.0, np.abs(step).max())
        if np.abs(step).max() < 1e-10:
            break
    return coefficients, information


def _series(what: str, series: Series) -> Series:
    values = np.asarray(series, np.float64)
    if values.ndim != 2 or values.size < PIECES or not np.isfinite(values).all():
        raise InputError(
            f"{what}: a series of shape {values.shape}; expected [replica frame] with at least {PIECES} finite values"
        )
    return values


def _inefficiency(series: Series) -> float:
    return float(statistical_inefficiency(series.ravel(), lengths=[series.shape[1]] * len(series))[0])
