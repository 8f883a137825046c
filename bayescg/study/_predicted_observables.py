"""The observables that `bayescg predict` knows by name, and what each needs."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from bayescg.errors import InputError


class PredictedObservable(NamedTuple):
    """An observable of the command line.

    Attributes:
        long_name: in words.
        unit: as a product of quantities of the unit system, or "1".
        along: the coordinate of a function, empty for a number.
        needs: `statistics` that every run keeps, `positions` or `velocities` that none keeps.
    """

    long_name: str
    unit: str
    along: str
    needs: str


OBSERVABLES = {
    "rdf": PredictedObservable("g(r)", "1", "r", "statistics"),
    "coordination": PredictedObservable("coordination number", "1", "", "statistics"),
    "kirkwood-buff": PredictedObservable("Kirkwood-Buff integral", "length^3", "", "statistics"),
    "energy": PredictedObservable("potential energy per site", "energy", "", "statistics"),
    "heat-capacity": PredictedObservable(
        "heat capacity at constant volume, per site in k_B", "1", "", "statistics"
    ),
    "pressure": PredictedObservable("pressure", "pressure", "", "statistics"),
    "compressibility": PredictedObservable("isothermal compressibility", "1/pressure", "", "statistics"),
    "potential-of-mean-force": PredictedObservable("potential of mean force", "energy", "r", "statistics"),
    "structure-factor": PredictedObservable("S(k)", "1", "k", "positions"),
    "chemical-potential": PredictedObservable("residual chemical potential", "energy", "", "positions"),
    "tetrahedral-order": PredictedObservable("tetrahedral order", "1", "", "positions"),
    "bond-order": PredictedObservable("distribution of the bond order q6", "1", "q6", "positions"),
    "diffusion": PredictedObservable("diffusion coefficient", "length^2/time", "", "velocities"),
    "diffusion-infinite": PredictedObservable(
        "diffusion coefficient in an infinite box", "length^2/time", "", "velocities"
    ),
    "viscosity": PredictedObservable("shear viscosity", "pressure*time", "", "velocities"),
    "velocity-autocorrelation": PredictedObservable(
        "velocity autocorrelation function", "length^2/time^2", "time", "velocities"
    ),
}
"""By name."""

DEFAULT = ("rdf", "coordination", "energy", "heat-capacity", "pressure", "compressibility")
"""What is predicted where nothing is asked for."""

MADE_FROM = {
    "coordination": ("rdf",),
    "kirkwood-buff": ("rdf",),
    "potential-of-mean-force": ("rdf",),
    "diffusion-infinite": ("diffusion", "viscosity"),
}
"""What is simulated for those that are not measured themselves."""

LINEAR_IN_RDF = ("coordination", "kirkwood-buff")
"""Linear in g(r)."""

FROM_RDF = (*LINEAR_IN_RDF, "potential-of-mean-force")
"""Functions of g(r)."""

NOT_GIVEN = "Diffusion in an infinite box is not given: "
"""How the note begins that says why."""


def needs_of(name: str) -> str:
    """What an observable needs; those of the user's own are functions of positions.

    Example:
        >>> needs_of("pressure"), needs_of("my-own")
        ('statistics', 'positions')
    """
    return OBSERVABLES[name].needs if name in OBSERVABLES else "positions"


def known_observables(names: Sequence[str], own: Collection[str] = ()) -> tuple[str, ...]:
    """The names asked for, each once, or the default ones where there is none.

    Args:
        names: asked for.
        own: those among them that are the user's.

    Raises:
        InputError: a name that is neither of `OBSERVABLES` nor the user's.

    Example:
        >>> known_observables(["pressure", "rdf", "pressure"])
        ('pressure', 'rdf')
    """
    for name in names:
        if name not in OBSERVABLES and name not in own:
            raise InputError(f"observable {name!r} is not known; expected one of {', '.join(OBSERVABLES)}")
    return tuple(dict.fromkeys(names)) or DEFAULT
