"""Verdicts on cases whose answer is known: V7, V23, T10, and a Lennard-Jones-like product."""

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from jaxtyping import Array, Float

from bayescg.analysis import (
    Verdict,
    combination_verdicts,
    information_at,
    label_identifiability,
    null_space,
    parameter_verdicts,
    profiles,
)
from bayescg.errors import InputError
from bayescg.inference import Posterior, Prior, RelativeEntropy, maximise
from bayescg.inference._likelihood import ExactLikelihood
from bayescg.physics import DoubleWell, Surrogate


def verdicts_of(rows, names, *, prior_sd, points=(), profiles=None):
    """Both kinds of verdicts for predictions with Jacobian rows in units of their noise, all coordinates logarithms."""
    information, sd = rows.T @ rows, np.asarray(prior_sd, float)
    precision = np.diag(sd**-2.0)
    covariance = np.linalg.inv(information + precision)
    structure = null_space(np.array([information, *points]), prior_spread=sd)
    found = label_identifiability(information, precision, rows, null_tolerance=1e-10)
    combinations = combination_verdicts(
        found, names=names, covariance=covariance, prior_precision=precision, structure=structure
    )
    parameters = parameter_verdicts(
        combinations,
        names=names,
        covariance=covariance,
        prior_spread=sd,
        structure=structure,
        profiles=profiles,
    )
    return combinations, parameters


def several(rows):
    """Rows twice with opposite signs, so that their mean is zero and their scores' covariance the information."""
    return np.concatenate([rows, -rows]) / np.sqrt(2.0)


def test_overdamped_mode():
    """T10: the normalised correlation function fixes k/γ; neither k nor γ."""
    t = np.linspace(0.1, 3.0, 10)

    def rows(k, gamma):
        slope = -k / gamma * t * np.exp(-k / gamma * t) / 0.01
        return several(np.stack([slope, -slope], axis=1))

    points = [each.T @ each for each in (rows(1.0, 5.0), rows(4.0, 0.7))]
    combinations, parameters = verdicts_of(rows(3.0, 2.0), ("k", "gamma"), prior_sd=(1.0, 1.0), points=points)
    assert combinations[0].combination.text == "k / gamma" and combinations[0].verdict is Verdict.identified
    assert combinations[1].combination.text == "k gamma" and combinations[1].verdict is Verdict.structural
    assert [each.verdict for each in parameters] == [Verdict.structural] * 2
    assert parameters[0].reason == (
        "no amount of such data tells k alone, only combinations of it with others: these data fix k / gamma within"
        f" {100 * combinations[0].spread:.2g} %"
    )
    information = rows(3.0, 2.0).T @ rows(3.0, 2.0)
    null = np.linalg.eigh(information)[1][:, 0]
    np.testing.assert_allclose(np.abs(null), np.sqrt(0.5), atol=1e-8)


def springs_row(k1, k2, error):
    return several(np.array([[k2, k1]]) / (k1 + k2) / error)


def test_springs_in_series():
    """V7: the null direction turns with the parameters, and is there at all of them."""
    information = 0.5 * np.outer([0.75, 0.25], [0.75, 0.25])
    np.testing.assert_allclose(np.linalg.eigvalsh(information), [0.0, 0.3125], atol=1e-12)
    points = [springs_row(k1, k2, 0.1).T @ springs_row(k1, k2, 0.1) for k1, k2 in ((5.0, 1.0), (2.0, 2.0))]
    combinations, parameters = verdicts_of(
        springs_row(1.0, 3.0, 0.1), ("k1", "k2"), prior_sd=(2.0, 2.0), points=points
    )
    assert combinations[0].combination.text == "k1^3 k2"
    assert [each.verdict for each in combinations] == [Verdict.identified, Verdict.structural]
    assert [each.verdict for each in parameters] == [Verdict.structural] * 2


def test_a_symmetric_point_is_no_structure():
    """The derivative of a² + b² by b vanishes at b = 0 only: null there, not structurally."""

    def information(a, b):
        return np.outer([2 * a, 2 * b], [2 * a, 2 * b]) + np.outer([0.0, 2 * b], [0.0, 2 * b])

    here, elsewhere = information(1.0, 0.0), information(1.0, 0.5)
    alone = null_space(here[None], prior_spread=np.ones(2))
    assert alone.dimension == 1 and alone.parameters.tolist() == [False, True]
    both = null_space(np.array([here, elsewhere]), prior_spread=np.ones(2))
    assert both.dimension == 0 and not both.parameters.any() and not both.absent.any()


