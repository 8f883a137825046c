"""Bootstrap of labelled data: whole configurations drawn with replacement, the mode found again."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from bayescg.errors import ConvergenceError, InputError
from bayescg.inference._labelled import LabelledData
from bayescg.inference._linearised import LabelRows, parameter_vector
from bayescg.inference._prior import Prior
from bayescg.inference._white_rows import WhiteRows, local, white_rows
from bayescg.physics._design_matrix import has_design_matrix
from bayescg.progress import Progress, SilentProgress

BENT = 1e-6
"""Residuals in units of noise that may differ from their linearisation before predictions count as non-linear."""


class Bootstrap(NamedTuple):
    """Modes of resampled data.

    Attributes:
        draws: one mode for each replica, scales held [draw coordinate].
        linear: whether the modes follow exactly from the rows at the first one.
        most_steps: Gauss–Newton steps that the slowest replica took.

    Example:
        >>> found = Bootstrap(np.array([[0.9], [1.1], [1.0]]), linear=True, most_steps=1)
        >>> found.draws.std(axis=0, ddof=1).round(3).tolist()
        [0.1]
    """

    draws: Float[np.ndarray, "draw coordinate"]
    linear: bool
    most_steps: int


class _Normal(NamedTuple):
    """Gauss–Newton's equations, configuration by configuration."""

    precision: np.ndarray  # G_cᵀ G_c [configuration free free]
    slope: np.ndarray  # G_cᵀ r_c [configuration free]


def bootstrap(
    prior: Prior,
    data: LabelledData,
    z: Float[np.ndarray, " coordinate"],
    *,
    n: int,
    seed: int,
    rows: LabelRows | None = None,
    max_steps: int = 30,
    tolerance: float = 1e-6,
    progress: Progress | None = None,
) -> Bootstrap:
    """Modes of data sets whose configurations are drawn with replacement, by Gauss–Newton from the mode of all data.

    The centre of the prior is drawn anew too, its score by N(0, Λ), since otherwise nothing would move the directions
    that the prior determines. So the draws' covariance is that of the sandwich, H⁻¹ (Σ_c s_c s_cᵀ + Λ) H⁻¹, for many
    configurations, and needs no formula for few. Noise scales, smoothness and other scales are held.

    Args:
        prior: from `labelled_prior`.
        data: configurations and labels.
        z: the mode of all data [coordinate].
        n: number of replicas.
        seed: of the random numbers.
        rows: `label_rows` at z, if they are known already.
        max_steps: most Gauss–Newton steps of a replica.
        tolerance: squared length of the last step, in posterior standard deviations.
        progress: who listens, where each replica takes steps of its own.

    Raises:
        InputError: fewer than two replicas, or fewer than two configurations.
        ConvergenceError: a replica whose mode is not found.

    Example:
        >>> import numpyro.distributions as dist
        >>> from bayescg.data import Configurations, get_unit_system
        >>> from bayescg.inference import NoiseScale, labelled_data, labelled_prior
        >>> from bayescg.physics import SpeciesEnergies
        >>> cells = Configurations(
        ...     species=("Ta",), positions=(np.zeros((1, 3)),) * 40, types=(np.zeros(1, int),) * 40,
        ...     cell=np.stack([3.3 * np.eye(3)] * 40), periodic=np.ones((40, 3), bool), units=get_unit_system("metal"),
        ...     energy=-11.8 + 0.1 * np.sin(np.arange(40.0)),
        ... )
        >>> data = labelled_data(cells, cutoff=2.0, species=("Ta",), quantities=("energy",))
        >>> prior = labelled_prior(
        ...     SpeciesEnergies(jnp.zeros(1), species=("Ta",)), {"offset_energies": dist.Normal(0.0, 10.0)},
        ...     noise={"energy": NoiseScale(known=0.001)}, data=data,
        ... )
        >>> again = bootstrap(prior, data, np.array([-11.8]), n=500, seed=0)
        >>> again.linear, bool(0.009 < again.draws.std() < 0.013)  # 0.07/√40, whatever the noise is said to be
        (True, True)

    References:
        Efron & Tibshirani (1993), An Introduction to the Bootstrap, section 9.5, pairs; Newton & Raftery (1994),
        doi:10.1111/j.2517-6161.1994.tb01956.x, resampling as a posterior.
    """
    if n < 2 or data.n_configurations < 2:
        raise InputError(
            f"bootstrap: {n} replicas of {data.n_configurations} configurations; two of each are the least"
        )
    rng = np.random.default_rng(seed)
    n_configurations = data.n_configurations
    white = white_rows(prior, z, data, rows=rows)
    normal = _by_configuration(white, n_configurations)
    share = np.full(n_configurations, 1.0 / n_configurations)
    counts = rng.multinomial(n_configurations, share, size=n).astype(float)
    root = _root(white.prior_precision)
    pushes = rng.normal(size=(n, len(white.free))) @ root.T
    precision = np.tensordot(counts, normal.precision, axes=1) + white.prior_precision
    right = white.prior_score + pushes - counts @ normal.slope
    steps = np.stack([np.linalg.solve(a, b) for a, b in zip(precision, right, strict=True)])
    draws = white.draws(steps)
    if _linear(prior, data, white, draws[0], steps[0]):
        return Bootstrap(draws, True, 1)
    most = 1
    listener = SilentProgress() if progress is None else progress
    listener.stage("finding the modes of resampled data", total=n, unit="modes")
    for k in range(n):
        listener.update(k)
        draws[k], taken = _again(prior, data, draws[k], counts[k], pushes[k], max_steps, tolerance)
        most = max(most, taken)
    return Bootstrap(draws, False, most)


