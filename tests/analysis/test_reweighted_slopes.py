"""Derivatives of reweighted averages by parameters: springs and two sites in a box, whose averages are known in closed form."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from bayescg.analysis import (
    System,
    frame_rdf,
    observable_bias,
    reweighted_means,
    reweighted_slopes,
    thermodynamic_slopes,
)
from bayescg.analysis._reweighted_scalars import ScalarInputs, reweighted_thermodynamics
from bayescg.data import get_unit_system
from bayescg.errors import InputError
from bayescg.physics import (
    DoubleWell,
    HarmonicWell,
    LennardJones,
    LinearPotential,
    Reference,
    ReferenceBank,
)
from bayescg.physics._compressibility import hypervirial_per_bin

LJ_UNITS = get_unit_system("lj")
KT, CUTOFF, EPSILON = (
    1.0,
    2.0,
    0.15,
)  # of the reference: softer than the draws, so that its frames hold their short distances
EDGES = np.linspace(0.0, CUTOFF, 21)
NAMES = ("energy", "heat-capacity", "pressure", "compressibility")
POTENTIAL = LennardJones(1.0, 1.0, cutoff=CUTOFF)
DRAWS = {"lj_epsilon": np.array([1.0, 0.8]), "lj_sigma": np.array([1.0, 1.03])}

# ---- exact: two sites in a box, Z = V (V + B), B = ∫ 4π r² (exp(−βu) − 1) dr ----
_nodes, _weights = np.polynomial.legendre.leggauss(400)
R = 0.5 * CUTOFF * (_nodes + 1.0)
SHELL = 4.0 * np.pi * R**2 * 0.5 * CUTOFF * _weights


def b(theta, beta=1.0 / KT):
    u = LennardJones(theta[0], theta[1], cutoff=CUTOFF).pair_energy(jnp.asarray(R**2))
    return jnp.sum(SHELL * jnp.expm1(-beta * u))


SPHERE = 4.0 / 3.0 * np.pi * CUTOFF**3
VOLUME = 2.0 * SPHERE + float(
    b((EPSILON, 1.0))
)  # the reference has the pair within the cutoff half of the time
SYSTEM = System(2, VOLUME, KT, LJ_UNITS, EDGES)


def exact(theta, kT: float = KT) -> jnp.ndarray:  # noqa: N803
    """The four observables."""

    def log_z(beta):
        return jnp.log(VOLUME + b(theta, beta))

    first, second = jax.grad(log_z), jax.grad(jax.grad(log_z))
    whole = VOLUME + b(theta, 1.0 / kT)
    pressure = kT * (1.0 / VOLUME + 1.0 / whole)
    modulus = VOLUME * kT * (1.0 / VOLUME**2 + 1.0 / whole**2)
    return jnp.stack(
        [-first(1.0 / kT) / 2.0, 1.5 + second(1.0 / kT) / (2.0 * kT**2), pressure, 1.0 / modulus]
    )


@cache
def pair_bank() -> ReferenceBank:
    """Two sites in a box: distances at equal steps of their distribution, in place of a simulation."""
    pair, r = LennardJones(EPSILON, 1.0, cutoff=CUTOFF), np.linspace(0.2, CUTOFF, 100_001)
    density = r**2 * np.exp(-np.asarray(pair.pair_energy(jnp.asarray(r**2))) / KT)
    inside = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]))])
    rising = np.concatenate([[True], np.diff(inside) > 0.0])
    level = (np.arange(4_000) + 0.5) / 4_000 * inside[-1]
    near = np.interp(level, inside[rising], r[rising]).reshape(200, 20).T  # neighbours in different replicas
    at = np.concatenate([near, np.full_like(near, 1.1 * CUTOFF)], axis=1)
    basis, slope = jax.jvp(pair.pair_basis, (jnp.asarray(at**2),), (jnp.ones(at.shape),))  # by r²
    counts = (np.digitize(at, EDGES) - 1)[..., None] == np.arange(len(EDGES) - 1)
    reference = Reference(
        np.asarray(pair.coefficients()),
        np.asarray(basis),
        np.asarray(-2.0 * at[..., None] ** 2 * slope),
        counts.astype(np.float32),
        np.zeros((0, 2, 3)),
    )
    return ReferenceBank(1.0 / KT, (reference,))


def exact_with_slopes(theta, kT):  # noqa: N803
    """The four observables and their derivatives by ε and σ."""
    return exact(theta, kT), jax.jacfwd(exact)(theta, kT)


WITH_SLOPES = jax.jit(exact_with_slopes)


def _theta(draw: int) -> np.ndarray:
    return np.array([DRAWS["lj_epsilon"][draw], DRAWS["lj_sigma"][draw]])


@pytest.mark.parametrize("kT", [KT, 1.2])
def test_thermodynamic_slopes_of_two_sites_are_the_exact_ones(kT):  # noqa: N803
    """Energy, C_V, P = kT/V + kT/(V + B) and κ_T from the same, by ε and by σ, at two draws and temperatures."""
    system = SYSTEM._replace(temperature=kT)
    found = thermodynamic_slopes(pair_bank(), POTENTIAL, DRAWS, names=NAMES, system=system)
    for draw in range(2):
        value, slope = WITH_SLOPES(jnp.asarray(_theta(draw)), kT)
        for k, name in enumerate(NAMES):
            tolerance = 0.03 if name == "compressibility" else 1e-5  # from pair counts in bins
            scale = float(np.abs(slope[k]).max())
            assert float(found[name]["mean"][draw]) == pytest.approx(float(value[k]), rel=0.1 * tolerance), (
                name
            )
            np.testing.assert_allclose(
                found[name]["slope"][draw], slope[k], atol=tolerance * scale, err_msg=name
            )


def test_thermodynamic_slopes_are_those_of_the_reweighted_averages():
    """Finite differences of `reweighted_thermodynamics` itself, the bins' hypervirial at each shifted potential."""
    bank, h = pair_bank(), 1e-4
    shifted = np.array([_theta(1) + sign * h * np.eye(2)[p] for p in range(2) for sign in (1, -1)])
    some = [LennardJones(*theta, cutoff=CUTOFF) for theta in shifted]
    eta = np.stack([np.asarray(one.coefficients()) for one in some])
    bins = np.stack([np.asarray(hypervirial_per_bin(one, EDGES, kT=KT)) for one in some])
    inputs = ScalarInputs(eta, bins, 2, VOLUME, KT, LJ_UNITS.pressure_factor, "", "")
    made = reweighted_thermodynamics(bank, inputs, NAMES)
    found = thermodynamic_slopes(bank, POTENTIAL, DRAWS, names=NAMES, system=SYSTEM)
    for name in NAMES:
        values = made[name]["mean"].values
        finite = (values[::2] - values[1::2]) / (2.0 * h)
        # the other function keeps hypervirials in single precision
        tolerance = 2e-3 if name == "compressibility" else 1e-5
        scale = float(np.abs(finite).max())
        np.testing.assert_allclose(found[name]["slope"][1], finite, atol=tolerance * scale, err_msg=name)


