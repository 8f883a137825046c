"""The model file: what each table means, its defaults, and that the documents' snippets are real ones."""

import re
import tomllib
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from bayescg.data import Bead, Mapping, Topology, get_unit_system
from bayescg.errors import InputError
from bayescg.inference import Posterior
from bayescg.physics import (
    DoubleWell,
    LennardJones,
    SplinePair,
    SufficientStatistics,
    SumPotential,
    WeeksChandlerAndersen,
)
from bayescg.study import LabelledModelFile, ModelFile, read_model_file
from bayescg.study._build import build_potential, build_prior
from bayescg.study._interatomic_build import build_interatomic, interatomic_priors
from bayescg.study._read import parse_model_file
from bayescg.study._result import Loaded
from bayescg.study._samplers import sampler_choice
from bayescg.study._sources import build_mapping

ROOT = Path(__file__).resolve().parents[2]
HERE = Path("model.toml")

HEAD = """\
title = "t"
units = "lj"
temperature = 1.5
[data]
frames = ["frames.nc"]
[simulation]
time_step = 0.005
friction = 1.0
stride = 20
"""
WELL = '[potential.well]\nkind = "double-well"\nt1 = 1.0\nt2 = 1.0\n'
SPLINE = """\
[potential.water]
kind = "spline"
inner = 0.8
cutoff = 2.4
spacing = 0.2
core_distance = 0.85
core_strength = 10.0
"""


def model_of(text: str) -> ModelFile:
    return parse_model_file(HEAD + text, HERE)


@pytest.mark.parametrize("folder", sorted((ROOT / "models").iterdir()), ids=lambda path: path.name)
def test_every_model_of_the_repository_is_valid(folder):
    model, text = read_model_file(folder / "model.toml")
    assert text == (folder / "model.toml").read_text()
    if isinstance(model, LabelledModelFile):
        files = [name for name in model.data.configurations if "$" not in name]
        assert all((folder / name).is_file() for name in files)
        (symbol,) = {table.symbols for table in model.property.values()} or {"X"}
        potential = build_interatomic(model, (symbol,), path=HERE)
        assert interatomic_priors(model, potential, path=HERE).keys() == potential.parameter_values().keys()
        return
    assert all((folder / file).is_file() for file in model.data.frames)
    build_prior(model, build_potential(model, path=HERE), get_unit_system(model.units), path=HERE)


LABELLED = {
    "title": 'title = "t"',
    "units": 'units = "metal"',
    "data": 'data = { configurations = ["x.extxyz"], use = ["energy"] }',
    "noise": "noise = { energy = { known = 0.1 } }",
    "potential": 'potential = { offset = { kind = "species-energies", energies = [0.0] } }',
}
"""What a snippet of a labelled model file may leave out."""


@pytest.mark.parametrize("document", ["README.md", "docs/index.md", "docs/interatomic.md"])
def test_snippets_of_the_documents_are_valid(document):
    """What a snippet leaves out of a whole model file is put around it."""
    snippets = re.findall(r"^```toml\n(.*?)^```", (ROOT / document).read_text(), re.S | re.M)
    assert snippets
    for snippet in snippets:
        tables = tomllib.loads(snippet)
        if document == "docs/interatomic.md" or "configurations" in tables.get("data", {}):
            around = "".join(f"{text}\n" for key, text in LABELLED.items() if key not in tables)
            model = parse_model_file(around + snippet, Path(document))
            charges = [getattr(table, "charges", ()) for table in model.potential.values()]
            species = tuple(sorted({symbol for named in charges for symbol in named})) or ("Si",)
            assert build_interatomic(model, species, path=HERE).parameters()
            continue
        parts = [
            "" if "title" in tables else 'title = "t"\nunits = "gromacs"\ntemperature = 300.0\n',
            snippet,
            "" if "data" in tables else '[data]\nframes = ["f.nc"]\n',
            "" if "potential" in tables else WELL,
            ""
            if "simulation" in tables
            else "[simulation]\ntime_step = 0.005\nfriction = 1.0\nstride = 20\n",
        ]
        parse_model_file("".join(parts), Path(document))


