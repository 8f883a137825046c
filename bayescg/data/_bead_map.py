"""From atoms to beads, for whole blocks of frames: index arrays made once, then array arithmetic only.

A bead sits at R_I = Σ_i c_Ii r_i (weights c sum to one) of its atoms, whose molecule has been made whole. Its force is
F_I = Σ_i (d_Ii / c_Ii) f_i, with d = c: the sum of its atoms' forces. That is the choice that makes forces consistent
with the many-body potential of mean force as long as no atom belongs to two beads and no constraint joins an atom of a
bead to an atom outside of it.

References:
    Noid et al., J. Chem. Phys. 128, 244114 (2008), doi:10.1063/1.2938860.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bayescg.data._connectivity import angles_from_bonds, dihedrals_from_bonds, exclusions_from_bonds
from bayescg.data._mapping import AtomTable, Bead, Mapping
from bayescg.data._topology import Floats, Integers, Topology
from bayescg.errors import InputError


@dataclass(frozen=True, eq=False)
class BeadMap:
    """A mapping resolved against one topology.

    Attributes:
        topology: the beads.
        atoms: atoms that take part, as indices into the file [local].
        parent: for each of them the one it's made whole relative to, local; itself for a root [local].
        levels: atoms whose parents are already whole, level by level.
        members: local atoms of all beads, one bead after the other [member].
        weights: of each member [member].
        starts: where each bead's members begin [bead].
        pulls: 1 if the member's force counts, 0 if not [member].
        forces_defined: False if an atom belongs to two beads.
        warnings: what the user should know of this mapping, each a sentence.
    """

    topology: Topology
    atoms: Integers
    parent: Integers
    levels: tuple[Integers, ...]
    members: Integers
    weights: Floats
    starts: Integers
    pulls: Floats
    forces_defined: bool
    warnings: tuple[str, ...]

    def map_positions(self, positions: Floats, box: Floats) -> Floats:
        """Bead positions [frame bead 3], wrapped into the box, from atom positions [frame atom 3] and box [frame 3]."""
        local = np.asarray(positions[:, self.atoms], np.float64)
        closed = np.isfinite(box)
        edge = np.where(closed, box, 1.0)[:, None, :]
        if self.levels:
            hops = np.round((local - local[:, self.parent]) / edge) * closed[:, None, :]
            for level in self.levels:
                hops[:, level] += hops[:, self.parent[level]]
            local -= hops * edge
        beads = self._sum(local[:, self.members] * self.weights[:, None])
        return np.where(closed[:, None, :], beads - np.floor(beads / edge) * edge, beads)

    def map_forces(self, forces: Floats) -> Floats | None:
        """Bead forces [frame bead 3] from atom forces [frame atom 3]; None where the mapping defines none."""
        if not self.forces_defined:
            return None
        members = self.atoms[self.members]
        return self._sum(np.asarray(forces[:, members], np.float64) * self.pulls[:, None])

    def _sum(self, members: Floats) -> Floats:
        if len(self.members) == len(self.starts):
            return members
        return np.add.reduceat(members, self.starts, axis=1)


def resolve(mapping: Mapping, atoms: AtomTable) -> BeadMap:
    """Finds the atoms of every bead.

    Raises:
        InputError: a selection matches nothing, weights don't fit, or masses or molecules are needed but unknown.
    """
    members = _members(mapping, atoms)
    starts = np.flatnonzero(np.r_[True, np.diff(members.bead) > 0])
    weights, pulls = _weights(mapping, atoms, members, starts)
    involved = _involved(mapping, atoms, members)
    local = np.full(atoms.n_atoms, -1, np.int64)
    local[involved.atoms] = np.arange(len(involved.atoms))
    bonds = local[atoms.bonds] if atoms.bonds.size else np.empty((0, 2), np.int64)
    bonds = bonds[(bonds >= 0).all(1)]
    inside = bonds[involved.groups[bonds[:, 0]] == involved.groups[bonds[:, 1]]]
    parent, levels = _spanning_forest(inside, involved.groups)
    shared = len(np.unique(members.atom)) < len(members.atom)
    return BeadMap(
        topology=_bead_topology(mapping, atoms, members, starts),
        atoms=involved.atoms,
        parent=parent,
        levels=levels,
        members=local[members.atom],
        weights=weights,
        starts=starts,
        pulls=pulls,
        forces_defined=not shared,
        warnings=_warnings(mapping, atoms, members, involved, shared),
    )


class _Members(NamedTuple):
    atom: Integers  # [member], into the file
    bead: Integers  # [member], 0, 0, 0, 1, 1, ...
    kind: Integers  # [member], which of the mapping's beads
    group: Integers  # [member]


class _Involved(NamedTuple):
    atoms: Integers  # [local], into the file
    groups: Integers  # [local]


def _groups(mapping: Mapping, atoms: AtomTable) -> Integers:
    if mapping.by == "atom":
        return np.arange(atoms.n_atoms)
    if mapping.by == "residue":
        return atoms.residues
    if atoms.molecules is None:
        raise InputError(
            f"{atoms.source}: has neither bonds nor molecule numbers, so molecules can't be told apart; "
            "map by residue, or give a topology with bonds (tpr, psf, LAMMPS data)",
            argument="mapping.by",
        )
    return atoms.molecules


def _members(mapping: Mapping, atoms: AtomTable) -> _Members:
    group = _groups(mapping, atoms)
    columns = []
    for kind, bead in enumerate(mapping.beads):
        place = f"mapping.beads[{kind}].selection"
        try:
            found = atoms.select(bead.selection)
        except InputError as error:
            raise InputError(str(error), argument=place) from None
        if not found.size:
            some = ", ".join(list(dict.fromkeys(atoms.names))[:8])
            raise InputError(
                f"{atoms.source}: selection {bead.selection!r} matches no atoms; select from the atom names here: {some}",
                argument=place,
            )
        columns.append(np.stack([group[found], np.full(found.size, kind), found]))
    rows = np.concatenate(columns, axis=1)
    rows = rows[:, np.lexsort(rows[::-1])]
    new = np.r_[True, np.any(np.diff(rows[:2], axis=1) != 0, axis=0)]
    return _Members(atom=rows[2], bead=np.cumsum(new) - 1, kind=rows[1], group=rows[0])


def _weights(
    mapping: Mapping, atoms: AtomTable, members: _Members, starts: Integers
) -> tuple[Floats, Floats]:
    weights, pulls = np.ones(len(members.atom)), np.ones(len(members.atom))
    if mapping.by == "atom":
        return weights, pulls
    counts = np.diff(np.r_[starts, len(members.atom)])
    for kind, bead in enumerate(mapping.beads):
        mine = members.kind == kind
        if bead.weights == "mass":
            weights[mine] = _masses(atoms)[members.atom[mine]]
        elif not isinstance(bead.weights, str):
            wrong = counts[(members.kind[starts] == kind) & (counts != len(bead.weights))]
            if wrong.size:
                raise InputError(
                    f"{atoms.source}: bead {bead.name!r} has {len(bead.weights)} weights, but its selection "
                    f"{bead.selection!r} matches {wrong[0]} atoms in a {mapping.by}; give one weight per atom",
                    argument=f"mapping.beads[{kind}].weights",
                )
            weights[mine] = np.tile(bead.weights, int(mine.sum()) // len(bead.weights))
            pulls[mine] = weights[mine] != 0
    totals = np.add.reduceat(weights, starts)
    if not (totals > 0).all():
        first = members.atom[starts[np.flatnonzero(~(totals > 0))[0]]]
        raise InputError(
            f"{atoms.source}: the atoms of the bead that begins with atom {first} ({atoms.names[first]}) have mass 0; "
            "give a topology with masses (tpr, psf, LAMMPS data), or map by geometry",
            argument="topology",
        )
    return weights / np.repeat(totals, counts), pulls


def _masses(atoms: AtomTable) -> Floats:
    if atoms.masses is None:
        raise InputError(
            f"{atoms.source}: has no masses; give a topology that has them (tpr, psf, LAMMPS data)",
            argument="topology",
        )
    return atoms.masses


def _involved(mapping: Mapping, atoms: AtomTable, members: _Members) -> _Involved:
    """All atoms of every group that a bead touches: a molecule is made whole through all its bonds."""
    group = _groups(mapping, atoms)
    found = np.flatnonzero(np.isin(group, members.group))
    found = found[np.argsort(group[found], kind="stable")]
    return _Involved(found, group[found])


def _spanning_forest(bonds: Integers, groups: Integers) -> tuple[Integers, tuple[Integers, ...]]:
    """Breadth-first parents along bonds from each group's first atom; what no bond reaches hangs on the first atom."""
    n = len(groups)
    roots = np.flatnonzero(np.r_[True, np.diff(groups) != 0])
    parent, reached = np.arange(n), np.zeros(n, bool)
    reached[roots] = True
    ends = np.concatenate([bonds, bonds[:, ::-1]])
    levels = []
    while ends.size:
        ends = ends[~reached[ends[:, 1]]]
        step = ends[reached[ends[:, 0]]]
        if not step.size:
            break
        children, which = np.unique(step[:, 1], return_index=True)
        parent[children] = step[which, 0]
        reached[children] = True
        levels.append(children)
    loose = np.flatnonzero(~reached)
    if loose.size:
        first_of = np.repeat(roots, np.diff(np.r_[roots, n]))
        parent[loose] = first_of[loose]
        levels.append(loose)
    return parent, tuple(levels)


