"""The ensembles of `[misspecification]`: what they need, how they are made, and what each one's spread means."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax
import numpy as np
import xarray as xr
from jaxtyping import Float

from bayescg import inference
from bayescg.analysis import Check, CoverageDraws, ensemble_words
from bayescg.analysis._ensemble_coverage import BENT
from bayescg.data import UnitSystem
from bayescg.errors import ConvergenceError, InputError
from bayescg.inference import Checkpoints, LabelFit, LabelledData, Prior
from bayescg.inference._labelled import batch_residuals
from bayescg.inference._linearised import parameter_vector, with_parameter_vector
from bayescg.physics import InteratomicPotential
from bayescg.physics._design_matrix import has_design_matrix
from bayescg.study._clock import StageClock
from bayescg.study._keys import blame
from bayescg.study._labelled_schema import MisspecificationTable

KEY = "misspecification.ensembles"
LEAST = {"pops": 1, "discrepancy": 3, "bootstrap": 2}
"""Fewest labelled configurations that each can be made of."""
MOST_STEPS = 100
"""Gauss–Newton steps after which a resampled data set counts as one without a mode."""
UNBOUNDED = 1e5
"""Strength of a discrepancy from which on its likelihood has no maximum to be found."""
QUICK = 60
"""Draws and resamples of a test of the pipeline."""

MEANING = {
    "pops": (
        "parameters that say one label exactly each, at the least loss otherwise",
        "not a posterior: the labels' own errors count as errors of the form, and no draw has a probability",
    ),
    "discrepancy": (
        "parameters that a configuration not seen yet would have: what is unknown of the shared ones, and how far"
        " configurations stray from them",
        "not the uncertainty of the shared parameters, nor of averages over many configurations, which vary less",
    ),
    "bootstrap": (
        "modes of data whose configurations are drawn with replacement: how far the best compromise moves with other data",
        "not how wrong the compromise is: no error of the form is in it",
    ),
}
"""What each one's spread is, and what it is not."""


class Ensemble(NamedTuple):
    """Draws of one method.

    Attributes:
        name: as in the model file.
        draws: unconstrained coordinates, noise scales held at the mode's.
        numbers: what else is known of how they were made: `noise_factor`, `linearisation_error` and so on.
    """

    name: str
    draws: Float[np.ndarray, "draw coordinate"]
    numbers: Mapping[str, float]

    def for_coverage(self) -> CoverageDraws:
        """The draws as a coverage report takes them: with noise told from misfit, and none where both are one."""
        return CoverageDraws(
            self.draws,
            noise_factor=self.numbers.get("noise_factor", 1.0),
            with_noise=self.name != "pops",
            linearisation_error=self.numbers.get("linearisation_error", 0.0),
        )

    def dataset(
        self,
        prior: Prior,
        potential: InteratomicPotential,
        data: LabelledData,
        units: UnitSystem,
        *,
        seed: int,
        kind: str,
    ) -> xr.Dataset:
        """The group of the result: one chain of parameters by name, and what their spread is."""
        spread, is_not = MEANING[self.name]
        attributes: dict[str, str | int | float] = {
            "ensemble": self.name,
            "kind": kind,
            "spread": spread,
            "is_not": is_not,
            "scales": "noise scales are held at the mode's; multiply them by noise_factor where it is given",
            "calibration": f"{ensemble_words(self.name)} ensemble",
            "seed": seed,
            **self.numbers,
        }
        return inference.labelled_dataset(
            prior, potential, data, self.draws[None], units, attributes=attributes
        )

    def check(self) -> Check:
        """Whether the linear predictions that the draws were made with hold at the draws."""
        words, error = ensemble_words(self.name), self.numbers.get("linearisation_error")
        name = f"ensemble {self.name}"
        if self.numbers.get("strength", 0.0) > UNBOUNDED:
            return Check(
                name, "warning", None, None,
                "The labels of one configuration fix parameters of its own, whatever they are, and the discrepancy runs away:"
                " use configurations with more labels than there are parameters, or another ensemble.",
            )  # fmt: skip
        if error is None:
            return Check(
                name,
                "passed",
                None,
                None,
                "Every resampled data set's mode was found; nothing was linearised.",
            )
        if error < 1e-6:
            return Check(
                name, "passed", error, BENT, f"Predictions are linear: the draws of {words} are exact."
            )
        if error < BENT:
            return Check(
                name, "passed", error, BENT,
                f"Linear predictions, which {words} is made with, miss {100 * error:.2g} % of the changes at its draws.",
            )  # fmt: skip
        if error == float("inf"):
            return Check(
                name, "warning", None, BENT,
                f"At draws of {words} predictions are not finite: they are not what was asked for; use narrower priors or"
                " `bootstrap`.",
            )  # fmt: skip
        return Check(
            name, "warning", error, BENT,
            f"Linear predictions, which {words} is made with, miss {_percent(error)} of the changes at its draws: these are"
            " not what was asked for; judge them by their properties, and use narrower priors or `bootstrap`.",
        )  # fmt: skip