def test_defaults():
    model = model_of(WELL)
    assert (model.data.start, model.data.stop, model.data.stride) == (0, None, 1)
    assert (model.mapping.by, model.mapping.center, model.mapping.selection) == ("residue", "mass", "all")
    assert (model.simulation.replicas, model.simulation.equilibration) == (16, 10)
    assert model.inference.start == "score-matching"
    assert (model.inference.chains, model.inference.draws, model.inference.max_rounds) == (4, 500, 5)
    assert (model.prediction.rdf_bin, model.prediction.draws) == (0.01, 400)
    assert model.prior == {} and model.data.compare is None


def test_a_model_file_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        model_of(WELL).temperature = 2.0


def test_spline():
    potential = build_potential(model_of(SPLINE), path=HERE)
    assert isinstance(potential, SplinePair) and potential.name == "water"
    assert (potential.knots[0], potential.cutoff, len(potential.knots)) == (0.8, 2.4, 9)
    assert (potential.core_distance, potential.core_strength) == (0.85, 10.0)
    graded = build_potential(model_of(SPLINE + "outer_spacing = 0.4\n"), path=HERE)
    steps = np.diff(graded.knots)
    assert np.all(np.diff(steps) > 0) and steps[0] == pytest.approx(0.2, rel=0.2)


def test_lennard_jones_conventions():
    text = '[potential.a]\nkind = "lennard-jones"\nepsilon = 0.5\nsigma = 1.1\ncutoff = 2.5\n'
    shifted = build_potential(model_of(text), path=HERE)
    assert isinstance(shifted, LennardJones) and shifted.convention == "shifted"
    assert float(shifted.epsilon) == 0.5 and float(shifted.sigma) == pytest.approx(1.1)
    truncated = build_potential(model_of(text + 'convention = "truncated"\n'), path=HERE)
    assert truncated.convention == "shifted", "dynamics with truncated forces sample the shifted potential"
    smooth = build_potential(model_of(text + 'convention = "smooth"\nonset = 2.0\n'), path=HERE)
    assert (smooth.convention, smooth.onset) == ("smooth", 2.0)
    for wrong in ("onset = 2.0\n", 'convention = "smooth"\nonset = 2.6\n', 'convention = "cut"\n'):
        with pytest.raises(InputError, match=r"key 'potential\.a"):
            model_of(text + wrong)


def test_wca_and_double_well_and_their_sum():
    text = (
        '[potential.core]\nkind = "wca"\nepsilon = 1.0\nsigma = 1.0\ninner = 0.7\ncutoff = 1.5\nnodes = 64\n'
    )
    wca = build_potential(model_of(text), path=HERE)
    assert isinstance(wca, WeeksChandlerAndersen) and wca.n_nodes == 64
    total = build_potential(model_of(text + WELL), path=HERE)
    assert isinstance(total, SumPotential)
    assert isinstance(total.terms[1], DoubleWell)
    assert [info.name for info in total.parameters()] == ["core_epsilon", "core_sigma", "well_t1", "well_t2"]
    with pytest.raises(InputError, match=r"key 'potential\.core': inner \(2\) must be below cutoff \(1\.5\)"):
        model_of(text.replace("inner = 0.7", "inner = 2.0"))


MEANS = {
    "normal": ("well_t1", "loc = 1.0\nscale = 2.0", 1.0),
    "lognormal": ("well_t2", "loc = 0.0\nscale = 0.5", 1.133148),
    "halfnormal": ("well_t2", "scale = 2.0", 1.595769),
    "gamma": ("well_t2", "concentration = 3.0\nrate = 2.0", 1.5),
    "uniform": ("well_t2", "low = 0.5\nhigh = 1.5", 1.0),
    "truncated-normal": ("well_t2", "loc = 1.0\nscale = 2.0\nlow = 0.0", 2.018318),
    "exponential": ("well_t2", "rate = 2.0", 0.5),
}


