"""What is to be inferred, how much work is done, and what comes out."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Array, Float, Key

from bayescg.inference._calibrate import Calibration
from bayescg.inference._likelihood import RelativeEntropy
from bayescg.inference._nuts import Nuts
from bayescg.inference._posterior import Mode
from bayescg.inference._prior import Prior
from bayescg.inference._resampled_draws import ResampledBlocks
from bayescg.inference._sampler import Draws, SamplerChoice
from bayescg.inference._step_choice import StepChoice
from bayescg.inference._verify import Verification
from bayescg.physics import Potential, Reference, ReferenceBank, SufficientStatistics


class SimulatorLike(Protocol):
    """Anything that simulates potentials and reduces the frames; see `physics.Simulator`."""

    def simulate(
        self,
        potentials: Sequence[Potential],
        *,
        starts: Float[np.ndarray, "replica site dim"],
        key: Key[Array, ""],
        n_samples: int,
        purpose: str = ...,
        on_chunk: Callable[[float, Callable[[], dict[str, np.ndarray]]], None] | None = ...,
        resume: dict[str, np.ndarray] | None = ...,
    ) -> list[Reference]: ...


class Problem(NamedTuple):
    """What is to be inferred from what.

    Attributes:
        prior: the prior on the potential.
        statistics: the data's sufficient statistics.
        beta: 1/kT [1/energy].
        simulator: makes reference simulations.
        start: unconstrained coordinates where the search begins [coordinate].
        configurations: configurations of the data, as starts of simulations [configuration site dim].
        time_per_sample: simulated time of one sample of all replicas, for the progress display [time_unit]; 0 if
            unknown.
        time_unit: the unit that the display shows.
        time_factor: from the simulator's unit of time to it.
    """

    prior: Prior
    statistics: SufficientStatistics
    beta: float
    simulator: SimulatorLike
    start: np.ndarray
    configurations: np.ndarray
    time_per_sample: float = 0.0
    time_unit: str = ""
    time_factor: float = 1.0


class FitSettings(NamedTuple):
    """How much work is done.

    Attributes:
        seed: of every random number.
        n_replicas: replicas that run together; a multiple of the number of verification draws.
        search_samples: samples per replica of a search reference.
        max_search: most search references.
        search_tolerance: largest last step, in calibrated standard deviations per direction.
        verification_draws: calibrated posterior draws simulated afresh in each round.
        max_verification_samples: most samples per replica of a verification simulation.
        max_rounds: most verification rounds; 0 leaves the posterior unverified.
        retained_frames: about how many frames of each verification round join the bank; longer simulations are
            thinned, since the cost of every later gradient goes with the bank's size.
        least_effective_frames: reweighting limit of the search and of the barrier.
        n_chains: chains of the sampler.
        n_warmup: adaptation iterations.
        n_draws: kept draws per chain.
        sampler: makes the sampler, given the posterior and `n_warmup`.
    """

    seed: int = 0
    n_replicas: int = 16
    search_samples: int = 40
    max_search: int = 30
    search_tolerance: float = 0.5
    verification_draws: int = 8
    max_verification_samples: int = 2000
    max_rounds: int = 5
    retained_frames: int = 30_000
    least_effective_frames: float = 50.0
    n_chains: int = 4
    n_warmup: int = 400
    n_draws: int = 500
    sampler: SamplerChoice = Nuts


class FitResult(NamedTuple):
    """The posterior and everything that vouches for it.

    Attributes:
        mode: MAP and Laplace approximation on the final bank.
        calibration: the calibrated covariance.
        likelihood: the final likelihood.
        draws: raw draws with diagnostics.
        calibrated: calibrated draws [chain draw coordinate].
        effective_frames: effective reference frames at the calibrated draws [chain draw].
        verifications: one per round.
        bank: all reference simulations.
        search_path: the z that search references were run at [reference coordinate].
        search_converged: whether the last search step was within tolerance.
        in_hull: whether the data's mean features lie in the convex hull of the references'.
        independent_reference_frames: reference frames over their statistical inefficiency (mean over features).
        seconds: wall time per stage.
        sampler: name of what drew.
        step_choice: of a stochastic-gradient sampler: its step, and what it is predicted to do; None of others.
        resampled: of a sampler of resampled data: what its draws are; None of others.
        posterior_temperature: of a sampler of p(z | D)^(1/τ): its τ; None of others.
    """

    mode: Mode
    calibration: Calibration
    likelihood: RelativeEntropy
    draws: Draws
    calibrated: np.ndarray
    effective_frames: np.ndarray
    verifications: tuple[Verification, ...]
    bank: ReferenceBank
    search_path: np.ndarray
    search_converged: bool
    in_hull: bool
    independent_reference_frames: float
    seconds: dict[str, float]
    sampler: str = Nuts.name
    step_choice: StepChoice | None = None
    resampled: ResampledBlocks | None = None
    posterior_temperature: float | None = None
