"""Which parameter combination makes most of an observable's spread: regression on whitened coordinates of the draws."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float

from bayescg.analysis._monomials import combination
from bayescg.errors import InputError

SMALLEST_CORRELATION = 1e-10
"""Eigenvalues of the coordinates' correlation matrix below this share of the largest count as none."""


def variance_shares(
    values: xr.DataArray,
    coordinates: xr.DataArray,
    *,
    directions: Float[np.ndarray, "direction coordinate"] | None = None,
    noise_variance: xr.DataArray | None = None,
) -> xr.Dataset:
    """Shares of an observable's parametric variance along directions of parameter space, and of each coordinate.

    The draws' coordinates z_s are written along the directions, z_s = z̄ + Σ_k a_sk v_k, and a_s is whitened by the
    symmetric root of its correlation matrix R, t = R^(-1/2) a/sd(a): uncorrelated numbers, each as close to its own a_k
    as can be. The correlations ω of the observable with t split what a linear regression explains without rest,

        Σ_k ω_k² = R²,   share_k ∝ max(ω_k² − (1 − R²)/(S − p − 1), 0),

    less what chance gives to each of p directions with S draws. The shares are scaled to sum to the R² of leaving one
    draw out, which over-fitting cannot raise, and `rest` is 1 minus that: what is not linear in the coordinates.
    Along the posterior's own eigenvectors R = 1 and the shares are those of an ordinary regression. The same with the
    coordinates themselves in place of the directions gives `coordinate_share`; there correlated coordinates divide
    between them what they explain together.

    Args:
        values: the observable at each draw, corrected ones or not [draw *observable].
        coordinates: unconstrained coordinates of the draws, finite and none of them constant [draw coordinate].
        directions: displacements v_k, as many as coordinates and independent: of `identifiability` the Fisher
            information's; default the eigenvectors of the draws' covariance, widest first.
        noise_variance: variance that finite simulation adds to each draw's mean, `noise_sd`² of a split [*observable]: the
            shares are then of the parametric variance, without it.

    Returns:
        `share` [direction *observable], `coordinate_share` [coordinate *observable], `rest` and cross-validated
        `r_squared` [*observable]; `effect`, by how much the observable changes with one standard deviation along a
        direction alone [direction *observable]; `displacement` v_k and `combination`, the numbers that a_k sums the
        coordinates with [direction coordinate]. NaN where the observable does not vary, or not beyond the noise.

    Raises:
        InputError: too few draws, directions that do not span the coordinates, coordinates that do not vary.

    References:
        Zuber & Strimmer (2011), doi:10.2202/1544-6115.1730 (the squared correlations ω_k²);
        Kessy, Lewin & Strimmer (2018), doi:10.1080/00031305.2016.1277159 (the whitening).

    Example:
        >>> z = np.random.default_rng(0).normal(size=(400, 2)) * np.array([1.0, 0.5])
        >>> draws = xr.DataArray(z, dims=("draw", "coordinate"), coords={"coordinate": ["a", "b"]})
        >>> shares = variance_shares(draws.sel(coordinate="a") + 2.0 * draws.sel(coordinate="b"), draws)
        >>> shares["coordinate_share"].values.round(1).tolist(), abs(round(float(shares["rest"]), 6))
        ([0.5, 0.5], 0.0)
    """
    y = values.transpose("draw", ...)
    z = np.asarray(coordinates.transpose("draw", "coordinate"), float)
    n_draws, size = z.shape
    v = _eigenvectors(z) if directions is None else np.asarray(directions, float)
    if n_draws != y.sizes["draw"] or n_draws < size + 3:
        raise InputError(
            f"variance shares: {y.sizes['draw']} values at {n_draws} draws of {size} coordinates; as many of both, and at"
            f" least {size + 3}, are needed"
        )
    if v.shape != (size, size) or np.linalg.matrix_rank(v) < size or not z.std(axis=0).min() > 0.0:
        raise InputError(
            f"variance shares: directions of shape {v.shape} for {size} coordinates; give that many independent ones, and"
            " no coordinate that is constant"
        )
    along = (z - z.mean(axis=0)) @ np.linalg.inv(v)
    flat = np.asarray(y, float).reshape(n_draws, -1)
    noise = 0.0 if noise_variance is None else np.asarray(noise_variance, float).reshape(-1)
    share, r_squared, slope = _shares(along, flat, noise)
    own, _, _ = _shares(z, flat, noise)
    dims, shape, names = (
        y.dims[1:],
        y.shape[1:],
        coordinates.coords["coordinate"] if "coordinate" in coordinates.coords else None,
    )
    unit, pure = str(values.attrs.get("units", "1")), {"units": "1"}
    of_direction, of_coordinate = ("direction", *dims), ("coordinate", *dims)
    effect = {
        "units": unit,
        "long_name": "change of the observable with one standard deviation along a direction",
    }
    table = {
        "share": (
            of_direction,
            share.reshape(-1, *shape),
            pure | {"long_name": "share of parametric variance"},
        ),
        "coordinate_share": (
            of_coordinate,
            own.reshape(-1, *shape),
            pure | {"long_name": "share of parametric variance"},
        ),
        "rest": (dims, (1.0 - r_squared).reshape(shape), pure | {"long_name": "share that is not linear"}),
        "r_squared": (dims, r_squared.reshape(shape), pure | {"long_name": "cross-validated R²"}),
        "effect": (of_direction, (slope * along.std(axis=0, ddof=1)[:, None]).reshape(-1, *shape), effect),
        "displacement": (
            ("direction", "coordinate"),
            v,
            pure | {"long_name": "displacement along a direction"},
        ),
        "combination": (
            ("direction", "coordinate"),
            np.linalg.inv(v).T,
            pure
            | {"long_name": "coefficients of the coordinates in the combination that a direction changes"},
        ),
    }
    kept = {name: c for name, c in y.coords.items() if "draw" not in c.dims}
    kept["direction"] = xr.DataArray(np.arange(size), dims="direction")
    if names is not None:
        kept["coordinate"] = names
    title = str(values.attrs.get("long_name", values.name or "the observable"))
    return xr.Dataset(table, coords=kept, attrs={"observable": title, "n_draws": n_draws})


