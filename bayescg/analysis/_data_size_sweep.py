"""What more data would bring: train and held-out relative entropy over the number of frames fitted to."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float

from bayescg.analysis._bias_variance import LEAST_EFFECTIVE_FRAMES
from bayescg.analysis._linear_basis import LinearBasis
from bayescg.analysis._linear_fits import LinearFits, LinearModel, refuse_flat
from bayescg.analysis._scores import score_inefficiency
from bayescg.errors import InputError
from bayescg.physics import SufficientStatistics, Surrogate

LONG_NAMES = {
    "train_relative_entropy": "minus the mean log density of the frames fitted to, mean over pieces, relative to the anchor",
    "held_out_relative_entropy": "minus the mean log density of all other frames, mean over pieces, relative to the anchor",
    "train_se": "its standard error beyond that of the fit to all frames, from the spread between pieces",
    "held_out_se": "its standard error beyond that of the fit to all frames, from the spread between pieces",
    "gap": "held-out minus train relative entropy, mean over pieces",
    "gap_se": "its standard error, from the spread between pieces",
}


def data_size_sweep(
    statistics: SufficientStatistics,
    surrogate: Surrogate,
    basis: LinearBasis,
    *,
    start: Float[np.ndarray, " feature"],
    n_frames: Sequence[int],
    most_pieces: int = 20,
) -> xr.Dataset:
    """Train and held-out relative entropy of one basis, fitted to contiguous pieces of the frames.

    For every size the frames are cut into as many pieces as there are, and each piece's fit is scored on all frames
    outside it. Where both curves meet, data are plentiful: what is left is the basis. The gap falls as
    tr(H⁻¹ J) / n once pieces are longer than the correlation.

    Energies of a fluid differ from piece to piece by far more than the fits do. So each score is taken above that of the
    fit to all frames on the same frames, and the mean score of that fit is put back: pieces that cover all frames have
    the same mean as without, and a much smaller error.

    Args:
        statistics: the frames, reduced to the finest features.
        surrogate: log Z from reference frames with the same features.
        basis: the basis.
        start: η near the best fit.
        n_frames: sizes, none more than half of a trajectory: two pieces are needed for an error.
        most_pieces: most pieces of one size.

    Returns:
        Variables along `data_size` in nats per frame, and how many pieces each size had.

    Raises:
        InputError: a size with fewer frames than coefficients, or with fewer than two pieces.

    Example:
        >>> import jax.numpy as jnp
        >>> from bayescg.analysis import chosen_features
        >>> x = np.linspace(-1.0, 1.0, 401)  # a uniform grid in place of simulations
        >>> legendre = lambda x: np.polynomial.legendre.legvander(x, 4)[:, 1:]
        >>> z = Surrogate(jnp.ones(()), jnp.zeros(4), jnp.asarray(legendre(x)), jnp.full(401, -np.log(401.0)))
        >>> data = legendre(np.random.default_rng(0).beta(2.0, 2.0, size=2000) * 2 - 1)
        >>> frames = SufficientStatistics(data, data, data[:, :0], np.zeros(2000, int))
        >>> sweep = data_size_sweep(frames, z, chosen_features(4, range(4)), start=np.zeros(4), n_frames=(50, 200, 800))
        >>> bool(sweep["gap"][0] > sweep["gap"][2] > 0)
        True
    """
    sizes = sorted(int(n) for n in n_frames)
    if not sizes or sizes[0] <= basis.size:
        raise InputError(
            f"data-size sweep: sizes {sizes} for a basis of {basis.size} coefficients; expected at least"
            f" {basis.size + 1} frames each"
        )
    pieces = {n: contiguous_pieces(statistics.trajectory_lengths(), n, most_pieces) for n in sizes}
    short = [n for n in sizes if len(pieces[n]) < 2]
    if short:
        raise InputError(
            f"data-size sweep: {statistics.n_frames} frames hold {len(pieces[short[0]])} pieces of {short[0]}; two are"
            " needed, so take sizes of at most half a trajectory"
        )
    model = LinearModel(surrogate, basis)
    covariance = np.atleast_2d(np.cov(statistics.features, rowvar=False))
    at = model.start(np.asarray(start, float), covariance)
    refuse_flat(model.curvature(at) + basis.prior_precision / sizes[-1], basis)
    total = np.array([float(statistics.n_frames)])
    whole = model.fit(statistics.features.mean(axis=0)[None], total, start=at, least=LEAST_EFFECTIVE_FRAMES)
    rows = [_score(model, statistics, pieces[n], whole) for n in sizes]
    values = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    variables = {
        name: ("data_size", values[name], {"units": "nats/frame", "long_name": text})
        for name, text in LONG_NAMES.items()
    }
    counts = {"units": "1", "long_name": "pieces of this size"}
    variables["n_pieces"] = ("data_size", np.array([len(pieces[n]) for n in sizes]), counts)
    reached = {"units": "1", "long_name": "whether every fit was found within reach of the references"}
    variables["converged"] = ("data_size", values["converged"], reached)
    coordinates = {"data_size": ("data_size", sizes, {"units": "1", "long_name": "frames fitted to"})}
    attrs = {
        "basis": basis.label,
        "basis_size": basis.size,
        "inefficiency": score_inefficiency(statistics),
        "n_frames": statistics.n_frames,
    }
    return xr.Dataset(variables, coords=coordinates, attrs=attrs)


def contiguous_pieces(lengths: Sequence[int], size: int, most: int) -> list[slice]:
    """Pieces of one size that do not overlap and do not cross from one trajectory to another, evenly chosen."""
    first = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    starts = [int(f) + k * size for f, n in zip(first, lengths, strict=True) for k in range(n // size)]
    chosen = np.unique(np.linspace(0, len(starts) - 1, min(most, len(starts))).round().astype(int))
    return [slice(starts[k], starts[k] + size) for k in chosen] if starts else []


def _score(
    model: LinearModel, statistics: SufficientStatistics, pieces: Sequence[slice], whole: LinearFits
) -> dict[str, float]:
    mean, start = statistics.features.mean(axis=0), whole.theta[0]
    inside = np.stack([statistics.features[piece].mean(axis=0) for piece in pieces])
    size, n = pieces[0].stop - pieces[0].start, statistics.n_frames
    outside = (n * mean - size * inside) / (n - size)
    fits = model.fit(
        inside, np.full(len(pieces), float(size)), start=start, least=LEAST_EFFECTIVE_FRAMES,
        hessian=model.curvature(start) + model.basis.prior_precision / size,
    )  # fmt: skip
    level = float(model.relative_entropy(whole, mean[None])[0, 0])
    train, held = (
        level + np.diagonal(model.relative_entropy(fits, means)) - model.relative_entropy(whole, means)[0]
        for means in (inside, outside)
    )
    error = lambda values: float(np.std(values, ddof=1) / np.sqrt(len(pieces)))  # noqa: E731
    return {
        "train_relative_entropy": float(train.mean()),
        "held_out_relative_entropy": float(held.mean()),
        "train_se": error(train),
        "held_out_se": error(held),
        "gap": float(np.mean(held - train)),
        "gap_se": error(held - train),
        "converged": bool(fits.converged.all()),
    }
