"""All predicted observables in one dataset: a component for each number or point of a function."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy import stats

from bayescg.analysis import discrepancy_scale, error_budget, variance_shares
from bayescg.errors import InputError
from bayescg.study._observed_values import ObservedValues
from bayescg.study._prediction_parts import PredictedPart

SPLIT = ("mean", "parametric_sd", "simulation_sd", "naive_sd", "noise_sd")
LEAST_FOR_SCALE = 3
"""Values of one observable from which a common discrepancy is estimated."""
PARTS = ("parametric", "simulation", "aleatoric")
"""Of the error bar; what the model's form misses is told beside it."""
DRAWS_PER_COORDINATE = 5
"""Simulated draws for each coordinate and two more, from which a regression on the coordinates is told."""
NOISIEST = 0.5
"""Share of the simulated draws' variance that noise may make, for that regression to be told."""
COVERED = 0.9
"""Probability of the intervals whose coverage is told."""
FREEDOMS = np.geomspace(0.5, 1e6, 600)
"""Degrees of freedom among which that of an interval is looked up."""


class Coordinates(NamedTuple):
    """Unconstrained coordinates of the draws, and the directions that shares are told along.

    Attributes:
        draws: [draw coordinate].
        names: of the coordinates.
        directions: displacements [direction coordinate].
        meaning: what the directions are, in words.
    """

    draws: np.ndarray
    names: list[str]
    directions: np.ndarray
    meaning: str


def prediction_dataset(
    parts: Sequence[PredictedPart],
    observed: Mapping[str, ObservedValues],
    coordinates: Coordinates,
    *,
    averaged_frames: float,
) -> xr.Dataset:
    """Bands, their parts, discrepancies, z-scores and shares of the combinations.

    Args:
        parts: the observables.
        observed: values to hold them against, by name.
        coordinates: of the draws.
        averaged_frames: independent frames in the average whose chance is told.

    Returns:
        Along `component`: `mean`, the standard deviations of the split, `fluctuation_sd` (one frame, NaN where a frame has
        no value), `variance` [part component] and `share` of it (NaN of an unknown chance, which is then in neither total nor
        shares), `total_sd` without the discrepancy, `observed`, `observed_sd`, `z` (NaN where nothing scatters), `freedom` of
        Student's t that z belongs to, `discrepancy_sd`; `draws` [draw component]; `direction_share` [direction component]
        and `rest`. Along `observable`: `method`, `reason`. The attributes hold coverage over held-out components.
    """
    n_draws = max(part.means.sizes["draw"] for part in parts)
    pieces = [_piece(part, observed.get(part.name), coordinates, averaged_frames, n_draws) for part in parts]
    joined = xr.concat(pieces, "component", data_vars="minimal", coords="minimal", compat="override")
    joined = joined.assign(
        method=("observable", [part.method for part in parts]),
        reason=("observable", [part.reason for part in parts]),
        least_effective_frames=(
            "observable",
            [np.nan if p.effective_frames is None else float(p.effective_frames.min()) for p in parts],
        ),
        simulated_draws=("observable", [part.means.sizes["draw"] for part in parts]),
    ).assign_coords(observable=[part.name for part in parts])
    joined.attrs = {"averaged_frames": averaged_frames, "directions": coordinates.meaning} | _coverage(joined)
    functions = [part.name for part in parts if part.split["mean"].dims]
    if functions:
        joined = joined.assign(function=("which", functions))
    for part in parts:
        if "shell" in part.means.attrs:
            joined.attrs["coordination_shell"] = float(part.means.attrs["shell"])
    return joined