def test_slopes_of_the_radial_distribution():
    """g(r) = exp(−u/kT) V/(V + B) averaged over each bin; the slope of the average itself to rounding."""
    bank, h = pair_bank(), 1e-4
    values = frame_rdf(bank, SYSTEM)
    found = reweighted_slopes(bank, POTENTIAL, DRAWS, values, system=SYSTEM)
    assert found["slope"].dims == ("draw", "parameter", "r")
    assert found["parameter"].values.tolist() == ["lj_epsilon", "lj_sigma"]
    theta = _theta(1)
    shifted = [theta + sign * h * np.eye(2)[p] for p in range(2) for sign in (1, -1)]
    eta = np.stack([np.asarray(LennardJones(*one, cutoff=CUTOFF).coefficients()) for one in shifted])
    means = reweighted_means(bank, eta, values)["mean"].values
    np.testing.assert_allclose(
        found["slope"][1], (means[::2] - means[1::2]) / (2.0 * h), rtol=1e-5, atol=1e-6
    )

    def in_bins(theta):
        fine = np.linspace(EDGES[:-1], EDGES[1:], 41, axis=1)
        middle = jnp.asarray(0.5 * (fine[:, 1:] + fine[:, :-1]))
        u = LennardJones(theta[0], theta[1], cutoff=CUTOFF).pair_energy(middle**2)
        g = jnp.exp(-u / KT) * VOLUME / (VOLUME + b(theta))
        return jnp.sum(g * middle**2, axis=1) / jnp.sum(middle**2, axis=1)

    slope = jax.jit(jax.jacfwd(in_bins))(jnp.asarray(theta)).T
    np.testing.assert_allclose(found["slope"][1], slope, atol=0.02 * float(np.abs(slope).max()))


def spring_bank(seed: int, *stiffness: float) -> ReferenceBank:
    """Exact frames of one spring U = k x²/2 at kT = 1."""
    rng = np.random.default_rng(seed)
    made = []
    for k in stiffness:
        x = rng.normal(size=(20, 100, 1)) / np.sqrt(k)
        made.append(Reference(np.array([k]), x**2 / 2.0, x[..., :0], x[..., :0], np.zeros((0, 1, 1))))
    return ReferenceBank(1.0, tuple(made))


