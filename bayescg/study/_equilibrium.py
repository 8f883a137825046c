"""From frames at thermal equilibrium to a stored result: relative entropy by simulation."""

import hashlib
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from bayescg import analysis, inference
from bayescg.inference import Checkpoints, FitSettings, Fitter, Problem
from bayescg.physics import SimulationSettings, Simulator
from bayescg.progress import SilentProgress
from bayescg.study._build import build_potential, parameter_priors
from bayescg.study._clock import StageClock
from bayescg.study._compare import compare_mapping
from bayescg.study._inspect import Inspector
from bayescg.study._pipeline import Pipeline
from bayescg.study._preflight import preflight, refuse_wide_priors, sampled_distances
from bayescg.study._provenance import provenance
from bayescg.study._result import Loaded, ResultBuilder
from bayescg.study._samplers import sampler_choice
from bayescg.study._schema import ModelFile
from bayescg.study._setup_checks import box_checks, start_time_step
from bayescg.study._sources import open_data
from bayescg.study._survey import survey_frames


class EquilibriumPipeline(Pipeline[ModelFile, Loaded]):
    """Frames, simulations, MAP, draws, verification, predictions."""

    def check(self) -> list[analysis.Check]:
        loaded = self.load(StageClock(SilentProgress()))
        checks = preflight(loaded.survey, loaded.potential, loaded.parameter_priors)
        checks += box_checks(loaded.survey, loaded.potential)
        checks.append(start_time_step(loaded, self._simulator(loaded), start=self.model.inference.start))
        return checks + [check for check in [loaded.mapping] if check is not None]

    def refuse(self, loaded: Loaded) -> None:
        refuse_wide_priors(loaded.survey, loaded.potential, loaded.parameter_priors, path=self.path)

    def load(self, clock: StageClock) -> Loaded:
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

    def infer(
        self, loaded: Loaded, folder: Path, clock: StageClock, *, seed: int, quick: bool
    ) -> xr.DataTree:
        checksum = loaded.survey.checksum
        checkpoints = self.checkpoints(folder, checksum, seed=seed, quick=quick)
        with clock.stage(f"starting point by {self.model.inference.start}", "start"):
            start = self._start(loaded, checkpoints, seed)
        problem = self._problem(loaded, start)
        fitter = Fitter(
            problem, self._settings(loaded, seed, quick), checkpoints=checkpoints, progress=clock.progress
        )
        fit = fitter.run()
        clock.add(fit.seconds)
        with clock.stage("predicting", "predict"):
            builder = ResultBuilder(
                self.model, self.units, loaded, fit, data_checks=self._data_checks(loaded)
            )
            tree = builder.tree(seed)
        tree.attrs |= provenance(
            self.model,
            self.text,
            checksum=checksum,
            seed=seed,
            quick=quick,
            calibration=inference.CALIBRATION,
        )
        system = self._system_identity(loaded)
        tree.attrs["log_z_anchor"] = analysis.log_z_anchor(fit.bank, system=system)
        with clock.stage("writing", "report"):
            inference.write_bank(fit.bank, folder / "bank.nc", system=system)
            self.write(tree, folder, clock)
        self.finish(tree, folder, clock)
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

    def _simulator(self, loaded: Loaded) -> Simulator:
        survey, table = loaded.survey, self.model.simulation
        settings = SimulationSettings(
            table.time_step,
            table.friction,
            table.stride,
            table.replicas,
            table.equilibration,
            metropolis=True,
        )
        return Simulator(
            loaded.potential,
            topology=survey.source.topology,
            box=survey.box,
            units=self.units,
            temperature=self.model.temperature,
            settings=settings,
            distance_edges=survey.distance_edges,
        )

    def _problem(self, loaded: Loaded, start: np.ndarray) -> Problem:
        survey, table = loaded.survey, self.model.simulation
        factor, shown = {"ps": (1e-3, "ns"), "fs": (1e-6, "ns")}.get(self.units.time, (1.0, self.units.time))
        return Problem(
            loaded.prior,
            loaded.statistics,
            self.units.beta(self.model.temperature),
            self._simulator(loaded),
            start,
            survey.configurations,
            table.stride * table.time_step * table.replicas * factor,
            shown,
            factor,
        )

    def _settings(self, loaded: Loaded, seed: int, quick: bool) -> FitSettings:
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
            sampler=sampler_choice(self.model, loaded, self.units),
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
