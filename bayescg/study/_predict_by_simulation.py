"""Predictions from new simulations of some of the draws: dynamics, other states, other systems."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from bayescg.data import UnitSystem
from bayescg.errors import InputError
from bayescg.inference import Prior
from bayescg.study._mean_force import mean_force_from_simulations
from bayescg.study._observable import Observable
from bayescg.study._predicted_observables import FROM_RDF, LINEAR_IN_RDF, MADE_FROM, NOT_GIVEN
from bayescg.study._prediction_parts import (
    FoundParts,
    PredictedPart,
    first_shell,
    rdf_functionals,
    simulated_part,
)
from bayescg.study._prediction_target import PredictionTarget, SimulationBudget
from bayescg.study._trajectory_observable import TrajectoryObservable

if TYPE_CHECKING:
    from bayescg.study._simulate_draws import SimulatedDraws


def simulated_parts(
    names: Sequence[str],
    prior: Prior,
    z: Float[np.ndarray, "draw coordinate"],
    *,
    target: PredictionTarget,
    budget: SimulationBudget,
    masses: Float[np.ndarray, " site"],
    units: UnitSystem,
    configurations: Float[np.ndarray, "configuration site dim"],
    start_box: Float[np.ndarray, " dim"],
    reasons: Mapping[str, str],
    own: Mapping[str, Observable | TrajectoryObservable],
    dynamics: str,
    key: Key[Array, ""],
    tell: Callable[[str], None],
) -> FoundParts:
    """The observables at the first `budget.n_draws` of evenly mixed draws, notes on how they were simulated, and checks.

    Args:
        names: of the observables.
        prior: makes the potential of a draw.
        z: unconstrained coordinates of all draws.
        target: state and system.
        budget: how much is simulated.
        masses: of the run's own sites.
        units: unit system.
        configurations: starts, in `start_box`.
        start_box: [length].
        reasons: why each is simulated.
        own: those of the user's own, by name.
        dynamics: `newton` or `langevin`, where velocities are needed.
        key: PRNG key.
        tell: hears what is being done.

    Raises:
        InputError: what can't be simulated, or none of them can be had from what was.
    """
    from bayescg.study._simulate_draws import simulate_draws

    potentials = [prior.potential(jnp.asarray(point)) for point in z[: budget.n_draws]]
    asked = tuple(dict.fromkeys(one for name in names for one in MADE_FROM.get(name, (name,))))
    tell(f"simulating {', '.join(asked)} at {len(potentials)} draws")
    made = simulate_draws(
        potentials, observables=[own.get(name, name) for name in asked], target=target, budget=budget, masses=masses, units=units,
        configurations=configurations, start_box=start_box, key=key, dynamics=dynamics, tell=tell,
    )  # fmt: skip
    notes = [
        f"Simulated: {budget.n_replicas} replicas of {len(potentials)} draws, {made.n_frames} frames each,"
        f" {made.particle_steps:.3g} particle-steps in all.",
        *made.notes,
    ]
    parts: list[PredictedPart] = []
    lost = {name: _why_lost(name, made) for name in names if name not in FROM_RDF and name not in made.values}
    for name in names:
        if name in lost:
            continue
        try:
            parts.append(_part(name, made, target, units, reasons[name], own.get(name)))
        except InputError as error:  # g(r) that is noise everywhere has no logarithm
            lost[name] = str(error)
    return FoundParts(parts, notes, lost, made.checks)


def _why_lost(name: str, made: "SimulatedDraws") -> str:
    """What was said of an observable, or of what it is made from."""
    told = [made.lost[one] for one in (name, *MADE_FROM.get(name, ())) if one in made.lost]
    given_up = [note.partition(NOT_GIVEN)[2] for note in made.notes if NOT_GIVEN in note]
    return (told or given_up or made.notes[-1:] or ["no reason is known"])[0]


def _part(
    name: str,
    made: "SimulatedDraws",
    target: PredictionTarget,
    units: UnitSystem,
    reason: str,
    own: Observable | TrajectoryObservable | None,
) -> PredictedPart:
    if own is not None:
        return simulated_part(
            name, made.values[name], made.frame_variance.get(name), reason, common_seeds=made.common_seeds,
            long_name=own.in_words,
        )  # fmt: skip
    values = made.values["rdf" if name in FROM_RDF else name]
    variance = None if name in LINEAR_IN_RDF else made.frame_variance.get("rdf" if name in FROM_RDF else name)
    if name == "potential-of-mean-force":
        values, variance = mean_force_from_simulations(
            values, variance, kT=units.kT(target.temperature), unit=units.unit("energy")
        )
    if name in LINEAR_IN_RDF:
        assert target.distance_edges is not None
        rdf = np.asarray(values.transpose("draw", "simulation", "r"), float)
        shell = first_shell(np.nanmean(rdf, axis=(0, 1)), target.distance_edges)
        functionals = rdf_functionals(target, shell=shell)
        values = values.isel(r=0, drop=True).copy(data=functionals.of(name, rdf))
        values.attrs = {"units": "1" if name == "coordination" else units.unit("length^3")}
        if name == "coordination":
            values.attrs["shell"] = functionals.shell
    return simulated_part(name, values, variance, reason, common_seeds=made.common_seeds)
