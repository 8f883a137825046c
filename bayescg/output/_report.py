"""The report: one HTML file that holds everything it shows and asks nothing of the network."""

import base64
import io
import json
import os
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import xarray as xr

from bayescg.output._analyses import OF_RESULT, analysis_title, figures_of, is_outdated, read_analyses
from bayescg.output._ensemble_tables import coverage_html, write_coverage_table
from bayescg.output._figures import available_figures
from bayescg.output._result import (
    calibration_note,
    is_quick,
    read_checks,
    read_stage_times,
    read_statement,
    unit_text,
)
from bayescg.output._tables import parameter_table, stage_table, write_parameter_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CAPTIONS = {
    "potential": (
        "Pair potential",
        "The blue bands hold the pair potential with 50 and 90 % probability, the grey one with its dashed edges is "
        "what the prior allowed before it saw the data, 90 % of it. The axes follow the posterior: where the prior is "
        "wider than the panel it is cut off, and its edges are out of sight. The lower panel magnifies the blue bands "
        "by subtracting their median. Where blue is much narrower than grey, the data decided; in the hatched region, "
        "below the shortest distance that the data visit, the prior did.",
    ),
    "rdf": (
        "Radial distribution function",
        "The band is what the model says about g(r) given its own uncertainty; the points are the data with their "
        "standard errors, which empty bins do not have. The lower panel shows the difference, in which many points "
        "outside the band by more than twice their error bars, or a run of them on one side, are a misfit: look there "
        "first, since g(r) is what a relative-entropy fit of a pair potential reproduces, up to the cutoff at least.",
    ),
    "pressure": (
        "Pressure",
        "Above, the pressures of model (median and 90 % interval) and data on one axis; below, the model's over the "
        "posterior's draws, on an axis of its own where the data lie far away. A fit to structure does not see the "
        "pressure, so the two may lie far apart, and the histogram's width says nothing about that gap: it is the "
        "uncertainty within the model.",
    ),
    "residuals": (
        "Residuals",
        "Each point tells which share of the labels lies farther from the prediction than that many predictive standard "
        "deviations (parameters and noise together). On the dashed line the misses are as frequent as a normal law says; "
        "above it on the right there are outliers that it does not know: look for them, or use Student's t.",
    ),
    "coverage": (
        "Coverage",
        "How many held-out labels lie inside central intervals of each nominal content. Filled marks include the noise "
        "and should lie on the dashed line. Open marks are the parameters' uncertainty alone: what they leave uncovered "
        "is noise of the labels or, where the labels have none, what the potential's form can't say.",
    ),
    "coverage_by_ensemble": (
        "Coverage by ensemble",
        "The same for every ensemble beside the posterior, as the difference from nominal. Inside the grey band an "
        "ensemble is as nominal as that many held-out configurations can tell; below it is too narrow, above too wide (the "
        "thin line is where everything is inside). Filled marks are parameters alone, open ones include the noise.",
    ),
    "properties": (
        "Properties",
        "Each property at the draws that the axis names, relative to its median (printed on the right): what the spread "
        "of the parameters means for it. The form's own error is in these bands only where the draws are of an ensemble "
        "that holds it.",
    ),
    "phonons": (
        "Phonons",
        "Frequencies along the path, at the draws that the legend names. Negative numbers stand for imaginary "
        "frequencies.",
    ),
    "fisher": (
        "Fisher spectrum",
        "Each point is one combination of parameters, and its height says how many times more the data know about it "
        "than the prior does (λ). Above the line the data decide, below it the prior. The lower panel is the share of "
        "the answer that comes from the data, λ / (1 + λ). What lies below a half should be read as prior.",
    ),
    "sloppiness": (
        "Combinations of parameters",
        "Above, the information about each combination of the (unconstrained) parameters, in decades; below, the share "
        "that each parameter has in it (squared component). The combinations on the right are those that the data hardly "
        "know: parameters may change along them together and predictions stay the same.",
    ),
    "verification": (
        "Verification",
        "At random draws of the posterior, new simulations from dispersed starts were compared with what reweighting "
        "had predicted. A dot is the shift of the posterior mean that the error at one draw would cause, in calibrated "
        "sd per direction. The last round counts: the median of its dots (blue line) must lie below the dashed line, "
        "each dot below the orange mark of its own draw, and the posterior must hardly move once the simulations have "
        "joined the references. The grey marks are the noise of each simulation: errors that small can't be told from "
        "none, and where one lies above 0.5 (dotted) the round tests nothing.",
    ),
    "trace": (
        "Traces and ranks",
        "Left, the draws of each chain: they should look like the same noise, without drift or steps. Right, how the "
        "ranks of each chain among all draws differ from uniform: the lines should wander around zero without a trend, "
        "and inside the grey band, or with p above α where that is printed. Shown are the parameters with the fewest "
        "effective draws.",
    ),
}

