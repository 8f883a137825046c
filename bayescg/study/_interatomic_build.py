"""From the tables of a labelled model file to objects: potential, priors, noise, properties."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpyro.distributions as dist

from bayescg import physics
from bayescg.data import Configurations, UnitSystem
from bayescg.errors import InputError
from bayescg.inference import Family, NoiseScale, StudentT, gaussian
from bayescg.physics import CrystalProperty, InteratomicPotential, ParameterInfo
from bayescg.physics._interatomic import InteratomicTerm
from bayescg.physics._long_range import check_configurations
from bayescg.physics._phonons import check_short_range
from bayescg.study._build import ParameterPrior, parameters_with_priors, table_prior
from bayescg.study._interatomic_schema import (
    BodySplinesTable,
    EmbeddedSplinesTable,
    LongRangeCoulombTable,
    SymmetryTable,
    TermTable,
)
from bayescg.study._keys import blame
from bayescg.study._labelled_schema import LabelledModelFile
from bayescg.study._many_body_build import embedded_splines, filled, network_priors, symmetry_term
from bayescg.study._property_schema import PropertyTable
from bayescg.study._schema import SmoothnessTable

_TERMS: dict[str, type[InteratomicTerm]] = {
    "stillinger-weber": physics.StillingerWeber,
    "tersoff": physics.Tersoff,
    "finnis-sinclair": physics.FinnisSinclair,
    "johnson": physics.Johnson,
    "lennard-jones": physics.LennardJonesPairs,
    "mie": physics.MiePairs,
    "morse": physics.MorsePairs,
    "buckingham": physics.BuckinghamPairs,
    "gaussian-bumps": physics.GaussianPairs,
    "screened-coulomb": physics.ScreenedCoulomb,
    "species-energies": physics.SpeciesEnergies,
}
"""Those whose tables have the fields of the class; `_term` makes the others."""


def build_interatomic(
    model: LabelledModelFile,
    species: tuple[str, ...],
    *,
    path: Path,
    configurations: Configurations | None = None,
) -> InteratomicPotential:
    """The sum of the model file's terms, the fields that its tables don't name in `vary` held.

    Args:
        model: the model file.
        species: chemical symbols of the data.
        path: the model file, named in errors.
        configurations: the data, which terms that reach beyond every cutoff must suit.

    Raises:
        InputError: a term that cannot be made or does not suit the data, with its key; nothing that varies.
    """
    total: InteratomicPotential | None = None
    for name, table in model.potential.items():
        with blame(path, f"potential.{name}", {"molecule_key": "data.molecule_key"}):
            term = _term(name, table, species)
            if configurations is not None:
                check_configurations(term, configurations)
        if table.vary is not None:
            known = {parameter.removeprefix(f"{name}_"): parameter for parameter in term.parameter_values()}
            unknown = sorted(set(table.vary) - set(known))
            if unknown:
                raise InputError(
                    f"{path}: key 'potential.{name}.vary': there is no parameter '{unknown[0]}'; choose from"
                    f" {', '.join(known)}"
                )
            term = term.vary(*(known[field] for field in table.vary))
        with blame(path, f"potential.{name}"):
            total = term if total is None else total + term
    assert total is not None  # the model file has at least one
    if not total.parameters():
        raise InputError(f"{path}: key 'potential': no parameter varies; name some in `vary`")
    return total


def _term(name: str, table: TermTable, species: tuple[str, ...]) -> InteratomicPotential:
    if isinstance(table, BodySplinesTable):
        return physics.BodySplines.uniform(
            species=species, pair=table.pair, triplet=table.triplet, opposite=table.opposite,
            most_neighbours=table.most_neighbours, name=name,
        )  # fmt: skip
    if isinstance(table, EmbeddedSplinesTable):
        start = None if table.start is None else _term(f"{name}.start", table.start, species)
        return embedded_splines(table, species, start=start, name=name)
    if isinstance(table, SymmetryTable):
        return symmetry_term(table, species, name=name)
    fields: dict[str, Any] = table.model_dump(exclude={"vary"})
    if isinstance(table, LongRangeCoulombTable):
        del fields["kind"]
        return physics.LongRangeCoulomb.of_species(**fields, species=species, name=name)
    kind = fields.pop("kind")
    arrays = {
        key: filled(value, (), field=key) if isinstance(value, tuple) and key != "without" else value
        for key, value in fields.items()
    }
    make: Callable[..., InteratomicPotential] = _TERMS[kind]
    return make(**arrays, species=species, name=name)


def interatomic_priors(
    model: LabelledModelFile, potential: InteratomicPotential, *, path: Path
) -> dict[str, ParameterPrior]:
    """The prior of every parameter that varies; a default about the model file's value where it names none.

    Raises:
        InputError: a prior for a parameter that does not vary, or one that does not fit it.
    """
    infos = parameters_with_priors(potential, model.prior, path=path)
    values = potential.parameter_values()
    priors: dict[str, ParameterPrior] = {}
    networks = network_priors(potential)
    for name, info in infos.items():
        table = model.prior.get(name)
        if table is None:
            priors[name] = networks.get(name) or _default(info, np.asarray(values[name]))
        elif isinstance(table, SmoothnessTable):
            raise InputError(
                f"{path}: key 'prior.{name}': smoothness is for pair splines of frames at equilibrium; give a"
                " `distribution`"
            )
        else:
            priors[name] = table_prior(table, info, path=path)
    return priors


def _default(info: ParameterInfo, value: np.ndarray) -> ParameterPrior:
    if info.support == "positive" and np.all(value > 0.0):
        return dist.LogNormal(np.log(value), np.full(value.shape, 0.2 if info.quantity == "length" else 1.0))
    width = np.maximum(3.0 * info.scale, np.abs(value))
    return dist.Normal(value, np.broadcast_to(width, value.shape))


def noise_scales(model: LabelledModelFile) -> Mapping[str, NoiseScale]:
    """The noise of each quantity that is used."""
    return {name: NoiseScale(learned=table.learned, known=table.known) for name, table in model.noise.items()}


def noise_family(model: LabelledModelFile) -> Family:
    """Gaussian, or Student's t."""
    if model.likelihood.family == "student-t":
        return StudentT(model.likelihood.degrees_of_freedom)
    return gaussian


