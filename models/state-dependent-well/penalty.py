"""What the well fitted at one state costs at the others: the figure of this study's README.

usage: python penalty.py OUT.png

Each state has 200 frames, made like those of the study. The references are the well itself at five stiffnesses, whose
positions are normal and need no dynamics; they serve all states, since only the truth depends on the state.
"""

import sys

import jax

jax.config.update("jax_enable_x64", True)

import numpy as np  # noqa: E402
import numpyro.distributions as dist  # noqa: E402
from make_data import positions  # noqa: E402

from bayescg.analysis import StateData, transferability  # noqa: E402
from bayescg.inference import Posterior, independent_prior  # noqa: E402
from bayescg.output import figure_transferability  # noqa: E402
from bayescg.physics import HarmonicWell, Reference, ReferenceBank, SufficientStatistics  # noqa: E402

STATES = (-2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0)


def references() -> ReferenceBank:
    rng = np.random.default_rng(1)
    found = []
    for k in (0.4, 0.8, 1.6, 3.2, 6.4):
        features = rng.normal(size=(20, 1000, 1)) ** 2 / k / 2.0
        none = features[..., :0]
        found.append(Reference(np.array([k]), features, none, none, features[:0]))
    return ReferenceBank(1.0, tuple(found))


def statistics(x: np.ndarray) -> SufficientStatistics:
    rows = x[:, None] ** 2 / 2.0
    return SufficientStatistics(rows, rows, rows[:, :0], np.zeros(len(x), int))


def main() -> None:
    posterior = Posterior(independent_prior(HarmonicWell(1.0), {"well_k": dist.LogNormal(0.0, 10.0)}))
    bank, data = references(), [positions(state) for state in STATES]
    states = [
        StateData(s, statistics(x), bank, np.array([-np.log(np.mean(x**2))]))
        for s, x in zip(STATES, data, strict=True)
    ]
    table = transferability(states, posterior)
    print("state      k   penalty   ± se    exact")
    for n, (s, x) in enumerate(zip(STATES, data, strict=True)):
        ratio = np.mean(x**2) / np.mean(data[0] ** 2)
        exact = (ratio - 1.0 - np.log(ratio)) / 2.0
        row = table.isel(fitted_at=0, used_at=n)
        k = float(table["coefficients"].values[n, 0])
        print(f"{s:5g}  {k:5.3f}  {float(row['penalty']):8.4f}  {float(row['penalty_se']):.4f}  {exact:7.4f}")
    figure_transferability(table).savefig(sys.argv[1])


if __name__ == "__main__":
    main()