def _eigenvectors(z: Float[np.ndarray, "draw coordinate"]) -> Float[np.ndarray, "direction coordinate"]:
    """Of the draws' covariance, widest first."""
    return np.linalg.eigh(np.atleast_2d(np.cov(z.T)))[1].T[::-1]


def _shares(
    x: Float[np.ndarray, "draw place"], y: Float[np.ndarray, "draw observable"], noise: np.ndarray | float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares [place observable], cross-validated R² [observable] and slopes of a linear regression [place observable]."""
    n, size = x.shape
    spread = x.std(axis=0, ddof=1)
    scaled = (x - x.mean(axis=0)) / spread / np.sqrt(n - 1.0)
    values, vectors = np.linalg.eigh(scaled.T @ scaled)
    kept = values > SMALLEST_CORRELATION * values.max()
    root = (vectors[:, kept] / np.sqrt(values[kept])) @ vectors[:, kept].T
    t = scaled @ root
    apart = y - y.mean(axis=0)
    total = np.sum(apart**2, axis=0)
    moves = total > 1e-24 * np.maximum(np.sum(y**2, axis=0), 1e-300)
    safe = np.where(moves, total, 1.0)
    projected = t.T @ apart
    left = (apart - t @ projected) / (1.0 - 1.0 / n - np.sum(t**2, axis=1))[:, None]
    predicted = 1.0 - np.sum(left**2, axis=0) / safe * ((n - 1.0) / n) ** 2
    variance = np.where(moves, total / (n - 1.0) - noise, np.nan)
    variance = np.where(variance > 0.0, variance, np.nan)
    r_squared = np.clip(np.clip(predicted, 0.0, None) * total / (n - 1.0) / variance, 0.0, 1.0)
    square = projected**2 / safe
    chance = (1.0 - square.sum(axis=0)) / (n - size - 1.0)
    above = np.maximum(square - chance, 0.0)
    above = np.where(above.sum(axis=0) > 0.0, above, square)
    whole = above.sum(axis=0)
    parts = above / np.where(whole > 0.0, whole, 1.0) * r_squared
    return parts, r_squared, root @ projected / np.sqrt(n - 1.0) / spread[:, None]


def share_sentence(
    shares: xr.Dataset, *, logarithmic: Sequence[bool] | None = None, most: int = 2, least: float = 0.05
) -> str:
    """Which combinations of parameters make the spread of one observable, in words.

    Args:
        shares: of `variance_shares`, one observable selected, with names of the coordinates.
        logarithmic: whether each coordinate is a parameter's logarithm; default all.
        most: number of directions named.
        least: share below which a direction is not named.

    Raises:
        InputError: more than one observable, or coordinates without names.

    Example:
        >>> z = np.random.default_rng(0).normal(size=(400, 2)) @ np.array([[1.0, 1.0], [-0.1, 0.1]])
        >>> draws = xr.DataArray(z, dims=("draw", "coordinate"), coords={"coordinate": ["epsilon", "sigma"]})
        >>> pressure = (draws.sum("coordinate") + 10.0).assign_attrs(long_name="pressure")
        >>> print(share_sentence(variance_shares(pressure, draws)))
        Of the parametric variance of pressure, 100 % goes with epsilon sigma; 0 % is not linear in the parameters.
    """
    name = shares.attrs["observable"]
    if shares["rest"].ndim or "coordinate" not in shares.coords:
        raise InputError(
            f"shares in words: {shares['rest'].ndim} dimensions of observables left; select one observable, and give the"
            " coordinates names"
        )
    rest = float(shares["rest"])
    if not np.isfinite(rest):
        return f"The draws of {name} do not vary beyond the simulation noise: no combination can be told to make it."
    names = [str(one) for one in shares["coordinate"].values]
    order = np.argsort(-shares["share"].values)[:most]
    said = []
    for k in order:
        share = float(shares["share"][k])
        if share >= least:
            text = combination(shares["combination"].values[k], names, logarithmic=logarithmic).text
            said.append(f"{100 * share:.0f} % goes with {text}")
    linear = ", ".join(said) if said else f"none goes to {100 * least:.0f} % or more with any one combination"
    return f"Of the parametric variance of {name}, {linear}; {100 * abs(rest):.0f} % is not linear in the parameters."
