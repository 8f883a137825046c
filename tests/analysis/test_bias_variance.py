"""Sweeps over basis and data size: a Legendre model whose truth is known, and the four angles of T2."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import optimize, special, stats

from bayescg.analysis import (
    LinearBasis,
    basis_sweep,
    chosen_features,
    data_size_sweep,
    histogram_basis,
    spline_basis,
)
from bayescg.analysis._linear_fits import LinearModel
from bayescg.errors import InputError
from bayescg.inference import (
    Posterior,
    Prior,
    RandomWalk,
    RelativeEntropy,
    default_smoothness_weights,
    independent_prior,
)
from bayescg.output import figure_basis_sweep, figure_data_size_sweep
from bayescg.physics import (
    AngleFourier,
    Reference,
    ReferenceBank,
    SplinePair,
    SufficientStatistics,
    Surrogate,
    WeeksChandlerAndersen,
)
from tests.analysis.one_dimension import Line, fourier, legendre

SIZES = (2, 4, 6, 8, 10, 12, 16)
N, MANY = 300, 1200
LINE = Line(legendre(16), -1.0, 1.0, n=800)
TRUTH = np.zeros(16)
TRUTH[[0, 1, 2, 3, 5, 7, 9, 11, 13, 15]] = [0.4, -0.9, 0.3, 1.5, -0.3, 0.95, -0.55, 0.25, 0.03, 0.03]
NOTHING = np.zeros(16)


def bases(*sizes: int) -> list[LinearBasis]:
    return [chosen_features(16, range(p)) for p in sizes]


def draw(rng: np.random.Generator, n: int, *, memory: float = 0.0) -> np.ndarray:
    """Frames of the truth; the memory is that of their normal scores, an AR(1)."""
    noise = rng.normal(size=n)
    for t in range(1, n if memory else 0):
        noise[t] = memory * noise[t - 1] + np.sqrt(1 - memory**2) * noise[t]
    return LINE.draw(TRUTH, stats.norm.cdf(noise))


def fits(model: LinearModel, means: np.ndarray, *, n: float = N):
    best = model.fit(means.mean(axis=0)[None], np.array([1e9]), start=np.zeros(model.basis.size), least=1.0)
    assert best.converged.all()
    found = model.fit(
        means, np.full(len(means), n), start=best.theta[0], least=1.0, hessian=model.curvature(best.theta[0])
    )
    assert found.converged.all()
    return found


def surprise(theta: np.ndarray, means: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """What data sets differ in by chance alone, of mean zero: the best model's energy on each, less on the truth."""
    return (exact - means)[:, : len(theta)] @ theta


# METHOD's table: a truth outside the small bases, N = 300 independent frames ---------------------------------------


def test_the_sum_of_bias_and_variance_is_least_at_ten():
    """Over many data sets: bias by quadrature, excess on the truth, gap to the train score, and the formulas for both."""
    rng, count = np.random.default_rng(1), 150
    means = np.stack([LINE.of(draw(rng, N)).mean(axis=0) for _ in range(count)])
    p = LINE.probability(TRUTH)
    exact = p @ LINE.features
    entropy = p @ np.log(p * len(p))
    total, gap, criterion, bias = {}, {}, {}, {}
    for basis in bases(*SIZES):
        model, size = LinearModel(LINE.surrogate(), basis), basis.size
        endless = fits(model, exact[None])
        bias[size] = model.relative_entropy(endless, exact[None])[0, 0] + entropy
        found = fits(model, means)
        test = model.relative_entropy(found, exact[None])[:, 0] + entropy
        train = np.diagonal(model.relative_entropy(found, means)) + entropy
        total[size], gap[size] = test.mean(), (test - train - surprise(endless.theta[0], means, exact)).mean()
        rows = LINE.features[:, :size] - exact[:size]
        long_run = (rows * p[:, None]).T @ rows
        criterion[size] = np.trace(np.linalg.solve(model.curvature(endless.theta[0]), long_run)) / N
    assert list(bias.values()) == sorted(bias.values(), reverse=True)
    assert bias[2] > 0.09 and 1e-3 < bias[10] < 2e-3 and abs(bias[16]) < 1e-9
    assert min(total, key=total.get) == 10
    for size in SIZES[:-1]:
        assert criterion[size] == pytest.approx(gap[size], rel=0.12)
        assert total[size] - bias[size] == pytest.approx(criterion[size] / 2, rel=0.15)
    assert criterion[16] == pytest.approx(16 / N, rel=1e-6)  # a right model: J = H
    assert criterion[16] < 0.97 * gap[16]  # higher orders, which the criterion leaves out


