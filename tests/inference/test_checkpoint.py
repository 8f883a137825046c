"""Checkpoints: whole or absent, of one identity; and a driver that is killed at any moment ends at the same bits."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayescg.errors import InputError
from bayescg.inference import Checkpoints, write_atomically
from bayescg.inference._checkpoint import arrays_to_tree, tree_to_arrays


def test_arrays_come_back(tmp_path):
    checkpoints = Checkpoints(tmp_path / "a" / "b", identity="x")
    arrays = {"z": np.arange(6.0).reshape(2, 3), "done": np.asarray(7), "purpose": np.asarray("search")}
    checkpoints.save("stage", arrays)
    got = checkpoints.load("stage")
    assert set(got) == set(arrays)
    for name, value in arrays.items():
        np.testing.assert_array_equal(got[name], value)
        assert got[name].dtype == value.dtype
    assert checkpoints.load("other") is None


def test_discarded_checkpoints_are_gone(tmp_path):
    checkpoints = Checkpoints(tmp_path, identity="x")
    checkpoints.save("stage", {"z": np.zeros(1)})
    checkpoints.discard("stage")
    checkpoints.discard("stage")
    assert checkpoints.load("stage") is None


def test_another_identity_is_refused_and_the_same_accepted(tmp_path):
    Checkpoints(tmp_path, identity="model 1").save("stage", {"z": np.ones(2)})
    with pytest.raises(InputError, match="another model, data set, version or seed.*new output folder"):
        Checkpoints(tmp_path, identity="model 2")
    np.testing.assert_array_equal(Checkpoints(tmp_path, identity="model 1").load("stage")["z"], np.ones(2))


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("moment", ["savez", "fsync", "replace"])
def test_interrupted_save_keeps_the_former_checkpoint(tmp_path, monkeypatch, moment):
    checkpoints = Checkpoints(tmp_path, identity="x")
    checkpoints.save("stage", {"z": np.ones(1000)})

    def fail(*args, **kwargs):
        raise Interrupted

    monkeypatch.setattr(np if moment == "savez" else os, moment, fail)
    with pytest.raises(Interrupted):
        checkpoints.save("stage", {"z": np.zeros(1000)})
    monkeypatch.undo()
    np.testing.assert_array_equal(checkpoints.load("stage")["z"], np.ones(1000))


def test_interrupted_write_keeps_the_former_file(tmp_path, monkeypatch):
    path = tmp_path / "file.json"
    write_atomically(path, b"old")

    def fail(*args):
        raise Interrupted

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(Interrupted):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"


def test_trees_with_keys_come_back():
    tree = {
        "key": jax.random.split(jax.random.key(3), 2),
        "x": jnp.arange(3.0),
        "n": (jnp.int32(4), jnp.array(True)),
    }
    again = arrays_to_tree(tree_to_arrays(tree), tree)
    assert jax.tree.structure(again) == jax.tree.structure(tree)
    for one, other in zip(jax.tree.leaves(tree), jax.tree.leaves(again), strict=True):
        assert one.dtype == other.dtype
    np.testing.assert_array_equal(
        jax.random.normal(again["key"][1], (3,)), jax.random.normal(tree["key"][1], (3,))
    )


# The kill test. The script runs the driver and kills itself, without warning, at the given update of a stage.

SCRIPT = '''
import json, os, signal, sys
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import numpy as np
import numpyro.distributions as dist

from bayescg.data import Topology, get_unit_system
from bayescg.inference import Checkpoints, FitSettings, Fitter, Problem, independent_prior
from bayescg.physics import DoubleWell, SimulationSettings, Simulator, SufficientStatistics

folder, stage, moment = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])


class Killer:
    """Counts the updates of a stage, and ends the process at one of them."""

    def __init__(self):
        self.name, self.counts = "", {}

    def stage(self, name, *, total=None, unit=""):
        self.name = name.split(",")[0].split(" at ")[0]

    def update(self, completed, *, metrics={}):
        self.counts[self.name] = self.counts.get(self.name, 0) + 1
        if self.name == stage and self.counts[self.name] == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def message(self, text):
        pass

    def finish(self):
        pass


well = DoubleWell(1.0, 1.0)
x = np.random.default_rng(0).choice([-1.0, 1.0], 60) * np.random.default_rng(1).normal(1.0, 0.35, 60)
nothing = np.zeros((60, 0))
statistics = SufficientStatistics(np.stack([-x**2 / 2, x**4 / 4], 1), nothing, nothing, np.zeros(60, int))
prior = independent_prior(well, {"well_t1": dist.Normal(1.0, 2.0), "well_t2": dist.LogNormal(0.0, 0.7)})
simulator = Simulator(
    well,
    topology=Topology(("X",), np.ones(1)),
    box=np.array([np.inf]),
    units=get_unit_system("lj"),
    temperature=1.0,
    settings=SimulationSettings(0.05, 1.0, stride=40, n_replicas=8, equilibration=10),
)
problem = Problem(prior, statistics, 1.0, simulator, np.array([1.0, 0.0]), x[:, None, None])
settings = FitSettings(
    seed=4, n_replicas=8, search_samples=60, verification_draws=4, max_verification_samples=80, max_rounds=1,
    n_chains=2, n_warmup=100, n_draws=100,
)
killer = Killer()
checkpoints = Checkpoints(folder, identity="kill test", interval=0.0)
fit = Fitter(problem, settings, checkpoints=checkpoints, progress=killer).run()
np.savez(folder / "result", z=fit.draws.z, calibrated=fit.calibrated, map=fit.mode.z, features=fit.bank.features,
         rms_error=fit.verifications[0].rms_error, step_size=fit.draws.step_size)
(folder / "counts.json").write_text(json.dumps(killer.counts))
'''


def run_script(folder: Path, stage: str = "", moment: int = 0) -> int:
    command = [sys.executable, "-c", SCRIPT, str(folder), stage, str(moment)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert run_script(folder) == 0
    return dict(np.load(folder / "result.npz")), json.loads((folder / "counts.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["searching the MAP", "verifying", "sampling the posterior"])
def test_killed_driver_ends_at_the_same_bits(uninterrupted, tmp_path, stage):
    expected, counts = uninterrupted
    moment = int(np.random.default_rng().integers(1, counts[stage] + 1))
    assert run_script(tmp_path, stage, moment) == -signal.SIGKILL
    assert not (tmp_path / "result.npz").exists()
    left = sorted(path.name for path in tmp_path.iterdir())
    assert run_script(tmp_path) == 0, f"resumed after update {moment} of {stage}, with {left}"
    got = np.load(tmp_path / "result.npz")
    for name, value in expected.items():
        np.testing.assert_array_equal(
            got[name], value, err_msg=f"{name}, killed at update {moment} of {stage}"
        )
