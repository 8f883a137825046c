"""The model file: what its keys mean, checked before anything is computed."""

import math
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

Number = Annotated[float, Field(strict=True)]
Positive = Annotated[Number, Field(gt=0.0)]
NotNegative = Annotated[Number, Field(ge=0.0)]
WholeNumber = Annotated[int, Field(strict=True)]
Count = Annotated[WholeNumber, Field(ge=1)]
Seed = Annotated[WholeNumber, Field(ge=0, le=2**32 - 1)]


class Table(BaseModel):
    """A table of a model file: unknown keys, infinities and NaN are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _check_weights(value: object) -> object:
    """Weights by name or as numbers; one check for both, so that the error speaks of what is allowed."""
    numbers = value if isinstance(value, list | tuple) else ()
    good = all(isinstance(w, int | float) and not isinstance(w, bool) and math.isfinite(w) for w in numbers)
    if value in ("mass", "geometry") or (numbers and good and sum(numbers) > 0):
        return value
    raise ValueError(
        "expected 'mass', 'geometry' or a list of numbers with a positive sum, one for each selected atom of the bead"
    )


class BeadTable(Table):
    """`[[mapping.beads]]`: a named bead in each residue or molecule."""

    name: str
    selection: str
    weights: Annotated[Literal["mass", "geometry"] | tuple[float, ...], BeforeValidator(_check_weights)] = (
        "mass"
    )


class MappingTable(Table):
    """`[mapping]`: how atoms become sites."""

    by: Literal["residue", "molecule"] = "residue"
    center: Literal["mass", "geometry"] = "mass"
    selection: str = "all"
    beads: tuple[BeadTable, ...] = ()


class RawTable(Table):
    """`[data.raw]` or `[data.compare]`: atomistic files that MDAnalysis reads."""

    topology: Path
    trajectories: tuple[Path, ...] = Field(min_length=1)
    file_units: Literal["gromacs", "metal", "real", "lj"] | None = None


class DataTable(Table):
    """`[data]`: mapped frames in netCDF, or atomistic files to be mapped."""

    frames: tuple[Path, ...] = ()
    raw: RawTable | None = None
    compare: RawTable | None = None
    start: Annotated[WholeNumber, Field(ge=0)] = 0
    stop: Count | None = None
    stride: Count = 1

    @model_validator(mode="after")
    def _one_source(self) -> "DataTable":
        if bool(self.frames) == (self.raw is not None):
            raise ValueError(
                "give either `frames` (mapped netCDF files) or `raw` (atomistic files), not both or none"
            )
        return self


class SplineTable(Table):
    """`[potential.NAME]` with `kind = "spline"`."""

    kind: Literal["spline"]
    inner: Positive
    cutoff: Positive
    spacing: Positive
    outer_spacing: Positive | None = None
    core_distance: Positive
    core_strength: NotNegative

    @model_validator(mode="after")
    def _knots(self) -> "SplineTable":
        if not self.inner < self.cutoff:
            raise ValueError(f"inner ({self.inner:g}) must be below cutoff ({self.cutoff:g})")
        if self.spacing > (self.cutoff - self.inner) / 4.0:
            raise ValueError(
                f"spacing ({self.spacing:g}) must give at least 4 intervals between inner ({self.inner:g}) and cutoff"
                f" ({self.cutoff:g}); reduce it"
            )
        if self.outer_spacing is not None and self.outer_spacing < self.spacing:
            raise ValueError(
                f"outer_spacing ({self.outer_spacing:g}) must not be below spacing ({self.spacing:g})"
            )
        return self


class LennardJonesTable(Table):
    """`[potential.NAME]` with `kind = "lennard-jones"`."""

    kind: Literal["lennard-jones"]
    epsilon: Positive
    sigma: Positive
    cutoff: Positive
    convention: Literal["truncated", "shifted", "smooth"] = "shifted"
    onset: Positive | None = None

    @model_validator(mode="after")
    def _switch(self) -> "LennardJonesTable":
        _check_switch(self)
        return self


class MieTable(Table):
    """`[potential.NAME]` with `kind = "mie"`; `vary` names the fields that are inferred, all of them by default."""

    kind: Literal["mie"]
    epsilon: Positive
    sigma: Positive
    n: Positive
    m: Positive
    inner: Positive
    cutoff: Positive
    convention: Literal["truncated", "shifted", "smooth"] = "shifted"
    onset: Positive | None = None
    nodes: Annotated[WholeNumber, Field(ge=16)] = 32
    vary: tuple[Literal["epsilon", "sigma", "n", "m"], ...] | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _shape(self) -> "MieTable":
        if not self.n > self.m:
            raise ValueError(f"n ({self.n:g}), the exponent of the repulsion, must be above m ({self.m:g})")
        if not self.inner < self.cutoff:
            raise ValueError(f"inner ({self.inner:g}) must be below cutoff ({self.cutoff:g})")
        _check_switch(self)
        return self


def _check_switch(table: LennardJonesTable | MieTable) -> None:
    if (table.convention == "smooth") != (table.onset is not None):
        raise ValueError("`onset` belongs to the convention 'smooth', and only to it; add or remove it")
    if table.onset is not None and not table.onset < table.cutoff:
        raise ValueError(f"onset ({table.onset:g}) must be below cutoff ({table.cutoff:g})")


class WcaTable(Table):
    """`[potential.NAME]` with `kind = "wca"`."""

    kind: Literal["wca"]
    epsilon: Positive
    sigma: Positive
    inner: Positive
    cutoff: Positive
    nodes: Annotated[WholeNumber, Field(ge=16)] = 512

    @model_validator(mode="after")
    def _range(self) -> "WcaTable":
        if not self.inner < self.cutoff:
            raise ValueError(f"inner ({self.inner:g}) must be below cutoff ({self.cutoff:g})")
        return self


class DoubleWellTable(Table):
    """`[potential.NAME]` with `kind = "double-well"`."""

    kind: Literal["double-well"]
    t1: Number
    t2: Positive


class HarmonicWellTable(Table):
    """`[potential.NAME]` with `kind = "harmonic-well"`."""

    kind: Literal["harmonic-well"]
    k: Positive


class AngleFourierTable(Table):
    """`[potential.NAME]` with `kind = "angle-fourier"`: of angles, in boxes of edge 2π."""

    kind: Literal["angle-fourier"]
    kappa1: Number
    kappa2: Number


AnyPotentialTable = (
    SplineTable
    | LennardJonesTable
    | MieTable
    | WcaTable
    | DoubleWellTable
    | HarmonicWellTable
    | AngleFourierTable
)
PotentialTable = Annotated[AnyPotentialTable, Field(discriminator="kind")]


class DistributionTable(Table):
    """`[prior.PARAMETER]`: a distribution by its usual name and parameters, in the study's units."""

    distribution: Literal[
        "normal", "lognormal", "halfnormal", "gamma", "uniform", "truncated-normal", "exponential"
    ]
    loc: Number | None = None
    scale: Positive | None = None
    low: Number | None = None
    high: Number | None = None
    concentration: Positive | None = None
    rate: Positive | None = None


