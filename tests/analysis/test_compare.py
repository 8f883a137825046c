"""The comparison of fits: what it refuses (V22), one normalisation with its error, differences against exact ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from bayescg.analysis import (
    AnchoredFit,
    BridgeSettings,
    Candidate,
    Normalisation,
    PredictiveScores,
    bridged_differences,
    compare,
    log_z_anchor,
    pooled_normalisation,
    same_form,
    stacking_weights,
)
from bayescg.data import Topology, get_unit_system
from bayescg.errors import ConvergenceError, InputError
from bayescg.physics import (
    DoubleWell,
    FrameReducer,
    LennardJones,
    LinearPotential,
    Reference,
    ReferenceBank,
    SimulationSettings,
    Simulator,
)
from bayescg.physics._joint_form import JointForm

X = np.linspace(-8.0, 8.0, 4001)


def log_z_of(energy: np.ndarray) -> float:
    """Of a particle on a line, by quadrature."""
    return float(logsumexp(-energy) + np.log(X[1] - X[0]))


def candidate(name: str = "spring", **changes) -> Candidate:
    kind, n = changes.pop("kind", "pointwise"), changes.pop("n", 10)
    values = changes.pop("values", np.arange(6.0))
    sizes = np.full(len(values), n)
    scores = PredictiveScores(
        np.asarray(values), kind, sizes, np.cumsum(sizes) - n, np.full(len(values), 0.1), "refits", ""
    )
    made = Candidate(name, scores, data="data-1", anchor="anchor-1", verdict="passed")
    return made._replace(**changes)


# V22 and its like -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (
            candidate("well", anchor="anchor-2"),
            "'spring' and 'well'.*different anchors.*anchor-1 and anchor-2",
        ),
        (candidate("well", anchor=""), "different anchors.*anchor-1 and none"),
        (candidate("well", data="data-2"), "different data.*data-1 and data-2"),
        (candidate("well", kind="joint"), "different kinds.*pointwise and joint"),
        (candidate("well", n=12), "different blocks"),
        (candidate("well", values=np.arange(5.0)), "different blocks.*6 and 5"),
        (candidate("spring"), "two fits are called 'spring'"),
    ],
)
def test_v22_what_can_t_be_compared_raises(other, words):
    with pytest.raises(InputError, match=words):
        compare([candidate(), other])


def test_one_fit_or_a_normalisation_of_others_raises():
    with pytest.raises(InputError, match="at least two"):
        compare([candidate()])
    shared = Normalisation(("anchor-1", "anchor-3"), np.zeros(2), np.zeros((2, 2)), "by hand")
    with pytest.raises(InputError, match="anchor-1, anchor-3.*anchor-1, anchor-2"):
        compare([candidate(), candidate("well", anchor="anchor-2")], normalisation=shared)


def test_an_anchor_is_system_form_temperature_and_coefficients():
    def bank(beta: float, eta: float) -> ReferenceBank:
        x2 = np.random.default_rng(0).normal(size=(2, 30, 1)) ** 2
        return ReferenceBank(beta, (Reference(np.array([eta]), x2, x2[..., :0], x2[..., :0], x2[:0]),))

    names = {
        log_z_anchor(bank(beta, eta), system=system)
        for beta, eta, system in ((1.0, 1.0, "a"), (1.0, 1.0, "b"), (2.0, 1.0, "a"), (1.0, 1.1, "a"))
    }
    assert len(names) == 4
    assert log_z_anchor(bank(1.0, 1.0), system="a") in names


# The table ------------------------------------------------------------------------------------------------------------


def test_differences_errors_and_flags():
    rng = np.random.default_rng(0)
    common = 50.0 * rng.normal(size=12)  # what both find hard or easy cancels in the difference
    a, b = common + rng.normal(size=12), common + rng.normal(size=12) - 1.0
    table = compare(
        [candidate("b", values=b, verdict="not verified"), candidate("a", values=a)],
        normalisation=None,
    )
    assert table["run"].values.tolist() == ["a", "b"]
    assert float(table["difference"][1]) == pytest.approx(np.sum(b - a))
    assert float(table["difference_se"][1]) == pytest.approx(np.sqrt(12) * np.std(a - b, ddof=1))
    assert (
        float(table["elpd_se"][0]) == pytest.approx(np.sqrt(12) * np.std(a, ddof=1))
        and table["elpd_se"][0] > 50
    )
    assert table["verdict"].values.tolist() == ["passed", "not verified"]
    assert table["flag"].values.tolist() == ["", "verification: not verified"]


def test_a_normalisation_moves_scores_and_its_error_counts_n_times():
    values = np.arange(6.0)
    first, second = candidate("a", values=values), candidate("b", values=values + 3.0, anchor="anchor-2")
    covariance = np.array([[4e-4, 1e-4], [1e-4, 9e-4]])
    shared = Normalisation(("anchor-1", "anchor-2"), np.array([0.0, 0.5]), covariance, "by hand")
    table = compare([first, second], normalisation=shared)
    # b is 3 nats ahead in each block of 10 frames, and its anchor takes 0.5 from every frame.
    assert table["run"].values.tolist() == ["a", "b"]
    assert float(table["difference"][1]) == pytest.approx(6 * (3.0 - 5.0))
    assert float(table["normalisation_se"][1]) == pytest.approx(60 * np.sqrt(4e-4 + 9e-4 - 2e-4))
    assert float(table["difference_se"][1]) == pytest.approx(float(table["normalisation_se"][1]))


def test_stacking_weights_maximise_the_mixture_s_score():
    rng = np.random.default_rng(1)
    values = -500.0 + rng.normal(size=(2, 40)) + np.array([[0.3], [0.0]])
    weights = stacking_weights(values)
    grid = np.linspace(0.0, 1.0, 2001)
    top = values.max(axis=0)
    p = np.exp(values - top)
    best = grid[np.argmax(np.log(grid[:, None] * p[0] + (1 - grid[:, None]) * p[1]).sum(axis=1))]
    assert weights.sum() == pytest.approx(1.0) and weights[0] == pytest.approx(best, abs=0.01)


# One normalisation ----------------------------------------------------------------------------------------------------


def spring_bank(stiffness: float, rng: np.random.Generator, n_samples: int) -> ReferenceBank:
    x2 = rng.normal(size=(8, n_samples, 1)) ** 2 / stiffness
    features = np.concatenate([-x2 / 2, x2**2 / 4], axis=2)
    none = features[..., :0]
    return ReferenceBank(1.0, (Reference(np.array([-stiffness, 0.0]), features, none, none, x2[:0]),))


def test_pooled_references_give_log_z_between_anchors_with_its_error():
    """60 repetitions: errors in units of the reported ones have mean square 1."""
    rng, z = np.random.default_rng(2), []
    for _ in range(60):
        fits = [
            AnchoredFit(n, spring_bank(k, rng, 60), DoubleWell(-k, 0.0)) for n, k in (("a", 1.0), ("b", 1.8))
        ]
        found = pooled_normalisation(fits)
        z.append((found.log_z[1] - found.log_z[0] + 0.5 * np.log(1.8)) / found.difference_error(0, 1))
    assert abs(np.mean(z)) < 0.5 and 0.6 < np.mean(np.square(z)) < 1.6
    assert found.anchors == ("a", "b") and found.log_z[0] == pytest.approx(0.0, abs=1e-9)


def test_other_features_or_temperatures_are_not_pooled():
    rng = np.random.default_rng(3)
    cold = spring_bank(1.0, rng, 30)
    hot = ReferenceBank(0.5, cold.references)
    with pytest.raises(InputError, match="temperature or features"):
        pooled_normalisation(
            [AnchoredFit("a", cold, DoubleWell(-1.0, 0.0)), AnchoredFit("b", hot, DoubleWell(-1.0, 0.0))]
        )


def squares(positions, box):
    return jnp.sum(positions**2).reshape(1) / 2.0


def line_simulator(potential) -> Simulator:
    return Simulator(
        potential, topology=Topology(("A",), np.ones(1)), box=np.array([np.inf]), units=get_unit_system("lj"),
        temperature=1.0, settings=SimulationSettings(0.1, 1.0, 10, 64, 20, metropolis=True),
    )  # fmt: skip


@pytest.fixture(scope="module")
def bridge() -> tuple[np.ndarray, np.ndarray]:
    """log Z of V2's double well relative to V3's spring, each at its MAP, by simulations of mixtures."""
    spring, well = (
        LinearPotential(jnp.array([0.85]), function=squares, name="spring"),
        DoubleWell(2.826133, 1.975583),
    )
    joint = JointForm([spring, well])
    starts = np.random.default_rng(0).normal(size=(64, 1, 1))
    settings = BridgeSettings(n_replicas=16, n_samples=60, max_samples=480, tolerance=0.02)
    return bridged_differences(
        joint,
        line_simulator(joint.potential),
        beta=1.0,
        starts=starts,
        settings=settings,
        key=jax.random.key(1),
    )


def test_simulations_of_mixtures_relate_forms(bridge):
    values, covariance = bridge
    exact = log_z_of(-2.826133 * X**2 / 2 + 1.975583 * X**4 / 4) - log_z_of(0.85 * X**2 / 2)
    error = np.sqrt(covariance[1, 1])
    print(f"log Z {values[1]:.4f} ± {error:.4f}, exact {exact:.4f}")
    assert abs(values[1] - exact) < 4.0 * error and 0.002 < error < 0.05
    assert values[0] == 0.0 and covariance[0, 0] == pytest.approx(0.0)


def test_simulations_end_by_the_tolerance_of_each_pair():
    """A twin of the first form has an error near 0, so that a strict tolerance for that pair alone costs nothing."""
    spring = LinearPotential(jnp.array([0.85]), function=squares, name="spring")
    twin = LinearPotential(jnp.array([0.85001]), function=squares, name="twin")
    joint = JointForm([spring, twin, DoubleWell(2.826133, 1.975583)])
    lengths = []

    class Counting:
        """The simulator, with a note of every stretch."""

        def __init__(self):
            self.inner = line_simulator(joint.potential)

        def simulate(
            self, potentials, *, starts, key, n_samples, purpose="search", on_chunk=None, resume=None
        ):
            lengths.append(n_samples)
            return self.inner.simulate(
                potentials, starts=starts, key=key, n_samples=n_samples, purpose=purpose
            )

    strict, loose = 1e-4, 1.0
    tolerance = np.array([[strict, strict, loose], [strict, strict, loose], [loose, loose, loose]])
    starts = np.random.default_rng(0).normal(size=(64, 1, 1))
    for wanted, stretches in ((tolerance, 1), (strict, 3)):
        lengths.clear()
        settings = BridgeSettings(n_replicas=8, n_samples=40, max_samples=160, tolerance=wanted)
        _, covariance = bridged_differences(
            joint, Counting(), beta=1.0, starts=starts, settings=settings, key=jax.random.key(1)
        )
        assert len(lengths) == stretches
        assert np.sqrt(covariance[1, 1]) < strict < np.sqrt(covariance[2, 2]) < loose


def test_forms_too_far_apart_are_refused():
    narrow, far = (
        LinearPotential(jnp.array(theta), function=shifted, name="spring")
        for theta in ((4e4, 0.0), (4e4, 4e4 * 40.0))
    )
    joint = JointForm([narrow, far])
    settings = BridgeSettings(n_replicas=2, n_samples=5, max_samples=5, max_states=1)

    class Frozen:
        """Frames that sit at each state's minimum."""

        def simulate(
            self, potentials, *, starts, key, n_samples, purpose="search", on_chunk=None, resume=None
        ):
            made = []
            for potential in potentials:
                eta = np.asarray(potential.coefficients())
                x = -(eta[1] + eta[3]) / (eta[0] + eta[2]) + 1e-3 * np.random.default_rng(0).normal(
                    size=(2, n_samples)
                )
                phi = np.stack([x**2 / 2, x, x**2 / 2, x], axis=2)
                made.append(Reference(eta, phi, phi[..., :0], phi[..., :0], np.zeros((2, 1, 1)), purpose))
            return made

    with pytest.raises(ConvergenceError, match="compare forms that are closer"):
        bridged_differences(
            joint, Frozen(), beta=1.0, starts=np.zeros((1, 1, 1)), settings=settings, key=jax.random.key(0)
        )


