"""The search from far away (V14), and posteriors without a maximum."""

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from bayescg.errors import ConvergenceError, InputError
from bayescg.inference import (
    FitSettings,
    Fitter,
    Posterior,
    Prior,
    RelativeEntropy,
    laplace,
    maximise,
    relative_entropy,
)
from bayescg.physics import DoubleWell, ReferenceBank, Surrogate

FAR = np.array([-40.0, np.log(8.0)])
FAR_WITHOUT_BOUND = np.array([-40.0, 8.0])
SETTINGS = FitSettings(seed=5, search_samples=60, max_rounds=0, n_warmup=50, n_draws=50)


def narrow_model():
    """V2's prior on its support: z = (t₁, log t₂)."""
    return DoubleWell(
        numpyro.sample("t1", dist.Normal(1.0, 2.0)),
        numpyro.sample("t2", dist.TruncatedNormal(1.0, 2.0, low=0.0)),
    )


def wide_model():
    """A prior that does not hold a runaway."""
    return DoubleWell(numpyro.sample("t1", dist.Normal(0.0, 1e3)), numpyro.sample("t2", dist.HalfNormal(1e3)))


@pytest.fixture(scope="module", params=[narrow_model, wide_model], ids=["narrow prior", "wide prior"])
def toy(request, double_well):
    return double_well._replace(prior=Prior(request.param))


@pytest.fixture(scope="module")
def exact(toy):
    """The maximum with the exact Z."""
    return maximise(Posterior(toy.prior), toy.likelihood(), np.array([2.8, 0.7]), least_effective_frames=0.0)


@pytest.fixture(scope="module")
def far_bank(toy):
    """One reference, in a single well much narrower than the data."""
    fitter = Fitter(toy.problem(FAR), SETTINGS)
    return ReferenceBank(1.0, tuple(fitter._references.simulate([FAR], "search_000", 60, None, "search")))


def test_the_far_reference_does_not_hold_the_data(toy, far_bank):
    assert not far_bank.contains(toy.statistics.features.mean(axis=0))


def test_newton_on_that_reference_alone_goes_wrong(toy, far_bank, exact):
    """The negative half: without the trust region the maximum is elsewhere, with no sign of it but n_eff."""
    likelihood = relative_entropy(toy.statistics, far_bank.surrogate())
    unguarded = maximise(Posterior(toy.prior), likelihood, FAR, least_effective_frames=0.0)
    assert np.linalg.norm((unguarded.z - exact.z) / np.sqrt(np.diag(exact.covariance))) > 5.0
    assert unguarded.effective_frames < 5.0


def test_trust_region_stops_where_reweighting_ends_and_says_so(toy, far_bank):
    likelihood = relative_entropy(toy.statistics, far_bank.surrogate())
    mode = maximise(Posterior(toy.prior), likelihood, FAR, least_effective_frames=50.0)
    assert mode.effective_frames >= 50.0
    assert not mode.interior


def test_search_from_far_reaches_the_maximum(toy, exact):
    bank, mode, path, converged = Fitter(toy.problem(FAR), SETTINGS)._search()
    assert converged and mode.interior
    assert bank.contains(toy.statistics.features.mean(axis=0))
    # 960 frames per reference and N = 100: the surrogate's noise is a third of a posterior sd
    np.testing.assert_array_less(np.abs(mode.z - exact.z), 1.2 * np.sqrt(np.diag(exact.covariance)))
    np.testing.assert_array_equal(path[0], FAR)
    assert len(path) == len(bank.references) <= 10


def test_too_few_references_are_a_clear_error(toy):
    with pytest.raises(
        ConvergenceError, match="did not reach a maximum in 2 reference simulations.*narrower prior"
    ):
        Fitter(toy.problem(FAR), SETTINGS._replace(max_search=2)).run()