@pytest.mark.parametrize("name", MEANS)
def test_distributions_mean_what_their_names_say(name):
    parameter, numbers, mean = MEANS[name]
    text = f'[prior.{parameter}]\ndistribution = "{name}"\n{numbers}\n'
    model = model_of(WELL + text)
    prior = build_prior(model, build_potential(model, path=HERE), get_unit_system("lj"), path=HERE)
    draws = jax.vmap(prior.sites)(prior.sample(jax.random.key(3), 4000))[parameter]
    assert abs(float(draws.mean()) - mean) < 4.0 * float(draws.std()) / np.sqrt(4000)
    if parameter == "well_t2":
        assert float(draws.min()) > 0.0


def test_default_priors_follow_the_parameters():
    """Where the file names no prior: lognormal about the value for what is positive, normal for what is real."""
    model = model_of(
        '[potential.a]\nkind = "lennard-jones"\nepsilon = 0.5\nsigma = 1.1\ncutoff = 2.5\n' + WELL
    )
    prior = build_prior(model, build_potential(model, path=HERE), get_unit_system("lj"), path=HERE)
    draws = jax.vmap(prior.sites)(prior.sample(jax.random.key(4), 4000))
    logs = {name: np.log(draws[name]) for name in ("a_epsilon", "a_sigma")}
    assert np.median(draws["a_epsilon"]) == pytest.approx(0.5, rel=0.08)
    assert logs["a_epsilon"].std() == pytest.approx(1.0, rel=0.05)
    assert np.median(draws["a_sigma"]) == pytest.approx(1.1, rel=0.02)
    assert logs["a_sigma"].std() == pytest.approx(0.2, rel=0.05)
    assert draws["well_t1"].mean() == pytest.approx(1.0, abs=0.2)


def test_smoothness():
    model = model_of(SPLINE + "[prior.water_coefficients]\nsmoothness = 0.5\nspread = 0.1\nsteepness = 2.0\n")
    potential = build_potential(model, path=HERE)
    prior = build_prior(model, potential, get_unit_system("lj"), path=HERE)
    assert prior.hyperparameters == ("water_coefficients_smoothness",)
    draws = jax.vmap(prior.sites)(prior.sample(jax.random.key(5), 4000))
    assert np.median(draws["water_coefficients_smoothness"]) == pytest.approx(0.5, rel=0.02)
    centres = potential.centres()
    last, first = (draws["water_coefficients"][:, k] for k in (-1, 0))
    differences = draws["water_coefficients"][:, 0] - 2 * draws["water_coefficients"][:, 1]
    differences = differences + draws["water_coefficients"][:, 2]
    assert differences.std() == pytest.approx(0.5 * (centres[-1] / centres[0]) ** 2, rel=0.1)
    assert last.std() == pytest.approx(0.5, rel=0.1) and first.std() > 10 * last.std()


def test_mapping():
    assert build_mapping(model_of(WELL).mapping) == Mapping.by_group("residue", "mass")
    beads = """\
[mapping]
by = "molecule"
beads = [
  { name = "A", selection = "name C1 C2" },
  { name = "B", selection = "name C3", weights = "geometry" },
  { name = "C", selection = "name C4 H4", weights = [12, 1.0] },
]
"""
    expected = Mapping.named_beads(
        [Bead("A", "name C1 C2"), Bead("B", "name C3", "geometry"), Bead("C", "name C4 H4", (12.0, 1.0))],
        by="molecule",
    )
    assert build_mapping(model_of(WELL + beads).mapping) == expected