@pytest.fixture(scope="module")
def sweep():
    rng = np.random.default_rng(5)
    further = LINE.statistics(draw(rng, 20_000))
    return basis_sweep(
        LINE.statistics(draw(rng, MANY)), LINE.surrogate(), bases(*SIZES), start=NOTHING, held_out=further
    )


def test_one_data_set_recommends_about_ten(sweep):
    assert sweep.attrs["recommended"] in ("8", "10", "12")
    assert sweep["train_relative_entropy"].diff("basis").max() < 0.0
    size = sweep["basis_size"].values
    assert sweep["variance"].values == pytest.approx(size / (2 * MANY), rel=0.5)
    assert sweep["variance"].values == pytest.approx(sweep["tic_gap"].values / 2, rel=1e-9)
    assert sweep["effective_parameters"].values == pytest.approx(size, rel=1e-9)
    assert sweep["bias_proxy"].min() == 0.0
    assert sweep["bias_proxy"].sel(basis="2") > 0.05
    assert sweep.attrs["independent_frames"] * sweep.attrs["inefficiency"] == pytest.approx(MANY)


def test_cross_validation_predicts_the_score_on_further_frames(sweep):
    apart = (sweep["block_cv"] - sweep["held_out_relative_entropy"]).values
    # what is common to all bases is the data's own surprise; the differences between bases are what counts
    spread = np.hypot(sweep["difference_se"].values, sweep["held_out_se"].values)
    best = list(sweep["basis"].values).index(sweep.attrs["best"])
    relative = np.abs(apart - apart[best])[np.arange(len(SIZES)) != best]
    assert np.all(relative < 3.0 * np.maximum(spread[np.arange(len(SIZES)) != best], 2e-3))


def test_block_scores_are_those_of_fits_without_the_block(sweep):
    rng = np.random.default_rng(5)
    draw(rng, 20_000)
    features = LINE.of(draw(rng, MANY))[:, :4]
    nodes = LINE.features[:, :4]

    def loss(theta: np.ndarray, mean: np.ndarray) -> float:
        return float(theta @ mean + special.logsumexp(-nodes @ theta) - np.log(len(nodes)))

    first, count = (int(sweep[f"block_{name}"][3]) for name in ("first_frame", "n_frames"))
    inside = np.zeros(MANY, bool)
    inside[first : first + count] = True
    mean = features[~inside].mean(axis=0)
    theta = optimize.minimize(loss, np.zeros(4), args=(mean,), method="BFGS", options={"gtol": 1e-9}).x
    assert sweep["block_score"].sel(basis="4")[3] == pytest.approx(
        loss(theta, features[inside].mean(axis=0)), abs=1e-5
    )


def test_correlated_frames_cost_more_than_their_number_says():
    """The long-run J finds the gap that p/N misses by the statistical inefficiency."""
    rng, n, p, count = np.random.default_rng(2), 600, 4, 40
    exact = LINE.probability(TRUTH) @ LINE.features
    model = LinearModel(LINE.surrogate(), bases(p)[0])
    data = [LINE.statistics(draw(rng, n, memory=0.7)) for _ in range(count)]
    means = np.stack([one.features.mean(axis=0) for one in data])
    found = fits(model, means, n=n)
    endless = fits(model, exact[None])
    gap = model.relative_entropy(found, exact[None])[:, 0] - np.diagonal(model.relative_entropy(found, means))
    gap = gap - surprise(endless.theta[0], means, exact)
    sweeps = [basis_sweep(one, LINE.surrogate(), bases(2, p), start=NOTHING) for one in data[:12]]
    plug_in = np.mean([float(one["tic_gap"].sel(basis=str(p))) for one in sweeps])
    assert gap.mean() > 1.5 * p / n
    assert plug_in == pytest.approx(gap.mean(), rel=0.3)
    assert plug_in > 1.4 * p / n


