"""Bias of simulated averages, BAOAB at several time steps against Metropolised sampling, on one-site water.

usage: python tests/benchmarks/sampler_bias.py RUN [--samples 600]

RUN is the output folder of a finished `bayescg run models/water-spce`. Every row is one simulation at the MAP: the
shift of the posterior mean that its averages would cause, in calibrated standard deviations per direction, against
the Metropolised bank; the noise of the comparison is subtracted from the root mean square.
"""

import argparse
import json
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import xarray as xr  # noqa: E402

from bayescg.inference import read_bank  # noqa: E402
from bayescg.inference._verify import mean_covariance, shift_matrix  # noqa: E402
from bayescg.physics import SimulationSettings, Simulator  # noqa: E402
from bayescg.study import Study  # noqa: E402
from bayescg.study._build import build_potential, build_prior  # noqa: E402
from bayescg.study._sources import open_data  # noqa: E402


def main() -> None:
    """Prints a markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--samples", type=int, default=600)
    options = parser.parse_args()
    study = Study.from_file(Path(json.loads((options.run / "run.json").read_text())["model"]))
    model, units = study.model, study.units
    potential = build_potential(model, path=study.path)
    prior = build_prior(model, potential, units, path=study.path)
    frames = open_data(model, study.path, units)
    box = next(frames.blocks(1)).box[0]
    bank = read_bank(options.run / "bank.nc")
    result = xr.open_datatree(options.run / "posterior.nc")["unconstrained"]
    z = jnp.asarray(result["map"].values)
    to_shift = shift_matrix(
        n_frames=frames.n_frames,
        beta=bank.beta,
        laplace_covariance=result["laplace_covariance"].values,
        calibrated_covariance=result["calibrated_covariance"].values,
        coefficient_jacobian=np.asarray(jax.jacobian(lambda z: prior.potential(z).coefficients())(z)),
    )
    eta = np.asarray(prior.potential(z).coefficients())
    weights = bank.weights(eta)
    own = bank.feature_covariance_error(eta, projection=to_shift)
    starts = bank.references[-1].configurations
    starts = starts[np.arange(16) % len(starts)]
    print(
        "| sampler | time step [ps] | acceptance | rms bias [sd] | noise per direction [sd] | largest shift [sd] |"
    )
    print("|---|---|---|---|---|---|")
    for metropolis, time_step in (
        (True, 0.007),
        (False, 0.0025),
        (False, 0.005),
        (False, 0.007),
        (False, 0.010),
    ):
        stride = max(1, round(0.175 / time_step))
        simulator = Simulator(
            potential, topology=frames.topology, box=box, units=units, temperature=model.temperature,
            settings=SimulationSettings(time_step, 5.0, stride, 16, 20, 20, metropolis=metropolis),
        )  # fmt: skip
        (reference,) = simulator.simulate(
            [prior.potential(z)], starts=starts, key=jax.random.key(5), n_samples=options.samples
        )
        difference = to_shift @ (
            reference.features.reshape(reference.n_frames, -1).mean(0) - weights @ bank.features
        )
        noise = np.trace(own + mean_covariance(reference.features @ to_shift.T)) / len(difference)
        rms = np.sqrt(max(np.mean(difference**2) - noise, 0.0))
        name = "Metropolised" if metropolis else "BAOAB"
        accepted = f"{reference.acceptance:.2f}" if metropolis else "–"
        print(
            f"| {name} | {time_step:g} | {accepted} | {rms:.2f} | {np.sqrt(noise):.2f} |"
            f" {np.abs(difference).max():.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
