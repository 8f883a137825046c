"""A user's functions of a trajectory from simulations at draws: one value for each simulation."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Array, Bool, Float, Key

from bayescg.analysis import pseudo_values
from bayescg.errors import BayescgError, InputError
from bayescg.physics import Potential, ReplicaTrajectory, Simulator, Trajectory, visit_trajectories
from bayescg.physics._draw_dynamics import DrawCorrelations
from bayescg.study._trajectory_observable import TrajectoryObservable

OFF_STEPS = 1e-3
"""Of the spacing, by which it may miss whole steps without a word."""


class FoundOnTrajectories(NamedTuple):
    """Values of every simulation.

    Attributes:
        values: by name [draw simulation *dims].
        lost: why some could not be had, by name.
        notes: sentences.
    """

    values: dict[str, xr.DataArray]
    lost: dict[str, BayescgError]
    notes: list[str]


def lengths_of(
    functions: Mapping[str, TrajectoryObservable], time_step: float
) -> dict[Trajectory, list[TrajectoryObservable]]:
    """Which trajectories are needed, and by which functions each.

    Args:
        functions: by name.
        time_step: of the dynamics [time].

    Raises:
        InputError: frames that are less than a step apart.

    Example:
        >>> lengths_of({}, 0.01)
        {}
    """
    found: dict[Trajectory, list[TrajectoryObservable]] = {}
    for one in functions.values():
        stride = round(one.spacing / time_step)
        if stride < 1:
            raise InputError(
                f"observable {one.name!r}: frames {one.spacing:g} apart, and the dynamics has steps of {time_step:g}; give a"
                " spacing of a step at least"
            )
        found.setdefault(Trajectory(one.n_frames, stride), []).append(one)
    return found


def tried_out(
    moving: Simulator,
    potential: Potential,
    starts: Float[np.ndarray, "replica site dim"],
    needed: Mapping[Trajectory, list[TrajectoryObservable]],
    *,
    key: Key[Array, ""],
) -> None:
    """Runs two replicas of one draw, so that a function that is of no use is refused before anything is sampled.

    Raises:
        InputError: a function that fails, gives another shape than it should, or other than finite numbers.
    """
    for length, own in needed.items():

        def visit(_: int, __: int, kept: ReplicaTrajectory, own: list[TrajectoryObservable] = own) -> None:
            for one in own:
                row = one.row(kept)
                if not np.isfinite(row).all():
                    raise InputError(_not_finite(one.name, "a trajectory from the starts"))
                one.value_of(row)

        visit_trajectories(moving, [potential], starts[None, :2], trajectory=length, visit=visit, key=key)


def on_trajectories(
    moving: Simulator,
    potentials: Sequence[Potential],
    positions: Float[np.ndarray, "draw replica site dim"],
    length: Trajectory,
    own: list[TrajectoryObservable],
    *,
    key: Key[Array, ""],
    usable: Bool[np.ndarray, "draw replica"],
    time_unit: str,
    tell: Callable[[str], None],
) -> tuple[FoundOnTrajectories, DrawCorrelations | None]:
    """Values of functions that need trajectories of one length, and whether their dynamics is sound.

    All are lost, and nothing is known of the dynamics, where a site moves too far from frame to frame to be followed.

    Args:
        moving: simulator of the dynamics.
        potentials: one for each draw.
        positions: where it begins [length].
        length: of the trajectories.
        own: the functions.
        key: PRNG key.
        usable: replicas whose configurations are of use.
        time_unit: for the notes.
        tell: hears what is being done.
    """
    rows: dict[str, dict[tuple[int, int], np.ndarray]] = {one.name: {} for one in own}
    lost: dict[str, BayescgError] = {}

    def visit(draw: int, replica: int, kept: ReplicaTrajectory) -> None:
        for one in own:
            if one.name not in lost:
                try:
                    rows[one.name][draw, replica] = one.row(kept)
                except InputError as error:
                    lost[one.name] = error

    names = ", ".join(one.name for one in own)
    tell(f"trajectories of {length.n_frames} frames for {names}")
    try:
        sound = visit_trajectories(
            moving, potentials, positions, trajectory=length, visit=visit, key=key, usable=usable, tell=tell
        )
    except InputError as error:  # a site that can't be followed from frame to frame
        return FoundOnTrajectories({}, {one.name: error for one in own}, []), None
    values = {}
    for one in own:
        if one.name not in lost:
            try:
                values[one.name] = _values(one, rows[one.name], positions.shape[:2])
            except InputError as error:
                lost[one.name] = error
    notes = [
        f"Frames for {one.name} are {sound.time_step:.6g} {time_unit} apart, since whole steps make no {one.spacing:g}."
        for one in own
        if abs(sound.time_step / one.spacing - 1.0) > OFF_STEPS
    ]
    return FoundOnTrajectories(values, lost, notes), sound


def _values(
    one: TrajectoryObservable, rows: Mapping[tuple[int, int], np.ndarray], shape: tuple[int, ...]
) -> xr.DataArray:
    """Values of all simulations [draw simulation *dims], NaN where one failed.

    Raises:
        InputError: rows of different length, numbers that are not finite, or no trajectory at all.
    """
    sizes = {len(row) for row in rows.values()}
    if len(sizes) != 1:
        why = (
            f"rows of {min(sizes)} to {max(sizes)} numbers"
            if sizes
            else "nothing, since every simulation failed"
        )
        raise InputError(
            f"observable {one.name!r}: its function gives {why}; the same number of every trajectory expected"
        )
    made = np.full((*shape, sizes.pop()), np.nan)
    for where, row in rows.items():
        made[where] = row
    bad = sorted(where for where, row in rows.items() if not np.isfinite(row).all())
    if bad:
        first = f"{len(bad)} of {len(rows)} trajectories, first at draw {bad[0][0]}"
        raise InputError(_not_finite(one.name, first))
    if one.of_mean is not None:
        made = _of_means(one, made)
    dims: tuple[str, ...] = ("draw", "simulation")
    coords = {}
    if one.at is None:
        made = made[..., 0]
    else:
        dims = (*dims, one.along)
        coords = {one.along: (one.along, one.places(made.shape[2]), {"units": one.at_unit})}
    attrs = {"units": one.unit, "long_name": one.in_words}
    return xr.DataArray(made, dims=dims, coords=coords, attrs=attrs, name=one.name)


def _of_means(
    one: TrajectoryObservable, parts: Float[np.ndarray, "draw simulation part"]
) -> Float[np.ndarray, "draw simulation value"]:
    """What is made of the means of draws, one pseudo-value for each simulation.

    Raises:
        InputError: what is made of them is not finite, with all simulations of a draw or with one left out.
    """

    def function(mean: xr.DataArray) -> xr.DataArray:
        rows = mean.transpose(..., "part")
        return xr.DataArray(
            np.apply_along_axis(one.value_of, -1, rows.values), dims=(*rows.dims[:-1], "value")
        )

    made = pseudo_values(function, xr.DataArray(parts, dims=("draw", "simulation", "part"))).values
    there = np.isfinite(parts).all(axis=2)
    known = there & (there.sum(axis=1, keepdims=True) > 1)
    bad = np.flatnonzero((known & ~np.isfinite(made).all(axis=2)).any(axis=1))
    if len(bad):
        raise InputError(
            f"observable {one.name!r}: `of_mean` gives NaN or infinity at {len(bad)} of {len(parts)} draws, first at draw"
            f" {bad[0]}, from all its simulations or without one of them; give longer trajectories, or more replicas"
        )
    return made


def _not_finite(name: str, where: str) -> str:
    return (
        f"observable {name!r}: its function gives NaN or infinity at {where}; finite numbers expected of every trajectory,"
        " or parts of the value with `of_mean`"
    )
