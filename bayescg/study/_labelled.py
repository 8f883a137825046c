"""From labelled configurations to a stored result: energies, forces and stresses against predictions."""

import dataclasses
import hashlib
from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import xarray as xr

from bayescg import inference
from bayescg.analysis import Check
from bayescg.data import Configurations, examine
from bayescg.errors import InputError
from bayescg.inference import (
    EnergyForceStress,
    LabelFitter,
    LabelSettings,
    labelled_prior,
)
from bayescg.physics import CrystalProperty, InteratomicPotential, PropertyCode, PropertyValues
from bayescg.progress import SilentProgress
from bayescg.study._clock import StageClock
from bayescg.study._ensembles import announce_ensembles, make_ensembles, refuse_ensembles
from bayescg.study._interatomic_build import (
    build_interatomic,
    build_properties,
    interatomic_priors,
    noise_family,
    noise_scales,
)
from bayescg.study._keys import blame
from bayescg.study._labelled_data import divide, read_labelled
from bayescg.study._labelled_result import LabelledLoaded, LabelledResultBuilder
from bayescg.study._labelled_schema import LabelledModelFile
from bayescg.study._many_body_build import standardised
from bayescg.study._net_charge import net_charge_checks
from bayescg.study._pipeline import Pipeline
from bayescg.study._provenance import provenance

VERDICTS = {"error": "failed", "warning": "warning", "note": "note"}
"""What the doctor's findings are called among the checks, by their severity."""


