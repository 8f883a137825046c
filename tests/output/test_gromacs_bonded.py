"""Bonded tables for GROMACS: columns by the manual's rules, and energies, forces and averages of GROMACS itself."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import CubicHermiteSpline

from bayescg.data import get_unit_system
from bayescg.errors import InputError
from bayescg.output import (
    DihedralTables,
    dihedral_angles,
    export_gromacs_dihedrals,
    read_manifest,
    write_gromacs_bonded_table,
)
from bayescg.physics import AngleFourier
from tests.output import engine_pythons as pythons

REAL, GROMACS = get_unit_system("real"), get_unit_system("gromacs")
TOPOLOGY = """\
#include "dihedral.itp"
[ defaults ]
1 1 no
[ atomtypes ]
A 12.0 0.0 A 0.0 0.0
[ moleculetype ]
CHAIN 3
[ atoms ]
1 A 1 CHAIN A 1 0.0 12.0
2 A 1 CHAIN A 2 0.0 12.0
3 A 1 CHAIN A 3 0.0 12.0
4 A 1 CHAIN A 4 0.0 12.0
[ bonds ]
1 2 8 0 1.0
2 3 8 0 1.0
3 4 8 0 1.0
[ angles ]
1 2 3 8 0 1.0
2 3 4 8 0 1.0
[ dihedrals ]
1 2 3 4 8 bayescg_dihedral
[ system ]
chain
[ molecules ]
CHAIN 1
"""
CUTOFFS = "rcoulomb = 1.0\nrvdw = 1.0\ncoulombtype = cut-off\nverlet-buffer-tolerance = -1\nrlist = 1.2\n"
TERMS = {
    "bond": ("Tab. Bonds", lambda r: 300.0 * (r - 1.5) ** 2 - 40.0 * (r - 1.5) ** 3),
    "angle": ("Tab. Angles", lambda t: 50.0 * (t - 1.9) ** 2 + 3.0 * jnp.sin(t)),
    "dihedral": ("Tab. Dih.", lambda p: -0.7 * jnp.cos(p) - 0.4 * jnp.cos(2.0 * p) + 0.3 * jnp.sin(p)),
}
"""Energies [kcal/mol] of lengths [angstrom] and angles [rad]; the last is not symmetric, so that its sign counts."""


def chain(lengths: np.ndarray, angles: np.ndarray, dihedral: float) -> np.ndarray:
    """Four sites [site 3]."""
    a, b = np.zeros(3), np.array([lengths[0], 0.0, 0.0])
    c = b + lengths[1] * np.array([-np.cos(angles[0]), np.sin(angles[0]), 0.0])
    axis = (c - b) / np.linalg.norm(c - b)
    normal = np.array([0.0, 0.0, 1.0])
    across = np.cross(normal, axis)
    turned = np.cos(dihedral) * across + np.sin(dihedral) * normal
    return np.array([a, b, c, c + lengths[2] * (-np.cos(angles[1]) * axis + np.sin(angles[1]) * turned)])


def energies(x: jax.Array) -> jax.Array:
    """The three terms of four sites [angstrom], in kcal/mol."""
    u, v, w = x[1] - x[0], x[2] - x[1], x[3] - x[2]
    lengths = [jnp.linalg.norm(a) for a in (u, v, w)]
    bends = [jnp.arccos(-(a @ b) / (jnp.linalg.norm(a) * jnp.linalg.norm(b))) for a, b in ((u, v), (v, w))]
    first, second = jnp.cross(u, v), jnp.cross(v, w)
    dihedral = jnp.arctan2(lengths[1] * (u @ second), first @ second)
    values = {"bond": lengths, "angle": bends, "dihedral": [dihedral]}
    return jnp.stack([sum(map(energy, values[kind])) for kind, (_, energy) in TERMS.items()])


def gro(frames: np.ndarray) -> str:
    """Frames [nm] in a box of 5 nm."""
    lines = []
    for k, x in enumerate(frames):
        lines += [f"t= {k:.3f}", "4"]
        lines += [
            f"{1:5d}CHAIN{'A':>5}{i + 1:5d}" + "".join(f"{c:14.9f}" for c in y) for i, y in enumerate(x)
        ]
        lines.append(" 5.0 5.0 5.0")
    return "\n".join(lines) + "\n"


def read_back(path: Path, x: np.ndarray) -> np.ndarray:
    """Energies as GROMACS interpolates them, of lengths [nm] or angles [degree]."""
    table = np.loadtxt(path)
    return CubicHermiteSpline(table[:, 0], table[:, 1], -table[:, 2])(x)


@pytest.mark.parametrize(
    ("kind", "first", "last", "unit"),
    [("bond", 0.0, 0.4, 10.0), ("angle", 0.0, 180.0, np.pi / 180), ("dihedral", -180.0, 180.0, np.pi / 180)],
)
def test_the_cubic_between_rows_is_the_potential(kind, first, last, unit, tmp_path):
    longest = 4.0 if kind == "bond" else None
    energy = TERMS[kind][1]
    path = write_gromacs_bonded_table(tmp_path, energy, kind=kind, number=3, units=REAL, longest=longest)
    assert path.name == f"table_{kind[0]}3.xvg"
    table = np.loadtxt(path)
    assert (table[0, 0], table[-1, 0]) == (first, last)
    np.testing.assert_allclose(np.diff(table[:, 0]), table[1, 0] - table[0, 0], rtol=1e-9)
    x = np.random.default_rng(1).uniform(first, last, 200)
    expected = 4.184 * np.asarray(energy(x * unit))
    np.testing.assert_allclose(read_back(path, x), expected, atol=1e-9 * np.abs(expected).max())


def test_32_bit_numbers_are_refused(tmp_path):
    """They would be off in the sixth digit."""
    jax.config.update("jax_enable_x64", False)
    try:
        with pytest.raises(InputError, match="bonded table: needs 64-bit numbers") as caught:
            write_gromacs_bonded_table(tmp_path, jnp.cos, kind="dihedral", units=REAL)
    finally:
        jax.config.update("jax_enable_x64", True)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Two draws of an angle's potential in reduced units at kT* = 2, for 300 K."""
    phi = jnp.asarray(dihedral_angles())
    draws = [AngleFourier(1.5, -0.8), AngleFourier(0.5, 2.0)]
    curves = [
        jax.vmap(jax.value_and_grad(lambda a, u=u: u.energy(a[None, None], jnp.full(1, jnp.inf))))(phi)
        for u in draws
    ]
    energy, slope = (np.array([np.asarray(c[k]) for c in curves]) for k in (0, 1))
    tables = DihedralTables(
        energy.mean(0), slope.mean(0), energy, slope, ["0:3", "1:7"], 2.0, get_unit_system("lj"), {"seed": 1}
    )
    folder = tmp_path_factory.mktemp("gromacs") / "gromacs"
    export_gromacs_dihedrals(tables, folder, temperature=300.0)
    return draws, folder


