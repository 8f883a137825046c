"""Draws from the posterior of labelled data by way of likelihoods that cost nothing, mended by the exact one."""

import functools
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from bayescg.inference._bent import BentLabels, n_monomials, residuals_at
from bayescg.inference._calibrate import symmetric_root
from bayescg.inference._chains import draw_chains
from bayescg.inference._checkpoint import Checkpoints
from bayescg.inference._importance import Weighing, mixture_draws, smoothed_weights, systematic
from bayescg.inference._labelled import EnergyForceStress
from bayescg.inference._linearised import LabelRows, LinearisedLabels, QuadraticLabels, parameter_vector
from bayescg.inference._nuts import Nuts, NutsDraws, Target
from bayescg.inference._posterior import Mode, Posterior
from bayescg.inference._prior import Prior
from bayescg.inference._response_surface import FEWEST_POINTS, LARGEST_ERROR, N_HEAVIEST, smooth_values
from bayescg.progress import Progress

Surrogate = BentLabels | QuadraticLabels | LinearisedLabels
DRAWS_AT_ONCE = 32
BATCH = 1024
"""Draws whose surrogate densities are computed together."""
FINITE_VARIANCE = 0.5
"""Pareto k̂ below which the weights' variance is finite; above, something better is tried."""
KHAT_LIMIT = 0.7
"""Largest Pareto k̂ at which importance weights may mend draws."""
LARGEST_SPREAD = 3.0
"""Standard deviation of the log weights beyond which they are not tried."""
REFITS = 3
"""How often polynomials are fitted through the predictions at draws."""
POINTS_PER_MONOMIAL = 2
FEW_EFFECTIVE = 1.0
"""Effective proposals per draw below which mixtures don't serve."""
OVERSAMPLING = 10
"""Proposals per draw where the density costs nothing."""
MIXTURE_ROUNDS = 4
EXACT_ROUNDS = 2
"""How often a mixture is fitted where every weight costs a look at the data."""


class LabelDraws(NamedTuple):
    """What the sampler leaves.

    Attributes:
        draws: from the posterior.
        khat: Pareto k̂ of the weights; 0 where predictions are linear, NaN where NUTS ran on the exact posterior.
        method: `linear`, `expanded and reweighted`, `fitted and reweighted` or `exact`.
        weight_error: root mean square error of the log weights.
    """

    draws: NutsDraws
    khat: float
    method: str
    weight_error: float


