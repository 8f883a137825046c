"""From the model file's tables to objects: potentials, priors, data sources."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from bayescg.data import (
    Bead,
    Frames,
    MappedTrajectory,
    Mapping,
    UnitSystem,
    get_unit_system,
    open_trajectory,
    read_all,
    read_frames,
)
from bayescg.errors import InputError
from bayescg.inference import Prior, Smoothness, default_smoothness_weights, independent_prior
from bayescg.inference._prior import check_support
from bayescg.physics import (
    DoubleWell,
    LennardJones,
    ParameterInfo,
    Potential,
    SplinePair,
    WeeksChandlerAndersen,
)
from bayescg.study._schema import (
    DistributionTable,
    DoubleWellTable,
    LennardJonesTable,
    MappingTable,
    ModelFile,
    RawTable,
    SmoothnessTable,
    SplineTable,
    WcaTable,
)

Table = SplineTable | LennardJonesTable | WcaTable | DoubleWellTable


def build_potential(model: ModelFile) -> Potential:
    """The sum of the model file's potentials; a bare truncation becomes its continuous form.

    Dynamics with the truncated forces sample the shifted potential, so that is what data from such dynamics are
    distributed by, whatever energies the engine reported.
    """
    terms = [_term(name, table) for name, table in model.potential.items()]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _term(name: str, table: Table) -> Potential:
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


def build_prior(model: ModelFile, potential: Potential, units: UnitSystem, *, path: Path) -> Prior:
    """The prior of the model file, with defaults from the parameters' scales where it names none.

    Raises:
        InputError: a prior for a parameter that does not exist, or one that does not fit it.
    """
    infos = {info.name: info for info in potential.parameters()}
    unknown = sorted(set(model.prior) - set(infos))
    if unknown:
        raise InputError(
            f"{path}: key 'prior.{unknown[0]}': there is no such parameter; the potential has"
            f" {', '.join(sorted(infos))}"
        )
    kT = units.kT(model.temperature)
    values = potential.parameter_values()
    priors = {}
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
            priors[name] = _distribution(table, f"{path}: key 'prior.{name}'")
            try:
                check_support(info, priors[name])
            except InputError as error:
                raise InputError(f"{path}: key 'prior.{name}': {error}") from None
            if info.shape and isinstance(priors[name], dist.Uniform):
                raise InputError(
                    f"{path}: key 'prior.{name}': a flat prior on spline coefficients leaves those that no data touch"
                    " free to make the potential attractive there; use `smoothness`"
                )
    return independent_prior(potential, priors)


def _default_prior(info: ParameterInfo, value: np.ndarray, kT: float) -> dist.Distribution | Smoothness:
    if info.shape and info.coordinate:
        return Smoothness(dist.LogNormal(np.log(0.1 * kT), 1.0), default_smoothness_weights(info))
    if info.support == "positive":
        spread = 0.2 if info.quantity == "length" else 1.0
        return dist.LogNormal(np.log(float(value)), spread)
    return dist.Normal(float(value), 3.0 * info.scale)


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


def build_mapping(table: MappingTable) -> Mapping:
    """The mapping of the model file."""
    if table.beads:
        beads = [Bead(b.name, b.selection, b.weights) for b in table.beads]
        return Mapping.named_beads(beads, by=table.by)
    return Mapping.by_group(by=table.by, center=table.center, selection=table.selection)


def load_frames(model: ModelFile, folder: Path, units: UnitSystem) -> tuple[Frames, tuple[str, ...]]:
    """All mapped frames, and warnings of the mapping.

    Raises:
        InputError: a file is missing, broken or does not fit.
    """
    table = model.data
    if table.frames:
        parts = [
            read_frames(
                _existing(folder, file),
                units=units,
                temperature=model.temperature,
                start=table.start,
                stop=table.stop,
                stride=table.stride,
            )
            for file in table.frames
        ]
        warnings: tuple[str, ...] = ()
        frames = Frames.concatenate(parts)
        first = table.frames[0]
    else:
        assert table.raw is not None
        source = open_raw(table.raw, model, folder, units)
        frames, warnings = read_all(source), source.warnings
        first = table.raw.trajectories[0]
    if model.inference.start == "force-matching" and frames.forces is None:
        raise InputError(
            f"{folder / first}: the mapped frames have no forces, but key 'inference.start' is 'force-matching'; use"
            " 'score-matching', or data with forces and a mapping that defines them"
        )
    return frames, warnings


def open_raw(
    raw: RawTable, model: ModelFile, folder: Path, units: UnitSystem, *, whole: bool = False
) -> MappedTrajectory:
    """Atomistic files, mapped while they are read."""
    return open_trajectory(
        _existing(folder, raw.topology),
        [_existing(folder, file) for file in raw.trajectories],
        units=units,
        temperature=model.temperature,
        mapping=build_mapping(model.mapping),
        file_units=get_unit_system(raw.file_units) if raw.file_units else None,
        start=0 if whole else model.data.start,
        stop=None if whole else model.data.stop,
        stride=1 if whole else model.data.stride,
    )


def _existing(folder: Path, file: Path) -> Path:
    path = file if file.is_absolute() else folder / file
    if not path.is_file():
        raise InputError(
            f"{path}: no such file, named in the model file's [data]; correct the path or fetch the file"
        )
    return path


def compare_mapping(
    model: ModelFile, frames: Frames, folder: Path, units: UnitSystem
) -> tuple[float, int] | None:
    """Map the atomistic files of `[data.compare]` and compare with the mapped frames at the same times.

    Returns:
        The largest difference of a site's position [length] and the number of frames compared; None where nothing
        is to be compared.
    """
    if model.data.compare is None or frames.time is None:
        return None
    worst, compared = 0.0, 0
    for block in open_raw(model.data.compare, model, folder, units, whole=True).blocks(64):
        if block.n_sites != frames.n_sites:
            raise InputError(
                f"{folder / model.data.compare.topology}: maps to {block.n_sites} sites, but the mapped frames have"
                f" {frames.n_sites}; correct [mapping] or the files"
            )
        if block.time is None:
            return worst, compared
        for index in range(block.n_frames):
            match = np.flatnonzero(np.abs(frames.time - block.time[index]) < 1e-3)
            if len(match):
                difference = block.positions[index] - frames.positions[match[0]]
                difference -= block.box[index] * np.round(difference / block.box[index])
                worst, compared = max(worst, float(np.abs(difference).max())), compared + 1
    return worst, compared
