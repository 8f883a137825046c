"""Seconds per posterior draw for each property of Stillinger–Weber silicon.

    python tests/benchmarks/properties.py [--draws 200]

Draws are the published parameters with A, B, λ and σ spread by about a per cent. Every property is evaluated at all draws
in one compiled call; the first call compiles, the second is timed. The relaxation of the crystal, which all properties
share, has its own row.
"""

import argparse
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

SPREAD = {"sw_A": 0.01, "sw_B": 0.01, "sw_lambda": 0.02, "sw_sigma": 0.003}


def main() -> None:
    from bayescg.data import get_unit_system
    from bayescg.physics import (
        Bulk,
        CohesiveEnergy,
        Crystal,
        ElasticConstants,
        EquationOfState,
        LatticeConstants,
        PhononDispersion,
        StillingerWeber,
        SurfaceEnergy,
        VacancyEnergy,
        wave_vector_path,
    )

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=200)
    n_draws = parser.parse_args().draws
    jax.config.update("jax_enable_x64", True)
    metal = get_unit_system("metal")
    potential = StillingerWeber.silicon(cutoff=4.0).vary(*SPREAD)
    centre = potential.parameter_values()
    rng = np.random.default_rng(0)
    draws = {name: value * np.exp(SPREAD[name] * rng.normal(size=n_draws)) for name, value in centre.items()}
    crystal = Crystal.bulk("Si", "diamond", a=5.43)
    bulk = Bulk.of(crystal, potential)
    path = wave_vector_path(crystal, "GXWKGL", n_points=40)
    properties = {
        "lattice constant": LatticeConstants.of(bulk, units=metal),
        "cohesive energy": CohesiveEnergy.of(bulk, units=metal),
        "elastic constants": ElasticConstants.of(bulk, units=metal),
        "equation of state, 6 volumes": EquationOfState.of(bulk, units=metal),
        "phonons, 40 wave vectors": PhononDispersion.of(bulk, wave_vectors=path, units=metal),
        "vacancy, 63 atoms": VacancyEnergy.of(bulk, potential, repeats=(2, 2, 2), units=metal),
        "surface (100), 48 atoms": SurfaceEnergy.of(
            bulk, potential, miller=(1, 0, 0), layers=12, repeats=(2, 1), units=metal
        ),
        "surface (111), 12 atoms": SurfaceEnergy.of(bulk, potential, miller=(1, 1, 1), layers=6, units=metal),
    }

    def timed(name: str, function, *arguments):
        compiled = eqx.filter_jit(function)
        start = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        first = time.perf_counter() - start
        start = time.perf_counter()
        found = jax.block_until_ready(compiled(*arguments))
        seconds = time.perf_counter() - start
        failed = int(np.sum(np.asarray(found.code) != 0))
        print(f"{name:30s} {seconds / n_draws:14.5f} {first - seconds:12.1f} {failed:13d}", flush=True)
        return found

    print(f"{'':30s} {'s per draw':>14s} {'compiling, s':>12s} {'failed draws':>13s}")
    theta = jax.tree.map(jnp.asarray, draws)
    relaxed = timed(
        "relaxed crystal",
        lambda bulk, theta: jax.lax.map(lambda t: bulk.relaxed(potential.with_parameters(t)), theta),
        bulk,
        theta,
    )
    for name, one in properties.items():
        timed(
            name,
            lambda one, data: jax.lax.map(
                lambda row: one.evaluate_at(potential.with_parameters(row[0]), row[1]), data
            ),
            one,
            (theta, relaxed),
        )


if __name__ == "__main__":
    main()