def _bead_topology(mapping: Mapping, atoms: AtomTable, members: _Members, starts: Integers) -> Topology:
    first = members.atom[starts]
    masses = np.add.reduceat(_masses(atoms)[members.atom], starts)
    charges = np.empty(0) if atoms.charges is None else np.add.reduceat(atoms.charges[members.atom], starts)
    grouping = members.group[starts] if mapping.by != "atom" else atoms.residues[first]
    if atoms.molecules is not None:
        grouping = atoms.molecules[first]
    bead_of = np.full(atoms.n_atoms, -1, np.int64)
    bead_of[members.atom] = members.bead
    pairs = bead_of[atoms.bonds] if atoms.bonds.size else np.empty((0, 2), np.int64)
    pairs = pairs[(pairs >= 0).all(1) & (pairs[:, 0] != pairs[:, 1])]
    bonds = np.unique(np.sort(pairs, axis=1), axis=0)
    types = tuple(
        _type(mapping.beads[kind], mapping, atoms, atom) for kind, atom in zip(members.kind[starts], first)
    )
    light = np.flatnonzero(~(masses > 0))
    if light.size:
        raise InputError(
            f"{atoms.source}: bead {light[0]} (type {types[light[0]]}) has mass {masses[light[0]]}; "
            "give a topology with masses (tpr, psf, LAMMPS data), or leave massless sites out of the selection",
            argument="topology",
        )
    n = len(first)
    return Topology(
        site_types=types,
        masses=masses,
        charges=charges,
        molecules=np.unique(grouping, return_inverse=True)[1],
        bonds=bonds,
        angles=angles_from_bonds(bonds, n),
        dihedrals=dihedrals_from_bonds(bonds, n),
        exclusions=exclusions_from_bonds(bonds, n),
    )


