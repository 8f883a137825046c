"""Averages at many draws from the same random numbers, with what each independent block of frames adds to their errors."""

from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float

from bayescg.errors import InputError
from bayescg.physics import ReferenceBank

DRAWS_AT_ONCE = 32
"""Draws whose weights are held in memory together."""


def common_seed_means(values: xr.DataArray) -> xr.Dataset:
    """Averages of simulations whose j-th one used the same random numbers at every draw.

    Args:
        values: averages [draw simulation *observable], all there.

    Returns:
        `mean` [draw *observable] and `influence` [block draw *observable], whose products summed over blocks are the
        covariance of the Monte-Carlo errors of two draws; a block is a seed.

    Raises:
        InputError: a single simulation of each draw, or values that are not finite.

    Example:
        >>> noise = np.random.default_rng(0).normal(size=(1, 50))  # the same at both draws
        >>> means = common_seed_means(xr.DataArray([[1.0], [2.0]] + noise, dims=("draw", "simulation")))
        >>> covariance = monte_carlo_covariance(means)
        >>> bool(0.01 < covariance[0, 0] < 0.04), bool(abs(difference_error(means, 0, 1)) < 1e-12)  # 1/50, and none
        (True, True)
    """
    y = values.transpose("draw", "simulation", ...)
    n = y.sizes["simulation"]
    if n < 2 or not np.isfinite(y.values).all():
        raise InputError(
            f"common seeds: {n} simulations of every draw; at least 2, all of them finite, are needed"
        )
    mean = y.mean("simulation")
    influence = (
        ((y - mean) / np.sqrt(n * (n - 1.0))).rename(simulation="block").transpose("block", "draw", ...)
    )
    mean.attrs = dict(values.attrs)
    table = xr.Dataset({"mean": mean, "influence": influence.drop_vars("block", errors="ignore")})
    return table.assign_coords(reference=("block", np.zeros(n, int)))


def reweighted_means(
    bank: ReferenceBank, coefficients: Float[np.ndarray, "draw feature"], values: xr.DataArray
) -> xr.Dataset:
    """Averages at every draw by reweighting one bank, and what each block of its frames contributes to their errors.

    A frame n of reference k acts on the mean m_s of draw s through its own weight, w_sn (A_n − m_s), and through the
    estimated free energies of the references. Summed over independent blocks b of frames, I_bs, these give

        Cov(m_s, m_t) = Σ_b I_bs I_bt,

    so that what two draws have in common cancels in their difference. First order in the noise.

    An observable that depends on the parameters linearly through its coefficients (energy, virial pressure) has the
    features as `values`; contract `mean` and `influence` with the coefficients of each draw afterwards.

    Args:
        bank: reference simulations, at least two blocks in each.
        coefficients: η of the draws, calibrated posterior ones or those of the prior.
        values: of every pooled frame, in the order of `bank.features` [frame *observable].

    Returns:
        `mean` and `fluctuation_variance` [draw *observable], `influence` [block draw *observable], `effective_frames`
        [draw] and the `reference` of each block.

    Raises:
        InputError: values of another number of frames, references of one block.

    References:
        Shirts & Chodera (2008), doi:10.1063/1.2978177, eqs. 8 and 15; blocks instead of independent frames.

    Example:
        >>> from bayescg.physics import Reference
        >>> x2 = np.random.default_rng(0).normal(size=(20, 100, 1)) ** 2  # a spring, U = η x²
        >>> bank = ReferenceBank(1.0, (Reference(np.array([0.5]), x2, x2, x2[..., :0], np.zeros((0, 1, 1))),))
        >>> values = xr.DataArray(x2.reshape(-1), dims="frame", attrs={"units": "nm^2", "long_name": "square"})
        >>> means = reweighted_means(bank, np.array([[0.5], [0.6]]), values)
        >>> bool(difference_error(means, 0, 1) < 0.5 * np.sqrt(monte_carlo_covariance(means)[0, 0]))
        True
    """
    if values.dims[:1] != ("frame",) or len(values) != len(bank.features):
        raise InputError(
            f"reweighting: values of dimensions {dict(values.sizes)}; frame first, {len(bank.features)} of them expected"
        )
    observable = np.asarray(values, float).reshape(len(values), -1)
    shared = _shared(bank)
    some = [coefficients[i : i + DRAWS_AT_ONCE] for i in range(0, len(coefficients), DRAWS_AT_ONCE)]
    held = _Observable.of(observable)
    found = [_at_draws(bank, shared, eta, held) for eta in some]
    mean, variance, effective = (np.concatenate([one[i] for one in found]) for i in range(3))
    influence = np.concatenate([one[3] for one in found], axis=1)
    return means_dataset(
        values.isel(frame=0, drop=True), mean, variance, effective, influence, shared.references
    )


