"""Figures, tables and the report, from a made-up result."""

import csv
import re

import numpy as np
import pytest
import xarray as xr

from bayescg.errors import InputError
from bayescg.output import (
    available_figures,
    figure_trace,
    figure_verification,
    open_result,
    parameter_table,
    stage_table,
    write_outputs,
    write_report,
)

NAMES = ["potential", "rdf", "pressure", "fisher", "verification", "trace"]


def without(tree: xr.DataTree, *groups: str) -> xr.DataTree:
    copy = tree.copy()
    for group in groups:
        del copy[group]
    return copy


def test_all_six_figures_are_drawn_labelled_and_say_which_posterior(result):
    figures = available_figures(result)
    assert list(figures) == NAMES
    for name, draw in figures.items():
        figure = draw(result)
        figure.canvas.draw()
        text = figure.get_supxlabel()
        assert "calibrated posterior" in text, name
        if name != "trace":
            bottom = figure.axes[-1]
            assert bottom.get_xlabel() and bottom.get_ylabel(), name
    assert "[nm]" in figures["potential"](result).axes[-1].get_xlabel()


def test_figures_leave_pyplot_alone(result):
    import matplotlib
    import matplotlib.pyplot as plt

    before, open_figures = dict(matplotlib.rcParams), plt.get_fignums()
    for draw in available_figures(result).values():
        draw(result).canvas.draw()
    assert plt.get_fignums() == open_figures
    assert dict(matplotlib.rcParams) == before


def test_what_a_result_lacks_is_left_out_or_named(result):
    smaller = without(result, "prediction", "verification")
    assert list(available_figures(smaller)) == ["rdf", "pressure", "fisher", "trace"]
    with pytest.raises(InputError, match="no group 'verification'"):
        figure_verification(smaller)


def test_a_result_without_data_curves_or_prior_is_drawn(result):
    smaller = without(result, "observed_data", "prior")
    smaller["prediction"] = result["prediction"].to_dataset().drop_vars("prior_pair_energy")
    for draw in available_figures(smaller).values():
        draw(smaller).canvas.draw()


def test_an_untested_verification_shows_it(result):
    tree = result.copy()
    tree["verification"] = (
        result["verification"].to_dataset().assign(noise_floor=result["verification"]["noise_floor"] * 2)
    )
    texts = [text.get_text() for text in figure_verification(tree).axes[0].texts]
    assert len(texts) == 3 and "not tested" in texts[0]


def test_trace_refuses_constant_parameters(result):
    tree = result.copy()
    tree["posterior"] = xr.zeros_like(result["posterior"].to_dataset())
    with pytest.raises(ValueError, match="no parameter varies"):
        figure_trace(tree)


def test_parameter_table_against_numpy(result):
    table = parameter_table(result)
    draws = result["posterior"]["water_coefficients"].values[..., 3].ravel()
    label = f"water_coefficients[{result['posterior']['knot'].values[3]:.6g}]"
    row = table.sel(parameter=label)
    assert float(row["mean"]) == pytest.approx(draws.mean())
    assert float(row["sd"]) == pytest.approx(draws.std(ddof=1))
    assert float(row["lower"]) == pytest.approx(np.quantile(draws, 0.05))
    assert float(row["upper"]) == pytest.approx(np.quantile(draws, 0.95))
    assert float(row["prior_sd"]) == pytest.approx(0.5, rel=0.15)
    assert float(row["r_hat"]) == pytest.approx(1.0, abs=0.02)
    assert float(row["ess_bulk"]) == pytest.approx(len(draws), rel=0.35)
    assert str(row["unit"].values) == "kJ/mol"
    assert table.sizes["parameter"] == 13


def test_parameter_table_sees_chains_that_disagree(result):
    tree = result.copy()
    posterior = result["posterior"].to_dataset()
    tree["posterior"] = posterior + xr.DataArray([0.0, 0, 0, 1.0], dims="chain")
    assert (parameter_table(tree)["r_hat"] > 1.1).all()


def test_stage_table(result):
    lines = stage_table(result).splitlines()
    assert [line.split()[0] for line in lines] == ["read", "search", "sample", "total", "of"]
    assert "1 min 34 s" in lines[3]
    assert lines[4] == "of which compiling 14 s"


def test_report_is_self_contained_and_escaped(tmp_path, result):
    write_report(result, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert not re.search(r"(src|href)=['\"](?!data:)", text)
    assert "http" not in text
    assert text.count("data:image/png;base64,") == 6
    assert "Water, one site &lt;test&gt;" in text and "<test>" not in text and "<frames>" not in text
    order = [
        text.index(word) for word in ("What the data say", "Checks", "Parameters", "Figures", "came from")
    ]
    assert order == sorted(order)
    for word in (
        "✓ passed",
        "✗ failed",
        "not tested",
        "calibrated posterior",
        "ab" * 32,
        "350 to 620",
        "jax 0.10.1",
    ):
        assert word in text
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_quick_runs_are_marked(tmp_path, result):
    tree = result.copy()
    tree.attrs["quick"] = 1
    write_report(tree, tmp_path / "report.html")
    assert "quick test run" in (tmp_path / "report.html").read_text()
    assert "QUICK" in available_figures(tree)["rdf"](tree).get_supxlabel()


def test_outputs_after_a_round_trip_through_the_file(result_folder):
    files = write_outputs(open_result(result_folder), result_folder)
    assert {path.relative_to(result_folder).as_posix() for path in files} == {
        "report.html",
        "parameters.csv",
        *(f"figures/{name}.png" for name in NAMES),
    }
    with open(result_folder / "parameters.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 13 and float(rows[0]["sd"]) > 0


def test_results_that_cannot_be_read_are_named(tmp_path, result):
    with pytest.raises(InputError, match=r"posterior\.nc: no such file"):
        open_result(tmp_path)
    (tmp_path / "posterior.nc").write_bytes(b"no netCDF at all")
    with pytest.raises(InputError, match="can't be read as netCDF"):
        open_result(tmp_path)
    tree = result.copy()
    tree.attrs["schema_version"] = 99
    tree.to_netcdf(tmp_path / "posterior.nc", engine="netcdf4")
    with pytest.raises(InputError, match="update bayescg"):
        open_result(tmp_path)
