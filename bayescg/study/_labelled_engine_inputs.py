"""What the run script of potentials inferred from labelled configurations starts from, and how long it runs."""

import json
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers

from bayescg import output
from bayescg.data import Configurations, conversion, get_unit_system
from bayescg.errors import InputError
from bayescg.physics import InteratomicPotential
from bayescg.physics._pairwise_term import terms_between_molecules
from bayescg.study._labelled_data import read_labelled
from bayescg.study._labelled_schema import LabelledModelFile
from bayescg.study._output_folder import RECORD
from bayescg.study._read import parse_model_file

TEMPERATURE = 300.0
"""Of the run script by default [K]."""
STEPS, INTERVAL = 2000, 20
"""Of each run by default, and steps between rows of its log."""
FRICTION = 0.01
"""[1/fs]"""
LONGEST_STEP, STEP_OF_HYDROGEN = 2.0, 0.5
"""Time steps [fs]: that of hydrogen, times the root of the lightest atom's mass, up to the longest."""


def labelled_system(
    folder: Path, potential: InteratomicPotential, *, temperature: float | None = None
) -> output.AtomsSystem:
    """The largest periodic configuration of a run's data, repeated until its heights are twice the cutoff.

    Where no configuration is periodic it is the largest of all. Configurations with molecules are not repeated, since one
    may lie across a boundary.

    Args:
        folder: the run's output folder.
        potential: one of the draws.
        temperature: of the runs [K]; 300 by default.

    Raises:
        InputError: data that are gone, reduced units, species that are no chemical elements.

    Example:
        >>> labelled_system(Path("runs/si-stillinger-weber"), potential).temperature  # doctest: +SKIP
        300.0
    """
    record = folder / RECORD
    try:
        path = Path(json.loads(record.read_text())["model"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{record}: missing or damaged ({error}), and without it the run's data can't be found; put it back"
        ) from error
    model = parse_model_file(str(output.open_result(folder).attrs["model_file_text"]), path)
    if not isinstance(model, LabelledModelFile):
        raise InputError(f"{folder}: the run is of frames, not of labelled configurations")
    if model.units == "lj":
        raise InputError("reduced units have no fixed masses and times")
    every = read_labelled(model.data, path=path, units=get_unit_system(model.units))
    atoms = _largest(every)
    if not terms_between_molecules(potential):
        atoms = _repeated(atoms, 2.0 * float(potential.cutoff) * conversion("length", every.units, "metal"))
    step = min(LONGEST_STEP, STEP_OF_HYDROGEN * float(np.sqrt(atoms.get_masses().min())))
    chosen = TEMPERATURE if temperature is None else temperature
    return output.AtomsSystem(atoms, chosen, round(step, 2), FRICTION)


def labelled_plan(*, steps: int | None = None, repeats: int = 2, seed: int = 1) -> output.RunPlan:
    """Runs of each potential, a hundred rows by default, after a tenth as many steps of equilibration.

    Raises:
        InputError: numbers that make no run.

    Example:
        >>> labelled_plan().rows
        100
    """
    wanted = STEPS if steps is None else steps
    interval = max(1, min(INTERVAL, wanted // 10))
    rows = -(-wanted // interval)
    plan = output.RunPlan(rows * interval, -(-rows // 10) * interval, interval, repeats, seed)
    plan.check()
    return plan


def _largest(every: Configurations) -> Atoms:
    periodic = every.periodic.all(axis=1)
    candidates = np.flatnonzero(periodic) if periodic.any() else np.arange(len(every))
    k = int(candidates[np.argmax(every.n_atoms[candidates])])
    symbols = [every.species[t] for t in every.types[k]]
    unknown = sorted({s for s in symbols if s not in atomic_numbers})
    if unknown:
        raise InputError(f"{', '.join(unknown)}: no chemical element, so it has no mass to simulate with")
    length = conversion("length", every.units, "metal")
    atoms = Atoms(
        symbols, every.positions[k] * length, cell=every.cell[k] * length, pbc=every.periodic[k],
        masses=[atomic_masses[atomic_numbers[s]] for s in symbols],
    )  # fmt: skip
    if every.molecules:
        atoms.set_array("molecule", np.asarray(every.molecules[k], int))
    return atoms


def _repeated(atoms: Atoms, least: float) -> Atoms:
    """Copies side by side along periodic directions, until heights are as long as asked for [Å]."""
    if not atoms.pbc.any():
        return atoms
    cell = atoms.cell.complete()
    heights = 1.0 / np.linalg.norm(cell.reciprocal(), axis=1)
    return atoms.repeat(tuple(np.where(atoms.pbc, np.ceil(least / heights - 1e-9), 1).astype(int)))
