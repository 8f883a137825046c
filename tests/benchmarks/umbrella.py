"""What the Jacobian does to a two-dimensional umbrella profile, and coverage of the series' statistics.

    python tests/benchmarks/umbrella.py

prints three tables: errors of a known surface of three sites with and without the Jacobian; coverage of intercept, slope
and zero of a series of runs; coverage and verdicts of growth rates. With `--figure FILE` it also draws the surface.
"""

import argparse

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np

from bayescg.analysis import growth_fit, linear_response
from bayescg.data import Topology, get_unit_system
from bayescg.physics import (
    BondAngle,
    LinearPotential,
    PairDistance,
    SimulationSettings,
    UmbrellaState,
    UmbrellaWindows,
    free_energy_surface,
    starts_in_windows,
    umbrella_sampling,
)

R, THETA = PairDistance(0, 1), BondAngle(0, 1, 2)
ETA = np.array([4.0, 0.8, 2.0, 20.0])


def trimer(positions, box):
    """A known surface in r and θ, and a bond that holds the third site."""
    r, theta, other = (c.value(positions, box) for c in (R, THETA, PairDistance(1, 2)))
    return jnp.stack([(r - 1.0) ** 2, jnp.cos(theta), (r - 1.0) * jnp.cos(theta), (other - 1.0) ** 2])


def surface():
    """The profile of three sites in open space, 15 windows of four replicas."""
    windows = UmbrellaWindows.grid([0.7, 1.1, 1.5], [0.35, 0.9, 1.57, 2.24, 2.8], stiffness=[20.0, 12.0])
    box = np.full(3, np.inf)
    corner = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    samples = umbrella_sampling(
        [LinearPotential(jnp.asarray(ETA), function=trimer)],
        windows,
        coordinates=[R, THETA],
        state=UmbrellaState(Topology(("A",) * 3, np.ones(3)), box, get_unit_system("lj"), 1.0),
        settings=SimulationSettings(0.06, 1.0, stride=6, n_replicas=4, equilibration=20, metropolis=True),
        starts=starts_in_windows(np.tile(corner, (4, 1, 1)), windows, coordinates=[R, THETA], box=box),
        key=jax.random.key(1),
        n_samples=400,
    )
    edges = [np.linspace(0.6, 1.6, 11), np.linspace(0.15, 2.99, 16)]
    found = free_energy_surface(samples, edges=edges)
    r, t = np.meshgrid(*found.centres, indexing="ij")
    exact = ETA[0] * (r - 1.0) ** 2 + (ETA[1] + ETA[2] * (r - 1.0)) * np.cos(t)
    print(
        f"weakest window: {samples.weakest_link()[0]}, {samples.weakest_link()[1]:.2f} of its frames shared\n"
    )
    print("| profile | rms deviation from the surface [kT] | largest | mean standard error |")
    print("|---|---|---|---|")
    for name, values, error in (
        ("Jacobian taken out", found.potential_of_mean_force[0], found.potential_of_mean_force_error[0]),
        ("Jacobian left in", found.free_energy[0], found.free_energy_error[0]),
    ):
        d = values - exact
        d -= np.nanmean(d)
        rms, most = np.sqrt(np.nanmean(d**2)), np.nanmax(np.abs(d))
        print(f"| {name} | {rms:.3f} | {most:.2f} | {np.nanmean(error):.3f} |")
    return found, exact


def series(n=400):
    """Coverage of 90 % bands over synthetic series of nine runs."""
    rng, charge = np.random.default_rng(0), np.linspace(-2.0, 3.0, 9)
    errors = rng.uniform(0.02, 0.05, size=9)
    print("\n| noise | intercept | slope | zero |\n|---|---|---|---|")
    for name, given, known in (("errors known", errors, True), ("ratios known", 0.4 * errors, False)):
        inside = np.zeros(3)
        for _ in range(n):
            y = 0.37 + 0.21 * charge + errors * rng.normal(size=9)
            found = linear_response(charge, y, errors=given, scale_known=known)
            bands = found.intercept(0.9), found.slope(0.9), found.zero(0.9)
            inside += [b.low < x < b.high for b, x in zip(bands, (0.37, 0.21, -0.37 / 0.21), strict=True)]
        print(f"| {name} | " + " | ".join(f"{x:.3f}" for x in inside / n) + " |")


def growth(n=300, frames=120):
    """Coverage of 80 % bands and verdicts over synthetic trajectories."""
    time = 0.5 * np.arange(frames)
    print("\n| trajectories | told as steady growth | rate covered | onset covered |\n|---|---|---|---|")
    for persistence in (0.0, 0.8):
        rng = np.random.default_rng(1)
        noise = np.empty((n, frames))
        noise[:, 0] = rng.normal(size=n)
        for i in range(1, frames):
            noise[:, i] = persistence * noise[:, i - 1] + np.sqrt(1 - persistence**2) * rng.normal(size=n)
        onsets, rates = rng.uniform(10.0, 40.0, size=n), rng.uniform(0.06, 0.12, size=n)
        hinge = rates[:, None] * np.maximum(time - onsets[:, None], 0.0)
        for name, length in (("growing", 2.5 + hinge + 0.1 * noise), ("calm", 2.5 + 0.1 * noise)):
            fit = growth_fit(length**3, time_step=0.5)
            told = fit.verdicts().count("steady growth") / n
            covered = ["", ""]
            if name == "growing":
                pairs = ((fit.rate(0.8), rates), (fit.onset(0.8), onsets))
                covered = [
                    f"{np.mean([b.low < x < b.high for b, x in zip(bands, truth, strict=True)]):.3f}"
                    for bands, truth in pairs
                ]
            print(f"| {name}, noise correlated {persistence} | {told:.3f} | {covered[0]} | {covered[1]} |")
    walk = 3.0 + np.cumsum(0.01 * np.random.default_rng(2).normal(size=(n, frames)), axis=1)
    told = growth_fit(walk**3, time_step=0.5).verdicts().count("steady growth") / n
    print(f"| random walk | {told:.3f} |  |  |")


def draw(found, exact, file):
    """The surface, the profile with the Jacobian taken out, and with it left in."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(11, 3.4), sharey=True, layout="constrained")
    panels = (exact, found.potential_of_mean_force[0], found.free_energy[0])
    titles = ("the surface", "Jacobian taken out", "Jacobian left in")
    for axis, values, title in zip(axes, panels, titles, strict=True):
        image = axis.pcolormesh(
            np.degrees(found.edges[1]), found.edges[0], values - np.nanmin(values), vmin=0.0, vmax=4.0
        )
        axis.set(title=title, xlabel="angle θ [degrees]")
    axes[0].set_ylabel("distance r [σ]")
    figure.colorbar(image, ax=axes, label="free energy [kT]")
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figure")
    file = parser.parse_args().figure
    result = surface()
    series()
    growth()
    if file:
        draw(*result, file)
