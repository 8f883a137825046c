"""What predictions by reweighting cost, against as many separate simulations of the same Monte-Carlo error.

    python tests/benchmarks/predict.py runs/water-spce

Prints the wall time of g(r), pressure and compressibility at 200 draws, and for each what 200 separate simulations would
take: every one as many frames as give its average the same Monte-Carlo error, at the measured rate of the engine, without
equilibration. The references, which the run has made already, are not counted; their cost is printed beside.
"""

import argparse
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_enable_x64", True)

from bayescg import output  # noqa: E402
from bayescg.data import statistical_inefficiency  # noqa: E402
from bayescg.study import predict  # noqa: E402
from bayescg.study._predict_run import _stored  # noqa: E402

DRAWS, NAMES = 200, ("rdf", "pressure", "compressibility")


def engine_rate(stored) -> float:
    """Particle-steps per second of the run's own simulations, compilation not counted."""
    best = np.asarray(stored.tree["unconstrained"]["map"].values, float)
    problem = stored.pipeline._problem(stored.loaded, best)
    table, n_samples = stored.pipeline.model.simulation, 20
    starts = problem.configurations[:: max(1, len(problem.configurations) // table.replicas)][
        : table.replicas
    ]
    potential = stored.loaded.prior.potential(jnp.asarray(best))
    for _ in range(2):
        begun = time.perf_counter()
        problem.simulator.simulate([potential], starts=starts, key=jax.random.key(0), n_samples=n_samples)
        seconds = time.perf_counter() - begun
    return (
        len(starts)
        * (n_samples + table.equilibration)
        * table.stride
        * stored.loaded.survey.n_sites
        / seconds
    )


def inefficiency(stored) -> float:
    """Frames of the longest reference for one independent one, of its virial pressure's features on average."""
    longest = max(stored.bank.references, key=lambda r: r.n_frames)
    series = longest.virial @ longest.coefficients
    return float(statistical_inefficiency(series.reshape(-1), lengths=[series.shape[1]] * series.shape[0])[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    begun = time.perf_counter()
    marks: list[tuple[str, float]] = []
    data = predict(
        run, NAMES, n_draws=DRAWS, tell=lambda text: marks.append((text, time.perf_counter() - begun))
    )
    whole = time.perf_counter() - begun
    reading = marks[1][1]
    stored = _stored(output.open_result(run), run)
    rate, g = engine_rate(stored), inefficiency(stored)
    n_sites, stride = stored.loaded.survey.n_sites, stored.pipeline.model.simulation.stride
    kept = int(sum(r.n_frames for r in stored.bank.references))
    print(f"{DRAWS} draws, {kept} reference frames, {n_sites} sites; {g:.1f} frames for an independent one")
    print(f"engine: {rate / 1e6:.2f} million particle-steps per second\n")
    print("| what | seconds |\n|---|---|")
    print(f"| reading data and references, verdict on overlap | {reading:.1f} |")
    print(f"| {', '.join(NAMES)} at {DRAWS} draws, split, shares | {whole - reading:.1f} |")
    print(f"| together | {whole:.1f} |")
    print(f"| for comparison: the references, already made | {kept * stride * n_sites / rate:.0f} |\n")
    print(
        "| observable | Monte-Carlo error | frames of each simulation | seconds of 200 simulations | times cheaper |"
    )
    print("|---|---|---|---|---|")
    for name in NAMES:
        some = data.isel(component=np.flatnonzero(data["of"].values == name))
        # the error of the mean over finitely many draws is the same however they are simulated
        finite = some["parametric_sd"] ** 2 / DRAWS
        error = float(np.sqrt((some["simulation_sd"] ** 2 - finite).mean()))
        chance = float(np.sqrt((some["fluctuation_sd"] ** 2).mean()))
        frames = g * (chance / error) ** 2
        seconds = DRAWS * frames * stride * n_sites / rate
        print(f"| {name} | {error:.3g} | {frames:.0f} | {seconds:.0f} | {seconds / whole:.0f} |")


if __name__ == "__main__":
    main()
