"""What the closed form of labelled data asks for: predictions that are affine, and priors that are normal."""

import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Bool, Float, Int

from bayescg.errors import InputError
from bayescg.inference._labelled import LabelledData
from bayescg.inference._linearised import LabelRows, label_rows
from bayescg.inference._prior import Prior
from bayescg.inference._white_rows import local
from bayescg.physics._design_matrix import has_design_matrix


def check_linear(
    prior: Prior,
    data: LabelledData,
    z: Float[np.ndarray, " coordinate"],
    rows: LabelRows,
    *,
    free: Int[np.ndarray, " free"],
) -> None:
    """Raise unless predictions are affine and the log prior quadratic in the free coordinates.

    The curvature of the prior and the derivatives of the parameters are compared with those a random step away, of the
    prior's width; predictions too, unless the potential has a design matrix.

    Args:
        prior: of the labelled data.
        data: configurations and labels.
        z: where the rows are.
        rows: `label_rows` at z.
        free: indices of the coordinates that are parameters of the potential.

    Raises:
        InputError: naming the parameters that bend, or a prior that is improper.
    """
    here, inner = local(prior)(z), np.ix_(free, free)
    precision = -here.hessian[inner]
    if not np.all(np.isfinite(precision)) or np.linalg.eigvalsh(precision)[0] <= 0.0:
        raise InputError(
            "linear labels: the prior of the parameters is improper or not log-concave; give each a proper normal prior"
        )
    moved = z.copy()
    moved[free] += np.random.default_rng(0).normal(size=len(free)) / np.sqrt(np.diag(precision))
    there = local(prior)(moved)
    chain = here.chain[:, free]
    bent = np.abs(there.hessian[inner] + precision).max(axis=0) > 1e-6 * np.diag(precision)
    bent |= np.any(np.abs(chain - there.chain[:, free]) > 1e-9 * np.abs(chain), axis=0)
    if np.any(bent):
        names = ", ".join(str(prior.coordinates[i]) for i in free[bent])
        raise InputError(
            f"linear labels: the prior of {names} is not normal; the closed form needs Normal or Smoothness priors;"
            " use LabelFitter for others"
        )
    if has_design_matrix(prior.potential(jnp.asarray(z)).potential):
        return
    after = label_rows(prior.potential(jnp.asarray(moved)).potential, data).residual
    step = rows.jacobian @ (chain @ (moved - z)[free])
    if np.max(np.abs(after - rows.residual - step)) > 1e-7 * max(float(np.max(np.abs(step))), 1e-300):
        raise InputError(
            "linear labels: predictions are not linear in the parameters; use LabelFitter, or hold those that bend"
        )


def reduced_rows(
    rows: LabelRows, chain: Float[np.ndarray, "parameter free"], mine: Bool[np.ndarray, " row"]
) -> Float[np.ndarray, "reduced free+1"]:
    """Jacobian and residual of some rows in as many rows as there are columns: R of a QR decomposition.

    An orthogonal transformation of rows with equal noise, which leaves every sum of squares as it is.
    """
    both = np.column_stack([rows.jacobian[mine] @ chain, rows.residual[mine]])
    both *= np.sqrt(rows.weight[mine])[:, None]
    return both if len(both) <= both.shape[1] else scipy.linalg.qr(both, mode="r")[0][: both.shape[1]]
