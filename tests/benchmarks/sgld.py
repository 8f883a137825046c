"""SGLD against the law of its bias: variance ratio and effective draws per simulated frame over step and replicas.

usage: python tests/benchmarks/sgld.py [--chains 32] [--lengths 40]

The double well U = -t1 x²/2 + t2 x⁴/4 with 400 frames; the exact posterior is a quadrature. Replicas are independent
exact draws (g = 1), or Metropolised dynamics that go on while the parameters move. The law for white noise is
(1 + a s/4)/(1 - a/4), without the numerator when corrected, with s = N g/K; that with memory solves the recursion for
replicas that forget and follow exponentially. Ratios are those of the direction with the largest noise; effective
draws per frame are those of the worst direction, by the law 1/(K (4/a - 1)).
"""

import argparse

import jax

jax.config.update("jax_enable_x64", True)

import equinox as eqx  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import numpyro  # noqa: E402
import numpyro.distributions as dist  # noqa: E402

from bayescg.data import Topology, get_unit_system, statistical_inefficiency  # noqa: E402
from bayescg.inference import (  # noqa: E402
    Prior,
    Sgld,
    plan_relative_entropy,
    relative_entropy_gradient,
    variance_ratio,
    variance_ratio_with_memory,
)
from bayescg.physics import DoubleWell, SufficientStatistics, persistent_replicas  # noqa: E402

N_FRAMES = 400
NODES = np.linspace(0.0, 5.0, 1001)
FEATURES = np.column_stack([-(NODES**2) / 2, NODES**4 / 4])
WEIGHT = np.zeros(len(NODES))
WEIGHT[0] = -np.log(2.0)  # the middle of the symmetric line belongs to both sides


class ExactReplicas(eqx.Module):
    """Independent frames by inverse CDF."""

    n_replicas: int = eqx.field(static=True)

    def initial_state(self, key, potential):
        return key

    def advance(self, state, potential):
        key, draw_key = jax.random.split(state)
        p = jax.nn.softmax(WEIGHT - jnp.asarray(FEATURES) @ potential.coefficients())
        x = jnp.interp(jax.random.uniform(draw_key, (self.n_replicas,)), jnp.cumsum(p) - p / 2, NODES)
        return key, jnp.stack([-(x**2) / 2, x**4 / 4], axis=1)


def make_replicas(kind: str, n_replicas: int):
    """Exact draws, or Metropolised dynamics of the given stride."""
    if kind == "exact":
        return ExactReplicas(n_replicas)
    return persistent_replicas(
        DoubleWell(1.0, 1.0), starts=np.array([[[1.0]], [[-1.0]]]), topology=Topology(("A",), np.ones(1)),
        box=np.array([np.inf]), units=get_unit_system("lj"), temperature=1.0, time_step=0.15, friction=1.0,
        stride=2, n_replicas=n_replicas,
    )  # fmt: skip


def grid_covariance(statistics, prior) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the posterior by quadrature."""
    t = np.stack(np.meshgrid(np.linspace(1.2, 4.6, 171), np.linspace(1.0, 3.2, 171), indexing="ij"), -1)
    t = t.reshape(-1, 2)
    log_z = np.array([np.logaddexp.reduce(WEIGHT - FEATURES @ one) for one in t])
    log_p = -N_FRAMES * (t @ statistics.features.mean(axis=0) + log_z)
    log_p += np.asarray(jax.vmap(prior.log_density)(jnp.asarray(t)))
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    mean = p @ t
    return mean, ((t - mean) * p[:, None]).T @ (t - mean)


def main() -> None:
    """Prints a markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chains", type=int, default=32)
    parser.add_argument("--lengths", type=int, default=40, help="autocorrelation times per chain")
    options = parser.parse_args()
    truth = np.array([2.9, 2.0])
    p = np.exp(WEIGHT - FEATURES @ truth)
    middle = (np.cumsum(p) - p / 2) / p.sum()
    x = np.interp((np.arange(N_FRAMES) + 0.5) / N_FRAMES, middle, NODES)
    features = np.column_stack([-(x**2) / 2, x**4 / 4])
    statistics = SufficientStatistics(features, *np.zeros((2, N_FRAMES, 0)), np.zeros(N_FRAMES, int))
    prior = Prior(model)
    mean, covariance = grid_covariance(statistics, prior)
    print("| replicas | K | step | corrected | g | a s/4 | variance ratio | law, white | law, memory |"
          " draws per 1000 frames | law | ratio of these |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for kind in ("exact", "dynamics"):
        for n_replicas in (16, 64):
            gradient = relative_entropy_gradient(
                prior, statistics, beta=1.0, replicas=make_replicas(kind, n_replicas)
            )
            plan = plan_relative_entropy(gradient, truth, key=jax.random.key(0), n_measured=2000)
            for step in (0.03, 0.1, 0.3):
                for corrected in (False, True):
                    row(kind, plan, step, corrected, mean, covariance, options)


def model():
    """Normal priors on both; the mass of t2 below 0 is nothing here."""
    return DoubleWell(
        numpyro.sample("t1", dist.Normal(1.0, 2.0)), numpyro.sample("t2", dist.Normal(1.0, 2.0))
    )


def row(kind, plan, step, corrected, mean, covariance, options) -> None:
    """One row of the table."""
    s, directions = plan.noise.directions()
    n_replicas = plan.target.gradient.replicas.n_replicas
    if corrected and step * s[-1] / 4 >= 0.95:
        return
    target = plan.target._replace(step=jnp.asarray(step))
    time = 4 / step - 1
    sampler = Sgld(corrected=corrected, thin=max(1, round(time / 8)))
    state = sampler.initial_state(jax.random.key(1), target, n_chains=options.chains)
    state, _ = sampler.step(state, target, n=40)
    _, draws = sampler.step(state, target, n=8 * options.lengths)
    inner = np.linalg.inv(np.asarray(target.root))
    w = (draws.z - mean) @ inner.T @ directions
    exact = np.diag(directions.T @ inner @ covariance @ inner.T @ directions)
    measured = (w**2).mean(axis=(0, 1)) / exact
    lengths = [w.shape[1]] * w.shape[0]
    g_draws = statistical_inefficiency(w.reshape(-1, 2), lengths=lengths).max() * sampler.thin
    white = variance_ratio(step, s[-1], corrected=corrected)
    memory = variance_ratio_with_memory(step, s[-1:], plan.noise.inefficiency()[-1:], corrected=corrected)[0]
    per_frame, law = 1000 / (g_draws * n_replicas), 1000 / (time * n_replicas)
    print(f"| {kind} | {n_replicas} | {step:g} | {'yes' if corrected else 'no'} |"
          f" {plan.noise.inefficiency()[-1]:.2f} | {step * s[-1] / 4:.2f} | {measured[-1]:.3f} | {white:.3f} |"
          f" {memory:.3f} | {per_frame:.3g} | {law:.3g} | {per_frame / law:.2f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
