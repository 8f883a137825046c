"""Tables of interatomic potentials: each kind's parameters by their field's names, in the study's units."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from bayescg.study._schema import Count, NotNegative, Number, Positive, Seed, Table

Numbers = Number | tuple[Number, ...] | tuple[tuple[Number, ...], ...]
"""One number for all species or pairs of species, or one for each; rows of numbers where a field has two indices."""
Knots = Annotated[tuple[Positive, ...], Field(min_length=2)]


class TermTable(Table):
    """What all tables `[potential.NAME]` have: `vary` names the fields that are inferred, all others are held."""

    vary: tuple[str, ...] | None = None


class StillingerWeberTable(TermTable):
    """`kind = "stillinger-weber"`; the defaults are those published for silicon in eV and Å."""

    kind: Literal["stillinger-weber"]
    cutoff: Positive
    epsilon: Numbers = 2.1683
    sigma: Numbers = 2.0951
    a: Numbers = 1.80
    lambda_: Annotated[Numbers, Field(alias="lambda")] = 21.0
    gamma: Numbers = 1.20
    A: Numbers = 7.049556277
    B: Numbers = 0.6022245584
    p: Numbers = 4.0
    q: Numbers = 0.0


class TersoffTable(TermTable):
    """`kind = "tersoff"`: the fields of `Tersoff`."""

    kind: Literal["tersoff"]
    A: Numbers
    B: Numbers
    lambda1: Numbers
    lambda2: Numbers
    beta: Numbers
    n: Numbers
    gamma: Numbers = 1.0
    lambda3: Numbers = 0.0
    c: Numbers
    d: Numbers
    cos0: Numbers
    R: tuple[Positive, ...]
    D: tuple[Positive, ...]
    m: Literal[1, 3] = 3


class FinnisSinclairTable(TermTable):
    """`kind = "finnis-sinclair"`."""

    kind: Literal["finnis-sinclair"]
    cutoff: Positive
    A: Numbers
    d: Numbers
    beta: Numbers = 0.0
    c: Numbers
    c0: Numbers
    c1: Numbers
    c2: Numbers


class JohnsonTable(TermTable):
    """`kind = "johnson"`."""

    kind: Literal["johnson"]
    cutoff: Positive
    onset: Positive
    coordination: Count = 12
    cohesion: Numbers
    pair: Numbers
    alpha: Numbers
    beta: Numbers
    gamma: Numbers
    distance: Numbers
    strength: Numbers = 1.0


class PairTermTable(TermTable):
    """What all pair formulas have; `without` names pairs of species and `between_molecules` those of one molecule, left out."""

    cutoff: Positive
    convention: Literal["truncated", "shifted", "smooth"] = "shifted"
    onset: Positive | None = None
    without: tuple[str, ...] = ()
    between_molecules: bool = False


class LennardJonesPairsTable(PairTermTable):
    """`kind = "lennard-jones"`."""

    kind: Literal["lennard-jones"]
    epsilon: Numbers
    sigma: Numbers


class MiePairsTable(PairTermTable):
    """`kind = "mie"`."""

    kind: Literal["mie"]
    epsilon: Numbers
    sigma: Numbers
    n: Numbers
    m: Numbers


class MorsePairsTable(PairTermTable):
    """`kind = "morse"`."""

    kind: Literal["morse"]
    depth: Numbers
    steepness: Numbers
    distance: Numbers


class BuckinghamPairsTable(PairTermTable):
    """`kind = "buckingham"`."""

    kind: Literal["buckingham"]
    A: Numbers
    rho: Numbers
    C: Numbers
    core: Positive


class GaussianPairsTable(PairTermTable):
    """`kind = "gaussian-bumps"`: a row for each pair of species, a column for each bump."""

    kind: Literal["gaussian-bumps"]
    heights: tuple[tuple[Number, ...], ...]
    centres: tuple[tuple[Number, ...], ...]
    widths: tuple[tuple[Number, ...], ...]


class ScreenedCoulombTable(PairTermTable):
    """`kind = "screened-coulomb"`."""

    kind: Literal["screened-coulomb"]
    charges: tuple[Number, ...]
    screening: Positive
    coulomb: Positive


class LongRangeCoulombTable(TermTable):
    """`kind = "long-range-coulomb"`: charges by species, and the formulas of the units that stay neutral."""

    kind: Literal["long-range-coulomb"]
    cutoff: Positive
    charges: dict[str, Number]
    formulas: Annotated[tuple[str, ...], Field(min_length=1)]
    coulomb: Positive
    accuracy: Positive = 1e-6
    between_molecules: bool = False


class BodySplinesTable(TermTable):
    """`kind = "body-splines"`: first knot, cutoff and number of functions of pairs and of triangles' sides."""

    kind: Literal["body-splines"]
    pair: tuple[Positive, Positive, Count]
    triplet: tuple[Positive, Positive, Count]
    opposite: Count
    most_neighbours: Count | None = None