def test_steps_into_the_unseen_are_shortened(double_well):
    """Where t₂ < 0 the model has no Z, and no frame tells: the search comes back, or gives up aloud."""
    near = double_well.problem(np.array([-3.0, 3.0]))
    bank, mode, path, converged = Fitter(near, SETTINGS)._search()
    assert converged and len(near.simulator.purposes) > len(path) == len(bank.references)
    np.testing.assert_allclose(mode.z, [2.826133, 1.975583], atol=0.7)
    try:
        found = Fitter(double_well.problem(FAR_WITHOUT_BOUND), SETTINGS._replace(max_search=8))._search()[1].z
    except ConvergenceError as error:
        assert "did not reach a maximum" in str(error)
    else:
        np.testing.assert_allclose(found, [2.826133, 1.975583], atol=0.7)


def flat_model():
    """Nothing holds the spare parameter."""
    spare = numpyro.sample("spare", dist.Normal())
    numpyro.factor("flat", spare**2 / 2.0)
    return DoubleWell(*(numpyro.sample(name, dist.Normal(1.0, 2.0)) for name in ("t1", "t2")))


def ridge_model():
    """Only the sum of two parameters matters, and no prior holds their difference."""
    one, two = (numpyro.sample(name, dist.Normal()) for name in ("one", "two"))
    numpyro.factor("flat", (one**2 + two**2) / 2.0)
    return DoubleWell(0.3 * one + 0.7 * two, numpyro.sample("t2", dist.Normal(1.0, 2.0)))


def test_flat_parameter_is_refused_by_name_before_sampling(double_well):
    prior = Prior(flat_model)
    z = prior.unconstrain({"spare": 0.3, "t1": 1.0, "t2": 1.0})
    with pytest.raises(InputError, match="'spare' changes neither prior nor likelihood.*proper prior"):
        Posterior(prior).check(z, double_well.likelihood())
    with pytest.raises((ConvergenceError, InputError), match="'spare'"):
        Fitter(double_well._replace(prior=prior).problem(np.asarray(z)), SETTINGS).run()


def test_ridge_is_refused_by_name(double_well):
    """Rounding leaves a curvature of either sign along it."""
    prior = Prior(ridge_model)
    z = np.asarray(prior.unconstrain({"one": 1.0, "two": 2.0, "t2": 1.0}))
    with pytest.raises((ConvergenceError, InputError), match="'one'|'two'"):
        Fitter(double_well._replace(prior=prior).problem(z), SETTINGS).run()
    posterior, likelihood = Posterior(prior), double_well.likelihood()
    with pytest.raises(ConvergenceError, match="no maximum in the direction of '(one|two)'"):
        maximise(posterior, likelihood, z, least_effective_frames=0.0)


def test_stiff_and_soft_parameters_together_are_no_ridge():
    """Units that differ by 1e9 make no direction flat."""

    def model():
        numpyro.sample("large", dist.Normal(0.0, 1e5))
        numpyro.sample("small", dist.Normal(0.0, 1e-5))
        return DoubleWell(numpyro.sample("t1", dist.Normal(1.0, 2.0)), 1.0)

    prior = Prior(model)
    statistics_free = relative_entropy_of_nothing()
    mode = laplace(
        Posterior(prior), statistics_free, np.asarray(prior.unconstrain({"large": 0, "small": 0, "t1": 1}))
    )
    np.testing.assert_allclose(np.sqrt(np.sort(np.diag(mode.covariance))), [1e-5, 2.0, 1e5], rtol=1e-6)


def relative_entropy_of_nothing():
    nothing = Surrogate(jnp.asarray(1.0), jnp.zeros(2), jnp.zeros((1, 2)), jnp.zeros(1))
    return RelativeEntropy(jnp.zeros(2), jnp.asarray(0.0), nothing)


def test_density_that_is_not_finite_at_the_start_is_refused(double_well):
    likelihood = double_well.likelihood()
    posterior = Posterior(double_well.prior)
    with pytest.raises(ConvergenceError, match="not finite at the start"):
        maximise(posterior, likelihood, np.array([np.nan, 1.0]), least_effective_frames=0.0)
    with pytest.raises(InputError, match="not finite"):
        posterior.check(jnp.array([np.nan, 1.0]), likelihood)