def test_springs_and_their_errors_over_repetitions():
    """⟨x²⟩ = kT/k has the slope −kT/k², energy and C_V none; the errors are the spread of repeated simulations."""
    system = System(1, 1.0, 1.0, LJ_UNITS, np.zeros(0))
    draws = {"well_k": np.array([1.0, 1.3])}
    rows, errors = [], []
    for seed in range(30):
        bank = spring_bank(seed, 1.0, 1.2)
        values = xr.DataArray(2.0 * bank.features[:, 0], dims="frame")
        square = reweighted_slopes(bank, HarmonicWell(1.0), draws, values, system=system)
        scalars = thermodynamic_slopes(
            bank, HarmonicWell(1.0), draws, names=("energy", "heat-capacity"), system=system, dim=1
        )
        tables = [square, *scalars.values()]
        rows.append([[t["mean"].values, t["slope"].values[:, 0]] for t in tables])
        errors.append([[t["mean_se"].values, t["slope_se"].values[:, 0]] for t in tables])
    found, claimed = np.array(rows), np.array(errors)  # [seed observable value|slope draw]
    k = draws["well_k"]
    zero = np.zeros(2)
    expected = np.array([[1.0 / k, -1.0 / k**2], [zero + 0.5, zero], [zero + 1.0, zero]])
    standard_error = found.std(axis=0, ddof=1) / np.sqrt(30)
    assert np.all(np.abs(found.mean(axis=0) - expected) < 4.0 * standard_error + 0.01)
    ratio = np.mean(claimed**2, axis=0) / found.var(axis=0, ddof=1)
    assert np.all(np.abs(np.log(ratio)) < 4.0 * np.sqrt(2.0 / 29)), ratio


def test_agreement_with_the_sensitivity_of_observable_bias():
    """By the coefficients themselves at a map: the same c = −β Cov(g, φ)."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(20, 100, 1))
    features = np.concatenate([-(x**2) / 2.0, x**4 / 4.0], axis=-1)
    eta = np.array([-1.0, 0.05])
    bank = ReferenceBank(1.0, (Reference(eta, features, x[..., :0], x[..., :0], np.zeros((0, 1, 1))),))
    inside = (np.abs(x.ravel()) < 0.5).astype(float)
    at = np.array([-0.9, 0.08])
    bias = observable_bias(inside, bank.surrogate(), at=at, coefficients=at[None])
    found = reweighted_slopes(
        bank,
        DoubleWell(-1.0, 0.05),
        {"well_t1": at[:1], "well_t2": at[1:]},
        xr.DataArray(inside, dims="frame"),
        system=System(1, 1.0, 1.0, LJ_UNITS, np.zeros(0)),
    )
    assert float(found["mean"][0]) == pytest.approx(bias.at_map)
    np.testing.assert_allclose(found["slope"][0], bias.sensitivity, rtol=1e-9)
    one_array = reweighted_slopes(
        bank,
        LinearPotential(eta, function=jnp.ravel, name="line"),
        {"line_theta": at[None]},
        xr.DataArray(inside, dims="frame"),
        system=System(1, 1.0, 1.0, LJ_UNITS, np.zeros(0)),
    )
    assert one_array["parameter"].values.tolist() == ["line_theta[0]", "line_theta[1]"]
    np.testing.assert_allclose(one_array["slope"][0], bias.sensitivity, rtol=1e-9)


def test_units_say_what_a_slope_is_of():
    system = System(1, 1.0, 120.0, get_unit_system("gromacs"), np.zeros(0))
    made = thermodynamic_slopes(
        spring_bank(0, 1.0, 1.2),
        HarmonicWell(1.0),
        {"well_k": np.array([1.0, 1.3])},
        names=("energy", "heat-capacity"),
        system=system,
        dim=1,
    )["energy"]
    assert made["mean"].attrs["units"] == "kJ/mol"
    assert made["slope"].attrs["units"] == "(kJ/mol) / parameter_units"
    assert made["parameter_units"].values.tolist() == ["1"]


def test_bad_input_is_refused():
    bank, draws = spring_bank(0, 1.0), {"well_k": np.array([1.0])}
    system = System(1, 1.0, 1.0, LJ_UNITS, np.zeros(0))
    values = xr.DataArray(np.zeros(3), dims="frame")
    with pytest.raises(InputError, match="2000 of them expected"):
        reweighted_slopes(bank, HarmonicWell(1.0), draws, values, system=system)
    for names, what in ((("colour",), "none of energy"), (("pressure",), "keep no virials")):
        with pytest.raises(InputError, match=what):
            thermodynamic_slopes(bank, HarmonicWell(1.0), draws, names=names, system=system)
    for wrong, what in (({"k": np.ones(1)}, "parameters are well_k"), ({"well_k": np.ones((1, 2))}, "shape")):
        with pytest.raises(InputError, match=what):
            thermodynamic_slopes(bank, HarmonicWell(1.0), wrong, names=("energy",), system=system)
    with pytest.raises(InputError, match="the edges that they were counted with"):
        frame_rdf(bank, SYSTEM)