def test_few_slow_transitions_are_warned_of():
    rng = np.random.default_rng(3)
    slow = LINE.statistics(np.repeat(draw(rng, 24), 25))
    table = basis_sweep(
        slow, LINE.surrogate(), bases(2, 4), start=NOTHING, n_blocks=4, edges=np.arange(0, 601, 100)
    )
    (warning,) = json.loads(table.attrs["warnings"])
    assert "no formula for the gap or the variance is to be trusted" in warning
    assert not table["plug_in_trusted"].any()
    some = basis_sweep(LINE.statistics(draw(rng, 100)), LINE.surrogate(), bases(2, 16), start=NOTHING)
    assert some["plug_in_trusted"].values.tolist() == [True, False]
    assert "too few for the formulas at 16" in some.attrs["warnings"]


def drawn_bank(rng: np.random.Generator) -> ReferenceBank:
    references = []
    for eta in (0.5 * TRUTH, TRUTH, np.zeros(16)):
        x = LINE.draw(eta, rng.uniform(size=6000))
        phi = LINE.of(x).reshape(20, 300, 16)
        references.append(Reference(eta, phi, phi[..., :0], phi[..., :0], phi[:0]))
    return ReferenceBank(1.0, tuple(references))


def test_a_bank_gives_the_same_sweep_within_its_error():
    rng = np.random.default_rng(4)
    bank, data = drawn_bank(rng), LINE.statistics(draw(rng, N))
    exact = basis_sweep(data, LINE.surrogate(), bases(4, 8, 12), start=NOTHING)
    plain = basis_sweep(data, bank.surrogate(), bases(4, 8, 12), start=NOTHING)
    table = basis_sweep(data, bank.surrogate(), bases(4, 8, 12), start=TRUTH, bank=bank)
    simulation = np.sqrt(table["difference_se"].values ** 2 - plain["difference_se"].values ** 2)
    assert np.max(simulation) > 1e-4
    assert np.all(np.abs(table["difference"] - exact["difference"]).values <= 5.0 * simulation)
    # the start does not matter
    assert table["block_cv"].values == pytest.approx(plain["block_cv"].values, abs=1e-9)


def test_a_fit_beyond_reach_of_the_references_is_said_and_not_recommended():
    rng = np.random.default_rng(6)
    inner = LINE.x[np.abs(LINE.x) < 0.25]
    near = Surrogate(
        jnp.ones(()), jnp.zeros(16), jnp.asarray(LINE.of(inner)), jnp.full(len(inner), -np.log(len(inner)))
    )
    table = basis_sweep(LINE.statistics(draw(rng, N)), near, bases(1, 6), start=NOTHING)
    assert not table["converged"].sel(basis="6")
    assert "beyond reach of the reference simulations" in table.attrs["warnings"]
    assert table.attrs["recommended"] == "1"


def test_a_prior_halves_the_parameters_that_it_matches():
    """With precision N times the curvature's own size, every direction is half the prior's."""
    data = LINE.statistics(draw(np.random.default_rng(7), N))
    free = basis_sweep(data, LINE.surrogate(), bases(1, 4), start=NOTHING)
    curvature = LinearModel(LINE.surrogate(), bases(4)[0]).curvature(free["coefficients"].values[1, :4])
    held = bases(4)[0]._replace(
        label="held", prior_precision=N * curvature, prior_mean=free["coefficients"].values[1, :4]
    )
    table = basis_sweep(data, LINE.surrogate(), [bases(4)[0], held], start=NOTHING)
    assert table["effective_parameters"].values == pytest.approx([4.0, 2.0], rel=1e-6)
    gap, variance = table["tic_gap"].values, table["variance"].values
    assert (gap[1] / gap[0], variance[1] / variance[0]) == pytest.approx((0.5, 0.25), rel=1e-6)
    assert table["coefficients"].values[1] == pytest.approx(table["coefficients"].values[0], abs=1e-4)


