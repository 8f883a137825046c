"""The one driver: start → MAP → draw → verify by fresh simulation → draw again, until the check passes."""

import time

import jax.numpy as jnp
import numpy as np

from bayescg.data import statistical_inefficiency
from bayescg.errors import ConvergenceError
from bayescg.inference._calibrate import Calibration, calibrate, calibrated_draws, symmetric_root
from bayescg.inference._chains import draw_chains
from bayescg.inference._checkpoint import Checkpoints
from bayescg.inference._langevin_chains import LangevinChains
from bayescg.inference._likelihood import RelativeEntropy, relative_entropy
from bayescg.inference._posterior import Mode, Posterior, maximise
from bayescg.inference._problem import FitResult, FitSettings, Problem
from bayescg.inference._references import ReferenceRunner, named_key
from bayescg.inference._replica_chains import StochasticGradientChains
from bayescg.inference._resampled_draws import ResampledDraws
from bayescg.inference._sampler import Draws, Sampler, Target
from bayescg.inference._step_choice import StepChoice
from bayescg.inference._verify import (
    FLOOR_LIMIT,
    Verification,
    mean_covariance,
    movement,
    noise_floor,
    shift_matrix,
    verify,
)
from bayescg.physics import Reference, ReferenceBank
from bayescg.progress import Progress, SilentProgress

SETTLED_NOISE = 0.25
"""Noise of the surrogate before its verification, in calibrated standard deviations per direction."""


class _Clock:
    def __init__(self, progress: Progress):
        self.seconds: dict[str, float] = {}
        self._progress, self._name, self._start = progress, "", 0.0

    def stage(self, name: str, key: str, *, total: float | None, unit: str) -> None:
        self.stop()
        self._name, self._start = key, time.perf_counter()
        self._progress.stage(name, total=total, unit=unit)

    def stop(self) -> None:
        if self._name:
            elapsed = time.perf_counter() - self._start
            self.seconds[self._name] = self.seconds.get(self._name, 0.0) + elapsed
            self._name = ""


