"""What a stored run predicts, with error bars told part by part: `bayescg predict`."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import xarray as xr

from bayescg import inference, output
from bayescg.analysis import Check, logarithmic_coordinates
from bayescg.errors import InputError
from bayescg.inference import Prior
from bayescg.physics import PairPotential, ReferenceBank
from bayescg.physics._potential import terms_of
from bayescg.study._equilibrium import EquilibriumPipeline
from bayescg.study._observable import Observable, refuse_known, told_apart
from bayescg.study._observed_frames import observed_in_frames
from bayescg.study._observed_values import (
    ObservedValues,
    own_values,
    read_observed,
    refuse_unpredicted,
    scorable,
)
from bayescg.study._predict_by_reweighting import refuse_unkept, reweighted_parts
from bayescg.study._predict_by_simulation import simulated_parts
from bayescg.study._predicted_observables import known_observables
from bayescg.study._prediction_dataset import Coordinates, prediction_dataset
from bayescg.study._prediction_needs import possible_observables
from bayescg.study._prediction_parts import PredictedPart, left_out
from bayescg.study._prediction_routes import in_words, prediction_routes
from bayescg.study._prediction_sentences import prediction_sentences
from bayescg.study._prediction_target import PredictionTarget, SimulationBudget
from bayescg.study._result import Loaded, _coordinate_names
from bayescg.study._stored_fits import BANK_FILE, stored_pipeline
from bayescg.study._stored_verdict import cautions, refuse_labelled, stored_checks
from bayescg.study._trajectory_observable import TrajectoryObservable, among_trajectories


class _Stored(NamedTuple):
    """What of a stored run a prediction rests on."""

    folder: Path
    tree: xr.DataTree
    pipeline: EquilibriumPipeline
    loaded: Loaded
    bank: ReferenceBank

    @property
    def prior(self) -> Prior:
        return self.loaded.prior


def predict(
    run: Path | str,
    observables: Sequence[str | Observable | TrajectoryObservable] = (),
    *,
    temperature: float | None = None,
    n_sites: int | None = None,
    density: float | None = None,
    n_draws: int = 200,
    from_prior: bool = False,
    simulation: bool = True,
    n_simulated: int = 32,
    n_replicas: int = 4,
    n_samples: int = 200,
    averaged_frames: float | None = None,
    observed: Path | str | None = None,
    dynamics: str = "newton",
    seed: int = 0,
    tell: Callable[[str], None] = lambda _: None,
) -> xr.Dataset:
    """Observables at draws of a stored posterior, each band split into what makes it.

    An observable that the run's references keep the statistics of, in their box, at a temperature where they overlap with
    all draws, is reweighted from them: all draws share their noise then. Everything else is simulated afresh at fewer
    draws. Which and why is in the result.

    Args:
        run: the run's output folder.
        observables: names, and functions of a frame or of a trajectory of one's own; default those of g(r), coordination,
            energy, heat capacity, pressure and compressibility that the system has.
        temperature: of the state; default the run's [temperature].
        n_sites: size of the system; default the run's.
        density: sites per volume; default the run's [1/length³].
        n_draws: draws for reweighting, evenly chosen.
        from_prior: draws of the prior instead of the calibrated posterior.
        simulation: whether new simulations are allowed.
        n_simulated: draws that are simulated, where simulation is needed; at least 2.
        n_replicas: independent simulations of each; at least 2, and of 2 the noise is known badly.
        n_samples: frames of each.
        averaged_frames: number of independent frames in the average whose chance is told; default what the data are worth.
        observed: CSV with values to hold the predictions against, or a netCDF with frames of the state that the run has not
            seen; default the run's own data, at the run's own state.
        dynamics: of new simulations where velocities are needed: `newton`, or `langevin` with the run's friction.
        seed: of new simulations.
        tell: hears what is being done.

    Returns:
        As `prediction_dataset`, with title and sentences.

    Raises:
        InputError: no run, a run on labelled configurations, an unknown observable, one that the system does not have or that
            needs simulation where that is forbidden, observed values of none, data that changed, an impossible state, or
            nothing that could be had. Where others could, one that could not is left out with a note.

    Example:
        >>> predict(Path("no-such-run"))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        bayescg.errors.InputError: no-such-run/posterior.nc: no such file; name the output folder of a finished run ...
    """
    run, observed = Path(run), None if observed is None else Path(observed)
    asked, functions = told_apart(observables)
    of_paths = among_trajectories(observables)
    own = {one.name: one for one in observables if not isinstance(one, str)}
    refuse_known(own)
    names = known_observables(asked, own)
    _refuse_choices(run, n_draws, n_simulated, n_replicas, averaged_frames, dynamics)
    in_frames = observed is not None and observed.suffix == ".nc"
    given = None if observed is None or in_frames else read_observed(observed, own)
    tree = output.open_result(run)
    refuse_labelled(
        tree, run, "have no reference simulations; their report holds crystal properties at the draws"
    )
    tell(f"{run}: reading data and references")
    stored = _stored(tree, run)
    target = _target(stored, temperature=temperature, n_sites=n_sites, density=density)
    if target.distance_edges is None or len(target.distance_edges) < 2:
        target = target._replace(distance_edges=None)
    names, notes = possible_observables(
        names, stored.loaded.potential, target, asked=bool(observables), run=str(run)
    )
    for one in own.values():
        one.n_values(target.n_sites, len(target.box))
    if given is not None and observed is not None:
        refuse_unpredicted(given, names, target, path=observed, functions={**functions, **of_paths})
    if observed is not None and in_frames:
        tell(f"{observed}: reading held-out frames")
        given = observed_in_frames(
            observed, names, functions,
            target=target, units=stored.pipeline.units, learned=stored.loaded.survey.source,
        )  # fmt: skip
    z = _draws(stored, n_draws, from_prior=from_prior)
    routes = prediction_routes(
        names, stored.bank, stored.prior, z, target=target, home=_target(stored),
        units=stored.pipeline.units, simulation=simulation, run=str(run),
        of_trajectories=of_paths,
    )  # fmt: skip
    reasons, notes = routes.chosen, notes + routes.notes
    tell("; ".join(f"{name} by {method}" for name, (method, _) in reasons.items()))
    parts: list[PredictedPart] = []
    lost: dict[str, str] = {}
    checks: tuple[Check, ...] = ()
    some = routes.by("reweighting")
    if some:
        assert routes.reach is not None
        refuse_unkept(some, stored.bank, target, run=str(run))
        found = reweighted_parts(
            some, stored.bank, stored.prior, z, target=target, units=stored.pipeline.units,
            dim=stored.loaded.survey.dim, reach=routes.reach, reason=reasons[some[0]][1],
        )  # fmt: skip
        parts, lost, notes = found.parts, found.lost, notes + found.notes
    rest = routes.by("simulation")
    if rest:
        found = simulated_parts(
            rest, stored.prior, z, target=target, budget=_budget(stored, n_simulated, n_replicas, n_samples, len(z)),
            masses=np.asarray(stored.loaded.survey.source.topology.masses, float), units=stored.pipeline.units,
            configurations=_starts(stored), start_box=stored.loaded.survey.box,
            reasons={name: reasons[name][1] for name in rest}, own=own, dynamics=dynamics, key=jax.random.key(seed), tell=tell,
        )  # fmt: skip
        parts, lost, notes = parts + found.parts, lost | found.lost, notes + found.notes
        checks = found.checks
    notes += left_out(lost, parts, run=str(run))
    tell("splitting the bands")
    parts.sort(key=lambda part: names.index(part.name))
    seen, told = scorable(_observed(stored, given, target), {part.name: part.grid for part in parts}, target)
    notes += told
    data = prediction_dataset(
        parts, seen, _coordinates(stored, z),
        averaged_frames=_data_frames(stored) if averaged_frames is None else averaged_frames,
    )  # fmt: skip
    about = _about(stored, target, z, from_prior=from_prior, notes=notes, data=data)
    return data.assign_attrs(about, checks=stored_checks(checks))


def _refuse_choices(
    run: Path, n_draws: int, n_simulated: int, n_replicas: int, averaged_frames: float | None, dynamics: str
) -> None:
    if dynamics not in ("newton", "langevin"):
        raise InputError(f"{run}: dynamics {dynamics!r}; expected 'newton' or 'langevin'")
    if n_draws < 2:
        raise InputError(f"{run}: {n_draws} draws have no spread; ask for at least 2")
    if n_simulated < 2:
        raise InputError(f"{run}: {n_simulated} simulated draws have no spread; ask for at least 2")
    if n_replicas < 2:
        raise InputError(
            f"{run}: {n_replicas} replicas of each draw can't tell noise from parameters; at least 2"
        )
    if averaged_frames is not None and not averaged_frames > 0.0:
        raise InputError(f"{run}: an average over {averaged_frames:g} frames; a number above 0 expected")


def _stored(tree: xr.DataTree, run: Path) -> _Stored:
    pipeline, loaded = stored_pipeline(tree, run)
    assert isinstance(pipeline, EquilibriumPipeline) and isinstance(loaded, Loaded)
    bank = inference.read_bank(run / BANK_FILE, system=pipeline._system_identity(loaded))
    return _Stored(run, tree, pipeline, loaded, bank)


def _target(
    stored: _Stored,
    *,
    temperature: float | None = None,
    n_sites: int | None = None,
    density: float | None = None,
) -> PredictionTarget:
    """The run's state, with what is asked for in its place."""
    survey, own = stored.loaded.survey, stored.pipeline.model.temperature
    kelvin = own if temperature is None else float(temperature)
    sites = survey.n_sites if n_sites is None else int(n_sites)
    if not (np.isfinite(kelvin) and kelvin > 0.0):
        raise InputError(f"{stored.folder}: temperature {kelvin:g}; a number above 0 expected")
    edges = np.zeros(1) if survey.distance_edges is None else np.asarray(survey.distance_edges, float)
    reach = max(
        [t.cutoff for t in terms_of(stored.loaded.potential) if isinstance(t, PairPotential)], default=0.0
    )
    if n_sites is None and density is None:
        return PredictionTarget(kelvin, sites, np.asarray(survey.box, float), edges, reach)
    if not np.all(np.isfinite(survey.box)):
        raise InputError(
            f"{stored.folder}: sites and density of an open system can't be chosen; leave both out"
        )
    rho = survey.n_sites / float(np.prod(survey.box)) if density is None else float(density)
    if sites < 2 or not (np.isfinite(rho) and rho > 0.0):
        raise InputError(
            f"{stored.folder}: {sites} sites at density {rho:g}; at least 2 and a density above 0 expected"
        )
    scale = (sites / rho / float(np.prod(survey.box))) ** (1.0 / 3.0)
    box = np.asarray(survey.box, float) * scale
    if 2.0 * reach > box.min() * (1.0 + 1e-6):
        raise InputError(
            f"{stored.folder}: {sites} sites at density {rho:.4g} fill a box of {box.min():.4g}, below twice the cutoff"
            f" {reach:g}; ask for more sites"
        )
    if sites == survey.n_sites and np.allclose(box, survey.box, rtol=1e-9):  # the references' own bins
        return PredictionTarget(kelvin, sites, box, edges, reach)
    half = 0.5 * float(box.min())
    inside = edges[edges <= half * (1.0 + 1e-9)]
    return PredictionTarget(kelvin, sites, box, _reaching(inside, min(reach, half)), reach)