class EmbeddedSplinesTable(TermTable):
    """`kind = "embedded-splines"`: coefficients in rows or one number for all of them, or `start`: a formula's splines."""

    kind: Literal["embedded-splines"]
    knots: Knots
    density_knots: Annotated[tuple[NotNegative, ...], Field(min_length=2)]
    pair_coefficients: Numbers | None = None
    density_coefficients: Numbers | None = None
    embedding_coefficients: Numbers | None = None
    start: Annotated[FinnisSinclairTable | JohnsonTable, Field(discriminator="kind")] | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> "EmbeddedSplinesTable":
        names = ("pair_coefficients", "density_coefficients", "embedding_coefficients")
        missing = [name for name in names if getattr(self, name) is None]
        if self.start is None and missing:
            raise ValueError(
                f"`{missing[0]}` is missing: add it, or give a table `start` of a formula for the splines to approach"
            )
        if self.start is not None and len(missing) < len(names):
            raise ValueError(
                "give either coefficients or `start`, whose splines have their own; remove one of them"
            )
        if self.start is not None and self.start.vary is not None:
            raise ValueError("the formula in `start` has no `vary`: only coefficients vary; remove it there")
        return self


class SymmetryTable(TermTable):
    """What tables of symmetry functions have: the functions one by one or spread evenly, and what standardises them.

    `centre` and `scale` are one number for all functions or one for each; those of the training configurations where
    they are not given.
    """

    cutoff: Positive
    radial: tuple[tuple[NotNegative, Number], ...] = ()
    angular: tuple[tuple[NotNegative, Number, Count], ...] = ()
    n_radial: Count | None = None
    zetas: tuple[Count, ...] | None = None
    inner: Positive | None = None
    centre: Number | tuple[Number, ...] | None = None
    scale: Positive | tuple[Positive, ...] | None = None

    @model_validator(mode="after")
    def _functions(self) -> "SymmetryTable":
        if bool(self.radial or self.angular) == (self.n_radial is not None):
            raise ValueError(
                "give either `radial` and `angular` (functions one by one) or `n_radial` (spread evenly), not both or none"
            )
        if self.n_radial is None and (self.zetas is not None or self.inner is not None):
            raise ValueError("`zetas` and `inner` belong to `n_radial`; add it, or remove them")
        if self.inner is not None and not self.inner < self.cutoff:
            raise ValueError(f"inner ({self.inner:g}) must be below cutoff ({self.cutoff:g})")
        return self


class LinearSymmetryTable(SymmetryTable):
    """`kind = "linear-symmetry"`: a row of weights for each species, or one number for all."""

    kind: Literal["linear-symmetry"]
    weights: Numbers = 0.0


class NeuralSymmetryTable(SymmetryTable):
    """`kind = "neural-symmetry"`: random weights from a seed, from which the search starts."""

    kind: Literal["neural-symmetry"]
    hidden: Count
    seed: Seed = 1


class SpeciesEnergiesTable(TermTable):
    """`kind = "species-energies"`: the energy of an atom without neighbours, one for each species."""

    kind: Literal["species-energies"]
    energies: tuple[Number, ...]


InteratomicTable = Annotated[
    StillingerWeberTable
    | TersoffTable
    | FinnisSinclairTable
    | JohnsonTable
    | LennardJonesPairsTable
    | MiePairsTable
    | MorsePairsTable
    | BuckinghamPairsTable
    | GaussianPairsTable
    | ScreenedCoulombTable
    | LongRangeCoulombTable
    | BodySplinesTable
    | EmbeddedSplinesTable
    | LinearSymmetryTable
    | NeuralSymmetryTable
    | SpeciesEnergiesTable,
    Field(discriminator="kind"),
]
