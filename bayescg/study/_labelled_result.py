"""From a finished inference on labelled data to the DataTree that is stored."""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from bayescg import analysis, inference
from bayescg.analysis import Check, CoverageDraws
from bayescg.data import Configurations, UnitSystem
from bayescg.inference import LabelFit, LabelFitter, LabelledData, Prior
from bayescg.physics import CrystalProperty, InteratomicPotential
from bayescg.study._ensembles import MEANING, Ensemble, compared_check, kind_of
from bayescg.study._labelled_schema import LabelledModelFile
from bayescg.study._many_body_build import standardisations
from bayescg.study._result import identifiability_dataset


class LabelledLoaded(NamedTuple):
    """Data and model of a study of labelled configurations, ready for inference.

    Attributes:
        train: configurations that are learned from.
        held_out: configurations that are only predicted, or None.
        potential: with the model file's values.
        prior: of parameters and noise scales.
        data: the training configurations with neighbours and labels.
        test: the held-out ones, or None.
        properties: what is computed at posterior draws.
    """

    train: Configurations
    held_out: Configurations | None
    potential: InteratomicPotential
    prior: Prior
    data: LabelledData
    test: LabelledData | None
    properties: tuple[CrystalProperty, ...]


class LabelledResultBuilder:
    """Makes the stored result of one inference on labelled data.

    Args:
        model: the model file.
        units: its unit system.
        loaded: data and model.
        fitter: that ran.
        fit: its outcome.
        ensembles: draws beside the posterior's, by name.
    """

    def __init__(
        self,
        model: LabelledModelFile,
        units: UnitSystem,
        loaded: LabelledLoaded,
        fitter: LabelFitter,
        fit: LabelFit,
        ensembles: Mapping[str, Ensemble],
    ):
        self.model, self.units, self.loaded, self.fitter, self.fit = model, units, loaded, fitter, fit
        self.ensembles = ensembles

    def tree(self, seed: int, findings: Sequence[Check]) -> xr.DataTree:
        """The DataTree without its provenance.

        Args:
            seed: of the draws of the prior, and that which the ensembles were made with.
            findings: what the doctor found wrong with the data.
        """
        loaded, fit, prior, units = self.loaded, self.fit, self.loaded.prior, self.units
        prior_draws = np.asarray(prior.sample(jax.random.key(seed + 1), 400))
        groups = inference.labelled_groups(
            fit, prior, loaded.potential, loaded.data, units, prior_draws=prior_draws
        )
        best = fit.modes[0]
        names = [str(coordinate) for coordinate in prior.coordinates]
        known = {info.name for info in loaded.potential.parameters()}
        parameters = np.asarray([i for i, c in enumerate(prior.coordinates) if c.site in known])
        found = analysis.label_identifiability(
            self.fitter.curvature(best), self.fitter.prior_information(best), self.fitter.scores(best),
            coordinates=parameters,
        )  # fmt: skip
        groups["identifiability"] = identifiability_dataset(found, [names[i] for i in parameters])
        groups["sloppiness"] = _sloppiness(
            self.fitter.curvature(best)[np.ix_(parameters, parameters)] / loaded.data.n_configurations,
            [names[i] for i in parameters],
        )
        noise = self._noise_at_mode()
        checks = [
            *analysis.sampler_checks(fit), analysis.mode_check(fit), analysis.linearisation_check(fit),
            analysis.noise_check(fit, loaded.data, noise), analysis.configurations_check(fit), *findings,
            *(ensemble.check() for ensemble in self.ensembles.values()),
            *([compared_check(loaded.test is not None)] if self.ensembles else []),
        ]  # fmt: skip
        self._add_ensembles(groups, seed)
        extra = []
        for label, data in (("train", loaded.data), ("held_out", loaded.test)):
            if data is None:
                continue
            for quantity, rows in analysis.label_residuals(prior, fit.calibrated, data, units=units).items():
                groups[f"labels/{label}/{quantity}"] = rows
        if loaded.test is not None:
            alone, noisy = (
                analysis.label_coverage(prior, fit.calibrated, loaded.test, with_noise=with_noise)
                for with_noise in (False, True)
            )
            groups["coverage"] = noisy.assign(coverage_parameters=alone["coverage"])
            extra.append(analysis.coverage_sentence(alone, noisy))
            if self.ensembles:
                groups["coverage_by_ensemble"] = self._compared(loaded.test)
                extra += analysis.ensemble_sentences(groups["coverage_by_ensemble"])
        if loaded.properties:
            source, draws = self._property_draws()
            chosen = draws[
                np.linspace(0, len(draws) - 1, min(self.model.prediction.draws, len(draws))).astype(int)
            ]
            bands = analysis.property_bands(prior, chosen, loaded.properties)
            groups["property"] = bands.assign_attrs(draws_from=source)
            if source != "posterior":
                extra.append(
                    f"Bands of properties are those of {analysis.ensemble_words(source)}, not of the posterior:"
                    f" {MEANING[source][0]}."
                )
            extra += [analysis.property_sentence(bands, name) for name in _told(bands)]
        groups["log_likelihood"] = self._scores()
        sentences = analysis.label_statement(
            fit, found, data=loaded.data, noise=noise, coordinates=[names[i] for i in parameters], units=units,
            checks=checks, spectrum=groups["sloppiness"]["eigenvalue"].values,
        )  # fmt: skip
        tree = xr.DataTree.from_dict(groups)
        tree.attrs["kind"] = "labelled"
        tree.attrs["species"] = json.dumps(loaded.potential.species)
        tree.attrs["standardisations"] = json.dumps(standardisations(loaded.potential))
        tree.attrs["groups"] = json.dumps(loaded.data.groups)
        tree.attrs["counts"] = json.dumps(loaded.data.counts)
        tree.attrs["checks"] = json.dumps([check._asdict() for check in checks])
        tree.attrs["statement"] = json.dumps(sentences[:-1] + extra + sentences[-1:])
        return tree

    def _add_ensembles(self, groups: dict[str, xr.Dataset], seed: int) -> None:
        """A group of parameters by name for each ensemble, and its unconstrained coordinates among the others."""
        table, loaded = self.model.misspecification, self.loaded
        for name, ensemble in self.ensembles.items():
            assert table is not None  # the ensembles come from it
            groups[f"posterior_{name}"] = ensemble.dataset(
                loaded.prior, loaded.potential, loaded.data, self.units, seed=seed, kind=kind_of(table, name)
            )
            groups["unconstrained"][f"z_{name}"] = ((f"draw_{name}", "coordinate"), ensemble.draws)

    def _compared(self, test: LabelledData) -> xr.Dataset:
        """Coverage of held-out labels by the posterior and by every ensemble."""
        methods = {"posterior": CoverageDraws(self.fit.calibrated)}
        methods |= {name: ensemble.for_coverage() for name, ensemble in self.ensembles.items()}
        return analysis.coverage_by_ensemble(self.loaded.prior, methods, test, units=self.units)

    def _property_draws(self) -> tuple[str, np.ndarray]:
        """Which draws the properties' bands are made from."""
        table, calibrated = self.model.misspecification, self.fit.calibrated
        if table is None or table.properties_from == "posterior":
            return "posterior", calibrated.reshape(-1, calibrated.shape[-1])
        return table.properties_from, self.ensembles[table.properties_from].draws

    def _noise_at_mode(self) -> np.ndarray:
        return np.asarray(self.loaded.prior.potential(jnp.asarray(self.fit.modes[0].mode.z)).noise.by_kind())

    def _scores(self) -> xr.Dataset:
        """log p of each configuration at every 4th calibrated draw, predictions linearised at the mode."""
        fit, prior = self.fit, self.loaded.prior
        best = fit.modes[0]
        linearised = inference.LinearisedLabels.of(
            best.rows,
            prior.potential(jnp.asarray(best.mode.z)).potential,
            n_configurations=self.loaded.data.n_configurations,
            family=self.fitter.likelihood.family,
        )
        z = fit.calibrated[:, ::4]
        flat = jnp.asarray(z.reshape(-1, z.shape[-1]))
        values = jax.lax.map(lambda point: linearised.per_configuration(prior.potential(point)), flat)
        return xr.Dataset(
            {
                "configurations": (
                    ("chain", "draw", "configuration"),
                    np.asarray(values).reshape(*z.shape[:2], -1),
                )
            },
            coords={"draw": np.arange(0, fit.calibrated.shape[1], 4)},
            attrs={
                "meaning": "joint log density of each configuration's labels; calibrated draws, predictions linearised"
                " at the mode"
            },
        )


def _sloppiness(information: np.ndarray, names: list[str]) -> xr.Dataset:
    """Eigenvalues of the information in the unconstrained coordinates, largest first, with orthonormal eigenvectors."""
    values, vectors = np.linalg.eigh((information + information.T) / 2.0)
    least = 1e-15 * max(float(values[-1]), 1e-300)
    return xr.Dataset(
        {
            "eigenvalue": (
                "direction",
                np.where(values > least, values, 0.0)[::-1],
                {"long_name": "information per configuration in the unconstrained coordinates", "units": "1"},
            ),
            "eigenvector": (("direction", "parameter"), vectors.T[::-1]),
        },
        coords={"parameter": names},
        attrs={"coordinates": "logarithms of positive parameters, the others as they are"},
    )


def _told(bands: xr.Dataset) -> list[str]:
    """Components worth a sentence: not every point of a dispersion or of an equation of state, nothing unrelaxed."""
    words = [str(text) for text in bands["long_name"].values]
    left_out = ("frequency of branch", "of the volume", "clamped", "unrelaxed")
    return [
        str(name)
        for name, text in zip(bands["component"].values, words, strict=True)
        if not any(part in text for part in left_out)
    ]
