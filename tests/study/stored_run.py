"""A finished run without its simulations: two sites in a box, whose distances can be drawn exactly from any pair potential."""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import xarray as xr

from bayescg import analysis, inference
from bayescg.analysis._linear_fits import LinearModel
from bayescg.data import Frames, State, Topology, get_unit_system, write_frames
from bayescg.output._result import NEWEST_SCHEMA, RESULT_FILE
from bayescg.physics import FrameReducer, Potential, Reference, ReferenceBank
from bayescg.progress import SilentProgress
from bayescg.study import read_model_file
from bayescg.study._clock import StageClock
from bayescg.study._equilibrium import EquilibriumPipeline

EDGE, TEMPERATURE = 5.2, 1.5
TRUTH = np.array([3.0, -1.5, -2.0, 1.0, -1.5, 1.0, -0.5, 0.3])
"""Spline coefficients of the data."""
MODEL = """\
title = "Two sites"
units = "lj"
temperature = 1.5
data.frames = ["frames.nc"]
[potential.pair]
kind = "spline"
inner = 0.7
cutoff = 2.5
spacing = 0.225
core_distance = 0.8
core_strength = 5.0
[prior.pair_coefficients]
distribution = "normal"
loc = 0.0
scale = 2.0
[simulation]
time_step = 0.005
friction = 1.0
stride = 20
[inference]
start = "guess"
[prediction]
rdf_bin = 0.25
"""


def exact_positions(potential: Potential, n: int, *, seed: int) -> np.ndarray:
    """Frames of two sites at equilibrium, by rejection [frame 2 3]."""
    rng = np.random.default_rng(seed)
    found = np.zeros((0, 3))
    deepest = float(np.min(potential.pair_energy(jnp.linspace(0.3, 2.5, 400) ** 2)))
    while len(found) < n:
        apart = rng.uniform(-EDGE / 2, EDGE / 2, size=(4 * n, 3))
        energy = np.asarray(potential.pair_energy(jnp.asarray(np.sum(apart**2, axis=1))))
        found = np.concatenate(
            [found, apart[rng.uniform(size=4 * n) < np.exp((deepest - energy) / TEMPERATURE)]]
        )
    first = rng.uniform(0.0, EDGE, size=(n, 1, 3))
    return np.concatenate([first, first + found[:n, None]], axis=1)


def make_frames(positions: np.ndarray, *, pressure: np.ndarray | None = None) -> Frames:
    return Frames(
        positions, np.full(3, EDGE), Topology(("A", "A"), np.ones(2)), State(TEMPERATURE), get_unit_system("lj"),
        pressure=pressure,
    )  # fmt: skip


def stored_run(
    folder: Path, *, positions: np.ndarray, pressure: np.ndarray | None = None, verdict: str | None = "passed"
) -> Path:
    """The output folder of a run on these frames: exact references, the MAP, draws of the Gaussian posterior.

    Args:
        folder: where study and run are written.
        positions: [frame 2 3].
        pressure: of every frame, where the data hold it.
        verdict: of the verification; None for a run without.
    """
    study, out = folder / "study", folder / "run"
    study.mkdir(parents=True)
    out.mkdir()
    path = study / "model.toml"
    path.write_text(MODEL)
    write_frames(make_frames(positions, pressure=pressure), study / "frames.nc")
    model, text = read_model_file(path)
    pipeline = EquilibriumPipeline(model, text, path)
    loaded = pipeline.load(StageClock(SilentProgress()))
    bank = exact_bank(loaded.potential, loaded.survey.distance_edges)
    inference.write_bank(bank, out / "bank.nc", system=pipeline._system_identity(loaded))
    own = analysis.local_basis(loaded.prior, np.zeros(loaded.prior.size))
    fitter = LinearModel(bank.surrogate(), own)
    n = loaded.statistics.n_frames
    means = loaded.statistics.features.mean(axis=0)[None]
    best = fitter.fit(means, np.array([float(n)]), start=TRUTH, least=50.0)
    assert best.converged.all()
    covariance = np.linalg.inv(n * fitter.curvature(best.theta[0]) + own.prior_precision)
    draws = np.random.default_rng(2).multivariate_normal(best.theta[0], covariance, size=(2, 60))
    z = (("chain", "draw", "coordinate"), draws)
    groups = {
        "posterior": xr.Dataset({"pair_coefficients": (("chain", "draw", "knot"), draws)}),
        "unconstrained": xr.Dataset({"z": z, "z_calibrated": z, "map": ("coordinate", best.theta[0])}),
    }
    if verdict is not None:
        groups["verification"] = xr.Dataset(attrs={"verdict": verdict})
    tree = xr.DataTree.from_dict(groups)
    tree.attrs |= {
        "schema_version": NEWEST_SCHEMA, "title": "Two sites", "units": "lj", "temperature": TEMPERATURE, "seed": 1,
        "model_file_text": text, "data_checksum": loaded.survey.checksum,
    }  # fmt: skip
    tree.to_netcdf(out / RESULT_FILE, engine="netcdf4")
    (out / "run.json").write_text(json.dumps({"model": str(path)}))
    return out


def exact_bank(potential: Potential, edges: np.ndarray) -> ReferenceBank:
    """References at the truth and at weaker interactions, 16 replicas each."""
    reducer = FrameReducer(potential, box=np.full(3, EDGE), distance_edges=edges)
    references = []
    for k, strength in enumerate((1.0, 0.6)):
        at = potential.with_parameters({"pair_coefficients": jnp.asarray(strength * TRUTH)})
        rows = reducer(exact_positions(at, 8000, seed=10 + k))
        arrays = [a.reshape(16, 500, -1) for a in rows]
        references.append(Reference(np.asarray(at.coefficients()), *arrays, np.zeros((0, 2, 3))))
    return ReferenceBank(1.0 / TEMPERATURE, tuple(references))
