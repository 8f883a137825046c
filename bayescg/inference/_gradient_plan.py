"""Before a stochastic-gradient sampler runs: find the centre, measure curvature and noise there, choose the step."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from bayescg.data import long_run_covariance, statistical_inefficiency
from bayescg.errors import ConvergenceError, InputError
from bayescg.inference._calibrate import symmetric_root
from bayescg.inference._sgld import GradientTarget
from bayescg.inference._step_choice import GradientNoise, StepChoice, choose_step, white_noise
from bayescg.inference._stochastic_gradient import (
    MinibatchGradient,
    RelativeEntropyGradient,
    ReplicaGradientState,
    compiler_options,
)
from bayescg.physics._engine import CPU_COMPILER_OPTIONS

LARGEST_MOVE = 1.0
"""Most that one step of the search may change βU of a frame, as a standard deviation over frames."""
SETTLED = 0.5
"""The search ends when a step is shorter than this, in posterior standard deviations per direction."""

MOST_UNCERTAIN = 0.3
"""Noise of the search's last step, in posterior standard deviations per direction."""


class GradientPlan(NamedTuple):
    """What a stochastic-gradient sampler is run with, and what is predicted of it.

    Attributes:
        target: for the sampler's `initial_state` and `step`.
        choice: the step and its predicted bias.
        noise: of the gradient in whitened coordinates.
        covariance: P, the Laplace covariance at the centre [coordinate coordinate].
        n_updates: updates of all replicas that went into it.
        simulated_frames: moves of single replicas that went into it.

    Example:
        >>> noise = white_noise(np.eye(1))
        >>> plan = GradientPlan(None, choose_step(noise), noise, np.eye(1), n_updates=0, simulated_frames=0)
        >>> print(plan.choice.summary())
        step 0.1905, gradient noise subtracted from the injected noise, predicted bias of the variance 5.0 % (tolerance \
5.0 %), one effective draw per 20 updates
    """

    target: GradientTarget
    choice: StepChoice
    noise: GradientNoise
    covariance: np.ndarray
    n_updates: int
    simulated_frames: int


