"""Labels chosen by the posterior against labels at random: how many until C44 of silicon is known to a given band.

    python tests/benchmarks/active_learning.py [FIGURE.png]

The pool are the 216 cells of `models/si-stillinger-weber`, the labels those of the Stillinger–Weber potential with noise
(0.5 meV per atom, 0.05 eV/Å). Seven parameters are inferred; both ways begin with the prior and one cell at 300 K. At each
step the next cell is the one after whose label the standard deviation of C44 would be smallest (`spreads_after_labelling`),
or one at random; the mode is then searched anew. Prints, for several bands, how many labels each way needed (median and
range over the random orders), and the error of C44 at the end.
"""

import argparse
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

jax.config.update("jax_enable_x64", True)

from bayescg.analysis import configuration_information, spreads_after_labelling  # noqa: E402
from bayescg.data import get_unit_system, read_configurations  # noqa: E402
from bayescg.inference import NoiseScale, labelled_data, labelled_prior, white_rows  # noqa: E402
from bayescg.physics import Bulk, Crystal, ElasticConstants, StillingerWeber  # noqa: E402

POOL = (
    Path(__file__).resolve().parents[2] / "models" / "si-stillinger-weber" / "data" / "si_sw_noisy.extxyz.gz"
)
NAMES = ("sw_A", "sw_B", "sw_p", "sw_sigma", "sw_a", "sw_gamma", "sw_lambda")
LABELS, RANDOM_ORDERS = 20, 8


class Setting:
    """Pool, prior and property; rows of the whole pool at any point, so that nothing is compiled twice."""

    def __init__(self):
        metal = get_unit_system("metal")
        pool = read_configurations(POOL, units=metal)
        self.groups = np.asarray(pool.group)
        truth = StillingerWeber.silicon(cutoff=4.6).vary(*NAMES)
        # one group, so that one known noise scale holds for all
        self.data = labelled_data(pool, cutoff=truth.cutoff, species=("Si",), quantities=("energy", "forces"))
        widths = {"sw_p": 0.1, "sw_sigma": 0.02, "sw_a": 0.01}
        priors = {
            name: dist.LogNormal(np.log(float(value)) + 0.3 * widths.get(name, 0.2), widths.get(name, 0.2))
            for name, value in truth.parameter_values().items()
        }  # off the truth by 0.3 standard deviations each
        self.noise = {"energy": 0.0005, "forces": 0.05}
        self.prior = labelled_prior(
            truth, priors, noise={k: NoiseScale(known=v) for k, v in self.noise.items()}, data=self.data
        )
        elastic = ElasticConstants.of(Bulk.of(Crystal.bulk("Si", "diamond", a=5.43), truth), units=metal)
        place = [c.name for c in elastic.components].index("elastic_C44")
        value = lambda z: elastic.evaluate(self.prior.potential(z).potential).values[place]  # noqa: E731
        self.property = eqx.filter_jit(jax.value_and_grad(value))
        self.true_value = float(elastic.evaluate(truth).values[place])

    def refit(self, z, labelled, steps=8):
        """Gauss–Newton from the last mode on the labelled cells; mode, precision, and each cell's information."""
        for _ in range(steps):
            rows = white_rows(self.prior, z, self.data)
            mine = np.isin(rows.configuration, labelled)
            slopes = rows.jacobian[mine]
            precision = rows.prior_precision + slopes.T @ slopes
            step = np.linalg.solve(precision, rows.prior_score - slopes.T @ rows.residual[mine])
            z = z + np.clip(step, -0.1, 0.1)
            if step @ precision @ step < 1e-4:
                break
        information = configuration_information(self.prior, z, self.data)
        prior_precision = white_rows(self.prior, z, self.data).prior_precision
        return z, prior_precision + information[labelled].sum(axis=0), information


def learn(setting: Setting, order: np.ndarray | None) -> tuple[list[float], list[float]]:
    """Standard deviation and error of C44 after each label; the order is chosen where none is given."""
    labelled = [int(np.flatnonzero(setting.groups == "md300")[0])]
    z = np.asarray(setting.prior.sample(jax.random.key(0), 4000).mean(axis=0))
    spreads, errors = [], []
    while True:
        z, precision, information = setting.refit(z, labelled)
        value, gradient = setting.property(jnp.asarray(z))
        gradient = np.asarray(gradient)
        spreads.append(float(np.sqrt(gradient @ np.linalg.solve(precision, gradient))))
        errors.append(float(value) - setting.true_value)
        if len(labelled) == LABELS:
            return spreads, errors
        left = np.setdiff1d(np.arange(setting.data.n_configurations), labelled)
        if order is None:
            after = spreads_after_labelling(precision, information[left], gradient)
            labelled.append(int(left[np.argmin(after)]))
        else:
            labelled.append(int(next(k for k in order if k in left)))


def main() -> None:
    """Prints a markdown table, and draws the figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("figure", nargs="?", type=Path)
    options = parser.parse_args()
    setting = Setting()
    chosen, error = learn(setting, None)
    rng = np.random.default_rng(0)
    at_random = [learn(setting, rng.permutation(setting.data.n_configurations)) for _ in range(RANDOM_ORDERS)]
    spreads = np.asarray([run[0] for run in at_random])
    print("| sd of C44 below [GPa] | labels, chosen | labels, at random: median (range) |")
    print("|---|---|---|")
    for band in np.geomspace(chosen[1], chosen[-1], 5)[1:]:
        needed = [int(np.argmax(run < band)) + 1 if (run < band).any() else LABELS + 1 for run in spreads]
        own = int(np.argmax(np.asarray(chosen) < band * 1.0001)) + 1
        shown = [
            f"{n}" if n <= LABELS else f"> {LABELS}" for n in (np.median(needed), min(needed), max(needed))
        ]
        print(f"| {band:.4f} | {own} | {shown[0]} ({shown[1]} to {shown[2]}) |")
    print(
        f"after {LABELS} labels: chosen {error[-1]:+.4f} ± {chosen[-1]:.4f} GPa off the truth, at random",
        end=" ",
    )
    print(", ".join(f"{run[1][-1]:+.4f} ± {run[0][-1]:.4f}" for run in at_random))
    if options.figure:
        draw(options.figure, chosen, spreads)


def draw(path: Path, chosen: list[float], spreads: np.ndarray) -> None:
    """Standard deviation of C44 against the number of labels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0, 4.0), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    n = np.arange(1, LABELS + 1)
    axes.plot(n, spreads.T, color="#8C8C8C", linewidth=0.8, label=["at random", *[None] * (len(spreads) - 1)])
    axes.plot(
        n, np.median(spreads, axis=0), color="#8C8C8C", linewidth=2.2, linestyle="--", label="median of these"
    )
    axes.plot(n, chosen, color="#0072B2", marker="o", ms=4, label="chosen by the posterior")
    axes.set_yscale("log")
    axes.set_xlabel("labelled cells")
    axes.set_ylabel("standard deviation of C44 [GPa]")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


if __name__ == "__main__":
    main()
