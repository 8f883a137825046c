"""Angles, dihedrals and exclusions that follow from which sites are bonded."""

from __future__ import annotations

import numpy as np

from bayescg.data._topology import Integers


def angles_from_bonds(bonds: Integers, n_sites: int) -> Integers:
    """Every i-j-k with bonds i-j and j-k and i < k, sorted. Shape [angle 3]."""
    found = []
    for middle, around in enumerate(_neighbours(bonds, n_sites)):
        found += [(i, middle, k) for a, i in enumerate(around) for k in around[a + 1 :]]
    return np.array(sorted(found), np.int64).reshape(-1, 3)


def dihedrals_from_bonds(bonds: Integers, n_sites: int) -> Integers:
    """Every chain i-j-k-l of bonds over four different sites, with j < k, sorted. Shape [dihedral 4]."""
    around = _neighbours(bonds, n_sites)
    found = []
    for j, k in np.sort(bonds, axis=1).tolist() if bonds.size else []:
        found += [(i, j, k, m) for i in around[j] if i != k for m in around[k] if m not in (i, j)]
    return np.array(sorted(found), np.int64).reshape(-1, 4)


def exclusions_from_bonds(bonds: Integers, n_sites: int, *, up_to: int = 3) -> Integers:
    """Pairs of sites at most `up_to` bonds apart (GROMACS calls it nrexcl), i < j, sorted. Shape [pair 2]."""
    around = _neighbours(bonds, n_sites)
    found = []
    for site in range(n_sites):
        reached, edge = {site}, {site}
        for _ in range(up_to):
            edge = {n for s in edge for n in around[s]} - reached
            reached |= edge
        found += [(site, other) for other in sorted(reached) if other > site]
    return np.array(found, np.int64).reshape(-1, 2)


def _neighbours(bonds: Integers, n_sites: int) -> list[list[int]]:
    around: list[list[int]] = [[] for _ in range(n_sites)]
    for i, j in bonds.tolist():
        around[i].append(j)
        around[j].append(i)
    return [sorted(set(sites)) for sites in around]
