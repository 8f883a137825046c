"""The model file of labelled configurations: energies, forces and stresses computed by another method."""

import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from bayescg.study._interatomic_schema import InteratomicTable
from bayescg.study._property_schema import PropertyTable
from bayescg.study._schema import Count, NotNegative, Positive, PriorTable, Seed, Table, WholeNumber

Quantity = Literal["energy", "forces", "stress"]
EnsembleName = Literal["pops", "discrepancy", "bootstrap"]


class ConfigurationsTable(Table):
    """`[data]`: files that ASE reads, and how they are divided.

    A file's name may contain environment variables (`$NAME` or `${NAME}`).
    """

    configurations: tuple[str, ...] = Field(min_length=1)
    sha256: tuple[str, ...] = ()
    species: tuple[str, ...] = ()
    use: tuple[Quantity, ...] = Field(default=("energy", "forces"), min_length=1)
    energy_key: str | None = None
    forces_key: str | None = None
    stress_key: str | None = None
    group_key: str | None = None
    weight_key: str | None = None
    temperature_key: str | None = None
    molecule_key: str | None = None
    start: Annotated[WholeNumber, Field(ge=0)] = 0
    stop: Count | None = None
    stride: Count = 1
    without_groups: tuple[str, ...] = ()
    held_out_groups: tuple[str, ...] = ()
    held_out_fraction: Annotated[NotNegative, Field(lt=1.0)] = 0.0
    split_seed: Seed = 0

    @model_validator(mode="after")
    def _one_division(self) -> "ConfigurationsTable":
        if self.held_out_groups and self.held_out_fraction:
            raise ValueError("give either `held_out_groups` or `held_out_fraction`, not both")
        if self.sha256 and len(self.sha256) != len(self.configurations):
            raise ValueError(
                f"sha256 has {len(self.sha256)} entries for {len(self.configurations)} files; give one for each"
            )
        return self


class NoiseTable(Table):
    """`[noise.QUANTITY]`: standard deviation of the labels about the model's predictions.

    `learned` is the scale of its half-normal prior, `known` a fixed value: energy per atom, energy / length, energy /
    length³.
    """

    learned: Positive | None = None
    known: Positive | None = None

    @model_validator(mode="after")
    def _one(self) -> "NoiseTable":
        if (self.learned is None) == (self.known is None):
            raise ValueError("give either `learned` (scale of the half-normal prior) or `known`")
        return self


class LikelihoodTable(Table):
    """`[likelihood]`: the family of the noise and the power of the likelihood."""

    family: Literal["gaussian", "student-t"] = "gaussian"
    degrees_of_freedom: Annotated[Positive, Field(gt=2.0)] = 5.0
    power: Positive = 1.0


def _check_sampler(value: object) -> object:
    """Samplers of runs on frames need what labelled configurations don't have, or have no use for."""
    if value == "nuts":
        return value
    raise ValueError(
        "expected 'nuts': other samplers are for runs on frames; labelled configurations have ensembles of other kinds in"
        " [misspecification]; remove the key"
    )


class LabelledInferenceTable(Table):
    """`[inference]`: search and sampling."""

    seed: Seed = 1
    sampler: Annotated[Literal["nuts"], BeforeValidator(_check_sampler)] = "nuts"
    starts: Count = 1
    chains: Annotated[WholeNumber, Field(ge=2)] = 4
    warmup: Count = 400
    draws: Annotated[WholeNumber, Field(ge=50)] = 1000


class LabelledPredictionTable(Table):
    """`[prediction]`: properties with bands."""

    draws: Annotated[WholeNumber, Field(ge=20)] = 200


