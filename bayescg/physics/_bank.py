"""The bank of reference simulations: log Z differences and averages at any θ, by reweighting all of them."""

import hashlib
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.optimize import linprog
from scipy.special import logsumexp

from bayescg.data import statistical_inefficiency
from bayescg.errors import InputError
from bayescg.physics._mbar import solve_mbar


class Reference(NamedTuple):
    """One reference simulation: equilibrated frames of several replicas at one θ.

    Attributes:
        coefficients: η(θ_k) of the sampled potential [feature].
        features: φ of each frame [replica sample feature].
        virial: virial features of each frame [replica sample feature]; no columns where unknown.
        pair_counts: pairs per distance bin [replica sample bin]; no columns where unknown.
        configurations: positions kept for later starts [configuration site dim].
        purpose: why it was run: `search`, `verification`, or `bridge` between others.
        acceptance: mean acceptance probability of Metropolised sampling; NaN where it was not used.
        results: number of trajectories that ended with each `Result`, in its order; empty where unknown.
    """

    coefficients: np.ndarray
    features: np.ndarray
    virial: np.ndarray
    pair_counts: np.ndarray
    configurations: np.ndarray
    purpose: str = "search"
    acceptance: float = np.nan
    results: tuple[int, ...] = ()

    @property
    def n_frames(self) -> int:
        return self.features.shape[0] * self.features.shape[1]

    def extended(self, more: "Reference") -> "Reference":
        """With the samples of a second simulation at the same coefficients appended to each replica."""
        return self._replace(
            features=np.concatenate([self.features, more.features], axis=1),
            virial=np.concatenate([self.virial, more.virial], axis=1),
            pair_counts=np.concatenate([self.pair_counts, more.pair_counts], axis=1),
            configurations=more.configurations,
            results=tuple(a + b for a, b in zip(self.results, more.results, strict=True)),
        )

    def thinned(self, step: int) -> "Reference":
        """Every step-th sample of each replica: what a pool keeps of a long simulation."""
        features, virial, counts = (a[:, ::step] for a in (self.features, self.virial, self.pair_counts))
        return self._replace(features=features, virial=virial, pair_counts=counts)