def _piece(
    part: PredictedPart,
    observed: ObservedValues | None,
    coordinates: Coordinates,
    averaged_frames: float,
    n_draws: int,
) -> xr.Dataset:
    """The components of one observable."""
    split, means = part.split, part.means
    dims = list(split["mean"].dims)
    grid = np.asarray(split[dims[0]].values, float) if dims else np.array([np.nan])
    flat = {name: np.asarray(split[name].values, float).reshape(-1) for name in SPLIT}
    chance = "fluctuation_sd" in split
    fluctuation = split["fluctuation_sd"].values.reshape(-1) if chance else np.full(len(grid), np.nan)
    value, error = (np.full((2, len(grid)), np.nan)) if observed is None else observed.on(grid)
    model_sd = np.hypot(flat["parametric_sd"], flat["simulation_sd"])
    combined = np.hypot(model_sd, error)
    if dims:  # places that nothing ever enters, in the data as in the model: they would agree for sure
        value = np.where((value == 0.0) & (flat["mean"] == 0.0) & (model_sd == 0.0), np.nan, value)
    if observed is None or not observed.held_out:
        value = np.where(combined > 0.0, value, np.nan)
    discrepancy = _discrepancy(value - flat["mean"], combined)
    unknown = xr.full_like(split["mean"], np.nan)
    budget = error_budget(
        split.assign(fluctuation_sd=split["fluctuation_sd"] if chance else unknown),
        averaged_frames=averaged_frames,
    ).sel(part=list(PARTS))
    known_share = budget["share"].where(budget["variance"].notnull())
    draws = np.full((n_draws, len(grid)), np.nan)
    draws[: means.sizes["draw"]] = part.draws.values.reshape(means.sizes["draw"], -1)
    share, rest = _shares(part, coordinates)
    per = "component"
    table = {name: (per, values) for name, values in flat.items()} | {
        "parametric_interval": (("bound", per), split["parametric_interval"].values.reshape(2, -1)),
        "simulation_interval": (("bound", per), split["simulation_interval"].values.reshape(2, -1)),
        "below_noise": (per, split["below_noise"].values.reshape(-1).astype(np.int8)),
        "fluctuation_sd": (per, fluctuation),
        "model_sd": (per, model_sd),
        "total_sd": (per, budget["total_sd"].values.reshape(-1)),
        "variance": (
            ("part", per),
            budget["variance"].transpose("part", *dims).values.reshape(len(PARTS), -1),
        ),
        "share": (("part", per), known_share.transpose("part", *dims).values.reshape(len(PARTS), -1)),
        "observed": (per, value),
        "observed_sd": (per, np.where(np.isfinite(value), error, np.nan)),
        "z": (
            per,
            np.divide(value - flat["mean"], combined, out=np.full(len(grid), np.nan), where=combined > 0.0),
        ),
        "freedom": (per, _freedom(part, flat, error)),
        "discrepancy_sd": (per, discrepancy),
        "held_out": (
            per,
            np.full(len(grid), 0 if observed is None else int(observed.held_out), np.int8)
            * np.isfinite(value),
        ),
        "draws": (("draw", per), draws),
        "direction_share": (("direction", per), share),
        "rest": (per, rest),
    }
    unit = str(means.attrs.get("units", "1"))
    along = str(split[dims[0]].attrs.get("units", "1")) if dims else ""
    return xr.Dataset(
        table,
        coords={
            "of": (per, [part.name] * len(grid)),
            "at": (per, grid),
            "unit": (per, [unit] * len(grid)),
            "at_unit": (per, [along] * len(grid)),
            "along": (per, [str(dims[0]) if dims else ""] * len(grid)),
            "long_name": (per, [str(means.attrs["long_name"])] * len(grid)),
            "part": budget["part"].values,
            "bound": ["lower", "upper"],
        },
    )


def _discrepancy(difference: np.ndarray, combined: np.ndarray) -> np.ndarray:
    """δ of every value: of a function the scale that its other points give, of a number what its own miss leaves."""
    there = np.isfinite(difference) & (combined > 0.0)
    found = np.full(len(difference), np.nan)
    if there.sum() >= LEAST_FOR_SCALE:
        found[there] = discrepancy_scale(difference[there], combined[there]).left_out
    elif there.any():
        found[there] = np.sqrt(np.maximum(difference[there] ** 2 - combined[there] ** 2, 0.0))
    return found


