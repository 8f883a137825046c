"""A prediction in words: each error bar's parts, how it was found, what makes it, and how data compare."""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from bayescg.analysis import budget_sentence, combination
from bayescg.analysis._error_budget import PARTS as BUDGET_PARTS
from bayescg.study._prediction_dataset import Coordinates, draws_for_shares, inside

MOST_NAMED = 3
"""Coordinates of a combination that a sentence names."""


def prediction_sentences(
    data: xr.Dataset, coordinates: Coordinates, *, logarithmic: Sequence[bool]
) -> list[str]:
    """The answer, one sentence or two for each observable.

    Args:
        data: of `prediction_dataset`, with what `predict` knows of the state.
        coordinates: of the draws.
        logarithmic: whether each coordinate is a parameter's logarithm.
    """
    unit = "" if str(data.attrs["temperature_unit"]) == "1" else f" {data.attrs['temperature_unit']}"
    where = f"{data.attrs['n_sites']} sites at {float(data.attrs['temperature']):g}{unit}"
    if np.isfinite(float(data.attrs["density"])):
        where += f" and {float(data.attrs['density']):.4g} sites per {data.attrs['length_unit']}^3"
    said = [f"Predicted for {where} from {data.attrs['posterior']}."]
    for name in data["observable"].values:
        some = data.isel(component=np.flatnonzero(data["of"].values == name))
        said.append(_budget(some))
        said.append(_share(some, str(data["method"].sel(observable=name).item()), coordinates, logarithmic))
    said += _methods(data)
    said.append(
        f"Chance is that of an average over {float(data.attrs['averaged_frames']):.0f} independent frames; what the model's"
        " form misses is in none of these error bars."
    )
    said.append(_unknown_chance(data))
    return [*[one for one in said if one], *_against_data(data)]


def _one(some: xr.Dataset) -> bool:
    return some.sizes["component"] == 1 and bool(np.isnan(some["at"].values[0]))


def _budget(some: xr.Dataset) -> str:
    """What the model alone leaves open of one observable; what it misses is told beside the data."""
    view = some.isel(component=0) if _one(some) else some
    variance = view["variance"].reindex(part=BUDGET_PARTS, fill_value=0.0)
    total = variance.sum("part")
    units = str(some["unit"].values[0])
    budget = xr.Dataset(
        {"mean": view["mean"].assign_attrs(units=units), "variance": variance, "total_sd": total**0.5},
        attrs={"observable": str(some["long_name"].values[0]), "discrepancy": "included"},
    )
    words = budget_sentence(budget)
    if bool(some["below_noise"].values.all()):
        words += " Its draws scatter no more than simulation noise does: simulate longer to see what the parameters do."
    return words


def _unknown_chance(data: xr.Dataset) -> str:
    """Whose error bar lacks the part of chance; empty where none does."""
    unknown = np.isnan(data["fluctuation_sd"].values)
    names = [str(name) for name in data["observable"].values if unknown[data["of"].values == name].all()]
    if not names:
        return ""
    return f"Chance is unknown of {', '.join(names)}: no value frame by frame is known, so it is not in the error bars."


def _share(some: xr.Dataset, method: str, coordinates: Coordinates, logarithmic: Sequence[bool]) -> str:
    """The combination that makes most of the parametric variance, of a function summed over its points."""
    weight = some["parametric_sd"].values ** 2
    share, rest = some["direction_share"].values, some["rest"].values
    there = np.isfinite(rest) & (weight > 0.0)
    name = str(some["long_name"].values[0])
    n, size = int(np.isfinite(some["draws"].values).all(axis=1).sum()), coordinates.draws.shape[1]
    if not there.any():
        if n < (least := draws_for_shares(method, size)):
            return (
                f"Which combination makes the spread of {name} can't be told from {n} draws of {size} coordinates; at least"
                f" {least} are needed."
            )
        if method == "simulation" and (weight > 0.0).any():
            return (
                f"Which combination makes the spread of {name} can't be told, since half of it or more is simulation noise:"
                " simulate longer."
            )
        return ""
    w = weight[there] / weight[there].sum()
    along, left = share[:, there] @ w, float(rest[there] @ w)
    k = int(np.argmax(along))
    text = _named(coordinates, k, logarithmic)
    return (
        f"Of the parametric variance of {name}, {100 * along[k]:.0f} % goes with direction {k + 1} of {len(along)}"
        f" ({text}); {100 * left:.0f} % is not explained linearly by {n} draws."
    )


