"""Splines of the embedded atom and symmetry functions in the model file: from a table to a posterior."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from bayescg import physics
from bayescg.cli import main
from bayescg.inference import LinearLabels
from bayescg.output import PosteriorCalculator
from bayescg.physics import EmbeddedSplines, Johnson, LinearSymmetry, NeuralSymmetry, SymmetryFunctions
from bayescg.progress import SilentProgress
from bayescg.study import Study, stored_potentials
from bayescg.study._clock import StageClock
from bayescg.study._interatomic_build import build_interatomic, interatomic_priors
from bayescg.study._labelled_data import read_labelled
from bayescg.study._many_body_build import standardised
from bayescg.study._read import parse_model_file

SPECIES = ("Ag", "Cu")
EDGE = 4.2
FCC = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
NOISE = {"energy": 0.002, "forces": 0.02}  # eV per atom, eV/Å

HEAD = """\
title = "Silver and copper"
units = "metal"

[data]
configurations = ["alloy.extxyz"]

[noise.energy]
known = 0.002
[noise.forces]
known = 0.02

[inference]
warmup = 150
draws = 150
"""

JOHNSON = """\
kind = "johnson"
cohesion = [2.85, 3.54]
pair = [0.48, 0.59]
alpha = [5.92, 5.09]
beta = [5.96, 5.85]
gamma = [8.26, 8.0]
distance = [2.88, 2.56]
strength = [0.17, 0.3]
onset = 3.2
cutoff = 4.0
"""

SPLINES = """\
[potential.eam]
kind = "embedded-splines"
knots = [2.2, 2.6, 3.0, 3.4, 4.0]
density_knots = [0.0, 1.0, 3.0, 6.0]
"""

LINEAR = """\
[potential.bp]
kind = "linear-symmetry"
cutoff = 4.0
radial = [[1.0, 2.4], [1.0, 3.2]]
angular = [[0.05, 1.0, 1]]

[potential.offset]
kind = "species-energies"
energies = [0.0, 0.0]
"""

NEURAL = """\
[potential.net]
kind = "neural-symmetry"
cutoff = 4.0
n_radial = 2
zetas = [1]
hidden = 2
"""


def johnson() -> Johnson:
    return Johnson(
        [2.85, 3.54], [0.48, 0.59], [5.92, 5.09], [5.96, 5.85], [8.26, 8.0], [2.88, 2.56], [0.17, 0.3],
        onset=3.2, species=SPECIES, cutoff=4.0,
    )  # fmt: skip


def functions() -> SymmetryFunctions:
    return SymmetryFunctions(((1.0, 2.4), (1.0, 3.2)), ((0.05, 1.0, 1),), species=SPECIES, cutoff=4.0)


def batches_of(images: list[Atoms], cutoff: float, species: tuple[str, ...]) -> list[physics.Environments]:
    return physics.environments_of(
        [atoms.positions for atoms in images],
        [np.array([species.index(symbol) for symbol in atoms.symbols]) for atoms in images],
        np.stack([atoms.cell.array for atoms in images]),
        np.ones((len(images), 3), bool),
        cutoff,
        species=species,
    )


def predicted(potential: physics.InteratomicPotential, images: list[Atoms]) -> physics.Predictions:
    batches = batches_of(images, potential.cutoff, potential.species)
    compiled = jax.jit(physics.predict)
    return physics.in_data_order(batches, [compiled(potential, batch) for batch in batches])


def crystals(n: int, species: tuple[str, ...] = SPECIES) -> list[Atoms]:
    """Rattled cells of four atoms, at different volumes and compositions."""
    rng = np.random.default_rng(3)
    images = []
    for k in range(n):
        edge = EDGE * (0.96 + 0.02 * (k % 5))
        symbols = [species[int(i < k % 5) % len(species)] for i in range(4)]
        atoms = Atoms(symbols, positions=edge * FCC, cell=[edge] * 3, pbc=True)
        atoms.positions += rng.normal(0, 0.12, (4, 3))
        images.append(atoms)
    return images


def labelled(potential: physics.InteratomicPotential, n: int) -> list[Atoms]:
    """Crystals with a potential's energies and forces and some noise."""
    rng, images = np.random.default_rng(4), crystals(n, potential.species)
    found = predicted(potential, images)
    forces = np.asarray(found.forces).reshape(n, 4, 3)
    for atoms, energy, force in zip(images, np.asarray(found.energy), forces, strict=True):
        atoms.calc = SinglePointCalculator(
            atoms,
            energy=float(energy) + 4 * NOISE["energy"] * rng.normal(),
            forces=force + NOISE["forces"] * rng.normal(size=(4, 3)),
        )
    return images


