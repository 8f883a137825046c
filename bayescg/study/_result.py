"""From a finished inference to the DataTree that is stored: groups, checks, statement."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from bayescg import analysis, inference
from bayescg.data import (
    UnitSystem,
    radial_distribution,
    statistical_inefficiency,
    trajectory_agreement,
)
from bayescg.inference import FitResult, Prior
from bayescg.physics import PairPotential, Potential, ReferenceBank, SufficientStatistics
from bayescg.physics._potential import terms_of
from bayescg.physics._result import Result
from bayescg.study._build import ParameterPrior
from bayescg.study._schema import ModelFile
from bayescg.study._survey import Survey


class Loaded(NamedTuple):
    """Data and model of a study, ready for inference.

    Attributes:
        survey: what was kept of the mapped frames.
        potential: the potential with the model file's values.
        prior: the prior.
        parameter_priors: of each parameter.
        mapping: the comparison with atomistic files, or None.
    """

    survey: Survey
    potential: Potential
    prior: Prior
    parameter_priors: Mapping[str, ParameterPrior]
    mapping: analysis.Check | None

    @property
    def statistics(self) -> SufficientStatistics:
        """The sufficient statistics of the mapped frames."""
        return self.survey.statistics


class ResultBuilder:
    """Makes the stored result of one inference.

    Args:
        model: the model file.
        units: its unit system.
        loaded: data and model.
        fit: the inference's outcome.
        data_checks: checks of data and mapping to repeat in the result.
    """

    def __init__(
        self,
        model: ModelFile,
        units: UnitSystem,
        loaded: Loaded,
        fit: FitResult,
        *,
        data_checks: Sequence[analysis.Check],
    ):
        self.model, self.units, self.loaded, self.fit = model, units, loaded, fit
        self.data_checks = data_checks

    def tree(self, seed: int) -> xr.DataTree:
        """The DataTree without its provenance."""
        loaded, fit = self.loaded, self.fit
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
        groups["identifiability"] = identifiability_dataset(identified, [names[i] for i in parameters])
        checks = [analysis.verification_check(fit), *analysis.sampler_checks(fit)]
        flat = fit.calibrated.reshape(-1, fit.calibrated.shape[-1])
        some = jnp.asarray(flat[:: max(1, len(flat) // 50)])
        k_hat = analysis.reweighting_khat(
            fit.bank, np.asarray(jax.vmap(lambda z: prior.potential(z).coefficients())(some))
        )
        checks += analysis.bank_checks(fit, float(np.nanmax(identified.independent_frames)), k_hat)
        checks += [analysis.bias_check(fit), analysis.data_check(identified), *self.data_checks]
        sentences = analysis.statement(
            fit, identified, n_frames=statistics.n_frames, coordinates=[names[i] for i in parameters], checks=checks,
            agreement_z=_agreement(statistics), n_trajectories=len(statistics.trajectory_lengths()),
        )  # fmt: skip
        if all(isinstance(term, PairPotential) for term in terms_of(loaded.potential)):
            structure, extra = self._structure(prior_draws)
            groups |= structure
            sentences = sentences[:-1] + extra + sentences[-1:]
        groups["log_likelihood"] = self._block_scores()
        tree = xr.DataTree.from_dict(groups)
        tree.attrs["checks"] = json.dumps([check._asdict() for check in checks])
        tree.attrs["statement"] = json.dumps(sentences)
        tree.attrs["result_codes"] = json.dumps(_results(fit.bank))
        return tree

    def _structure(self, prior_draws: np.ndarray) -> tuple[dict[str, xr.Dataset], list[str]]:
        """g(r), pressure and potential curves at draws, beside the data's."""
        loaded, fit = self.loaded, self.fit
        prior, survey, units = loaded.prior, loaded.survey, self.units
        edges = survey.distance_edges
        assert edges is not None
        coefficients = jax.jit(jax.vmap(lambda z: prior.potential(z).coefficients()))
        flat = fit.calibrated.reshape(-1, fit.calibrated.shape[-1])
        chosen = flat[np.linspace(0, len(flat) - 1, min(self.model.prediction.draws, len(flat))).astype(int)]
        eta = np.asarray(coefficients(jnp.asarray(chosen)))
        system = analysis.System(
            survey.n_sites, float(np.prod(survey.box)), self.model.temperature, units, edges
        )
        predicted = analysis.predict_structure(fit.bank, eta, system)
        observed = radial_distribution(survey.source, edges=edges, exclude="nothing")
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
        if survey.pressure is not None:
            lengths = survey.statistics.trajectory_lengths()
            g = float(statistical_inefficiency(survey.pressure, lengths=lengths)[0])
            known = float(survey.pressure.mean())
            error = float(survey.pressure.std(ddof=1) * np.sqrt(g / survey.n_frames))
            data["pressure"] = ((), known, {"units": pressure})
            data["pressure_se"] = ((), error, {"units": pressure, "long_name": "standard error of the mean"})
        distance = self._distance_grid()
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
        values, errors = observed["rdf"].values, observed["rdf_se"].values
        sentences = [
            analysis.rdf_sentence(values, errors, predicted.rdf, r=centres, cutoff=float(distance[-1])),
            analysis.pressure_sentence(predicted.pressure, known, error, pressure),
        ]
        return groups, sentences

    def _distance_grid(self) -> np.ndarray:
        loaded = self.loaded
        reach = max(t.cutoff for t in terms_of(loaded.potential) if isinstance(t, PairPotential))
        counts, edges = loaded.survey.pair_counts, loaded.survey.distance_edges
        assert edges is not None
        first = float(edges[int(np.argmax(counts > 0))])
        return np.linspace(max(0.85 * first, 0.05 * reach), reach, 400)

    def _block_scores(self) -> xr.Dataset:
        """log p of contiguous blocks of at least 4 g frames, at every 4th calibrated draw."""
        loaded, fit = self.loaded, self.fit
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
            coords={
                "draw": np.arange(0, fit.calibrated.shape[1], 4),
                "first_frame": ("block", bounds[:-1]),
                "n_frames": ("block", np.diff(bounds)),
            },
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


def identifiability_dataset(result: analysis.Identifiability, names: list[str]) -> xr.Dataset:
    fields = ("fisher_eigenvalue", "prior_relative", "contraction", "independent_frames", "fluctuation_ratio")
    variables: dict[str, Any] = {field: ("direction", getattr(result, field)) for field in fields}
    variables["eigenvector"] = (("direction", "parameter"), result.directions)
    return xr.Dataset(variables, coords={"parameter": names})


def _curves(prior: Prior, potential: Potential, distance: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """u(r) at points z."""
    r2 = jnp.asarray(distance**2)

    def one(z):
        terms = terms_of(prior.potential(z))
        return sum(term.pair_energy(r2) for term in terms if isinstance(term, PairPotential))

    mapped = jax.jit(jax.vmap(one))
    return lambda z: np.asarray(mapped(jnp.asarray(z)))


def _results(bank: ReferenceBank) -> dict[str, int]:
    """How many trajectories of the reference simulations ended with each result."""
    counts = np.sum([r.results for r in bank.references if r.results], axis=0)
    return {code.name: int(n) for code, n in zip(Result, np.atleast_1d(counts), strict=False)}
