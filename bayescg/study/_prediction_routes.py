"""By which method each observable of a prediction is found, and why."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bayescg.analysis._reweighting_reach import LEAST_TERMS, Reach, reweighting_reach, variance_terms
from bayescg.data import UnitSystem
from bayescg.errors import InputError
from bayescg.inference import Prior
from bayescg.physics import ReferenceBank
from bayescg.study._predict_by_reweighting import draw_coefficients
from bayescg.study._predicted_observables import needs_of
from bayescg.study._prediction_target import PredictionTarget

VARIANCES = {"heat-capacity": "energy", "compressibility": "virial"}
"""Observables that are made of a variance, and whose."""


class Routes(NamedTuple):
    """The choice.

    Attributes:
        reach: verdict on the references' overlap with the draws; None where it does not matter.
        chosen: of every observable `reweighting` or `simulation`, and the reason.
        notes: what is to be said of it besides.

    Example:
        >>> Routes(None, {"diffusion": ("simulation", "it needs velocities")}, []).by("simulation")
        ['diffusion']
    """

    reach: Reach | None
    chosen: dict[str, tuple[str, str]]
    notes: list[str]

    def by(self, method: str) -> list[str]:
        """Names of the observables that come by a method."""
        return [name for name, (own, _) in self.chosen.items() if own == method]


def prediction_routes(
    names: Sequence[str],
    bank: ReferenceBank,
    prior: Prior,
    z: Float[np.ndarray, "draw coordinate"],
    *,
    target: PredictionTarget,
    home: PredictionTarget,
    units: UnitSystem,
    simulation: bool,
    run: str,
    of_trajectories: Collection[str] = (),
) -> Routes:
    """Reweighting where the references keep the statistics, in their box, and overlap with all draws; else simulation.

    Args:
        names: of the observables.
        bank: the run's references.
        prior: makes the potential of a draw.
        z: unconstrained coordinates of the draws.
        target: for what.
        home: the run's own state and system.
        units: unit system.
        simulation: whether new simulations are allowed.
        run: whose name a message begins with.
        of_trajectories: those among the names that are functions of a trajectory of the user's own.

    Raises:
        InputError: an observable that needs a simulation where none is allowed.
    """
    same = target.n_sites == home.n_sites and np.allclose(target.box, home.box, rtol=1e-9)
    kt, reach, heavy = units.kT(target.temperature), None, {}
    if same and any(needs_of(name) == "statistics" for name in names):
        eta = draw_coefficients(prior, z)
        reach = reweighting_reach(bank, eta / (bank.beta * kt))
        if reach.reached:
            heavy = _heavy_variances(names, bank, eta, kT=kt, reach=reach)
    at = f" at {target.temperature:g} {units.temperature}" if target.temperature != home.temperature else ""
    chosen, notes = {}, []
    for name in names:
        needs = "positions and velocities in time" if name in of_trajectories else needs_of(name)
        if needs != "statistics":
            reason = f"it needs {needs} along trajectories, which the references don't keep"
        elif reach is None:
            reason = (
                f"{target.n_sites} sites in {in_words(target.box)} are another system than the references' {home.n_sites} in"
                f" {in_words(home.box)}"
            )
        elif name in heavy and simulation:
            reason = f"{heavy[name]}{at}"
        elif reach.reached:
            chosen[name] = (
                "reweighting",
                f"a function of statistics that the references keep, and {reach.sentence}{at}",
            )
            if name in heavy:
                notes.append(
                    f"The error bar of {name} may be far too small: {heavy[name]}{at}; allow new simulations, or add references"
                    " there."
                )
            continue
        else:
            reason = f"{reach.sentence}{at}"
        if not simulation:
            raise InputError(
                f"{run}: {name} can't be reweighted: {reason}; new simulations are forbidden, allow them or leave it out"
            )
        chosen[name] = ("simulation", reason)
    return Routes(reach, chosen, notes)


def _heavy_variances(
    names: Sequence[str],
    bank: ReferenceBank,
    eta: Float[np.ndarray, "draw feature"],
    *,
    kT: float,
    reach: Reach,
) -> dict[str, str]:
    """Observables whose variance may hang on few reference frames, in words."""
    found = {}
    for name in [one for one in names if one in VARIANCES]:
        columns = bank.features
        if VARIANCES[name] == "virial":
            columns = np.concatenate([r.virial.reshape(r.n_frames, -1) for r in bank.references])
        if columns.shape[1] != eta.shape[1]:  # virials are missing, which is refused later
            continue
        terms = variance_terms(bank, eta / (bank.beta * kT), eta, columns, reach=reach)
        if terms < LEAST_TERMS:
            found[name] = (
                f"its variance of the {VARIANCES[name]} hangs on {terms:.0f} effective reference frames at the worst draw,"
                f" {LEAST_TERMS:.0f} are needed"
            )
    return found


def in_words(box: np.ndarray) -> str:
    """Edge lengths.

    Example:
        >>> in_words(np.array([2.0, 2.0, 3.5]))
        '2 x 2 x 3.5'
    """
    return " x ".join(f"{edge:.4g}" for edge in box)