class LabelledPipeline(Pipeline[LabelledModelFile, LabelledLoaded]):
    """Configurations, modes, draws, width, held-out coverage, properties."""

    def load(self, clock: StageClock) -> LabelledLoaded:
        model, path = self.model, self.path
        with clock.stage("reading configurations", "read"):
            every = read_labelled(model.data, path=path, units=self.units)
            train, held_out = divide(model.data, every, path=path)
            potential = build_interatomic(model, every.species, path=path, configurations=every)
            with blame(path, "data"):
                potential = standardised(potential, train)
            properties = build_properties(model, potential, self.units, path=path)
        # noise of groups that were not learned from is that of all groups together
        learned, asked = train, held_out
        if held_out is not None and not set(held_out.group) <= set(train.group):
            learned, asked = _one_group(train), _one_group(held_out)
        reach, species, use = potential.cutoff, potential.species, model.data.use
        with clock.stage("finding neighbours", "neighbours"), blame(path, "data"):
            data = inference.labelled_data(learned, cutoff=reach, species=species, quantities=use)
            test = None
            if asked is not None:
                test = inference.labelled_data(
                    asked, cutoff=reach, species=species, quantities=use, groups=data.groups
                )
        priors = interatomic_priors(model, potential, path=path)
        with blame(path, "prior"):
            prior = labelled_prior(potential, priors, noise=noise_scales(model), data=data)
        return LabelledLoaded(train, held_out, potential, prior, data, test, tuple(properties))

    def check(self) -> list[Check]:
        loaded = self.load(StageClock(SilentProgress()))
        self._refuse_ensembles(loaded)
        asked = announce_ensembles(
            self.model.misspecification, loaded.potential, loaded.data, held_out=loaded.test is not None
        )
        charges = net_charge_checks(loaded.potential, loaded.train)
        return [
            *self._findings(loaded),
            *charges,
            self._effect(loaded),
            *asked,
            *self._properties_now(loaded),
        ]

    def refuse(self, loaded: LabelledLoaded) -> None:
        self._start(loaded)
        self._refuse_ensembles(loaded)

    def infer(
        self, loaded: LabelledLoaded, folder: Path, clock: StageClock, *, seed: int, quick: bool
    ) -> xr.DataTree:
        parts = [loaded.train, *([] if loaded.held_out is None else [loaded.held_out])]
        checksum = hashlib.sha256("".join(part.checksum() for part in parts).encode()).hexdigest()
        checkpoints = self.checkpoints(folder, checksum, seed=seed, quick=quick)
        likelihood = EnergyForceStress(
            loaded.data,
            family=noise_family(self.model),
            power=jnp.asarray(self.model.likelihood.power),
        )
        with clock.stage("inferring", "infer"):
            fitter = LabelFitter(
                loaded.prior, likelihood, start=self._start(loaded),
                settings=self._settings(seed, quick), checkpoints=checkpoints, progress=clock.progress,
            )  # fmt: skip
            with blame(self.path, "noise"):
                fit = fitter.run()
        ensembles = make_ensembles(
            self.model.misspecification, loaded.prior, loaded.data, fit, seed=seed, quick=quick, path=self.path,
            checkpoints=checkpoints, clock=clock,
        )  # fmt: skip
        builder = LabelledResultBuilder(self.model, self.units, loaded, fitter, fit, ensembles)
        with clock.stage("predicting", "predict"):
            serious = [check for check in self._findings(loaded) if check.verdict != "note"]
            tree = builder.tree(seed, serious)
        tree.attrs |= provenance(
            self.model, self.text, checksum=checksum, seed=seed, quick=quick,
            calibration=inference.LABEL_CALIBRATION,
        )  # fmt: skip
        with clock.stage("writing", "report"):
            self.write(tree, folder, clock)
        self.finish(tree, folder, clock)
        return tree

    def _start(self, loaded: LabelledLoaded) -> np.ndarray:
        """The model file's own parameters; noise scales as large as those of their priors."""
        sites = dict(loaded.prior.sites(jnp.zeros(loaded.prior.size)))
        for name, table in self.model.noise.items():
            for site in (f"noise_{name}", f"noise_{name}_common"):
                if site in sites and table.learned is not None:
                    sites[site] = jnp.full(jnp.shape(sites[site]), table.learned)
        sites.update(loaded.potential.parameter_values())
        z = np.asarray(loaded.prior.unconstrain(sites))
        outside = ~np.isfinite(z)
        if outside.any():
            site = loaded.prior.coordinates[int(np.argmax(outside))].site
            raise InputError(
                f"{self.path}: key 'prior.{site}': the parameter's value in the model file lies outside its prior; widen"
                " the prior or change the value"
            )
        return z

    def _refuse_ensembles(self, loaded: LabelledLoaded) -> None:
        refuse_ensembles(self.model.misspecification, loaded.potential, loaded.data, path=self.path)

    def _findings(self, loaded: LabelledLoaded) -> list[Check]:
        found = examine(loaded.train, cutoff=loaded.potential.cutoff or None)
        return [Check(f.name, VERDICTS[f.severity], None, None, f.sentence) for f in found]

    def _effect(self, loaded: LabelledLoaded) -> Check:
        """Parameters whose change changes no prediction."""
        rows = inference.label_rows(loaded.potential, loaded.data)
        names = [
            f"{name}[{i}]" if value.size > 1 else name
            for name, value in loaded.potential.parameter_values().items()
            for i in range(value.size)
        ]
        idle = [name for name, column in zip(names, rows.jacobian.T, strict=True) if not np.any(column)]
        if idle:
            some = ", ".join(idle[:8]) + (f" and {len(idle) - 8} more" if len(idle) > 8 else "")
            return Check(
                "effect", "failed", float(len(idle)), 0.0,
                f"No prediction changes with {some}: only the prior will say anything about them; hold them, or add"
                " data.",
            )  # fmt: skip
        return Check("effect", "passed", 0.0, 0.0, "Every parameter changes some prediction.")

    def _properties_now(self, loaded: LabelledLoaded) -> list[Check]:
        """Whether each property can be computed with the model file's own parameters."""
        checks = []
        for one in loaded.properties:
            code = int(_value(one, loaded.potential).code)
            told = {member.value: member for member in PropertyCode}[code]
            checks.append(
                Check(
                    f"property {one.name}", "passed" if code == 0 else "warning", None, None,
                    f"With the model file's parameters: {told}.",
                )
            )  # fmt: skip
        return checks

    def _settings(self, seed: int, quick: bool) -> LabelSettings:
        table = self.model.inference
        settings = LabelSettings(
            seed=seed,
            n_starts=table.starts,
            n_chains=table.chains,
            n_warmup=table.warmup,
            n_draws=table.draws,
        )
        return settings._replace(n_warmup=100, n_draws=60, n_starts=1) if quick else settings


def _one_group(configurations: Configurations) -> Configurations:
    """The same, all in one group."""
    return dataclasses.replace(configurations, group=("all",) * len(configurations))


@eqx.filter_jit
def _value(one: CrystalProperty, potential: InteratomicPotential) -> PropertyValues:
    return one.evaluate(potential)
