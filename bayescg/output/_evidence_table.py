"""Log evidence and Bayes factors of compared runs, as a table in text and as a figure."""

import textwrap
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from bayescg.output._canvas import LIMIT, POSTERIOR, panels
from bayescg.output._text_table import aligned

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEAD = ("run", "importance sampling", "k-hat", "tempered SMC", "log Bayes factor")


def evidence_table(table: xr.Dataset) -> str:
    """Log evidence of every run by two methods, best first, and below it what is wrong or refused.

    Args:
        table: of `study.evidence_of_fits`.

    Example:
        >>> table = xr.Dataset(
        ...     {
        ...         "log_evidence": ("run", [-130.0, -153.5]), "log_evidence_se": ("run", [0.2, 0.3]),
        ...         "log_evidence_smc": ("run", [-130.1, -153.4]), "log_evidence_smc_se": ("run", [0.2, 0.3]),
        ...         "evidence_khat": ("run", [0.1, 0.2]), "log_z_error": ("run", [0.2, 0.3]),
        ...         "statistical_inefficiency": ("run", [1.3, 1.1]), "inefficiency_limit": ("run", [2.3, 2.3]),
        ...         "log_bayes_factor": ("run", [0.0, -23.5]), "log_bayes_factor_se": ("run", [0.0, 0.4]),
        ...         "refusal": ("run", ["", ""]), "evidence_note": ("run", ["", ""]),
        ...     },
        ...     coords={"run": ["well", "spring"]},
        ...     attrs={"evidence_frames": 100},
        ... )
        >>> print(evidence_table(table).splitlines()[2])
        spring         -153.5 ± 0.3   0.20  -153.4 ± 0.3       -23.5 ± 0.4
    """
    rows = [HEAD]
    for name in _order(table):
        row = table.sel(run=name)
        rows.append(
            (
                str(name),
                _value(row["log_evidence"], row["log_evidence_se"]),
                _value(row["evidence_khat"]),
                _value(row["log_evidence_smc"], row["log_evidence_smc_se"]),
                "refused"
                if row["refusal"].item()
                else _value(row["log_bayes_factor"], row["log_bayes_factor_se"]),
            )
        )
    lines = aligned(rows, left=(0,))
    g, limit = (float(table[name].max()) for name in ("statistical_inefficiency", "inefficiency_limit"))
    lines.append(
        f"log evidence: of {table.attrs['evidence_frames']} frames taken as independent, relative to one state, in nats"
        f" (error of log Z in it: at most {float(table['log_z_error'].max()):.2f}); log Bayes factor: over the best."
        f" Inefficiency of the frames: {g:.2f} (as independent pass at most {limit:.2f})."
    )
    lines += [f"No Bayes factor: {reason}." for reason in _reasons(table)]
    lines += [
        f"(!) {name}: {table['evidence_note'].sel(run=name).item()}."
        for name in _order(table)
        if table["evidence_note"].sel(run=name).item()
    ]
    return "\n".join(lines)


def figure_evidence(table: xr.Dataset) -> "Figure":
    """Log evidence relative to the best run, by both methods with their standard errors, and Bayes factors.

    Args:
        table: of `study.evidence_of_fits`.

    Example:
        >>> values = {name: ("run", [0.0, -2.0]) for name in ("log_evidence", "log_evidence_smc", "log_bayes_factor")}
        >>> errors = {name: ("run", [0.2, 0.3]) for name in ("log_evidence_se", "log_evidence_smc_se")}
        >>> table = xr.Dataset({**values, **errors, "refusal": ("run", ["", ""])}, coords={"run": ["well", "spring"]})
        >>> figure_evidence(table).get_suptitle()
        'Log evidence of each run'
    """
    order = _order(table)
    table = table.sel(run=order)
    at = np.arange(len(order), dtype=float)[::-1]
    figure, (axes,) = panels(1, size=(7.0, 1.9 + 0.5 * len(order)))
    best = float(table["log_evidence"][0])
    for name, shift, colour, marker, label in (
        ("log_evidence", 0.1, POSTERIOR, "o", "importance sampling"),
        ("log_evidence_smc", -0.1, LIMIT, "s", "tempered SMC"),
    ):
        axes.errorbar(
            table[name].values - best, at + shift, xerr=table[f"{name}_se"].values, fmt=marker, color=colour,
            capsize=3, markersize=6, label=label,
        )  # fmt: skip
    axes.axvline(0.0, color="#8C8C8C", linewidth=0.8, zorder=0)
    axes.set_yticks(at, [str(name) for name in order])
    axes.set_ylim(-0.6, len(order) - 0.4)
    axes.set_xlabel("log evidence minus the best one's [nats], ± standard error")
    for y, factor, refusal in zip(at, table["log_bayes_factor"].values, table["refusal"].values, strict=True):
        words = "refused" if str(refusal) else f"{factor:.1f}"
        axes.text(1.01, y, words, transform=axes.get_yaxis_transform(), va="center", fontsize=9)
    axes.text(
        1.01, len(order) - 0.4, "log Bayes\nfactor", transform=axes.get_yaxis_transform(), va="bottom", fontsize=8
    )  # fmt: skip
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, frameon=False, fontsize=8)
    figure.suptitle("Log evidence of each run", fontsize=12)
    reasons = _reasons(table)
    if reasons:
        note = "No Bayes factor: " + "; ".join(reasons)
        figure.supxlabel("\n".join(textwrap.wrap(note, 130)), fontsize=7, color="#555555")
    return figure


def _order(table: xr.Dataset) -> list[str]:
    """Best first."""
    return [str(table["run"].values[k]) for k in np.argsort(-table["log_evidence"].values, kind="stable")]


def _reasons(table: xr.Dataset) -> list[str]:
    """Each once."""
    return list(dict.fromkeys(str(reason) for reason in table["refusal"].values if str(reason)))


def _value(value: xr.DataArray, error: xr.DataArray | None = None) -> str:
    if np.isnan(value):
        return "-"
    return f"{float(value):.2f}" if error is None else f"{float(value):.1f} ± {float(error):.1f}"
