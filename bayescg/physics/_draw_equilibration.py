"""Equilibrium sampling of many draws at once: when it may begin, and whether two kinds of start agree."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import ndtri

from bayescg.data import equilibration_cut, statistical_inefficiency
from bayescg.errors import InputError, SimulationError
from bayescg.physics._draw_simulation import AlsoOfFrames, DrawBatch, DrawSamples, joined, troubles
from bayescg.physics._engine import EngineState
from bayescg.physics._result import Result
from bayescg.physics._simulate import STUCK

CLEAR = 4.5
"""Standard errors beyond which a drift, or a difference between starts, of all draws together is one."""
PER_DRAW = 0.01
"""Chance that any draw of a set is named although its two starts agree."""
LEAST_SAMPLES = 20
"""Frames of a window."""
MOST_EXTENSIONS = 6
"""Times that half of the window is simulated again before it is given up."""


class Equilibrium(NamedTuple):
    """Equilibrium samples of all draws and how far they can be trusted.

    Attributes:
        samples: the last frames of every replica.
        state: of the replicas at the end.
        usable: which replicas neither failed nor got stuck [draw replica].
        drift: of the energy between the halves of the window, all draws together [standard error].
        between_starts: difference of the energy between two kinds of start, all draws together [standard error].
        apart: draws whose own two starts differ more than chance lets the worst of all draws do.
        n_discarded: samples before the window.
        late_start: whether more than a fifth of the window is better cut off, even after all extensions.

    Example:
        >>> Equilibrium._fields[:3]
        ('samples', 'state', 'usable')
    """

    samples: DrawSamples
    state: EngineState
    usable: Bool[np.ndarray, "draw replica"]
    drift: float
    between_starts: float
    apart: tuple[int, ...]
    n_discarded: int
    late_start: bool


def equilibrium_samples(
    batch: DrawBatch,
    state: EngineState,
    *,
    n_samples: int,
    equilibration: int,
    also: AlsoOfFrames | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Equilibrium:
    """Sample n_samples frames of every replica after equilibration, which goes on until nothing speaks against it.

    Replicas of even number are taken to start from one place, those of odd number from another. After `equilibration`
    samples a window of n_samples is looked at: whether the energy, averaged over draws and replicas, has a start that is
    better cut off, whether its halves differ, whether the two kinds of start do. As long as one of these is so, half a
    window more is simulated and the window moves on. After six such extensions it is given up, but for a start that is
    better cut off and nothing else: with few samples chance makes one now and then. It is told as `late_start`.

    Args:
        batch: what is simulated.
        state: starts.
        n_samples: frames to keep, at least 20.
        equilibration: samples to discard in any case.
        also: further columns of every frame.
        tell: hears what is being done.

    Raises:
        InputError: fewer than 20 samples.
        SimulationError: no usable replicas at more than half of the draws, or after six extensions the energy still drifts
            or differs between the two kinds of start.

    Example:
        >>> equilibrium_samples(None, None, n_samples=5, equilibration=0)
        Traceback (most recent call last):
        ...
        bayescg.errors.InputError: equilibrium sampling: 5 samples; at least 20 are needed to see a drift
    """
    if n_samples < LEAST_SAMPLES:
        raise InputError(
            f"equilibrium sampling: {n_samples} samples; at least {LEAST_SAMPLES} are needed to see a drift"
        )
    if equilibration:
        state, _ = batch.sample(state, n_samples=equilibration)
    parts: list[DrawSamples] = []
    lengths: list[int] = []
    for extension in range(MOST_EXTENSIONS + 1):
        size = n_samples if extension == 0 else -(-n_samples // 2)
        state, new = batch.sample(state, n_samples=size, also=also)
        parts, lengths = [*parts, new], [*lengths, size]
        samples = joined(parts, last=n_samples)
        usable = ~troubles(samples)
        refuse_failed(samples, usable)
        energy = np.where(usable[..., None], batch.energies(samples), np.nan)
        found = Equilibrium(
            samples,
            state,
            usable,
            drift(over_draws(energy)),
            between_starts(over_draws(energy)),
            starts_apart(energy),
            equilibration + sum(lengths) - n_samples,
            equilibration_cut(np.nanmean(over_draws(energy), axis=0)).start > n_samples // 5,
        )
        if not found.late_start and max(abs(found.drift), abs(found.between_starts)) < CLEAR:
            return found
        if extension < MOST_EXTENSIONS:
            tell(f"not yet in equilibrium after {equilibration + sum(lengths)} samples: going on")
    if max(abs(found.drift), abs(found.between_starts)) < CLEAR:
        return found
    what = (
        f"the energy still drifts ({found.drift:+.1f} standard errors between halves)"
        if abs(found.drift) >= CLEAR
        else f"two kinds of start disagree in the energy ({found.between_starts:+.1f} standard errors)"
    )
    raise SimulationError(
        f"simulation at draws: {what} after {equilibration + sum(lengths)} samples of each replica; simulate longer, or"
        " look whether this state is a glass, a crystal or two phases"
    )


def refuse_failed(samples: DrawSamples, usable: Bool[np.ndarray, "draw replica"]) -> None:
    """Raise where more than half of the draws have fewer than two usable replicas.

    Example:
        >>> refuse_failed(None, np.ones((4, 2), bool))
    """
    lost = usable.sum(axis=1) < 2
    if 2 * lost.sum() > len(lost):
        codes, accepted = samples.result[~usable], samples.acceptance[~usable]
        first = codes[codes != Result.OK.value]
        if len(first):
            why = str(list(Result)[int(first[0])])
        elif (accepted < STUCK).all():
            why = "nearly every move of them is rejected: shorten the time step or the stride, or start from relaxed frames"
        else:
            why = "the energy terms of some frames are infinite or not a number: look whether sites overlap in the starts"
        raise SimulationError(
            f"simulation at draws: fewer than two usable replicas at {lost.sum()} of {len(lost)} draws; {why}"
        )


def over_draws(energy: Float[np.ndarray, "draw replica sample"]) -> Float[np.ndarray, "replica sample"]:
    """Averaged over the draws that have all replicas, each less its own mean: with common noise draws are no repeats.

    Example:
        >>> over_draws(np.arange(8.0).reshape(2, 2, 2)).round(3).tolist()
        [[-1.342, -0.447], [0.447, 1.342]]
    """
    whole = np.isfinite(energy).all(axis=(1, 2))
    if not whole.any():
        whole = np.isfinite(energy).any(axis=(1, 2))
    scale = np.nanstd(energy[whole], axis=(1, 2), keepdims=True)
    centred = (energy[whole] - np.nanmean(energy[whole], axis=(1, 2), keepdims=True)) / np.where(
        scale > 0.0, scale, 1.0
    )
    return np.nan_to_num(np.nanmean(centred, axis=0))


def drift(series: Float[np.ndarray, "replica sample"]) -> float:
    """Difference between the halves of a window, averaged over replicas, in its standard error.

    The error comes from the fluctuations within the halves and their autocorrelation, so that two replicas suffice.

    Example:
        >>> noise = np.random.default_rng(0).normal(size=(4, 200))
        >>> abs(drift(noise)) < 3.0, drift(noise + np.linspace(0.0, 2.0, 200)) < -5.0
        (True, True)
    """
    half = series.shape[1] // 2
    halves = np.concatenate([series[:, :half], series[:, -half:]])
    error = _mean_error(halves)
    change = series[:, :half].mean() - series[:, -half:].mean()
    return 0.0 if error == 0.0 else float(change / (error * np.sqrt(2.0 / len(series))))


def between_starts(series: Float[np.ndarray, "replica sample"]) -> float:
    """Difference between replicas of even and odd number in its standard error, likewise.

    Example:
        >>> noise = np.random.default_rng(0).normal(size=(4, 200))
        >>> abs(between_starts(noise)) < 3.0, between_starts(noise + np.array([[1.0], [0.0], [1.0], [0.0]])) > 5.0
        (True, True)
    """
    one, other = series[::2], series[1::2]
    error = _mean_error(series) * np.sqrt(1.0 / len(one) + 1.0 / len(other))
    return 0.0 if error == 0.0 else float((one.mean() - other.mean()) / error)


def starts_apart(energy: Float[np.ndarray, "draw replica sample"]) -> tuple[int, ...]:
    """The draws whose two kinds of start disagree, at a level that allows for the number of draws."""
    limit = float(ndtri(1.0 - 0.5 * PER_DRAW / len(energy)))
    return tuple(
        draw
        for draw, own in enumerate(energy)
        if np.isfinite(own).all() and abs(between_starts(own - own.mean())) > limit
    )


def _mean_error(pieces: Float[np.ndarray, "piece sample"]) -> float:
    """Standard error of one piece's mean, from all pieces, each about its own mean."""
    n = pieces.shape[1]
    own = pieces - pieces.mean(axis=1, keepdims=True)
    variance = float(np.sum(own**2) / (len(pieces) * (n - 1)))
    g = float(statistical_inefficiency(own.reshape(-1), lengths=[n] * len(pieces))[0])
    return float(
        np.sqrt(variance * g / n / (1.0 - min(g / n, 0.75)))
    )  # the pieces' means take g/n of it away
