"""How much faster a stored coarse-grained model diffuses than the atomistic trajectory that it was made from.

    python tests/benchmarks/speed_up.py runs/water-spce

The atomistic coefficient is that of the run's mapped frames, the model's is simulated at draws of the calibrated posterior
in the same box, so that no finite-size correction is needed for their ratio.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from bayescg import output
from bayescg.analysis import rescaling_sentence, simulated_split, split_sentence, time_rescaling
from bayescg.physics import diffusion_coefficient, unwrap, without_drift
from bayescg.physics._pair import PairPotential
from bayescg.physics._potential import terms_of
from bayescg.study import simulate_draws
from bayescg.study._prediction_target import PredictionTarget, SimulationBudget
from bayescg.study._stored_fits import StoredFit, stored_fit


def atomistic(fit: StoredFit):
    """Diffusion coefficient of the mapped frames, relative to their centre of mass."""
    survey = fit.loaded.survey
    assert survey.time is not None
    blocks = list(survey.source.blocks(64))
    positions = np.concatenate([block.positions for block in blocks])
    masses = np.asarray(survey.source.topology.masses)
    steps = np.diff(survey.time)
    assert np.allclose(steps, steps[0], rtol=1e-3), "frames of one trajectory at equal times expected"
    whole = without_drift(unwrap(positions, survey.box), masses=masses)
    return diffusion_coefficient(whole[None], time_step=float(steps[0]))


def coarse(fit: StoredFit, *, n_draws: int, n_replicas: int, n_samples: int):
    """Diffusion of the model at draws [draw simulation], and notes."""
    survey, table = fit.loaded.survey, fit.model.simulation
    tree = output.open_result(fit.folder)
    z = np.asarray(tree["unconstrained"]["z_calibrated"].values, float)
    flat = z.reshape(-1, z.shape[-1])
    chosen = flat[np.linspace(0, len(flat) - 1, n_draws).astype(int)]
    reach = max(t.cutoff for t in terms_of(fit.loaded.potential) if isinstance(t, PairPotential))
    return simulate_draws(
        [fit.loaded.prior.potential(jnp.asarray(one)) for one in chosen],
        observables=["diffusion"],
        target=PredictionTarget(
            fit.model.temperature, survey.n_sites, np.asarray(survey.box), np.linspace(0.0, reach, 91), reach
        ),
        budget=SimulationBudget(
            n_replicas, n_samples, n_draws, table.time_step, table.friction, table.stride, table.equilibration
        ),
        masses=np.asarray(survey.source.topology.masses),
        units=fit.pipeline.units,
        configurations=survey.configurations,
        start_box=np.asarray(survey.box),
        key=jax.random.key(1),
        tell=print,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--draws", type=int, default=16)
    parser.add_argument("--replicas", type=int, default=4)
    parser.add_argument("--samples", type=int, default=80)
    given = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    fit = stored_fit(output.open_result(given.run), given.run)
    unit = fit.pipeline.units.unit("length^2/time")
    found = atomistic(fit)
    value = found.coefficient
    print(f"atomistic: {value.value:.4g} ± {value.standard_error:.2g} {unit}, fitted over lags {found.fit}")
    done = coarse(fit, n_draws=given.draws, n_replicas=given.replicas, n_samples=given.samples)
    for note in done.notes:
        print(f"- {note}")
    split = simulated_split(done.values["diffusion"], common_seeds=done.common_seeds)
    print(split_sentence(split))
    print(rescaling_sentence(time_rescaling(split, value)))
    print(f"{done.particle_steps:.3g} particle-steps, {done.seconds:.0f} s")


if __name__ == "__main__":
    main()
