"""Small studies written into a temporary folder: sites that rattle about a lattice, as frames or atomistic files."""

from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from bayescg.cli import main
from bayescg.data import (
    Frames,
    Mapping,
    State,
    Topology,
    get_unit_system,
    open_trajectory,
    read_all,
    write_frames,
)
from bayescg.physics import LennardJones

SITES_PER_EDGE, EDGE, CUTOFF, TEMPERATURE = 3, 6.0, 2.5, 1.5

LJ_MODEL = """\
title = "A small Lennard-Jones fluid"
units = "lj"
temperature = 1.5

[data]
frames = ["frames.nc"]

[potential.fluid]
kind = "lennard-jones"
epsilon = 0.8
sigma = 1.05
cutoff = 2.5

[simulation]
time_step = 0.005
friction = 1.0
stride = 20
replicas = 16
"""

RAW_MODEL = """\
title = "Atomistic files"
units = "gromacs"
temperature = 300.0

[data.raw]
topology = "atoms.gro"
trajectories = ["atoms.xtc"]

[mapping]
by = "residue"
center = "geometry"

[potential.fluid]
kind = "lennard-jones"
epsilon = 1.0
sigma = 0.3
cutoff = 0.9

[simulation]
time_step = 0.002
friction = 5.0
stride = 20
replicas = 16
"""


def lattice(n_frames: int, *, seed: int = 1, spread: float = 0.06) -> np.ndarray:
    """Sites that rattle independently about a simple cubic lattice [frame site 3]."""
    rng = np.random.default_rng(seed)
    sites = np.stack(np.meshgrid(*[np.arange(SITES_PER_EDGE)] * 3), axis=-1).reshape(-1, 3) * 1.12
    return sites + 0.5 + spread * rng.normal(size=(n_frames, len(sites), 3))


def make_frames(
    n_frames: int,
    *,
    edge: float = EDGE,
    seed: int = 1,
    spread: float = 0.06,
    trajectory: np.ndarray | None = None,
) -> Frames:
    """Frames with the forces of a Lennard-Jones fluid."""
    positions = lattice(n_frames, seed=seed, spread=spread)
    potential = LennardJones(1.0, 0.9, cutoff=CUTOFF)
    forces = jax.jit(jax.vmap(lambda x: potential.forces(x, jnp.full(3, edge))))(positions)
    n_sites = positions.shape[1]
    return Frames(
        positions,
        np.full(3, edge),
        Topology(("A",) * n_sites, np.ones(n_sites)),
        State(TEMPERATURE),
        get_unit_system("lj"),
        forces=np.asarray(forces),
        trajectory=np.zeros(n_frames, int) if trajectory is None else trajectory,
    )


@pytest.fixture(scope="session")
def frames() -> Frames:
    return make_frames(60)


@pytest.fixture(scope="session", name="make_frames")
def _make_frames() -> Callable[..., Frames]:
    return make_frames


@pytest.fixture
def study(tmp_path: Path, frames: Frames) -> Callable[..., Path]:
    """Writes a study folder: `study({"temperature = 1.5": "temperature = -1"})` with a change in the model file."""
    folder = tmp_path / "study"

    def write(
        changes: dict[str, str] | None = None, *, model: str = LJ_MODEL, data: Frames | None = frames
    ) -> Path:
        folder.mkdir()
        for old, new in (changes or {}).items():
            assert model.count(old) == 1, f"{old!r} is not in the model file exactly once"
            model = model.replace(old, new)
        (folder / "model.toml").write_text(model)
        if data is not None:
            write_frames(data, folder / "frames.nc")
        return folder

    return write


@pytest.fixture
def raw_study(tmp_path: Path) -> Callable[..., Path]:
    """A study of 27 one-atom molecules in a gro and an xtc file."""

    def write(changes: dict[str, str] | None = None, *, n_frames: int = 30, topology_atoms: int = 27) -> Path:
        mda = pytest.importorskip(
            "MDAnalysis", reason="reading atomistic files needs it: pip install MDAnalysis"
        )
        folder = tmp_path / "raw"
        folder.mkdir()
        positions = lattice(n_frames) * 5.0  # [angstrom]
        for n, name in ((topology_atoms, "atoms.gro"), (positions.shape[1], "atoms.xtc")):
            universe = mda.Universe.empty(n, n_residues=n, atom_resindex=np.arange(n), trajectory=True)
            for attribute, values in (
                ("name", ["O"] * n),
                ("resname", ["O"] * n),
                ("resid", range(1, n + 1)),
            ):
                universe.add_TopologyAttr(attribute, list(values))
            universe.dimensions = [30.0, 30.0, 30.0, 90.0, 90.0, 90.0]
            if name.endswith(".gro"):
                universe.atoms.positions = np.resize(positions[0], (n, 3))
                universe.atoms.write(str(folder / name))
                continue
            with mda.Writer(str(folder / name), n) as writer:
                for number, frame in enumerate(positions):
                    universe.atoms.positions = frame
                    universe.trajectory.ts.time = float(number)
                    writer.write(universe.atoms)
        model = RAW_MODEL
        for old, new in (changes or {}).items():
            assert model.count(old) == 1
            model = model.replace(old, new)
        (folder / "model.toml").write_text(model)
        return folder

    return write


@pytest.fixture
def refused(tmp_path: Path, capsys) -> Callable[..., str]:
    """Runs a command that must fail in one line with all these words, and that must change no file."""

    def run(arguments: list[str | Path], *words: str) -> str:
        capsys.readouterr()
        before = contents(tmp_path)
        assert main([str(a) for a in arguments]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        message = one_error_line(err)
        for word in words:
            assert word in message, f"{word!r} is not in: {message}"
        assert contents(tmp_path) == before
        return message

    return run


def contents(folder: Path) -> dict[str, bytes]:
    """Every file's bytes."""
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def one_error_line(err: str) -> str:
    """The last line; those before it tell stages."""
    lines = [line for line in err.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("bayescg: error: ")]
    assert errors == lines[-1:], err
    assert "Traceback" not in err
    return errors[0]


@pytest.fixture
def compared_study(raw_study) -> Callable[..., Path]:
    """A study of mapped frames that names the atomistic files of `raw_study` in `[data.compare]`."""

    def write(
        changes: dict[str, str] | None = None,
        *,
        n_frames: int = 60,
        change: Callable[[Frames], Frames] = lambda frames: frames,
    ) -> Path:
        folder = raw_study(
            {"[data.raw]": '[data]\nframes = ["mapped.nc"]\n\n[data.compare]', **(changes or {})},
            n_frames=n_frames,
        )
        source = open_trajectory(
            folder / "atoms.gro",
            [folder / "atoms.xtc"],
            units=get_unit_system("gromacs"),
            temperature=300.0,
            mapping=Mapping.by_group("residue", "geometry"),
        )
        write_frames(change(read_all(source)), folder / "mapped.nc")
        return folder

    return write


@pytest.fixture
def labelled_study(tmp_path: Path) -> Callable[..., Path]:
    """Writes the folder of a study of labelled configurations: `labelled_study(text, file, images, changes)`.

    The changes replace parts of the model file's text, each of which must stand there once.
    """
    folder = tmp_path / "study"
    folder.mkdir()

    def make(text: str, file: str, images: Sequence[Atoms], changes: dict[str, str] | None = None) -> Path:
        for old, new in (changes or {}).items():
            assert text.count(old) == 1, f"{old!r} is not in the model file exactly once"
            text = text.replace(old, new)
        (folder / "model.toml").write_text(text)
        write(folder / file, list(images))
        return folder

    return make
