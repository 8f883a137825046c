"""Frames that a stored run did not learn from, and how well its posterior predicts them."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bayescg import analysis
from bayescg.data import open_frames
from bayescg.data._frames import FrameSource
from bayescg.errors import InputError
from bayescg.physics import SufficientStatistics, reduce
from bayescg.study._stored_fits import StoredFit

BLOCK = 64
"""Frames reduced at a time."""


def refuse_missing(path: Path) -> None:
    """Raise an InputError where there is no such file."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; name a netCDF of mapped frames of the run's system")


def read_held_out(path: Path, fit: StoredFit) -> SufficientStatistics:
    """Further frames of the run's system, reduced to its features.

    Args:
        path: netCDF of mapped frames.
        fit: the run.

    Raises:
        InputError: not a netCDF of frames, another system, box or temperature, or frames that the run has learned from.
    """
    survey = fit.loaded.survey
    source = open_frames(path, units=fit.pipeline.units, temperature=fit.model.temperature)
    own = survey.source.topology
    if source.topology.site_types != own.site_types:
        raise InputError(
            f"{path}: {source.topology.n_sites} sites, and the run has {own.n_sites}, or of other types; give frames of"
            " the run's system"
        )
    box = next(iter(source.blocks(1))).box[0]
    if not np.allclose(box, survey.box, rtol=1e-6):
        raise InputError(
            f"{path}: box {box.tolist()}, but the run's is {survey.box.tolist()}; give frames of the same box"
        )
    learned = set(frame_identities(survey.source))
    known = sum(one in learned for one in frame_identities(source))
    if known:
        raise InputError(f"{path}: the run has learned from {known} of these frames; give others")
    return reduce(source.blocks(BLOCK), fit.loaded.potential)


def frame_identities(source: FrameSource) -> Iterator[bytes]:
    """What tells configurations apart, to the precision of a stored frame.

    Args:
        source: the frames.
    """
    for block in source.blocks(BLOCK):
        for positions in np.asarray(block.positions, np.float32):
            yield hashlib.sha256(positions.tobytes()).digest()


def held_out_score(fit: StoredFit, frames: SufficientStatistics, draws: np.ndarray) -> dict[str, float]:
    """Relative entropy of held-out frames and of the run's own, up to a constant that they share [nats/frame].

    Args:
        fit: the run.
        frames: those held out.
        draws: of the posterior, calibrated [draw coordinate].
    """
    prior, surrogate = fit.loaded.prior, fit.bank.surrogate()
    found = [
        analysis.held_out_relative_entropy(
            some, prior, surrogate, draws=draws, mode=np.asarray(fit.mode.z), anchor=fit.anchor
        )
        for some in (frames, fit.loaded.statistics)
    ]
    return {
        "held_out_frames": float(frames.n_frames),
        "held_out_relative_entropy": found[0].predictive,
        "held_out_se": found[0].standard_error,
        "own_relative_entropy": found[1].predictive,
        "own_se": found[1].standard_error,
        "held_out_effective_frames": found[0].effective_frames,
    }


def held_out_sentences(scores: dict[str, float]) -> list[str]:
    """In words.

    Example:
        >>> names = ("held_out_relative_entropy", "own_relative_entropy", "held_out_se", "own_se", "held_out_frames")
        >>> held_out_sentences(dict(zip(names, (-3.0, -3.1, 0.03, 0.04, 200.0))))[0]
        'Held-out relative entropy of 200 frames: -3.000 ± 0.030 nats per frame, 0.100 ± 0.050 above that of the own frames.'
    """
    above = scores["held_out_relative_entropy"] - scores["own_relative_entropy"]
    error = np.hypot(scores["held_out_se"], scores["own_se"])
    return [
        f"Held-out relative entropy of {scores['held_out_frames']:.0f} frames: {scores['held_out_relative_entropy']:.3f} ±"
        f" {scores['held_out_se']:.3f} nats per frame, {above:.3f} ± {error:.3f} above that of the own frames."
    ]