def _linear(prior: Prior, data: LabelledData, white: WhiteRows, there: np.ndarray, step: np.ndarray) -> bool:
    """Whether a replica's mode follows from the rows at the first one."""
    models = [prior.potential(jnp.asarray(z)) for z in (white.z, there)]
    if has_design_matrix(models[0].potential):
        moved = parameter_vector(models[1].potential) - parameter_vector(models[0].potential)
        chain = local(prior)(white.z).chain[:, white.free]
        return bool(np.max(np.abs(moved - chain @ step)) <= 1e-9 * np.max(np.abs(moved)))
    after = white_rows(prior, there, data).residual
    return bool(np.max(np.abs(after - white.residual - white.jacobian @ step)) < BENT)


def _by_configuration(white: WhiteRows, n_configurations: int) -> _Normal:
    p = len(white.free)
    precision, slope = np.zeros((n_configurations, p, p)), np.zeros((n_configurations, p))
    order = np.argsort(white.configuration, kind="stable")
    owner, starts = np.unique(white.configuration[order], return_index=True)
    for c, mine in zip(owner, np.split(order, starts[1:]), strict=True):
        g = white.jacobian[mine]
        precision[c], slope[c] = g.T @ g, g.T @ white.residual[mine]
    return _Normal(precision, slope)


def _root(precision: np.ndarray) -> np.ndarray:
    """A square root of the prior's precision, directions in which its density is not log-concave left out."""
    sizes, vectors = np.linalg.eigh(precision)
    return vectors * np.sqrt(np.maximum(sizes, 0.0))


def _again(
    prior: Prior,
    data: LabelledData,
    z: np.ndarray,
    counts: np.ndarray,
    push: np.ndarray,
    max_steps: int,
    tolerance: float,
) -> tuple[np.ndarray, int]:
    """More Gauss–Newton steps of one replica, shortened until its log density rises."""
    before = None
    step = np.zeros(len(push))
    for taken in range(2, max_steps + 2):
        white = white_rows(prior, z, data)
        weight = counts[white.configuration]
        density = float(prior.log_density(jnp.asarray(z))) - 0.5 * float(weight @ white.residual**2)
        density += float(push @ z[white.free])
        if before is not None and not density > before - 1e-9:
            z, step = z.copy(), step / 2.0
            z[white.free] -= step
            continue
        before = density
        weighted = weight[:, None] * white.jacobian
        precision = weighted.T @ white.jacobian + white.prior_precision
        step = np.linalg.solve(precision, white.prior_score + push - weighted.T @ white.residual)
        if step @ precision @ step < tolerance:
            return z, taken
        z = z.copy()
        z[white.free] += step
    raise ConvergenceError(
        f"bootstrap: a replica did not reach its mode in {max_steps} steps; raise max_steps or narrow the prior"
    )
