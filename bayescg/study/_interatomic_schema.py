"""Tables of interatomic potentials: each kind's parameters by their field's names, in the study's units."""

from typing import Annotated, Literal

from pydantic import Field

from bayescg.study._schema import Count, Number, Positive, Table

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
    """What all pair formulas have."""

    cutoff: Positive
    convention: Literal["truncated", "shifted", "smooth"] = "shifted"
    onset: Positive | None = None


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


class BodySplinesTable(TermTable):
    """`kind = "body-splines"`: first knot, cutoff and number of functions of pairs and of triangles' sides."""

    kind: Literal["body-splines"]
    pair: tuple[Positive, Positive, Count]
    triplet: tuple[Positive, Positive, Count]
    opposite: Count
    most_neighbours: Count | None = None


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
    | BodySplinesTable
    | SpeciesEnergiesTable,
    Field(discriminator="kind"),
]
