"""Checks of the simulations that a run will make, before it makes them: the box, and the time step."""

import jax.numpy as jnp
import numpy as np

from bayescg import inference
from bayescg.analysis import Check, box_check, time_step_verdict
from bayescg.errors import ConvergenceError
from bayescg.inference._force_matching import FRAMES_AT_ONCE, SMALL_SYSTEM
from bayescg.inference._linear_gaussian import QuadraticForm, QuadraticSearch, prior_centre
from bayescg.inference._score_matching import score_form
from bayescg.physics import PairPotential, Potential, Simulator, SplinePair
from bayescg.physics._chain_size import radius_of_gyration, whole_chains
from bayescg.physics._fastest_vibration import fastest_frequencies
from bayescg.physics._potential import terms_of
from bayescg.study._result import Loaded
from bayescg.study._survey import Survey

LOOKED_AT = 5
"""Frames whose fastest vibration is looked at; the median counts."""
CLEAR = 3.0
"""Times the fewest steps per period from which on the model file's own parameters settle the question."""


def box_checks(survey: Survey, potential: Potential) -> list[Check]:
    """The box against the longest cutoff and, where molecules have several sites, their size; none without pairs.

    Args:
        survey: of the frames.
        potential: of the model.
    """
    pairs = [term for term in terms_of(potential) if isinstance(term, PairPotential)]
    if not pairs:
        return []
    longest = max(pairs, key=lambda term: term.cutoff)
    size = largest_molecule(survey)
    check = box_check(survey.box, cutoff=longest.cutoff, radius_of_gyration=size)
    if check.verdict == "failed":
        check = check._replace(
            sentence=f"{check.sentence[:-1]} for `data`, or shorten `potential.{longest.name}.cutoff`."
        )
    return [check]


def largest_molecule(survey: Survey) -> float:
    """Radius of gyration of the largest molecule, its mean plus two standard deviations over frames; 0 of single sites
    [length]."""
    topology = survey.source.topology
    labels, counts = np.unique(topology.molecules, return_counts=True)
    largest = 0.0
    for label in labels[counts > 1]:
        members = topology.molecules == label
        whole = whole_chains(jnp.asarray(survey.configurations[:, members]), jnp.asarray(survey.box))
        each = np.asarray(radius_of_gyration(whole, masses=np.asarray(topology.masses)[members]))
        largest = max(largest, float(each.mean() + 2.0 * each.std()))
    return largest


def start_time_step(loaded: Loaded, simulator: Simulator, *, start: str) -> Check:
    """The time step against the fastest vibration at frames of the data, by the limit of the run's sampler.

    The potential is that of the model file where the run starts from it, or where it leaves no doubt. Otherwise it is
    matched to a few frames, as the run's start is to more of them.

    Args:
        loaded: data and model.
        simulator: of the run.
        start: `inference.start` of the model file.
    """
    blank = any(isinstance(term, SplinePair) for term in terms_of(loaded.potential))  # coefficients of 0
    if start == "guess" or not blank:
        check = _judged(loaded, simulator, loaded.potential, "with the model file's own parameters")
        clear = check.value is not None and check.value >= CLEAR * (check.threshold or 0.0)
        if start == "guess" or clear:
            return check
    try:
        potential, told = _matched(loaded, forces=start == "force-matching")
    except ConvergenceError as error:
        sentence = f"No potential could be matched to a few frames, so no vibration is known ({error})."
        return Check("time step", "not tested", None, None, sentence)
    return _judged(loaded, simulator, potential, told)


def _matched(loaded: Loaded, *, forces: bool) -> tuple[Potential, str]:
    """The mode of force or score matching of a few frames, and what it is in words."""
    survey, prior = loaded.survey, loaded.prior
    n = max(FRAMES_AT_ONCE, SMALL_SYSTEM // survey.n_sites)
    block = next(survey.matching_blocks(n))
    if forces:
        equations = inference.force_normal_equations([block], loaded.potential)
        gram, projection = equations.gram.sum(axis=0), equations.projection.sum(axis=0)
        eta = np.linalg.lstsq(gram, projection, rcond=None)[0]
        floor = 1e-6 * equations.square.sum()  # forces without noise
        variance = max(equations.residual_square(eta), floor) / equations.n_components
        form = QuadraticForm(gram / variance, projection / variance)
    else:
        form = score_form([block], loaded.potential)
    z = QuadraticSearch(prior)(form, prior_centre(prior)).z
    told = f"with a potential matched to the {'forces' if forces else 'positions'} of {block.n_frames} frames"
    return prior.potential(jnp.asarray(z)), told


def _judged(loaded: Loaded, simulator: Simulator, potential: Potential, told: str) -> Check:
    survey = loaded.survey
    chosen = np.linspace(0, len(survey.configurations) - 1, LOOKED_AT).astype(int)
    found = fastest_frequencies(
        simulator.engine, survey.configurations[chosen], simulator._parameters([potential], each=LOOKED_AT)
    )
    if not np.isfinite(found).any():
        sentence = f"Forces at the data's frames are not finite {told}; look whether sites overlap."
        return Check("time step", "not tested", None, None, sentence)
    check = time_step_verdict(
        float(np.nanmedian(found)), time_step=simulator.settings.time_step, metropolis=simulator.settings.metropolis,
        setting="simulation.time_step", unit=survey.source.units.unit("time"),
    )  # fmt: skip
    return check._replace(sentence=f"{check.sentence[:-1]} ({told}).")
