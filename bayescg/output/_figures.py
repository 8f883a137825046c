"""Which figures a result can be drawn as, from the stored DataTree alone.

Each function returns a matplotlib `Figure` of its own; nothing global is changed.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import xarray as xr

from bayescg.output._diagnostic_figures import VERIFICATION_VARIABLES, figure_fisher, figure_verification
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

    wanted: list[tuple[str, Callable[[xr.DataTree], Figure], str, tuple[str, ...]]] = [
        ("potential", figure_potential, "prediction", ("pair_energy",)),
        ("rdf", figure_rdf, "posterior_predictive", ("rdf",)),
        ("pressure", figure_pressure, "posterior_predictive", ("pressure",)),
        ("fisher", figure_fisher, "identifiability", ("prior_relative", "contraction")),
        ("verification", figure_verification, "verification", VERIFICATION_VARIABLES),
        ("trace", figure_trace, "posterior", ()),
    ]
    return {name: draw for name, draw, group, variables in wanted if has_variables(tree, group, *variables)}