def study(folder: Path, tables: str, images: list[Atoms]) -> Study:
    folder.mkdir()
    (folder / "model.toml").write_text(HEAD + tables)
    write(folder / "alloy.extxyz", images)
    return Study.from_file(folder)


def built(tables: str, species: tuple[str, ...] = SPECIES) -> physics.InteratomicPotential:
    """What the tables describe, without data."""
    path = Path("model.toml")
    return build_interatomic(parse_model_file(HEAD + tables, path), species, path=path)  # type: ignore[arg-type]


def one_draw(stack: physics.InteratomicPotential, k: int) -> physics.InteratomicPotential:
    return jax.tree.map(lambda leaf: leaf[k], stack)


def same_predictions(one: physics.InteratomicPotential, other: physics.InteratomicPotential) -> None:
    images = crystals(4)
    ours, theirs = predicted(one, images), predicted(other, images)
    for quantity in ("energy", "forces", "stress"):
        a, b = getattr(ours, quantity), getattr(theirs, quantity)
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
    assert np.abs(np.asarray(ours.forces)).max() > 1e-3


def rows(array: np.ndarray) -> str:
    return repr(np.asarray(array).tolist())


# The potential of a table is the one made in Python ---------------------------------------------------------


def splines_by_rows() -> tuple[str, physics.InteratomicPotential]:
    rng = np.random.default_rng(0)
    p, d, e = rng.normal(size=(3, 4)), rng.uniform(0.5, 1.5, (2, 4)), rng.normal(size=(2, 5))
    text = f"pair_coefficients = {rows(p)}\ndensity_coefficients = {rows(d)}\nembedding_coefficients = {rows(e)}\n"
    knots = {"knots": (2.2, 2.6, 3.0, 3.4, 4.0), "density_knots": (0.0, 1.0, 3.0, 6.0)}
    return SPLINES + text, EmbeddedSplines(p, d, e, **knots, species=SPECIES)


def splines_by_numbers() -> tuple[str, physics.InteratomicPotential]:
    text = "pair_coefficients = 0.1\ndensity_coefficients = 0.5\nembedding_coefficients = -0.2\n"
    made = EmbeddedSplines(
        np.full((3, 4), 0.1), np.full((2, 4), 0.5), np.full((2, 5), -0.2),
        knots=(2.2, 2.6, 3.0, 3.4, 4.0), density_knots=(0.0, 1.0, 3.0, 6.0), species=SPECIES,
    )  # fmt: skip
    return SPLINES + text, made


def splines_by_formula() -> tuple[str, physics.InteratomicPotential]:
    knots = {"knots": (2.2, 2.6, 3.0, 3.4, 4.0), "density_knots": (0.0, 1.0, 3.0, 6.0)}
    return SPLINES + "[potential.eam.start]\n" + JOHNSON, EmbeddedSplines.fitted(johnson(), **knots)


def linear_by_rows() -> tuple[str, physics.InteratomicPotential]:
    weights = np.random.default_rng(0).normal(size=(2, 7))
    text = LINEAR.replace(
        "\n[potential.offset]", f"weights = {rows(weights)}\ncentre = 0.5\nscale = 2.0\n\n[potential.offset]"
    )
    made = LinearSymmetry(weights, functions=functions(), centre=(0.5,) * 7, scale=(2.0,) * 7)
    return text, made


def network_from_a_seed() -> tuple[str, physics.InteratomicPotential]:
    spread = SymmetryFunctions.spread(species=SPECIES, cutoff=4.0, n_radial=2, zetas=(1,))
    text = NEURAL + f"seed = 7\nscale = {rows(np.arange(1.0, 11.0))}\ncentre = 0.0\n"
    made = NeuralSymmetry.random(
        jax.random.key(7), functions=spread, hidden=2, centre=(0.0,) * 10, scale=tuple(np.arange(1.0, 11.0))
    )
    return text, made


@pytest.mark.parametrize(
    "make",
    [splines_by_rows, splines_by_numbers, splines_by_formula, linear_by_rows, network_from_a_seed],
    ids=lambda make: make.__name__,
)
def test_a_table_says_what_python_makes(make):
    text, made = make()
    same_predictions(built(text), made)


