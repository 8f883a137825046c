"""Langevin sampling of parameters at a temperature: wide against narrow minima, and escape over a barrier.

    python tests/benchmarks/training_temperature.py [FIGURE.png]

Two losses of one parameter. One has a narrow minimum and a wide one, the narrow deeper by 0.5: at each temperature τ the
share of chains in the wide one beside quadrature of exp(−L/τ). The other has two equal wells with a barrier of 1 between
them: the rate of crossings beside exp(−1/τ) and transition-state theory times Kramers' transmission, (√(γ²/4 + ω²) − γ/2)/ω
= 0.618 for γ = ω = 2. Prints both as tables, and draws the figure.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_enable_x64", True)

from bayescg.inference import LossTarget, TemperedLangevin  # noqa: E402

COLD_TO_HOT = (0.35, 0.45, 0.6, 0.9, 1.2, 1.8)
INVERSE = (2.0, 3.0, 4.0, 5.0, 6.0)
KRAMERS = 0.618
GRID = np.linspace(-8.0, 10.0, 18001)


def wide_and_narrow(z, data):
    """A narrow minimum at −1, deeper by 0.5, and a wide one at 1."""
    return -jnp.logaddexp(0.5 - 20.0 * (z[0] + 1.0) ** 2, -1.0 * (z[0] - 1.0) ** 2)


def two_wells(z, data):
    """Wells at ±1 with a barrier of height 1 between them."""
    return (z[0] ** 2 - 1.0) ** 2


def target(temperature: float) -> LossTarget:
    return LossTarget((), jnp.zeros(1), jnp.eye(1), jnp.asarray(temperature))


def on_grid(loss: Callable) -> np.ndarray:
    return np.asarray(jax.vmap(lambda x: loss(x, ()))(jnp.asarray(GRID)[:, None]))


def occupations(top: float) -> list[tuple[float, float, float, float]]:
    """τ, share in the wide minimum, its standard error over time, and by quadrature."""
    sampler = TemperedLangevin(wide_and_narrow, time_step=0.04, friction=1.0, thin=50)
    values, rows = on_grid(wide_and_narrow), []
    for temperature in COLD_TO_HOT:
        where = target(temperature)
        p = np.exp(-(values - values.min()) / temperature)
        exact = p[GRID > top].sum() / p.sum()
        # half begin in each: what has not forgotten its start would show
        start = jnp.where(jnp.arange(1000)[:, None] % 2 == 0, -1.0, 1.0)
        state = sampler.state_at(jax.random.key(0), where, start)
        state, _ = sampler.step(state, where, n=800)
        _, draws = sampler.step(state, where, n=200)
        wide = (draws.z[..., 0] > top).mean(axis=1)  # of each chain
        rows.append(
            (temperature, float(wide.mean()), float(wide.std(ddof=1) / np.sqrt(len(wide))), float(exact))
        )
    return rows


def rates() -> list[tuple[float, float, float, float]]:
    """1/τ, crossings per time, their standard error, and theory."""
    sampler = TemperedLangevin(two_wells, time_step=0.05, friction=2.0, thin=4)
    values, rows = on_grid(two_wells), []
    left = GRID < 0.0
    for inverse in INVERSE:
        where = target(1.0 / inverse)
        state = sampler.state_at(jax.random.key(2), where, jnp.full((4000, 1), -1.0))
        state, _ = sampler.step(state, where, n=25)
        _, draws = sampler.step(state, where, n=900)
        count, time = crossings(draws.z[..., 0]), draws.z[..., 0].size * 4 * 0.05
        well = np.exp(-values[left] * inverse).sum() * (GRID[1] - GRID[0])
        theory = KRAMERS * np.sqrt(1.0 / (2.0 * np.pi * inverse)) * np.exp(-inverse) / well
        rows.append((inverse, count / time, np.sqrt(count) / time, float(theory)))
    return rows


def crossings(x: np.ndarray) -> int:
    """How often chains went from one well's core to the other's, beyond ±0.6."""
    core = np.where(x > 0.6, 1, np.where(x < -0.6, -1, 0))
    index = np.where(core != 0, np.arange(x.shape[1]), 0)
    last = np.take_along_axis(core, np.maximum.accumulate(index, axis=1), axis=1)
    return int(np.sum(last[:, 1:] * last[:, :-1] == -1))


def draw(path: Path, shares: list, escapes: list) -> None:
    """The loss, the occupation of its wide minimum, and Arrhenius' law."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    blue, grey, orange = "#0072B2", "#8C8C8C", "#D55E00"
    figure = Figure(figsize=(9.6, 3.4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    loss, wide, escape = figure.subplots(1, 3)
    x = np.linspace(-2.2, 4.2, 700)
    loss.plot(x, np.interp(x, GRID, on_grid(wide_and_narrow)), color="black", linewidth=1.4)
    loss.set_ylim(-0.8, 4.0)
    loss.set(xlabel="parameter", ylabel="loss L", title="narrow and deep, wide and shallow")
    temperature, share, error, exact = np.array(shares).T
    wide.plot(temperature, exact, color=grey, linestyle="--", label="quadrature of exp(−L/τ)")
    wide.errorbar(
        temperature, share, yerr=2.0 * error, fmt="o", color=blue, capsize=3, label="Langevin, ± 2 se"
    )
    wide.set_ylim(0.0, 1.0)
    wide.set(xlabel="temperature τ", ylabel="share in the wide minimum", title="occupation")
    inverse, rate, error, theory = np.array(escapes).T
    escape.plot(inverse, theory, color=grey, linestyle="--", label="Kramers")
    escape.plot(
        inverse,
        rate[0] * np.exp(-(inverse - inverse[0])),
        color=orange,
        linestyle=":",
        label="exp(−ΔL/τ), ΔL = 1",
    )
    escape.errorbar(inverse, rate, yerr=2.0 * error, fmt="o", color=blue, capsize=3, label="Langevin, ± 2 se")
    escape.set_yscale("log")
    escape.set(xlabel="1/τ", ylabel="escapes per time", title="two equal wells, barrier 1")
    for axes in (wide, escape):
        axes.legend(frameon=False, fontsize=8)
    for axes in (loss, wide, escape):
        axes.title.set_fontsize(10)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def main() -> None:
    """Prints two markdown tables, and draws the figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figure", nargs="?", type=Path)
    options = parser.parse_args()
    between = GRID[np.abs(GRID) < 1.0]
    top = float(between[np.argmax(on_grid(wide_and_narrow)[np.abs(GRID) < 1.0])])
    shares, escapes = occupations(top), rates()
    print("| τ | share in the wide minimum | quadrature | z |\n|---|---|---|---|")
    for temperature, share, error, exact in shares:
        print(
            f"| {temperature:g} | {share:.4f} ± {error:.4f} | {exact:.4f} | {(share - exact) / error:+.1f} |"
        )
    print("\n| 1/τ | escapes per time | Kramers | ratio |\n|---|---|---|---|")
    for inverse, rate, error, theory in escapes:
        print(f"| {inverse:g} | {rate:.5f} ± {error:.5f} | {theory:.5f} | {rate / theory:.3f} |")
    inverse, rate, error, theory = np.array(escapes).T
    slopes = [np.polyfit(inverse, np.log(each), 1, w=rate / error)[0] for each in (rate, theory)]
    print(f"\nslope of ln rate against 1/τ: {slopes[0]:.3f}, of theory {slopes[1]:.3f}; −ΔL is −1")
    if options.figure:
        draw(options.figure, shares, escapes)


if __name__ == "__main__":
    main()
