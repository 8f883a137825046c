"""Which additional data to ask for: those that shrink a chosen quantity's variance, or the posterior's volume, most."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bayescg.analysis._next_configuration import spreads_after_labelling
from bayescg.errors import InputError


class Design(NamedTuple):
    """Candidates in the order in which to take them.

    Attributes:
        names: of the chosen candidates.
        chosen: their indices.
        gains: what each candidate would gain at each step [step candidate] [nats]; NaN for one that is used up.
        spread: standard deviation of the quantity before the first and after every step [step + 1]; empty where none
            was chosen.

    Example:
        >>> data = np.array([np.diag([3.0, 0.0]), np.diag([0.0, 8.0])])
        >>> plan = optimal_design(np.eye(2), data, names=("A", "B"), quantity=np.array([1.0, 0.0]), steps=1)
        >>> plan.names, plan.spread.tolist()
        (('A',), [1.0, 0.5])
    """

    names: tuple[str, ...]
    chosen: tuple[int, ...]
    gains: np.ndarray
    spread: np.ndarray


def observable_information(
    gradients: Float[np.ndarray, "observable coordinate"], noise: Float[np.ndarray, " observable"]
) -> Float[np.ndarray, "coordinate coordinate"]:
    """Fisher information g gᵀ/σ² of measuring observables, summed over them.

    Args:
        gradients: g, derivatives by the coordinates.
        noise: σ, standard deviation of each measurement.

    Raises:
        InputError: noise that is not positive.

    Example:
        >>> observable_information(np.array([[1.0, 2.0]]), np.array([0.5])).tolist()
        [[4.0, 8.0], [8.0, 16.0]]
    """
    noise = np.asarray(noise, float)
    if not np.all(noise > 0.0):
        raise InputError("observables: the noise of a measurement must be positive")
    white = np.asarray(gradients, float) / noise[:, None]
    return white.T @ white


def determinant_gains(
    precision: Float[np.ndarray, "coordinate coordinate"],
    information: Float[np.ndarray, "candidate coordinate coordinate"],
) -> Float[np.ndarray, " candidate"]:
    """Expected information gain ½ ln det(P + I_c)/det P of each candidate [nats]: D-optimal design.

    Args:
        precision: P, inverse covariance of the posterior so far.
        information: I_c of every candidate.

    Raises:
        InputError: a precision that is not positive definite.

    Example:
        >>> determinant_gains(np.eye(2), np.array([np.diag([3.0, 0.0])])).round(4).tolist()  # ln 2
        [0.6931]

    References:
        Chaloner & Verdinelli (1995), doi:10.1214/ss/1177009939, section 2.2.
    """
    sign, before = np.linalg.slogdet(precision)
    if sign <= 0.0 or np.linalg.eigvalsh(precision)[0] <= 0.0:
        raise InputError(
            "design: the precision is not positive definite; give the prior's where there are no data yet"
        )
    return 0.5 * (np.linalg.slogdet(precision[None] + information)[1] - before)


def optimal_design(
    precision: Float[np.ndarray, "coordinate coordinate"],
    information: Float[np.ndarray, "candidate coordinate coordinate"],
    *,
    names: Sequence[str],
    quantity: Float[np.ndarray, " coordinate"] | None = None,
    steps: int = 1,
    repeats: bool = False,
) -> Design:
    """Candidates taken one after the other, each time the one that gains most.

    With a quantity of gradient c the gain is ln √(cᵀVc / cᵀV'c), so that 0.69 nats halve its standard deviation (c-optimal);
    without one it is that of the determinant (D-optimal). What is to be measured does not enter, only how well.

    Args:
        precision: P, inverse covariance of the posterior so far (the calibrated one, where frames are correlated).
        information: I_c of every candidate: frames of a state point (`state_information`), labels of a configuration
            (`configuration_information`), or a measured observable (`observable_information`).
        names: of the candidates.
        quantity: c, derivative of the quantity of interest by the coordinates.
        steps: how many to choose.
        repeats: whether a candidate may be taken again.

    Raises:
        InputError: sizes that do not fit, information that is not positive semi-definite, more steps than candidates.

    Example:
        >>> data = np.array([np.diag([3.0, 0.0]), np.diag([0.0, 8.0])])
        >>> optimal_design(np.eye(2), data, names=("A", "B"), steps=2).names
        ('B', 'A')

    References:
        Chaloner & Verdinelli (1995), doi:10.1214/ss/1177009939.
    """
    precision, information = np.asarray(precision, float), np.asarray(information, float)
    _check(precision, information, names, quantity, steps, repeats)
    chosen: list[int] = []
    gains, spread = [], [] if quantity is None else [float(_spread(precision, quantity))]
    for _ in range(steps):
        if quantity is None:
            gain = determinant_gains(precision, information)
        else:
            gain = np.log(spread[-1] / spreads_after_labelling(precision, information, quantity))
        if not repeats:
            gain[chosen] = np.nan
        best = int(np.nanargmax(gain))
        chosen.append(best)
        gains.append(gain)
        precision = precision + information[best]
        if quantity is not None:
            spread.append(float(_spread(precision, quantity)))
    return Design(tuple(names[i] for i in chosen), tuple(chosen), np.array(gains), np.array(spread))


def _spread(precision: np.ndarray, quantity: np.ndarray) -> float:
    return float(np.sqrt(quantity @ np.linalg.solve(precision, quantity)))


def _check(
    precision: np.ndarray,
    information: np.ndarray,
    names: Sequence[str],
    quantity: np.ndarray | None,
    steps: int,
    repeats: bool,
) -> None:
    size = len(precision)
    if precision.shape != (size, size) or information.shape != (len(names), size, size):
        raise InputError(
            f"design: {len(names)} names, information of shape {information.shape}, precision {precision.shape}: give one"
            " matrix of the precision's size for every name"
        )
    if quantity is not None and (np.shape(quantity) != (size,) or not np.any(quantity)):
        raise InputError(f"design: the quantity's gradient must have {size} entries, not all of them 0")
    if not 1 <= steps or (steps > len(names) and not repeats):
        raise InputError(f"design: {steps} steps from {len(names)} candidates; take fewer, or allow repeats")
    if np.linalg.eigvalsh(precision)[0] <= 0.0:
        raise InputError(
            "design: the precision is not positive definite; give every parameter a proper prior"
        )
    least = np.linalg.eigvalsh(information)[:, 0] / np.maximum(
        np.trace(information, axis1=1, axis2=2), 1e-300
    )
    if np.any(least < -1e-9):
        raise InputError(
            f"design: the information of '{names[int(np.argmin(least))]}' has a negative eigenvalue"
        )