def means_dataset(
    like: xr.DataArray,
    mean: np.ndarray,
    variance: np.ndarray,
    effective: np.ndarray,
    influence: np.ndarray,
    references: np.ndarray,
) -> xr.Dataset:
    """The table of `reweighted_means`, the blocks' contributions centred within each reference.

    Args:
        like: dimensions, coordinates and units of the observable alone.
        mean: [draw component].
        variance: of the frames [draw component].
        effective: frames [draw].
        influence: [block draw component].
        references: reference of every block [block].
    """
    for k in np.unique(references):
        own = references == k
        factor = np.sqrt(own.sum() / (own.sum() - 1.0))
        influence[own] = factor * (influence[own] - influence[own].mean(axis=0))
    per_draw, shape = ("draw", *like.dims), like.shape
    squared = {"units": f"({like.attrs.get('units', '1')})^2", "long_name": "variance of the frames"}
    return xr.Dataset(
        {
            "mean": (per_draw, mean.reshape(-1, *shape), dict(like.attrs)),
            "influence": (("block", *per_draw), influence.reshape(*influence.shape[:2], *shape)),
            "fluctuation_variance": (per_draw, np.maximum(variance, 0.0).reshape(-1, *shape), squared),
            "effective_frames": ("draw", effective, {"units": "1", "long_name": "effective frames"}),
        },
        coords=dict(like.coords) | {"reference": ("block", references)},
    )


SMALLEST = 1e-12
"""Weight of a frame, relative to the largest, below which it does not count for errors."""
NEGLIGIBLE = 1e-60
"""Weight of a frame that is set to 0."""


class _Shared(NamedTuple):
    """What all draws have in common.

    Attributes:
        edges: first frame of every block, and the number of all [edge].
        references: reference of every block [block].
        state_weights: the references' own weights [reference frame].
        free_influence: effect of every block on the references' free energies [reference block].
    """

    edges: np.ndarray
    references: np.ndarray
    state_weights: np.ndarray
    free_influence: np.ndarray


def frame_weights(bank: ReferenceBank, coefficients: np.ndarray) -> np.ndarray:
    """Normalised weights of all frames at several η [draw frame]; tiny ones are 0, since denormal numbers are slow."""
    weights = bank.draw_weights(coefficients)
    return np.where(weights < NEGLIGIBLE, 0.0, weights)


def _shared(bank: ReferenceBank) -> _Shared:
    starts = np.flatnonzero(np.diff(bank.block_index, prepend=-1))
    references = bank.reference_index[starts]
    if np.bincount(references).min() < 2:
        raise InputError("the Monte-Carlo error needs at least 2 replicas in every reference simulation")
    state_weights = frame_weights(bank, bank.coefficients)
    overlap = (state_weights * bank.n_frames[:, None]) @ state_weights.T
    response = np.linalg.pinv(np.eye(len(overlap)) - overlap.T, rcond=1e-10)
    own = state_weights - (state_weights @ state_weights.T)[:, bank.reference_index]
    free = np.add.reduceat(-response @ own, starts, axis=1)
    return _Shared(np.append(starts, len(bank.features)), references, state_weights, free)