def build_properties(
    model: LabelledModelFile, potential: InteratomicPotential, units: UnitSystem, *, path: Path
) -> list[CrystalProperty]:
    """All properties that the model file asks for.

    Raises:
        InputError: a crystal or property that cannot be made, with its key.
    """
    made: list[CrystalProperty] = []
    for name, table in model.property.items():
        with blame(path, f"property.{name}"):
            made += _of_crystal(name, table, potential, units)
    return made


def _of_crystal(
    name: str, table: PropertyTable, potential: InteratomicPotential, units: UnitSystem
) -> list[CrystalProperty]:
    crystal = physics.Crystal.bulk(table.symbols, table.structure, a=table.a, c=table.c)
    if table.skin is None:
        bulk = physics.Bulk.of(crystal, potential)
    else:
        bulk = physics.Bulk.of(crystal, potential, skin=table.skin)
    found: list[CrystalProperty] = []
    for kind in dict.fromkeys(table.compute):
        match kind:
            case "lattice":
                found.append(physics.LatticeConstants.of(bulk, units=units, name=f"{name}_lattice"))
            case "cohesive-energy":
                found.append(physics.CohesiveEnergy.of(bulk, units=units, name=f"{name}_cohesive_energy"))
            case "equation-of-state":
                found.append(physics.EquationOfState.of(bulk, units=units, name=f"{name}_eos"))
            case "elastic":
                found.append(physics.ElasticConstants.of(bulk, units=units, name=f"{name}_elastic"))
            case "vacancy":
                found.append(
                    physics.VacancyEnergy.of(
                        bulk, potential, repeats=table.repeats, units=units, name=f"{name}_vacancy"
                    )
                )
            case "surface":
                found += [
                    physics.SurfaceEnergy.of(
                        bulk, potential, miller=miller, layers=table.layers, units=units,
                        name=f"{name}_surface_{''.join(map(str, miller))}",
                    )
                    for miller in table.surfaces
                ]  # fmt: skip
            case "phonons":
                assert table.path is not None  # the schema sees to it
                check_short_range(potential)
                waves = physics.wave_vector_path(crystal, table.path, n_points=table.points)
                found.append(
                    physics.PhononDispersion.of(bulk, wave_vectors=waves, units=units, name=f"{name}_phonon")
                )
    return found
