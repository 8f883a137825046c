"""How much faster the coarse-grained model moves than the atomistic one, and time in its own units, with error bars."""

from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy.special import ndtri

from bayescg.analysis._statement import value_with_error
from bayescg.errors import InputError
from bayescg.physics import Estimate


class LogNormalEstimate(NamedTuple):
    """A positive number with its error, as a log-normal law: what a ratio of uncertain positive numbers follows.

    Attributes:
        median: of the law.
        log_sd: standard deviation of the logarithm.
        parts: what makes which share of the logarithm's variance.

    Example:
        >>> low, high = LogNormalEstimate(4.0, 0.1, {"parametric": 1.0}).interval(0.9)
        >>> round(low, 2), round(high, 2)
        (3.39, 4.72)
    """

    median: float
    log_sd: float
    parts: dict[str, float]

    @property
    def mean(self) -> float:
        """A little above the median."""
        return self.median * float(np.exp(0.5 * self.log_sd**2))

    @property
    def sd(self) -> float:
        """Standard deviation."""
        return self.mean * float(np.sqrt(np.expm1(self.log_sd**2)))

    def interval(self, level: float = 0.9) -> tuple[float, float]:
        """The interval that holds the number with probability `level`."""
        half = float(ndtri(0.5 + 0.5 * level)) * self.log_sd
        return self.median * float(np.exp(-half)), self.median * float(np.exp(half))


def time_rescaling(split: xr.Dataset, reference: Estimate) -> LogNormalEstimate:
    """The factor by which a coarse-grained model diffuses faster than the atomistic one.

    s = D_cg/D_aa. Each coefficient follows the log-normal law with its value D as mean and its error e as standard
    deviation: σ² = ln(1 + e²/D²) and, since the mean of such a law is above its median, E[ln D_true] = ln D − σ²/2. So

        E[ln s] = ln D_cg − σ²_cg/2 − (ln D_aa − σ²_aa/2),   Var[ln s] = σ²_cg + σ²_aa.

    Both diffusion coefficients must be of boxes of one size, or corrected for it.

    Args:
        split: of the coarse-grained diffusion coefficient, one number, from `nested_split` or `common_noise_split`.
        reference: atomistic diffusion coefficient, in the same units.

    Raises:
        InputError: coefficients that are not positive beyond two standard errors, more than one number, or an atomistic
            one without a standard error.

    Returns:
        s: a time t of the model corresponds to s t; the parts of its variance are `parametric`, `simulation` and `reference`.

    References:
        Depa & Maranas (2005), doi:10.1063/1.1997150 (time rescaled by the ratio of diffusion coefficients).

    Example:
        >>> cg = xr.Dataset({"mean": 10.0, "parametric_sd": 0.8, "simulation_sd": 0.6})
        >>> rescaling = time_rescaling(cg, Estimate(2.5, 0.1, 20.0))
        >>> round(rescaling.median, 3), round(rescaling.log_sd, 3), round(rescaling.parts["reference"], 2)
        (3.983, 0.107, 0.14)
    """
    if split["mean"].ndim or not reference.standard_error >= 0.0:
        raise InputError(
            f"time rescaling: a mean of dimensions {split['mean'].dims}, reference error {reference.standard_error}; one"
            " diffusion coefficient and an error of the other expected"
        )
    mean = float(split["mean"])
    errors = {name: float(split[f"{name}_sd"]) for name in ("parametric", "simulation")}
    total = float(np.hypot(errors["parametric"], errors["simulation"]))
    for what, value, error in (
        ("coarse-grained", mean, total),
        ("atomistic", reference.value, reference.standard_error),
    ):
        if not value > 2.0 * error:
            raise InputError(
                f"time rescaling: the {what} diffusion coefficient is {value:.3g} ± {error:.2g}; a ratio needs both clearly"
                " above zero, so simulate longer"
            )
    own = np.log1p((total / mean) ** 2)
    other = np.log1p((reference.standard_error / reference.value) ** 2)
    whole = own + other
    shares = {name: own * (e / total) ** 2 if total else 0.0 for name, e in errors.items()}
    parts = {name: float(v / whole) if whole else 0.0 for name, v in {**shares, "reference": other}.items()}
    median = mean / reference.value * float(np.exp(0.5 * (other - own)))
    return LogNormalEstimate(median, float(np.sqrt(whole)), parts)


def rescaled_diffusion(split: xr.Dataset, rescaling: LogNormalEstimate) -> LogNormalEstimate:
    """A diffusion coefficient of the model at another state, in atomistic time: D/s, log-normal.

    D is the mean of its law, as in `time_rescaling`. The errors of the two are taken as independent, which is on the wide
    side: parameters that make the model faster at one state mostly do so at the other. That s is the same at both states is
    an assumption of the rescaling, not a result.

    Args:
        split: of the coarse-grained diffusion coefficient there.
        rescaling: of a state where the atomistic one is known.

    Returns:
        D/s; the parts of its variance are `diffusion` and `rescaling`.

    Example:
        >>> there = xr.Dataset({"mean": 20.0, "parametric_sd": 1.0, "simulation_sd": 0.0})
        >>> found = rescaled_diffusion(there, LogNormalEstimate(4.0, 0.1, {"parametric": 1.0}))
        >>> round(found.median, 3), round(found.log_sd, 3)
        (4.994, 0.112)
    """
    mean = float(split["mean"])
    total = float(np.hypot(float(split["parametric_sd"]), float(split["simulation_sd"])))
    if not mean > 2.0 * total:
        raise InputError(
            f"time rescaling: a diffusion coefficient of {mean:.3g} ± {total:.2g}; simulate longer"
        )
    own, other = np.log1p((total / mean) ** 2), rescaling.log_sd**2
    whole = own + other
    shares = {"diffusion": float(own / whole), "rescaling": float(other / whole)} if whole else {}
    median = mean * float(np.exp(-0.5 * own)) / rescaling.median
    return LogNormalEstimate(median, float(np.sqrt(whole)), shares)


def rescaling_sentence(rescaling: LogNormalEstimate, *, level: float = 0.9) -> str:
    """The speed-up in words.

    Args:
        rescaling: of `time_rescaling`.
        level: of the interval.

    Example:
        >>> print(rescaling_sentence(LogNormalEstimate(4.0, 0.1, {"parametric": 0.6, "simulation": 0.3, "reference": 0.1})))
        The coarse-grained model diffuses 4.02 ± 0.40 times as fast as the atomistic one (90 % interval 3.4 to 4.7; of the \
variance 60 % parameters, 30 % finite simulation, 10 % the atomistic value): multiply its times by this factor.
    """
    low, high = rescaling.interval(level)
    words = {
        "parametric": "parameters",
        "simulation": "finite simulation",
        "reference": "the atomistic value",
    }
    said = ", ".join(f"{100 * rescaling.parts[name]:.0f} % {word}" for name, word in words.items())
    return (
        f"The coarse-grained model diffuses {value_with_error(rescaling.mean, rescaling.sd)} times as fast as the atomistic"
        f" one ({100 * level:g} % interval {low:.2g} to {high:.2g}; of the variance {said}): multiply its times by this"
        " factor."
    )
