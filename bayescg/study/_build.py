"""From the model file's tables to objects: potentials and priors."""

from collections.abc import Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from bayescg.data import UnitSystem
from bayescg.errors import InputError
from bayescg.inference import Prior, Smoothness, default_smoothness_weights, independent_prior
from bayescg.inference._prior import check_support
from bayescg.physics import (
    AngleFourier,
    DoubleWell,
    HarmonicWell,
    LennardJones,
    Mie,
    ParameterInfo,
    Potential,
    SplinePair,
    WeeksChandlerAndersen,
)
from bayescg.physics._mie import FIELDS
from bayescg.physics._potential import Parametrised
from bayescg.study._keys import blame
from bayescg.study._schema import (
    AngleFourierTable,
    AnyPotentialTable,
    DistributionTable,
    DoubleWellTable,
    HarmonicWellTable,
    LennardJonesTable,
    MieTable,
    ModelFile,
    PriorTable,
    SmoothnessTable,
    SplineTable,
    WcaTable,
)

ParameterPrior = dist.Distribution | Smoothness


def build_potential(model: ModelFile, *, path: Path) -> Potential:
    """The sum of the model file's potentials; a bare truncation becomes its continuous form.

    Dynamics with the truncated forces sample the shifted potential, so that is what data from such dynamics are
    distributed by, whatever energies the engine reported.

    Raises:
        InputError: a term that cannot be made, with its key.
    """
    total = None
    for name, table in model.potential.items():
        with blame(path, f"potential.{name}"):
            term = _term(name, table)
            total = term if total is None else total + term
    assert total is not None  # the model file has at least one
    return total


def _term(name: str, table: AnyPotentialTable) -> Potential:
    match table:
        case SplineTable():
            return SplinePair.uniform(
                inner=table.inner,
                cutoff=table.cutoff,
                spacing=table.spacing,
                outer_spacing=table.outer_spacing,
                core_distance=table.core_distance,
                core_strength=table.core_strength,
                name=name,
            )
        case LennardJonesTable():
            return LennardJones(
                jnp.asarray(table.epsilon, float),
                jnp.asarray(table.sigma, float),
                cutoff=table.cutoff,
                convention=table.convention,
                onset=table.onset,
                name=name,
            ).continuous()
        case MieTable():
            varying = FIELDS if table.vary is None else table.vary
            return Mie(
                *(jnp.asarray(value, float) for value in (table.epsilon, table.sigma, table.n, table.m)),
                inner=table.inner,
                cutoff=table.cutoff,
                convention=table.convention,
                onset=table.onset,
                n_nodes=table.nodes,
                held=tuple(field for field in FIELDS if field not in varying),
                name=name,
            ).continuous()
        case WcaTable():
            return WeeksChandlerAndersen(
                jnp.asarray(table.epsilon, float),
                jnp.asarray(table.sigma, float),
                inner=table.inner,
                cutoff=table.cutoff,
                n_nodes=table.nodes,
                name=name,
            )
        case DoubleWellTable():
            return DoubleWell(jnp.asarray(table.t1, float), jnp.asarray(table.t2, float), name=name)
        case HarmonicWellTable():
            return HarmonicWell(jnp.asarray(table.k, float), name=name)
        case AngleFourierTable():
            return AngleFourier(jnp.asarray(table.kappa1, float), jnp.asarray(table.kappa2, float), name=name)


def build_prior(model: ModelFile, potential: Potential, units: UnitSystem, *, path: Path) -> Prior:
    """The prior of the model file; see `parameter_priors`."""
    return independent_prior(potential, parameter_priors(model, potential, units, path=path))


def parameters_with_priors(
    potential: Parametrised, tables: Mapping[str, PriorTable], *, path: Path
) -> dict[str, ParameterInfo]:
    """The parameters by name.

    Raises:
        InputError: a table `[prior.NAME]` for a parameter that is not among them.
    """
    infos = {info.name: info for info in potential.parameters()}
    unknown = sorted(set(tables) - set(infos))
    if unknown:
        raise InputError(
            f"{path}: key 'prior.{unknown[0]}': there is no such parameter; use one of {', '.join(sorted(infos))}"
        )
    return infos


def parameter_priors(
    model: ModelFile, potential: Potential, units: UnitSystem, *, path: Path
) -> dict[str, ParameterPrior]:
    """The prior of every parameter, with defaults from the parameters' scales where the model file names none.

    Raises:
        InputError: a prior for a parameter that does not exist, or one that does not fit it.
    """
    infos = parameters_with_priors(potential, model.prior, path=path)
    kT = units.kT(model.temperature)
    values = potential.parameter_values()
    priors: dict[str, ParameterPrior] = {}
    for name, info in infos.items():
        table = model.prior.get(name)
        if table is None:
            priors[name] = _default_prior(info, np.asarray(values[name]), kT)
        elif isinstance(table, SmoothnessTable):
            if not info.shape:
                raise InputError(
                    f"{path}: key 'prior.{name}': smoothness is for spline coefficients, and this is one number;"
                    " give a `distribution`"
                )
            weights = default_smoothness_weights(info, exponent=table.steepness)
            priors[name] = Smoothness(dist.LogNormal(np.log(table.smoothness), table.spread), weights)
        else:
            priors[name] = distribution = table_prior(table, info, path=path)
            if info.shape and isinstance(distribution, dist.Uniform):
                raise InputError(
                    f"{path}: key 'prior.{name}': a flat prior on spline coefficients leaves those that no data touch"
                    " free to make the potential attractive there; use `smoothness`"
                )
    return priors


def _default_prior(info: ParameterInfo, value: np.ndarray, kT: float) -> ParameterPrior:
    if info.shape and info.coordinate:
        return Smoothness(dist.LogNormal(np.log(0.1 * kT), 1.0), default_smoothness_weights(info))
    if info.support == "positive":
        # The data know lengths and exponents well; anything else is a guess within a factor of a few.
        spread = 0.2 if info.quantity == "length" or info.long_name.startswith("exponent") else 1.0
        return dist.LogNormal(np.log(float(value)), spread)
    return dist.Normal(float(value), 3.0 * info.scale)


def table_prior(table: DistributionTable, info: ParameterInfo, *, path: Path) -> dist.Distribution:
    """The distribution of a table `[prior.PARAMETER]`.

    Raises:
        InputError: other numbers than the distribution takes, or a support that the parameter does not have.
    """
    distribution = _distribution(table, f"{path}: key 'prior.{info.name}'")
    with blame(path, f"prior.{info.name}"):
        check_support(info, distribution)
    return distribution


def _distribution(table: DistributionTable, where: str) -> dist.Distribution:
    makers = {
        "normal": (dist.Normal, ("loc", "scale")),
        "lognormal": (dist.LogNormal, ("loc", "scale")),
        "halfnormal": (dist.HalfNormal, ("scale",)),
        "gamma": (dist.Gamma, ("concentration", "rate")),
        "uniform": (dist.Uniform, ("low", "high")),
        "truncated-normal": (dist.TruncatedNormal, ("loc", "scale", "low")),
        "exponential": (dist.Exponential, ("rate",)),
    }
    maker, needed = makers[table.distribution]
    given = {k: v for k, v in table.model_dump().items() if k != "distribution" and v is not None}
    if set(given) != set(needed):
        raise InputError(
            f"{where}: {table.distribution} takes {', '.join(needed)}, found {', '.join(sorted(given)) or 'nothing'}"
        )
    if table.distribution == "uniform" and not table.low < table.high:  # type: ignore[operator]
        raise InputError(f"{where}: low ({table.low}) must be below high ({table.high})")
    return maker(**given)