def _reaching(edges: np.ndarray, end: float) -> np.ndarray:
    """Bins that end at `end` at least: pair counts must reach the cutoff. A narrow rest goes to the last bin."""
    if len(edges) < 2 or edges[-1] >= end * (1.0 - 1e-9):
        return edges
    narrow = len(edges) > 2 and end - edges[-1] < 0.5 * (edges[-1] - edges[-2])
    return np.append(edges[:-1] if narrow else edges, end)


def _draws(stored: _Stored, n_draws: int, *, from_prior: bool) -> np.ndarray:
    """Unconstrained coordinates, evenly chosen of the calibrated draws and mixed, or fresh ones of the prior.

    Mixed, so that the first few, which are simulated where that is needed, are of all chains too.
    """
    if from_prior:
        seed = int(stored.tree.attrs["seed"]) + 1
        return np.asarray(stored.prior.sample(jax.random.key(seed), n_draws))
    held = output.require_variables(stored.tree, "unconstrained", "z_calibrated")["z_calibrated"].values
    flat = np.asarray(held, float).reshape(-1, held.shape[-1])
    chosen = np.linspace(0, len(flat) - 1, min(n_draws, len(flat))).astype(int)
    return flat[np.random.default_rng(0).permutation(chosen)]


def _budget(
    stored: _Stored, n_simulated: int, n_replicas: int, n_samples: int, n_draws: int
) -> SimulationBudget:
    table = stored.pipeline.model.simulation
    return SimulationBudget(
        n_replicas,
        n_samples,
        min(n_simulated, n_draws),
        table.time_step,
        table.friction,
        table.stride,
        table.equilibration,
    )


