"""Figures, tables and the report, from a made-up result."""

import csv
import re

import numpy as np
import pytest
import xarray as xr

from bayescg.errors import InputError
from bayescg.output import (
    available_figures,
    figure_fisher,
    figure_potential,
    figure_pressure,
    figure_rdf,
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
        text = figure.get_supxlabel().replace("\n", " ")
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


def changed(tree: xr.DataTree, group: str, **variables: object) -> xr.DataTree:
    """The result with some variables of a group in place of its own."""
    copy = tree.copy()
    copy[group] = tree[group].to_dataset().assign(**variables)
    return copy


def legend_of(axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_what_lies_outside_the_bands_does_not_stretch_the_difference_of_g_of_r(result):
    """Bins at r = 0 hold few pairs or none, and their errors say nothing about the others."""
    clean = figure_rdf(result).axes[1].get_ylim()
    observed = result["observed_data"].to_dataset()
    empty = observed["rdf"].values < 1e-3
    assert empty.any()
    error = np.where(empty, 5.0, observed["rdf_se"].values)
    data = np.where(empty, 0.0, observed["rdf"].values)
    noisy = changed(result, "observed_data", rdf=("r", data), rdf_se=("r", error))
    axes = figure_rdf(noisy).axes[1]
    assert axes.get_ylim() == pytest.approx(clean, rel=0.05)
    bars = axes.collections[-1].get_segments()
    lengths = np.array([np.ptp(bar[:, 1]) if len(bar) else np.nan for bar in bars])
    assert np.all(np.isnan(lengths[empty]))
    np.testing.assert_allclose(lengths[~empty], 2 * error[~empty])


def test_the_lower_panel_holds_every_point_and_the_band(result):
    axes = figure_rdf(result).axes[1]
    observed, r = result["observed_data"], result["observed_data"]["r"].values
    draws = result["posterior_predictive"]["rdf"].values.reshape(-1, len(r))
    reach = np.abs(observed["rdf"].values - np.median(draws, axis=0)) + observed["rdf_se"].values
    used = observed["rdf"].values > 1e-3
    assert reach[used].max() < axes.get_ylim()[1] < 2 * reach[used].max()


def test_a_wide_prior_does_not_stretch_the_potential(result):
    prior = result["prediction"]["prior_pair_energy"]
    wide = changed(result, "prediction", prior_pair_energy=prior * 1000)
    for axes, other in zip(figure_potential(result).axes, figure_potential(wide).axes, strict=True):
        assert axes.get_ylim() == other.get_ylim() and axes.get_xlim() == other.get_xlim()


def test_the_potential_shows_where_no_data_are(result):
    assert "no data" in legend_of(figure_potential(result).axes[0])
    assert "no data" not in legend_of(figure_potential(without(result, "observed_data")).axes[0])


def test_a_prior_that_is_beyond_all_bounds_is_cut_off_near_the_axes(result):
    """Steep repulsion times a wide prior: lines that leave the axes a billion times over take minutes to draw."""
    prior = result["prediction"]["prior_pair_energy"]
    wide = changed(
        result, "prediction", prior_pair_energy=prior * 10.0 ** np.linspace(40.0, 0.0, prior.shape[-1])
    )
    for axes in figure_potential(wide).axes:
        low, high = axes.get_ylim()
        drawn = np.concatenate([path.vertices[:, 1] for c in axes.collections for path in c.get_paths()])
        assert np.abs(drawn).max() < 10.0 * (high - low)


@pytest.mark.parametrize("observed", [-31.0, 8100.0, 20000.0])
def test_the_histogram_of_pressures_keeps_its_width(result, observed):
    """However far away the data are: they lie on an axis of their own then, with their numbers."""
    figure = figure_pressure(changed(result, "observed_data", pressure=((), observed)))
    upper, lower = figure.axes
    draws = result["posterior_predictive"]["pressure"].values
    assert np.ptp(lower.get_xlim()) < 2 * np.ptp(draws)
    low, high = upper.get_xlim()
    assert low < min(observed, draws.min()) and max(observed, draws.max()) < high
    assert any(f"{observed:.0f} ± 19 bar".replace("-", "−") in text.get_text() for text in upper.texts)
    side = {-31.0: "to the left", 8100.0: "]", 20000.0: "to the right"}[observed]
    assert lower.get_xlabel().endswith(side)


def test_no_legend_lies_inside_its_panel(result):
    for name, draw in available_figures(result).items():
        figure = draw(result)
        figure.canvas.draw()
        for axes in figure.axes:
            if axes.get_legend() is not None:
                # the frame has a margin of a few pixels around its words
                legend, panel = axes.get_legend().get_window_extent(), axes.get_window_extent()
                assert legend.y0 > panel.y1 - 12 or legend.x0 > panel.x1 - 12, name


def test_the_fisher_legend_names_only_what_is_there(result):
    assert len(legend_of(figure_fisher(result).axes[0])) == 3
    strong = changed(result, "identifiability", prior_relative=("direction", np.full(12, 50.0)))
    assert legend_of(figure_fisher(strong).axes[0]) == ["the data decide", "as much data as prior (λ = 1)"]


def test_an_untested_verification_says_so_below_the_axis(result):
    shape = result["verification"]["rms_error"].shape
    noisy = {"noise_floor": 0.7, "rms_error": 0.6, "limit": 1.4}
    noisy = {name: (("round", "draw_v"), np.full(shape, value)) for name, value in noisy.items()}
    tree = changed(result, "verification", **noisy, median_limit=("round", [0.5, 0.91, 0.91]))
    axes = figure_verification(tree).axes[0]
    assert not axes.texts  # nothing is printed over the marks
    assert ["not tested" in label.get_text() for label in axes.get_xticklabels()] == [False, True, True]
    assert not any(
        "not tested" in label.get_text() for label in figure_verification(result).axes[0].get_xticklabels()
    )


def test_verification_says_what_its_axis_is_in_the_words_of_the_check(result):
    words = "shift of the posterior mean that the error would cause"
    label = figure_verification(result).axes[0].get_ylabel().replace("\n", " ")
    assert label == f"{words} [calibrated sd per direction]"
    tree = changed(result, "verification", shift=("round", [0.4, 0.2, 0.05]))
    assert "moved 0.05 sd" in figure_verification(tree).axes[0].get_xticklabels()[2].get_text()


def test_one_round_fills_its_figure(result):
    tree = result.copy()
    tree["verification"] = result["verification"].to_dataset().isel(round=[0])
    axes = figure_verification(tree).axes[0]
    marks = axes.lines[0].get_xdata()
    assert np.ptp(marks) > 0.55 * np.ptp(axes.get_xlim())


def test_traces_name_units_and_ranks_their_axis(result):
    left, right = figure_trace(result, count=13).axes[:2]
    assert left.get_title().startswith("water_coefficients[") and left.get_title().endswith(" [kJ/mol]")
    assert "ranks" in right.get_ylabel()
    assert right.get_yticks().size >= 2
    titles = [axes.get_title() for axes in figure_trace(result, count=13).axes[::2]]
    assert titles[-1] == "water_smoothness"  # a pure number


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


def test_the_report_says_which_stage_its_times_leave_out(tmp_path, result):
    """A run writes its report before the stage of that name is over."""
    write_report(result, tmp_path / "first.html")
    assert "Without the stage that wrote this report" in (tmp_path / "first.html").read_text()
    tree = result.copy()
    tree.attrs["wall_time_s"] = '{"search": 61.0, "report": 4.0}'
    write_report(tree, tmp_path / "again.html")
    text = (tmp_path / "again.html").read_text()
    assert "Without the stage" not in text and "4.0 s" in text


def test_the_report_tells_the_limit_of_each_draw(tmp_path, result):
    write_report(result, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "each dot below the orange mark of its own draw" in text
    assert "shift of the posterior mean that the error at one draw would cause" in text


def test_quick_runs_are_marked(tmp_path, result):
    tree = result.copy()
    tree.attrs["quick"] = 1
    write_report(tree, tmp_path / "report.html")
    assert "quick test run" in (tmp_path / "report.html").read_text()
    for draw in available_figures(tree).values():
        assert "QUICK" in draw(tree).get_supxlabel()


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


def test_a_result_is_read_whole(tmp_path):
    """A variable that is called like a group too: nothing opens the file again."""
    group = xr.Dataset({"coverage": ("level", [0.5, 0.9])})
    tree = xr.DataTree.from_dict({"coverage": group, "posterior": xr.Dataset({"a": ("draw", [1.0])})})
    tree.attrs["schema_version"] = 1
    tree.to_netcdf(tmp_path / "posterior.nc", engine="netcdf4")
    read = open_result(tmp_path)
    (tmp_path / "posterior.nc").unlink()
    assert read["coverage"]["coverage"].values.tolist() == [0.5, 0.9]


def test_analyses_of_an_earlier_result_are_named_and_not_shown(tmp_path):
    from bayescg.output import write_analysis

    draws = np.random.default_rng(0).normal(size=(2, 50))
    tree = xr.DataTree.from_dict({"posterior": xr.Dataset({"stiffness": (("chain", "draw"), draws)})})
    tree.attrs |= {
        "title": "A spring",
        "units": "lj",
        "temperature": 1.0,
        "created": "2026-01-01T00:00:00+00:00",
    }
    tree.to_netcdf(tmp_path / "posterior.nc", engine="netcdf4")
    told = xr.Dataset(attrs={"title": "What?", "sentences": '["It is 3."]'})
    write_analysis(told, tmp_path, "other-x")
    write_report(tree, tmp_path / "report.html")
    assert "It is 3." in (tmp_path / "report.html").read_text()
    tree.attrs["created"] = "2026-02-02T00:00:00+00:00"
    write_report(tree, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert (
        "It is 3." not in page
        and "What? (x)" in page
        and "Made from an earlier result of this folder" in page
    )
