"""Sweeps of a stored run as one table: what more data would bring, how large a basis they carry, in sentences."""

import json
from collections.abc import Sequence

import numpy as np
import xarray as xr

from bayescg.errors import InputError

PARTS = ("basis", "data_size")
PIECES = 4
"""Pieces of one size whose spread says something."""
MOST_SIZES = 6
PIECE_INEFFICIENCIES = 4.0
"""Statistical inefficiencies of the frames that the shortest piece holds."""


def data_sizes(lengths: Sequence[int], *, inefficiency: float, n_parameters: int) -> tuple[int, ...]:
    """Numbers of frames for `data_size_sweep`: the largest that leaves four pieces, its half, and so on.

    Of two halves the fits lie on either side of the fit to all, equally far: their spread would say nothing.

    Args:
        lengths: frames of each trajectory.
        inefficiency: of the frames; no piece is shorter than 4 of it.
        n_parameters: no piece has as few frames.

    Raises:
        InputError: too few frames for four pieces of more frames than parameters.

    Example:
        >>> data_sizes([1500], inefficiency=4.0, n_parameters=33)
        (46, 93, 187, 375)
    """
    least = max(n_parameters + 1, int(np.ceil(PIECE_INEFFICIENCIES * inefficiency)))
    largest = max(
        (
            n
            for size in lengths
            for k in range(1, PIECES + 1)
            if (n := size // k) and _count(lengths, n) >= PIECES
        ),
        default=0,
    )
    if largest < least:
        raise InputError(
            f"data-size sweep: {sum(lengths)} frames for {n_parameters} parameters hold no {PIECES} pieces of {least} frames"
            f" (more than parameters, and 4 statistical inefficiencies of {inefficiency:.1f}); give more frames"
        )
    halves = [largest >> k for k in range(MOST_SIZES) if largest >> k >= least]
    return tuple(halves[::-1])


def _count(lengths: Sequence[int], size: int) -> int:
    return sum(n // size for n in lengths)


def joined_sweeps(data_size: xr.Dataset, basis: xr.Dataset | None) -> xr.Dataset:
    """Both sweeps in one dataset, each variable and attribute with its sweep's name behind it.

    Args:
        data_size: of `data_size_sweep`.
        basis: of `basis_sweep`, where there was one.

    Example:
        >>> table = xr.Dataset({"gap": ("data_size", [0.2, 0.1])}, coords={"data_size": [50, 100]}, attrs={"basis": "8"})
        >>> joined = joined_sweeps(table, None)
        >>> list(joined), joined.attrs, sweep_part(joined, "data_size").identical(table)
        (['gap_by_data_size'], {'basis_by_data_size': '8'}, True)
    """
    joined = xr.Dataset()
    for part, table in zip(PARTS, (basis, data_size), strict=True):
        if table is not None:
            joined = joined.merge(table.rename({name: f"{name}_by_{part}" for name in table.data_vars}))
            joined.attrs |= {f"{name}_by_{part}": value for name, value in table.attrs.items()}
    return joined


def sweep_part(joined: xr.Dataset, part: str) -> xr.Dataset | None:
    """One of the sweeps of `joined_sweeps` as it was; None where it was not made.

    Args:
        joined: both sweeps.
        part: "basis" or "data_size".
    """
    ending = f"_by_{part}"
    names = {
        str(name): str(name).removesuffix(ending) for name in joined.data_vars if str(name).endswith(ending)
    }
    if not names:
        return None
    table = joined[list(names)].rename(names)
    attrs = {k.removesuffix(ending): v for k, v in joined.attrs.items() if k.endswith(ending)}
    return table.drop_attrs(deep=False).assign_attrs(attrs)


def sweep_sentences(joined: xr.Dataset) -> list[str]:
    """What the sweeps say, and what is wrong with them.

    Args:
        joined: of `joined_sweeps`.

    Example:
        >>> names = ("gap", "gap_se", "train_relative_entropy", "held_out_relative_entropy")
        >>> values = {name: ("data_size", [0.2, 0.1]) for name in names} | {"converged": ("data_size", [True, True])}
        >>> about = {"basis": "8", "n_frames": 200}
        >>> table = xr.Dataset(values, coords={"data_size": [50, 100]}, attrs=about)
        >>> print(sweep_sentences(joined_sweeps(table, None))[0])
        Fitted to 100 of the 200 frames, a basis of 8 predicts the others by 0.1 ± 0.1 nats per frame worse than those.
    """
    by_size, by_basis = sweep_part(joined, "data_size"), sweep_part(joined, "basis")
    assert by_size is not None  # no dataset of these is without it
    said = _of_data_size(by_size)
    if by_basis is not None:
        own = str(by_basis["basis"].values[int(np.argmax(by_basis["basis_size"].values))])
        best, recommended = by_basis.attrs["best"], by_basis.attrs["recommended"]
        why = (
            "the best by blocks left out, and none smaller is within one standard error of it"
            if best == recommended
            else f"the smallest within one standard error of the best by blocks left out ({best})"
        )
        said.append(f"Recommended is a basis of {recommended}: {why}. The run's own has {own}.")
        said += json.loads(by_basis.attrs["warnings"])
    return said


def _of_data_size(table: xr.Dataset) -> list[str]:
    found = table["converged"].values.astype(bool)
    lost = ", ".join(str(n) for n in table["data_size"].values[~found])
    beyond = f"The best fits to pieces of {lost} frames lie beyond reach of the reference simulations: don't read them."
    if not found.any():
        return [beyond]
    last = table.isel(data_size=int(np.flatnonzero(found)[-1]))
    n, total = int(last["data_size"]), int(table.attrs["n_frames"])
    gap, error = float(last["gap"]), float(last["gap_se"])
    said = [
        f"Fitted to {n} of the {total} frames, a basis of {table.attrs['basis']} predicts the others by {gap:.2g} ±"
        f" {error:.1g} nats per frame worse than those."
    ]
    if gap > 2.0 * error:
        left = gap * n / total
        said.append(
            f"The gap falls as one over the number of frames, so with all {total} it is about {left:.2g}, and endless data"
            f" would make predictions better by about {left / 2:.2g}."
        )
    return said if not lost else [*said, beyond]
