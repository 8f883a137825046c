"""The table of a basis sweep: scores, their errors, what separates bias from variance, and what is wrong with them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from bayescg.analysis._linear_basis import LinearBasis
from bayescg.analysis._scores import score_inefficiency, spread_of_sum
from bayescg.physics import ReferenceBank, SufficientStatistics

INDEPENDENT_FRAMES = 40.0
"""Independent frames below which no estimate of the long-run covariance is to be trusted."""
FRAMES_PER_PARAMETER = 10.0
"""Independent frames per parameter below which formulas of first order in 1/N are not to be trusted."""

RELATIVE = "relative to that of the surrogate's anchor"
LONG_NAMES = {
    "train_relative_entropy": f"minus the mean log density of the frames fitted to, {RELATIVE}",
    "held_out_relative_entropy": f"minus the mean log density of further frames, {RELATIVE}",
    "held_out_se": "its standard error; of the difference to the best basis",
    "block_cv": f"minus the mean log density of blocks of frames left out of the fit, {RELATIVE}",
    "difference": "block cross-validation score minus the best one",
    "difference_se": "standard error of that difference, from its spread over blocks and finite simulation",
    "tic": "Takeuchi's information criterion, train_relative_entropy + tic_gap",
    "tic_gap": "expected held-out minus train relative entropy, tr((H + Λ/N)⁻¹ J) / N",
    "variance": "expected excess of the held-out relative entropy over that of endless data",
    "bias_proxy": "mean of train and cross-validated relative entropy, above the smallest over bases",
}


class FittedBasis(NamedTuple):
    """One basis: its fit to all frames, the scores of its blocks, and what the formulas say.

    Attributes:
        eta: coefficients of the finest features, fitted to all frames [feature].
        train: relative entropy of all frames, relative to the anchor [nats/frame].
        held_out: of each further frame [frame]; empty where there are none.
        blocks: of each block under the fit without it [block].
        gap: tr(H_p⁻¹ J)/N [nats/frame].
        variance: tr(H H_p⁻¹ J H_p⁻¹)/2N [nats/frame].
        effective_parameters: tr(H_p⁻¹ H).
        effective_frames: smallest effective number of reference frames of any fit.
        converged: whether every fit was found.
    """

    eta: np.ndarray
    train: float
    held_out: np.ndarray
    blocks: np.ndarray
    gap: float
    variance: float
    effective_parameters: float
    effective_frames: float
    converged: bool


def score_table(fitted: Sequence[FittedBasis], edges: np.ndarray) -> dict[str, np.ndarray]:
    share = np.diff(edges) / edges[-1]
    train = np.array([one.train for one in fitted])
    gap = np.array([one.gap for one in fitted])
    table = {
        "train_relative_entropy": train,
        "block_cv": np.array([share @ one.blocks for one in fitted]),
        "tic": train + gap,
        "tic_gap": gap,
        "variance": np.array([one.variance for one in fitted]),
        "effective_parameters": np.array([one.effective_parameters for one in fitted]),
        "effective_reference_frames": np.array([one.effective_frames for one in fitted]),
        "converged": np.array([one.converged for one in fitted]),
    }
    if fitted[0].held_out.size:
        table["held_out_relative_entropy"] = np.array([one.held_out.mean() for one in fitted])
    return table


def differences(
    fitted: Sequence[FittedBasis], edges: np.ndarray, best: int, bank: ReferenceBank | None
) -> tuple[np.ndarray, np.ndarray]:
    """Of the cross-validated scores to the best, and their standard errors."""
    share = np.diff(edges) / edges[-1]
    apart = np.stack([one.blocks - fitted[best].blocks for one in fitted])
    errors = np.array([spread_of_sum(share * blocks) for blocks in apart])
    if bank is not None:
        influence = [bank.log_z_influence(one.eta[None], weights=np.ones(1)) for one in fitted]
        errors = np.hypot(errors, [np.linalg.norm(own - influence[best]) for own in influence])
    return apart @ share, errors


def held_out_error(
    fitted: Sequence[FittedBasis], held_out: SufficientStatistics, beta: float, best: int
) -> np.ndarray:
    """Standard error of held-out differences to the best basis, with the frames' autocorrelation."""
    energies = np.stack([beta * held_out.features @ (one.eta - fitted[best].eta) for one in fitted], axis=1)
    return energies.std(axis=0, ddof=1) * np.sqrt(score_inefficiency(held_out) / held_out.n_frames)