def test_a_seed_gives_the_same_network_in_single_precision():
    double = NeuralSymmetry.random(jax.random.key(7), functions=functions(), hidden=3)
    with jax.enable_x64(False):
        single = NeuralSymmetry.random(jax.random.key(7), functions=functions(), hidden=3)
    np.testing.assert_allclose(single.weights1, double.weights1, rtol=1e-6)


def test_priors_of_networks_do_not_depend_on_the_seed():
    """Normal about 0, as wide as the random weights, and 1 for biases; tables change one array at a time."""
    path = Path("model.toml")
    text = HEAD + NEURAL + '\n[prior.net_weights3]\ndistribution = "normal"\nloc = 0.0\nscale = 5.0\n'
    model = parse_model_file(text, path)
    priors = interatomic_priors(model, built(NEURAL), path=path)  # type: ignore[arg-type]
    scales = {
        "weights1": 1 / np.sqrt(10),
        "bias1": 1.0,
        "weights2": 1 / np.sqrt(2),
        "bias2": 1.0,
        "weights3": 5.0,
    }
    for field, scale in scales.items():
        prior = priors[f"net_{field}"]
        assert isinstance(prior, dist.Normal) and float(prior.loc) == 0.0
        assert float(prior.scale) == pytest.approx(scale)


# Whole studies ----------------------------------------------------------------------------------------------


def test_a_linear_readout_has_the_posterior_of_the_closed_form(tmp_path):
    """Draws of the study against `LinearLabels`, and the stored potentials against one made in Python."""
    weights = 0.3 * np.random.default_rng(8).normal(size=(2, 5))
    few = SymmetryFunctions(((1.0, 2.8),), ((0.05, 1.0, 1),), species=SPECIES, cutoff=4.0)
    truth = LinearSymmetry(weights, functions=few) + physics.SpeciesEnergies([-2.0, -3.0], species=SPECIES)
    text = LINEAR.replace("[[1.0, 2.4], [1.0, 3.2]]", "[[1.0, 2.8]]")
    one = study(tmp_path / "study", text, labelled(truth, 30))
    tree = one.run(tmp_path / "out")

    loaded = one.pipeline.load(StageClock(SilentProgress()))
    closed = LinearLabels(loaded.prior, loaded.data).run()
    z = np.asarray(tree["unconstrained"]["z"])
    flat = z.reshape(-1, z.shape[-1])
    sd = np.sqrt(np.diag(closed.covariance))
    assert np.all(np.abs(np.asarray(tree["unconstrained"]["map"]) - closed.z) < 1e-3 * sd)
    # 600 draws, of which NUTS makes nearly as many independent ones
    assert np.all(np.abs(flat.mean(axis=0) - closed.z) < 5 * sd / np.sqrt(300))
    np.testing.assert_allclose(flat.std(axis=0), sd, rtol=0.2)
    np.testing.assert_allclose(np.corrcoef(flat.T), closed.covariance / np.outer(sd, sd), atol=0.25)

    # standardised by the training data: neither the file nor the draws hold it, the result does
    draws = stored_potentials(tmp_path / "out", 30)
    batches = batches_of([*read(one.path.parent / "alloy.extxyz", ":")], 4.0, SPECIES)
    centre, scale = physics.standardisation(few, batches)
    mean = draws.mean()
    made = LinearSymmetry(mean.terms[0].weights, functions=few, centre=centre, scale=scale)
    same_predictions(mean, made + mean.terms[1])
    fresh = crystals(6)
    exact, ours = predicted(truth, fresh), predicted(mean, fresh)
    np.testing.assert_allclose(ours.energy, exact.energy, atol=5 * NOISE["energy"])
    np.testing.assert_allclose(ours.forces, exact.forces, atol=2 * NOISE["forces"])


COPPER = (
    JOHNSON.replace("[2.85, 3.54]", "3.54").replace("[0.48, 0.59]", "0.59").replace("[5.92, 5.09]", "5.09")
    .replace("[5.96, 5.85]", "5.85").replace("[8.26, 8.0]", "8.0").replace("[2.88, 2.56]", "2.56")
    .replace("[0.17, 0.3]", "0.3")
)  # fmt: skip