class SmoothnessTable(Table):
    """`[prior.PARAMETER]` of spline coefficients: a random walk whose scale is inferred.

    The scale has a lognormal prior with the given median [energy] and log standard deviation; second differences
    grow with (cutoff / r)^steepness towards short distance.
    """

    smoothness: Positive
    spread: Positive = 1.0
    steepness: NotNegative = 3.0


def _prior_kind(table: object) -> str | None:
    """Which of the two a prior's table is, so that its errors speak of that one alone."""
    if isinstance(table, DistributionTable | SmoothnessTable):
        return "distribution" if isinstance(table, DistributionTable) else "smoothness"
    return next(
        (kind for kind in ("distribution", "smoothness") if isinstance(table, dict) and kind in table), None
    )


PriorTable = Annotated[
    Annotated[DistributionTable, Tag("distribution")] | Annotated[SmoothnessTable, Tag("smoothness")],
    Discriminator(
        _prior_kind,
        custom_error_type="prior",
        custom_error_message="a prior takes either `distribution` or `smoothness`: give one of them",
    ),
]


class SimulationTable(Table):
    """`[simulation]`: the Langevin sampler."""

    time_step: Positive
    friction: Positive
    stride: Count
    replicas: Annotated[WholeNumber, Field(ge=2)] = 16
    equilibration: Count = 10


