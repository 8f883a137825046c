"""Figures of how far to trust the posterior: what the data decide, and whether fresh simulations agree."""

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from bayescg.output._canvas import LIMIT, POSTERIOR, PRIOR, finish, legend_above, panels
from bayescg.output._result import require_variables

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

VERIFICATION_VARIABLES = ("rms_error", "noise_floor", "limit", "median_limit")


def figure_fisher(tree: xr.DataTree) -> "Figure":
    """How much the data say about each combination of parameters, in units of what the prior says.

    Args:
        tree: A result with the group `identifiability`.

    Example:
        >>> relative = np.array([80.0, 0.5])
        >>> spectrum = xr.Dataset(
        ...     {"prior_relative": ("direction", relative), "contraction": ("direction", relative / (1 + relative))}
        ... )
        >>> tree = xr.DataTree.from_dict({"posterior": xr.Dataset(), "identifiability": spectrum})
        >>> figure_fisher(tree).get_suptitle()
        'Fisher spectrum: 1 of 2 combinations set by the data'
    """
    from matplotlib.ticker import MaxNLocator

    directions = require_variables(tree, "identifiability", "prior_relative", "contraction")
    relative = directions["prior_relative"].values.astype(float)
    contraction = directions["contraction"].values.astype(float)
    order = np.argsort(relative)[::-1]
    relative, contraction = relative[order], contraction[order]
    direction = np.arange(1, len(relative) + 1)
    # what is zero but for rounding has no place on a logarithmic axis: it is drawn at the bottom
    floor = max(float(relative.max()), 1.0) * 1e-14
    shown = np.maximum(relative, floor)

    figure, (top, bottom) = panels(2, ratios=(1.6, 1), size=(7.0, 5.6))
    by_data = relative > 1
    top.vlines(direction, 1, shown, color="#CCCCCC", linewidth=1, zorder=1)
    for chosen, color, mark, hatch, label in (
        (by_data, POSTERIOR, "o", None, "the data decide"),
        (~by_data, LIMIT, "s", "//", "the prior decides"),
    ):
        if chosen.any():
            top.plot(direction[chosen], shown[chosen], mark, color=color, label=label)
            bottom.bar(
                direction[chosen], contraction[chosen], color=color, width=0.6, hatch=hatch, edgecolor="white"
            )
    top.axhline(1, color="black", linewidth=1, linestyle="--", label="as much data as prior (λ = 1)")
    top.set_yscale("log")
    top.set_ylabel("data against prior λ")
    legend_above(top, 3)
    bottom.axhline(0.5, color="black", linewidth=1, linestyle="--")
    bottom.set_ylim(0, 1.05)
    bottom.set_ylabel("contraction λ / (1 + λ)")
    bottom.set_xlabel("combination of parameters, best constrained first")
    # a few bars keep the width that they have among many
    margin = max(0.6, (8 - len(direction)) / 2)
    bottom.set_xlim(1 - margin, len(direction) + margin)
    if len(direction) <= 12:
        bottom.set_xticks(direction)
    else:
        bottom.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    return finish(
        figure, tree, f"Fisher spectrum: {by_data.sum()} of {len(direction)} combinations set by the data"
    )


def figure_verification(tree: xr.DataTree) -> "Figure":
    """Fresh simulations at posterior draws against what the reweighted references said, round by round.

    Shown is the shift of the posterior mean that the error at each draw would cause, in calibrated standard deviations
    per direction. The rule: the noise of the fresh simulation at most 0.5 at every draw, or the round tests nothing;
    the median over draws at most 0.3 or 1.3 times the median noise, and every draw's own at most 0.7 or twice its
    noise, or more where few directions share the noise.

    Args:
        tree: A result with the group `verification`.

    Example:
        >>> rounds = {
        ...     name: (("round", "draw_v"), [[value, value]])
        ...     for name, value in (("rms_error", 0.2), ("noise_floor", 0.25), ("limit", 0.7))
        ... }
        >>> group = xr.Dataset(rounds | {"median_limit": ("round", [0.325])}, attrs={"verdict": "passed"})
        >>> tree = xr.DataTree.from_dict({"posterior": xr.Dataset(), "verification": group})
        >>> figure_verification(tree).get_suptitle()
        'Verification: passed'
    """
    verification = require_variables(tree, "verification", *VERIFICATION_VARIABLES)
    error, floor, limit = (
        verification[name].transpose("round", ...).values.astype(float)
        for name in ("rms_error", "noise_floor", "limit")
    )
    median_limit = verification["median_limit"].values.astype(float)
    rounds = np.arange(1, len(error) + 1)
    spread = np.linspace(-0.3, 0.3, error.shape[1]) if error.shape[1] > 1 else np.zeros(1)
    x = (rounds[:, None] + spread).ravel()
    figure, (axes,) = panels(1, size=(min(3.9 + 1.1 * len(rounds), 8.5), 4.6))
    axes.plot(x, error.ravel(), "o", color=POSTERIOR, ms=4.5, label="one draw")
    axes.plot(x, limit.ravel(), "_", color=LIMIT, ms=9, mew=1.8, label="limit for each draw")
    axes.plot(x, floor.ravel(), "_", color=PRIOR, ms=9, mew=1.8, label="noise of its simulation")
    for level, color, style, label in (
        (np.nanmedian(error, axis=1), POSTERIOR, "-", "median over draws"),
        (median_limit, LIMIT, "--", "limit for the median"),
    ):
        axes.hlines(
            level, rounds - 0.38, rounds + 0.38, color=color, linestyle=style, linewidth=1.8, label=label
        )
    axes.axhline(0.5, color=PRIOR, linewidth=1.2, linestyle=":", label="most noise that tests anything")
    # too much noise excuses no error that is above its limit all the same
    beyond = (np.nanmedian(error, axis=1) > median_limit) | np.any(error > limit, axis=1)
    untested = (np.nanmax(floor, axis=1) > 0.5) & ~beyond
    known = "shift" in verification.data_vars
    moved = verification["shift"].values if known else np.full(len(rounds), np.nan)
    texts = [_round_text(int(k), bool(u), float(m)) for k, u, m in zip(rounds, untested, moved, strict=True)]
    axes.set_xticks(rounds, texts, fontsize=8)
    axes.set_xlim(0.5, len(rounds) + 0.5)
    axes.set_xlabel("verification round")
    _plain_logarithm(axes)
    axes.set_ylabel(
        "shift of the posterior mean that\nthe error would cause\n[calibrated sd per direction]", fontsize=9
    )
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return finish(figure, tree, f"Verification: {verification.attrs.get('verdict', 'not stated')}")


def _round_text(number: int, untested: bool, moved: float) -> str:
    """Under the axis, where it covers no mark."""
    text = str(number)
    if untested:
        text += "\nnot tested:\nnoise > 0.5"
    if np.isfinite(moved):
        text += f"\nposterior then\nmoved {moved:.2f} sd"
    return text


def _plain_logarithm(axes: "Axes") -> None:
    """A logarithmic axis that says 0.2 and not 2 × 10⁻¹."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
