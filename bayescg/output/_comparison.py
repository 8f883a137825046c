"""A comparison of runs as a table in text and as a figure."""

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from bayescg.errors import InputError
from bayescg.output._canvas import LIMIT, POSTERIOR, panels
from bayescg.output._evidence_table import evidence_table, figure_evidence
from bayescg.output._text_table import aligned

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEAD = ("run", "elpd", "difference", "weight", "k-hat", "verified")


def comparison_table(table: xr.Dataset) -> str:
    """The table in aligned columns, best first, and below it what is compared and what is wrong with which run.

    Args:
        table: of `analysis.compare`, or of `study.compare_runs`; evidences in it make a second table.

    Example:
        >>> from bayescg.analysis import Candidate, PredictiveScores, compare
        >>> n = np.full(4, 10)
        >>> def fit(name, level, verdict):
        ...     scores = PredictiveScores(level + np.arange(4.0), "joint", n, n.cumsum() - 10, np.full(4, 0.2), "refits", "")
        ...     return Candidate(name, scores, data="d", anchor="a", verdict=verdict)
        >>> print(comparison_table(compare([fit("lj", -9.0, "passed"), fit("mie", -8.0, "not verified")])).splitlines()[1])
        mie  -26.0 ± 2.6   0.0 ± 0.0    1.00   0.20  not verified (!)
    """
    rows = [HEAD]
    for name in table["run"].values:
        row = table.sel(run=name)
        khat = float(row["khat"])
        flagged = " (!)" if str(row["flag"].item()) else ""
        rows.append(
            (
                str(name),
                f"{float(row['elpd']):.1f} ± {float(row['elpd_se']):.1f}",
                f"{float(row['difference']):.1f} ± {float(row['difference_se']):.1f}",
                f"{float(row['weight']):.2f}",
                "-" if np.isnan(khat) else f"{khat:.2f}",
                ("yes" if row["verdict"].item() == "passed" else str(row["verdict"].item())) + flagged,
            )
        )
    lines = aligned(rows, left=(0, len(HEAD) - 1))
    about = (
        f"elpd: {table.attrs['meaning']}, {table.sizes['unit']} units left out one by one, in nats; difference: to the"
        f" best. Method: {table.attrs['method']}. log Z: {table.attrs['normalisation']}"
    )
    share = float(table["normalisation_se"].max())
    lines.append(
        about + (f" (its error, at most {share:.1f}, is in that of the difference)." if share else ".")
    )
    for name in table["run"].values:
        flag = str(table["flag"].sel(run=name).item())
        if flag:
            lines.append(f"(!) {name}: {flag}.")
    if "log_evidence" in table:
        lines += ["", evidence_table(table)]
    return "\n".join(lines)


def figure_comparison(table: xr.Dataset) -> "Figure":
    """Difference in predictive score to the best run with its standard error, and stacking weights.

    Args:
        table: of `analysis.compare`.

    Example:
        >>> from bayescg.analysis import Candidate, PredictiveScores, compare
        >>> n = np.full(4, 10)
        >>> def fit(name, level):
        ...     scores = PredictiveScores(level + np.arange(4.0), "joint", n, n.cumsum() - 10, np.zeros(4), "refits", "")
        ...     return Candidate(name, scores, data="d", anchor="a", verdict="passed")
        >>> figure_comparison(compare([fit("lj", -9.0), fit("mie", -8.0)])).get_suptitle()
        'Predictive score of each run'
    """
    from matplotlib.ticker import MaxNLocator

    count = table.sizes["run"]
    figure, (axes,) = panels(1, size=(7.0, 1.7 + 0.5 * count))
    at = np.arange(count)[::-1]
    flagged = np.array([bool(str(flag)) for flag in table["flag"].values])
    for sound, colour, marker, label in (
        (True, POSTERIOR, "o", "verified"),
        (False, LIMIT, "s", "flagged: not verified, or weights with heavy tails"),
    ):
        mine = flagged != sound
        if mine.any():
            axes.errorbar(
                table["difference"].values[mine], at[mine], xerr=table["difference_se"].values[mine],
                fmt=marker, color=colour, capsize=3, markersize=6, label=label,
            )  # fmt: skip
    axes.axvline(0.0, color="#8C8C8C", linewidth=0.8, zorder=0)
    axes.set_yticks(at, [str(name) for name in table["run"].values])
    axes.set_ylim(-0.6, count - 0.4)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.set_xlabel(f"{table.attrs['kind']} score minus the best one's [nats], ± standard error")
    for y, weight in zip(at, table["weight"].values, strict=True):
        axes.text(1.01, y, f"{weight:.2f}", transform=axes.get_yaxis_transform(), va="center", fontsize=9)
    axes.text(
        1.01, count - 0.4, "stacking\nweight", transform=axes.get_yaxis_transform(), va="bottom", fontsize=8
    )
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, frameon=False, fontsize=8)
    figure.suptitle("Predictive score of each run", fontsize=12)
    note = f"{table.attrs['method']}; log Z: {table.attrs['normalisation']}"
    figure.supxlabel("\n".join(textwrap.wrap(note, 130)), fontsize=7, color="#555555")
    return figure


def write_comparison(table: xr.Dataset, folder: Path) -> list[Path]:
    """Writes the figure, the table in text, and all numbers as netCDF; where there are evidences, a figure of these too.

    Args:
        table: of `analysis.compare`, or of `study.compare_runs`.
        folder: made if it is not there.

    Raises:
        InputError: the folder can't be written to.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from bayescg.analysis import Candidate, PredictiveScores, compare
        >>> n = np.full(4, 10)
        >>> def fit(name, level):
        ...     scores = PredictiveScores(level + np.arange(4.0), "joint", n, n.cumsum() - 10, np.zeros(4), "refits", "")
        ...     return Candidate(name, scores, data="d", anchor="a", verdict="passed")
        >>> with TemporaryDirectory() as folder:
        ...     [path.name for path in write_comparison(compare([fit("lj", -9.0), fit("mie", -8.0)]), Path(folder))]
        ['comparison.png', 'comparison.txt', 'comparison.nc']
    """
    paths = [folder / f"comparison.{ending}" for ending in ("png", "txt", "nc")]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        figure_comparison(table).savefig(paths[0])
        paths[1].write_text(comparison_table(table) + "\n", encoding="utf-8")
        table.to_netcdf(paths[2], engine="netcdf4")
        if "log_evidence" in table:
            paths.append(folder / "evidence.png")
            figure_evidence(table).savefig(paths[-1])
    except OSError as error:
        raise InputError(f"{folder}: can't be written to ({error}); name another folder with -o") from error
    return paths
