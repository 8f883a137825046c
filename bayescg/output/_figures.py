"""Which figures a result can be drawn as, from the stored DataTree alone.

Each function returns a matplotlib `Figure` of its own; nothing global is changed.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import xarray as xr

from bayescg.output._diagnostic_figures import VERIFICATION_VARIABLES, figure_fisher, figure_verification
from bayescg.output._ensemble_figures import COMPARED, figure_coverage_by_ensemble
from bayescg.output._label_figures import (
    figure_coverage,
    figure_phonons,
    figure_properties,
    figure_residuals,
    figure_sloppiness,
)
from bayescg.output._result import has_variables
from bayescg.output._structure_figures import figure_potential, figure_pressure, figure_rdf

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def available_figures(tree: xr.DataTree) -> dict[str, Callable[[xr.DataTree], "Figure"]]:
    """The figures whose variables a result holds, by name, in the order in which they are read.

    Args:
        tree: A result.

    Example:
        >>> predicted = xr.Dataset({"pressure": (("chain", "draw_p"), [[1.0, 1.2, 0.9]])})
        >>> posterior = xr.Dataset({"well_t1": (("chain", "draw"), [[2.9, 3.1, 2.7]])})
        >>> tree = xr.DataTree.from_dict({"posterior_predictive": predicted, "posterior": posterior})
        >>> list(available_figures(tree))
        ['pressure', 'trace']
    """
    from bayescg.output._trace import figure_trace

    phonons = (
        "property" in tree.children
        and any("_phonon_" in str(name) for name in tree["property"].coords.get("component", xr.DataArray([])).values)
    )  # fmt: skip
    wanted: list[tuple[str, Callable[[xr.DataTree], Figure], str, tuple[str, ...]]] = [
        ("potential", figure_potential, "prediction", ("pair_energy",)),
        ("rdf", figure_rdf, "posterior_predictive", ("rdf",)),
        ("pressure", figure_pressure, "posterior_predictive", ("pressure",)),
        ("residuals", figure_residuals, "labels", ()),
        ("coverage", figure_coverage, "coverage", ("coverage", "coverage_parameters")),
        ("coverage_by_ensemble", figure_coverage_by_ensemble, "coverage_by_ensemble", COMPARED),
        ("properties", figure_properties, "property", ("value",)),
        ("phonons", figure_phonons, "property" if phonons else "no such group", ("value",)),
        ("fisher", figure_fisher, "identifiability", ("prior_relative", "contraction")),
        ("sloppiness", figure_sloppiness, "sloppiness", ("eigenvalue", "eigenvector")),
        ("verification", figure_verification, "verification", VERIFICATION_VARIABLES),
        ("trace", figure_trace, "posterior", ()),
    ]
    return {name: draw for name, draw, group, variables in wanted if has_variables(tree, group, *variables)}
