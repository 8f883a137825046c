"""The harmonic well and the angle's Fourier series: energies, forces, periodicity, and what the model file makes of them."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from bayescg.errors import InputError
from bayescg.physics import AngleFourier, HarmonicWell, Potential
from bayescg.study._build import build_potential
from bayescg.study._read import parse_model_file

OPEN, CIRCLE = jnp.array([jnp.inf]), jnp.array([2 * jnp.pi])
CASES = [(HarmonicWell(1.7), OPEN), (AngleFourier(0.8, -0.4), CIRCLE), (AngleFourier(0.8, -0.4), OPEN)]
HEAD = """\
title = "t"
units = "lj"
temperature = 1.0
[data]
frames = ["frames.nc"]
[simulation]
time_step = 0.1
friction = 1.0
stride = 20
"""


@pytest.mark.parametrize(("potential", "box"), CASES)
def test_forces_are_the_energy_s_slope(potential: Potential, box):
    x, step = jnp.array([[0.3], [2.1]]), 1e-5
    forces = np.asarray(potential.forces(x, box))
    for site in range(2):
        move = jnp.zeros_like(x).at[site, 0].set(step)
        slope = (potential.energy(x + move, box) - potential.energy(x - move, box)) / (2 * step)
        assert forces[site, 0] == pytest.approx(-float(slope), abs=1e-8)


@pytest.mark.parametrize(("potential", "box"), CASES)
def test_every_parameter_moves_the_energy(potential: Potential, box):
    x, values = jnp.array([[0.3], [2.1]]), potential.parameter_values()
    assert [info.name for info in potential.parameters()] == list(values)
    slopes = jax.grad(lambda v: potential.with_parameters(v).energy(x, box))(values)
    assert all(abs(float(slope)) > 1e-3 for slope in slopes.values())


def test_an_angle_is_periodic_in_its_box_and_in_any_other():
    angle = AngleFourier(0.8, -0.4)
    x = jnp.array([[0.3]])
    assert float(angle.energy(x + 2 * jnp.pi, CIRCLE)) == pytest.approx(float(angle.energy(x, CIRCLE)))
    degrees = jnp.array([360.0])
    assert float(angle.energy(x * 180 / jnp.pi, degrees)) == pytest.approx(float(angle.energy(x, CIRCLE)))


def test_log_z_of_one_harmonic_is_bessel_s():
    grid = jnp.linspace(0.0, 2 * jnp.pi, 400, endpoint=False)
    energy = jax.vmap(lambda x: AngleFourier(0.0, 0.516490).energy(x[None, None], CIRCLE))(grid)
    assert float(jnp.mean(jnp.exp(-energy))) == pytest.approx(special.i0(0.516490), rel=1e-12)


def model_of(text: str):
    return build_potential(parse_model_file(HEAD + text, Path("model.toml")), path=Path("model.toml"))


def test_the_model_file_knows_both_kinds():
    well = model_of('[potential.well]\nkind = "harmonic-well"\nk = 5.0\n')
    assert {name: float(v) for name, v in well.parameter_values().items()} == {"well_k": 5.0}
    angle = model_of('[potential.phi]\nkind = "angle-fourier"\nkappa1 = 0.5\nkappa2 = -1.0\n')
    values = {name: float(v) for name, v in angle.parameter_values().items()}
    assert values == {"phi_kappa1": 0.5, "phi_kappa2": -1.0}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('kind = "harmonic-well"\nk = 0.0\n', "k"),
        ('kind = "angle-fourier"\nkappa1 = 0.5\n', "kappa2"),
        ('kind = "angle-fourier"\nkappa1 = 0.5\nkappa2 = 0.1\nkappa3 = 0.1\n', "kappa3"),
    ],
)
def test_a_wrong_key_is_named(text, key):
    with pytest.raises(InputError, match=f"potential.x.*{key}"):
        model_of(f"[potential.x]\n{text}")