def plan_relative_entropy(
    gradient: RelativeEntropyGradient,
    start: Float[np.ndarray, " coordinate"],
    *,
    key: Key[Array, ""],
    tolerance: float = 0.05,
    corrected: bool = True,
    decay: float = 1.0,
    step: float | None = None,
    n_equilibration: int = 50,
    n_updates: int = 50,
    n_measured: int = 400,
    max_rounds: int = 50,
) -> GradientPlan:
    """Search the maximum with replicas that go on all the while, then measure the noise and choose the step.

    Each round is a Newton step with the replicas' mean and covariance of φ, shortened so that βU of a frame changes by
    at most about one. At the centre P = (N H + Λ)⁻¹, and the noise of the gradient in coordinates whitened by it is
    N²β² Jᵀ (C_long/K + C_data/B) J, with the long-run covariance of φ along the replicas (lugsail batch means)
    and the covariance of the data's φ, where minibatches are drawn.

    Args:
        gradient: of the posterior.
        start: where the search begins [coordinate].
        key: of all random numbers.
        tolerance, corrected, decay, step: as for `choose_step`.
        n_equilibration: updates dropped after each change of the parameters.
        n_updates: updates of a search round.
        n_measured: updates at the centre.
        max_rounds: most search rounds.

    Raises:
        ConvergenceError: the search did not settle.
        InputError: the step asked for is too large, or a number is impossible.

    Example:
        >>> import numpyro.distributions as dist
        >>> from bayescg.data import Topology, get_unit_system
        >>> from bayescg.inference import independent_prior, relative_entropy_gradient
        >>> from bayescg.physics import DoubleWell, SufficientStatistics, persistent_replicas
        >>> well = DoubleWell(1.0, 1.0)
        >>> replicas = persistent_replicas(
        ...     well, starts=np.ones((1, 1, 1)), topology=Topology(("A",), np.ones(1)), box=np.array([np.inf]),
        ...     units=get_unit_system("lj"), temperature=1.0, time_step=0.2, friction=1.0, stride=5, n_replicas=64,
        ... )
        >>> frames = SufficientStatistics(np.tile([-0.6, 0.55], (100, 1)), *np.zeros((2, 100, 0)), np.zeros(100, int))
        >>> prior = independent_prior(well, {"well_t1": dist.Normal(1, 2), "well_t2": dist.LogNormal(0, 1)})
        >>> estimate = relative_entropy_gradient(prior, frames, beta=1.0, replicas=replicas)
        >>> plan = plan_relative_entropy(estimate, np.zeros(2), key=jax.random.key(0), n_measured=100)
        >>> 0 < plan.choice.step < 1 and plan.choice.predicted_bias <= 0.05
        True
    """
    _check_counts(n_equilibration=n_equilibration, n_updates=n_updates, n_measured=n_measured)
    z = jnp.asarray(start, float)
    state = _initial_state(gradient, key, z)
    spent = 0
    for _ in range(max_rounds):
        state, kept = _simulate(gradient, state, z, n_equilibration + n_updates)
        simulated = np.asarray(kept)[n_equilibration:]
        spent += n_equilibration + n_updates
        if not np.isfinite(simulated).all():
            raise ConvergenceError("a replica left the finite numbers in the search: shorten the time step")
        covariance, move, size = _newton_step(gradient, z, simulated)
        length = float(np.sqrt(np.mean((np.linalg.inv(symmetric_root(covariance)) @ move) ** 2)))
        noise = _noise(gradient, z, simulated, symmetric_root(covariance))
        z = z + jnp.asarray(move * min(1.0, LARGEST_MOVE / max(size, 1e-300)))
        floor = float(np.sqrt(np.trace(noise.long_run) / len(move) / n_updates))
        if size <= LARGEST_MOVE and length <= max(SETTLED, 3.0 * floor):
            if floor <= MOST_UNCERTAIN:
                break
            # The replicas' noise hides the maximum: look once more, for as long as it takes.
            n_updates = int(np.ceil(n_updates * (floor / MOST_UNCERTAIN) ** 2 * 1.2))
    else:
        raise ConvergenceError(
            f"the search did not settle in {max_rounds} rounds (last step {length:.1f} posterior standard deviations):"
            " give a better start, a narrower prior or more replicas"
        )
    state, kept = _simulate(gradient, state, z, n_equilibration + n_measured)
    simulated = np.asarray(kept)[n_equilibration:]
    spent += n_equilibration + n_measured
    covariance, _, _ = _newton_step(gradient, z, simulated)
    root = symmetric_root(covariance)
    noise = _noise(gradient, z, simulated, root)
    choice = choose_step(noise, tolerance=tolerance, corrected=corrected, decay=decay, step=step)
    target = GradientTarget(
        gradient, z, jnp.asarray(root), jnp.asarray(noise.long_run), jnp.asarray(choice.step)
    )
    frames = spent * gradient.replicas.n_replicas
    return GradientPlan(target, choice, noise, covariance, spent, frames)


def measure_noise(
    gradient: RelativeEntropyGradient,
    centre: Float[np.ndarray, " coordinate"],
    root: Float[np.ndarray, "coordinate coordinate"],
    *,
    key: Key[Array, ""],
    n_equilibration: int = 100,
    n_measured: int = 400,
) -> GradientNoise:
    """Noise of the gradient at a known maximum, from fresh replicas.

    Args:
        gradient: of the posterior.
        centre: the maximum [coordinate].
        root: of the covariance there, which whitens [coordinate coordinate].
        key: of all random numbers.
        n_equilibration: updates dropped.
        n_measured: updates kept.

    Raises:
        ConvergenceError: a replica left the finite numbers.
    """
    z = jnp.asarray(centre)
    state = _initial_state(gradient, key, z)
    _, kept = _simulate(gradient, state, z, n_equilibration + n_measured)
    simulated = np.asarray(kept)[n_equilibration:]
    if not np.isfinite(simulated).all():
        raise ConvergenceError("a replica left the finite numbers at the maximum: shorten the time step")
    return _noise(gradient, z, simulated, np.asarray(root))


