"""The error bar of a prediction, part by part: parameters, simulation, chance, and what the model cannot do."""

import numpy as np
import xarray as xr

from bayescg.analysis._statement import value_with_error
from bayescg.errors import InputError

PARTS = ("parametric", "simulation", "aleatoric", "discrepancy")
WORDS = {
    "parametric": "parameters",
    "simulation": "finite simulation",
    "aleatoric": "chance in the frames averaged",
    "discrepancy": "what the model's form misses",
}


def error_budget(
    split: xr.Dataset,
    *,
    averaged_frames: xr.DataArray | float | None = None,
    discrepancy_sd: xr.DataArray | float | None = None,
) -> xr.Dataset:
    """Variances that add up to the predictive one of an observable, and the share of each.

        total = τ² (parameters) + b² (error of the mean from finite simulation) + v/n (chance) + δ² (discrepancy).

    Without `averaged_frames` the expectation itself is predicted, and there is no chance in it; with n independent frames,
    their average; with one, a single frame. The discrepancy is 0 unless given: what a calibrated posterior covers is the
    best model's value, not the truth.

    Args:
        split: of `nested_split` or `common_noise_split`.
        averaged_frames: number n of independent frames that the predicted average is over.
        discrepancy_sd: δ, as from `discrepancy_scale` [units of the observable].

    Returns:
        `variance` and `share` [part *observable], `mean` and `total_sd` [*observable]. Shares sum to 1.

    Raises:
        InputError: frames given to a split without `fluctuation_sd`; numbers below 0.

    References:
        Kennedy & O'Hagan (2001), doi:10.1111/1467-9868.00294, section 2.1, for these kinds of uncertainty.

    Example:
        >>> split = xr.Dataset({"mean": 2.0, "parametric_sd": 0.8, "simulation_sd": 0.6, "fluctuation_sd": 5.0})
        >>> budget = error_budget(split)
        >>> float(budget["total_sd"]), budget["share"].values.round(2).tolist()
        (1.0, [0.64, 0.36, 0.0, 0.0])
        >>> round(float(error_budget(split, averaged_frames=25.0)["total_sd"]), 3)
        1.414
    """
    if averaged_frames is not None and "fluctuation_sd" not in split:
        raise InputError(
            "error budget: an average over frames is asked for, but the split holds no `fluctuation_sd`; give it the"
            " frames' variance"
        )
    mean, none = split["mean"], xr.zeros_like(split["mean"])
    frames = np.inf if averaged_frames is None else averaged_frames
    delta = 0.0 if discrepancy_sd is None else discrepancy_sd
    if not bool(np.all(np.asarray(frames) > 0.0)) or not bool(np.all(np.asarray(delta) >= 0.0)):
        raise InputError("error budget: frames above 0 and a discrepancy of at least 0 expected")
    aleatoric = none if averaged_frames is None else split["fluctuation_sd"] ** 2 / frames
    parts = [split["parametric_sd"] ** 2, split["simulation_sd"] ** 2, aleatoric, none + delta**2]
    variance = xr.concat(parts, dim="part", join="override").assign_coords(part=list(PARTS))
    total = variance.sum("part")
    share = (variance / total.where(total > 0.0)).fillna(0.0)
    units, name = str(mean.attrs.get("units", "1")), str(split.attrs.get("observable", "value"))
    predicted = f"average over {'given numbers of' if np.ndim(frames) else format(float(frames), 'g')} frames"
    total_sd = total**0.5
    variance.attrs = {"units": f"({units})^2", "long_name": "parts of the predictive variance"}
    share.attrs = {"units": "1", "long_name": "shares of the predictive variance"}
    total_sd.attrs = {"units": units, "long_name": "predictive standard deviation, all parts together"}
    return xr.Dataset(
        {"mean": mean, "variance": variance, "share": share, "total_sd": total_sd},
        attrs={
            "observable": name,
            "predicted": "expectation" if averaged_frames is None else predicted,
            "discrepancy": "not included" if discrepancy_sd is None else "included",
        },
    )


def budget_sentence(budget: xr.Dataset) -> str:
    """How much of the error bar is what, in words; of a vector, of its components' variances together.

    Args:
        budget: of `error_budget`; several scalars in one array are to be selected one by one.

    Example:
        >>> split = xr.Dataset(
        ...     {"mean": ((), 12.0, {"units": "bar"}), "parametric_sd": 0.9, "simulation_sd": 0.4},
        ...     attrs={"observable": "pressure"},
        ... )
        >>> print(budget_sentence(error_budget(split)))
        Pressure: 12.00 ± 0.98 bar; of the error bar's variance 84 % is parameters, 16 % finite simulation. \
What the model's form misses is not in it.
    """
    units, name = str(budget["mean"].attrs.get("units", "1")), str(budget.attrs["observable"])
    unit = "" if units == "1" else f" {units}"
    variance = budget["variance"]
    summed = variance.sum([d for d in variance.dims if d != "part"])
    total = float(summed.sum())
    head = f"{name[:1].upper()}{name[1:]}: "
    if budget["mean"].ndim == 0:
        head += f"{value_with_error(float(budget['mean']), float(budget['total_sd']))}{unit}; "
    else:
        head += (
            f"error bar {float(np.sqrt((budget['total_sd'] ** 2).mean())):.2g}{unit} (root mean square over"
        )
        head += f" {budget['mean'].size} components); "
    if not total > 0.0:
        return f"{head}no error bar: nothing varies."
    shares = [(WORDS[part], float(summed.sel(part=part)) / total) for part in PARTS]
    named = sorted(((word, share) for word, share in shares if share >= 0.005), key=lambda one: -one[1])
    said = ", ".join(
        f"{100 * share:.0f} % {'is ' if not i else ''}{word}" for i, (word, share) in enumerate(named)
    )
    missing = (
        ""
        if budget.attrs["discrepancy"] == "included"
        else f" {_capital(WORDS['discrepancy'])} is not in it."
    )
    return f"{head}of the error bar's variance {said}.{missing}"


def _capital(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}"