def refuse_ensembles(
    table: MisspecificationTable | None, potential: InteratomicPotential, data: LabelledData, *, path: Path
) -> None:
    """Raise where an ensemble can't be made.

    Args:
        table: of the model file.
        potential: with the model file's values.
        data: training configurations.
        path: the model file.

    Raises:
        InputError: too few configurations, or labels that no parameter changes.
    """
    if table is None:
        return
    n = _n_labelled(data)
    for name in table.ensembles:
        if n < LEAST[name]:
            raise InputError(
                f"{path}: key '{KEY}': '{name}' needs at least {LEAST[name]} labelled training configurations, found {n};"
                f" add configurations, hold fewer out, or leave '{name}' out"
            )
    if "pops" in table.ensembles and not _depends(potential, data):
        raise InputError(
            f"{path}: key '{KEY}': 'pops' needs labels that change with the parameters, and none of those in data.use does;"
            " add quantities to data.use or leave 'pops' out"
        )


def announce_ensembles(
    table: MisspecificationTable | None,
    potential: InteratomicPotential,
    data: LabelledData,
    *,
    held_out: bool,
) -> list[Check]:
    """What will be made, among the checks before a run.

    Args:
        table: of the model file.
        potential: its parameters that vary are counted.
        data: training configurations.
        held_out: whether there are configurations to compare with.
    """
    if table is None:
        return []
    n, size = _n_labelled(data), int(parameter_vector(potential).size)
    exact = has_design_matrix(potential)
    linearised = "predictions are linear in the parameters" if exact else "predictions linearised at the mode"
    told = {
        "pops": f"{table.draws} draws, {kind_of(table, 'pops')}; {linearised}.",
        "discrepancy": f"{table.draws} draws, {kind_of(table, 'discrepancy')}, from {n} configurations; {linearised}.",
        "bootstrap": f"{table.resamples} draws, {kind_of(table, 'bootstrap')}, from {n} configurations"
        + ("." if exact else "; each may take several evaluations of all predictions and their derivatives."),
    }
    checks = []
    for name in table.ensembles:
        few = name != "pops" and n < size
        warning = (
            f" {n} configurations for {size} parameters: much of its width is the prior's." if few else ""
        )
        checks.append(
            Check(
                f"ensemble {name}", "warning" if few else "note", None, None, f"Will be made: {told[name]}{warning}"
            )
        )  # fmt: skip
    checks.append(compared_check(held_out))
    if table.properties_from != "posterior":
        checks.append(
            Check(
                "properties from", "note", None, None,
                f"Bands of properties will be those of {ensemble_words(table.properties_from)}, not of the posterior.",
            )
        )  # fmt: skip
    return checks


def compared_check(held_out: bool) -> Check:
    """Whether anything will tell which ensemble covers."""
    if held_out:
        return Check(
            "ensembles compared", "passed", None, None,
            "Posterior and ensembles are compared by their coverage of held-out labels.",
        )  # fmt: skip
    return Check(
        "ensembles compared", "warning", None, None,
        "No configuration is held out, so that nothing says which ensemble covers: give data.held_out_groups or"
        " data.held_out_fraction.",
    )  # fmt: skip


def kind_of(table: MisspecificationTable, name: str) -> str:
    """Which draws they are, in a few words."""
    if name == "pops":
        return {
            "hypercube": "spread evenly over the hypercube of the pointwise optima",
            "optima": "of the pointwise optima themselves, with replacement",
        }[table.pops]
    return {
        "discrepancy": "of the parameters that a new configuration would have",
        "bootstrap": "the mode of one resampled data set each",
    }[name]