class LabelSampler:
    """Draws about one mode.

    NUTS runs on the expanded likelihood, and importance weights mend its draws. Where the weights have a heavy tail,
    polynomials are fitted through the exact predictions at some of these draws, and the posterior with those of second
    order is sampled instead; those of third order give the weights, where they agree with exact ones; predictions at
    the new draws are added, and so on. Where no weights are sound, NUTS runs on the exact likelihood.

    Args:
        posterior: prior and log density.
        likelihood: exact.
        n_chains: NUTS chains.
        n_warmup: adaptation iterations.
        n_draws: kept draws per chain.
        n_checks: draws at which the expanded likelihood is first compared with the exact one.
        seed: of the random numbers.
        checkpoints: where chains leave their state.
        progress: who listens.
    """

    def __init__(
        self,
        posterior: Posterior,
        likelihood: EnergyForceStress,
        *,
        n_chains: int,
        n_warmup: int,
        n_draws: int,
        n_checks: int,
        seed: int,
        checkpoints: Checkpoints | None,
        progress: Progress,
    ):
        self.posterior, self.likelihood = posterior, likelihood
        self.n_chains, self.n_draws, self.n_checks = n_chains, n_draws, n_checks
        self.seed, self.checkpoints, self.progress = seed, checkpoints, progress
        self.key = jax.random.fold_in(jax.random.key(seed), 4)
        # kept, so that a second run compiles nothing
        self._nuts = Nuts(posterior, n_warmup=n_warmup)
        self._one_by_one = eqx.filter_jit(
            lambda points, likelihood: jax.lax.map(lambda z: posterior.log_density(z, likelihood), points)
        )
        self._together = eqx.filter_jit(
            lambda points, likelihood: jax.lax.map(
                lambda z: posterior.log_density(z, likelihood), points, batch_size=BATCH
            )
        )
        self._vectors = eqx.filter_jit(
            jax.vmap(lambda z: parameter_vector(posterior.prior.potential(z).potential))
        )

    def run(self, mode: Mode, surrogate: Surrogate, rows: LabelRows) -> LabelDraws:
        """Draws about a mode.

        Args:
            mode: where, with the covariance there.
            surrogate: the likelihood expanded there.
            rows: of the labels there.
        """
        rng = np.random.default_rng([self.seed, 3])
        bends = isinstance(surrogate, BentLabels)
        draws = self.chains(surrogate, mode.z, mode.covariance, "expanded", self.key)
        best = self._weigh(
            _flat(draws), surrogate, rng, method="expanded and reweighted", everywhere=not bends
        )
        if bends and best.khat > FINITE_VARIANCE:
            best = self._fitted(best, mode, rows, rng)
        if FINITE_VARIANCE < best.khat < np.inf:
            best = min(best, self._exact_mixture(best, rng), key=lambda one: one.khat)
        if best.khat < KHAT_LIMIT:
            mended = best.z[systematic(best.weights, rng)].reshape(draws.z.shape)
            return LabelDraws(draws._replace(z=mended), best.khat, best.method, best.error)
        exact = self.chains(self.likelihood, mode.z, mode.covariance, "exact", self.key)
        return LabelDraws(exact, np.nan, "exact", 0.0)

    # Weights ----------------------------------------------------------------------------------------------

    def _weigh(
        self,
        z: Float[np.ndarray, "draw coordinate"],
        surrogate: Surrogate,
        rng: np.random.Generator,
        *,
        method: str,
        everywhere: bool,
        finer: BentLabels | None = None,
    ) -> "_Trial":
        """Weights between a surrogate and the exact posterior; k̂ is infinite where they are not worth computing.

        Args:
            z: draws of the surrogate's posterior.
            surrogate: it.
            rng: random numbers.
            method: how they were made.
            everywhere: whether the exact density may be computed at all draws where nothing cheaper is accurate.
            finer: a better surrogate, whose densities serve where they agree with exact ones at some draws.
        """
        even = np.full(len(z), 1.0 / len(z))
        weighing = Weighing(functools.partial(self._gaps, surrogate), z)
        order = rng.permutation(len(z))
        if weighing.constant(order[: self.n_checks]):
            return _Trial(z, even, 0.0, 0.0, "linear" if method.startswith("expanded") else method)
        if not weighing.spread(order[:FEWEST_POINTS]) < LARGEST_SPREAD:
            return _Trial(z, even, np.inf, 0.0, method)
        values, error = np.zeros(len(z)), np.inf
        if finer is not None:
            values = self._densities(finer, z) - self._densities(surrogate, z)
            looked_at = np.concatenate([order[:FEWEST_POINTS], np.argsort(values)[-N_HEAVIEST:]])
            error = float(np.std(weighing(looked_at) - values[looked_at]))
        if not error <= LARGEST_ERROR:
            root = symmetric_root(np.cov(z.T).reshape(2 * z.shape[1:]))
            values, error = smooth_values(
                weighing, np.linalg.solve(root, (z - z.mean(axis=0)).T).T, order=order
            )
        if not np.isfinite(error):
            if not everywhere:
                return _Trial(z, even, np.inf, 0.0, method)
            values, error = weighing(np.arange(len(z))), 0.0
        weights, khat = smoothed_weights(values)
        return _Trial(z, weights, khat, error, method)

    def _exact_mixture(self, trial: "_Trial", rng: np.random.Generator) -> "_Trial":
        """Independent draws of fitted mixtures, each weighted by a look at the data."""
        n = len(trial.z)
        found = mixture_draws(trial.z, trial.weights, self.exact, n=n, n_last=n, rounds=EXACT_ROUNDS, rng=rng)
        return _Trial(found.draws, found.weights, found.khat, 0.0, trial.method)

    def _gaps(
        self, surrogate: Surrogate, points: Float[np.ndarray, "draw coordinate"]
    ) -> Float[np.ndarray, " draw"]:
        """Exact minus surrogate log density."""
        return self.exact(points) - self._densities(surrogate, points)

    def _densities(
        self, surrogate: Surrogate, points: Float[np.ndarray, "draw coordinate"]
    ) -> Float[np.ndarray, " draw"]:
        """Log densities with a likelihood that costs nothing."""
        return np.asarray(self._together(jnp.asarray(points), surrogate))

    def exact(self, points: Float[np.ndarray, "draw coordinate"]) -> Float[np.ndarray, " draw"]:
        """Exact log densities, a fixed number of draws at a time, so that one compilation serves all."""
        parts = []
        told = len(points) > 10 * DRAWS_AT_ONCE
        if told:
            self.progress.stage("weighing draws", total=len(points), unit="draws")
        for first in range(0, len(points), DRAWS_AT_ONCE):
            if told:
                self.progress.update(first)
            some = points[first : first + DRAWS_AT_ONCE]
            at = jnp.asarray(np.resize(some, (DRAWS_AT_ONCE, points.shape[1])))
            parts.append(np.asarray(self._one_by_one(at, self.likelihood))[: len(some)])
        return np.concatenate([np.zeros(0), *parts])

    # Surrogates -------------------------------------------------------------------------------------------

    def _fitted(self, trial: "_Trial", mode: Mode, rows: LabelRows, rng: np.random.Generator) -> "_Trial":
        """Draws with polynomials through the exact predictions at earlier draws, the best of a few rounds."""
        potential = self.posterior.prior.potential(jnp.asarray(mode.z)).potential
        data, power = self.likelihood.data, float(self.likelihood.power)
        trials, points, residuals = [trial], [], []
        for refit in range(REFITS):
            z = trials[-1].z
            vectors = np.asarray(self._vectors(jnp.asarray(z[rng.permutation(len(z))])))
            points.append(vectors[: POINTS_PER_MONOMIAL * n_monomials(vectors.shape[1], 3)])
            residuals.append(residuals_at(points[-1], potential, data))
            n, size = sum(map(len, points)), vectors.shape[1]
            if n < n_monomials(size, 2) or not np.all(np.isfinite(residuals[-1])):
                break
            through = functools.partial(
                BentLabels.through,
                np.concatenate(points), np.concatenate(residuals, axis=1), rows, data, power=power,
            )  # fmt: skip
            coarse = through(order=2)
            finer = through(order=3) if n >= n_monomials(size, 3) else None
            found, khat = self._from_surrogate(coarse, trials[-1], refit, rng)
            new = self._weigh(
                found, coarse, rng,
                method="fitted and reweighted", everywhere=refit == REFITS - 1, finer=finer,
            )  # fmt: skip
            trials.append(new._replace(khat=max(khat, new.khat)))
            if trials[-1].khat <= FINITE_VARIANCE:
                break
        return min(trials, key=lambda one: one.khat)

    def _from_surrogate(
        self, surrogate: BentLabels, near: "_Trial", refit: int, rng: np.random.Generator
    ) -> tuple[Float[np.ndarray, "draw coordinate"], float]:
        """Draws from the posterior with a surrogate, and k̂ of the weights that made them: by mixtures, or where these
        don't come near it by NUTS, whitened by earlier draws."""
        n = len(near.z)
        found = mixture_draws(
            near.z, near.weights, functools.partial(self._densities, surrogate),
            n=n, n_last=OVERSAMPLING * n, rounds=MIXTURE_ROUNDS, rng=rng,
        )  # fmt: skip
        if found.khat < KHAT_LIMIT and 1.0 / np.sum(found.weights**2) > FEW_EFFECTIVE * n:
            taken = systematic(found.weights, rng)
            # every so-manieth, which leaves copies neighbours
            return found.draws[taken[np.linspace(0, len(taken) - 1, n).astype(int)]], found.khat
        covariance = np.cov(near.z.T).reshape(2 * near.z.shape[1:])
        key = jax.random.fold_in(self.key, refit + 1)
        return _flat(self.chains(surrogate, near.z.mean(axis=0), covariance, f"fitted_{refit}", key)), 0.0

    def chains(
        self,
        likelihood: EnergyForceStress | Surrogate,
        centre: Float[np.ndarray, " coordinate"],
        covariance: Float[np.ndarray, "coordinate coordinate"],
        name: str,
        key: Key[Array, ""],
    ) -> NutsDraws:
        """NUTS in coordinates whitened by a covariance."""
        self.progress.stage(
            f"sampling the {name.split('_')[0]} posterior",
            total=self._nuts.n_warmup + self.n_draws,
            unit="draws",
        )
        root = jnp.asarray(symmetric_root(covariance))
        return draw_chains(
            self._nuts,
            Target(likelihood, jnp.asarray(centre), root, jnp.asarray(1.0)),
            key=key,
            n_chains=self.n_chains,
            n_draws=self.n_draws,
            name=f"nuts_{name}",
            checkpoints=self.checkpoints,
            progress=self.progress,
        )[0]


