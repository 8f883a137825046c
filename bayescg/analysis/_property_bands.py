"""Properties of crystals at posterior draws: values, their spread, and which draws have none."""

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from bayescg.errors import InputError
from bayescg.inference import Prior
from bayescg.inference._labelled import LabelledModel
from bayescg.physics import CrystalProperty, InteratomicPotential, PropertyCode, RelaxedBulk

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def property_bands(
    prior: Prior,
    draws: Float[np.ndarray, "draw coordinate"],
    properties: Sequence[CrystalProperty],
    *,
    quantiles: tuple[float, ...] = QUANTILES,
    draws_at_once: int = 1,
) -> xr.Dataset:
    """Every property at every draw, each crystal relaxed once for all of its properties.

    A draw for which a property cannot be computed has NaN there and a code that says why; mean, standard deviation and
    quantiles are over the others. Where draws failed, those that are left are no longer the posterior: quote the count.

    Args:
        prior: whose model the draws belong to; it returns an `InteratomicPotential`, with noise or without.
        draws: unconstrained coordinates, raw or calibrated; chains are joined.
        properties: what is computed, with different names.
        quantiles: of the bands.
        draws_at_once: draws computed together; one is best on a CPU, more fill an accelerator.

    Returns:
        `value` [draw component], `mean`, `standard_deviation` and `n_draws` [component], `band` [quantile component],
        `code` [draw property] and `count` of every code [reason property]. The coordinates `unit`, `long_name` and
        `of_property` belong to the components.

    Raises:
        InputError: fewer than two draws, no property or two of the same name, quantiles outside 0 to 1, a model that is
            no interatomic potential.

    Example:
        >>> import numpyro
        >>> import numpyro.distributions as dist
        >>> from bayescg.data import get_unit_system
        >>> from bayescg.physics import Bulk, CohesiveEnergy, Crystal, LennardJonesPairs
        >>> def argon(epsilon):
        ...     return LennardJonesPairs(epsilon, 3.4, species=("Ar",), cutoff=8.0, convention="force_shifted")
        >>> prior = Prior(lambda: argon(numpyro.sample("epsilon", dist.LogNormal(-4.5, 0.1))))
        >>> bulk = Bulk.of(Crystal.bulk("Ar", "fcc", a=5.2), argon(0.01))
        >>> energy = CohesiveEnergy.of(bulk, units=get_unit_system("metal"))
        >>> bands = property_bands(prior, np.log([[0.010], [0.011], [0.012]]), [energy])
        >>> print(property_sentence(bands, "cohesive_energy"))  # proportional to epsilon
        Cohesive energy per atom, relative to isolated atoms: -0.0692 ± 0.0063 eV (mean ± standard deviation of 3 draws), \
90 % interval -0.0748 to -0.0635; no draw failed.
    """
    flat = np.asarray(draws, float).reshape(-1, np.shape(draws)[-1])
    if len(flat) < 2:
        raise InputError(f"property bands: {len(flat)} draws have no spread; give at least two")
    names = [one.name for one in properties]
    components = [component for one in properties for component in one.components]
    labels = [component.name for component in components]
    if not names or len(set(names)) < len(names) or len(set(labels)) < len(labels):
        raise InputError(
            f"property bands: give properties of different names, found {', '.join(names) or 'none'}"
        )
    if not all(0.0 <= q <= 1.0 for q in quantiles):
        raise InputError(f"property bands: quantiles lie between 0 and 1, found {quantiles}")
    values, codes = _at_draws(prior, jnp.asarray(flat), properties, draws_at_once)
    good = np.isfinite(values)
    kept = [column[mask] for column, mask in zip(values.T, good.T)]
    band = [np.quantile(one, quantiles) if len(one) else np.full(len(quantiles), np.nan) for one in kept]
    mean = [one.mean() if len(one) else np.nan for one in kept]
    spread = [one.std(ddof=1) if len(one) > 1 else np.nan for one in kept]
    counts = np.array([[np.sum(column == code) for column in codes.T] for code in PropertyCode])
    per_component = {"units": "those of the coordinate `unit`"}
    over = "over the posterior draws that did not fail"
    flags = {
        "flag_values": [int(c) for c in PropertyCode],
        "flag_meanings": " ".join(c.name for c in PropertyCode),
    }
    return xr.Dataset(
        {
            "value": (("draw", "component"), values, per_component | {"long_name": "value at each draw"}),
            "mean": ("component", np.array(mean), per_component | {"long_name": f"mean {over}"}),
            "standard_deviation": (
                "component",
                np.array(spread),
                per_component | {"long_name": f"standard deviation {over}", "ddof": 1},
            ),
            "n_draws": (
                "component",
                good.sum(axis=0),
                {"long_name": "draws that did not fail", "units": "1"},
            ),
            "band": (
                ("quantile", "component"),
                np.array(band).T,
                per_component | {"long_name": f"quantiles {over}"},
            ),
            "code": (("draw", "property"), codes, flags | {"long_name": "how each computation ended"}),
            "count": (("reason", "property"), counts, {"long_name": "draws that ended so", "units": "1"}),
        },
        coords={
            "component": labels,
            "unit": ("component", [component.unit for component in components]),
            "long_name": ("component", [component.long_name for component in components]),
            "of_property": ("component", [one.name for one in properties for _ in one.components]),
            "property": names,
            "quantile": list(quantiles),
            "reason": [code.name for code in PropertyCode],
        },
    )