def test_units_do_not_matter():
    information = np.array([[2.0, 0.3], [0.3, 1.0]])
    scale = np.array([1e8, 1e-8])  # the same in other units, with the prior's spread
    found = null_space((information * np.outer(scale, scale))[None], prior_spread=1.0 / scale)
    assert found.dimension == 0


def wells(idle):
    """V2's model, with or without a parameter that the likelihood does not contain."""

    def model():
        if idle:
            numpyro.sample("idle", dist.Normal(0.3, 2.0))
        return DoubleWell(
            numpyro.sample("t1", dist.Normal(1.0, 2.0)), numpyro.sample("t2", dist.Normal(1.0, 2.0))
        )

    return Posterior(Prior(model))


def test_a_parameter_that_the_likelihood_does_not_contain():
    """V23: Bayes factor 1, contraction 0, structurally unidentifiable; the others as they were. Laplace is exact here."""
    x = jnp.linspace(-7.0, 7.0, 1401)
    features = jnp.stack([-(x**2) / 2.0, x**4 / 4.0], axis=1)
    surrogate = Surrogate(jnp.ones(()), jnp.zeros(2), features, jnp.full(1401, jnp.log(0.01)))
    likelihood = RelativeEntropy(jnp.array([-0.6, 0.55]), jnp.asarray(100.0), surrogate)
    without, with_idle = wells(False), wells(True)
    plain = maximise(without, likelihood, np.array([2.8, 2.0]), least_effective_frames=0.0)
    mode = maximise(with_idle, likelihood, np.array([1.0, 2.8, 2.0]), least_effective_frames=0.0)
    names = tuple(map(str, with_idle.prior.coordinates))
    assert names == ("idle", "t1", "t2")
    assert mode.log_evidence - plain.log_evidence == pytest.approx(0.0, abs=1e-6)
    np.testing.assert_allclose(mode.z[1:], plain.z, atol=1e-6)
    np.testing.assert_allclose(mode.covariance[1:, 1:], plain.covariance, atol=1e-6)

    spread = np.full(3, 2.0)
    points = np.array([mode.z, [0.0, 1.0, 1.0], [-3.0, 4.0, 3.0]])
    information = information_at(with_idle, likelihood, points)
    structure = null_space(information, prior_spread=spread)
    assert structure.absent.tolist() == [True, False, False] and structure.dimension == 1
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(100, 3)) @ np.linalg.cholesky(information[0] + 1e-30 * np.eye(3)).T
    found = label_identifiability(100.0 * information[0], np.eye(3) / 4.0, scores, null_tolerance=1e-10)
    assert found.contraction[2] == 0.0
    combinations = combination_verdicts(
        found,
        names=names,
        covariance=mode.covariance,
        prior_precision=np.eye(3) / 4.0,
        structure=structure,
        logarithmic=(False,) * 3,
    )
    assert combinations[2].verdict is Verdict.structural and combinations[2].combination.text == "idle"
    parameters = parameter_verdicts(
        combinations,
        names=names,
        covariance=mode.covariance,
        prior_spread=spread,
        structure=structure,
        logarithmic=(False,) * 3,
        profiles=profiles(with_idle, likelihood, mode, least_effective_frames=0.0),
        beyond_prior=np.array([0.01, 0.0, 0.2]),
    )
    assert parameters[0].verdict is Verdict.structural
    assert parameters[0].contraction == pytest.approx(0.0, abs=1e-6)
    assert parameters[0].reason == "these data do not depend on idle, so its posterior is its prior"
    assert [each.verdict for each in parameters[1:]] == [Verdict.identified] * 2
    assert [each.at_boundary for each in parameters] == [False, False, True]