def plan_minibatches(
    gradient: MinibatchGradient,
    start: Float[np.ndarray, " coordinate"],
    *,
    tolerance: float = 0.05,
    corrected: bool = True,
    decay: float = 1.0,
    step: float | None = None,
    max_iterations: int = 100,
) -> GradientPlan:
    """The same for labelled data: damped Newton to the maximum, then the scores' covariance over items.

    P is the inverse of minus the Hessian at the maximum; the noise of a minibatch of B of n items has the covariance
    n² Cov(score)/B and no memory.

    Args:
        gradient: of the posterior.
        start: where the search begins [coordinate].
        tolerance, corrected, decay, step: as for `choose_step`.
        max_iterations: most Newton steps.

    Raises:
        ConvergenceError: no maximum was reached.
        InputError: the step asked for is too large, or a number is impossible.

    Example:
        >>> import numpyro
        >>> import numpyro.distributions as dist
        >>> from bayescg.inference import MinibatchGradient, Prior
        >>> def slope():
        ...     return numpyro.sample("theta", dist.Normal(0.0, 10.0))
        >>> def log_likelihood(theta, item):
        ...     return -0.5 * ((item[1] + theta * item[0]) / 0.2) ** 2
        >>> x = jnp.array([-1.0, -0.5, 0.0, 0.5, 1.0, 1.5])
        >>> force = jnp.array([2.1, 0.9, 0.1, -1.2, -1.9, -3.1])
        >>> estimate = MinibatchGradient(Prior(slope), (x, force), log_likelihood=log_likelihood, batch_size=3)
        >>> plan = plan_minibatches(estimate, np.zeros(1))
        >>> round(float(plan.target.centre[0]), 6)
        2.041933
    """
    z, hessian = _climb(gradient, np.asarray(start, float), max_iterations)
    eigenvalues = np.linalg.eigvalsh(hessian)
    if not eigenvalues[0] > 0.0:
        raise ConvergenceError(
            "the log density has no maximum in some direction: give a proper, narrower prior"
        )
    covariance = np.linalg.inv(hessian)
    root = symmetric_root(covariance)
    size = len(z)
    spread = np.zeros((size, size))
    if gradient.batch_size is not None:
        scores = np.asarray(eqx.filter_jit(lambda g, z: g.scores(z))(gradient, jnp.asarray(z)))
        scores = scores - scores.mean(axis=0)
        spread = root @ (scores.T @ scores) @ root * (gradient.n_items / gradient.batch_size)
    noise = white_noise(spread)
    choice = choose_step(noise, tolerance=tolerance, corrected=corrected, decay=decay, step=step)
    target = GradientTarget(
        gradient, jnp.asarray(z), jnp.asarray(root), jnp.asarray(spread), jnp.asarray(choice.step)
    )
    return GradientPlan(target, choice, noise, covariance, 0, 0)


def _climb(gradient: MinibatchGradient, z: np.ndarray, max_iterations: int) -> tuple[np.ndarray, np.ndarray]:
    """The maximum of the log density over all items, and minus its Hessian there."""

    @eqx.filter_jit
    def derivatives(gradient, z):
        value, slope = jax.value_and_grad(gradient.log_density)(z)
        return value, slope, -jax.hessian(gradient.log_density)(z)

    value, slope, hessian = (np.asarray(a) for a in derivatives(gradient, jnp.asarray(z)))
    if not (np.isfinite(value) and np.isfinite(slope).all()):
        raise InputError("the log density or its gradient is not finite at the start: choose another start")
    damping = 0.0
    for _ in range(max_iterations):
        values, vectors = np.linalg.eigh((hessian + hessian.T) / 2.0)
        scale = np.maximum(np.abs(values), 1e-12 * np.abs(values).max())
        projected = vectors.T @ slope
        decrement = float(projected @ (projected / scale))
        if decrement < 1e-10:
            return z, (hessian + hessian.T) / 2.0
        candidate = z + vectors @ (projected / (scale * (1.0 + damping)))
        new = tuple(np.asarray(a) for a in derivatives(gradient, jnp.asarray(candidate)))
        if np.isfinite(new[0]) and new[0] >= value - 1e-9 * abs(value):
            z, (value, slope, hessian), damping = candidate, new, damping / 4.0 if damping > 0.01 else 0.0
        else:
            damping = max(4.0 * damping, 1.0)
    raise ConvergenceError(f"no maximum was reached in {max_iterations} steps: give a better start")


@eqx.filter_jit
def _initial_state(
    gradient: RelativeEntropyGradient, key: Key[Array, ""], z: Float[Array, " coordinate"]
) -> ReplicaGradientState:
    return gradient.initial_state(key, z)


def _simulate(
    gradient: RelativeEntropyGradient, state: ReplicaGradientState, z: Float[Array, " coordinate"], n: int
) -> tuple[ReplicaGradientState, Float[Array, "update replica feature"]]:
    """n updates of the replicas at fixed parameters."""
    run = _scan_pairs if compiler_options(gradient, z) else _scan_others
    return run(gradient, state, z, n)