def _type(bead: Bead, mapping: Mapping, atoms: AtomTable, atom: int) -> str:
    if mapping.by == "atom":
        return atoms.names[atom]
    if bead.name:
        return bead.name
    if atoms.residue_names is None:
        raise InputError(
            f"{atoms.source}: has no residue names to name beads by; give the mapping a name (named beads have one)",
            argument="mapping",
        )
    return atoms.residue_names[atom]


def _warnings(
    mapping: Mapping, atoms: AtomTable, members: _Members, involved: _Involved, shared: bool
) -> tuple[str, ...]:
    found = []
    if atoms.guessed_masses:
        found.append(
            f"{atoms.source} has no masses: they were guessed from atom names, which is wrong for united atoms; "
            "give a topology that has them"
        )
    if shared:
        found.append("An atom belongs to two beads: mapped forces are not defined and were left out.")
    left_out = len(involved.atoms) - len(np.unique(members.atom))
    several = len(np.unique(members.bead)) > len(np.unique(members.group))
    whole = involved.groups[:-1] == involved.groups[1:]
    if left_out:
        found.append(
            f"The beads leave out {left_out} atoms of their molecules: if a constraint joins one to a bead, the mapped "
            "forces lack it and are biased; relative-entropy inference from positions isn't touched."
        )
    elif several or mapping.by == "atom":
        found.append(
            "Molecules are cut into several beads: if a constrained bond joins two of them, the mapped forces lack it "
            "and are biased; relative-entropy inference from positions isn't touched."
        )
    if not atoms.bonds.size and whole.any():
        found.append(
            "The topology has no bonds: molecules were made whole around their first atom, which is wrong for those "
            "longer than half the box."
        )
    return tuple(found)