def _named(coordinates: Coordinates, k: int, logarithmic: Sequence[bool]) -> str:
    """The combination that moves along a direction, its largest coordinates."""
    row = np.linalg.inv(coordinates.directions).T[k]
    most = np.argsort(-np.abs(row))[:MOST_NAMED]
    kept = np.zeros(len(row))
    kept[most] = row[most]
    found = combination(kept, coordinates.names, logarithmic=logarithmic)
    involved = int(np.sum(row**2 >= 0.01 * np.sum(row**2)))
    more = f" and {involved - len(found.places)} more coordinates" if involved > len(found.places) else ""
    return found.text + more


def _methods(data: xr.Dataset) -> list[str]:
    groups: dict[tuple[str, str], list[str]] = {}
    for name, method, reason in zip(
        data["observable"].values, data["method"].values, data["reason"].values, strict=True
    ):
        groups.setdefault((str(method), str(reason)), []).append(str(name))
    return [
        f"By {method}: {', '.join(names)}, because {_because(reason, several=len(names) > 1)}."
        for (method, reason), names in groups.items()
    ]


def _because(reason: str, *, several: bool) -> str:
    if reason.startswith("a function"):
        return f"each is {reason}"
    return reason.replace("it needs", "each needs", 1) if several else reason


def _against_data(data: xr.Dataset) -> list[str]:
    """Held-out values in words; fitted ones are said to be no test."""
    said = []
    there = np.isfinite(data["z"].values)
    held = there & (data["held_out"].values == 1)
    constant = np.isnan(data["observed_sd"].values)
    for name in data["observable"].values:
        mine = (data["of"].values == name) & (data["held_out"].values == 1) & ~there
        if (mine & constant).any():
            said.append(
                f"{(mine & constant).sum()} held-out values of {name} are the same in all frames, so that their error is unknown:"
                " they are not scored."
            )
        if (mine & ~constant).any():
            said.append(
                f"{(mine & ~constant).sum()} held-out values of {name} have no error bar, nor has their prediction: they are not"
                " scored."
            )
    for name in data["observable"].values:
        mine = np.flatnonzero((data["of"].values == name) & there)
        if not len(mine):
            continue
        z = data["z"].values[mine]
        title, unit = str(data["long_name"].values[mine[0]]), str(data["unit"].values[mine[0]])
        scale = float(np.sqrt(np.mean(data["discrepancy_sd"].values[mine] ** 2)))
        unit = "" if unit == "1" else f" {unit}"
        off = (
            f"discrepancy {scale:.2g}{unit} beyond the error bars"
            if scale > 0.0
            else "no discrepancy beyond the error bars"
        )
        if data["held_out"].values[mine[0]] == 1:
            figure = f"z = {z[0]:+.1f}" if len(z) == 1 else f"root mean square z {np.sqrt(np.mean(z**2)):.1f}"
            said.append(f"Held-out {title}: {figure}, {off}.")
        else:
            share = float(np.mean(inside(z, data["freedom"].values[mine])))
            said.append(
                f"{title[:1].upper()}{title[1:]} of the data that were fitted: {100 * share:.0f} % of {len(z)} points inside"
                f" 90 % intervals, {off}; it is no test."
            )
    if held.any():
        a = data.attrs
        n = int(a["n_held_out"])
        said.append(
            f"{round(float(a['coverage_90']) * n)} of {n} held-out values lie inside their 90 % intervals (between"
            f" {100 * float(a['coverage_90_lower']):.0f} % and {100 * float(a['coverage_90_upper']):.0f} % with 90 %"
            f" confidence if they are independent); root mean square z = {float(a['rms_z']):.2g}."
        )
    return said