def polynomial_labels(
    prior: Prior,
    likelihood: EnergyForceStress,
    draws: Float[np.ndarray, "draw coordinate"],
    rows: LabelRows,
    *,
    order: int = 2,
) -> BentLabels:
    """The likelihood with polynomials through the exact predictions at some draws, which costs nothing from then on.

    Args:
        prior: gives the potential at a draw.
        likelihood: exact, with Gaussian noise.
        draws: as many as there are monomials twice over are used, evenly spaced.
        rows: `label_rows` anywhere.
        order: of the polynomials.

    Raises:
        InputError: too few draws, or predictions that are not finite at some.

    Example:
        >>> from bayescg.inference import EnergyForceStress, Posterior, example_labels, label_rows
        >>> atoms, data, prior = example_labels()
        >>> draws = np.linspace(-12.0, -11.0, 10)[:, None]
        >>> cheap = polynomial_labels(prior, EnergyForceStress(data), draws, label_rows(atoms, data))
        >>> z, posterior = jnp.array([-11.8]), Posterior(prior)
        >>> exact = posterior.log_likelihood(z, EnergyForceStress(data))
        >>> bool(abs(posterior.log_likelihood(z, cheap) - exact) < 1e-6)
        True
    """
    potential = prior.potential(jnp.asarray(draws[0])).potential
    size = parameter_vector(potential).size
    wanted = min(len(draws), POINTS_PER_MONOMIAL * n_monomials(size, order))
    some = draws[np.linspace(0, len(draws) - 1, wanted).astype(int)]
    vectors = np.asarray(
        jax.vmap(lambda z: parameter_vector(prior.potential(z).potential))(jnp.asarray(some))
    )
    residuals = residuals_at(vectors, potential, likelihood.data)
    return BentLabels.through(
        vectors, residuals, rows, likelihood.data, power=float(likelihood.power), order=order
    )


class _Trial(NamedTuple):
    """Weighted draws: flat, with weights, their k̂ and their error."""

    z: np.ndarray
    weights: np.ndarray
    khat: float
    error: float
    method: str


def _flat(draws: NutsDraws) -> Float[np.ndarray, "draw coordinate"]:
    return draws.z.reshape(-1, draws.z.shape[-1])
