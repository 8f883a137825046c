"""Directions of parameter space in words."""

import numpy as np
import numpyro.distributions as dist
import pytest

from bayescg.analysis import combination, logarithmic_coordinates, participation
from bayescg.errors import InputError
from bayescg.inference import independent_prior
from bayescg.physics import DoubleWell


@pytest.mark.parametrize(
    ("direction", "names", "text"),
    [
        ((1.0, 6.0), ("epsilon", "sigma"), "epsilon sigma^6"),
        ((-1.0, -6.0), ("epsilon", "sigma"), "epsilon sigma^6"),
        ((1.02, 5.95), ("epsilon", "sigma"), "epsilon sigma^6"),
        ((1.0, -1.0), ("k", "gamma"), "k / gamma"),
        ((3.0, 1.0), ("k1", "k2"), "k1^3 k2"),
        ((2.0, 3.0), ("a", "b"), "a^2 b^3"),
        ((1.0, -3.0, -1.0), ("a", "b", "c"), "b^3 c / a"),
        ((0.02, 1.0, 0.01), ("a", "sigma", "c"), "sigma"),
        ((1.0, 0.437), ("a", "b"), "a b^0.44"),
    ],
)
def test_normal_form(direction, names, text):
    direction = np.array(direction)
    for length in (1.0, 1e-6, 1e5):
        assert combination(length * direction / np.linalg.norm(direction), names).text == text


def test_sums_of_what_is_no_logarithm():
    kinds = (False, True)
    assert combination(np.array([1.0, -2.0]), ("a", "k"), logarithmic=kinds).text == "2 ln k - a"
    assert combination(np.array([1.0, 1e-3]), ("a", "k"), logarithmic=kinds).text == "a"


def test_participation_and_what_is_dropped():
    direction = np.array([0.6, 0.8, 0.0])
    np.testing.assert_allclose(participation(3.0 * direction), [0.36, 0.64, 0.0])
    found = combination(np.array([1.0, 0.05]), ("a", "b"))
    assert found.dropped == pytest.approx(0.0025 / 1.0025)
    np.testing.assert_allclose(found.vector(2), [1.0, 0.0])


@pytest.mark.parametrize("direction", [(0.0, 0.0), (1.0, np.nan), (1.0,)])
def test_no_direction_is_refused(direction):
    with pytest.raises(InputError, match="direction"):
        combination(np.array(direction), ("a", "b"))


def test_which_coordinates_are_logarithms():
    well = DoubleWell(1.0, 1.0)
    prior = independent_prior(well, {"well_t1": dist.Normal(1, 2), "well_t2": dist.LogNormal(1.0, 3.0)})
    assert logarithmic_coordinates(prior) == (False, True)
