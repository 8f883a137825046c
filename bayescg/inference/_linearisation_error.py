"""How far predictions at draws are from the linear ones that the draws were made with."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from bayescg.errors import InputError
from bayescg.inference._labelled import LabelledData
from bayescg.inference._linearised import LabelRows, label_rows, parameter_vector
from bayescg.inference._prior import Prior
from bayescg.inference._white_rows import WhiteRows
from bayescg.physics._design_matrix import has_design_matrix


def linearisation_error(
    prior: Prior,
    white: WhiteRows,
    draws: Float[np.ndarray, "draw coordinate"],
    data: LabelledData,
    *,
    rows: LabelRows,
    n: int = 8,
) -> float:
    """Root mean square of what linear predictions miss, over that of the changes they make.

    Over some of the draws and all labels, in units of noise,

        √(Σ |r(z) − r − G d|² / Σ |G d|²),    d = z − z₀.

    0 where predictions are linear in the coordinates; near 1 linear predictions say nothing about those at the draws.

    Args:
        prior: whose model the draws belong to.
        white: the rows that the draws were made with, at z₀.
        draws: unconstrained coordinates, scales those of the rows.
        data: configurations and labels of the rows.
        rows: `label_rows` at z₀.
        n: how many draws are looked at, evenly spaced.

    Returns:
        The ratio; infinite where a prediction at a draw is not finite.

    Example:
        >>> from bayescg.inference import example_labels, white_rows
        >>> atoms, data, prior = example_labels()
        >>> rows = label_rows(atoms, data)
        >>> white = white_rows(prior, np.array([-11.5]), data, rows=rows)
        >>> linearisation_error(prior, white, np.array([[-11.0], [-12.0]]), data, rows=rows) < 1e-6
        True
    """
    chosen = draws[np.unique(np.round(np.linspace(0, len(draws) - 1, min(n, len(draws)))).astype(int))]
    centre = prior.potential(jnp.asarray(white.z)).potential
    at_centre = parameter_vector(centre)
    scale = np.sqrt(rows.weight) / white.noise
    missed = changed = 0.0
    for z in chosen:
        potential = prior.potential(jnp.asarray(z)).potential
        change = white.jacobian @ (z - white.z)[white.free]
        if has_design_matrix(centre):
            moved = np.asarray(parameter_vector(potential) - at_centre)
            exact = rows.residual + rows.jacobian @ moved
        else:
            try:
                exact = label_rows(potential, data).residual
            except InputError:  # says that a prediction is not finite
                return float("inf")
        missed += float(np.sum((scale * exact - white.residual - change) ** 2))
        changed += float(np.sum(change**2))
    if not np.isfinite(missed + changed):
        return float("inf")
    return float(np.sqrt(missed / changed)) if changed else 0.0