def test_raw_data_and_comparison():
    raw = '[data.raw]\ntopology = "a.tpr"\ntrajectories = ["a.xtc", "b.xtc"]\n'
    text = HEAD.replace('[data]\nframes = ["frames.nc"]\n', raw) + WELL
    assert [str(p) for p in parse_model_file(text, HERE).data.raw.trajectories] == ["a.xtc", "b.xtc"]
    both = HEAD + raw + WELL
    with pytest.raises(InputError, match="key 'data': give either `frames`"):
        parse_model_file(both, HERE)
    compared = model_of('[data.compare]\ntopology = "a.tpr"\ntrajectories = ["a.xtc"]\n' + WELL)
    assert compared.data.compare is not None
    with pytest.raises(InputError, match=r"key 'data\.compare\.trajectories'"):
        model_of('[data.compare]\ntopology = "a.tpr"\ntrajectories = []\n' + WELL)


@pytest.mark.parametrize("draws", [3, 16])
def test_replicas_are_shared_out_among_verified_draws(draws):
    with pytest.raises(InputError, match=r"simulation\.replicas \(16\) must be a multiple"):
        model_of(WELL + f"[inference]\nverification_draws = {draws}\n")


def test_the_first_of_several_problems_is_the_misspelling():
    with pytest.raises(InputError, match=r"model\.toml: unknown key 'simulation\.strid': .* \(and 1 more\)$"):
        parse_model_file(HEAD.replace("stride", "strid") + WELL, HERE)


@pytest.mark.parametrize(
    "name",
    [
        "nuts", "blackjax-nuts", "pathfinder-nuts", "smc", "smc-prior", "laplace", "sgld", "sghmc", "tempered-langevin",
        "exchange", "block-bootstrap", "bayesbag",
    ],
)  # fmt: skip
def test_a_sampler_is_one_line(name):
    made = sampler_of(f'sampler = "{name}"')
    assert made.name == name
    if name in ("sgld", "sghmc"):
        assert made.gradient.replicas.n_replicas == model_of(WELL).simulation.replicas
        assert made.tolerance == 0.1 and made.gradient.batch_size is None
    assert model_of(WELL).inference.sampler == "nuts"


def sampler_of(lines):
    """What `[inference]` with these lines makes for a double well with 200 frames of data."""
    model, units = model_of(WELL + f"[inference]\n{lines}\n"), get_unit_system("lj")
    potential = build_potential(model, path=HERE)
    prior = build_prior(model, potential, units, path=HERE)
    x = np.random.default_rng(0).normal(size=(200, 1, 1))
    features = np.concatenate([-(x[:, 0] ** 2) / 2, x[:, 0] ** 4 / 4], axis=1)
    statistics = SufficientStatistics(features, features[:, :0], features[:, :0], np.zeros(200, int))
    source = SimpleNamespace(topology=Topology(("A",), np.ones(1)))
    survey = SimpleNamespace(source=source, box=np.array([np.inf]), configurations=x, statistics=statistics)
    loaded = Loaded(survey, potential, prior, {}, None)
    return sampler_choice(model, loaded, units)(Posterior(prior), n_warmup=30)


def test_keys_of_one_sampler_reach_it():
    assert sampler_of('sampler = "sghmc"\nbatch = 200').gradient.batch_size == 200
    assert sampler_of('sampler = "tempered-langevin"\nposterior_temperature = 2.5').temperature == 2.5
    assert sampler_of('sampler = "tempered-langevin"').temperature == 1.0
    assert sampler_of('sampler = "exchange"').n_frames == 200


def test_a_minibatch_is_not_larger_than_the_data():
    with pytest.raises(
        InputError, match=r"inference\.batch \(201\) is more than the 200 frames .*leave it out"
    ):
        sampler_of('sampler = "sgld"\nbatch = 201')


def test_an_unknown_sampler_is_named():
    with pytest.raises(InputError, match="inference.sampler.*'gibbs'"):
        model_of(WELL + '[inference]\nsampler = "gibbs"\n')
