"""Posterior predictive checks where replicated averages are known, and a model that misses the tails of its data."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from bayescg.analysis import (
    ObservedAverages,
    observed_averages,
    predictive_check_sentence,
    predictive_checks,
    reweighting_error,
)
from bayescg.errors import InputError
from bayescg.physics import Reference, ReferenceBank

N, SHAPE = 200, 400.0


def spring_bank(seed: int = 0, *, n: int = 500, strengths=(0.9, 1.1)) -> tuple[ReferenceBank, np.ndarray]:
    """References of U = θx²/2, and x of the pooled frames."""
    rng = np.random.default_rng(seed)
    references, positions = [], []
    for theta in strengths:
        x = rng.normal(size=(20, n)) / np.sqrt(theta)
        phi = x[..., None] ** 2 / 2
        references.append(Reference(np.array([theta]), phi, phi, phi[..., :0], np.zeros((0, 1, 1))))
        positions.append(x.ravel())
    return ReferenceBank(1.0, tuple(references)), np.concatenate(positions)


@pytest.fixture(scope="module")
def spring():
    return spring_bank()


def draws(n: int = 100) -> np.ndarray:
    """A Gamma posterior of θ about 1 with relative sd 5 % [draw 1]."""
    return np.random.default_rng(1).gamma(SHAPE, 1 / SHAPE, size=(n, 1))


def seen(mean: float) -> ObservedAverages:
    return ObservedAverages(np.array([mean]), np.array([float(N)]))


def test_moments_are_those_of_the_model(spring):
    bank, x = spring
    theta = draws()
    check = predictive_checks(bank, theta, x[:, None] ** 2, seen(1.2), names=["x2"])
    exact = 1.0 / theta[:, 0]  # ⟨x²⟩, with the variance 2/θ² of x²
    epistemic, sampling = exact.std(ddof=1), np.sqrt(2.0 * np.mean(exact**2) / N)
    assert check["predicted"].item() == pytest.approx(exact.mean(), abs=0.02)
    assert check["epistemic_sd"].item() == pytest.approx(epistemic, rel=0.05)
    assert check["sampling_sd"].item() == pytest.approx(sampling, rel=0.05)
    assert check["z"].item() == pytest.approx((1.2 - exact.mean()) / np.hypot(epistemic, sampling), rel=0.15)
    tail = stats.norm.sf(1.2, loc=exact, scale=np.sqrt(2.0 / N) * exact).mean()
    assert check["upper_tail"].item() == pytest.approx(tail, abs=0.02)


def test_values_that_depend_on_the_parameters(spring):
    """The energy θx²/2 has the mean 1/2 at every θ."""
    bank, x = spring
    theta = draws(40)
    energy = (theta[:, :, None] * x[None, :, None] ** 2) / 2.0
    check = predictive_checks(bank, theta, energy, seen(0.5), names=["energy"])
    assert check["predicted"].item() == pytest.approx(0.5, abs=0.01)
    assert check["epistemic_sd"].item() < 0.005
    assert check["sentence"].item().startswith("energy: as the model expects")


def test_z_scores_of_the_models_own_data_are_standard():
    """Truth from the posterior, data from the truth, 300 times: z is N(0, 1) and the tails are uniform."""
    bank, x = spring_bank(3, n=250)
    theta, rng = draws(150), np.random.default_rng(4)
    z, tail = [], []
    for truth in rng.gamma(SHAPE, 1 / SHAPE, size=300):
        data = rng.normal(size=N) / np.sqrt(truth)
        check = predictive_checks(bank, theta[::10], x[:, None] ** 2, seen(np.mean(data**2)), names=["x2"])
        z.append(check["z"].item())
        tail.append(check["upper_tail"].item())
    assert np.mean(z) == pytest.approx(0.0, abs=0.25)  # the bank's own error is common to all
    assert np.std(z) == pytest.approx(1.0, abs=0.15)
    assert np.mean(np.array(tail) < 0.1) == pytest.approx(0.1, abs=0.06)


def test_forgetting_the_sampling_noise_would_accuse_the_model(spring):
    """The negative half: against the draws' means alone, ordinary data look impossible."""
    bank, x = spring
    theta, observed = draws(), 1.0 + 2.0 * np.sqrt(2.0 / N)
    check = predictive_checks(bank, theta, x[:, None] ** 2, seen(observed), names=["x2"])
    assert check["p_value"].item() > 0.05
    alone = (observed - check["predicted"].item()) / check["epistemic_sd"].item()
    assert alone > 3.5


def test_misfit_of_the_tails_is_found_where_the_variance_fits(spring):
    """Laplace-distributed data with the spring's variance: ⟨x²⟩ is matched, ⟨x⁴⟩ and the tails are not."""
    bank, x = spring
    data = np.random.default_rng(5).laplace(scale=np.sqrt(0.5), size=2000)
    data /= data.std()

    def observables(y):
        return np.stack([y**2, y**4, np.abs(y) > 3.0], axis=1).astype(float)

    check = predictive_checks(
        bank, draws(), observables(x), observed_averages(observables(data)), names=["x2", "x4", "tail"]
    )
    assert check["sentence"].values[0].startswith("x2: as the model expects")
    for name, sentence in zip(["x4", "tail"], check["sentence"].values[1:], strict=True):
        assert sentence.startswith(f"{name}: not reproduced, the data are higher")
    assert np.all(check["z"].values[1:] > 4.0)
    assert predictive_check_sentence(check).startswith("Replicated data agree with the data in 1 of 3")


def test_correlated_data_are_worth_fewer_frames():
    rng = np.random.default_rng(6)
    series = np.repeat(rng.normal(size=400), 5)[:, None]
    assert observed_averages(series).independent_frames[0] == pytest.approx(400, rel=0.2)
    halves = observed_averages(series, lengths=[1000, 1000]).independent_frames[0]
    assert halves == pytest.approx(400, rel=0.2)


def test_monte_carlo_error_is_the_banks_own():
    """For the features themselves it is `feature_covariance_error`, up to the free energies' share."""
    bank, x = spring_bank(7, n=100)
    eta = np.array([1.0])
    own = reweighting_error(bank, eta, x[:, None] ** 2 / 2)[0]
    assert own == pytest.approx(np.sqrt(bank.feature_covariance_error(eta)[0, 0]), rel=0.2)
    exact = np.sqrt(0.5 / 4000)
    assert own == pytest.approx(exact, rel=0.35)


@pytest.mark.parametrize("what", ["values", "draws", "observed"])
def test_arrays_that_do_not_fit_are_refused(spring, what):
    bank, x = spring
    values = {"values": x[:10, None], "draws": np.ones((3, len(x), 1)), "observed": x[:, None]}[what]
    observed = ObservedAverages(np.ones(2), np.ones(2)) if what == "observed" else seen(1.0)
    with pytest.raises(InputError, match="predictive checks"):
        predictive_checks(bank, np.ones((2, 1)), values, observed, names=["x"])


def test_it_is_stored_as_netcdf(spring, tmp_path):
    bank, x = spring
    check = predictive_checks(bank, draws(5), x[:, None] ** 2, seen(1.0), names=["x2"])
    check.to_netcdf(tmp_path / "check.nc")
    with xr.open_dataset(tmp_path / "check.nc") as again:
        assert again["z"].item() == check["z"].item()
