"""Every example in a docstring of the package runs and gives what it says."""

import doctest
import importlib
import pkgutil

import pytest

import bayescg

MODULES = sorted(module.name for module in pkgutil.walk_packages(bayescg.__path__, "bayescg."))
# modules whose examples run an inference or compile much
SLOW = {
    "bayescg.analysis._importance_posteriors",
    "bayescg.analysis._profile",
    "bayescg.inference._fit",
    "bayescg.inference._replica_chains",
    "bayescg.inference._stochastic_gradient",
    "bayescg.physics._persistent_replicas",
}
# modules with examples marked +SKIP, each for files that only a user has: trajectories, configurations, whole studies
SKIPPING = {
    "bayescg.data._configuration_splits",
    "bayescg.data._doctor",
    "bayescg.data._netcdf",
    "bayescg.data._rdf",
    "bayescg.data._read_configurations",
    "bayescg.data._readers",
    "bayescg.study._collect",
    "bayescg.study._engine_inputs",
    "bayescg.study._export_labelled",
    "bayescg.study._export_pairs",
    "bayescg.study._labelled_engine_inputs",
    "bayescg.study._pair_tables",
    "bayescg.study._stored_potentials",
    "bayescg.study._study",
}


def test_the_slow_modules_are_there():
    assert SLOW <= set(MODULES)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in ["bayescg", *MODULES]],
)
def test_examples_give_what_they_say(name: str, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # what an example leaves behind is not left in the repository
    said: list[str] = []
    runner = doctest.DocTestRunner()
    for test in doctest.DocTestFinder().find(importlib.import_module(name)):
        skipped = [example.source for example in test.examples if doctest.SKIP in example.options]
        assert not skipped or name in SKIPPING, (
            f"{test.name}: an example is skipped that could run: {skipped}"
        )
        runner.run(test, out=said.append)
    assert runner.failures == 0, "".join(said)
    assert not list(tmp_path.iterdir()), f"the examples of {name} leave files behind"
