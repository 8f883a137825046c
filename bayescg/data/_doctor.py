"""The doctor: what a look at labelled configurations tells before anything is fitted to them."""

from __future__ import annotations

import numpy as np

from bayescg.data._configuration_pairs import near_pairs
from bayescg.data._configurations import Configurations
from bayescg.data._doctor_consistency import energies_and_forces
from bayescg.data._doctor_coverage import box, distances, duplicates, offsets
from bayescg.data._doctor_labels import absent_labels, mixed_units, net_force, outliers, temperature_labels
from bayescg.data._doctor_stress import energies_and_stress
from bayescg.data._finding import ERROR, NOTE, WARNING, Finding
from bayescg.errors import InputError


def examine(configurations: Configurations, *, cutoff: float | None = None) -> list[Finding]:
    """Looks for what is wrong, missing or odd in labelled configurations; raises nothing about the data.

    Energies are held against forces and stresses by pairs of near configurations (`near_pairs`): the energy must change
    as the work of the forces and of the stress says. A slope other than 1 tells of signs, units or a kinetic energy
    inside the energies; scatter about it of the size √(3N) k_B T, with T from the same forces, of a kinetic energy that
    comes and goes. Stresses are tried in every order of their shear components. What the data don't allow to test is
    said to be not testable.

    Args:
        configurations: the data.
        cutoff: of the potential to be fitted [length]; with it, cells smaller than twice the cutoff and distances below
            it that no pair visits are reported.

    Returns:
        Findings, errors first, then warnings, then notes.

    Raises:
        InputError: the cutoff is not a positive number.

    Example:
        >>> from bayescg.data import examine, get_unit_system, read_configurations
        >>> silicon = read_configurations("silicon.extxyz", units=get_unit_system("metal"))  # doctest: +SKIP
        >>> for finding in examine(silicon, cutoff=5.0):  # doctest: +SKIP
        ...     print(finding.severity, finding.sentence)
    """
    if cutoff is not None and not (np.isfinite(cutoff) and cutoff > 0):
        raise InputError(
            f"cutoff is {cutoff}; expected a positive length in {configurations.units.length}, or None"
        )
    pairs = near_pairs(configurations)
    found = [
        *absent_labels(configurations),
        *energies_and_forces(configurations, pairs),
        *energies_and_stress(configurations, pairs),
        *mixed_units(configurations),
        *net_force(configurations),
        *temperature_labels(configurations),
        *outliers(configurations),
        *duplicates(configurations),
        *offsets(configurations),
    ]
    if cutoff is not None:
        found += [*box(configurations, cutoff), *distances(configurations, cutoff)]
    order = (ERROR, WARNING, NOTE)
    return sorted(found, key=lambda finding: order.index(finding.severity))