def _freedom(part: PredictedPart, flat: Mapping[str, np.ndarray], error: np.ndarray) -> np.ndarray:
    """Degrees of freedom of the variance by which a difference from data is divided (Satterthwaite 1946, doi:10.2307/3002019).

    The simulation's are those that its own interval was made with; the data's error is taken as known.
    """
    low, high = part.split["simulation_interval"].values.reshape(2, -1)
    tail = 0.5 - 0.5 * float(part.split.attrs["level"])
    wide = np.log(stats.chi2.ppf(1.0 - tail, FREEDOMS) / stats.chi2.ppf(tail, FREEDOMS))
    moves = (low > 0.0) & np.isfinite(high)
    found = 2.0 * np.log(np.where(moves, high, 1.0) / np.where(moves, low, 1.0))
    simulated = np.interp(-found, -wide, FREEDOMS)
    parametric, simulation = flat["parametric_sd"] ** 2, flat["simulation_sd"] ** 2
    below = parametric**2 / (part.split.attrs["n_draws"] - 1.0) + simulation**2 / simulated
    whole = parametric + simulation + np.nan_to_num(error) ** 2
    return np.where(below > 0.0, whole**2 / np.where(below > 0.0, below, 1.0), np.inf)


def draws_for_shares(part_method: str, size: int) -> int:
    """Least number of draws from which shares of directions are told: noise asks for more of simulated ones.

    Args:
        part_method: `reweighting` or `simulation`.
        size: number of coordinates.

    Example:
        >>> draws_for_shares("reweighting", 2), draws_for_shares("simulation", 2)
        (5, 20)
    """
    return size + 3 if part_method == "reweighting" else DRAWS_PER_COORDINATE * (size + 2)


def _shares(part: PredictedPart, coordinates: Coordinates) -> tuple[np.ndarray, np.ndarray]:
    """Shares of the directions and what they don't explain linearly, NaN where too few or too noisy draws can't tell."""
    grid = [d for d in part.means.dims if d != "draw"]
    there = np.flatnonzero(part.means.notnull().all(grid).values)
    n, size = len(there), coordinates.draws.shape[1]
    count = int(np.prod(part.split["mean"].shape, dtype=int))
    if n < draws_for_shares(part.method, size):
        return np.full((size, count), np.nan), np.full(count, np.nan)
    z = xr.DataArray(coordinates.draws[there], dims=("draw", "coordinate"))
    try:
        made = variance_shares(
            part.means.isel(draw=there),
            z,
            directions=coordinates.directions,
            noise_variance=part.split["noise_sd"] ** 2,
        )
    except InputError:  # a coordinate that does not vary
        return np.full((size, count), np.nan), np.full(count, np.nan)
    noise, naive = (part.split[name].values.reshape(-1) ** 2 for name in ("noise_sd", "naive_sd"))
    told = (noise <= NOISIEST * naive) | (part.method == "reweighting")
    share, rest = made["share"].values.reshape(size, -1), made["rest"].values.reshape(-1)
    return np.where(told, share, np.nan), np.where(told, rest, np.nan)


def _coverage(joined: xr.Dataset) -> dict[str, float | int]:
    """Coverage of the intervals over held-out components, with Clopper's and Pearson's interval."""
    held = (joined["held_out"].values == 1) & np.isfinite(joined["z"].values)
    if not held.any():
        return {"n_held_out": 0}
    z, freedom = joined["z"].values[held], joined["freedom"].values[held]
    n, hits = len(z), int(inside(z, freedom).sum())
    low, high = stats.binomtest(hits, n).proportion_ci(0.9, method="exact")
    return {
        "n_held_out": n, "coverage_90": hits / n, "coverage_90_lower": float(low), "coverage_90_upper": float(high),
        "rms_z": float(np.sqrt(np.mean(z**2))),
    }  # fmt: skip


def inside(z: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    """Whether values lie in their 90 % intervals, of Student's t.

    Args:
        z: differences over their standard deviations [value].
        freedom: degrees of freedom of those, infinite where they are known [value].

    Example:
        >>> inside(np.array([1.7, 1.7]), np.array([np.inf, 3.0])).tolist()
        [False, True]
    """
    return np.abs(z) <= stats.t.ppf(0.5 + 0.5 * COVERED, freedom)