def test_splines_learn_from_a_distorted_formula(tmp_path):
    """Start splines approach a formula with a wrong pair energy; held densities leave a linear problem."""
    start = SPLINES + 'vary = ["pair_coefficients", "embedding_coefficients"]\n[potential.eam.start]\n'
    truth = built(SPLINES + "[potential.eam.start]\n" + COPPER, ("Cu",))
    text = start + COPPER.replace("pair = 0.59", "pair = 0.50")
    tree = study(tmp_path / "study", text, labelled(truth, 30)).run(tmp_path / "out", quick=True)
    residual = tree["labels/train/forces"]["residual"].values
    assert np.sqrt(np.mean(residual**2)) == pytest.approx(NOISE["forces"], rel=0.15)
    assert tree["posterior"]["eam_pair_coefficients"].shape[2:] == (1, 4)
    assert "eam_density_coefficients" not in tree["posterior"]
    assert main(["export", str(tmp_path / "out"), "--draws", "2", "--to", str(tmp_path / "lammps")]) == 0
    assert list((tmp_path / "lammps").rglob("*.eam.alloy"))


@pytest.mark.parametrize("varies", ["weights3", pytest.param("all", marks=pytest.mark.slow)])
def test_a_network_learns_energies_and_forces(varies, tmp_path, refused):
    """The last layer alone, which is a linear model, or all weights."""
    truth = built("[potential.eam]\n" + COPPER, ("Cu",))
    hidden = 4 if varies == "weights3" else 1
    text = NEURAL.replace("zetas = [1]\nhidden = 2", f"zetas = []\nhidden = {hidden}")
    text += 'vary = ["weights3"]\n' if varies == "weights3" else ""
    text += '\n[potential.offset]\nkind = "species-energies"\nenergies = [-3.5]\n'
    tree = study(tmp_path / "study", text, labelled(truth, 12)).run(tmp_path / "out", quick=True)
    residual = tree["labels/train/energy"]["residual"].values
    energies = np.asarray(predicted(truth, crystals(12, ("Cu",))).energy) / 4
    assert np.std(residual) < 0.5 * np.std(energies)
    if varies == "all":
        assert tree["posterior"]["net_weights1"].shape[2:] == (1, 1, 2)
    else:
        assert (
            tree["posterior"]["net_weights3"].shape[2:] == (1, 4) and "net_weights1" not in tree["posterior"]
        )
    draws, (atoms,) = stored_potentials(tmp_path / "out", 3), crystals(1, ("Cu",))
    atoms.calc = PosteriorCalculator(draws)
    found = [float(predicted(one_draw(draws.stack, k), [atoms]).energy[0]) for k in range(3)]
    assert np.ptp(found) > 0.0
    assert atoms.get_potential_energy() == pytest.approx(np.mean(found), rel=1e-9)
    refused(["export", tmp_path / "out", "--to", tmp_path / "lammps"], "no pair style in LAMMPS")


def test_data_standardise_what_the_file_leaves_open(tmp_path):
    one = study(tmp_path / "study", LINEAR, labelled(johnson(), 6))
    data = read_labelled(one.model.data, path=one.path, units=one.units)
    term = standardised(built(LINEAR), data).terms[0]
    (batch,) = physics.environments(data, 4.0, n_widths=1)
    values = functions()(batch.vectors, batch.types, batch.neighbour_types)[np.asarray(batch.atom_index) >= 0]
    x = (values - jnp.asarray(term.centre)) / jnp.asarray(term.scale)
    np.testing.assert_allclose(x.mean(axis=0), 0.0, atol=1e-10)
    np.testing.assert_allclose(x.std(axis=0), 1.0, rtol=1e-8)


# What a table can get wrong ---------------------------------------------------------------------------------

