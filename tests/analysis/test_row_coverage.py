"""Coverage and width of intervals about rows, against normal quantiles."""

import numpy as np
import pytest
from scipy import stats

from bayescg.analysis import row_coverage
from bayescg.errors import InputError
from bayescg.inference import LabelRows


def rows_of(residual, jacobian, kind):
    n = len(residual)
    return LabelRows(residual, jacobian, kind, np.ones(n), np.arange(n))


def test_normal_draws_have_normal_widths_and_cover_at_their_rate():
    rng = np.random.default_rng(0)
    n, sd = 4000, 0.3
    jacobian = rng.normal(size=(n, 1)) + 3.0
    kind = np.repeat([0, 3], n // 2)  # energies of the first group, forces of the second
    rows = rows_of(sd * jacobian[:, 0] * rng.normal(size=n), jacobian, kind)
    found = row_coverage(rows, sd * rng.normal(size=(4000, 1)), groups=("a", "b"), levels=(0.5, 0.9))
    for quantity, group, mine in (("energy", "a", kind == 0), ("forces", "b", kind == 3)):
        one = found.sel(quantity=quantity, group=group)
        np.testing.assert_allclose(one["coverage"], [0.5, 0.9], atol=0.04)
        expected = 2.0 * stats.norm.ppf([0.75, 0.95]) * sd * np.abs(jacobian[mine]).mean()
        np.testing.assert_allclose(one["width"], expected, rtol=0.05)
        assert int(one["count"]) == n // 2
        assert float(one["residual"]) == pytest.approx(np.sqrt(np.mean(rows.residual[mine] ** 2)), rel=0.02)
    assert np.isnan(found["coverage"].sel(quantity="stress").values).all()
    assert found.attrs["intervals"] == "parameters only"


def test_noise_of_each_kind_widens_its_own_rows():
    rows = rows_of(np.zeros(200), np.zeros((200, 1)), np.repeat([0, 1], 100))
    noise = np.tile([0.1, 2.0, 1.0], (2000, 1))
    found = row_coverage(rows, np.zeros((2000, 1)), groups=("all",), noise=noise, levels=(0.95,))
    widths = found["width"].sel(group="all", level=0.95).values[:2]
    np.testing.assert_allclose(widths, 3.92 * np.array([0.1, 2.0]), rtol=0.03)
    assert found.attrs["intervals"] == "with noise"


@pytest.mark.parametrize("shape", [(49, 1), (100, 2)])
def test_too_few_draws_or_other_parameters_are_refused(shape):
    with pytest.raises(InputError, match="at least 50 draws of 1 parameters"):
        row_coverage(
            rows_of(np.zeros(3), np.ones((3, 1)), np.zeros(3, int)), np.zeros(shape), groups=("all",)
        )