def test_a_product_is_known_and_its_factors_are_not():
    """One stiff combination ε σ⁶ to 2 %, and ε alone to about 40 %."""
    stiff, soft = np.array([1.0, 6.0]), np.array([6.0, -1.0])
    rows = several(np.stack([stiff / 0.02, soft / 2.4]))
    combinations, parameters = verdicts_of(rows, ("epsilon", "sigma"), prior_sd=(3.0, 0.5))
    assert combinations[0].combination.text == "epsilon sigma^6"
    assert combinations[0].spread == pytest.approx(0.02, rel=0.01)
    assert combinations[0].reason == "these data fix epsilon sigma^6 within 2 %"
    epsilon = 100.0 * parameters[0].spread
    assert parameters[0].verdict is Verdict.identified
    assert 30.0 < epsilon < 45.0
    expected = f"these data fix epsilon sigma^6 within 2 %; epsilon alone only within {epsilon:.2g} %"
    assert parameters[0].reason == expected


def test_simple_exponents_are_not_claimed_to_be_known_better_than_they_are():
    """(1, 5.8) rounds to (1, 6), which is ten times less certain than the direction itself: more digits are needed."""
    stiff, soft = np.array([1.0, 5.8]), np.array([5.8, -1.0])
    rows = several(np.stack([stiff / 0.002, soft / 50.0]))
    combinations, _ = verdicts_of(rows, ("epsilon", "sigma"), prior_sd=(3.0, 3.0))
    exact = stiff @ np.linalg.inv(rows.T @ rows + np.eye(2) / 9.0) @ stiff
    written = combinations[0].combination
    assert combinations[0].spread <= 2.0 * np.sqrt(exact) * abs(written.exponents[1]) / 5.8
    assert written.text != "epsilon sigma^6"


def test_what_the_prior_holds_is_named():
    rows = several(np.array([[10.0, 0.0], [0.0, 0.1]]))
    combinations, parameters = verdicts_of(rows, ("a", "b"), prior_sd=(1.0, 1.0))
    assert [each.verdict for each in combinations] == [Verdict.identified, Verdict.prior]
    assert [each.verdict for each in parameters] == [Verdict.identified, Verdict.prior]
    assert parameters[1].reason == "these data take away only 0.99 % of the prior's variance of b"


class Springs(ExactLikelihood):
    """ln k_eff of two springs in series and, weakly, their ratio: identified in the local curvature, flat far out."""

    error: Float[Array, ""]

    def log_likelihood(self, model: Array) -> Array:
        measured = -jnp.logaddexp(-model[0], -model[1])
        return (
            -0.5 * ((measured - jnp.log(0.75)) / self.error) ** 2
            - 2.0 * jnp.tanh(0.4 * (model[0] - model[1])) ** 2
        )


def test_a_side_without_bound_is_practical():
    prior = Prior(lambda: numpyro.sample("k", dist.Normal(0.0, 4.0).expand((2,)).to_event(1)))
    posterior, likelihood = Posterior(prior), Springs(jnp.asarray(0.05))
    mode = maximise(posterior, likelihood, np.array([0.4, 0.4]), least_effective_frames=0.0)
    flat = profiles(posterior, likelihood, mode)
    assert flat.practically_unidentifiable.tolist() == [[False, False], [False, False]]  # a fall of 2 > 1.92
    weaker = profiles(posterior, likelihood, mode)._replace(
        likelihood_interval=np.array([[0.0, np.nan], [0.0, 1.0]])
    )
    _, parameters = verdicts_of(
        several(np.array([[0.5, 0.5], [0.4, -0.4]]) / 0.05),
        ("k1", "k2"),
        prior_sd=(4.0, 4.0),
        profiles=weaker,
    )
    assert [each.verdict for each in parameters] == [Verdict.practical, Verdict.identified]
    assert parameters[0].reason.startswith("these data set no upper bound on k1 within what the prior allows")
    with pytest.raises(InputError, match="determined_combinations"):
        combination_verdicts(
            label_identifiability(np.eye(2), np.eye(2), several(np.array([[2.0, 1.0], [0.0, 1.0]]))),
            names=("a", "b"),
            covariance=np.eye(2),
            prior_precision=np.eye(2),
            structure=null_space(np.eye(2)[None], prior_spread=np.ones(2)),
            profiles=weaker._replace(directions=np.array([[1.0, 1.0], [1.0, -1.0]])),
        )
    with pytest.raises(InputError, match="every coordinate"):
        verdicts_of(
            several(np.eye(2)),
            ("a", "b"),
            prior_sd=(1.0, 1.0),
            profiles=profiles(posterior, likelihood, mode, directions=np.array([[1.0, 1.0], [1.0, -1.0]])),
        )
