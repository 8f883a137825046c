"""Which data to ask for, against refits of linear models and exhaustive search."""

import itertools

import numpy as np
import pytest

from bayescg.analysis import determinant_gains, observable_information, optimal_design
from bayescg.errors import InputError


def rows(seed, n_candidates=6, size=3):
    """Gradients of one measurement for each candidate, with their noise."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_candidates, 1, size)), rng.uniform(0.3, 2.0, size=(n_candidates, 1))


def test_information_of_an_observable_narrows_it_as_a_measurement_does():
    """The variance after measuring c·z with noise σ is 1/(1/v + 1/σ²)."""
    g, noise = np.array([1.0, -2.0]), 0.7
    prior = np.array([[2.0, 0.3], [0.3, 1.0]])
    before = g @ np.linalg.inv(prior) @ g
    after = np.linalg.inv(prior + observable_information(g[None], np.array([noise])))
    assert g @ after @ g == pytest.approx(1.0 / (1.0 / before + 1.0 / noise**2))
    plan = optimal_design(
        prior, observable_information(g[None], np.array([noise]))[None], names=("itself",), quantity=g
    )
    np.testing.assert_allclose(plan.spread, np.sqrt([before, g @ after @ g]))
    assert plan.gains[0, 0] == pytest.approx(np.log(plan.spread[0] / plan.spread[1]))


def test_gain_of_the_determinant_is_the_expected_information():
    """½ ln det is the mutual information of a linear measurement: ½ ln(1 + v/σ²)."""
    g, noise = rows(1)
    information = np.array([observable_information(*each) for each in zip(g, noise)])
    precision = np.diag([1.0, 4.0, 0.5])
    variance = np.einsum("cri,ij,crj->c", g, np.linalg.inv(precision), g)
    np.testing.assert_allclose(
        determinant_gains(precision, information), 0.5 * np.log1p(variance / noise[:, 0] ** 2)
    )


@pytest.mark.parametrize("quantity", [None, np.array([1.0, 0.5, -1.0])])
def test_the_first_choice_is_the_best_one_of_all(quantity):
    for seed in range(5):
        information = np.array([observable_information(*each) for each in zip(*rows(seed))])
        plan = optimal_design(np.eye(3), information, names=list("abcdef"), quantity=quantity)

        def score(matrix, c=quantity):
            return -np.linalg.slogdet(matrix)[1] if c is None else c @ np.linalg.solve(matrix, c)

        assert plan.chosen[0] == int(np.argmin([score(np.eye(3) + each) for each in information]))


def test_greedy_choices_are_nearly_the_best_set():
    """For the determinant at least (1 − 1/e) of the best set's gain (Nemhauser, Wolsey & Fisher 1978)."""
    for seed in range(5):
        information = np.array([observable_information(*each) for each in zip(*rows(seed))])
        plan = optimal_design(np.eye(3), information, names=list("abcdef"), steps=3)
        assert len(set(plan.chosen)) == 3 and np.isnan(plan.gains[2, list(plan.chosen[:2])]).all()
        gained = sum(plan.gains[k, chosen] for k, chosen in enumerate(plan.chosen))
        sets = itertools.combinations(range(6), 3)
        best = max(0.5 * np.linalg.slogdet(np.eye(3) + information[list(s)].sum(axis=0))[1] for s in sets)
        assert (1.0 - np.exp(-1.0)) * best <= gained <= best + 1e-9


def test_a_quantity_asks_for_the_combination_it_depends_on():
    """Two state points, each informative on one combination: what is asked decides which is taken."""
    stiff, soft = np.outer([1.0, 6.0], [1.0, 6.0]), np.outer([6.0, -1.0], [6.0, -1.0])
    for quantity, wanted in ((np.array([1.0, 6.0]), "hot"), (np.array([6.0, -1.0]), "cold")):
        plan = optimal_design(
            np.eye(2), 10.0 * np.array([stiff, soft]), names=("hot", "cold"), quantity=quantity
        )
        assert plan.names == (wanted,)


def test_repeats_go_on_with_the_same_candidate():
    information = np.array([np.diag([9.0, 0.0]), np.diag([0.0, 1e-3])])
    plan = optimal_design(np.eye(2), information, names=("a", "b"), steps=3, repeats=True)
    assert plan.names == ("a", "a", "a")
    assert np.all(np.diff(plan.gains[:, 0]) < 0.0)


def test_what_does_not_fit_is_refused():
    one = np.eye(2)[None]
    with pytest.raises(InputError, match="2 steps from 1"):
        optimal_design(np.eye(2), one, names=("a",), steps=2)
    with pytest.raises(InputError, match="positive definite"):
        optimal_design(np.diag([1.0, 0.0]), one, names=("a",))
    with pytest.raises(InputError, match="negative eigenvalue"):
        optimal_design(np.eye(2), -one, names=("a",))
    with pytest.raises(InputError, match="2 names"):
        optimal_design(np.eye(2), one, names=("a", "b"))
    with pytest.raises(InputError, match="gradient"):
        optimal_design(np.eye(2), one, names=("a",), quantity=np.zeros(2))
    with pytest.raises(InputError, match="noise"):
        observable_information(np.ones((1, 2)), np.zeros(1))
