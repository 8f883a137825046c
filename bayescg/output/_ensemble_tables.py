"""Coverage by ensemble as a table of the report and as a file of comma-separated values."""

import csv
import io
from html import escape
from pathlib import Path

import numpy as np
import xarray as xr

from bayescg.analysis import ensemble_words, pooled_coverage
from bayescg.output._ensemble_figures import COMPARED
from bayescg.output._result import has_variables, require_variables, unit_text

GROUP = "coverage_by_ensemble"
COLUMNS = (
    "ensemble", "interval", "quantity", "group", "labels", "configurations", "nominal", "actual", "mean_width", "unit",
    "rms_residual", "verdict",
)  # fmt: skip
ALL = "(all groups)"


def write_coverage_table(tree: xr.DataTree, path: Path) -> None:
    """Writes coverage and width by ensemble, kind of interval, quantity, group and level as comma-separated values.

    Rows of all groups together carry the verdict.

    Args:
        tree: A result with the group `coverage_by_ensemble`.
        path: The file to write.
    """
    table = require_variables(tree, GROUP, *COMPARED)
    pooled = pooled_coverage(table)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for name in table["ensemble"].values:
        for interval in table["interval"].values:
            for quantity in table["quantity"].values:
                at = {"ensemble": name, "interval": interval, "quantity": quantity}
                if quantity in pooled["quantity"].values:
                    _write(writer, pooled.sel(at), ALL, str(pooled["verdict"].sel(at).item()))
                for group in table["group"].values:
                    _write(writer, table.sel(at | {"group": group}), str(group), "")
    path.write_text(text.getvalue(), encoding="utf-8")


def _write(writer, one: xr.Dataset, group: str, verdict: str) -> None:
    """The rows of one ensemble, kind of interval, quantity and group; none where there is no number."""
    if not np.isfinite(one["coverage"].values).all():
        return
    head = [str(one[key].item()) for key in ("ensemble", "interval", "quantity")]
    counts = [int(one["count"]), int(one["configurations"])]
    for level in one["level"].values:
        numbers = (float(one[name].sel(level=level)) for name in ("coverage", "width"))
        writer.writerow(
            [*head, group, *counts, f"{float(level):g}", *(f"{x:.6g}" for x in numbers), one["unit"].item(),
             f"{float(one['residual']):.6g}", verdict]
        )  # fmt: skip


def coverage_html(tree: xr.DataTree) -> str:
    """The report's section on coverage by ensemble; empty where the result has no ensembles."""
    about = _meanings(tree)
    if not has_variables(tree, GROUP, *COMPARED):
        if not about:
            return ""
        return (
            f"<h2>Ensembles</h2><p class='warning'>No configuration was held out: nothing says which of these covers."
            f"</p>{about}\n"
        )
    pooled = pooled_coverage(require_variables(tree, GROUP, *COMPARED))
    level = pooled["level"].values
    shares = "".join(f"<th class='number'>{100 * x:.0f} %</th>" for x in level)
    head = (
        f"<tr><th>labels</th><th>intervals</th>{shares}<th class='number'>mean width, {100 * level[-1]:.0f} %</th>"
        "<th class='number'>rms residual</th><th>unit</th><th>verdict</th></tr>"
    )
    rows = []
    for quantity in pooled["quantity"].values:
        for interval in pooled["interval"].values:
            for name in pooled["ensemble"].values:
                one = pooled.sel(ensemble=name, interval=interval, quantity=quantity)
                if np.isfinite(one["coverage"].values).all():
                    rows.append(_row(one, str(name), str(interval), str(quantity)))
    return (
        "<h2>Coverage by ensemble</h2><p class='note'>Share of held-out labels inside central intervals of each nominal "
        "content, all groups together (each group in <code>coverage.csv</code>), predictions linearised about each "
        "ensemble's mean, labels that are 0 by symmetry left out. An ensemble is as nominal where it differs from nominal at "
        "no level by more than that many configurations can tell.</p>"
        f"<div class='scroll'><table>{head}{''.join(rows)}</table></div>{about}\n"
    )


def _row(one: xr.Dataset, name: str, interval: str, quantity: str) -> str:
    cells = "".join(f"<td class='number'>{100 * float(x):.0f}</td>" for x in one["coverage"].values)
    verdict = str(one["verdict"].item())
    style = "passed" if verdict == "as nominal" else "failed"
    if bool(one["bent"]):
        verdict, style = f"({verdict}: linear predictions do not hold)", "untested"
    return (
        f"<tr><td>{quantity}</td><td>{escape(ensemble_words(name, interval))}</td>{cells}"
        f"<td class='number'>{float(one['width'][-1]):.3g}</td><td class='number'>{float(one['residual']):.3g}</td>"
        f"<td>{escape(unit_text(str(one['unit'].item())))}</td><td class='verdict {style}'>{verdict}</td></tr>"
    )


def _meanings(tree: xr.DataTree) -> str:
    """What each ensemble's spread is and is not."""
    lines = []
    for node in tree.children.values():
        if "ensemble" in node.attrs:
            words = ensemble_words(str(node.attrs["ensemble"]))
            n = node.sizes["draw"]
            lines.append(
                f"<p class='note'><strong>{escape(words)}</strong> ({n} draws, {escape(str(node.attrs['kind']))}): "
                f"{escape(str(node.attrs['spread']))}; {escape(str(node.attrs['is_not']))}.</p>"
            )
    return "".join(lines)