CASES = {
    "no coefficients": (SPLINES, "key 'potential.eam'", "`pair_coefficients` is missing", "`start`"),
    "coefficients and a formula": (
        SPLINES + "pair_coefficients = 0.1\n[potential.eam.start]\n" + JOHNSON,
        "either coefficients or `start`",
    ),
    "a formula that varies": (
        SPLINES + '[potential.eam.start]\nvary = ["pair"]\n' + JOHNSON,
        "key 'potential.eam'",
        "no `vary`",
    ),
    "a formula that is incomplete": (
        SPLINES + "[potential.eam.start]\n" + JOHNSON.replace("onset = 3.2\n", ""),
        "key 'potential.eam.start.onset' is missing",
    ),
    "a formula of another kind": (
        SPLINES + "[potential.eam.start]\n" + JOHNSON.replace("johnson", "jonson"),
        "potential.eam.start.kind",
        "'johnson'",
    ),
    "a density of both species": (
        SPLINES
        + '[potential.eam.start]\nkind = "finnis-sinclair"\ncutoff = 4.5\nA = 1.9\nd = [4.4, 4.2, 4.0]\nc = 3.25\n'
        + "c0 = 47.0\nc1 = -33.8\nc2 = 6.25\n",
        "key 'potential.eam'",
        "depends on both species",
    ),
    "densities of zero": (
        SPLINES + "pair_coefficients = 0.1\ndensity_coefficients = 0.0\nembedding_coefficients = 0.1\n",
        "`density_coefficients` must be above 0",
    ),
    "rows that do not fit": (
        SPLINES + "pair_coefficients = 0.1\ndensity_coefficients = 0.2\nembedding_coefficients = [[0.1]]\n",
        "`embedding_coefficients` has shape (1, 1)",
        "(2, 5)",
    ),
    "ragged rows": (
        SPLINES
        + "pair_coefficients = [[0.1], [0.1, 0.2]]\ndensity_coefficients = 0.2\nembedding_coefficients = 0.1\n",
        "key 'potential.eam'",
        "rows of different lengths",
    ),
    "a text among coefficients": (
        SPLINES + 'pair_coefficients = "a"\ndensity_coefficients = 0.2\nembedding_coefficients = 0.1\n',
        "key 'potential.eam.pair_coefficients': found 'a', expected a number",
    ),
    "one knot": (SPLINES.replace("[0.0, 1.0, 3.0, 6.0]", "[0.0]"), "potential.eam.density_knots", "at least 2 entries"),
    "no functions": (
        LINEAR.replace("radial = [[1.0, 2.4], [1.0, 3.2]]\nangular = [[0.05, 1.0, 1]]\n", ""),
        "key 'potential.bp'",
        "either `radial` and `angular`",
    ),
    "functions twice": (LINEAR.replace("cutoff = 4.0", "cutoff = 4.0\nn_radial = 3"), "not both or none"),
    "three numbers of a radial function": (
        LINEAR.replace("[1.0, 2.4]", "[1.0, 2.4, 3.0]"),
        "key 'potential.bp.radial[0]'",
        "at most 2 entries",
    ),
    "a lambda that is none": (LINEAR.replace("[0.05, 1.0, 1]", "[0.05, 0.5, 1]"), "lambda 0.5", "must be ±1"),
    "half a zeta": (LINEAR.replace("1.0, 1]", "1.0, 1.5]"), "key 'potential.bp.angular[0][2]'", "a whole number"),
    "centres without spread functions": (
        LINEAR.replace("cutoff = 4.0", "cutoff = 4.0\nzetas = [1]"),
        "belong to `n_radial`",
    ),
    "an inner centre outside": (
        NEURAL.replace("n_radial = 2", "n_radial = 2\ninner = 5.0"),
        "inner (5) must be below cutoff (4)",
    ),
    "weights that do not fit": (
        LINEAR.replace("cutoff = 4.0", "cutoff = 4.0\nweights = [[1.0]]"),
        "`weights` has shape (1, 1)",
        "(2, 7)",
    ),
    "scales that do not fit": (
        LINEAR.replace("cutoff = 4.0", "cutoff = 4.0\nscale = [1.0, 2.0]"),
        "need 7 entries each",
    ),
    "a scale of zero": (
        LINEAR.replace("cutoff = 4.0", "cutoff = 4.0\nscale = 0.0"),
        "key 'potential.bp.scale': found 0.0, expected a number above 0",
    ),
    "no size of the layers": (NEURAL.replace("hidden = 2\n", ""), "key 'potential.net.hidden' is missing"),
    "weights that a network does not have": (
        NEURAL + 'vary = ["weights"]\n',
        "key 'potential.net.vary'",
        "choose from weights1, bias1",
    ),
    "an unknown key": (NEURAL + "layers = 3\n", "unknown key 'potential.net.layers'"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_bad_tables(case, tmp_path, refused):
    text, *words = CASES[case]
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "model.toml").write_text(HEAD + text)
    write(folder / "alloy.extxyz", labelled_once())
    refused(["run", folder, "-o", tmp_path / "out"], str(folder / "model.toml"), *words)


def labelled_once() -> list[Atoms]:
    """Crystals with labels that mean nothing."""
    images = crystals(5)
    for atoms in images:
        atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.zeros((4, 3)))
    return images
