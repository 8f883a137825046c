"""One normalisation for several fits: log Z of their anchors relative to one common state, with its error."""

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Key

from bayescg.errors import ConvergenceError, InputError
from bayescg.inference._problem import SimulatorLike
from bayescg.physics import FrameReducer, Potential, Reference, ReferenceBank
from bayescg.physics._joint_form import JointForm


class Normalisation(NamedTuple):
    """log Z of the anchors of several fits relative to one common state.

    A fit's densities are relative to its own anchor; minus `log_z` for every frame makes them relative to the common
    state. The error counts N times in a score of N frames, since all frames share it.

    Attributes:
        anchors: identity of each fit's anchor.
        log_z: log Z_anchor − log Z_common [fit].
        covariance: Monte-Carlo covariance of these [fit fit].
        method: in words.

    Example:
        >>> shared = Normalisation(("a", "b"), np.array([0.0, 1.2]), np.diag([0.0, 0.01]), "by hand")
        >>> round(shared.difference_error(0, 1), 3)
        0.1
    """

    anchors: tuple[str, ...]
    log_z: Float[np.ndarray, " fit"]
    covariance: Float[np.ndarray, "fit fit"]
    method: str

    def difference_error(self, first: int, second: int) -> float:
        """Standard error of log Z_first − log Z_second."""
        c = self.covariance
        return float(np.sqrt(max(c[first, first] + c[second, second] - 2.0 * c[first, second], 0.0)))


class AnchoredFit(NamedTuple):
    """What a common normalisation needs of a fit.

    Attributes:
        anchor: identity of its log Z anchor; see `log_z_anchor`.
        bank: its references.
        potential: at the MAP.
    """

    anchor: str
    bank: ReferenceBank
    potential: Potential

    @property
    def coefficients(self) -> np.ndarray:
        """η at the MAP."""
        return np.asarray(self.potential.coefficients(), np.float64)


def log_z_anchor(bank: ReferenceBank, *, system: str) -> str:
    """Identity of the state whose log Z a fit's densities are measured against.

    The bank's first reference: its coefficients and temperature, and the system and features that these belong to. The
    same coefficients of another form are another state.

    Args:
        bank: the references.
        system: identity of system and potential form, as stored with the bank.

    Example:
        >>> x2 = np.random.default_rng(0).normal(size=(2, 50, 1)) ** 2
        >>> bank = ReferenceBank(1.0, (Reference(np.ones(1), x2, x2[..., :0], x2[..., :0], x2[:0]),))
        >>> log_z_anchor(bank, system="spring") == log_z_anchor(bank, system="well")
        False
    """
    return hashlib.sha256(f"{system} {bank.anchor}".encode()).hexdigest()[:16]


def same_form(
    first: Potential, second: Potential, positions: Float[np.ndarray, "frame site dim"], box: np.ndarray
) -> bool:
    """Whether two potentials have the same features, judged by configurations."""
    a, b = (FrameReducer(potential, box=box)(positions)[0] for potential in (first, second))
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-10, atol=1e-10 * np.abs(a).max(initial=0.0)))


def pooled_normalisation(fits: Sequence[AnchoredFit]) -> Normalisation:
    """The common normalisation of fits of one form: MBAR over the references of all; no new simulation.

    The common state is the first fit's potential at its MAP.

    Args:
        fits: of the same features.

    Raises:
        InputError: fits at different temperatures or with different numbers of features.
        ConvergenceError: banks that share no configurations.

    Example:
        >>> from bayescg.physics import DoubleWell
        >>> rng = np.random.default_rng(0)
        >>> def bank(stiffness):  # of U = stiffness x²/2
        ...     x2 = rng.normal(size=(8, 500, 1)) ** 2 / stiffness
        ...     features = np.concatenate([-x2 / 2, x2**2 / 4], axis=2)
        ...     none = features[..., :0]
        ...     return ReferenceBank(1.0, (Reference(np.array([-stiffness, 0.0]), features, none, none, x2[:0]),))
        >>> fits = [AnchoredFit(name, bank(k), DoubleWell(-k, 0.0)) for name, k in (("a", 1.0), ("b", 2.0))]
        >>> shared = pooled_normalisation(fits)
        >>> bool(abs(shared.log_z[1] - shared.log_z[0] + np.log(2.0) / 2) < 4 * shared.difference_error(0, 1))
        True
    """
    if len({(fit.bank.beta, fit.bank.features.shape[1]) for fit in fits}) > 1:
        raise InputError("one normalisation: the fits differ in temperature or features; bridge their forms")
    pool = fits[0].bank
    if len(fits) > 1:
        others = [reference for fit in fits[1:] for reference in fit.bank.references]
        pool = ReferenceBank(pool.beta, (*pool.references, *others))
    anchors = [fit.bank.references[0].coefficients for fit in fits]
    values, covariance = _differences(pool, np.stack([fits[0].coefficients, *anchors]))
    return Normalisation(
        tuple(fit.anchor for fit in fits),
        values[1:],
        covariance[1:, 1:],
        "references of all fits in one pool",
    )


