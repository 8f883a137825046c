"""From a potential and a topology to an engine at constant pressure."""

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from bayescg.data import Topology, UnitSystem
from bayescg.physics._isobaric_engine import IsobaricEngine
from bayescg.physics._isobaric_interaction import interaction_of
from bayescg.physics._isobaric_moves import ISOTROPIC, Groups
from bayescg.physics._langevin import LangevinSettings
from bayescg.physics._potential import Potential


def isobaric_engine(
    potential: Potential,
    *,
    topology: Topology,
    units: UnitSystem,
    temperature: ArrayLike,
    time_step: float,
    friction: float,
    groups: Groups = ISOTROPIC,
    interval: int = 20,
    metropolis: bool = False,
) -> IsobaricEngine:
    """An engine at constant pressure for potentials of one form; molecules of several sites move as rigid bodies.

    Parameters are the potentials themselves, `stacked` over replicas. A pressure in the units' own unit goes into
    `Barostat` divided by `units.pressure_factor`.

    Args:
        potential: of the form to be simulated; its parameter values do not matter.
        topology: sites, their masses and molecules.
        units: unit system of every number here.
        temperature: shared, or one per replica [K, or reduced].
        time_step: [time].
        friction: collision rate of the thermostat [1/time].
        groups: directions whose edges keep their ratio.
        interval: steps of dynamics between two volume moves.
        metropolis: accept or reject the dynamics too, which removes the bias of the time step.

    Raises:
        InputError: a bare truncation, impossible settings.

    Example:
        >>> from bayescg.data import get_unit_system
        >>> from bayescg.physics import Barostat, LennardJones, stacked
        >>> argon = LennardJones(0.238, 3.405, cutoff=8.0, name="argon")
        >>> real = get_unit_system("real")
        >>> topology = Topology(("Ar",) * 2, np.full(2, 39.948))
        >>> engine = isobaric_engine(
        ...     argon, topology=topology, units=real, temperature=140.0, time_step=4.0, friction=0.001
        ... )
        >>> one_bar = Barostat(0.98692 / real.pressure_factor)  # atmospheres
        >>> round(float(one_bar.pressure), 8)
        1.439e-05
    """
    interaction, cutoff = interaction_of(potential)
    settings = LangevinSettings(
        time_step,
        friction,
        units.boltzmann * np.asarray(temperature, float),
        jnp.asarray(units.force_to_acceleration / np.asarray(topology.masses)),
    )
    names, labels = np.unique(np.asarray(topology.molecules), return_inverse=True)
    molecules = tuple(labels.tolist()) if len(names) < len(topology.masses) else None
    return IsobaricEngine(
        len(topology.masses),
        settings,
        interaction,
        cutoff=cutoff,
        groups=groups,
        molecules=molecules,
        interval=interval,
        metropolis=metropolis,
    )