class InferenceTable(Table):
    """`[inference]`: start, sampling, verification."""

    start: Literal["force-matching", "score-matching", "guess"] = "score-matching"
    start_frames: Count = 300
    seed: Seed = 1
    sampler: Literal[
        "nuts", "blackjax-nuts", "pathfinder-nuts", "smc", "smc-prior", "laplace", "sgld", "sghmc",
        "tempered-langevin", "exchange", "block-bootstrap", "bayesbag",
    ] = "nuts"  # fmt: skip
    step_tolerance: Positive = 0.1
    step: Positive | None = None
    batch: Count | None = None
    posterior_temperature: Positive = 1.0
    chains: Annotated[WholeNumber, Field(ge=2)] = 4
    warmup: Count = 400
    draws: Annotated[WholeNumber, Field(ge=50)] = 500
    search_samples: Annotated[WholeNumber, Field(ge=20)] = 40
    max_search: Count = 30
    verification_draws: Count = 8
    max_verification_samples: Annotated[WholeNumber, Field(ge=20)] = 2000
    max_rounds: Annotated[WholeNumber, Field(ge=0)] = 5

    @model_validator(mode="after")
    def _keys_of_one_sampler(self) -> "InferenceTable":
        noisy = ("sgld", "sghmc")
        for key in ("step_tolerance", "step", "batch"):
            if key in self.model_fields_set and self.sampler not in noisy:
                raise ValueError(
                    f"`{key}` belongs to the samplers 'sgld' and 'sghmc', not to '{self.sampler}'; remove it"
                )
        if "posterior_temperature" in self.model_fields_set and self.sampler != "tempered-langevin":
            raise ValueError(
                f"`posterior_temperature` belongs to the sampler 'tempered-langevin', not to '{self.sampler}'; remove it"
            )
        if not self.step_tolerance < 1.0:
            raise ValueError(
                f"step_tolerance ({self.step_tolerance:g}) must be below 1: it is the error of posterior standard"
                " deviations that the step may cause, as a share of them; 0.1 is the default"
            )
        largest = 4.0 if self.sampler == "sgld" else 7.6
        if self.step is not None and not self.step < largest:
            raise ValueError(
                f"step ({self.step:g}) must be below {largest:g}, where {self.sampler} is unstable; leave it out to have it"
                " chosen from step_tolerance"
            )
        return self


class PredictionTable(Table):
    """`[prediction]`: what is predicted at posterior draws."""

    rdf_bin: Positive = 0.01
    draws: Annotated[WholeNumber, Field(ge=20)] = 400


class ModelFile(Table):
    """A whole `model.toml`."""

    title: str
    units: Literal["gromacs", "metal", "real", "lj"]
    temperature: Positive
    data: DataTable
    mapping: MappingTable = MappingTable()
    potential: dict[str, PotentialTable] = Field(min_length=1)
    prior: dict[str, PriorTable] = {}
    simulation: SimulationTable
    inference: InferenceTable = InferenceTable()
    prediction: PredictionTable = PredictionTable()

    @model_validator(mode="after")
    def _replicas(self) -> "ModelFile":
        replicas, draws = self.simulation.replicas, self.inference.verification_draws
        if replicas % draws or replicas < 2 * draws:
            raise ValueError(
                f"simulation.replicas ({replicas}) must be a multiple of inference.verification_draws ({draws}), and at"
                " least twice as many: every verified draw is simulated by several replicas; change one of them"
            )
        return self