def _differences(
    bank: ReferenceBank, coefficients: Float[np.ndarray, "state feature"]
) -> tuple[Float[np.ndarray, " state"], Float[np.ndarray, "state state"]]:
    """log Z of states relative to the first, and its Monte-Carlo covariance, blocks of replicas as units."""
    values = np.array([bank.delta_log_z(eta) for eta in coefficients])
    influence = np.stack([bank.log_z_influence(eta[None], weights=np.ones(1)) for eta in coefficients])
    influence = influence - influence[0]
    return values - values[0], influence @ influence.T


class BridgeSettings(NamedTuple):
    """How long the simulations between forms are.

    Attributes:
        n_replicas: replicas at each state.
        n_samples: samples per replica to begin with; doubled until the error is small enough.
        max_samples: most samples per replica.
        tolerance: standard error of log Z between two forms that is small enough, one for all pairs or of each.
        max_states: most states between two forms.
    """

    n_replicas: int = 8
    n_samples: int = 100
    max_samples: int = 3200
    tolerance: float | Float[np.ndarray, "model model"] = 0.01
    max_states: int = 7


def bridged_differences(
    joint: JointForm,
    simulator: SimulatorLike,
    *,
    beta: float,
    starts: Float[np.ndarray, "configuration site dim"],
    settings: BridgeSettings,
    key: Key[Array, ""],
    correct: Callable[[np.ndarray, int], np.ndarray] | None = None,
) -> tuple[Float[np.ndarray, " model"], Float[np.ndarray, "model model"]]:
    """log Z of each model of a joint form relative to the first, by simulations of mixtures of them.

    Every frame carries the features of all models, so MBAR over the pool knows each frame's energy under each of them.
    States lie at the models themselves and at U_0 + λ (U_k − U_0) between the first and every other; where two
    neighbours share no configurations, more are put between.

    Args:
        joint: the models, each at the parameters between which log Z is wanted.
        simulator: of the joint form.
        beta: 1/kT [1/energy].
        starts: configurations to start from; those of the data, which every model resembles.
        settings: how long.
        key: of the simulations.
        correct: mean of β (U_own − U_joint) of configurations under a model's own way of summing energies (model,
            configurations); adds what a table takes from an energy.

    Returns:
        log Z_k − log Z_0 and its Monte-Carlo covariance.

    Raises:
        ConvergenceError: forms so different that even the most states share no configurations.
    """
    names = [np.eye(joint.n_models)[k] for k in range(joint.n_models)]
    between = 1
    while True:
        path = np.arange(1, between + 1) / (between + 1)
        weights = names + [(1 - w) * names[0] + w * other for other in names[1:] for w in path]
        try:
            return _bridge(joint, simulator, weights, beta, starts, settings, key, correct)
        except ConvergenceError as error:
            if 2 * between + 1 > settings.max_states:
                raise ConvergenceError(
                    f"one normalisation of {joint.n_models} forms: simulations of {between} mixtures between them share no"
                    f" configurations ({error}); compare forms that are closer"
                ) from error
            between = 2 * between + 1
            key = jax.random.fold_in(key, between)


def _bridge(
    joint: JointForm,
    simulator: SimulatorLike,
    weights: Sequence[np.ndarray],
    beta: float,
    starts: Float[np.ndarray, "configuration site dim"],
    settings: BridgeSettings,
    key: Key[Array, ""],
    correct: Callable[[np.ndarray, int], np.ndarray] | None,
) -> tuple[Float[np.ndarray, " model"], Float[np.ndarray, "model model"]]:
    """Simulations at the given mixtures, doubled until the error is small enough, and what they say."""
    potentials = [joint.mixture(w) for w in weights]
    states = np.stack([joint.coefficients(k) for k in range(joint.n_models)])
    start_key, key = jax.random.split(key)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(start_key)))
    positions = starts[rng.integers(len(starts), size=len(potentials) * settings.n_replicas)]
    references: list[Reference] = []
    n_samples = settings.n_samples
    while True:
        run_key, key = jax.random.split(key)
        new = simulator.simulate(
            potentials, starts=positions, key=run_key, n_samples=n_samples, purpose="bridge"
        )
        references = new if not references else [_joined(a, b) for a, b in zip(references, new, strict=True)]
        values, covariance = _differences(ReferenceBank(beta, tuple(references)), states)
        total = references[0].features.shape[1]
        if np.all(_pair_errors(covariance) <= settings.tolerance) or 2 * total > settings.max_samples:
            break
        n_samples = total
        kept = [r.configurations[1::2] for r in new]
        positions = np.concatenate(kept)
    if correct is not None:
        shift = np.array([-np.mean(correct(references[k].configurations, k)) for k in range(joint.n_models)])
        values = values + shift - shift[0]
    return values, covariance


def _pair_errors(covariance: Float[np.ndarray, "model model"]) -> Float[np.ndarray, "model model"]:
    """Standard errors of all differences."""
    variances = np.diag(covariance)
    return np.sqrt(np.maximum(variances[:, None] + variances - 2.0 * covariance, 0.0))


def _joined(first: Reference, more: Reference) -> Reference:
    """Samples of both, and configurations of both."""
    return first.extended(more)._replace(
        configurations=np.concatenate([first.configurations, more.configurations])
    )
