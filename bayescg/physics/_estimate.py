"""A number from simulation with its standard error, from independent pieces of a time series."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Num
from scipy.special import stdtrit

from bayescg.errors import InputError

LEAST_PIECES = 10
"""Pieces that a standard error should rest on: its own relative error is then about 1/√18."""


class Estimate(NamedTuple):
    """A number with its standard error.

    Attributes:
        value: the estimate.
        standard_error: standard deviation of the estimate over repetitions of everything that was simulated.
        degrees_of_freedom: of Student's t that (estimate − truth) / standard error follows; infinite where the
            standard error is known and not estimated.

    Example:
        >>> low, high = Estimate(2.0, 0.1, 9.0).interval(0.95)
        >>> round(low, 3), round(high, 3)
        (1.774, 2.226)
    """

    value: float
    standard_error: float
    degrees_of_freedom: float

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The interval that holds the truth in a share `level` of repetitions."""
        half = student_quantile(level, self.degrees_of_freedom) * self.standard_error
        return self.value - half, self.value + half


def student_quantile(level: float, degrees_of_freedom: float) -> float:
    """Half width, in standard errors, of the two-sided interval of a level."""
    if not 0.0 < level < 1.0:
        raise InputError(f"interval: level {level:g}; expected a share between 0 and 1")
    # scipy's t has no infinite number of degrees of freedom; a million differ in the sixth digit
    return float(stdtrit(min(degrees_of_freedom, 1e6), 0.5 + 0.5 * level))


def over_pieces(influence: Float[np.ndarray, " piece"], value: float) -> Estimate:
    """An estimate whose error is the mean of `influence`, the linear response to each independent piece."""
    n = len(influence)
    if n < 2:
        raise InputError(
            "standard error: one piece of the time series; expected at least two, so give more replicas or cut"
            " the trajectory by `time_blocks`"
        )
    return Estimate(float(value), float(influence.std(ddof=1) / np.sqrt(n)), float(n - 1))


def time_blocks(
    series: Num[np.ndarray, "replica frame *rest"], *, n_blocks: int
) -> Num[np.ndarray, "piece frame *rest"]:
    """Every replica's series cut into blocks of equal length, which then count as replicas of their own.

    Frames that are left over at the start are dropped. Blocks are as good as independent where they are many times
    longer than the memory of what is measured on them.

    Args:
        series: of replicas that are independent.
        n_blocks: blocks per replica.

    Raises:
        InputError: more blocks than frames.

    Example:
        >>> time_blocks(np.arange(7.0)[None], n_blocks=2)
        array([[1., 2., 3.],
               [4., 5., 6.]])
    """
    n_frames = series.shape[1]
    if not 1 <= n_blocks <= n_frames:
        raise InputError(
            f"time blocks: {n_blocks} of {n_frames} frames; expected from 1 to the number of frames"
        )
    length = n_frames // n_blocks
    return series[:, n_frames - n_blocks * length :].reshape(-1, length, *series.shape[2:])


def pieces_of(series: Num[np.ndarray, "replica frame *rest"]) -> Num[np.ndarray, "piece frame *rest"]:
    """The replicas where they suffice for a standard error, blocks of them where they are too few."""
    return time_blocks(series, n_blocks=-(-LEAST_PIECES // len(series)))
