"""How reweighted averages change with the parameters of the potential, at every draw."""

from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from bayescg.analysis._pooled_frames import (
    ParameterVectors,
    PooledFrames,
    parameter_vectors,
    pooled_frames,
)
from bayescg.analysis._predict import System, ideal_counts
from bayescg.errors import InputError
from bayescg.physics import Potential, ReferenceBank


def frame_rdf(bank: ReferenceBank, system: System) -> xr.DataArray:
    """g(r) of every pooled frame from its pair counts: what to average for g(r) and to take the slope of [frame r].

    Args:
        bank: reference simulations with pair counts.
        system: with the edges of their bins.

    Raises:
        InputError: references without counts of these bins.

    Example:
        >>> from bayescg.data import get_unit_system
        >>> from bayescg.physics import Reference
        >>> counts = np.full((2, 50, 2), 19.0)
        >>> features = np.random.default_rng(0).normal(size=(2, 50, 1))
        >>> bank = ReferenceBank(1.0, (Reference(np.ones(1), features, features, counts, np.zeros((0, 20, 3))),))
        >>> edges = np.array([0.0, 1.0, 2.0])
        >>> frame_rdf(bank, System(20, 125.0, 1.0, get_unit_system("lj"), edges)).sizes["r"]
        2
    """
    counts = np.concatenate([r.pair_counts.reshape(r.n_frames, -1) for r in bank.references])
    edges = np.asarray(system.distance_edges)
    if counts.shape[1] != len(edges) - 1:
        raise InputError(
            f"g(r): the references count pairs in {counts.shape[1]} bins, the system has {len(edges) - 1}; give the edges"
            " that they were counted with"
        )
    r = ("r", (edges[1:] + edges[:-1]) / 2.0, {"units": system.units.unit("length")})
    named = {"units": "1", "long_name": "radial distribution function"}
    return xr.DataArray(counts / ideal_counts(system), dims=("frame", "r"), coords={"r": r}, attrs=named)


def reweighted_slopes(
    bank: ReferenceBank,
    potential: Potential,
    draws: Mapping[str, Float[np.ndarray, "draw *shape"]],
    values: xr.DataArray,
    *,
    system: System,
) -> xr.Dataset:
    """Derivatives of reweighted averages by the parameters θ of the potential, at every draw.

        ∂⟨A⟩/∂θ_p = −β Cov(A, ∂U/∂θ_p),   ∂U/∂θ_p = Σ_f φ_f ∂η_f/∂θ_p,

    for an A that does not know the parameters: g(r) (of `frame_rdf`), an order parameter, any function of a frame. Energy,
    pressure and their fluctuations know them: `thermodynamic_slopes`. It is the exact derivative of the average that
    `reweighted_means` gives, which is smooth in θ; no simulation is run.

    Averages over *configurations* only. A time correlation function, a diffusion coefficient or a rate depends on the
    potential through the dynamics as well, so that weights of configurations give neither it nor its slope.

    Args:
        bank: reference simulations, at least two blocks in each.
        potential: any of the family.
        draws: of each parameter by its name, arrays behind the draws.
        values: A of every pooled frame, in the order of `bank.features` [frame *observable].
        system: temperature and units; the weights are those of this temperature.

    Returns:
        `mean` and its standard error `mean_se` [draw *observable], `slope` and `slope_se` [draw parameter *observable],
        `effective_frames` [draw]. The slope's unit is that of A over that of the parameter, `parameter_units`. Errors are
        those of the finite simulation, first order, whole blocks of frames.

    Raises:
        InputError: values of another number of frames, draws that are not those of the potential, references of one block.

    References:
        Zwanzig (1954), doi:10.1063/1.1740409, the first order in the perturbation; Shell (2008),
        doi:10.1063/1.2992060, the derivatives of ⟨U⟩ that relative entropy needs; Shirts & Chodera (2008),
        doi:10.1063/1.2978177, the weights.

    Example:
        >>> from bayescg.data import get_unit_system
        >>> from bayescg.physics import HarmonicWell, Reference
        >>> x = np.random.default_rng(0).normal(size=(20, 200, 1))  # a spring, U = k x²/2, at k = kT = 1
        >>> bank = ReferenceBank(1.0, (Reference(np.ones(1), x**2 / 2, x[..., :0], x[..., :0], np.zeros((0, 1, 1))),))
        >>> system = System(1, 1.0, 1.0, get_unit_system("lj"), np.zeros(0))
        >>> values = xr.DataArray(x.ravel() ** 2, dims="frame")
        >>> made = reweighted_slopes(bank, HarmonicWell(1.0), {"well_k": np.array([1.0])}, values, system=system)
        >>> bool(abs(made["slope"][0, 0] + 1.0) < 3.0 * made["slope_se"][0, 0])  # ⟨x²⟩ = kT/k: the slope is -kT/k²
        True
    """
    if values.dims[:1] != ("frame",) or len(values) != len(bank.features):
        raise InputError(
            f"slopes: values of dimensions {dict(values.sizes)}; frame first, {len(bank.features)} of them expected"
        )
    vectors = parameter_vectors(potential, draws, system.units)
    kt = system.units.kT(system.temperature)
    flat = jnp.asarray(np.asarray(values, float).reshape(len(values), -1))
    found = _at_draws(pooled_frames(bank), vectors, flat, jnp.asarray(kt))
    return slopes_dataset(values.isel(frame=0, drop=True), vectors, [np.asarray(one) for one in found])


