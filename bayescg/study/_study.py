"""A study: the stages from files to report, in order, from one model file."""

import datetime
import hashlib
import importlib.metadata
import json
import platform
import shutil
from pathlib import Path
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import bayescg
from bayescg import analysis, inference, output
from bayescg.data import (
    Frames,
    UnitSystem,
    get_unit_system,
    radial_distribution,
    statistical_inefficiency,
    trajectory_agreement,
)
from bayescg.errors import InputError
from bayescg.inference import Checkpoints, FitResult, FitSettings, Fitter, Prior, Problem
from bayescg.physics import (
    PairPotential,
    Potential,
    SimulationSettings,
    Simulator,
    SufficientStatistics,
    reduce,
)
from bayescg.physics._potential import terms_of
from bayescg.progress import Progress, SilentProgress
from bayescg.study._build import build_potential, build_prior, compare_mapping, load_frames
from bayescg.study._clock import StageClock
from bayescg.study._preflight import preflight, refuse_unusable
from bayescg.study._schema import ModelFile, parse_model_file, read_model_file


class _Loaded(NamedTuple):
    frames: Frames
    statistics: SufficientStatistics
    potential: Potential
    prior: Prior
    warnings: tuple[str, ...]
    mapping: tuple[float, int] | None


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
        checks = preflight(loaded.frames, loaded.statistics, loaded.potential, warnings=loaded.warnings)
        return checks + self._mapping_check(loaded)

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
            InputError: bad input, or the folder holds another run.
        """
        _require_64_bit()
        record = folder / "run.json"
        if (folder / output.RESULT_FILE).exists() or record.exists():
            raise InputError(
                f"{folder}: holds another run; choose another folder with -o, remove it, or go on with"
                f" `bayescg resume {folder}`"
            )
        seed = self.model.inference.seed if seed is None else seed
        clock = StageClock(progress or SilentProgress())
        loaded = self._load(clock)
        folder.mkdir(parents=True, exist_ok=True)
        description = {"model": str(self.path.resolve()), "text": self.text, "seed": seed, "quick": quick}
        inference.write_atomically(record, json.dumps(description).encode())
        return self._infer(loaded, folder, clock, seed=seed, quick=quick)

    @classmethod
    def resume(cls, folder: Path, *, progress: Progress | None = None) -> xr.DataTree:
        """Go on with a run that was stopped; the result is the one it would have had.

        Raises:
            InputError: the folder holds no run, or the data have changed.
        """
        _require_64_bit()
        if (folder / output.RESULT_FILE).is_file():
            return output.open_result(folder)
        record = folder / "run.json"
        if not record.is_file():
            raise InputError(f"{folder}: holds no run to resume (no run.json); start one with `bayescg run`")
        try:
            description = json.loads(record.read_text())
            path, text = Path(description["model"]), description["text"]
            seed, quick = description["seed"], description["quick"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{record}: damaged ({error}); start the run again in a new folder") from error
        study = cls(parse_model_file(text, path), text, path)
        clock = StageClock(progress or SilentProgress())
        return study._infer(study._load(clock), folder, clock, seed=seed, quick=quick)

    # Stages ---------------------------------------------------------------------------------------------------

    def _load(self, clock: StageClock) -> _Loaded:
        model, folder = self.model, self.path.parent
        potential = build_potential(model)
        prior = build_prior(model, potential, self.units, path=self.path)
        with clock.stage("reading frames", "read"):
            frames, warnings = load_frames(model, folder, self.units)
        refuse_unusable(frames, potential, path=self.path)
        with clock.stage("mapping", "map"):
            mapping = compare_mapping(model, frames, folder, self.units)
        with clock.stage("reducing frames to statistics", "reduce"):
            edges = self._distance_edges(frames, potential)
            statistics = reduce(frames.blocks(64), potential, distance_edges=edges)
        return _Loaded(frames, statistics, potential, prior, warnings, mapping)

    def _distance_edges(self, frames: Frames, potential: Potential) -> np.ndarray | None:
        if frames.dim != 3 or not all(isinstance(t, PairPotential) for t in terms_of(potential)):
            return None
        reach = max(t.cutoff for t in terms_of(potential) if isinstance(t, PairPotential))
        if np.isfinite(frames.box).all():
            reach = float(frames.box.min()) / 2.0
        width = self.model.prediction.rdf_bin
        return width * np.arange(int(np.floor(reach / width + 1e-9)) + 1)

    def _mapping_check(self, loaded: _Loaded) -> list[analysis.Check]:
        if loaded.mapping is None:
            return []
        worst, compared = loaded.mapping
        unit = self.units.unit("length")
        good = compared > 0 and worst < 1e-3 * float(loaded.frames.box.min())
        return [
            analysis.Check(
                "mapping", "passed" if good else "failed", worst, 1e-3 * float(loaded.frames.box.min()),
                f"{compared} atomistic frames, mapped here, differ from the mapped frames by at most {worst:.1e} {unit}.",
            )
        ]  # fmt: skip

    def _infer(
        self, loaded: _Loaded, folder: Path, clock: StageClock, *, seed: int, quick: bool
    ) -> xr.DataTree:
        checksum = loaded.frames.checksum()
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
            tree = self._tree(loaded, fit, seed)
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

    def _start(self, loaded: _Loaded, checkpoints: Checkpoints, seed: int) -> np.ndarray:
        saved = checkpoints.load("start")
        if saved is not None:
            return saved["z"]
        table, prior, frames = self.model.inference, loaded.prior, loaded.frames
        key = jax.random.key(seed)
        step = max(1, frames.n_frames // table.start_frames)
        some = frames[::step] if len(frames.trajectory_lengths()) == 1 else frames
        if table.start == "force-matching":
            if frames.forces is None:
                raise InputError(
                    f"{self.path}: key 'inference.start': force matching needs forces, and the frames have none;"
                    " use 'score-matching'"
                )
            equations = inference.force_normal_equations(some.blocks(32), loaded.potential)
            z = inference.force_matching_mode(equations, prior, key=key).z
        elif table.start == "score-matching":
            z = inference.score_matching_mode(some.blocks(32), loaded.potential, prior, key=key).z
        else:
            sites = dict(prior.sites(jnp.zeros(prior.size)))
            sites.update(loaded.potential.parameter_values())
            z = np.asarray(prior.unconstrain(sites))
        checkpoints.save("start", {"z": np.asarray(z)})
        return np.asarray(z)

    def _problem(self, loaded: _Loaded, start: np.ndarray) -> Problem:
        frames, table = loaded.frames, self.model.simulation
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
            topology=frames.topology,
            box=frames.box[0],
            units=self.units,
            temperature=self.model.temperature,
            settings=settings,
            distance_edges=self._distance_edges(frames, loaded.potential),
        )
        factor, shown = {"ps": (1e-3, "ns"), "fs": (1e-6, "ns")}.get(self.units.time, (1.0, self.units.time))
        every = max(1, frames.n_frames // 200)
        return Problem(
            loaded.prior,
            loaded.statistics,
            self.units.beta(self.model.temperature),
            simulator,
            start,
            frames.positions[::every],
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

    def _system_identity(self, loaded: _Loaded) -> str:
        parts = [
            self.model.units,
            self.model.temperature,
            loaded.frames.box[0].tolist(),
            loaded.frames.n_sites,
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

    # Result ---------------------------------------------------------------------------------------------------

    def _tree(self, loaded: _Loaded, fit: FitResult, seed: int) -> xr.DataTree:
        prior, statistics, units = loaded.prior, loaded.statistics, self.units
        prior_draws = np.asarray(prior.sample(jax.random.key(seed + 1), 400))
        groups = inference.posterior_groups(fit, prior, loaded.potential, units, prior_draws=prior_draws)
        jacobian = np.asarray(
            jax.jacobian(lambda z: prior.potential(z).coefficients())(jnp.asarray(fit.mode.z))
        )
        scores = -units.beta(self.model.temperature) * (statistics.features @ jacobian)
        names, parameters = _coordinate_names(prior, loaded.potential, units)
        identified = analysis.identifiability(
            fit.calibration, scores, lengths=statistics.trajectory_lengths(), coordinates=parameters
        )
        groups["identifiability"] = _identifiability_dataset(identified, [names[i] for i in parameters])
        checks = [analysis.verification_check(fit), *analysis.sampler_checks(fit)]
        flat = fit.calibrated.reshape(-1, fit.calibrated.shape[-1])
        some = jnp.asarray(flat[:: max(1, len(flat) // 50)])
        k_hat = analysis.reweighting_khat(
            fit.bank, np.asarray(jax.vmap(lambda z: prior.potential(z).coefficients())(some))
        )
        checks += analysis.bank_checks(fit, float(np.nanmax(identified.independent_frames)), k_hat)
        checks += [analysis.bias_check(fit), analysis.data_check(identified), *self._mapping_check(loaded)]
        sentences = analysis.statement(
            fit, identified, n_frames=statistics.n_frames, coordinates=[names[i] for i in parameters], checks=checks,
            agreement_z=_agreement(statistics), n_trajectories=len(statistics.trajectory_lengths()),
        )  # fmt: skip
        if all(isinstance(term, PairPotential) for term in terms_of(loaded.potential)):
            structure, extra = self._structure(loaded, fit, prior_draws)
            groups |= structure
            sentences = sentences[:-1] + extra + sentences[-1:]
        groups["log_likelihood"] = self._block_scores(loaded, fit)
        tree = xr.DataTree.from_dict(groups)
        tree.attrs["checks"] = json.dumps([check._asdict() for check in checks])
        tree.attrs["statement"] = json.dumps(sentences)
        tree.attrs["result_codes"] = json.dumps({"OK": int(len(fit.bank.references))})
        return tree

    def _structure(
        self, loaded: _Loaded, fit: FitResult, prior_draws: np.ndarray
    ) -> tuple[dict[str, xr.Dataset], list[str]]:
        """g(r), pressure and potential curves at draws, beside the data's."""
        prior, frames, units = loaded.prior, loaded.frames, self.units
        edges = self._distance_edges(frames, loaded.potential)
        assert edges is not None
        coefficients = jax.jit(jax.vmap(lambda z: prior.potential(z).coefficients()))
        flat = fit.calibrated.reshape(-1, fit.calibrated.shape[-1])
        chosen = flat[np.linspace(0, len(flat) - 1, min(self.model.prediction.draws, len(flat))).astype(int)]
        eta = np.asarray(coefficients(jnp.asarray(chosen)))
        system = analysis.System(
            frames.n_sites, float(np.prod(frames.box[0])), self.model.temperature, units, edges
        )
        predicted = analysis.predict_structure(fit.bank, eta, system)
        observed = radial_distribution(frames, edges=edges, exclude="nothing")
        centres = (edges[1:] + edges[:-1]) / 2.0
        length, energy, pressure = (units.unit(q) for q in ("length", "energy", "pressure"))
        r = ("r", centres, {"units": length})
        data: dict[str, Any] = {
            "rdf": ("r", observed["rdf"].values, {"units": "1", "long_name": "radial distribution function"}),
            "rdf_se": (
                "r",
                observed["rdf_se"].values,
                {"units": "1", "long_name": "standard error of the mean"},
            ),
        }
        known, error = None, 0.0
        if frames.pressure is not None:
            g = float(statistical_inefficiency(frames.pressure, lengths=frames.trajectory_lengths())[0])
            known = float(frames.pressure.mean())
            error = float(frames.pressure.std(ddof=1) * np.sqrt(g / frames.n_frames))
            data["pressure"] = ((), known, {"units": pressure})
            data["pressure_se"] = ((), error, {"units": pressure, "long_name": "standard error of the mean"})
        distance = self._distance_grid(loaded)
        curves = _curves(prior, loaded.potential, distance)
        on_distance = {"distance": ("distance", distance, {"units": length})}
        groups = {
            "observed_data": xr.Dataset(data, coords={"r": r}),
            "posterior_predictive": xr.Dataset(
                {
                    "rdf": (("chain", "draw_p", "r"), predicted.rdf[None], {"units": "1"}),
                    "pressure": (("chain", "draw_p"), predicted.pressure[None], {"units": pressure}),
                    "n_eff": (("chain", "draw_p"), predicted.n_eff[None]),
                },
                coords={"r": r},
                attrs={"calibration": inference.CALIBRATION},
            ),
            "prediction": xr.Dataset(
                {
                    "pair_energy": (("chain", "draw_p", "distance"), curves(chosen)[None], {"units": energy}),
                    "prior_pair_energy": (("prior_draw", "distance"), curves(prior_draws), {"units": energy}),
                },
                coords=on_distance,
                attrs={"calibration": inference.CALIBRATION},
            ),
        }
        low, high = np.quantile(predicted.rdf, [0.05, 0.95], axis=0)
        slack = 2.0 * observed["rdf_se"].values
        values = observed["rdf"].values
        inside = (values >= low - slack) & (values <= high + slack)
        used = values > 1e-3
        share = float(inside[used].mean())
        sentences = [
            f"g(r) of the data lies inside the 90 % predictive band, widened by two standard errors of the data, in"
            f" {100 * share:.0f} % of the bins.",
            analysis.pressure_sentence(predicted.pressure, known, error, pressure),
        ]
        return groups, sentences

    def _distance_grid(self, loaded: _Loaded) -> np.ndarray:
        reach = max(t.cutoff for t in terms_of(loaded.potential) if isinstance(t, PairPotential))
        counts = loaded.statistics.pair_counts.sum(axis=0)
        edges = self._distance_edges(loaded.frames, loaded.potential)
        assert edges is not None
        first = float(edges[int(np.argmax(counts > 0))])
        return np.linspace(max(0.85 * first, 0.05 * reach), reach, 400)

    def _block_scores(self, loaded: _Loaded, fit: FitResult) -> xr.Dataset:
        """log p of contiguous blocks of at least 4 g frames, at every 4th calibrated draw."""
        prior, statistics = loaded.prior, loaded.statistics
        g = float(np.max(fit.calibration.long_run.inefficiency))
        size = int(np.ceil(4.0 * g))
        edges, start = [0], 0
        for n in statistics.trajectory_lengths():
            blocks = max(1, n // size)
            edges += [start + round(n * (k + 1) / blocks) for k in range(blocks)]
            start += n
        z = fit.calibrated[:, ::4]
        flat = jnp.asarray(z.reshape(-1, z.shape[-1]))
        bounds = np.asarray(edges)

        def one(point):
            return inference.block_log_likelihood(
                statistics, fit.likelihood, prior.potential(point), edges=bounds
            )

        scores = np.asarray(jax.lax.map(one, flat, batch_size=16)).reshape(*z.shape[:2], -1)
        return xr.Dataset(
            {"frames": (("chain", "draw", "block"), scores)},
            coords={"draw": np.arange(0, fit.calibrated.shape[1], 4), "first_frame": ("block", bounds[:-1])},
            attrs={
                "anchor": fit.bank.anchor,
                "meaning": "joint log density of each block, log Z relative to the anchor; calibrated draws",
            },
        )


def _coordinate_names(prior: Prior, potential: Potential, units: UnitSystem) -> tuple[list[str], np.ndarray]:
    """Readable names of all coordinates, and which of them are parameters of the potential."""
    infos = {info.name: info for info in potential.parameters()}
    names = []
    for coordinate in prior.coordinates:
        info = infos.get(coordinate.site)
        at = info.coordinate[coordinate.place[0]] if info is not None and info.coordinate else None
        names.append(str(coordinate) if at is None else f"{coordinate.site}[{at:.3g} {units.unit('length')}]")
    return names, np.asarray([i for i, c in enumerate(prior.coordinates) if c.site in infos])


def _agreement(statistics: SufficientStatistics) -> float:
    """Largest difference between trajectories (or halves of one) in any feature, in standard errors."""
    varying = statistics.features[:, statistics.features.std(axis=0) > 0.0]
    return float(np.max(trajectory_agreement(varying, statistics.trajectory_lengths()).z))


def _identifiability_dataset(result: analysis.Identifiability, names: list[str]) -> xr.Dataset:
    fields = ("fisher_eigenvalue", "prior_relative", "contraction", "independent_frames", "fluctuation_ratio")
    variables: dict[str, Any] = {field: ("direction", getattr(result, field)) for field in fields}
    variables["eigenvector"] = (("direction", "parameter"), result.directions)
    return xr.Dataset(variables, coords={"parameter": names})


def _curves(prior: Prior, potential: Potential, distance: np.ndarray):
    """u(r) at points z."""
    r2 = jnp.asarray(distance**2)

    def one(z):
        terms = terms_of(prior.potential(z))
        return sum(term.pair_energy(r2) for term in terms if isinstance(term, PairPotential))

    mapped = jax.jit(jax.vmap(one))
    return lambda z: np.asarray(mapped(jnp.asarray(z)))


def pair_tables(folder: Path, n_draws: int, *, points: int = 1000) -> output.PairTables:
    """Fine tables of the mean potential and of an ensemble of calibrated draws of a stored run.

    Args:
        folder: the run's output folder.
        n_draws: draws in the ensemble, spread evenly over the chains.
        points: distances in each table.

    Raises:
        InputError: no result, a model that is not a pair potential, or more draws than there are.
    """
    tree = output.open_result(folder)
    model = parse_model_file(tree.attrs["model_file_text"], folder / "posterior.nc")
    potential = build_potential(model)
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
    provenance = {
        "calibration": tree.attrs["calibration"],
        "title": tree.attrs["title"],
        "data_checksum": tree.attrs["data_checksum"],
        "seed": int(tree.attrs["seed"]),
    }
    return output.PairTables(
        distance, energy[index], force[index], energy.mean(axis=0), force.mean(axis=0), ids, units, provenance
    )


def _require_64_bit() -> None:
    if not jax.config.read("jax_enable_x64"):
        raise InputError(
            "free energies need 64-bit arithmetic: call jax.config.update('jax_enable_x64', True) before anything else"
        )
