"""A crystal of springs whose energy, forces and stress are known, and thermal and strained copies of it."""

import itertools
from dataclasses import replace

import numpy as np

from bayescg.data import get_unit_system
from bayescg.data._configurations import Configurations

METAL = get_unit_system("metal")
EDGE, STIFFNESS, OFFSET = 4.0, 2.0, -4.0  # [Å], [eV/Å²], [eV] per atom
PLACES = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
CELLS = np.array(list(itertools.product(range(2), repeat=3)))
FRACTIONS = ((PLACES[None] + CELLS[:, None]).reshape(-1, 3)) / 2.0  # 32 atoms, face-centred cubic
CELL = 2 * EDGE * np.eye(3)


def _springs():
    """Pairs of neighbours and next neighbours, each once: atoms, whole cells between them, length at rest."""
    found = []
    for a, b in itertools.product(range(len(FRACTIONS)), repeat=2):
        for shift in itertools.product((-1, 0, 1), repeat=3):
            length = np.linalg.norm((FRACTIONS[b] + shift - FRACTIONS[a]) @ CELL)
            if 0.1 < length < 1.01 * EDGE and (a, b, shift) < (b, a, tuple(-s for s in shift)):
                found.append((a, b, shift, length))
    first, second, shift, length = zip(*found, strict=True)
    return np.array(first), np.array(second), np.array(shift), np.array(length)


FIRST, SECOND, SHIFT, REST = _springs()


def labels(fractions, cell):
    """Energy [eV], forces [eV/Å] and stress [eV/Å³] of springs U = Σ k (r − r₀)² / 2."""
    vectors = (fractions[SECOND] + SHIFT - fractions[FIRST]) @ cell
    length = np.linalg.norm(vectors, axis=1)
    pull = (STIFFNESS * (length - REST) / length)[:, None] * vectors
    forces = np.zeros((len(fractions), 3))
    np.add.at(forces, FIRST, pull)
    np.add.at(forces, SECOND, -pull)
    energy = OFFSET * len(fractions) + 0.5 * STIFFNESS * np.sum((length - REST) ** 2)
    return energy, forces, vectors.T @ pull / abs(np.linalg.det(cell))


def _modes():
    """Displacements at the thermal energy k_B T = 1 eV from unit normal numbers, by central differences of forces."""
    n, step = FRACTIONS.size, 1e-4
    hessian = np.zeros((n, n))
    for k in range(n):
        move = np.zeros(n)
        move[k] = step
        ends = [
            labels(FRACTIONS + s * (move.reshape(-1, 3) @ np.linalg.inv(CELL)), CELL)[1].ravel()
            for s in (1, -1)
        ]
        hessian[k] = -(ends[0] - ends[1]) / (2 * step)
    value, vector = np.linalg.eigh(0.5 * (hessian + hessian.T))
    # the symmetric root, since the eigenvectors of equal eigenvalues are any that span their space
    kept = vector[:, value > 1e-6]
    return kept / np.sqrt(value[value > 1e-6]) @ kept.T


MODES = _modes()


def crystal(rows):
    """Configurations of (fractional coordinates, cell, group, temperature)."""
    known = [labels(fractions, cell) for fractions, cell, _, _ in rows]
    return Configurations(
        species=("Ar",),
        positions=tuple(fractions @ cell for fractions, cell, _, _ in rows),
        types=(np.zeros(len(FRACTIONS), int),) * len(rows),
        cell=np.array([cell for _, cell, _, _ in rows]),
        periodic=np.ones((len(rows), 3), bool),
        units=METAL,
        energy=np.array([energy for energy, _, _ in known]),
        forces=tuple(forces for _, forces, _ in known),
        stress=np.array([stress for _, _, stress in known]),
        group=tuple(group for _, _, group, _ in rows),
        temperature=np.array([temperature for _, _, _, temperature in rows]),
    )


def thermal(temperature, number, *, seed, group=None):
    """Snapshots of the harmonic crystal at a temperature [K]."""
    rng = np.random.default_rng(seed)
    size = np.sqrt(METAL.kT(temperature))
    rows = []
    for _ in range(number):
        shift = (size * MODES @ rng.normal(size=MODES.shape[1])).reshape(-1, 3) @ np.linalg.inv(CELL)
        rows.append((FRACTIONS + shift, CELL, group or f"T{temperature}", float(temperature)))
    return crystal(rows)


def strained():
    """Copies of the crystal strained along and sheared between the axes, cells rotated as lattice vectors are written."""
    rows = []
    for place in itertools.combinations_with_replacement(range(3), 2):
        for size in (-0.03, -0.02, -0.01, 0.01, 0.02, 0.03):
            change = np.eye(3)
            change[place] += size
            rows.append((FRACTIONS, CELL @ change, "strain", np.nan))
    return crystal(rows)


def with_kinetic_energy(data, *, seed):
    """The same with the kinetic energy of each configuration's temperature drawn and added."""
    rng = np.random.default_rng(seed)
    kinetic = METAL.boltzmann * np.nan_to_num(data.temperature) * rng.gamma(1.5 * data.n_atoms)
    return replace(data, energy=data.energy + kinetic)


def clean():
    """Two temperatures and strained cells."""
    return Configurations.concatenate([thermal(100, 12, seed=1), thermal(300, 12, seed=2), strained()])