def test_more_data_close_the_gap():
    data = LINE.statistics(draw(np.random.default_rng(8), 6000))
    table = data_size_sweep(data, LINE.surrogate(), bases(6)[0], start=NOTHING, n_frames=(100, 300, 1000))
    assert table["n_pieces"].values.tolist() == [20, 20, 6]
    products = (table["gap"] * table["data_size"]).values
    errors = (table["gap_se"] * table["data_size"]).values
    assert np.all(np.abs(products - 6.0) < 4.0 * errors + 0.6)  # 1/n: a nearly right model has tr(H⁻¹ J) = 6
    assert np.all(np.diff(table["held_out_relative_entropy"].values) < 0.0)
    assert np.all(np.diff(table["train_relative_entropy"].values) > 0.0)
    assert figure_data_size_sweep(table).get_suptitle() == "What more data bring to a basis of 6"


def test_figure_of_a_sweep(sweep):
    figure = figure_basis_sweep(sweep)
    assert figure.get_suptitle() == f"Bias and variance: a basis of {sweep.attrs['recommended']}"
    assert "further frames" in {text.get_text() for text in figure.axes[0].get_legend().get_texts()}


# T2: four angles with ⟨cos⟩ = 0 and ⟨cos 2⟩ = 1/4 from a uniform truth ---------------------------------------------

CIRCLE = Line(fourier(4), 0.0, 2 * np.pi, n=400)
ANGLES = np.arccos(np.sqrt(5 / 8)) * np.array([1, -1, 1, -1]) + np.array([0, 0, np.pi, np.pi])


def test_t2_better_on_the_four_angles_worse_on_the_truth():
    rows = CIRCLE.of(ANGLES)
    assert -rows.mean(axis=0)[:2] == pytest.approx([0.0, 0.25], abs=1e-12)
    model = LinearModel(CIRCLE.surrogate(), chosen_features(4, [0, 1]))
    found = model.fit(rows.mean(axis=0)[None], np.array([4.0]), start=np.zeros(2), least=1.0)
    assert found.theta[0] == pytest.approx([0.0, 0.516490], abs=1e-6)
    assert special.i1(found.theta[0, 1]) / special.i0(found.theta[0, 1]) == pytest.approx(0.25, abs=1e-6)
    train, truth = (model.relative_entropy(found, m[None])[0, 0] for m in (rows.mean(axis=0), np.zeros(4)))
    assert -train == pytest.approx(0.063512, abs=1e-6)
    assert truth == pytest.approx(0.065611, abs=1e-6)
    assert truth == pytest.approx(np.log(special.i0(0.516490)), abs=1e-6)


def angle_posterior(n: int) -> tuple[Prior, RelativeEntropy]:
    start = AngleFourier(0.0, 0.0)
    prior = independent_prior(start, {f"angle_kappa{k}": dist.Normal(0.0, 2.0) for k in (1, 2)})
    box = jnp.array([2 * np.pi])
    features = jax.vmap(lambda x: start.features(x[None, None], box))
    base = jnp.full(len(CIRCLE.x), -np.log(len(CIRCLE.x)))
    surrogate = Surrogate(jnp.ones(()), jnp.zeros(2), features(jnp.asarray(CIRCLE.x)), base)
    mean = features(jnp.asarray(ANGLES)).mean(axis=0)
    return prior, RelativeEntropy(mean, jnp.asarray(float(n)), surrogate)