AT_EQUILIBRIUM = ("potential", "rdf", "pressure", "fisher", "verification", "trace")
LABELLED = ("residuals", "coverage", "properties", "fisher", "trace")
"""Figures that a result of each kind usually has."""

_STYLE = """
body { font: 16px/1.55 system-ui, sans-serif; color: #1a1a1a; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; margin-bottom: 0.2rem; } h2 { font-size: 1.25rem; margin-top: 2.2rem; }
.subtitle, figcaption, .note { color: #555; } .statement { background: #f2f6fa; border-left: 4px solid #0072B2;
padding: 0.6rem 1rem; } .statement p { margin: 0.4rem 0; } .warning { background: #fdf0e6; border-left: 4px solid
#D55E00; padding: 0.6rem 1rem; } table { border-collapse: collapse;
width: 100%; font-size: 0.85rem; }
th, td { text-align: left; padding: 0.25rem 0.45rem; border-bottom: 1px solid #ddd; vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.verdict { font-weight: 600; white-space: nowrap; } .passed { color: #00664d; } .failed { color: #b34700; }
.untested { color: #555; } figure { margin: 1.6rem 0; max-width: 48rem; } figure img { width: 100%; height: auto; }
pre { background: #f6f6f6; padding: 0.8rem; overflow-x: auto; font-size: 0.85rem; } .scroll { overflow-x: auto; }
"""

_MARKS = {"passed": ("passed", "✓"), "failed": ("failed", "✗")}