def make_ensembles(
    table: MisspecificationTable | None,
    prior: Prior,
    data: LabelledData,
    fit: LabelFit,
    *,
    seed: int,
    quick: bool,
    path: Path,
    checkpoints: Checkpoints,
    clock: StageClock,
) -> dict[str, Ensemble]:
    """All ensembles that the model file names, about the highest mode; those of a stopped run are taken up again.

    Raises:
        InputError: an ensemble that can't be made after all, with the key.
    """
    if table is None:
        return {}
    if quick:
        table = table.model_copy(update={"draws": QUICK, "resamples": QUICK})
    made: dict[str, Ensemble] = {}
    for name in table.ensembles:
        with clock.stage(f"making the ensemble {name}", name), blame(path, KEY):
            saved = checkpoints.load(f"ensemble_{name}")
            if saved is None:
                ensemble = _make(name, table, prior, data, fit, seed=seed, clock=clock)
                numbers = {key: np.asarray(value) for key, value in ensemble.numbers.items()}
                checkpoints.save(f"ensemble_{name}", {"draws": ensemble.draws, **numbers})
            else:
                draws = saved.pop("draws")
                ensemble = Ensemble(name, draws, {key: value.item() for key, value in saved.items()})
            made[name] = ensemble
    return made


def _make(
    name: str,
    table: MisspecificationTable,
    prior: Prior,
    data: LabelledData,
    fit: LabelFit,
    *,
    seed: int,
    clock: StageClock,
) -> Ensemble:
    best = fit.modes[0]
    if name == "bootstrap":
        try:
            found = inference.bootstrap(
                prior, data, best.mode.z, n=table.resamples, seed=seed, rows=best.rows, max_steps=MOST_STEPS,
                progress=clock.progress,
            )  # fmt: skip
        except ConvergenceError as error:
            raise InputError(
                f"'bootstrap': the mode of a resampled data set was not found in {MOST_STEPS} steps; give narrower priors"
                " or more configurations, or leave 'bootstrap' out"
            ) from error
        return Ensemble(name, found.draws, {"linear": int(found.linear), "most_steps": found.most_steps})
    white = inference.white_rows(prior, best.mode.z, data, rows=best.rows)
    numbers: dict[str, float] = {}
    if name == "pops":
        draw = inference.pops_hypercube if table.pops == "hypercube" else inference.pops_ensemble
        draws = draw(white, n=table.draws, seed=seed)
    else:
        discrepancy = inference.configuration_discrepancy(white)
        draws = discrepancy.new_configuration_draws(n=table.draws, seed=seed)
        numbers |= {
            "strength": discrepancy.strength,
            "noise_factor": discrepancy.noise_factor,
            "gain": discrepancy.gain,
        }
    numbers["linearisation_error"] = inference.linearisation_error(prior, white, draws, data, rows=best.rows)
    return Ensemble(name, draws, numbers)


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 1.0 else "all"


def _n_labelled(data: LabelledData) -> int:
    """Configurations with at least one label in use."""
    owners = set()
    for batch in data.batches:
        index = np.asarray(batch.environments.configuration_index)
        of_atom = np.minimum(np.asarray(batch.environments.configuration), len(index) - 1)
        labelled = (np.asarray(batch.energy_weight) > 0.0) | (np.asarray(batch.stress_weight) > 0.0)
        labelled[of_atom[np.asarray(batch.force_weight) > 0.0]] = True
        owners |= set(index[labelled & (index >= 0)].tolist())
    return len(owners)


def _depends(potential: InteratomicPotential, data: LabelledData) -> bool:
    """Whether a small change of all parameters changes any prediction."""
    vector = parameter_vector(potential)
    moved = with_parameter_vector(potential, vector * 1.001 + 1e-6)
    residuals = eqx.filter_jit(batch_residuals)
    for batch in data.batches:
        here, there = (jax.tree.leaves(residuals(p, batch)) for p in (potential, moved))
        if any(not np.array_equal(a, b) for a, b in zip(here, there, strict=True)):
            return True
    return False