def shifted(positions, box):
    return jnp.stack([jnp.sum(positions**2) / 2.0, jnp.sum(positions)])


# The joint form -------------------------------------------------------------------------------------------------------

PAIRS = (
    LennardJones(1.0, 1.0, cutoff=2.5),
    LennardJones(0.9, 1.02, cutoff=2.3, convention="smooth", onset=1.8),
)
FLUID = np.stack(np.meshgrid(*[np.arange(3)] * 3), axis=-1).reshape(-1, 3) * 1.7 + 0.3


def test_every_frame_carries_each_model_s_features():
    joint = JointForm(PAIRS)
    positions = FLUID + 0.1 * np.random.default_rng(0).normal(size=(4, 27, 3))
    together = FrameReducer(joint.potential, box=np.full(3, 5.1))(positions)[0]
    for k, model in enumerate(PAIRS):
        alone = FrameReducer(model, box=np.full(3, 5.1))(positions)[0]
        assert together[:, joint.own(k)] == pytest.approx(alone, rel=1e-5, abs=1e-5)
        mixed = joint.mixture(np.eye(2)[k])
        assert np.asarray(mixed.coefficients()) == pytest.approx(joint.coefficients(k))
        energy = together @ joint.coefficients(k)
        own = [float(model.energy(jnp.asarray(x), jnp.full(3, 5.1))) for x in positions]
        assert energy == pytest.approx(own, rel=1e-4, abs=1e-4)
    assert not same_form(*PAIRS, positions, np.full(3, 5.1))
    assert same_form(PAIRS[0], LennardJones(0.3, 1.1, cutoff=2.5, name="other"), positions, np.full(3, 5.1))


def test_a_fluid_s_forms_are_related_and_what_the_table_takes_is_given_back():
    """The same potential under two names: log Z is equal, with and without a shift that the correction undoes."""
    twins = [PAIRS[0], LennardJones(1.0, 1.0, cutoff=2.5, name="twin")]
    joint, box = JointForm(twins), np.full(3, 5.1)
    simulator = Simulator(
        joint.potential, topology=Topology(("A",) * 27, np.ones(27)), box=box, units=get_unit_system("lj"),
        temperature=1.5, settings=SimulationSettings(0.005, 1.0, 10, 6, 5, metropolis=True),
    )  # fmt: skip
    settings = BridgeSettings(n_replicas=2, n_samples=30, max_samples=30)

    def correct(positions: np.ndarray, k: int) -> np.ndarray:
        return np.full(len(positions), 0.25 * k)  # as if the second's own energy were 0.25 kT higher

    values, covariance = bridged_differences(
        joint,
        simulator,
        beta=1 / 1.5,
        starts=FLUID[None],
        settings=settings,
        key=jax.random.key(2),
        correct=correct,
    )
    assert values[1] == pytest.approx(-0.25, abs=1e-6) and covariance[1, 1] < 1e-9
