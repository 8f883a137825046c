"""Tables of crystals whose properties are computed at posterior draws."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from bayescg.study._schema import Count, Positive, Table, WholeNumber

Index = Annotated[WholeNumber, Field(ge=-9, le=9)]
Kind = Literal["lattice", "cohesive-energy", "equation-of-state", "elastic", "vacancy", "surface", "phonons"]


class PropertyTable(Table):
    """`[property.NAME]`: a crystal and what is computed of it; all names begin with NAME.

    `repeats` are the conventional cells along each edge of the vacancy's supercell, `surfaces` Miller indices, `layers`
    the primitive layers of a slab, `path` corners of the Brillouin zone as ASE names them.
    """

    symbols: str
    structure: Literal[
        "sc",
        "fcc",
        "bcc",
        "hcp",
        "diamond",
        "zincblende",
        "rocksalt",
        "cesiumchloride",
        "fluorite",
        "wurtzite",
    ]
    a: Positive
    c: Positive | None = None
    compute: tuple[Kind, ...] = Field(default=("lattice", "cohesive-energy", "elastic"), min_length=1)
    repeats: tuple[Count, Count, Count] = (2, 2, 2)
    surfaces: tuple[tuple[Index, Index, Index], ...] = ()
    layers: Count = 8
    path: str | None = None
    points: Annotated[WholeNumber, Field(ge=2)] = 40
    skin: Annotated[Positive, Field(le=1.0)] | None = None

    @model_validator(mode="after")
    def _what_is_needed(self) -> "PropertyTable":
        for kind, key, given in (
            ("surface", "surfaces", bool(self.surfaces)),
            ("phonons", "path", self.path is not None),
        ):
            if (kind in self.compute) != given:
                raise ValueError(
                    f"`{key}` belongs to '{kind}' in `compute`, and only to it; add or remove one of them"
                )
        return self
