"""What an observable needs of the system, asked before anything is computed or simulated."""

from collections.abc import Sequence

import numpy as np

from bayescg.errors import InputError
from bayescg.physics import PairPotential, Potential
from bayescg.physics._compressibility import NEAR
from bayescg.physics._potential import terms_of
from bayescg.study._observable import BUILT_IN
from bayescg.study._predicted_observables import FROM_RDF, OBSERVABLES
from bayescg.study._prediction_target import PredictionTarget

OF_ANY_SYSTEM = ("energy", "heat-capacity", "diffusion", "velocity-autocorrelation")
"""Observables that an open box, or a potential of more than pairs, has too."""


def missing_need(name: str, potential: Potential, target: PredictionTarget) -> str | None:
    """What a system lacks for an observable, in words; None where it lacks nothing.

    Args:
        name: of `OBSERVABLES`, or of a function of the user's own.
        potential: of the run.
        target: of the prediction.

    Example:
        >>> from bayescg.physics import DoubleWell
        >>> well = PredictionTarget(1.0, 1, np.full(1, np.inf), None, 0.0)
        >>> missing_need("energy", DoubleWell(1.0, 1.0), well)
        >>> missing_need("structure-factor", DoubleWell(1.0, 1.0), well)
        'needs a periodic box of three dimensions, which this study has not'
    """
    if name in OF_ANY_SYSTEM:
        return None
    if name not in OBSERVABLES:  # a function of the user's own
        return None
    if name in BUILT_IN:
        return None if np.shape(target.box) == (3,) else "needs three dimensions, which this study has not"
    closed = np.shape(target.box) == (3,) and bool(np.all(np.isfinite(target.box)))
    if name == "structure-factor":
        return None if closed else "needs a periodic box of three dimensions, which this study has not"
    if not (closed and all(isinstance(term, PairPotential) for term in terms_of(potential))):
        return "needs a pair potential in a periodic box of three dimensions, which this study has not"
    if name == "diffusion-infinite" and np.ptp(target.box) > 1e-6 * np.min(target.box):
        return "needs a cube, of which the correction for the size of the box is known; diffusion itself needs none"
    edges = target.distance_edges
    if name in ("rdf", "compressibility", *FROM_RDF) and edges is None:
        return "needs distance bins, and rdf_bin of [prediction] is longer than half the box; choose a shorter one"
    if name == "compressibility" and edges is not None and edges[-1] < target.cutoff * (1.0 - NEAR):
        return (
            f"needs pair counts up to the cutoff {target.cutoff:g}, and the bins end at {edges[-1]:g}; choose rdf_bin of"
            f" [prediction] so that an edge lies between the cutoff and half the box, {float(np.min(target.box)) / 2.0:g},"
            " and run the study again, or leave compressibility out"
        )
    return None


def possible_observables(
    names: Sequence[str],
    potential: Potential,
    target: PredictionTarget,
    *,
    asked: bool,
    run: str,
) -> tuple[tuple[str, ...], list[str]]:
    """Those that the system has, and notes on the others.

    Args:
        names: of `OBSERVABLES`.
        potential: of the run.
        target: of the prediction.
        asked: whether the names were asked for, so that none may be left out.
        run: whose name a message begins with.

    Raises:
        InputError: one that was asked for and can't be had.

    Example:
        >>> from bayescg.physics import DoubleWell
        >>> well = PredictionTarget(1.0, 1, np.full(1, np.inf), None, 0.0)
        >>> possible_observables(("rdf", "energy"), DoubleWell(1.0, 1.0), well, asked=False, run="runs/well")[0]
        ('energy',)
    """
    lacks = {name: missing_need(name, potential, target) for name in names}
    left_out: dict[str, list[str]] = {}
    for name, lack in lacks.items():
        if lack is not None:
            left_out.setdefault(lack, []).append(name)
    if asked and left_out:
        lack, missed = next(iter(left_out.items()))
        raise InputError(f"{run}: {missed[0]} {lack}")
    notes = [f"Left out: {', '.join(missed)}; each {lack}." for lack, missed in left_out.items()]
    return tuple(name for name, lack in lacks.items() if lack is None), notes