@pytest.mark.parametrize(
    ("n", "mean", "sd", "below", "above", "negative"),
    [(4, 0.4399, 0.7513, -0.754, 1.710, 0.280), (20, 0.5021, 0.3345, -0.0374, 1.0630, 0.0631)],
)
def test_t2_posterior_with_priors(n, mean, sd, below, above, negative):
    """Four angles; and the twenty of models/overfit-angles, which have the same averages."""
    prior, likelihood = angle_posterior(n)
    kappa1, kappa2 = np.linspace(-5.0, 5.0, 81), np.linspace(-6.0, 6.0, 241)
    grid = jnp.asarray(np.stack([a.ravel() for a in np.meshgrid(kappa1, kappa2, indexing="ij")], axis=1))
    log_p = jax.lax.map(lambda z: Posterior(prior).log_density(z, likelihood), grid, batch_size=256)
    p = np.asarray(jnp.exp(log_p - log_p.max())).reshape(len(kappa1), len(kappa2)).sum(axis=0)
    p /= p.sum()
    found = p @ kappa2
    assert (found, np.sqrt(p @ (kappa2 - found) ** 2)) == pytest.approx((mean, sd), abs=2e-4)
    middles = np.cumsum(p) - p / 2
    assert np.interp([0.05, 0.95], middles, kappa2) == pytest.approx([below, above], abs=2e-3)
    assert np.interp(0.0, kappa2, middles) == pytest.approx(negative, abs=1e-3)


def test_a_sweep_of_angles_prefers_no_interaction():
    """Twenty uniform angles: the train score falls with every harmonic, the score of blocks left out rises."""
    rng = np.random.default_rng(12)
    further = CIRCLE.statistics(CIRCLE.x)
    orders = [chosen_features(4, range(k)) for k in range(5)]
    recommended = []
    for _ in range(12):
        data = CIRCLE.statistics(rng.uniform(0.0, 2 * np.pi, size=60))
        table = basis_sweep(
            data, CIRCLE.surrogate(), orders, start=np.zeros(4), held_out=further, n_blocks=10
        )
        assert table["train_relative_entropy"].values[0] == pytest.approx(0.0, abs=1e-12)
        assert table["train_relative_entropy"].diff("basis").max() < 0.0
        assert table["held_out_relative_entropy"].values[0] == pytest.approx(0.0, abs=1e-12)
        assert table["held_out_relative_entropy"].values[1:].min() > 0.0
        assert table["tic_gap"].values[0] == 0.0
        recommended.append(int(table.attrs["recommended"]))
    assert np.mean(np.array(recommended) == 0) > 0.5
    assert np.mean(recommended) < 1.0


# Bases as linear maps of a finer one -------------------------------------------------------------------------------


def spline(spacing: float) -> SplinePair:
    return SplinePair.uniform(inner=0.3, cutoff=0.9, spacing=spacing, core_distance=0.32, core_strength=10.0)


@pytest.mark.parametrize("spacing", [0.05, 0.1, 0.15])
def test_a_coarse_spline_is_made_of_the_fine_one_exactly(spacing):
    fine, coarse = spline(0.025), spline(spacing)
    basis = spline_basis(fine, coarse)
    theta = np.random.default_rng(0).normal(size=basis.size)
    r2 = jnp.linspace(0.25, 0.95, 300) ** 2  # inside the first knot and beyond the cutoff too
    own = np.asarray(coarse.pair_basis(r2))[:, :-1] @ theta
    core = np.asarray(fine.pair_basis(r2))[:, -1]
    assert np.asarray(fine.pair_basis(r2)) @ basis.coefficients(theta) == pytest.approx(own + core, abs=1e-8)


def test_knots_that_are_not_among_the_fine_ones_are_refused():
    with pytest.raises(InputError, match="use knots that are, from the same first knot to the same cutoff"):
        spline_basis(spline(0.05), spline(0.12))


def test_the_smoothness_prior_is_the_random_walk_of_a_fit():
    """The same log density as the prior that a study draws with, up to a constant."""
    coarse = spline(0.1)
    basis = spline_basis(coarse, coarse, smoothness=0.3)
    walk = RandomWalk(jnp.asarray(0.3), default_smoothness_weights(coarse.parameters()[0]))
    theta = np.random.default_rng(2).normal(size=basis.size)
    change = float(walk.log_prob(jnp.asarray(theta)) - walk.log_prob(jnp.zeros(basis.size)))
    assert -0.5 * theta @ basis.prior_precision @ theta == pytest.approx(change, rel=1e-9)


