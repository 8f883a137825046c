"""New simulations at draws of the parameters, for what reweighting can't give: dynamics, S(k), other states and boxes."""

import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import jax
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Key

from bayescg.analysis import Check
from bayescg.data import UnitSystem
from bayescg.errors import InputError, SimulationError
from bayescg.physics import Potential, Simulator
from bayescg.physics._compressibility import pair_terms_within
from bayescg.physics._draw_dynamics import DrawCorrelations, draw_correlations
from bayescg.physics._draw_equilibration import LEAST_SAMPLES, Equilibrium, equilibrium_samples
from bayescg.physics._draw_groups import LEAST_PIECE, Trajectory
from bayescg.physics._draw_simulation import DrawBatch
from bayescg.physics._engine import PairEngine
from bayescg.physics._estimate import LEAST_PIECES
from bayescg.study._frame_columns import frame_columns
from bayescg.study._observable import Observable, refuse_not_finite, told_apart
from bayescg.study._prediction_target import PredictionTarget, SimulationBudget
from bayescg.study._sampling_watch import SamplingWatch
from bayescg.study._simulated_observables import (
    DYNAMIC,
    STATIC,
    Averages,
    dynamic_values,
    static_values,
)
from bayescg.study._simulated_trajectories import FoundOnTrajectories, lengths_of, on_trajectories, tried_out
from bayescg.study._simulation_checks import SimulatedState, dynamics_checks, sampling_checks
from bayescg.study._simulation_starts import ParticleSteps, simulators, starts_of_two_kinds
from bayescg.study._trajectory_observable import TrajectoryObservable, among_trajectories

FRAMES_PER_STRIDE = 8
"""Frames of dynamics in the time between two frames of equilibrium sampling, where a correlation has to be resolved."""
FRAMES_FOR_DIFFUSION = 2
"""The same where displacements alone are wanted."""
MOST_HEATING = 0.05
"""Change of the total energy along Newton's dynamics, per site and k_B T, above which its time step is too long."""
CUT = 2
"""Parts of the time step of Metropolised sampling that dynamics takes: without the test it has the bias of its step."""
DOUBLINGS = 2
"""Times that dynamics is made twice as long where it shows no linear range or plateau."""


class SimulatedDraws(NamedTuple):
    """Observables of every simulation of every draw.

    Attributes:
        values: of each observable [draw simulation *dims], NaN where a simulation failed.
        frame_variance: variance of the instantaneous value within each simulation, where there is one.
        common_seeds: whether the j-th simulation of every draw used the same random numbers; see `simulated_split`.
        n_frames: kept of each simulation in equilibrium.
        particle_steps: of all simulations, what was thrown away included.
        seconds: wall time.
        notes: what was done, in sentences.
        checks: the classic artefacts, looked for in these simulations.
        lost: why some observables could not be had, by name.

    Example:
        >>> SimulatedDraws({}, {}, True, 200, 1e6, 3.0, []).common_seeds
        True
    """

    values: dict[str, xr.DataArray]
    frame_variance: dict[str, xr.DataArray]
    common_seeds: bool
    n_frames: int
    particle_steps: float
    seconds: float
    notes: list[str]
    checks: tuple[Check, ...] = ()
    lost: Mapping[str, str] = MappingProxyType({})


