"""A small molecular system of known truth, written to disk in every format that is tested."""

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

MASSES = np.array([15.0, 14.0, 14.0, 15.0])
N_MOLECULES, N_FRAMES = 12, 24
BOX = np.array([2.0, 2.2, 2.4])  # [nm]


class Chains(NamedTuple):
    """Chains of four atoms, C1-C2-C3-C4, that wander through a periodic box."""

    whole: np.ndarray  # [frame atom 3], nm, molecules whole, not wrapped
    wrapped: np.ndarray  # [frame atom 3], nm, every atom wrapped by itself
    forces: np.ndarray  # [frame atom 3], kJ/mol/nm
    time: np.ndarray  # [frame], ps
    masses: np.ndarray  # [atom]
    bonds: np.ndarray  # [bond 2]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    folder = Path(__file__).parents[2].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the reference data are not here ({folder.name} folder next to the repository)")
    return folder


@pytest.fixture(scope="session")
def chains() -> Chains:
    rng = np.random.default_rng(11)
    start = rng.uniform(0, 1, (N_MOLECULES, 1, 3)) * BOX
    centre = start + np.cumsum(rng.normal(0, 0.1, (N_FRAMES, N_MOLECULES, 1, 3)), 0)
    hops = rng.normal(size=(N_FRAMES, N_MOLECULES, 4, 3))
    hops = (
        0.4 * hops / np.linalg.norm(hops, axis=-1, keepdims=True)
    )  # up to 1.2 nm long: more than half the box
    whole = (centre + np.cumsum(hops, 2)).reshape(N_FRAMES, -1, 3)
    first = 4 * np.arange(N_MOLECULES)[:, None]
    bonds = (first[:, None] + np.array([[0, 1], [1, 2], [2, 3]])).reshape(-1, 2)
    return Chains(
        whole=whole,
        wrapped=whole - BOX * np.floor(whole / BOX),
        forces=rng.normal(0, 100.0, whole.shape),
        time=2.0 * np.arange(N_FRAMES),
        masses=np.tile(MASSES, N_MOLECULES),
        bonds=bonds,
    )


@pytest.fixture(scope="session")
def chain_files(chains: Chains, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with chains.gro, .pdb, .data and the trajectory as .xtc, .trr, .dcd, .dump (LAMMPS real units)."""
    MDAnalysis = pytest.importorskip("MDAnalysis")
    folder = tmp_path_factory.mktemp("chains")
    n = len(chains.masses)
    universe = MDAnalysis.Universe.empty(
        n, n_residues=N_MOLECULES, atom_resindex=np.arange(n) // 4, trajectory=True, forces=True
    )
    universe.add_TopologyAttr("names", ["C1", "C2", "C3", "C4"] * N_MOLECULES)
    universe.add_TopologyAttr("types", ["1", "2", "2", "1"] * N_MOLECULES)
    universe.add_TopologyAttr("resnames", ["BUT"] * N_MOLECULES)
    universe.add_TopologyAttr("resids", np.arange(1, N_MOLECULES + 1))
    universe.add_TopologyAttr("masses", chains.masses)
    universe.add_TopologyAttr("bonds", [tuple(b) for b in chains.bonds])
    universe.dimensions = [*(10 * BOX), 90, 90, 90]

    def load(frame: int) -> None:
        universe.atoms.positions = 10 * chains.wrapped[frame]
        universe.atoms.forces = chains.forces[frame] / 10
        universe.trajectory.ts.time = chains.time[frame]
        universe.trajectory.ts.frame = frame

    load(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the PDB columns that a made-up system lacks
        for suffix in ("gro", "pdb"):
            universe.atoms.write(folder / f"chains.{suffix}")
    for suffix in ("xtc", "trr", "dcd"):
        with MDAnalysis.Writer(str(folder / f"chains.{suffix}"), n_atoms=n) as writer:
            for frame in range(N_FRAMES):
                load(frame)
                writer.write(universe.atoms)
    (folder / "chains.data").write_text(lammps_data(chains))
    (folder / "chains.dump").write_text(
        "".join(
            lammps_dump_frame(chains, f, np.random.default_rng(f).permutation(n)) for f in range(N_FRAMES)
        )
    )
    return folder


def lammps_data(chains: Chains) -> str:
    n, high = len(chains.masses), 10 * BOX
    atoms = "".join(
        f"{i + 1} {i // 4 + 1} {1 if i % 4 in (0, 3) else 2} 0.0 {x:.6f} {y:.6f} {z:.6f}\n"
        for i, (x, y, z) in enumerate(10 * chains.wrapped[0])
    )
    bonds = "".join(f"{k + 1} 1 {i + 1} {j + 1}\n" for k, (i, j) in enumerate(chains.bonds))
    return (
        f"chains of four\n\n{n} atoms\n{len(chains.bonds)} bonds\n2 atom types\n1 bond types\n\n"
        f"0.0 {high[0]} xlo xhi\n0.0 {high[1]} ylo yhi\n0.0 {high[2]} zlo zhi\n\n"
        f"Masses\n\n1 15.0\n2 14.0\n\nAtoms # full\n\n{atoms}\nBonds\n\n{bonds}"
    )


def lammps_dump_frame(chains: Chains, frame: int, order: np.ndarray, *, bounds: str = "pp pp pp") -> str:
    """One frame in real units, its atoms in any order, the box not at the origin."""
    low = np.array([-3.0, 1.0, 0.5])
    high = low + 10 * BOX
    box = "".join(f"{a:.9f} {b:.9f}\n" for a, b in zip(low, high, strict=True))
    positions = 10 * chains.wrapped[frame] + low
    forces = chains.forces[frame] / 10 / 4.184
    rows = "".join(
        f"{i + 1} {positions[i, 0]:.7f} {positions[i, 1]:.7f} {positions[i, 2]:.7f} "
        f"{forces[i, 0]:.8f} {forces[i, 1]:.8f} {forces[i, 2]:.8f} C\n"
        for i in order
    )
    return (
        f"ITEM: UNITS\nreal\nITEM: TIME\n{1000 * chains.time[frame]}\nITEM: TIMESTEP\n{frame}\n"
        f"ITEM: NUMBER OF ATOMS\n{len(order)}\nITEM: BOX BOUNDS {bounds}\n{box}"
        f"ITEM: ATOMS id x y z fx fy fz element\n{rows}"
    )