def bias_proxy(table: dict[str, np.ndarray]) -> np.ndarray:
    """Endless data lie half way between train and held-out: the one gains what the other loses."""
    endless = 0.5 * (table["train_relative_entropy"] + table["block_cv"])
    return endless - np.min(np.where(table["converged"], endless, np.inf))


def warnings_of(
    table: dict[str, np.ndarray],
    bases: Sequence[LinearBasis],
    g: float,
    independent: float,
    recommended: LinearBasis,
) -> list[str]:
    """What is wrong with a sweep, one sentence each."""
    found = []
    if len(bases) > 1 and recommended.size == max(basis.size for basis in bases):
        found.append("The largest basis is the recommended one: the data may carry more; sweep further.")
    lost = [basis.label for basis, good in zip(bases, table["converged"], strict=True) if not good]
    if lost:
        found.append(
            f"The best fit of {', '.join(lost)} lies beyond reach of the reference simulations: add references near it, or"
            " give it a prior."
        )
    doubtful = [basis.label for basis, good in zip(bases, table["plug_in_trusted"], strict=True) if not good]
    if independent < INDEPENDENT_FRAMES:
        found.append(
            f"The frames are worth {independent:.0f} independent ones (g_max = {g:.1f}): no formula for the gap or the"
            " variance is to be trusted, and the blocks say little; use a longer trajectory."
        )
    elif doubtful:
        found.append(
            f"{independent:.0f} independent frames (g_max = {g:.1f}) are too few for the formulas at {', '.join(doubtful)}:"
            " gap and variance are under-estimated there; go by the cross-validated score."
        )
    return found


def sweep_dataset(
    table: dict[str, np.ndarray],
    fitted: Sequence[FittedBasis],
    bases: Sequence[LinearBasis],
    edges: np.ndarray,
    *,
    attrs: dict[str, str | int | float],
) -> xr.Dataset:
    plain = {
        "effective_parameters": "parameters that the data set, tr((H + Λ/N)⁻¹ H)",
        "effective_reference_frames": "smallest effective number of reference frames of any fit",
        "converged": "whether every fit was found within reach of the references",
        "plug_in_trusted": "whether there are enough independent frames for tic_gap and variance",
    }
    variables: dict[str, Any] = {
        name: ("basis", values, {"units": "nats/frame", "long_name": LONG_NAMES[name]})
        for name, values in table.items()
        if name in LONG_NAMES
    }
    variables |= {
        name: ("basis", table[name], {"units": "1", "long_name": text}) for name, text in plain.items()
    }
    scores = {"units": "nats/frame", "long_name": "cross-validated relative entropy of each block"}
    variables["block_score"] = (("basis", "block"), np.stack([one.blocks for one in fitted]), scores)
    variables["coefficients"] = (
        ("basis", "feature"), np.stack([one.eta for one in fitted]), {"long_name": "η of the finest features"}
    )  # fmt: skip
    coordinates = {
        "basis": [basis.label for basis in bases],
        "basis_size": (
            "basis",
            [basis.size for basis in bases],
            {"units": "1", "long_name": "number of coefficients"},
        ),
        "block_first_frame": ("block", edges[:-1]),
        "block_n_frames": ("block", np.diff(edges)),
    }
    return xr.Dataset(variables, coords=coordinates, attrs=attrs)