def test_draws_of_an_angle_keep_their_energy_over_kt(exported):
    draws, folder = exported
    angle = np.linspace(-179.7, 179.9, 50)
    for name, potentials in (("mean", draws), ("draw_001", draws[1:])):
        found = read_back(folder / name / "table_d0.xvg", angle) / GROMACS.kT(300.0)
        kappa = np.mean([[p.kappa1, p.kappa2] for p in potentials], axis=0)
        expected = -(kappa[0] * np.cos(np.radians(angle)) + kappa[1] * np.cos(2 * np.radians(angle))) / 2.0
        np.testing.assert_allclose(found, expected, atol=1e-9)
    manifest = read_manifest(folder)
    assert [one.draw for one in manifest.draws] == ["0:3", "1:7"] and manifest.plan is None
    assert json.loads((folder / "manifest.json").read_text())["temperature_of_reduced_units"] == 300.0
    assert "#define bayescg_dihedral 0 1.0" in (folder / "dihedral.itp").read_text().splitlines()


def test_gromacs_has_the_energies_and_forces_of_the_potentials(tmp_path):
    """25 chains of random bond lengths and bends, the dihedral once around; GROMACS works in single precision."""
    pythons.gmx_command()
    pyedr = pytest.importorskip("pyedr", reason="pyedr is not installed: pip install pyedr")
    from MDAnalysis.coordinates.TRR import TRRReader

    rng = np.random.default_rng(0)
    around = np.linspace(-np.pi, np.pi, 25) * (1 - 1e-6)
    x = np.array([chain(rng.uniform(0.13, 0.17, 3), rng.uniform(1.6, 2.2, 2), phi) for phi in around]) + 2.0
    (tmp_path / "frames.gro").write_text(gro(x))
    (tmp_path / "start.gro").write_text(gro(x[:1]))
    (tmp_path / "dihedral.itp").write_text("#define bayescg_dihedral 0 1.0\n")
    (tmp_path / "topol.top").write_text(TOPOLOGY)
    (tmp_path / "run.mdp").write_text("nsteps = 0\nnstenergy = 1\nnstxout = 1\nnstfout = 1\n" + CUTOFFS)
    tables = [
        write_gromacs_bonded_table(tmp_path, u, kind=kind, units=REAL, longest=3.0 if kind == "bond" else None).name
        for kind, (_, u) in TERMS.items()
    ]  # fmt: skip
    pythons.run_gmx(
        tmp_path, "grompp", "-f", "run.mdp", "-c", "start.gro", "-p", "topol.top", "-o", "run.tpr"
    )
    pythons.run_gmx(
        tmp_path, "mdrun", "-s", "run.tpr", "-rerun", "frames.gro", "-tableb", *tables, "-e", "energy.edr", "-o", "f.trr"
    )  # fmt: skip
    found, written = pyedr.edr_to_dict(str(tmp_path / "energy.edr")), 10.0 * jnp.asarray(x)
    expected = 4.184 * np.asarray(jax.jit(jax.vmap(energies))(written))
    slope = jax.jit(jax.vmap(jax.grad(lambda y: energies(y).sum())))
    forces = -4.184 * np.asarray(slope(written))
    for k, (name, _) in enumerate(TERMS.values()):
        np.testing.assert_allclose(
            found[name], expected[:, k], rtol=2e-5, atol=2e-6 * np.abs(expected).max(), err_msg=name
        )
    with TRRReader(str(tmp_path / "f.trr")) as reader:
        theirs = np.array([frame.forces.copy() for frame in reader])  # kJ/mol/angstrom
    np.testing.assert_allclose(theirs, forces, atol=2e-5 * np.abs(forces).max())


