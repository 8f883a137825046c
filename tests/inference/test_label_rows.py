"""Rows of labelled data from a linear potential's design matrix against those by automatic differentiation."""

from functools import partial

import numpy as np
import pytest

from bayescg.data import Configurations, get_unit_system
from bayescg.inference import _labelled, _linearised, label_rows, labelled_data
from bayescg.physics import BodySplines, MorsePairs, SpeciesEnergies, environments
from bayescg.physics._design_matrix import has_design_matrix

SPECIES = ("C", "Si")
CUTOFF = 4.0
SIZES = [3, 8, 9, 1, 5, 6]
FEW_EDGES = 200  # in a batch, so that the data fall into several and some of them are filled up


def splines():
    empty = BodySplines.uniform(species=SPECIES, pair=(1.5, CUTOFF, 4), triplet=(1.5, 3.0, 2), opposite=2)
    rng = np.random.default_rng(1)
    values = {name: rng.normal(size=value.shape) for name, value in empty.parameter_values().items()}
    return empty.with_parameters(values)


def offset():
    return SpeciesEnergies([1.0, -2.0], species=SPECIES)


def morse():
    return MorsePairs(0.3, 1.4, 2.6, species=SPECIES, cutoff=CUTOFF)


LINEAR = {
    "held_pairs": lambda: splines().hold("splines_pair") + offset(),
    "held_morse": lambda: splines() + morse().vary() + offset(),
    "only_offset": lambda: morse().vary() + offset(),
}


@pytest.fixture
def data(monkeypatch):
    """Small cells with labels at random, some of them absent, in batches with atoms and configurations that fill up."""
    rng, n = np.random.default_rng(3), len(SIZES)
    edges = [(12.0 * size) ** (1 / 3) for size in SIZES]
    configurations = Configurations(
        species=SPECIES,
        positions=tuple(rng.uniform(0, edge, (size, 3)) for size, edge in zip(SIZES, edges)),
        types=tuple(rng.integers(0, 2, size) for size in SIZES),
        cell=np.array([(i != 4) * edge * np.eye(3) for i, edge in enumerate(edges)]),
        periodic=np.tile(np.arange(n)[:, None] != 4, 3),
        units=get_unit_system("metal"),
        energy=np.where(np.arange(n) == 0, np.nan, rng.normal(size=n)),
        forces=tuple(None if i == 2 else rng.normal(size=(size, 3)) for i, size in enumerate(SIZES)),
        stress=np.where(np.isin(np.arange(n), (1, 4))[:, None, None], np.nan, 0.01 * np.ones((n, 3, 3))),
        weight=1.0 + np.arange(n) / 2.0,
        group=tuple(f"g{i % 2}" for i in range(n)),
    )
    monkeypatch.setattr(_labelled, "environments", partial(environments, max_edges=FEW_EDGES, n_widths=1))
    ready = labelled_data(configurations, cutoff=CUTOFF, species=SPECIES)
    assert any(np.any(batch.environments.configuration_index < 0) for batch in ready.batches)
    assert any(np.any(batch.environments.atom_index < 0) for batch in ready.batches)
    return ready


@pytest.mark.parametrize("name", LINEAR)
def test_both_ways_give_the_same_rows(name, data, monkeypatch):
    potential = LINEAR[name]()
    assert has_design_matrix(potential)
    ours = label_rows(potential, data)
    monkeypatch.setattr(_linearised, "has_design_matrix", lambda potential: False)
    theirs = label_rows(potential, data)
    scale = np.abs(theirs.jacobian).max()
    np.testing.assert_allclose(ours.jacobian, theirs.jacobian, rtol=1e-10, atol=1e-12 * scale)
    np.testing.assert_allclose(ours.residual, theirs.residual, rtol=1e-10, atol=1e-12)
    for field in ("kind", "weight", "configuration"):
        np.testing.assert_array_equal(getattr(ours, field), getattr(theirs, field))
    n_forces = sum(size for i, size in enumerate(SIZES) if i != 2)
    assert len(ours.residual) == 5 + 3 * n_forces + 6 * 4


def test_a_term_that_is_not_linear_is_differentiated(data):
    potential = morse().vary("morse_depth", "morse_steepness") + offset()
    assert not has_design_matrix(potential)
    assert label_rows(potential, data).jacobian.shape[1] == 4
