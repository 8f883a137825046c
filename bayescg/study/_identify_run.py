"""What the data of a stored run determine: `bayescg identify`."""

import json
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from bayescg import analysis, inference, output
from bayescg.analysis import Identifiability, Inference, ManifoldBoundary
from bayescg.errors import ConvergenceError, InputError
from bayescg.inference import BentLabels, EnergyForceStress, LabelFitter, Posterior
from bayescg.study._interatomic_build import noise_family
from bayescg.study._labelled import LabelledPipeline
from bayescg.study._labelled_result import LabelledLoaded
from bayescg.study._stored_fits import stored_fit, stored_pipeline
from bayescg.study._stored_verdict import cautions

N_PRIOR = 400
"""Draws of the prior."""
N_POINTS = {"equilibrium": 8, "labelled": 3}
"""Posterior draws at which the information is computed, to tell what no such data tell."""
MOST_FOR_BOUNDARY = 12
"""Parameters beyond which the edge of the model manifold is not looked for."""
LEAST_EFFECTIVE_FRAMES = 50.0


def identify_run(
    folder: Path, *, tell: Callable[[str], None] = lambda _: None
) -> tuple[xr.Dataset, list[str]]:
    """Profiles, verdicts, information gain, sensitivity and the manifold's edge, from a stored run; nothing is simulated.

    Args:
        folder: the run's output folder.
        tell: hears what is being done.

    Returns:
        What `analysis.determination_dataset` stores, and the answer in sentences, cautions included.

    Raises:
        InputError: no run there, or its data have changed or are gone.

    Example:
        >>> identify_run(Path("no-such-run"))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        bayescg.errors.InputError: no-such-run/posterior.nc: no such file; name the output folder of a finished run ...
    """
    tree = output.open_result(folder)
    labelled = tree.attrs.get("kind") == "labelled"
    tell(f"{folder}: reading the data again")
    subject = _labelled(tree, folder, tell) if labelled else _at_equilibrium(tree, folder)
    tell("profiles, verdicts and sensitivity")
    found = analysis.determination(subject)
    boundary = None if labelled else _boundary(subject, tell)
    sentences = [*analysis.determination_sentences(found, boundary), *cautions(tree)]
    data = analysis.determination_dataset(found, boundary)
    return data.assign_attrs(sentences=json.dumps(sentences)), sentences


def _at_equilibrium(tree: xr.DataTree, folder: Path) -> Inference:
    fit = stored_fit(tree, folder)
    names, spectrum, parameters = _spectrum(tree, fit.loaded.prior.coordinates, fit.loaded.potential)
    stored = tree["unconstrained"].to_dataset()
    z = np.asarray(stored["z"].values, float)
    points = _some(fit.draws, N_POINTS["equilibrium"])
    information = analysis.information_at(fit.posterior, fit.likelihood, points) * float(
        fit.likelihood.n_frames
    )
    seed = int(tree.attrs["seed"])
    return Inference(
        fit.posterior, fit.likelihood, fit.mode, z, _calibrated(stored),
        np.asarray(fit.loaded.prior.sample(jax.random.key(seed + 1), N_PRIOR)),
        np.asarray(stored["calibrated_covariance"].values),
        np.asarray(fit.loaded.prior.score_covariance(jnp.asarray(fit.mode.z), key=jax.random.key(seed + 2))),
        parameters, names, spectrum,
        information[:, parameters][:, :, parameters], LEAST_EFFECTIVE_FRAMES,
    )  # fmt: skip


def _labelled(tree: xr.DataTree, folder: Path, tell: Callable[[str], None]) -> Inference:
    pipeline, loaded = stored_pipeline(tree, folder)
    assert isinstance(pipeline, LabelledPipeline) and isinstance(loaded, LabelledLoaded)
    likelihood = EnergyForceStress(
        loaded.data,
        family=noise_family(pipeline.model),
        power=jnp.asarray(pipeline.model.likelihood.power),
    )
    fitter = LabelFitter(loaded.prior, likelihood)
    stored = tree["unconstrained"].to_dataset()
    best = fitter.mode_at(np.asarray(stored["map"].values, float))
    z, calibrated = np.asarray(stored["z"].values, float), _calibrated(stored)
    surrogate = best.surrogate
    if isinstance(surrogate, BentLabels):
        tell("polynomials through exact predictions at draws")
        # raw draws: calibrated ones are stretched along straight lines, and leave a valley that is thin and bent
        surrogate = inference.polynomial_labels(
            loaded.prior, likelihood, z.reshape(-1, z.shape[-1]), best.rows, order=3
        )
    names, spectrum, parameters = _spectrum(tree, loaded.prior.coordinates, loaded.potential)
    block = np.ix_(parameters, parameters)
    tell("information at several draws")
    flat = z.reshape(-1, z.shape[-1])
    information = np.stack([fitter.information(point)[block] for point in _some(flat, N_POINTS["labelled"])])
    seed = int(tree.attrs["seed"])
    return Inference(
        Posterior(loaded.prior), surrogate, best.mode, z, calibrated,
        np.asarray(loaded.prior.sample(jax.random.key(seed + 1), N_PRIOR)),
        np.asarray(stored["calibrated_covariance"].values), fitter.prior_information(best),
        parameters, names, spectrum, information, 0.0,
    )  # fmt: skip


def _calibrated(stored: xr.Dataset) -> np.ndarray:
    z = np.asarray(stored["z_calibrated"].values, float)
    return z.reshape(-1, z.shape[-1])


def _some(z: np.ndarray, n: int) -> np.ndarray:
    return z[np.linspace(0, len(z) - 1, min(n, len(z))).astype(int)]


def _spectrum(
    tree: xr.DataTree, coordinates, potential
) -> tuple[tuple[str, ...], Identifiability, np.ndarray]:
    """Readable names of all coordinates, the stored spectrum, and which coordinates it is of."""
    stored = output.require_variables(tree, "identifiability", *Identifiability._fields[:3])
    known = {info.name for info in potential.parameters()}
    parameters = np.asarray([i for i, c in enumerate(coordinates) if c.site in known])
    names = [str(coordinate) for coordinate in coordinates]
    for i, name in zip(parameters, stored["parameter"].values, strict=True):
        names[i] = str(name)
    fields = {
        field: np.asarray(stored["eigenvector" if field == "directions" else field].values)
        for field in Identifiability._fields
    }
    return tuple(names), Identifiability(**fields), parameters


def _boundary(subject: Inference, tell: Callable[[str], None]) -> ManifoldBoundary | None:
    """Where the softest direction leads, if no hyperparameter would be that direction."""
    size = len(subject.names)
    if len(subject.parameters) < size or not 1 < size <= MOST_FOR_BOUNDARY:
        return None
    tell("the edge of the model manifold")
    prior = subject.posterior.prior
    assert isinstance(subject.likelihood, inference.RelativeEntropy)
    try:
        return analysis.manifold_boundary(
            analysis.equilibrium_manifold(prior, subject.likelihood.surrogate),
            np.asarray(subject.mode.z),
            names=subject.names,
            logarithmic=analysis.logarithmic_coordinates(prior),
            least_effective_frames=subject.least_effective_frames,
        )
    except (ConvergenceError, InputError) as error:
        tell(f"no edge found: {error}")
        return None
