"""Thermodynamic observables against exact answers: hard rods, harmonic coordinates, ideal gases, closed-form integrals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bayescg.errors import InputError
from bayescg.physics import (
    HarmonicWell,
    LennardJones,
    PairPotential,
    axis_pressures,
    axis_virials,
    constant_number_shift,
    frame_energies,
    heat_capacity,
    insertion_energies,
    insertion_shift,
    isobaric_heat_capacity,
    isothermal_compressibility,
    tail_correction,
    thermal_expansion,
    widom,
)
from bayescg.physics._pair import smooth_switch

BOX = np.array([5.2, 5.4, 5.6])


def full(epsilon=1.0, sigma=1.0):
    return LennardJones(epsilon, sigma, cutoff=np.inf, convention="truncated")


# --- tails ---


def test_tails_of_lennard_jones_are_the_closed_forms():
    """u/N = 8π/3 ρ ε σ³ [(σ/r)⁹/3 − (σ/r)³], p = 16π/3 ρ² ε σ³ [2/3 (σ/r)⁹ − (σ/r)³]."""
    epsilon, sigma, cutoff, n, volume = 0.7, 1.1, 2.9, 100, 180.0
    tail = tail_correction(full(epsilon, sigma), cutoff=cutoff)
    rho, x = n / volume, sigma / cutoff
    u = 8 * np.pi / 3 * rho * epsilon * sigma**3 * (x**9 / 3 - x**3)
    p = 16 * np.pi / 3 * rho**2 * epsilon * sigma**3 * (2 / 3 * x**9 - x**3)
    assert float(tail.energy(n_sites=n, volume=volume)) == pytest.approx(n * u, rel=1e-12)
    assert float(tail.pressure(n_sites=n, volume=volume)) == pytest.approx(p, rel=1e-12)
    assert float(tail.chemical_potential(n_sites=n, volume=volume)) == pytest.approx(2 * u, rel=1e-12)
    # the barostat's energy c/V has that pressure
    c = float(tail.over_volume(n_sites=n))
    assert c / volume**2 == pytest.approx(p, rel=1e-12)


def test_tails_are_batched_and_differentiable_in_the_parameters():
    def energy(epsilon, sigma):
        return tail_correction(full(epsilon, sigma), cutoff=3.0).energy_integral

    both = jax.vmap(energy)(jnp.array([1.0, 2.0]), jnp.array([1.0, 1.0]))
    assert float(both[1] / both[0]) == pytest.approx(2.0, rel=1e-12)
    slope = jax.grad(energy, argnums=1)(1.0, 1.0)
    difference = (energy(1.0, 1.0 + 1e-5) - energy(1.0, 1.0 - 1e-5)) / 2e-5
    assert float(slope) == pytest.approx(float(difference), rel=1e-7)


def test_a_switched_potential_loses_what_the_switch_takes_away():
    onset, cutoff = 2.0, 2.6
    switched = LennardJones(1.0, 1.0, cutoff=cutoff, convention="smooth", onset=onset)
    tail = tail_correction(full(), cutoff=cutoff, switched=switched, onset=onset)
    r = np.linspace(onset, cutoff, 200001)
    u = 4 * (r**-12 - r**-6)
    missing = u * (1 - np.asarray(smooth_switch(jnp.asarray(r**2), onset=onset, cutoff=cutoff)))
    beyond = tail_correction(full(), cutoff=cutoff)
    assert float(tail.energy_integral) == pytest.approx(
        float(beyond.energy_integral) + 2 * np.pi * np.trapezoid(missing * r**2, r), rel=1e-8
    )
    virial = -2 * np.pi / 3 * np.trapezoid(np.gradient(missing, r) * r**3, r)
    assert float(tail.virial_integral) == pytest.approx(float(beyond.virial_integral) + virial, rel=1e-5)
    # no jump anywhere: the virial's integral follows from the energy's by parts
    assert float(tail.virial_integral) == pytest.approx(float(tail.energy_integral), rel=1e-10)


class Coulomb(PairPotential):
    """u = 1/r, to be refused."""

    cutoff: float = np.inf
    name: str = "coulomb"
    tabulated = False

    def coefficients(self):
        return jnp.ones(1)

    def pair_basis(self, r2):
        return (1 / jnp.sqrt(r2))[..., None]

    def parameters(self):
        return ()


def test_tails_that_do_not_converge_are_refused():
    with pytest.raises(InputError, match="Ewald"):
        tail_correction(Coulomb(), cutoff=2.0)
    with pytest.raises(InputError, match="onset"):
        tail_correction(full(), cutoff=2.0, switched=full())


# --- virial and pressure ---


def test_axis_virials_are_derivatives_and_sum_to_the_features_virial(cases):
    lj = cases.make("lj_shifted")
    x, box = jnp.asarray(cases.sites), jnp.asarray(cases.box)
    virials = np.asarray(axis_virials(lj, x, box))
    for axis in range(3):
        scale = np.ones(3)
        scale[axis] = np.exp(1e-6)
        up, down = (float(lj.energy(x * s, box * s)) for s in (scale, 1 / scale))
        assert virials[axis] == pytest.approx(-(up - down) / 2e-6, rel=1e-5)
    from bayescg.physics import FrameReducer

    _, features, _ = FrameReducer(lj, box=cases.box)(np.asarray(x)[None])
    assert virials.sum() == pytest.approx(float(features[0] @ np.asarray(lj.coefficients())), rel=1e-10)
    both = np.asarray(axis_virials(lj, jnp.stack([x, x + 0.3]), jnp.stack([box, box])))
    np.testing.assert_allclose(both, np.stack([virials, virials]), rtol=1e-9)  # translation, and a batch


def test_pressure_of_an_ideal_gas_and_of_an_open_box():
    p = axis_pressures(jnp.zeros((4, 3)), jnp.asarray(BOX), n_sites=10, kT=1.5)
    np.testing.assert_allclose(p, 15.0 / BOX.prod())
    with pytest.raises(InputError, match="open box"):
        axis_virials(full(), jnp.zeros((2, 3)), jnp.array([3.0, 3.0, jnp.inf]))


def test_frame_energies_in_a_batch(cases):
    lj = cases.make("lj_smooth")
    x = jnp.stack([jnp.asarray(cases.sites)] * 2)
    one = float(lj.energy(x[0], jnp.asarray(cases.box)))
    np.testing.assert_allclose(frame_energies(lj, x, cases.box), [one, one], rtol=1e-12)


# --- fluctuations ---


def test_heat_capacity_of_correlated_harmonic_coordinates():
    """An Ornstein–Uhlenbeck process in 12 coordinates: C = 12/2, although frames are strongly correlated."""
    rng, a = np.random.default_rng(3), 0.9
    x = rng.normal(size=(40, 12))
    series = []
    for _ in range(1500):
        x = a * x + np.sqrt(1 - a * a) * rng.normal(size=x.shape)
        series.append(0.5 * np.sum(x**2, axis=1))
    u = np.stack(series, axis=1)
    found = heat_capacity(u, kT=1.0, degrees_of_freedom=0)
    assert abs(found.value - 6.0) < 4 * found.standard_error and found.standard_error < 0.2
    assert heat_capacity(3 * u, kT=3.0, degrees_of_freedom=12).value == pytest.approx(6.0 + found.value)
    # coverage of the error: many short pieces of it, each its own experiment
    short = [heat_capacity(u[i : i + 4], kT=1.0, degrees_of_freedom=0) for i in range(0, 40, 4)]
    z = np.array([(s.value - 6.0) / s.standard_error for s in short])
    assert abs(z.mean()) < 4 / np.sqrt(10) and 0.3 < z.std(ddof=1) < 2.2


def test_few_correlated_frames_do_not_lower_the_variance():
    """Var of short correlated series, uncorrected, is low by g/n; the estimate is not."""
    rng, a = np.random.default_rng(4), 0.8
    values, naive = [], []
    for _ in range(500):
        noise = rng.normal(size=(1, 120))
        x = np.empty_like(noise)
        x[:, 0] = noise[:, 0]
        for t in range(1, 120):
            x[:, t] = a * x[:, t - 1] + np.sqrt(1 - a * a) * noise[:, t]
        values.append(heat_capacity(x, kT=1.0, degrees_of_freedom=0).value)
        naive.append(x.var())
    error = np.std(values) / np.sqrt(500)
    assert np.mean(naive) < 1 - 3 * error
    assert abs(np.mean(values) - 1.0) < 4 * error


def test_response_functions_of_an_ideal_gas_at_constant_pressure():
    """V ~ Gamma(N + 1): κ = 1/P, α = 1/T, C_P = 5N/2 + 1 with this measure of the volume."""
    n, pressure, kT = 20, 2.5, 1.5
    v = np.random.default_rng(0).gamma(n + 1.0, size=(10, 4000)) * kT / pressure
    kappa = isothermal_compressibility(v, kT=kT)
    assert abs(kappa.value - 1 / pressure) < 4 * kappa.standard_error
    alpha = thermal_expansion(v, pressure * v, kT=kT)
    assert abs(alpha.value - 1 / kT) < 4 * alpha.standard_error
    capacity = isobaric_heat_capacity(pressure * v, kT=kT, degrees_of_freedom=3 * n)
    assert abs(capacity.value - (2.5 * n + 1)) < 4 * capacity.standard_error
    assert kappa.standard_error < 0.03 / pressure


@pytest.mark.parametrize("bad", [np.ones(30), np.full((2, 30), np.nan), -np.ones((2, 30))])
def test_bad_volumes_are_refused(bad):
    with pytest.raises(InputError, match="compressibility"):
        isothermal_compressibility(bad, kT=1.0)


# --- insertion: hard rods on a ring, exactly ---


class HardRods(PairPotential):
    """Rods of length 1."""

    cutoff: float = 1.0
    name: str = "rods"
    tabulated = False

    def coefficients(self):
        return jnp.ones(1)

    def pair_basis(self, r2):
        return jnp.where(r2 < 1.0, jnp.inf, 0.0)[..., None]

    def parameters(self):
        return ()


def rods_on_a_ring(n, length, n_frames, seed=0):
    """Independent configurations: gaps are a broken stick."""
    rng = np.random.default_rng(seed)
    sticks = rng.exponential(size=(n_frames, n))
    gaps = 1.0 + (length - n) * sticks / sticks.sum(axis=1, keepdims=True)
    return np.cumsum(gaps, axis=1)[..., None]


N_RODS, LENGTH = 12, 24.0
FREE = (LENGTH - N_RODS) / LENGTH * (1 - 1 / (LENGTH - N_RODS)) ** N_RODS
"""The chance that one more rod fits."""


def test_insertion_of_hard_rods_is_exact():
    x = rods_on_a_ring(N_RODS, LENGTH, 4000).reshape(20, 200, N_RODS, 1)
    energies = insertion_energies(HardRods(), x, np.array([LENGTH]), key=jax.random.key(0), n_insertions=50)
    found = widom(np.asarray(energies), kT=2.0)
    mu = found.chemical_potential
    assert abs(mu.value + 2.0 * np.log(FREE)) < 4 * mu.standard_error and mu.standard_error < 0.03
    # every successful insertion counts alike
    free = np.mean(np.asarray(energies) == 0.0)
    assert found.effective_insertions == pytest.approx(free * energies.size)
    # a wrong statement, that of an infinite system, is told apart
    rho = N_RODS / LENGTH
    infinite = 2.0 * (-np.log(1 - rho) + rho / (1 - rho))
    assert abs(mu.value - infinite) > 4 * mu.standard_error


def test_insertion_at_fluctuating_length_weighs_with_the_volume():
    """Two lengths in equal shares: ⟨V e^{−βΔU}⟩/⟨V⟩."""
    lengths, shares = np.array([18.0, 30.0]), []
    energies = []
    for seed, length in enumerate(lengths):
        x = rods_on_a_ring(N_RODS, length, 2000, seed).reshape(10, 200, N_RODS, 1)
        energies.append(
            insertion_energies(HardRods(), x, np.array([length]), key=jax.random.key(seed), n_insertions=50)
        )
        shares.append((length - N_RODS) / length * (1 - 1 / (length - N_RODS)) ** N_RODS)
    u = np.concatenate([np.asarray(e) for e in energies], axis=1)
    volumes = np.broadcast_to(np.repeat(lengths, 200), (10, 400))
    expected = -np.log((lengths @ np.array(shares)) / lengths.sum())
    mu = widom(u, kT=1.0, volumes=volumes).chemical_potential
    assert abs(mu.value - expected) < 4 * mu.standard_error
    unweighted = widom(u, kT=1.0).chemical_potential
    assert abs(unweighted.value - expected) > 4 * unweighted.standard_error


def test_finite_size_shifts_of_hard_rods_are_the_exact_first_order():
    """On a ring βP_N = 1/L + (N − 1)/(L − N) and the chance of insertion are known for every N."""
    for n in (200, 2000):
        rho, length = 0.4, n / 0.4
        pressure = 1 / length + (n - 1) / (length - n)
        infinite = rho / (1 - rho)
        shift = constant_number_shift(
            2 / (1 - rho) ** 3, density=rho, n_sites=n, structure_factor=(1 - rho) ** 2
        )
        assert pressure - infinite == pytest.approx(shift, rel=1e-9)
        mu = -np.log((length - n) / length * (1 - 1 / (length - n)) ** n)
        mu_infinite = -np.log(1 - rho) + rho / (1 - rho)
        shift = insertion_shift(1 / (1 - rho) ** 2, 2 / (1 - rho) ** 3, density=rho, n_sites=n, kT=1.0)
        assert mu - mu_infinite == pytest.approx(shift, rel=5 / n)


def test_insertions_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="HarmonicWell"):
        insertion_energies(HarmonicWell(1.0), np.zeros((1, 2, 3)), BOX, key=jax.random.key(0), n_insertions=1)
    with pytest.raises(InputError, match="all infinite"):
        widom(np.full((2, 20, 3), np.inf), kT=1.0)
    with pytest.raises(InputError, match="volumes"):
        widom(np.zeros((2, 20, 3)), kT=1.0, tail=tail_correction(full(), cutoff=2.0))