def _starts(stored: _Stored) -> np.ndarray:
    """Configurations of the references, and of the data where those keep none."""
    kept = [r.configurations for r in stored.bank.references if len(r.configurations)]
    return np.concatenate(kept) if kept else stored.loaded.survey.configurations


def _observed(
    stored: _Stored, given: dict[str, ObservedValues] | None, target: PredictionTarget
) -> dict[str, ObservedValues]:
    """Values that belong to the target's state."""
    if given is not None:
        return given
    survey = stored.loaded.survey
    same = target.n_sites == survey.n_sites and np.allclose(target.box, survey.box, rtol=1e-9)
    at_home = same and target.temperature == stored.pipeline.model.temperature
    return own_values(stored.tree) if at_home else {}


def _coordinates(stored: _Stored, z: np.ndarray) -> Coordinates:
    """Draws with names, and the Fisher eigenvectors where the run holds them."""
    prior, units = stored.prior, stored.pipeline.units
    names, parameters = _coordinate_names(prior, stored.loaded.potential, units)
    axes = np.linalg.eigh(np.atleast_2d(np.cov(z.T)))[1].T[::-1]
    fallback = Coordinates(z, names, axes, "principal axes of the draws, widest first")
    if "identifiability" not in stored.tree.children:
        return fallback
    own = np.asarray(stored.tree["identifiability"].to_dataset()["eigenvector"].values, float)
    others = [i for i in range(len(names)) if i not in set(parameters.tolist())]
    whole = np.zeros((len(names), len(names)))
    whole[: len(own), parameters] = own
    whole[np.arange(len(own), len(names)), others] = 1.0
    if np.linalg.matrix_rank(whole) < len(names):
        return fallback
    return Coordinates(
        z, names, whole, "eigenvectors of the Fisher information against the prior's, best determined first"
    )


