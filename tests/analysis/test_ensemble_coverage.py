"""Coverage of several ensembles side by side: verdicts, labels that say nothing, words."""

import numpy as np
import pytest
import xarray as xr

from bayescg.analysis import ensemble_sentences, pooled_coverage
from bayescg.analysis._ensemble_coverage import _not_by_symmetry
from bayescg.inference import LabelRows

LEVELS = np.array([0.5, 0.8, 0.9, 0.95])
BY_GROUP = ("ensemble", "interval", "quantity", "group", "level")


def table(shares: dict[str, list], *, configurations: int = 1000, bent: float = 0.0) -> xr.Dataset:
    """Forces of one group: for each ensemble the shares alone and with noise."""
    coverage = np.array(list(shares.values()), float)[:, :, None, None, :]
    n = len(shares)
    return xr.Dataset(
        {
            "coverage": (BY_GROUP, coverage),
            "width": (BY_GROUP, 0.1 + coverage),
            "residual": (("ensemble", "quantity", "group"), np.full((n, 1, 1), 0.3)),
            "count": (("quantity", "group"), [[3 * configurations]]),
            "configurations": (("quantity", "group"), [[configurations]]),
            "linearisation_error": ("ensemble", [0.0] * (n - 1) + [bent]),
        },
        coords={
            "ensemble": list(shares), "interval": ["parameters alone", "with noise"], "quantity": ["forces"],
            "group": ["all"], "level": LEVELS, "unit": ("quantity", ["eV/angstrom"]),
        },
    )  # fmt: skip


NARROW, GOOD, WIDE, NONE = LEVELS * 0.3, LEVELS + 0.01, np.minimum(LEVELS + 0.2, 1.0), np.full(4, np.nan)


def test_verdicts_are_of_the_largest_difference():
    shares = {"posterior": [NARROW, GOOD], "pops": [WIDE, NONE], "bootstrap": [[0.8, 0.81, 0.7, 0.6], GOOD]}
    verdict = pooled_coverage(table(shares))["verdict"].squeeze("quantity")
    assert verdict.sel(interval="parameters alone").values.tolist() == [
        "too narrow",
        "too wide",
        "too narrow",
    ]
    assert verdict.sel(interval="with noise").values.tolist() == ["as nominal", "", "as nominal"]


def test_few_configurations_can_tell_less():
    shares = {"posterior": [LEVELS - 0.1, GOOD]}
    for configurations, expected in ((1000, "too narrow"), (10, "as nominal")):
        found = pooled_coverage(table(shares, configurations=configurations))
        assert found["verdict"].values.ravel()[0] == expected


def test_groups_count_by_their_labels():
    one = table({"posterior": [NARROW, GOOD]})
    other = one.assign(coverage=one["coverage"] * 0.0, count=one["count"] * 3).assign_coords(group=["others"])
    empty = one.assign(coverage=one["coverage"] * np.nan, count=one["count"] * 0).assign_coords(
        group=["empty"]
    )
    pooled = pooled_coverage(xr.concat([one, other, empty], "group", data_vars="minimal"))
    np.testing.assert_allclose(
        pooled["coverage"].sel(interval="parameters alone").values.ravel(), 0.25 * NARROW
    )


@pytest.mark.parametrize("bent", [0.0, 0.5])
def test_the_narrowest_that_covers_is_named_unless_it_bends(bent):
    shares = {"posterior": [NARROW, GOOD], "discrepancy": [GOOD - 0.02, WIDE]}
    told = " ".join(ensemble_sentences(table(shares, bent=bent)))
    assert ("Do not rely on the coverage of discrepancy" in told) == (bent > 0.3)
    if bent:
        assert "as nominal: posterior with noise; none without noise does" in told
    else:
        assert "as nominal: discrepancy; for properties, which have no noise, discrepancy" in told


def test_nothing_covers():
    told = " ".join(ensemble_sentences(table({"posterior": [NARROW, NARROW], "pops": [WIDE, NONE]})))
    assert "No ensemble covers every quantity as nominal" in told and "too wide: POPS" in told


def test_rows_that_vanish_by_symmetry_are_left_out():
    residual = np.array([0.1, 1e-17, 0.0, 0.0])
    jacobian = np.array([[1.0], [1e-16], [2.0], [0.0]])
    rows = LabelRows(residual, jacobian, np.zeros(4, int), np.ones(4), np.arange(4))
    assert _not_by_symmetry(rows, 1).tolist() == [True, False, True, False]