def test_the_smoothness_prior_is_one_of_functions():
    """Splines of different spacing have priors of about the same spread at the same distance."""
    fine = spline(0.0125)
    spreads = []
    middle = np.asarray(fine.pair_basis(jnp.array([0.5**2])))[0]
    for spacing in (0.025, 0.05, 0.1):
        basis = spline_basis(fine, spline(spacing), smoothness=0.1)
        at = middle @ basis.matrix
        spreads.append(np.sqrt(at @ np.linalg.solve(basis.prior_precision, at)))
    assert max(spreads) < 1.5 * min(spreads)


def test_a_basis_read_off_a_histogram():
    bins = WeeksChandlerAndersen(1.0, 1.0, inner=0.3, cutoff=0.9, n_nodes=400)
    coarse = spline(0.1)
    basis = histogram_basis(bins, coarse, fixed=1)
    theta, r2 = np.arange(1.0, 7.0), jnp.linspace(0.31, 0.89, 50) ** 2
    exact = np.asarray(coarse.pair_basis(r2)) @ np.append(theta, 1.0)
    assert np.asarray(bins.pair_basis(r2)) @ basis.coefficients(theta) == pytest.approx(exact, abs=2e-3)
    with pytest.raises(InputError, match="beyond the histogram's 0.9; shorten it"):
        histogram_basis(bins, spline(0.1).__class__.uniform(
            inner=0.3, cutoff=1.0, spacing=0.1, core_distance=0.3, core_strength=1.0))  # fmt: skip


# Bad input ---------------------------------------------------------------------------------------------------------


def few(n: int) -> SufficientStatistics:
    return LINE.statistics(draw(np.random.default_rng(9), n))


@pytest.mark.parametrize(
    ("data", "which", "message"),
    [
        (few(16), bases(2, 16), "basis '16' has 16 coefficients, but there are only 16 frames in the data"),
        (few(60), [], "bases none; expected some with different labels"),
        (few(60), [*bases(4), *bases(4)], "bases 4, 4; expected some with different labels"),
        (few(60), [chosen_features(8, [0]), chosen_features(8, [0, 1])], "it is made of 8 features"),
        (
            SufficientStatistics(*(np.zeros((60, 3)),) * 3, np.zeros(60, int)),
            bases(2, 4),
            "3 features in the data, 16 in the references",
        ),
    ],
)
def test_what_no_sweep_can_use_is_refused_in_one_line(data, which, message):
    with pytest.raises(InputError, match=message) as caught:
        basis_sweep(data, LINE.surrogate(), which, start=NOTHING)
    assert "\n" not in str(caught.value)


def test_a_coefficient_that_changes_nothing_is_refused_unless_a_prior_holds_it():
    twice = LinearBasis("twice", np.eye(16)[:, [0, 1, 1]], NOTHING, np.zeros((3, 3)), np.zeros(3))
    with pytest.raises(InputError, match="basis 'twice': nothing holds its coefficient"):
        basis_sweep(few(100), LINE.surrogate(), [*bases(1), twice], start=NOTHING)
    held = twice._replace(prior_precision=np.eye(3))
    assert basis_sweep(few(100), LINE.surrogate(), [*bases(1), held], start=NOTHING)["converged"].all()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [((4, 100), "expected at least 5 frames each"), ((50, 80), "two are needed"), ((), "sizes \\[\\]")],
)
def test_sizes_that_no_sweep_can_use(sizes, message):
    with pytest.raises(InputError, match=message):
        data_size_sweep(few(120), LINE.surrogate(), bases(4)[0], start=NOTHING, n_frames=sizes)


@pytest.mark.parametrize("columns", [[0, 16], [1, 1], [-1]])
def test_columns_that_do_not_exist(columns):
    with pytest.raises(InputError, match="give different numbers from 0 to 15"):
        chosen_features(16, columns)