class _Observable(NamedTuple):
    """Values of all frames about their centre, in float32: of errors a few digits suffice, and they are the dear part.

    Attributes:
        exact: as given [frame observable].
        centre: [observable].
        apart: from the centre [frame observable].
        square: of that [frame observable].
    """

    exact: np.ndarray
    centre: np.ndarray
    apart: np.ndarray
    square: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> "_Observable":
        centre = values.mean(axis=0)
        apart = (values - centre).astype(np.float32)
        return cls(values, centre, apart, apart**2)


def _at_draws(
    bank: ReferenceBank, shared: _Shared, coefficients: np.ndarray, observable: _Observable
) -> tuple[np.ndarray, ...]:
    """Means and variances [draw observable], effective frames [draw], influence [block draw observable]."""
    weights = frame_weights(bank, coefficients)
    mean = weights @ observable.exact
    off = mean - observable.centre
    starts, light = shared.edges[:-1], _light(weights)
    blocks = [slice(a, b) for a, b in zip(starts, shared.edges[1:])]
    held = np.add.reduceat(weights, starts, axis=1)
    own = np.stack([light[:, some] @ observable.apart[some] for some in blocks])
    own = own / _largest(weights) - held.T[..., None] * off
    through = np.stack(
        [_through(light, state, observable.apart, off) for state in shared.state_weights]
    ) / _largest(weights)
    counts = np.diff(shared.edges)[:, None, None] * through[shared.references]
    free = np.tensordot(shared.free_influence.T * bank.n_frames, through, axes=1)
    variance = light @ observable.square / _largest(weights) - off**2
    return mean, variance, 1.0 / np.sum(weights**2, axis=1), own - counts - free


def _largest(weights: np.ndarray) -> np.ndarray:
    """What `_light` scales by [draw 1]."""
    return 1.0 / weights.max(axis=-1, keepdims=True)


def _light(weights: np.ndarray) -> np.ndarray:
    """In float32 with the largest 1; what would make denormal products, which are very slow, is 0."""
    scaled = (weights * _largest(weights)).astype(np.float32)
    return np.where(scaled < SMALLEST, np.float32(0.0), scaled)


def _through(light: np.ndarray, state: np.ndarray, apart: np.ndarray, off: np.ndarray) -> np.ndarray:
    """Σ_n W_n w_sn (A_n − m_s) with one reference's weights W [draw observable]; frames that it lacks are left out."""
    scaled = _light(state)
    there = np.flatnonzero(scaled)
    some = slice(None) if len(there) > 0.5 * len(state) else there
    joint = light[:, some] * scaled[some]
    product = joint @ apart[some] - joint.sum(axis=1, dtype=np.float64)[:, None] * off
    return product * float(state.max())


def monte_carlo_covariance(means: xr.Dataset) -> xr.DataArray:
    """Covariance of the Monte-Carlo errors of the draws' means, Σ_b I_bs I_bt.

    Args:
        means: of `reweighted_means` or `common_seed_means`.

    Returns:
        [draw other_draw *observable].

    Example:
        >>> means = xr.Dataset({"influence": (("block", "draw"), [[0.1, 0.2], [-0.1, -0.2]])})
        >>> monte_carlo_covariance(means).values.round(2).tolist()
        [[0.02, 0.04], [0.04, 0.08]]
    """
    influence = means["influence"]
    made = xr.dot(influence, influence.rename(draw="other_draw"), dim="block")
    made.attrs = {"long_name": "covariance of Monte-Carlo errors"}
    return made.transpose("draw", "other_draw", ...)


def difference_error(means: xr.Dataset, first: int, second: int) -> np.ndarray:
    """Monte-Carlo standard error of the difference of two draws' means [*observable]; what is common cancels.

    Args:
        means: of `reweighted_means` or `common_seed_means`.
        first: index of a draw.
        second: index of another.

    Example:
        >>> means = xr.Dataset({"influence": (("block", "draw"), [[0.3, 0.2], [-0.3, -0.2]])})
        >>> round(float(difference_error(means, 0, 1)), 3)
        0.141
    """
    influence = means["influence"]
    apart = influence.isel(draw=first, drop=True) - influence.isel(draw=second, drop=True)
    return np.asarray(np.sqrt((apart**2).sum("block")))