def write_figures(tree: xr.DataTree, folder: Path) -> list[Path]:
    """Draws every figure that a result has the variables for, as PNG.

    Args:
        tree: A result.
        folder: Made where it is missing.

    Returns:
        The files written.

    Example:
        >>> import numpy as np
        >>> from tempfile import TemporaryDirectory
        >>> draws = np.random.default_rng(0).normal(size=(2, 50))
        >>> tree = xr.DataTree.from_dict({"posterior": xr.Dataset({"stiffness": (("chain", "draw"), draws)})})
        >>> with TemporaryDirectory() as folder:
        ...     [path.name for path in write_figures(tree, Path(folder))]
        ['trace.png']
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, draw in available_figures(tree).items():
        path = folder / f"{name}.png"
        _replace(path, _png(draw(tree)))
        files.append(path)
    return files


def write_report(tree: xr.DataTree, path: Path) -> None:
    """Writes the report of a result as one self-contained HTML file.

    The statement in words comes first, then the checks, the parameters, the figures with what to look for in them,
    and where everything came from.

    Args:
        tree: A result.
        path: The file to write.

    Example:
        >>> import numpy as np
        >>> from tempfile import TemporaryDirectory
        >>> draws = np.random.default_rng(0).normal(size=(2, 50))
        >>> tree = xr.DataTree.from_dict({"posterior": xr.Dataset({"stiffness": (("chain", "draw"), draws)})})
        >>> tree.attrs |= {"title": "A spring", "units": "lj", "temperature": 1.0}
        >>> with TemporaryDirectory() as folder:
        ...     write_report(tree, Path(folder) / "report.html")
        ...     "<h1>A spring</h1>" in (Path(folder) / "report.html").read_text()
        True
    """
    figures = {name: _png(draw(tree)) for name, draw in available_figures(tree).items()}
    _replace(path, _page(tree, figures, read_analyses(path.parent)).encode())


def write_outputs(tree: xr.DataTree, folder: Path) -> list[Path]:
    """Writes the figures, the parameter table and the report into a run's output folder.

    Args:
        tree: A result.
        folder: The run's output folder.

    Returns:
        The files written: `report.html`, `parameters.csv`, `figures/*.png`; `coverage.csv` where the result compares
        ensembles.

    Example:
        >>> import numpy as np
        >>> from tempfile import TemporaryDirectory
        >>> draws = np.random.default_rng(0).normal(size=(2, 50))
        >>> tree = xr.DataTree.from_dict({"posterior": xr.Dataset({"stiffness": (("chain", "draw"), draws)})})
        >>> tree.attrs |= {"title": "A spring", "units": "lj", "temperature": 1.0}
        >>> with TemporaryDirectory() as folder:
        ...     [path.name for path in write_outputs(tree, Path(folder))]
        ['report.html', 'parameters.csv', 'trace.png']
    """
    files = write_figures(tree, folder / "figures")
    figures = {path.stem: path.read_bytes() for path in files}
    _replace(folder / "report.html", _page(tree, figures, read_analyses(folder)).encode())
    write_parameter_table(parameter_table(tree), folder / "parameters.csv")
    tables = [folder / "parameters.csv"]
    if "coverage_by_ensemble" in tree.children:
        write_coverage_table(tree, folder / "coverage.csv")
        tables.append(folder / "coverage.csv")
    return [folder / "report.html", *tables, *files]


def _page(tree: xr.DataTree, figures: dict[str, bytes], analyses: dict[str, xr.Dataset]) -> str:
    title = escape(str(tree.attrs.get("title", "Result")))
    facts = [
        f"potential: {tree.attrs.get('potential', 'not stated')}",
        *([f"temperature: {float(tree.attrs['temperature']):g}"] if "temperature" in tree.attrs else []),
        f"units: {tree.attrs['units']}",
        f"made by bayescg on {tree.attrs.get('created', 'an unknown date')}",
    ]
    warning = (
        "<p class='warning'><strong>A quick test run.</strong> It shows that the pipeline works; its numbers mean "
        "nothing. Run the study without <code>--quick</code>.</p>"
        if is_quick(tree)
        else ""
    )
    expected = LABELLED if tree.attrs.get("kind") == "labelled" else AT_EQUILIBRIUM
    sentences = read_statement(tree) or ["This result carries no statement."]
    statement = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
    return (
        "<!DOCTYPE html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{title}</title><style>{_STYLE}</style></head><body>\n"
        f"<h1>{title}</h1><p class='subtitle'>{escape(' · '.join(facts))}</p>{warning}\n"
        f"<h2>What the data say</h2><div class='statement'>{statement}</div>\n"
        f"<h2>Checks</h2>{_checks(tree)}\n"
        f"<h2>Parameters</h2>{_parameters(tree)}\n"
        f"{coverage_html(tree)}"
        f"<h2>Figures</h2>{_figures(figures, expected)}\n"
        f"{_analyses(analyses, str(tree.attrs.get('created', '')))}"
        f"<h2>Where this came from</h2>{_provenance(tree)}\n"
        "</body></html>\n"
    )


def _checks(tree: xr.DataTree | xr.Dataset) -> str:
    rows = []
    for check in read_checks(tree):
        style, mark = _MARKS.get(check.verdict, ("untested", "–"))
        rows.append(
            f"<tr><td>{escape(check.name)}</td><td class='verdict {style}'>{mark} {escape(check.verdict)}</td>"
            f"<td class='number'>{_number(check.value)}</td><td class='number'>{_number(check.threshold)}</td>"
            f"<td>{escape(check.sentence)}</td></tr>"
        )
    if not rows:
        return "<p class='warning'>No check was made.</p>"
    head = (
        "<tr><th>check</th><th>verdict</th><th class='number'>value</th><th class='number'>limit</th>"
        "<th>meaning</th></tr>"
    )
    return f"<div class='scroll'><table>{head}{''.join(rows)}</table></div>"


def _parameters(tree: xr.DataTree) -> str:
    table = parameter_table(tree)
    percent = f"{100 * float(table.attrs['probability']):g} %"
    names = ("mean", "sd", f"{percent} from", "to", "prior sd", "ESS bulk", "ESS tail", "R-hat")
    columns = ("mean", "sd", "lower", "upper", "prior_sd", "ess_bulk", "ess_tail", "r_hat")
    head = "".join(f"<th class='number'>{name}</th>" for name in names)
    rows = []
    for i, label in enumerate(table["parameter"].values):
        cells = []
        for column in columns:
            digits = {"ess_bulk": ".0f", "ess_tail": ".0f", "r_hat": ".4f"}.get(column, ".4g")
            cells.append(f"<td class='number'>{_number(float(table[column][i]), digits)}</td>")
        unit = escape(unit_text(str(table["unit"].values[i])))
        rows.append(f"<tr><td>{escape(str(label))}</td><td>{unit}</td>{''.join(cells)}</tr>")
    return (
        f"<p class='note'>From the {escape(calibration_note(tree))}; sd: standard deviation of the draws; ESS: "
        "effective number of draws; R-hat: rank-normalised, 1 where the chains agree.</p>"
        f"<div class='scroll'><table><tr><th>parameter</th><th>unit</th>{head}</tr>{''.join(rows)}</table></div>"
    )


def _figures(figures: dict[str, bytes], expected: tuple[str, ...]) -> str:
    """All figures, and a word where one that belongs to this kind of result could not be drawn."""
    parts = []
    for name, (title, caption) in _CAPTIONS.items():
        if name not in figures:
            if name not in expected:
                continue
            parts.append(f"<p class='note'>{title}: this result holds nothing to draw it from.</p>")
            continue
        parts.append(_figure(figures[name], title, caption))
    return "".join(parts)


def _analyses(analyses: dict[str, xr.Dataset], created: str) -> str:
    """A section for each analysis that was made of the run later; one of an earlier result is named only."""
    parts = []
    for name, data in analyses.items():
        if is_outdated(data, created):
            parts.append(
                f"<h2>{escape(analysis_title(name, data))}</h2><p class='warning'>Made from an earlier result of this folder, "
                f"of {escape(str(data.attrs[OF_RESULT]))}, and not shown; make it again.</p>"
            )
            continue
        sentences = "".join(f"<p>{escape(s)}</p>" for s in json.loads(data.attrs["sentences"]))
        parts.append(f"<h2>{escape(analysis_title(name, data))}</h2><div class='statement'>{sentences}</div>")
        if read_checks(data):
            parts.append(f"<h3>Checks of its simulations</h3>{_checks(data)}")
        for figure in figures_of(name, data).values():
            parts.append(_figure(_png(figure.draw(data)), figure.title, figure.caption))
    return "".join(parts)


def _figure(png: bytes, title: str, caption: str) -> str:
    data = base64.b64encode(png).decode()
    return (
        f"<figure><img alt='{title}' src='data:image/png;base64,{data}'>"
        f"<figcaption><strong>{title}.</strong> {escape(caption)}</figcaption></figure>"
    )


def _provenance(tree: xr.DataTree) -> str:
    attrs = tree.attrs
    versions = json.loads(attrs.get("versions", "{}"))
    codes = json.loads(attrs.get("result_codes", "{}"))
    facts = {
        "seed": attrs.get("seed", "not stated"),
        "calibration": attrs.get("calibration", "not stated"),
        "data checksum (sha256)": attrs.get("data_checksum", "not stated"),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()) or "not stated",
        "simulated trajectories by result": ", ".join(f"{name}: {count}" for name, count in codes.items())
        or "not stated",
        "schema of the result": attrs.get("schema_version", "not stated"),
    }
    rows = "".join(f"<tr><th>{escape(k)}</th><td>{escape(str(v))}</td></tr>" for k, v in facts.items())
    model = escape(str(attrs.get("model_file_text", "not stored")))
    # a run writes its report while the stage of that name is still going on
    unfinished = (
        ""
        if "report" in read_stage_times(tree)
        else "<p class='note'>Without the stage that wrote this report, which was not over yet.</p>"
    )
    return (
        f"<table>{rows}</table><h3>Time per stage</h3><pre>{escape(stage_table(tree))}</pre>{unfinished}"
        f"<details><summary>The model file</summary><pre>{model}</pre></details>"
    )


def _number(value: float | None, digits: str = ".4g") -> str:
    if value is None or value != value:  # NaN is the one number that differs from itself
        return "–"
    return format(value, digits).replace("-", "−")


def _png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    os.replace(partial, path)