def _data_frames(stored: _Stored) -> float:
    """What the data's frames are worth, at most."""
    if "identifiability" in stored.tree.children:
        worth = stored.tree["identifiability"].to_dataset()["independent_frames"].values
        if np.isfinite(worth).any():
            return float(np.nanmax(worth))
    return float(stored.loaded.statistics.n_frames)


def _about(
    stored: _Stored,
    target: PredictionTarget,
    z: np.ndarray,
    *,
    from_prior: bool,
    notes: list[str],
    data: xr.Dataset,
) -> dict[str, str | int | float]:
    units = stored.pipeline.units
    names, _ = _coordinate_names(stored.prior, stored.loaded.potential, units)
    which, n_draws = "the prior" if from_prior else "the calibrated posterior", data.sizes["draw"]
    about: dict[str, str | int | float] = {
        "title": "What does the prior predict?" if from_prior else "What does it predict?",
        "posterior": f"{n_draws} draws of {which}",
        "temperature": target.temperature, "temperature_unit": units.temperature, "n_sites": target.n_sites,
        "density": target.n_sites / target.volume if np.isfinite(target.volume) else np.nan,
        "box": in_words(target.box), "length_unit": units.length, "time_unit": units.time, "n_draws": n_draws,
        "notes": json.dumps(notes),
        "coordinates": json.dumps(names), "data_checksum": str(stored.tree.attrs["data_checksum"]),
    }  # fmt: skip
    logs = logarithmic_coordinates(stored.prior)
    directions = _coordinates(stored, z)
    sentences = prediction_sentences(data.assign_attrs(about), directions, logarithmic=logs)
    about["sentences"] = json.dumps([*sentences, *notes, *cautions(stored.tree)])
    return about