@eqx.filter_jit
def _at_draws(
    frames: PooledFrames, draws: ParameterVectors, values: Float[Array, "frame number"], kT: Array
) -> tuple[Array, ...]:
    """Means, slopes, their errors and effective frames; draw by draw and parameter by parameter, so that memory is one M × C."""

    def coefficients(vector: Array) -> Array:
        return draws.at(vector).coefficients()

    def at(vector: Array) -> tuple[Array, ...]:
        weights = frames.weights(coefficients(vector), kT=kT)
        mean = weights @ values
        weighted = weights[:, None] * (values - mean)
        forces = -(frames.features - weights @ frames.features) @ jax.jacfwd(coefficients)(vector) / kT

        def of_parameter(force: Float[Array, " frame"]) -> tuple[Array, Array]:
            product = weighted * force[:, None]
            slope = jnp.sum(product, axis=0)
            return slope, frames.error(product - weights[:, None] * slope)

        slope, slope_se = jax.lax.map(of_parameter, forces.T)
        return mean, frames.error(weighted), slope, slope_se, 1.0 / jnp.sum(weights**2)

    return jax.lax.map(at, draws.vectors)


def slopes_dataset(like: xr.DataArray, draws: ParameterVectors, found: list[np.ndarray]) -> xr.Dataset:
    """The table of `reweighted_slopes`.

    Args:
        like: dimensions, coordinates and units of the observable alone.
        draws: of the parameters.
        found: mean, its error, slope, its error, effective frames; observables flat.
    """
    mean, mean_se, slope, slope_se, effective = found
    of_mean, of_slope, shape = ("draw", *like.dims), ("draw", "parameter", *like.dims), like.shape
    unit, name = str(like.attrs.get("units", "1")), str(like.attrs.get("long_name", like.name or "average"))
    own = {"units": unit, "long_name": name}
    per = {"units": f"({unit}) / parameter_units", "long_name": f"derivative of {name} by a parameter"}
    error = "Monte-Carlo standard error of "
    return xr.Dataset(
        {
            "mean": (of_mean, mean.reshape(-1, *shape), own),
            "mean_se": (of_mean, mean_se.reshape(-1, *shape), own | {"long_name": error + name}),
            "slope": (of_slope, slope.reshape(*slope.shape[:2], *shape), per),
            "slope_se": (
                of_slope,
                slope_se.reshape(*slope.shape[:2], *shape),
                per | {"long_name": error + per["long_name"]},
            ),
            "effective_frames": ("draw", effective, {"units": "1", "long_name": "effective frames"}),
        },
        coords=dict(like.coords)
        | {
            "parameter": ("parameter", list(draws.names)),
            "parameter_units": ("parameter", list(draws.units)),
        },
    )