class Surrogate(eqx.Module):
    """log Z(η) − log Z(anchor) as a smooth function of the coefficients, from pooled reference frames.

    log Z(η) = −β η·c + log Σ_n exp(−β η·(φ_n − c) − log D_n), with c a centre that keeps the exponents
    small and D_n the MBAR mixture denominator (Shirts & Chodera 2008, doi:10.1063/1.2978177, eq. 15).
    An array pytree: pass it to compiled functions as an argument.
    """

    beta: Float[Array, ""]
    centre: Float[Array, " feature"]
    centred_features: Float[Array, "frame feature"]
    log_base_weight: Float[Array, " frame"]

    def log_weights(self, coefficients: Float[Array, " feature"]) -> Float[Array, " frame"]:
        """Unnormalised log weights of the pooled frames at η."""
        return self.log_base_weight - self.centred_features @ (self.beta * coefficients)

    def log_z(self, coefficients: Float[Array, " feature"]) -> Float[Array, ""]:
        """log Z(η) − log Z(anchor)."""
        return jax.nn.logsumexp(self.log_weights(coefficients)) - self.beta * coefficients @ self.centre

    def mean_features(self, coefficients: Float[Array, " feature"]) -> Float[Array, " feature"]:
        """⟨φ⟩ at η."""
        return self.centre + jax.nn.softmax(self.log_weights(coefficients)) @ self.centred_features

    def effective_frames(self, coefficients: Float[Array, " feature"]) -> Float[Array, ""]:
        """Kish's effective number of frames, (Σw)²/Σw², of the reweighting to η."""
        return self.log_z_and_effective_frames(coefficients)[1]

    def log_z_and_effective_frames(
        self, coefficients: Float[Array, " feature"]
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Both from one pass over the frames: what a sampler calls thousands of times."""
        log_w = self.log_weights(coefficients)
        largest = jax.lax.stop_gradient(jnp.max(log_w))
        weights = jnp.exp(log_w - largest)
        total = jnp.sum(weights)
        log_z = largest + jnp.log(total) - self.beta * coefficients @ self.centre
        return log_z, total**2 / jnp.sum(weights**2)


class ReferenceBank:
    """All reference simulations of one system at one temperature; it only grows.

    Args:
        beta: 1/kT [1/energy].
        references: the simulations, anchor first.
        start: free energies to begin with [dimensionless]; from the bank that this one enlarges.

    Attributes:
        anchor: identity of the state whose log Z is the zero of every difference.

    Raises:
        InputError: no references.
        ConvergenceError: two groups of references share no configurations, so that nothing relates their log Z.

    Example:
        >>> x2 = np.random.default_rng(0).normal(size=(4, 1000, 1)) ** 2
        >>> nothing = x2[..., :0]
        >>> spring = Reference(np.array([0.5]), x2, nothing, nothing, np.zeros((0, 1, 1)))
        >>> bank = ReferenceBank(1.0, (spring,))
        >>> round(bank.delta_log_z(np.array([0.6])), 2)  # exactly -log(1.2) / 2 = -0.091
        -0.09
    """

    def __init__(self, beta: float, references: tuple[Reference, ...], *, start: np.ndarray | None = None):
        if not references:
            raise InputError("a reference bank needs at least one reference simulation")
        self.beta = float(beta)
        self.references = references
        self.coefficients = np.stack([r.coefficients for r in references])
        self.n_frames = np.asarray([r.n_frames for r in references])
        self.features = np.concatenate([r.features.reshape(r.n_frames, -1) for r in references])
        self.reference_index = np.repeat(np.arange(len(references)), self.n_frames)
        blocks = [error_blocks(*r.features.shape[:2]) for r in references]
        offsets = np.concatenate([[0], np.cumsum([b[-1] + 1 for b in blocks])[:-1]])
        self.block_index = np.concatenate([b + o for b, o in zip(blocks, offsets, strict=True)])
        self.centre = self.features.mean(axis=0)
        reduced = self.beta * (self.coefficients @ (self.features - self.centre).T)
        shift = self.beta * self.coefficients @ self.centre
        guess = None if start is None else start - (shift - shift[0])
        solution = solve_mbar(reduced, self.n_frames, start=guess)
        self._free, self._log_denominator = solution.free_energies, solution.log_denominator

    @property
    def pool(self) -> str:
        """Short identity of the pooled frames: what two estimates must share for their errors to be common."""
        digest = hashlib.sha256(self.anchor.encode())
        digest.update(np.ascontiguousarray(self.features).astype("<f8").tobytes())
        return digest.hexdigest()[:16]

    @property
    def anchor(self) -> str:
        """Short identity of the anchor: its temperature and coefficients."""
        text = self.beta.hex() + self.coefficients[0].astype("<f8").tobytes().hex()
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def independent_frames(self) -> float:
        """Pooled frames over the statistical inefficiency of each reference (mean over its features)."""
        total = 0.0
        for reference in self.references:
            n_replicas, n_samples, _ = reference.features.shape
            varying = reference.features.std(axis=(0, 1)) > 0.0
            flat = reference.features[..., varying].reshape(reference.n_frames, -1)
            total += reference.n_frames / float(
                np.mean(statistical_inefficiency(flat, lengths=[n_samples] * n_replicas))
                if flat.size
                else 1.0
            )
        return total

    def free_energies(self) -> np.ndarray:
        """−log Z_k + log Z_anchor of the references [dimensionless]."""
        shift = self.beta * self.coefficients @ self.centre
        return self._free + shift - shift[0]

    def with_references(self, *new: Reference) -> "ReferenceBank":
        """A larger bank; the free energies start from what this bank predicts for the new states."""
        guesses = [-self.delta_log_z(r.coefficients) for r in new]
        start = np.concatenate([self.free_energies(), guesses])
        return ReferenceBank(self.beta, (*self.references, *new), start=start)

    def delta_log_z(self, coefficients: np.ndarray) -> float:
        """log Z(η) − log Z(anchor) [dimensionless]."""
        shift = self.beta * (coefficients - self.coefficients[0]) @ self.centre
        return float(logsumexp(self._log_weights(coefficients)) - shift)

    def _log_weights(self, coefficients: np.ndarray) -> np.ndarray:
        return -self.beta * ((self.features - self.centre) @ coefficients) - self._log_denominator

    def weights(self, coefficients: np.ndarray) -> np.ndarray:
        """Normalised weights of all pooled frames at η [frame]."""
        log_w = self._log_weights(coefficients)
        return np.exp(log_w - logsumexp(log_w))

    def draw_weights(
        self, coefficients: Float[np.ndarray, "draw feature"]
    ) -> Float[np.ndarray, "draw frame"]:
        """Normalised weights of all pooled frames at several η, in one pass over the frames."""
        shift = (self.beta * coefficients @ self.centre)[:, None]
        log_w = shift - (self.beta * coefficients) @ self.features.T - self._log_denominator
        return np.exp(log_w - logsumexp(log_w, axis=1, keepdims=True))

    def surrogate(self, *, pad_to: int = 2048) -> Surrogate:
        """The smooth log Z difference as an array pytree, padded so that compiled code is reused."""
        n = len(self.features)
        padding = -n % pad_to
        centred = np.pad(self.features - self.centre, ((0, padding), (0, 0)))
        base = np.pad(-self._log_denominator, (0, padding), constant_values=-np.inf)
        shift = -self.beta * float(self.coefficients[0] @ self.centre)
        return Surrogate(
            beta=jnp.asarray(self.beta),
            centre=jnp.asarray(self.centre),
            centred_features=jnp.asarray(centred),
            log_base_weight=jnp.asarray(base - shift),
        )

    def overlap(self) -> np.ndarray:
        """MBAR overlap matrix: probability that a frame of state i is assigned to state j [state state].

        References:
            Klimovich, Shirts & Mobley (2015), doi:10.1007/s10822-015-9840-9.
        """
        log_w = (
            self._free[:, None]
            - self.beta * self.coefficients @ (self.features - self.centre).T
            - self._log_denominator
        )
        weights = np.exp(log_w)
        return (weights @ weights.T) * self.n_frames

    def feature_covariance_error(
        self, coefficients: np.ndarray, *, projection: np.ndarray | None = None
    ) -> np.ndarray:
        """Monte-Carlo covariance of ⟨φ⟩ at η, whole replicas as blocks (parts of them where there are few).

        The influence of every frame on the reweighted mean is summed over each replica, the effect through
        the estimated free energies of the references included; replicas are independent, frames within
        them need not be.

        Args:
            coefficients: η where ⟨φ⟩ is estimated [feature].
            projection: matrix applied to the features first [direction feature].

        Returns:
            Covariance [feature feature] (or [direction direction]) [unit of the features squared].
        """
        sums, references = self._replica_influence(coefficients, projection)
        covariance = np.zeros((sums.shape[1], sums.shape[1]))
        for k in range(len(self.references)):
            part = sums[references == k]
            _refuse_one_replica(len(part))
            covariance += len(part) / (len(part) - 1) * (part - part.mean(0)).T @ (part - part.mean(0))
        return covariance

    def log_z_influence(
        self, coefficients: Float[np.ndarray, "draw feature"], *, weights: Float[np.ndarray, " draw"]
    ) -> Float[np.ndarray, " block"]:
        """What each block of frames contributes to the Monte-Carlo error of a mean log Z difference.

        The mean is Σ_s w_s [log Z(η_s) − log Z(anchor)]; its variance is the sum of the squares of what is returned.
        The contributions to two such means of one bank subtract block by block: what they have in common cancels.

        Args:
            coefficients: η of each draw.
            weights: w, which sum to 1.

        References:
            Shirts & Chodera (2008), doi:10.1063/1.2978177, eq. 8, is the same to first order for independent frames.
        """
        centred = self.features - self.centre
        mean_weights = np.zeros(len(centred))
        for first in range(0, len(coefficients), 64):  # as many as fit into memory
            some = slice(first, first + 64)
            log_w = -self.beta * (coefficients[some] @ centred.T) - self._log_denominator
            normalised = np.exp(log_w - logsumexp(log_w, axis=1, keepdims=True))
            mean_weights += weights[some] @ normalised
        state_weights, free_influence = self._free_energy_influence(centred)
        sums, references = self._block_sums(
            self._weighted_influence(mean_weights[:, None], state_weights, free_influence)
            + free_influence[0][:, None]
        )
        for k in range(len(self.references)):
            own = references == k
            _refuse_one_replica(own.sum())
            sums[own] = np.sqrt(own.sum() / (own.sum() - 1)) * (sums[own] - sums[own].mean(axis=0))
        return sums[:, 0]

    def _replica_influence(self, coefficients: np.ndarray, projection: np.ndarray | None):
        centred = self.features - self.centre
        observable = centred if projection is None else centred @ projection.T
        w = self.weights(coefficients)
        weighted = w[:, None] * (observable - w @ observable)
        return self._block_sums(self._weighted_influence(weighted, *self._free_energy_influence(centred)))

    def _free_energy_influence(self, centred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """exp(f_k − β u_k)/D of every frame and each frame's effect on every f_k [state frame], up to a common shift."""
        state_weights = np.exp(
            self._free[:, None] - self.beta * self.coefficients @ centred.T - self._log_denominator
        )
        overlap = (state_weights * self.n_frames[:, None]) @ state_weights.T
        response = np.linalg.pinv(np.eye(len(self._free)) - overlap.T, rcond=1e-10)
        own = self.reference_index
        return state_weights, -response @ (state_weights - (state_weights @ state_weights.T)[:, own])

    def _weighted_influence(
        self, weighted: np.ndarray, state_weights: np.ndarray, free_influence: np.ndarray
    ) -> np.ndarray:
        """Each frame's effect on Σ_n weighted_n, its own and that through counts and free energies [frame direction]."""
        through_counts = (state_weights @ weighted)[self.reference_index]
        through_free = (self.n_frames[:, None] * (state_weights @ weighted)).T @ free_influence
        return weighted - through_counts - through_free.T

    def _block_sums(self, influence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Influence summed over blocks [block direction], and each block's reference."""
        sums = np.zeros((self.block_index[-1] + 1, influence.shape[1]))
        np.add.at(sums, self.block_index, influence)
        first = np.unique(self.block_index, return_index=True)[1]
        return sums, self.reference_index[first]

    def contains(
        self,
        mean_features: np.ndarray,
        *,
        directions: Float[np.ndarray, "feature coordinate"] | None = None,
        max_frames: int = 4000,
    ) -> bool:
        """Whether a mean of features lies inside the convex hull of the pooled frames.

        Outside it no θ reproduces that mean within the frames, and reweighting runs away
        (Hummel, Hunter & Handcock 2012, doi:10.1080/10618600.2012.679224).

        Args:
            mean_features: of the data [feature].
            directions: ∂η/∂θ, where only these combinations of the features can be matched; default all features.
            max_frames: most frames that span the hull.
        """
        scale = self.features.std(axis=0)
        active = scale > 1e-12 * (np.abs(self.centre) + 1.0)
        if np.any(np.abs(mean_features - self.centre)[~active] > 1e-9 * (1.0 + np.abs(self.centre[~active]))):
            return False
        chosen = np.linspace(0, len(self.features) - 1, min(max_frames, len(self.features))).astype(int)
        points = ((self.features[chosen] - mean_features) / np.where(active, scale, 1.0))[:, active]
        if directions is not None:
            points = points @ _orthonormal(directions[active] * scale[active, None])
        equations = np.vstack([points.T, np.ones(len(points))])
        target = np.zeros(len(equations))
        target[-1] = 1.0
        answer = linprog(np.zeros(len(points)), A_eq=equations, b_eq=target, bounds=(0, None), method="highs")
        return answer.status == 0


def _orthonormal(directions: Float[np.ndarray, "feature coordinate"]) -> Float[np.ndarray, "feature rank"]:
    """An orthonormal basis of what the directions span, whatever their lengths."""
    lengths = np.linalg.norm(directions, axis=0)
    left, values, _ = np.linalg.svd(
        directions[:, lengths > 0.0] / lengths[lengths > 0.0], full_matrices=False
    )
    return left[:, values > 1e-10 * values.max(initial=0.0)]


def _refuse_one_replica(n_blocks: int) -> None:
    if n_blocks < 2:
        raise InputError("the Monte-Carlo error needs at least 2 replicas in every reference simulation")


def error_blocks(n_replicas: int, n_samples: int) -> np.ndarray:
    """Which block of nearly independent frames each frame belongs to: a replica, or a tenth of one.

    Replicas are cut only where fewer than ten leave too few blocks to estimate a covariance from, and never into
    pieces of less than 50 samples.
    """
    pieces = 1 if n_replicas >= 10 else max(1, min(10, n_samples // 50))
    piece = np.arange(n_samples) * pieces // n_samples
    return (np.arange(n_replicas)[:, None] * pieces + piece).reshape(-1)
