"""Langevin sampling of parameters at a temperature: occupations by quadrature, escape by Arrhenius' law (T16)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayescg.errors import InputError
from bayescg.inference import LossTarget, TemperedLangevin
from bayescg.inference._checkpoint import arrays_to_tree, tree_to_arrays


def wide_and_narrow(z, data):
    """A narrow minimum at −1, deeper by 0.5, and a wide one at 1."""
    narrow, wide = 0.5 - 20.0 * (z[0] + 1.0) ** 2, -1.0 * (z[0] - 1.0) ** 2
    return -jnp.logaddexp(narrow, wide)


def two_wells(z, data):
    """Wells at ±1 with a barrier of height 1 between them."""
    return (z[0] ** 2 - 1.0) ** 2


def target(temperature: float, *, root: float = 1.0) -> LossTarget:
    return LossTarget((), jnp.zeros(1), root * jnp.eye(1), jnp.asarray(temperature))


def on_grid(loss, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and normalised probabilities."""
    x = np.linspace(-6.0, 8.0, 14001)
    values = np.asarray(jax.vmap(lambda one: loss(one, ()))(jnp.asarray(x)[:, None]))
    p = np.exp(-(values - values.min()) / temperature)
    return x, p / p.sum()


@pytest.mark.parametrize("temperature", [0.6, 1.2])
def test_a_wide_minimum_is_occupied_by_its_volume(temperature):
    """The narrow minimum is the deeper one: most of the probability is in the wide one all the same."""
    sampler = TemperedLangevin(wide_and_narrow, time_step=0.04, friction=1.0, thin=50)
    where = target(temperature)
    state = sampler.initial_state(jax.random.key(0), where, n_chains=2000)
    state, _ = sampler.step(state, where, n=40)
    state, draws = sampler.step(state, where, n=60)
    x, p = on_grid(wide_and_narrow, temperature)
    top = x[(x > -1.0) & (x < 1.0)][np.argmin(p[(x > -1.0) & (x < 1.0)])]
    in_wide = (draws.z[..., 0] > top).mean(axis=1)
    exact = p[x > top].sum()
    error = in_wide.std(ddof=1) / np.sqrt(len(in_wide))
    assert exact > 0.5 and float(wide_and_narrow(jnp.array([-1.0]), ())) < float(
        wide_and_narrow(jnp.array([1.0]), ())
    )
    assert abs(in_wide.mean() - exact) < 4.0 * error + 0.003
    second = (draws.z[..., 0] ** 2).mean(axis=1)
    assert abs(second.mean() - p @ x**2) < 4.0 * second.std(ddof=1) / np.sqrt(len(second)) + 0.01


def test_the_energy_is_the_loss_over_the_temperature():
    sampler = TemperedLangevin(two_wells, time_step=0.1, friction=1.0)
    state, draws = sampler.step(
        sampler.initial_state(jax.random.key(1), target(0.5), n_chains=3), target(0.5), n=4
    )
    expected = (draws.z[..., 0] ** 2 - 1.0) ** 2 / 0.5
    np.testing.assert_allclose(draws.energy, expected, rtol=1e-12)


def test_escape_over_a_barrier_follows_arrhenius():
    """The slope of ln k against 1/τ is −ΔL = −1, and that of transition-state theory by quadrature."""
    temperatures = np.array([1 / 3, 1 / 4, 1 / 5, 1 / 6])
    sampler = TemperedLangevin(two_wells, time_step=0.05, friction=2.0, thin=4)
    rates, errors, theory = [], [], []
    for temperature in temperatures:
        where = target(temperature)
        start = jnp.full((4000, 1), -1.0)
        state = sampler.state_at(jax.random.key(2), where, start)
        state, _ = sampler.step(state, where, n=25)
        state, draws = sampler.step(state, where, n=900)
        count, time = crossings(draws.z[..., 0]), draws.z[..., 0].size * 4 * 0.05
        rates.append(count / time)
        errors.append(1.0 / np.sqrt(count))
        x, _ = on_grid(two_wells, temperature)
        well = np.exp(-((x[x < 0.0] ** 2 - 1.0) ** 2) / temperature).sum() * (x[1] - x[0])
        theory.append(np.sqrt(temperature / (2 * np.pi)) * np.exp(-1.0 / temperature) / well)
    weights = 1.0 / np.array(errors)
    slope = np.polyfit(1.0 / temperatures, np.log(rates), 1, w=weights)[0]
    of_theory = np.polyfit(1.0 / temperatures, np.log(theory), 1, w=weights)[0]
    assert abs(slope + 1.0) < 0.1
    assert abs(slope - of_theory) < 0.06
    kappa = np.array(rates) / theory  # Kramers' transmission: (√(γ²/4 + ω²) − γ/2)/ω with γ = ω = 2
    np.testing.assert_allclose(kappa, 0.618, rtol=0.2)


def crossings(x: np.ndarray) -> int:
    """How often chains went from one well's core to the other's, beyond ±0.6."""
    core = np.where(x > 0.6, 1, np.where(x < -0.6, -1, 0))
    index = np.where(core != 0, np.arange(x.shape[1]), 0)
    last = np.take_along_axis(core, np.maximum.accumulate(index, axis=1), axis=1)
    return int(np.sum(last[:, 1:] * last[:, :-1] == -1))


def test_a_run_in_pieces_gives_the_same_bits():
    sampler = TemperedLangevin(two_wells, time_step=0.1, friction=1.0, thin=3)
    where = target(0.5, root=0.7)
    begin = sampler.initial_state(jax.random.key(5), where, n_chains=4)
    _, whole = sampler.step(begin, where, n=10)
    half, first = sampler.step(begin, where, n=4)
    restored = arrays_to_tree(tree_to_arrays(half), begin)
    _, second = sampler.step(restored, where, n=6)
    np.testing.assert_array_equal(whole.z, np.concatenate([first.z, second.z], axis=1))
    again = sampler.initial_state(jax.random.key(5), where, n_chains=4)
    np.testing.assert_array_equal(sampler.step(again, where, n=10)[1].z, whole.z)
    other = sampler.initial_state(jax.random.key(6), where, n_chains=4)
    assert not np.any(sampler.step(other, where, n=10)[1].z == whole.z)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [({"time_step": 0.0}, "time_step 0.0"), ({"friction": -1.0}, "friction -1.0"), ({"thin": 0}, "thin 0")],
)
def test_impossible_numbers_are_refused(numbers, message):
    with pytest.raises(InputError, match=message):
        TemperedLangevin(two_wells, **{"time_step": 0.1, "friction": 1.0, **numbers})


def test_a_temperature_of_zero_is_refused():
    sampler = TemperedLangevin(two_wells, time_step=0.1, friction=1.0)
    with pytest.raises(InputError, match="temperature is 0.0, expected a positive"):
        sampler.initial_state(jax.random.key(0), target(0.0), n_chains=1)