def _at_draws(
    prior: Prior, z: Float[Array, "draw coordinate"], properties: Sequence[CrystalProperty], at_once: int
) -> tuple[Float[np.ndarray, "draw component"], np.ndarray]:
    """Values and codes of all properties; a crystal that several share is relaxed once."""
    relaxed: dict[int, RelaxedBulk] = {}
    values, codes = [], []
    for one in properties:
        bulk = one.bulk
        if id(bulk) not in relaxed:
            relaxed[id(bulk)] = _mapped(lambda z, bulk: bulk.relaxed(_potential(prior, z)), z, bulk, at_once)
        found = _mapped(
            lambda data, one: one.evaluate_at(_potential(prior, data[0]), data[1]),
            (z, relaxed[id(bulk)]),
            one,
            at_once,
        )
        values.append(np.asarray(found.values))
        codes.append(np.asarray(found.code))
    return np.concatenate(values, axis=1), np.stack(codes, axis=1)


def _mapped(function, data, constant, at_once: int):
    """The function of each row of the data and of a constant, compiled once."""
    return eqx.filter_jit(
        lambda rows, fixed: jax.lax.map(lambda row: function(row, fixed), rows, batch_size=at_once)
    )(data, constant)


def _potential(prior: Prior, z: Float[Array, " coordinate"]) -> InteratomicPotential:
    model = prior.potential(z)
    potential = model.potential if isinstance(model, LabelledModel) else model
    if not isinstance(potential, InteratomicPotential):
        raise InputError(
            f"property bands: the prior's model gives a {type(potential).__name__}, expected an interatomic potential"
        )
    return potential


def property_sentence(bands: xr.Dataset, component: str) -> str:
    """One component in words: value and spread, 90 % interval, how many draws failed and why.

    Args:
        bands: from `property_bands`.
        component: name of the component.

    Raises:
        InputError: a component that is not there.

    Example:
        >>> bands = xr.Dataset(
        ...     {"value": (("draw", "component"), [[5.42], [5.44], [np.nan]]),
        ...      "count": (("reason", "property"), [[2], [1]])},
        ...     coords={"component": ["a"], "unit": ("component", ["angstrom"]), "property": ["lattice"],
        ...         "long_name": ("component", ["lattice constant a"]), "of_property": ("component", ["lattice"]),
        ...         "reason": ["OK", "NOT_CONVERGED"]})
        >>> print(property_sentence(bands, "a"))
        Lattice constant a: 5.430 ± 0.014 angstrom (mean ± standard deviation of 2 draws), 90 % interval 5.421 to 5.439; \
1 of 3 draws failed (1 NOT_CONVERGED: the relaxation did not converge).
    """
    if component not in bands["component"].values:
        raise InputError(
            f"no component '{component}'; there are {', '.join(map(str, bands['component'].values))}"
        )
    one = bands.sel(component=component)
    words, unit = str(one["long_name"].item()), str(one["unit"].item())
    counts = one["count"].sel(property=one["of_property"].item())
    everything = one["value"].values
    values = everything[np.isfinite(everything)]
    trouble = [
        f"{int(n)} {reason}: {str(PropertyCode[str(reason)]).split(':')[0]}"
        for reason, n in zip(counts["reason"].values, counts.values)
        if n and reason != PropertyCode.OK.name
    ]
    n_failed = len(everything) - len(values)
    failed = (
        "no draw failed"
        if not n_failed
        else f"{n_failed} of {len(everything)} draws failed ({'; '.join(trouble)})"
    )
    head = f"{words[0].upper()}{words[1:]}"
    if len(values) < 2:
        return f"{head}: no spread can be given; {failed}."
    suffix = "" if unit == "1" else f" {unit}"
    spread = values.std(ddof=1)
    decimals = _decimals(spread)
    low, high = np.quantile(values, [0.05, 0.95])
    return (
        f"{head}: {values.mean():.{decimals}f} ± {spread:.{decimals}f}{suffix} (mean ± standard deviation of"
        f" {len(values)} draws), 90 % interval {low:.{decimals}f} to {high:.{decimals}f}; {failed}."
    )


def _decimals(spread: float) -> int:
    """Decimals that show two digits of the spread; six where there is none."""
    return max(0, 1 - int(np.floor(np.log10(spread)))) if spread > 1e-12 else 6
