"""A calibration check in words and as a figure."""

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from bayescg.output._canvas import LIMIT, POSTERIOR, PRIOR, panels
from bayescg.output._text_table import aligned

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_TITLES = {"calibrated": "calibrated posterior", "raw": "raw posterior, which takes frames as independent"}


def calibration_check_table(check: xr.Dataset) -> str:
    """Verdict and coverage of every parameter in aligned columns, the raw posterior's coverage beside it.

    Args:
        check: of `analysis.posterior_calibration`.

    Example:
        >>> from bayescg.analysis import check_ranks
        >>> ranks = np.random.default_rng(0).integers(0, 100, (200, 1))
        >>> both = [check_ranks(r, n_ranks=100, names=["spring"]) for r in (ranks, ranks // 2)]
        >>> check = xr.concat(both, xr.Variable("posterior", ["calibrated", "raw"]), combine_attrs="override")
        >>> print(calibration_check_table(check).splitlines()[1].split("  ")[0])
        spring
    """
    own, raw = check.sel(posterior="calibrated"), check.sel(posterior="raw")
    contents = [float(content) for content in check["content"].values]
    rows = [("parameter", *(f"{100 * c:.0f} %" for c in contents), "raw 90 %", "p", "verdict")]
    for name in check["parameter"].values:
        mine = own.sel(parameter=name)
        shares = [f"{100 * float(v):.0f}" for v in mine["coverage"].values]
        other = f"{100 * float(raw['coverage'].sel(parameter=name, content=0.9)):.0f}"
        told = f"{mine['verdict'].item()}: {mine['sentence'].item()}"
        rows.append((str(name), *shares, other, f"{float(mine['ecdf_p']):.2f}", told))
    return "\n".join(aligned(rows, left=(0, len(rows[0]) - 1)))


def calibration_check_sentences(check: xr.Dataset) -> list[str]:
    """What the check found, in two or three sentences.

    Example:
        >>> from bayescg.analysis import check_ranks
        >>> ranks = np.random.default_rng(0).integers(0, 100, (200, 1))
        >>> both = [check_ranks(r, n_ranks=100, names=["spring"]) for r in (ranks, ranks)]
        >>> check = xr.concat(both, xr.Variable("posterior", ["calibrated", "raw"]), combine_attrs="override")
        >>> calibration_check_sentences(check)[0]
        'Calibration check: passed for all 1 parameters.'
    """
    own = check.sel(posterior="calibrated")
    verdicts = own["verdict"].values
    failed = [str(name) for name in own["parameter"].values[verdicts == "failed"]]
    untested = int(np.sum(verdicts == "not tested"))
    if failed:
        some = ", ".join(failed[:5]) + (", ..." if len(failed) > 5 else "")
        first = f"Calibration check: failed for {len(failed)} of {len(verdicts)} parameters ({some})."
    elif untested:
        first = f"Calibration check: not tested for {untested} of {len(verdicts)} parameters."
    else:
        first = f"Calibration check: passed for all {len(verdicts)} parameters."
    mean = {name: 100 * float(check["coverage"].sel(posterior=name, content=0.9).mean()) for name in _TITLES}
    sentences = [
        first,
        f"Mean coverage of 90 % intervals: {mean['calibrated']:.0f} % calibrated; {mean['raw']:.0f} % if frames were taken"
        " as independent.",
        "Truths and synthetic data came from this run's own posterior and reference simulations: regions that these"
        " never visited, and a wrong form of the potential, are not seen.",
    ]
    if "khat" in check and (heavy := int(np.sum(~(check["khat"].values < 0.7)))):
        sentences.append(
            f"In {heavy} of {check.sizes['replicate']} replicates the importance weights have heavy tails (k-hat above"
            " 0.7): their ranks are less certain."
        )
    return sentences


def figure_calibration_check(check: xr.Dataset) -> "Figure":
    """Distribution of the ranks minus uniform, one line for each parameter, in the band of uniform ranks.

    A line that leaves the band is a fault: an S that rises and then falls below means intervals too narrow, the reverse
    too wide, a hill the truth too low among the draws, a valley too high.

    Args:
        check: of `analysis.posterior_calibration`.

    Example:
        >>> from bayescg.analysis import check_ranks
        >>> ranks = np.random.default_rng(0).integers(0, 100, (200, 1))
        >>> both = [check_ranks(r, n_ranks=100, names=["spring"]) for r in (ranks, ranks // 2)]
        >>> check = xr.concat(both, xr.Variable("posterior", ["calibrated", "raw"]), combine_attrs="override")
        >>> figure_calibration_check(check).get_suptitle()
        'Calibration check: passed for 1 of 1 parameters'
    """
    names = [str(name) for name in check["posterior"].values]
    figure, axes = panels(len(names), ratios=(1.0,) * len(names), size=(7.0, 0.9 + 2.4 * len(names)))
    for panel, name in zip(axes, names, strict=True):
        _ranks_panel(panel, check.sel(posterior=name))
        share = 100 * float(check["coverage"].sel(posterior=name, content=0.9).mean())
        panel.set_title(f"{_TITLES[name]}: 90 % intervals hold {share:.0f} %", fontsize=10, loc="left")
    axes[-1].set_xlabel("rank of the truth / number of ranks")
    verdicts = check["verdict"].sel(posterior=names[0]).values
    worst = next((v for v in ("failed", "not tested") if np.any(verdicts == v)), "passed")
    figure.suptitle(
        f"Calibration check: {worst} for {int(np.sum(verdicts == worst))} of {len(verdicts)} parameters",
        fontsize=12,
    )
    lost = int(check.attrs["n_lost"])
    note = (
        f"{check.attrs['n_replicates']} replicates{f' ({lost} more gave no ranks)' if lost else ''}; grey: uniform ranks stay"
        " inside everywhere with 95 %, each parameter by itself"
    )
    figure.supxlabel(note, fontsize=7, color="#555555")
    return figure


def _ranks_panel(axes: "Axes", check: xr.Dataset) -> None:
    from bayescg.analysis import ecdf_band, ecdf_of_ranks

    ranks, n_ranks = check["rank"].transpose("replicate", "parameter").values, int(check.attrs["n_ranks"])
    kept = ranks[np.all(ranks >= 0, axis=1)]
    band = ecdf_band(len(kept), n_ranks)
    x = np.concatenate([[0.0], band.place, [1.0]])

    def beyond(values: np.ndarray) -> np.ndarray:
        return np.concatenate([[0.0], values - band.place, [0.0]])

    axes.fill_between(x, beyond(band.lower), beyond(band.upper), color=PRIOR, alpha=0.25, linewidth=0)
    axes.axhline(0.0, color=PRIOR, linewidth=0.8)
    failed = check["verdict"].values == "failed"
    labelled = set()
    width = 1.2 if len(failed) <= 8 else 0.6
    for i in np.argsort(failed, kind="stable"):
        label = (
            "failed" if failed[i] else "passed" if check["verdict"].values[i] == "passed" else "not tested"
        )
        axes.plot(
            x, beyond(ecdf_of_ranks(kept[:, i], band.place, n_ranks)),
            color=LIMIT if failed[i] else POSTERIOR, linestyle="--" if failed[i] else "-", linewidth=width, alpha=0.8,
            label=None if label in labelled else label,
        )  # fmt: skip
        labelled.add(label)
    axes.set_ylabel("share below\nminus uniform", fontsize=9)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes.set_xlim(0.0, 1.0)
