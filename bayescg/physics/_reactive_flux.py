"""Rates from trajectories: the transmission coefficient from the dividing surface, and direct counting of crossings."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bayescg.errors import InputError
from bayescg.physics._estimate import Estimate, over_pieces
from bayescg.physics._time_correlation import finite_series


class Transmission(NamedTuple):
    """The share of the flux through a dividing surface that stays on the other side.

    Attributes:
        coefficient: κ, mean over the plateau, with its standard error.
        function: κ(t), 1 at the first instant.
        function_error: its standard error.

    Example:
        >>> Transmission(Estimate(0.5, 0.01, 99.0), np.array([1.0, 0.5]), np.array([0.0, 0.01])).coefficient.value
        0.5
    """

    coefficient: Estimate
    function: Float[np.ndarray, " frame"]
    function_error: Float[np.ndarray, " frame"]


def transmission_coefficient(
    coordinate: Float[np.ndarray, "trajectory frame"],
    *,
    velocity: Float[np.ndarray, " trajectory"],
    dividing: float,
    time_step: float,
    plateau: tuple[float, float],
) -> Transmission:
    """Transmission coefficient κ by the reactive flux, from trajectories that start at the dividing point.

    κ(t) = ⟨v θ(x(t) − x‡)⟩ / ⟨v θ(v)⟩, with starts from the equilibrium of all that is orthogonal to the coordinate
    and v = ẋ(0) from Maxwell's distribution, of either sign. κ(t) falls from 1 to a plateau within the time of
    recrossing, and from there as exp(−t/τ) of the reaction: mean and standard error over the plateau, which must lie
    between the two times. Trajectories count as independent; to start each point with v and −v is allowed, cuts the
    noise, and leaves the error given a little too large.

    Args:
        coordinate: x of each trajectory, its first frame at the dividing point [length].
        velocity: ẋ at that start [length/time].
        dividing: x‡ [length].
        time_step: between frames [time].
        plateau: first and last time of the plateau [time].

    Returns:
        κ; times `transition_state_rates` at the same dividing point it gives the rates.

    Raises:
        InputError: starts away from the dividing point, velocities of one sign, or a plateau that the frames don't hold.

    References:
        Chandler (1978), doi:10.1063/1.436049; Bennett (1977), doi:10.1021/bk-1977-0046.ch004.

    Example:
        >>> v = np.array([1.0, -1.0, 2.0, -2.0])
        >>> x = np.array([[0.0, 0.1, 0.2], [0.0, -0.1, 0.1], [0.0, 0.2, 0.4], [0.0, -0.2, -0.4]])  # one comes back
        >>> found = transmission_coefficient(x, velocity=v, dividing=0.0, time_step=1.0, plateau=(2.0, 2.0))
        >>> round(found.coefficient.value, 3)
        0.667
    """
    x = finite_series(coordinate, "transmission coefficient", n_axes=1)
    v = np.asarray(velocity, np.float64)
    if x.ndim != 2 or v.shape != x.shape[:1] or not np.isfinite(v).all() or not time_step > 0:
        raise InputError(
            f"transmission coefficient: coordinates of shape {x.shape}, velocities of shape {v.shape}, time step"
            f" {time_step:g}; expected [trajectory frame], one finite velocity per trajectory, a positive time step"
        )
    if not ((v > 0).any() and (v < 0).any()):
        raise InputError(
            "transmission coefficient: all velocities of one sign; draw them from Maxwell's distribution"
        )
    reach = np.abs(x - dividing).max()
    if np.abs(x[:, 0] - dividing).max() > 1e-3 * reach:
        raise InputError(
            f"transmission coefficient: a trajectory starts at {x[np.abs(x[:, 0] - dividing).argmax(), 0]:g}; expected"
            f" all to start at the dividing point {dividing:g}"
        )
    first, last = (round(t / time_step) for t in plateau)
    if not 0 < first <= last < x.shape[1]:
        raise InputError(
            f"transmission coefficient: plateau {plateau}; expected times in order, up to {time_step * (x.shape[1] - 1):g}"
        )
    above = (x > dividing).astype(np.float64)
    above[:, 0] = v > 0  # the side that the first instant leads to
    flux, started = v[:, None] * above, np.maximum(v, 0.0)
    function = flux.mean(axis=0) / started.mean()
    response = (flux - function * started[:, None]) / started.mean()
    coefficient = over_pieces(response[:, first : last + 1].mean(axis=1), function[first : last + 1].mean())
    return Transmission(coefficient, function, response.std(axis=0, ddof=1) / np.sqrt(len(x)))


class Crossings(NamedTuple):
    """Transitions counted between two basins.

    Attributes:
        upward: rate constant from the lower to the upper basin [1/time].
        downward: from the upper to the lower [1/time].
        n_upward: transitions counted upward.
        n_downward: transitions counted downward.

    Example:
        >>> Crossings(Estimate(0.1, 0.1, np.inf), Estimate(0.2, 0.1, np.inf), 1, 2).n_downward
        2
    """

    upward: Estimate
    downward: Estimate
    n_upward: int
    n_downward: int


def crossing_rates(
    coordinate: Float[np.ndarray, "*replica frame"], *, time_step: float, lower: float, upper: float
) -> Crossings:
    """Rate constants by counting transitions between two basins in long trajectories.

    A trajectory belongs to the lower basin from when it is below `lower` until it is above `upper`, and the other way
    round, so that recrossings of the barrier in between don't count. k = n / (time spent in the basin), the maximum of
    the likelihood, with the standard error √n of a Poisson number; where n = 0 it is what one transition would give.
    Frames before a trajectory first meets a basin are left out.

    Args:
        coordinate: one trajectory or several [length].
        time_step: between frames, much shorter than the stay in a basin [time].
        lower: threshold of the basin below [length].
        upper: threshold of the basin above; the two must lie on either side of where the barrier is recrossed [length].

    Raises:
        InputError: thresholds out of order, or a basin that no trajectory meets.

    References:
        Hänggi, Talkner & Borkovec (1990), doi:10.1103/RevModPhys.62.251, section II.

    Example:
        >>> x = np.array([-1.0, -0.2, 0.3, -0.9, 1.1, 1.0, 0.2, -1.0])
        >>> found = crossing_rates(x, time_step=1.0, lower=-0.5, upper=0.5)
        >>> found.n_upward, found.upward.value, found.n_downward
        (1, 0.25, 1)
    """
    x = finite_series(coordinate, "crossing rates", n_axes=1)
    if not lower < upper or not time_step > 0:
        raise InputError(
            f"crossing rates: thresholds {lower:g} and {upper:g}, time step {time_step:g}; expected the lower one"
            " first and a positive time step"
        )
    flat = x.reshape(-1, x.shape[-1])
    entered = np.where(flat > upper, 1, np.where(flat < lower, -1, 0))
    # the basin last met: the frame that a running maximum of frame numbers of visits points to
    last = np.maximum.accumulate(np.where(entered != 0, np.arange(flat.shape[1]), 0), axis=1)
    basin = np.take_along_axis(entered, last, axis=1)
    before, after = basin[:, :-1], basin[:, 1:]
    found = [
        (int(((before == side) & (after == -side)).sum()), time_step * int((before == side).sum()))
        for side in (-1, 1)
    ]
    if any(stay == 0 for _, stay in found):
        raise InputError(
            f"crossing rates: no trajectory is ever {'below' if found[0][1] == 0 else 'above'} its threshold; start some"
            " in that basin, or move the threshold"
        )
    up, down = (Estimate(n / stay, float(np.sqrt(max(n, 1))) / stay, np.inf) for n, stay in found)
    return Crossings(up, down, found[0][0], found[1][0])