class Fitter:
    """Runs the stages in order, each of them resumable to the same bits.

    Args:
        problem: what is to be inferred.
        settings: how much work is done.
        checkpoints: where the stages leave their state; None keeps nothing.
        progress: who listens.

    Example:
        >>> import numpyro.distributions as dist
        >>> from bayescg.data import Frames, State, Topology, get_unit_system
        >>> from bayescg.inference import independent_prior
        >>> from bayescg.physics import LinearPotential, SimulationSettings, Simulator, reduce
        >>> def square(positions, box):
        ...     return jnp.sum(positions**2).reshape(1)
        >>> x = np.random.default_rng(0).normal(size=(200, 1, 1)) / 2  # a spring: U = theta x², theta = 2
        >>> topology, units = Topology(("A",), np.ones(1)), get_unit_system("lj")
        >>> frames = Frames(x, np.array([np.inf]), topology, State(1.0), units)
        >>> spring = LinearPotential(jnp.ones(1), function=square, name="spring")
        >>> simulator = Simulator(
        ...     spring, topology=topology, box=np.array([np.inf]), units=units, temperature=1.0,
        ...     settings=SimulationSettings(0.1, 1.0, stride=5, n_replicas=16, equilibration=10),
        ... )
        >>> prior = independent_prior(spring, {"spring_theta": dist.LogNormal(0.0, 1.0)})
        >>> statistics = reduce(frames.blocks(100), spring)
        >>> problem = Problem(prior, statistics, 1.0, simulator, np.zeros(1), frames.positions[:50])
        >>> fit = Fitter(problem, FitSettings(n_warmup=100, n_draws=100, n_chains=2, max_rounds=0)).run()
        >>> bool(abs(np.exp(fit.calibrated).mean() - 1 / (2 * x.var())) < 0.2)  # the maximum of the likelihood
        True
    """

    def __init__(
        self,
        problem: Problem,
        settings: FitSettings,
        *,
        checkpoints: Checkpoints | None = None,
        progress: Progress | None = None,
    ):
        self.problem, self.settings = problem, settings
        self.checkpoints = checkpoints
        self.progress = progress if progress is not None else SilentProgress()
        self.posterior = Posterior(problem.prior)
        self._clock = _Clock(self.progress)
        self._references = ReferenceRunner(problem, settings, checkpoints=checkpoints, progress=self.progress)
        self._exhausted = False
        self._unthinned: Reference | None = None
        self._last_check: dict[str, str] = {}
        self._sampler: Sampler = settings.sampler(self.posterior, n_warmup=settings.n_warmup)
        self._step_choice: StepChoice | None = None

    def run(self) -> FitResult:
        """The whole inference.

        Raises:
            ConvergenceError: the search did not settle.
            SimulationError: a simulation failed.
        """
        bank, mode, path, converged = self._search()
        if self.settings.max_rounds > 0:
            bank, mode = self._settle(bank, mode)
        verifications: list[Verification] = []
        few = max(50, self.settings.n_draws // 5)
        calibration = self.calibrate(bank, mode)
        verify_first = self.settings.max_rounds > 0
        draws = self._sample(bank, mode, "round_0", n_draws=few if verify_first else self.settings.n_draws)
        for round_ in range(self.settings.max_rounds):
            bank, check = self._verify(bank, mode, calibration, draws, round_)
            mode = self._maximise(bank, mode.z)
            last = (
                check.verdict == "passed"
                or (check.verdict == "not tested" and self._exhausted)
                or round_ + 1 == self.settings.max_rounds
            )
            before = draws.z
            draws = self._sample(
                bank, mode, f"round_{round_ + 1}", n_draws=self.settings.n_draws if last else few
            )
            check = check.followed_by(*movement(before, draws.z, calibration.covariance))
            verifications.append(check)
            calibration = self.calibrate(bank, mode)
            self.progress.message(
                f"round {round_ + 1}: verification {check.verdict}, error {np.median(check.rms_error):.2f} sd (median,"
                f" limit {check.median_limit:.2f}), {check.rms_error.max():.2f} (largest), noise floor"
                f" {check.noise_floor.max():.2f}; the posterior then moved by {check.shift:.2f} sd"
            )
            if last and check.verdict != "failed":
                break
        self._clock.stage("calibrating", "calibrate", total=None, unit="")
        calibrated = self._calibrated(draws, mode, calibration, "final")
        likelihood = self.likelihood(bank)
        effective = self._effective_frames(calibrated, likelihood)
        self._clock.stop()
        self.progress.finish()
        return FitResult(
            mode, calibration, likelihood, draws, calibrated, effective, tuple(verifications), bank, path,
            converged, self._inside(bank, mode), bank.independent_frames(),
            dict(self._clock.seconds), self._sampler.name, self._step_choice,
            self._sampler.blocks if isinstance(self._sampler, ResampledDraws) else None,
            self._sampler.temperature if isinstance(self._sampler, LangevinChains) else None,
        )  # fmt: skip

    def likelihood(self, bank: ReferenceBank) -> RelativeEntropy:
        """The likelihood with log Z from a bank."""
        return relative_entropy(self.problem.statistics, bank.surrogate())

    def calibrate(self, bank: ReferenceBank, mode: Mode) -> Calibration:
        """The calibrated covariance at the MAP."""
        z, likelihood = jnp.asarray(mode.z), self.likelihood(bank)
        n = self.problem.statistics.n_frames
        jacobian = np.asarray(self.posterior.coefficient_jacobian(z))
        return calibrate(
            self.problem.statistics,
            beta=self.problem.beta,
            coefficient_jacobian=jacobian,
            curvature=-np.asarray(self.posterior.likelihood_hessian(z, likelihood)) / n,
            prior_precision=-np.asarray(self.posterior.prior_hessian(z)),
            prior_score_covariance=np.asarray(
                self.problem.prior.score_covariance(z, key=named_key(self.settings.seed, "prior score"))
            ),
            feature_error=bank.feature_covariance_error(np.asarray(self.posterior.coefficients(z))),
        )

    # Search -----------------------------------------------------------------------------------------------

    def _search(self) -> tuple[ReferenceBank, Mode, np.ndarray, bool]:
        """Trust-region search for the MAP, one reference simulation per step."""
        settings = self.settings
        self._clock.stage("searching the MAP", "search", total=None, unit="references")
        z = np.asarray(self.problem.start, float)
        path: list[np.ndarray] = []
        bank, mode = None, None
        converged, step_size, reach = False, np.inf, np.inf
        for iteration in range(settings.max_search):
            reference = self._references.simulate(
                [z], f"search_{iteration:03d}", settings.search_samples, bank, "search"
            )
            try:
                bank = (
                    ReferenceBank(self.problem.beta, tuple(reference))
                    if bank is None
                    else bank.with_references(*reference)
                )
            except ConvergenceError:
                if not path:
                    raise
                # n_eff is blind to what no frame has seen, and the step went where the bank has none: shorten it.
                z = (path[-1] + z) / 2.0
                reach = float(np.linalg.norm(z - path[-1]))
                continue
            path.append(z)
            if len(path) == 1:
                self.posterior.check(jnp.asarray(z), self.likelihood(bank))
            mode = self._maximise(bank, z)
            step_size = self._distance(mode, mode.z - z)
            inside = self._inside(bank, mode)
            self._references.position = iteration + 1
            self._references.metrics = {
                "references": str(iteration + 1),
                "step": f"{step_size:.2f} sd",
                "n_eff": f"{mode.effective_frames:.0f}",
                "in hull": "yes" if inside else "no",
            }
            self.progress.update(iteration + 1, metrics=self._references.metrics)
            reach *= 2.0
            step = mode.z - z
            z = z + step * min(1.0, reach / max(float(np.linalg.norm(step)), 1e-300))
            if mode.interior and step_size < settings.search_tolerance and inside:
                converged = True
                break
        assert bank is not None and mode is not None
        if not converged and (not mode.interior or step_size > 10.0):
            raise ConvergenceError(
                f"the search did not reach a maximum in {settings.max_search} reference simulations (last step"
                f" {step_size:.1f} standard deviations); give a better start, a narrower prior or more references"
            )
        return bank, mode, np.asarray(path), converged

    def _settle(self, bank: ReferenceBank, mode: Mode) -> tuple[ReferenceBank, Mode]:
        """A longer simulation at the MAP, so that the surrogate's own noise is small before it is verified."""
        calibration = self.calibrate(bank, mode)
        n_samples = self._samples_for(SETTLED_NOISE, self.settings.n_replicas, bank, mode, calibration)
        reference = self._references.simulate([mode.z], "settle", n_samples, bank, "search")
        to_shift = self._to_shift(mode, calibration)
        reference = self._references.extend(
            reference, points=[mode.z], name="settle", n_samples=n_samples, bank=bank,
            noise=lambda r: noise_floor(r, to_shift), limit=SETTLED_NOISE,
        )  # fmt: skip
        bank = bank.with_references(*reference)
        return bank, self._maximise(bank, mode.z)

    def _to_shift(self, mode: Mode, calibration: Calibration) -> np.ndarray:
        """Matrix from an error of ⟨φ⟩ to the shift of the posterior mean in calibrated sd [direction feature]."""
        return shift_matrix(
            n_frames=self.problem.statistics.n_frames,
            beta=self.problem.beta,
            laplace_covariance=mode.covariance,
            calibrated_covariance=calibration.covariance,
            coefficient_jacobian=np.asarray(self.posterior.coefficient_jacobian(jnp.asarray(mode.z))),
        )

    def _maximise(self, bank: ReferenceBank, start: np.ndarray) -> Mode:
        least = max(
            min(self.settings.least_effective_frames, 0.5 * bank.n_frames[-1]), 0.1 * float(bank.n_frames[-1])
        )
        return maximise(self.posterior, self.likelihood(bank), start, least_effective_frames=least)

    def _inside(self, bank: ReferenceBank, mode: Mode) -> bool:
        """Whether frames of the bank can be weighted to have the data's averages, of what the parameters can change.

        Where the coefficients are a curved function of few parameters, the others differ by the model's misfit.
        """
        directions = np.asarray(self.posterior.coefficient_jacobian(jnp.asarray(mode.z)))
        return bank.contains(self.problem.statistics.features.mean(axis=0), directions=directions)

    def _distance(self, mode: Mode, step: np.ndarray) -> float:
        """Length of a step in calibrated standard deviations per direction.

        Correlated data count for N / g frames: the curvature of the log density is scaled to that.
        """
        z = jnp.asarray(mode.z)
        prior = -np.asarray(self.posterior.prior_hessian(z))
        total = np.linalg.inv(mode.covariance)
        g = self._mean_inefficiency()
        scaled = (total - prior) / g + prior
        return float(np.sqrt(max(step @ scaled @ step, 0.0) / len(step)))

    def _mean_inefficiency(self) -> float:
        statistics = self.problem.statistics
        varying = statistics.features[:, statistics.features.std(axis=0) > 0.0]
        return float(np.mean(statistical_inefficiency(varying, lengths=statistics.trajectory_lengths())))

    # Sampling and verification ----------------------------------------------------------------------------

    def _sample(self, bank: ReferenceBank, mode: Mode, name: str, *, n_draws: int) -> Draws:
        """Draws from the surrogate posterior, in checkpointed chunks."""
        settings, sampler = self.settings, self._sampler
        self._clock.stage("sampling the posterior", "sample", total=sampler.n_warmup + n_draws, unit="draws")
        target = Target(
            self.likelihood(bank),
            jnp.asarray(mode.z),
            jnp.asarray(symmetric_root(mode.covariance)),
            jnp.asarray(min(settings.least_effective_frames, 0.5 * mode.effective_frames)),
        )
        draws, state = draw_chains(
            sampler,
            target,
            key=named_key(settings.seed, f"{sampler.name} {name}"),
            n_chains=settings.n_chains,
            n_draws=n_draws,
            name=f"{sampler.name}_{name}",
            checkpoints=self.checkpoints,
            progress=self.progress,
        )
        if isinstance(sampler, StochasticGradientChains):
            self._step_choice = sampler.choice(state)
        return draws

    def _calibrated(self, draws: Draws, mode: Mode, calibration: Calibration, name: str) -> np.ndarray:
        rng = np.random.default_rng([self.settings.seed, *f"calibrated {name}".encode()])
        return calibrated_draws(draws.z, mode.z, calibration, rng=rng)

    def _effective_frames(self, z: np.ndarray, likelihood: RelativeEntropy) -> np.ndarray:
        flat = jnp.asarray(z.reshape(-1, z.shape[-1]))
        values = self.posterior.effective_frames_of_draws(flat, likelihood)
        return np.asarray(values).reshape(z.shape[:-1])

    def _verify(
        self, bank: ReferenceBank, mode: Mode, calibration: Calibration, draws: Draws, round_: int
    ) -> tuple[ReferenceBank, Verification]:
        """Fresh simulations at random calibrated draws; thinned, they join the bank whatever the verdict."""
        settings = self.settings
        calibrated = self._calibrated(draws, mode, calibration, f"round {round_}").reshape(-1, len(mode.z))
        rng = np.random.default_rng([settings.seed, round_, 7])
        points = calibrated[rng.choice(len(calibrated), settings.verification_draws, replace=False)]
        per_draw = settings.n_replicas // settings.verification_draws
        n_samples = self._samples_for(0.88 * FLOOR_LIMIT, per_draw, bank, mode, calibration)
        self._clock.stage(
            f"verifying at {len(points)} draws, round {round_ + 1}",
            "verify",
            total=n_samples * self.problem.time_per_sample or None,
            unit=self.problem.time_unit,
        )
        self._references.position, name = 0.0, f"verification_{round_}"
        self._references.metrics = {
            "round": str(round_ + 1),
            "n_eff": f"{mode.effective_frames:.0f}",
        } | self._last_check
        fresh = self._references.simulate(list(points), name, n_samples, bank, "verification")
        to_shift = self._to_shift(mode, calibration)
        fresh = self._references.extend(
            fresh, points=list(points), name=name, n_samples=n_samples, bank=bank,
            noise=lambda r: noise_floor(r, to_shift), limit=FLOOR_LIMIT,
        )  # fmt: skip
        jacobians = [np.asarray(self.posterior.coefficient_jacobian(jnp.asarray(z))) for z in points]
        check = verify(
            bank,
            fresh,
            jacobians,
            n_frames=self.problem.statistics.n_frames,
            laplace_covariance=mode.covariance,
            calibrated_covariance=calibration.covariance,
        )
        self._last_check = {"verification error": f"{np.median(check.rms_error):.2f} sd"}
        self._unthinned = fresh[-1]
        self._exhausted = max(r.features.shape[1] for r in fresh) >= settings.max_verification_samples // 2
        step = max(1, round(sum(r.n_frames for r in fresh) / settings.retained_frames))
        thinned = [reference.thinned(step) for reference in fresh]
        return self._references.join(bank, thinned, points=points, mode=mode.z, name=name), check

    def _samples_for(
        self, noise: float, n_replicas: int, bank: ReferenceBank, mode: Mode, calibration: Calibration
    ) -> int:
        """Samples per replica that bring the noise of a simulated mean down to a number of calibrated sd."""
        settings = self.settings
        to_shift = self._to_shift(mode, calibration)
        # The longest: a short one underestimates its own correlation. Those of a verification may be thinned.
        known = [self._unthinned] if self._unthinned is not None else bank.references
        last = max(known, key=lambda reference: reference.features.shape[1])
        per_frame = np.trace(mean_covariance(last.features @ to_shift.T)) * last.n_frames / len(mode.z)
        needed = np.ceil(per_frame / noise**2 / n_replicas / 10.0) * 10
        return int(np.clip(needed, settings.search_samples, settings.max_verification_samples))
