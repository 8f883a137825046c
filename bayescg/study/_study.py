"""A study: the stages from files to report, in order, from one model file."""

import datetime
import hashlib
import importlib.metadata
import json
import platform
import shutil
from pathlib import Path
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import bayescg
from bayescg import analysis, inference, output
from bayescg.data import UnitSystem, get_unit_system
from bayescg.errors import InputError
from bayescg.inference import Checkpoints, FitSettings, Fitter, Problem
from bayescg.physics import PairPotential, SimulationSettings, Simulator
from bayescg.physics._potential import terms_of
from bayescg.progress import Progress, SilentProgress
from bayescg.study._build import build_potential, build_prior, parameter_priors
from bayescg.study._clock import StageClock
from bayescg.study._compare import compare_mapping
from bayescg.study._inspect import Inspector
from bayescg.study._output_folder import RECORD, claim_folder, refuse_used_folder
from bayescg.study._preflight import preflight, refuse_wide_priors, sampled_distances
from bayescg.study._result import Loaded, ResultBuilder
from bayescg.study._schema import ModelFile, parse_model_file, read_model_file
from bayescg.study._sources import open_data
from bayescg.study._survey import survey_frames


class Study:
    """One inference, described by a model file.

    Args:
        model: the checked model file.
        text: its text, kept in the result.
        path: where it lies; data paths are relative to its folder.

    Example:
        >>> study = Study.from_file(Path("models/double-well/model.toml"))  # doctest: +SKIP
        >>> tree = study.run(Path("runs/double-well"))  # doctest: +SKIP
    """

    def __init__(self, model: ModelFile, text: str, path: Path):
        self.model, self.text, self.path = model, text, path
        self.units: UnitSystem = get_unit_system(model.units)

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """The study of a model file (or of a folder with a `model.toml`).

        Raises:
            InputError: the file is missing or wrong, in one line that names the key.
        """
        path = path / "model.toml" if path.is_dir() else path
        model, text = read_model_file(path)
        return cls(model, text, path)

    def check(self) -> list[analysis.Check]:
        """The pre-flight on data and model; nothing is simulated or written.

        Raises:
            InputError: what no inference can mend.
        """
        _require_64_bit()
        loaded = self._load(StageClock(SilentProgress()))
        checks = preflight(loaded.survey, loaded.potential, loaded.parameter_priors)
        return checks + [check for check in [loaded.mapping] if check is not None]

    def run(
        self, folder: Path, *, progress: Progress | None = None, seed: int | None = None, quick: bool = False
    ) -> xr.DataTree:
        """From files to report.

        Args:
            folder: new output folder.
            progress: who listens.
            seed: overrides the model file's.
            quick: a test of the pipeline with little simulation, marked as such in the result.

        Raises:
            InputError: bad input, or the folder is not a new or empty one.
        """
        _require_64_bit()
        refuse_used_folder(folder)
        seed = self.model.inference.seed if seed is None else seed
        clock = StageClock(progress or SilentProgress())
        loaded = self._load(clock)
        refuse_wide_priors(loaded.survey, loaded.potential, loaded.parameter_priors, path=self.path)
        description = {"model": str(self.path.resolve()), "text": self.text, "seed": seed, "quick": quick}
        claim_folder(folder, json.dumps(description))
        return self._infer(loaded, folder, clock, seed=seed, quick=quick)

    @classmethod
    def resume(cls, folder: Path, *, progress: Progress | None = None) -> xr.DataTree:
        """Go on with a run that was stopped; the result is the one it would have had.

        Raises:
            InputError: the folder holds no run, its model file is gone, or the data have changed.
        """
        _require_64_bit()
        if (folder / output.RESULT_FILE).is_file():
            return output.open_result(folder)
        record = folder / RECORD
        if not record.is_file():
            raise InputError(f"{folder}: holds no run to resume (no run.json); start one with `bayescg run`")
        try:
            description = json.loads(record.read_text())
            path, text = Path(description["model"]), description["text"]
            seed, quick = description["seed"], description["quick"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{record}: damaged ({error}); start the run again in a new folder") from error
        if not path.is_file():
            raise InputError(
                f"{record}: the model file that it names, {path}, is gone; put it and its data back, or write their new"
                ' place into its key "model"'
            )
        study = cls(parse_model_file(text, path), text, path)
        clock = StageClock(progress or SilentProgress())
        return study._infer(study._load(clock), folder, clock, seed=seed, quick=quick)

    # Stages ---------------------------------------------------------------------------------------------------

    def _load(self, clock: StageClock) -> Loaded:
        model = self.model
        potential = build_potential(model, path=self.path)
        priors = parameter_priors(model, potential, self.units, path=self.path)
        prior = inference.independent_prior(potential, priors)
        source = open_data(model, self.path, self.units)
        inspector = Inspector(
            potential, n_frames=source.n_frames, rdf_bin=model.prediction.rdf_bin, path=self.path
        )
        with clock.stage("reading frames and reducing them to statistics", "read"):
            survey = survey_frames(
                source,
                potential,
                start_frames=model.inference.start_frames,
                rdf_bin=model.prediction.rdf_bin,
                inspect=inspector,
            )
        clock.move(survey.reduce_seconds, source="read", target="reduce")
        with clock.stage("mapping", "map"):
            mapping = compare_mapping(model, survey, path=self.path, units=self.units)
        return Loaded(survey, potential, prior, priors, mapping)

    def _data_checks(self, loaded: Loaded) -> list[analysis.Check]:
        """Checks of the pre-flight that a result repeats: the mapping, and knots that nothing holds."""
        priors = sampled_distances(loaded.survey, loaded.potential, loaded.parameter_priors)
        mapping = [] if loaded.mapping is None else [loaded.mapping]
        return mapping + [check for check in priors if check.verdict == "failed"]

    def _infer(
        self, loaded: Loaded, folder: Path, clock: StageClock, *, seed: int, quick: bool
    ) -> xr.DataTree:
        checksum = loaded.survey.checksum
        identity = hashlib.sha256(
            json.dumps([self.text, checksum, bayescg.__version__, jax.__version__, seed, quick]).encode()
        ).hexdigest()
        checkpoints = Checkpoints(folder / "checkpoint", identity=identity)
        with clock.stage(f"starting point by {self.model.inference.start}", "start"):
            start = self._start(loaded, checkpoints, seed)
        problem = self._problem(loaded, start)
        fitter = Fitter(
            problem, self._settings(seed, quick), checkpoints=checkpoints, progress=clock.progress
        )
        fit = fitter.run()
        clock.add(fit.seconds)
        with clock.stage("predicting", "predict"):
            builder = ResultBuilder(
                self.model, self.units, loaded, fit, data_checks=self._data_checks(loaded)
            )
            tree = builder.tree(seed)
        tree.attrs |= self._provenance(checksum, seed=seed, quick=quick)
        with clock.stage("writing", "report"):
            inference.write_bank(fit.bank, folder / "bank.nc", system=self._system_identity(loaded))
            tree.attrs["wall_time_s"] = json.dumps(clock.seconds())
            inference.write_tree(tree, folder / output.RESULT_FILE)
            output.write_outputs(tree, folder)
        tree.attrs["wall_time_s"] = json.dumps(clock.seconds())
        inference.write_tree(tree, folder / output.RESULT_FILE)
        shutil.rmtree(folder / "checkpoint", ignore_errors=True)
        return tree

    def _start(self, loaded: Loaded, checkpoints: Checkpoints, seed: int) -> np.ndarray:
        saved = checkpoints.load("start")
        if saved is not None:
            return saved["z"]
        table, prior = self.model.inference, loaded.prior
        key, blocks = jax.random.key(seed), loaded.survey.matching_blocks(32)
        if table.start == "force-matching":
            equations = inference.force_normal_equations(blocks, loaded.potential)
            z = inference.force_matching_mode(equations, prior, key=key).z
        elif table.start == "score-matching":
            z = inference.score_matching_mode(blocks, loaded.potential, prior, key=key).z
        else:
            sites = dict(prior.sites(jnp.zeros(prior.size)))
            sites.update(loaded.potential.parameter_values())
            z = np.asarray(prior.unconstrain(sites))
        checkpoints.save("start", {"z": np.asarray(z)})
        return np.asarray(z)

    def _problem(self, loaded: Loaded, start: np.ndarray) -> Problem:
        survey, table = loaded.survey, self.model.simulation
        settings = SimulationSettings(
            table.time_step,
            table.friction,
            table.stride,
            table.replicas,
            table.equilibration,
            metropolis=True,
        )
        simulator = Simulator(
            loaded.potential,
            topology=survey.source.topology,
            box=survey.box,
            units=self.units,
            temperature=self.model.temperature,
            settings=settings,
            distance_edges=loaded.survey.distance_edges,
        )
        factor, shown = {"ps": (1e-3, "ns"), "fs": (1e-6, "ns")}.get(self.units.time, (1.0, self.units.time))
        return Problem(
            loaded.prior,
            loaded.statistics,
            self.units.beta(self.model.temperature),
            simulator,
            start,
            survey.configurations,
            table.stride * table.time_step * table.replicas * factor,
            shown,
            factor,
        )

    def _settings(self, seed: int, quick: bool) -> FitSettings:
        table = self.model.inference
        settings = FitSettings(
            seed=seed,
            n_replicas=self.model.simulation.replicas,
            search_samples=table.search_samples,
            max_search=table.max_search,
            verification_draws=table.verification_draws,
            max_verification_samples=table.max_verification_samples,
            max_rounds=table.max_rounds,
            n_chains=table.chains,
            n_warmup=table.warmup,
            n_draws=table.draws,
        )
        if quick:
            settings = settings._replace(
                search_samples=20, max_verification_samples=20, max_rounds=1, n_warmup=100, n_draws=60
            )
        return settings

    def _system_identity(self, loaded: Loaded) -> str:
        parts = [
            self.model.units,
            self.model.temperature,
            loaded.survey.box.tolist(),
            loaded.survey.n_sites,
        ]
        parts.append({name: table.model_dump() for name, table in self.model.potential.items()})
        return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()

    def _provenance(self, checksum: str, *, seed: int, quick: bool) -> dict[str, str | int | float]:
        packages = ("bayescg", "jax", "jaxlib", "numpyro", "numpy", "xarray")
        versions = {"python": platform.python_version()}
        for package in packages:
            try:
                versions[package] = importlib.metadata.version(package)
            except importlib.metadata.PackageNotFoundError:
                versions[package] = bayescg.__version__ if package == "bayescg" else "unknown"
        kinds = " + ".join(table.kind for table in self.model.potential.values())
        marks = {"quick": 1} if quick else {}
        return marks | {
            "schema_version": 1,
            "title": self.model.title,
            "units": self.model.units,
            "temperature": self.model.temperature,
            "potential": kinds,
            "seed": seed,
            "model_file_text": self.text,
            "data_checksum": checksum,
            "versions": json.dumps(versions),
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "calibration": inference.CALIBRATION,
        }


def pair_tables(folder: Path, n_draws: int, *, points: int = 1000) -> output.PairTables:
    """Fine tables of the mean potential and of an ensemble of calibrated draws of a stored run.

    Args:
        folder: the run's output folder.
        n_draws: draws in the ensemble, spread evenly over the chains.
        points: distances in each table.

    Raises:
        InputError: no result, a model that is not a pair potential, or more draws than there are.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> lines = [
        ...     'title = "Argon"', 'units = "real"', 'temperature = 85.0', 'data.frames = ["argon.nc"]',
        ...     'potential.argon = {kind = "lennard-jones", epsilon = 0.24, sigma = 3.4, cutoff = 10.2}',
        ...     'simulation = {time_step = 20.0, friction = 0.004, stride = 30}',
        ... ]
        >>> draws = np.log([[[0.24, 3.4], [0.25, 3.41]]])  # two, of epsilon and sigma
        >>> unconstrained = xr.Dataset({"z_calibrated": (("chain", "draw", "coordinate"), draws)})
        >>> tree = xr.DataTree.from_dict({"unconstrained": unconstrained})
        >>> tree.attrs |= {"schema_version": 1, "model_file_text": "\\n".join(lines), "seed": 1}
        >>> tree.attrs |= {"title": "Argon", "calibration": "none", "data_checksum": "of no data", "temperature": 85.0}
        >>> tree.attrs |= {"units": "real", "versions": "{}"}
        >>> with TemporaryDirectory() as folder:
        ...     tree.to_netcdf(Path(folder) / output.RESULT_FILE, engine="netcdf4")
        ...     pair_tables(Path(folder), 2).energy.shape
        (2, 1000)
    """
    tree = output.open_result(folder)
    model = parse_model_file(tree.attrs["model_file_text"], folder / "posterior.nc")
    potential = build_potential(model, path=folder / "posterior.nc")
    units = get_unit_system(model.units)
    terms = terms_of(potential)
    if not all(isinstance(term, PairPotential) for term in terms):
        raise InputError(f"{folder}: the model is no pair potential, so there is no table to write")
    prior = build_prior(model, potential, units, path=folder / "posterior.nc")
    z = np.asarray(tree["unconstrained"].to_dataset()["z_calibrated"])
    flat = z.reshape(-1, z.shape[-1])
    if n_draws > len(flat):
        raise InputError(f"{folder}: {n_draws} draws asked for, the run holds {len(flat)}; ask for fewer")
    reach = max(term.cutoff for term in terms if isinstance(term, PairPotential))
    distance = np.linspace(0.2 * reach, reach, points)
    r2 = jnp.asarray(distance**2)

    def curve(point):
        pairs = [t for t in terms_of(prior.potential(point)) if isinstance(t, PairPotential)]
        energy = sum(term.pair_energy(r2) for term in pairs)
        force = sum(term.pair_force_factor(r2) for term in pairs) * jnp.sqrt(r2)
        return energy, force

    energy, force = (np.asarray(a) for a in jax.lax.map(curve, jnp.asarray(flat), batch_size=64))
    index = np.linspace(0, len(flat) - 1, n_draws).astype(int)
    ids = [f"{i // z.shape[1]}:{i % z.shape[1]}" for i in index]
    return output.PairTables(
        distance,
        energy[index],
        force[index],
        energy.mean(axis=0),
        force.mean(axis=0),
        ids,
        units,
        output.table_provenance(tree),
    )


def _require_64_bit() -> None:
    if not jax.config.read("jax_enable_x64"):
        raise InputError(
            "free energies need 64-bit arithmetic: call jax.config.update('jax_enable_x64', True) before anything else"
        )
