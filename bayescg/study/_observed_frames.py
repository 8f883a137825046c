"""Held-out frames of a trajectory as what predictions are compared with."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float

from bayescg.data import UnitSystem, open_frames, radial_distribution, statistical_inefficiency
from bayescg.data._frames import FrameSource
from bayescg.errors import InputError
from bayescg.study._frame_columns import FrameColumns, frame_columns, waves
from bayescg.study._held_out_frames import BLOCK, frame_identities
from bayescg.study._observable import Observable
from bayescg.study._observed_values import ObservedValues
from bayescg.study._prediction_target import PredictionTarget

LEAST_FRAMES = 10
"""Held-out frames from whose scatter a standard error is told."""


def observed_in_frames(
    path: Path,
    names: Sequence[str],
    functions: Mapping[str, Observable],
    *,
    target: PredictionTarget,
    units: UnitSystem,
    learned: FrameSource,
) -> dict[str, ObservedValues]:
    """What of the predicted observables frames of the target's state show: g(r), pressure, S(k), functions of a frame.

    Standard errors know of the correlation between frames. The energies of frames are another system's where the model is
    coarse-grained, and are not compared.

    Args:
        path: netCDF of mapped frames.
        names: of the predicted observables.
        functions: of a frame, by name.
        target: state and system of the prediction.
        units: unit system.
        learned: the frames that the run has learned from.

    Raises:
        InputError: not a netCDF of frames, fewer than ten, another system, box or temperature, frames that the run has
            learned from, or nothing to compare.
    """
    source = open_frames(path, units=units, temperature=target.temperature)
    if source.n_frames < LEAST_FRAMES:
        raise InputError(
            f"{path}: {source.n_frames} frames are too few for a standard error; give at least {LEAST_FRAMES}, better hundreds"
        )
    refuse_other_frames(
        path, source, target, own=learned.topology.site_types, known=frozenset(frame_identities(learned))
    )
    found: dict[str, ObservedValues] = {}
    if "rdf" in names and target.distance_edges is not None:
        rdf = radial_distribution(source, edges=target.distance_edges, exclude="nothing")
        found["rdf"] = ObservedValues(rdf["r"].values, rdf["rdf"].values, rdf["rdf_se"].values, True)
    asked = [name for name in names if name == "structure-factor"]
    own = {name: one for name, one in functions.items() if name in names}
    columns = frame_columns(asked, own, target, [], n_replicas=1, kT=1.0, key=jax.random.key(0))
    whole = FrameColumns([part._replace(every=1) for part in columns.parts])
    series, pressure, lengths = _series(source, whole)
    if "pressure" in names and pressure is not None:
        found["pressure"] = _averaged(np.array([np.nan]), pressure[:, None], lengths)
    for part in whole.parts:
        own_series = whole.of(part.name, series)
        if not np.isfinite(own_series).all():
            raise InputError(f"{path}: {part.name} of these frames is NaN or infinite; leave it out")
        found[part.name] = _averaged(_places(part.name, own, target), own_series, lengths)
    if not found:
        raise InputError(
            f"{path}: frames show g(r), pressure where they hold it, S(k) and functions of a frame, of which none is predicted;"
            " name one"
        )
    return found


def refuse_other_frames(
    path: Path, source: FrameSource, target: PredictionTarget, *, own: Sequence[str], known: Collection[bytes]
) -> None:
    """Raise an InputError for frames of another system or box, or such as the run has learned from.

    Args:
        path: of the frames, for the message.
        source: the frames.
        target: system and box.
        own: site types of the run; in a system of another size only their set is compared.
        known: identities of the run's frames.
    """
    given = source.topology.site_types
    if source.topology.n_sites != target.n_sites:
        raise InputError(
            f"{path}: {source.topology.n_sites} sites, and {target.n_sites} are predicted; give frames of that system"
        )
    if set(given) != set(own) or (len(own) == len(given) and tuple(given) != tuple(own)):
        raise InputError(
            f"{path}: sites of types {_in_words(given)}, and the run has {_in_words(own)}, or in another order; give frames of"
            " the run's system"
        )
    for block in source.blocks(BLOCK):
        if not np.allclose(block.box, target.box, rtol=1e-6):
            raise InputError(
                f"{path}: box {block.box[0].tolist()}, and that of the prediction is {np.asarray(target.box).tolist()}; give"
                " frames of the same box"
            )
    learned = sum(one in known for one in frame_identities(source))
    if learned:
        raise InputError(f"{path}: the run has learned from {learned} of these frames; give others")


def _series(source: FrameSource, columns: FrameColumns) -> tuple[np.ndarray, np.ndarray | None, list[int]]:
    """Columns [frame column] and pressure of every frame, and the lengths of the trajectories."""
    series, pressures, labels = [], [], []
    for block in source.blocks(BLOCK):
        series.append(columns(np.asarray(block.positions)[None])[0])
        labels.append(np.asarray(block.trajectory))
        if block.pressure is not None:
            pressures.append(np.asarray(block.pressure))
    whole = np.concatenate(labels)
    lengths = np.diff([0, *np.flatnonzero(np.diff(whole)) + 1, len(whole)])  # labels need not rise
    pressure = np.concatenate(pressures) if len(pressures) == len(series) else None
    return np.concatenate(series), pressure, lengths.tolist()


def _averaged(
    at: np.ndarray, series: Float[np.ndarray, "frame column"], lengths: Sequence[int]
) -> ObservedValues:
    """Means with standard errors from the frames' autocorrelation, NaN of what doesn't vary: it is not known exactly."""
    varying = np.ptp(series, axis=0) > 0.0
    error = np.full(series.shape[1], np.nan)
    if varying.any():
        some = series[:, varying]
        g = statistical_inefficiency(some, lengths=list(lengths))
        error[varying] = some.std(axis=0, ddof=1) * np.sqrt(g / len(some))
    return ObservedValues(at, series.mean(axis=0), error, True)


def _places(name: str, own: Mapping[str, Observable], target: PredictionTarget) -> np.ndarray:
    """Where on the predicted function's grid the columns lie; one NaN for a number."""
    if name not in own:
        return waves(target).k
    n_values = own[name].n_values(target.n_sites, len(target.box))
    return np.array([np.nan]) if n_values is None else own[name].places(n_values)


def _in_words(types: Sequence[str]) -> str:
    """Each type once; of many the first."""
    each = list(dict.fromkeys(types))
    return ", ".join(each[:4]) + (" ..." if len(each) > 4 else "")