class MisspecificationTable(Table):
    """`[misspecification]`: ensembles of draws beside the posterior, for forms that can't say all labels at once.

    `draws` are those of `pops` and `discrepancy`, `resamples` the data sets of `bootstrap`; `pops` says whether draws fill
    the hypercube of the pointwise optima or are these optima. Bands of properties are made from `properties_from`.
    """

    ensembles: tuple[EnsembleName, ...] = Field(min_length=1)
    draws: Annotated[WholeNumber, Field(ge=50)] = 500
    resamples: Annotated[WholeNumber, Field(ge=50)] = 200
    pops: Literal["hypercube", "optima"] = "hypercube"
    properties_from: Literal["posterior", "pops", "discrepancy", "bootstrap"] = "posterior"

    @model_validator(mode="after")
    def _what_is_made(self) -> "MisspecificationTable":
        twice = sorted({name for name in self.ensembles if self.ensembles.count(name) > 1})
        if twice:
            raise ValueError(f"ensembles names '{twice[0]}' twice; name it once")
        if self.properties_from not in ("posterior", *self.ensembles):
            raise ValueError(
                f"properties_from is '{self.properties_from}', which ensembles does not name; add it there, or choose from"
                f" {', '.join(('posterior', *self.ensembles))}"
            )
        for key, name in (("pops", "pops"), ("resamples", "bootstrap")):
            if key in self.model_fields_set and name not in self.ensembles:
                raise ValueError(f"`{key}` belongs to '{name}' in ensembles; add it there or remove the key")
        return self


class LabelledModelFile(Table):
    """A whole `model.toml` of labelled configurations.

    Example:
        >>> model = LabelledModelFile.model_validate({
        ...     "title": "Argon", "units": "metal", "data": {"configurations": ["dimer.extxyz"], "use": ["energy"]},
        ...     "potential": {"lj": {"kind": "lennard-jones", "epsilon": 0.01, "sigma": 3.4, "cutoff": 8.0}},
        ...     "noise": {"energy": {"known": 0.001}},
        ... })
        >>> model.potential["lj"].convention
        'shifted'
    """

    title: str
    units: Literal["metal", "real", "gromacs", "lj"]
    data: ConfigurationsTable
    potential: dict[str, InteratomicTable] = Field(min_length=1)
    prior: dict[str, PriorTable] = {}
    noise: dict[Quantity, NoiseTable] = Field(min_length=1)
    likelihood: LikelihoodTable = LikelihoodTable()
    inference: LabelledInferenceTable = LabelledInferenceTable()
    misspecification: MisspecificationTable | None = None
    prediction: LabelledPredictionTable = LabelledPredictionTable()
    property: dict[str, PropertyTable] = {}

    @model_validator(mode="after")
    def _noise_of_what_is_used(self) -> "LabelledModelFile":
        missing = [name for name in self.data.use if name not in self.noise]
        if missing:
            raise ValueError(
                f"data.use names {', '.join(missing)}, for which there is no noise scale; add [noise.{missing[0]}] or"
                " leave it out of data.use"
            )
        idle = [name for name in self.noise if name not in self.data.use]
        if idle:
            raise ValueError(
                f"[noise.{idle[0]}] is given, but data.use does not name {idle[0]}; add it there or remove the table"
            )
        return self

    @model_validator(mode="after")
    def _ensembles_of_what_is_asked(self) -> "LabelledModelFile":
        if self.misspecification is None:
            return self
        if self.likelihood.family != "gaussian" or self.likelihood.power != 1.0:
            raise ValueError(
                "[misspecification] makes its ensembles about the mode with Gaussian noise and power 1; remove"
                " likelihood.family and likelihood.power, or remove [misspecification]"
            )
        if self.misspecification.properties_from != "posterior" and not self.property:
            raise ValueError(
                "misspecification.properties_from is given, but no [property.NAME]; add one or remove the key"
            )
        return self


def configuration_path(name: str, model_path: Path) -> Path:
    """The file of a name in `data.configurations`, environment variables put in.

    Raises:
        KeyError: a variable that is not set, by its name.
    """

    def value(match: re.Match[str]) -> str:
        return os.environ[match[1] or match[2]]

    return model_path.parent / re.sub(r"\$(?:(\w+)|\{(\w+)\})", value, name)