def simulate_draws(
    potentials: Sequence[Potential],
    *,
    observables: Sequence[str | Observable | TrajectoryObservable],
    target: PredictionTarget,
    budget: SimulationBudget,
    masses: Float[np.ndarray, " site"],
    units: UnitSystem,
    configurations: Float[np.ndarray, "configuration site dim"],
    start_box: Float[np.ndarray, " dim"],
    key: Key[Array, ""],
    dynamics: str = "newton",
    metropolis: bool = True,
    tell: Callable[[str], None] = lambda _: None,
) -> SimulatedDraws:
    """Simulates a state of the model at each of many draws, all of them and their replicas side by side.

    Half of the replicas start from known configurations, stretched to the new density and repeated, the others from a
    lattice that was molten at twice the temperature (in an open box from hot configurations). Sampling goes on until the
    energy neither drifts nor differs between the two. The j-th replica of every draw uses the same random numbers.
    Dynamics begins from the last configurations with fresh velocities: Newton's (`newton`), which diffusion and viscosity
    belong to, or with the friction of the budget (`langevin`), which slows diffusion down and has no viscosity, since it
    does not conserve momentum. Its time step is half of that of Metropolised sampling.

    Args:
        potentials: one for each draw, of one form.
        observables: names among `rdf`, `pressure`, `energy`, `heat-capacity`, `compressibility`, `structure-factor`,
            `chemical-potential`, `tetrahedral-order`, `bond-order`, `diffusion`, `viscosity`, `velocity-autocorrelation`, and
            functions of a frame or of a trajectory of one's own.
        target: the state.
        budget: how long.
        masses: of sites of the known configurations, all equal [mass].
        units: unit system.
        configurations: known ones, such as a bank's [length].
        start_box: their box [length].
        key: PRNG key.
        dynamics: `newton` or `langevin`.
        metropolis: sample with Metropolis' test, as the runs do, so that the time step biases nothing.
        tell: hears what is being done.

    Returns:
        Values of all simulations, for `simulated_split`. With both `diffusion` and `viscosity` in a cube the values
        `diffusion-infinite` are those of an infinite box, by Yeh's and Hummer's correction. What could not be had is left out
        and said to be `lost` where anything else remains: insertions that nearly all overlap, a function that is not finite,
        dynamics without a linear range or plateau even four times as long.

    Raises:
        InputError: an unknown observable, one that this system, its bins or its dynamics can't give, a cutoff beyond half the
            box, masses that differ, fewer than two replicas, a function that fails, or gives other than finite numbers of the
            starts, of the first frames or of trajectories from the starts.
        SimulationError: no equilibrium, more than half of the draws lost, or Newton's dynamics that heats a draw.
        BayescgError: nothing of what was asked for could be had.

    Example:
        >>> simulate_draws(  # doctest: +ELLIPSIS
        ...     [],
        ...     observables=["colour"],
        ...     target=None,
        ...     budget=None,
        ...     masses=np.ones(1),
        ...     units=None,
        ...     configurations=np.zeros((1, 1, 3)),
        ...     start_box=np.ones(3),
        ...     key=jax.random.key(0),
        ... )
        Traceback (most recent call last):
        ...
        bayescg.errors.InputError: simulation at draws: observable 'colour' is unknown; expected some of rdf, pressure, ...
    """
    begun = time.perf_counter()
    of_paths = among_trajectories(observables)
    observables, functions = told_apart(observables)
    named = [name for name in observables if name not in functions and name not in of_paths]
    _refuse(named, potentials, masses, target, budget, dynamics)
    make = simulators(potentials[0], target, budget, float(masses[0]), units)
    sampler, moving = make(metropolis, 1.0), make(dynamics == "newton", 1.0, CUT if metropolis else 1)
    needed = lengths_of(of_paths, moving.settings.time_step)
    _refuse_by_system(observables, sampler, target, dynamics)
    start_key, melt_key, move_key, insertion_key = jax.random.split(key, 4)
    columns = frame_columns(
        observables, functions, target, potentials, n_replicas=budget.n_replicas,
        kT=units.kT(target.temperature), key=insertion_key,
    )  # fmt: skip
    steps = ParticleSteps(target.n_sites, budget.stride)
    starts, notes = starts_of_two_kinds(
        potentials[len(potentials) // 2], make, configurations, start_box, target, budget, melt_key, steps
    )
    refuse_not_finite(functions, starts[0], np.asarray(target.box, float))
    tried_out(moving, potentials[len(potentials) // 2], starts, needed, key=move_key)
    batch = DrawBatch(sampler, potentials, n_replicas=budget.n_replicas)
    tell(
        _cost(observables, batch, target, budget, metropolis, also=sum(t.n_frames * t.stride for t in needed))
    )
    found = equilibrium_samples(
        batch,
        batch.start(start_key, starts),
        n_samples=budget.n_samples,
        equilibration=budget.equilibration,
        also=SamplingWatch(columns, n_samples=budget.n_samples, functions=functions, tell=tell),
        tell=tell,
    )
    steps.add(batch.n_draws * batch.n_replicas, found.n_discarded + budget.n_samples)
    notes += _sampling_notes(found, budget, metropolis)
    made = static_values(batch, found, observables, target, units, columns=columns, functions=functions)
    notes += made.notes
    state = SimulatedState(batch, found, target, units)
    checks = [*sampling_checks(state), *made.checks]
    if set(observables) & DYNAMIC:
        correlations, averages = _dynamics(
            moving, batch, potentials, found, observables, target, budget, units, move_key, steps, tell
        )
        made = Averages(made.values | averages.values, made.frame_variance, (), (), made.lost | averages.lost)
        notes += [*_dynamics_notes(correlations, moving, dynamics), *averages.notes]
        checks += dynamics_checks(state, moving, correlations, made.values, most_heating=MOST_HEATING)
    if needed:
        on_them, more = _along_trajectories(
            moving, potentials, state, needed, dynamics, move_key, steps, tell
        )
        made = Averages(made.values | on_them.values, made.frame_variance, (), (), made.lost | on_them.lost)
        notes, checks = notes + on_them.notes, checks + more
    if made.lost and not made.values:
        raise next(iter(made.lost.values()))
    return SimulatedDraws(
        made.values, made.frame_variance, True, budget.n_samples, steps.total, time.perf_counter() - begun, notes,
        tuple(checks), {name: str(error) for name, error in made.lost.items()},
    )  # fmt: skip


def _cost(
    observables: Sequence[str],
    batch: DrawBatch,
    target: PredictionTarget,
    budget: SimulationBudget,
    metropolis: bool,
    *,
    also: int,
) -> str:
    """How much is simulated at least, before it is; `also` are steps of trajectories."""
    steps = also + (budget.equilibration + budget.n_samples) * budget.stride
    if set(observables) & DYNAMIC:
        n_frames, apart = _length_of_dynamics(observables, budget)
        steps += n_frames * apart * (CUT if metropolis else 1)
    n = batch.n_draws * batch.n_replicas
    return (
        f"{batch.n_draws} draws, {batch.n_replicas} simulations each of {target.n_sites} sites: at least {steps} steps,"
        f" {float(n) * steps * target.n_sites:.3g} particle-steps in all"
    )


def _length_of_dynamics(observables: Sequence[str], budget: SimulationBudget) -> tuple[int, int]:
    """Frames of dynamics at first, and the steps of sampling between two of them."""
    resolved = set(observables) & {"viscosity", "velocity-autocorrelation"}
    apart = max(1, budget.stride // (FRAMES_PER_STRIDE if resolved else FRAMES_FOR_DIFFUSION))
    least = LEAST_PIECE * -(-LEAST_PIECES // budget.n_replicas)
    return max(budget.n_samples * budget.stride // apart, 2 * least), apart


def _refuse(
    observables: Sequence[str],
    potentials: Sequence[Potential],
    masses: np.ndarray,
    target: PredictionTarget,
    budget: SimulationBudget,
    dynamics: str,
) -> None:
    for name in observables:
        if name not in (*STATIC, *DYNAMIC):
            known = ", ".join([*STATIC, *sorted(DYNAMIC)])
            raise InputError(f"simulation at draws: observable {name!r} is unknown; expected some of {known}")
    if budget.n_replicas < 2 or not potentials:
        raise InputError(
            f"simulation at draws: {len(potentials)} draws with {budget.n_replicas} replicas each; at least one draw and two"
            " replicas are needed, since their scatter is the simulation noise"
        )
    if budget.n_samples < LEAST_SAMPLES:
        raise InputError(
            f"simulation at draws: {budget.n_samples} samples; at least {LEAST_SAMPLES} are needed to see a drift"
        )
    if np.ptp(masses) > 1e-9 * np.max(masses):
        raise InputError(
            "simulation at draws: sites of different mass; a system of another size needs equal ones"
        )
    if dynamics not in ("newton", "langevin"):
        raise InputError(f"simulation at draws: dynamics {dynamics!r}; expected 'newton' or 'langevin'")
    shortest = float(np.min(target.box))
    if target.cutoff > 0.5 * shortest * (1.0 + 1e-6):
        raise InputError(
            f"simulation at draws: the cutoff {target.cutoff:g} is more than half of the box edge {shortest:g}; use more"
            " sites or a lower density"
        )


def _refuse_by_system(
    observables: Sequence[str], simulator: Simulator, target: PredictionTarget, dynamics: str
) -> None:
    """Refuse what would be missed after all the sampling only."""
    if "compressibility" in observables:
        pair_terms_within(simulator._form_of_potential, np.asarray(target.distance_edges, float))
    if "viscosity" not in observables:
        return
    if dynamics == "langevin":
        raise InputError(
            "simulation at draws: friction does not conserve momentum, so 'langevin' dynamics has no viscosity; use 'newton'"
            " or leave it out"
        )
    if not isinstance(simulator.engine, PairEngine) or not np.isfinite(target.volume):
        raise InputError(
            "simulation at draws: viscosity is offered for pair potentials in a closed box of up to about 1,500 sites; leave"
            " it out, or use fewer sites"
        )


def _dynamics(
    moving: Simulator,
    batch: DrawBatch,
    potentials: Sequence[Potential],
    found: Equilibrium,
    observables: Sequence[str],
    target: PredictionTarget,
    budget: SimulationBudget,
    units: UnitSystem,
    key: Key[Array, ""],
    steps: ParticleSteps,
    tell: Callable[[str], None],
) -> tuple[DrawCorrelations, Averages]:
    """Dynamics from the last configurations, made longer where it shows no linear range or plateau."""
    n_frames, apart = _length_of_dynamics(observables, budget)
    stride = apart * moving.settings.stride // budget.stride
    positions = _last_configurations(batch, found)
    for doubling in range(DOUBLINGS + 1):
        correlations = draw_correlations(
            moving,
            potentials,
            positions,
            trajectory=Trajectory(n_frames, stride, "viscosity" in observables),
            key=key,
            usable=found.usable,
            tell=tell,
        )
        steps.add(batch.n_draws * batch.n_replicas, n_frames, stride)
        _refuse_heating(correlations.heating)
        averages = dynamic_values(correlations, observables, target, units)
        if not averages.lost or doubling == DOUBLINGS:
            return correlations, averages
        why = "; ".join(str(error) for error in averages.lost.values())
        tell(f"dynamics of {n_frames} frames is too short ({why}): twice as long")
        n_frames *= 2
    raise AssertionError("unreachable")


def _along_trajectories(
    moving: Simulator,
    potentials: Sequence[Potential],
    state: SimulatedState,
    needed: Mapping[Trajectory, list[TrajectoryObservable]],
    dynamics: str,
    key: Key[Array, ""],
    steps: ParticleSteps,
    tell: Callable[[str], None],
) -> tuple[FoundOnTrajectories, list[Check]]:
    """Functions of a trajectory, dynamics of one length after another from the last configurations."""
    whole, checks = FoundOnTrajectories({}, {}, []), []
    positions, usable = _last_configurations(state.batch, state.found), state.found.usable
    for length, own in needed.items():
        found, sound = on_trajectories(
            moving, potentials, positions, length, own, key=key, usable=usable, time_unit=state.units.unit("time"), tell=tell
        )  # fmt: skip
        steps.add(usable.size, length.n_frames, length.stride)
        whole = FoundOnTrajectories(
            whole.values | found.values, whole.lost | found.lost, whole.notes + found.notes
        )
        if sound is not None:
            _refuse_heating(sound.heating)
            names = ", ".join(one.name for one in own)
            whole.notes.extend(f"For {names}: {note}" for note in _dynamics_notes(sound, moving, dynamics))
            more = dynamics_checks(state, moving, sound, {}, most_heating=MOST_HEATING)
            checks += [one._replace(name=f"{one.name} of {names}") for one in more]
    return whole, checks


def _last_configurations(batch: DrawBatch, found: Equilibrium) -> Float[np.ndarray, "draw replica site dim"]:
    """Where dynamics begins [length]."""
    shape = (batch.n_draws, batch.n_replicas, *found.state.positions.shape[1:])
    return np.asarray(found.state.positions, float).reshape(shape)


def _refuse_heating(heating: Float[np.ndarray, "draw replica"]) -> None:
    """Raise where Newton's dynamics changes the total energy of any draw, on average over its replicas."""
    known = np.isfinite(heating)
    change = np.where(known, heating, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    worst = int(np.argmax(np.abs(change)))
    if abs(change[worst]) > MOST_HEATING:
        raise SimulationError(
            f"simulation at draws: Newton's dynamics changes the energy of draw {worst} by {change[worst]:+.2g} k_B T per site;"
            " shorten the time step"
        )


def _sampling_notes(found: Equilibrium, budget: SimulationBudget, metropolis: bool) -> list[str]:
    """How the equilibrium was sampled, in sentences."""
    lost = int(np.sum(~found.usable))
    tested = ""
    if metropolis:
        accepted = 100.0 * float(np.mean(found.samples.acceptance[found.usable]))
        tested = f" with Metropolis' test ({accepted:.0f} % accepted)"
    notes = [
        f"{budget.n_samples} frames of each simulation, {budget.stride} steps apart, after {found.n_discarded} discarded ones"
        f"{tested}; the energy differs by {abs(found.drift):.1f} standard errors between their"
        f" halves and by {abs(found.between_starts):.1f} between the two kinds of start."
    ]
    if found.late_start:
        notes.append(
            "The mean energy has a start that is better cut off, even after all extensions: with few frames chance makes one,"
            " but so does slow relaxation; simulate longer to tell."
        )
    if found.apart:
        notes.append(
            f"The two kinds of start disagree at draws {', '.join(map(str, found.apart))}: simulate longer there."
        )
    if lost:
        draws = np.flatnonzero(~found.usable.all(axis=1))
        notes.append(
            f"{lost} of {found.usable.size} simulations failed, at draws {', '.join(map(str, draws))}; these draws are left"
            " out, and parameters that make simulations fail are missing from the bands."
        )
    return notes


def _dynamics_notes(correlations: DrawCorrelations, moving: Simulator, dynamics: str) -> list[str]:
    """What dynamics was, in sentences."""
    n_pieces = correlations.displacement.shape[2]
    settings = moving.settings
    length = (
        f"in steps of {settings.time_step:g}, {n_pieces * correlations.n_frames} frames, {correlations.time_step:g} apart,"
        f" of each simulation"
    )
    engine = moving.engine.settings
    expected = (
        len(moving.box) * float(np.asarray(engine.kT)) * float(np.mean(np.asarray(engine.inverse_mass)))
    )
    n_sites = np.size(engine.inverse_mass)
    if correlations.at_rest:
        expected *= 1.0 - 1.0 / n_sites
    measured = float(correlations.velocity[correlations.usable][..., 0].mean())
    warmth = f"the mean squared velocity is {100.0 * (measured / expected - 1.0):+.1f} % off that of the temperature"
    if dynamics == "langevin":
        return [
            f"Langevin dynamics with friction {settings.friction:g}, {length}; {warmth}. Diffusion is slower than without"
            " friction, and the centre of mass moves."
        ]
    rest = ", at rest as a whole" if correlations.at_rest else ""
    return [
        f"Newton's dynamics without thermostat, {length}{rest}; its total energy changes by"
        f" {float(np.nanmean(correlations.heating)):+.2g} k_B T per site, and {warmth}."
    ]
