"""Which configuration to label next: the one whose label is expected to narrow a chosen property most."""

import numpy as np
from jaxtyping import Float

from bayescg.errors import InputError
from bayescg.inference import LabelledData, Prior, white_rows


def configuration_information(
    prior: Prior, z: Float[np.ndarray, " coordinate"], data: LabelledData
) -> Float[np.ndarray, "configuration coordinate coordinate"]:
    """Σ G Gᵀ/σ² of the labels of each configuration: what labelling it would add to the posterior's precision.

    Labels themselves do not enter: with Gaussian noise and linearised predictions the information of a measurement is
    known before it is made. Where labels are absent from the data but will be there, give any numbers for them.

    Args:
        prior: whose model z belongs to.
        z: where predictions are linearised, best at the mode.
        data: configurations, with their groups among those of the prior's noise.

    Example:
        >>> from bayescg.inference import example_labels
        >>> atoms, data, prior = example_labels()
        >>> configuration_information(prior, np.array([-11.5]), data).round(6).tolist()  # 1/0.1² from each energy
        [[[100.0]], [[100.0]]]
    """
    rows = white_rows(prior, z, data)
    size = len(rows.z)
    information = np.zeros((data.n_configurations, size, size))
    for configuration in np.unique(rows.configuration):
        own = rows.jacobian[rows.configuration == configuration]
        information[configuration][np.ix_(rows.free, rows.free)] = own.T @ own
    return information


def spreads_after_labelling(
    precision: Float[np.ndarray, "coordinate coordinate"],
    information: Float[np.ndarray, "configuration coordinate coordinate"],
    gradient: Float[np.ndarray, " coordinate"],
) -> Float[np.ndarray, " configuration"]:
    """Standard deviation of a property once each configuration has been labelled, √(gᵀ (P + I_c)⁻¹ g).

    Label the one with the smallest value next. Disagreement of the posterior about the *property* decides, not about
    the configuration's own energy: labels that narrow what the property does not depend on are not asked for.

    Args:
        precision: P, inverse covariance of the posterior so far.
        information: I_c of every candidate, from `configuration_information`.
        gradient: g, derivative of the property by the unconstrained coordinates.

    Raises:
        InputError: a precision that is not positive definite.

    Example:
        >>> two = np.array([np.diag([3.0, 0.0]), np.diag([0.0, 8.0])])  # each tells of one coordinate
        >>> spreads_after_labelling(np.eye(2), two, np.array([1.0, 0.0])).round(2).tolist()
        [0.5, 1.0]

    References:
        MacKay (1992), doi:10.1162/neco.1992.4.4.590, section 4.
    """
    if np.linalg.eigvalsh((precision + precision.T) / 2.0)[0] <= 0.0:
        raise InputError(
            "next configuration: the precision is not positive definite; give the prior's where there are no data yet"
        )
    total = precision[None] + information
    return np.sqrt(
        np.einsum(
            "i,ci->c",
            gradient,
            np.linalg.solve(total, np.broadcast_to(gradient[:, None], (*total.shape[:2], 1)))[..., 0],
        )
    )