def _scan(
    gradient: RelativeEntropyGradient, state: ReplicaGradientState, z: Float[Array, " coordinate"], n: int
) -> tuple[ReplicaGradientState, Float[Array, "update replica feature"]]:
    return jax.lax.scan(lambda state, _: gradient.simulate(state, z), state, None, length=n)


_scan_others = eqx.filter_jit(_scan)
_scan_pairs = eqx.filter_jit(_scan, compiler_options=CPU_COMPILER_OPTIONS)  # type: ignore[call-overload]


@eqx.filter_jit
def _derivatives(
    gradient: RelativeEntropyGradient,
    z: Float[Array, " coordinate"],
    mean: Float[Array, " feature"],
    covariance: Float[Array, "feature feature"],
) -> tuple[Any, ...]:
    """Score, minus its derivative with log Z to second order, prior curvature, and the Jacobian ∂η/∂z."""
    n, beta = len(gradient.features), gradient.beta
    centre = gradient.prior.potential(z).coefficients()

    def log_density(z):
        eta = gradient.prior.potential(z).coefficients()
        shift = eta - centre
        log_z = -beta * shift @ mean + 0.5 * beta**2 * shift @ covariance @ shift
        return gradient.prior.log_density(z) - n * (beta * shift @ gradient.mean_features + log_z)

    jacobian = jax.jacobian(lambda z: gradient.prior.potential(z).coefficients())(z)
    return jax.grad(log_density)(z), -jax.hessian(log_density)(z), jacobian


def _newton_step(
    gradient: RelativeEntropyGradient, z: Float[Array, " coordinate"], simulated: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """P, the Newton step, and how much that step changes βU of a frame (standard deviation)."""
    flat = simulated.reshape(-1, simulated.shape[-1])
    covariance = np.atleast_2d(np.cov(flat, rowvar=False))
    derivatives = _derivatives(gradient, z, jnp.asarray(flat.mean(axis=0)), jnp.asarray(covariance))
    score, curvature, jacobian = (np.asarray(a) for a in derivatives)
    values, vectors = np.linalg.eigh((curvature + curvature.T) / 2.0)
    values = np.maximum(np.abs(values), 1e-10 * np.abs(values).max())
    if not (np.isfinite(values).all() and values[0] > 0.0):
        raise ConvergenceError(
            "the curvature of the log density is zero or not finite: check start and prior"
        )
    laplace = (vectors / values) @ vectors.T
    move = laplace @ score
    change = jacobian @ move
    return laplace, move, float(gradient.beta) * float(np.sqrt(max(change @ covariance @ change, 0.0)))


def _noise(
    gradient: RelativeEntropyGradient,
    z: Float[Array, " coordinate"],
    simulated: Float[np.ndarray, "update replica feature"],
    root: Float[np.ndarray, "coordinate coordinate"],
) -> GradientNoise:
    """Covariance of the whitened gradient's noise per update, long-run and by itself."""
    n, beta = len(gradient.features), float(gradient.beta)
    jacobian = np.asarray(jax.jacobian(lambda z: gradient.prior.potential(z).coefficients())(z))
    to_score = n * beta * jacobian @ root
    n_updates, n_replicas = simulated.shape[:2]
    series = np.swapaxes(simulated, 0, 1).reshape(n_replicas * n_updates, -1) @ to_score
    single = np.atleast_2d(np.cov(series, rowvar=False))
    # A direction that only the prior holds has no noise, and no curvature of its own to be whitened by.
    floor = 1e-12 * max(float(np.trace(single)), 1e-300)
    whitening = single + floor * np.eye(len(single))
    lengths = [n_updates] * n_replicas
    # Many short replicas: batches as short as the correlations allow, since every one of them adds to the noise.
    g = statistical_inefficiency(np.linalg.solve(np.linalg.cholesky(whitening), series.T).T, lengths=lengths)
    batch = min(n_updates, max(10, int(np.ceil(6.0 * g.max()))))
    estimate = long_run_covariance(series, lengths=lengths, curvature=whitening, floor=1.0, batch=batch)
    batch = np.zeros_like(single)
    if gradient.batch_size is not None:
        observed = np.asarray(gradient.features) @ to_score
        batch = np.atleast_2d(np.cov(observed, rowvar=False, bias=True)) / gradient.batch_size
    return GradientNoise(estimate.covariance / n_replicas, single / n_replicas, batch)


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < (0 if name == "n_equilibration" else 10):
            raise InputError(f"{name} is {count}, expected {0 if name == 'n_equilibration' else 10} or more")