def test_a_chain_in_gromacs_samples_the_exported_angle(exported, tmp_path):
    """⟨βU⟩ over a Langevin run of each draw against the integral over the angle, within four standard errors."""
    pythons.gmx_command()
    pyedr = pytest.importorskip("pyedr", reason="pyedr is not installed: pip install pyedr")
    draws, folder = exported
    (tmp_path / "dihedral.itp").write_text((folder / "dihedral.itp").read_text())
    (tmp_path / "start.gro").write_text(gro(chain(np.full(3, 0.15), np.full(2, 1.9), 1.0)[None] + 2.0))
    (tmp_path / "topol.top").write_text(TOPOLOGY)
    for kind in ("bond", "angle"):
        longest = 3.0 if kind == "bond" else None
        write_gromacs_bonded_table(tmp_path, TERMS[kind][1], kind=kind, units=REAL, longest=longest)
    steps = 300_000
    bath = "integrator = sd\ndt = 0.002\ntc-grps = system\ntau-t = 0.2\nref-t = 300\ncomm-mode = none\n"
    (tmp_path / "run.mdp").write_text(
        f"nsteps = {steps}\nnstenergy = 100\nnstcalcenergy = 100\n{bath}gen-vel = yes\ngen-temp = 300\nld-seed = 3\n{CUTOFFS}"
    )
    pythons.run_gmx(
        tmp_path, "grompp", "-f", "run.mdp", "-c", "start.gro", "-p", "topol.top", "-o", "run.tpr"
    )
    angle = np.linspace(-np.pi, np.pi, 2000, endpoint=False)
    for k, draw in enumerate(draws):
        (tmp_path / "table_d0.xvg").write_text((folder / f"draw_00{k}" / "table_d0.xvg").read_text())
        pythons.run_gmx(
            tmp_path, "mdrun", "-s", "run.tpr", "-tableb", *(f"table_{c}0.xvg" for c in "bad"), "-e", f"{k}.edr"
        )  # fmt: skip
        rows = pyedr.edr_to_dict(str(tmp_path / f"{k}.edr"))["Tab. Dih."][100:] / GROMACS.kT(300.0)
        energy = -(draw.kappa1 * np.cos(angle) + draw.kappa2 * np.cos(2 * angle)) / 2.0
        expected = np.average(energy, weights=np.exp(-energy))
        blocks = rows[: len(rows) // 20 * 20].reshape(20, -1).mean(1)
        error = blocks.std(ddof=1) / np.sqrt(20)
        assert error < 0.05 and abs(rows.mean() - expected) < 4 * error


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"units": get_unit_system("lj")}, "reduced units"),
        ({"kind": "improper"}, "is unknown"),
        ({"kind": "bond"}, "bonds need it"),
        ({"longest": 3.0}, "bonds need it"),
        ({"kind": "bond", "longest": -1.0}, "positive length"),
        ({"kind": "bond", "longest": 3.0, "energy": lambda r: 1.0 / r}, "inf .* at 0 nm"),
        ({"energy": lambda p: p}, "one angle"),
        ({"rows": 4}, "too few"),
    ],
)
def test_what_is_no_bonded_table(change, words, tmp_path):
    arguments = {"kind": "dihedral", "units": REAL, "energy": jnp.cos} | change
    with pytest.raises(InputError, match=words) as error:
        write_gromacs_bonded_table(tmp_path, arguments.pop("energy"), **arguments)
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


def test_a_temperature_belongs_to_reduced_units(exported, tmp_path):
    phi = dihedral_angles()
    tables = DihedralTables(np.cos(phi), -np.sin(phi), np.cos(phi)[None], -np.sin(phi)[None], ["0:0"], 0.6, REAL, {})  # fmt: skip
    with pytest.raises(InputError, match="needs none"):
        export_gromacs_dihedrals(tables, tmp_path / "a", temperature=300.0)
    with pytest.raises(InputError, match="stands for"):
        export_gromacs_dihedrals(tables._replace(units=get_unit_system("lj")), tmp_path / "a")
    export_gromacs_dihedrals(tables, tmp_path / "a")
    assert read_back(tmp_path / "a" / "mean" / "table_d0.xvg", np.zeros(1)) == pytest.approx(4.184)
