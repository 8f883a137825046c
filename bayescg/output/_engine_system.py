"""What a run script needs beside the potential: sites, box, a start, the thermostat, and how long to run."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bayescg.data import UnitSystem, conversion
from bayescg.errors import InputError

_TELLABLE = 1e-5
"""Relative difference of two lengths that an engine in single precision still sees."""
LARGEST_SEED = 900_000_000
"""That LAMMPS takes; the others take more."""


class EngineSystem(NamedTuple):
    """A system to be simulated elsewhere, in a periodic box at constant volume and temperature.

    Attributes:
        site_types: name of each site's type.
        masses: of each site [mass].
        positions: where the sites start [length].
        box: edge lengths [length].
        temperature: [temperature].
        time_step: of the integrator [time].
        friction: collision rate of the Langevin thermostat [1/time].
        units: the unit system of all of these.

    Example:
        >>> from bayescg.data import get_unit_system
        >>> start = np.array([[0.0, 0.0, 0.0], [3.8, 0.0, 0.0]])
        >>> argon = EngineSystem(
        ...     ("Ar", "Ar"), np.full(2, 39.948), start, np.full(3, 30.0), 85.0, 5.0, 0.001, get_unit_system("real")
        ... )
        >>> argon.converted(get_unit_system("gromacs")).time_step  # ps
        0.005
    """

    site_types: tuple[str, ...]
    masses: Float[np.ndarray, " site"]
    positions: Float[np.ndarray, "site 3"]
    box: Float[np.ndarray, " 3"]
    temperature: float
    time_step: float
    friction: float
    units: UnitSystem

    def converted(self, target: UnitSystem) -> "EngineSystem":
        """The same system in other units.

        Raises:
            InputError: reduced units on one side only.
        """
        length, mass, time = (conversion(q, self.units, target) for q in ("length", "mass", "time"))
        return self._replace(
            masses=np.asarray(self.masses, float) * mass,
            positions=np.asarray(self.positions, float) * length,
            box=np.asarray(self.box, float) * length,
            time_step=float(f"{self.time_step * time:.14g}"),
            friction=float(f"{self.friction / time:.14g}"),
            units=target,
        )

    def check(self, cutoff: float, *, strictly: bool = False) -> None:
        """Raise an InputError where the engine could not run this.

        Args:
            cutoff: of the potential [length].
            strictly: the engine refuses edges of exactly twice the cutoff too; what single precision can't tell from it counts.
        """
        n = len(self.site_types)
        if np.shape(self.positions) != (n, 3) or np.shape(self.masses) != (n,) or np.shape(self.box) != (3,):
            raise InputError(
                f"system: {n} sites, masses {np.shape(self.masses)}, positions {np.shape(self.positions)}, box"
                f" {np.shape(self.box)}; expected one mass and three coordinates per site and three edges"
            )
        shortest = np.min(self.box)
        too_short = shortest <= 2.0 * cutoff * (1.0 + _TELLABLE) if strictly else shortest < 2.0 * cutoff
        if not np.isfinite(self.box).all() or too_short:
            least = "longer than" if strictly else "of at least"
            raise InputError(
                f"system: the box {np.array2string(np.asarray(self.box), precision=4)} {self.units.length} must be"
                f" periodic with edges {least} twice the cutoff {cutoff:.4g}; export tables alone, or use a larger box"
            )
        for name in ("temperature", "time_step", "friction"):
            if not 0.0 < getattr(self, name) < np.inf:
                raise InputError(
                    f"system: {name} {getattr(self, name):g}; the runs' Langevin thermostat needs a positive number"
                )


class RunPlan(NamedTuple):
    """How long every potential is simulated, and how often.

    Attributes:
        steps: of a run, after equilibration; a multiple of the interval.
        equilibration: steps before, of which nothing is kept; likewise.
        interval: steps between rows of the log and between frames.
        repeats: runs of each potential, with seeds of their own: two at least tell noise from parameters.
        seed: of the first run, 1 or more; every other run has another.

    Example:
        >>> RunPlan(steps=50_000, equilibration=5_000, interval=50).rows
        1000
    """

    steps: int
    equilibration: int
    interval: int
    repeats: int = 2
    seed: int = 1

    @property
    def rows(self) -> int:
        """Rows of a log, and frames of a trajectory, without the one at step 0."""
        return self.steps // self.interval

    def check(self, *, potentials: int = 1) -> None:
        """Raise an InputError where the numbers make no run.

        Args:
            potentials: that are run, each as often as `repeats` says and every time with the next seed.
        """
        last = self.seed + potentials * self.repeats - 1
        if self.seed < 1 or last > LARGEST_SEED:
            raise InputError(
                f"run plan: seeds {self.seed} to {last}; expected 1 to {LARGEST_SEED}, since engines refuse others or pick one"
                " themselves"
            )
        positive = min(self.steps, self.interval, self.repeats) > 0 and self.equilibration >= 0
        if not positive or self.rows < 2 or self.steps % self.interval or self.equilibration % self.interval:
            raise InputError(
                f"run plan: {self.steps} steps, {self.equilibration} of equilibration, one row in {self.interval},"
                f" {self.repeats} repeats; expected positive numbers, steps and equilibration multiples of the interval, and at"
                " least two rows"
            )


def run_facts(system: EngineSystem | None, plan: RunPlan | None) -> dict[str, object]:
    """What a manifest says of the system, in its units, and of the runs; empty without them."""
    if system is None or plan is None:
        return {}
    return {
        "system": {
            "n_sites": len(system.site_types),
            "site_types": list(system.site_types),
            "masses": [float(m) for m in system.masses],
            "box": [float(edge) for edge in system.box],
            "temperature": float(system.temperature),
            "time_step": float(system.time_step),
            "friction": float(system.friction),
        },
        "run": plan._asdict(),
    }
