"""Reference simulations at given parameters: dispersed starts, checkpoints, and how they join the bank."""

import hashlib
import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from bayescg.errors import ConvergenceError
from bayescg.inference._checkpoint import Checkpoints
from bayescg.inference._problem import FitSettings, Problem
from bayescg.physics import Reference, ReferenceBank
from bayescg.progress import Progress

MOST_EXTENSIONS = 2
"""How often a simulation whose noise turned out too large is continued."""
MOST_BRIDGES = 5
"""Most simulations between a lonely verification simulation and the rest."""


def named_key(seed: int, name: str) -> Key[Array, ""]:
    """The PRNG key of a stage; the same whatever ran before it."""
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    return jax.random.fold_in(jax.random.key(seed), number)


class ReferenceRunner:
    """Runs reference simulations, from checkpoints where they exist.

    Args:
        problem: what is simulated.
        settings: seed, number of replicas, limits.
        checkpoints: where finished and half-finished simulations are kept; None keeps nothing.
        progress: who listens.

    Attributes:
        metrics: what the display shows beside the simulated time.
        position: progress of the stage in its own unit.
    """

    def __init__(
        self, problem: Problem, settings: FitSettings, *, checkpoints: Checkpoints | None, progress: Progress
    ):
        self.problem, self.settings = problem, settings
        self.checkpoints, self.progress = checkpoints, progress
        self.metrics: dict[str, str] = {}
        self.position = 0.0
        self._simulated = 0.0

    def simulate(
        self,
        points: Sequence[np.ndarray],
        name: str,
        n_samples: int,
        bank: ReferenceBank | None,
        purpose: str,
    ) -> list[Reference]:
        """Reference simulations at given z, from a checkpoint where one exists."""
        n_replicas = self.settings.n_replicas
        saved = self.checkpoints.load(name) if self.checkpoints else None
        if saved is not None:
            return [_unpack_reference(saved, k) for k in range(len(points))]
        partial = f"{name}_partial"
        resume = self.checkpoints.load(partial) if self.checkpoints else None
        last = time.monotonic()

        def on_chunk(amount: float, snapshot: Callable[[], dict[str, np.ndarray]]) -> None:
            nonlocal last
            self._simulated += amount * self.problem.time_factor
            if purpose == "verification":
                self.position += amount * self.problem.time_factor
            unit = self.problem.time_unit
            metrics = {**self.metrics, "simulated in all": f"{self._simulated:.4g} {unit}".strip()}
            self.progress.update(self.position, metrics=metrics)
            if self.checkpoints and time.monotonic() - last > self.checkpoints.interval:
                self.checkpoints.save(partial, snapshot())
                last = time.monotonic()

        potentials = [self.problem.prior.potential(jnp.asarray(z)) for z in points]
        references = self.problem.simulator.simulate(
            potentials,
            starts=self._starts(n_replicas, points[0], bank, name),
            key=named_key(self.settings.seed, f"simulate {name}"),
            n_samples=n_samples,
            purpose=purpose,
            on_chunk=on_chunk,
            resume=resume,
        )
        if self.checkpoints:
            self.checkpoints.save(name, _pack_references(references))
            self.checkpoints.discard(partial)
        return references

    def _starts(self, n: int, z: np.ndarray, bank: ReferenceBank | None, name: str) -> np.ndarray:
        """Dispersed starts: half from the data, half from references in proportion to their weight at z."""
        rng = np.random.default_rng([self.settings.seed, *name.encode()])
        data = self.problem.configurations
        from_data = data[rng.choice(len(data), n, replace=len(data) < n)]
        if bank is None:
            return from_data
        weights = bank.weights(np.asarray(self.problem.prior.potential(jnp.asarray(z)).coefficients()))
        share = np.bincount(bank.reference_index, weights=weights, minlength=len(bank.references))
        chosen = rng.choice(len(share), n, p=share / share.sum())
        starts = np.array(from_data)
        for i in range(n // 2):
            pool = bank.references[chosen[i]].configurations
            if len(pool):
                starts[2 * i] = pool[rng.integers(len(pool))]
        return starts

    def join(
        self, bank: ReferenceBank, fresh: list[Reference], *, points: np.ndarray, mode: np.ndarray, name: str
    ) -> ReferenceBank:
        """A bank with fresh simulations; those that share nothing with it are reached by others in between.

        That is how a draw looks whose simulation fell into a region that no reference had visited.

        Args:
            bank: the references so far.
            fresh: simulations to join it.
            points: the z they were run at [simulation coordinate].
            mode: a z well inside the bank's reach, from which simulations lead to a lonely one.
            name: under which those in between are kept.
        """
        try:
            return bank.with_references(*fresh)
        except ConvergenceError:
            pass
        lonely = []
        for point, reference in zip(points, fresh, strict=True):
            try:
                bank = bank.with_references(reference)
            except ConvergenceError:
                lonely.append((point, reference))
        for k, (point, reference) in enumerate(lonely):
            near, far = np.asarray(mode), np.asarray(point)
            for step in range(MOST_BRIDGES + 1):
                try:
                    bank = bank.with_references(reference)
                    break
                except ConvergenceError:
                    middle = 0.5 * (near + far)
                if step == MOST_BRIDGES:
                    self.progress.message(
                        f"one of the {len(fresh)} verification simulations shares no configurations with any reference,"
                        f" nor with {step} simulations in between: it is left out of the free energies"
                    )
                    break
                bridge = self.simulate(
                    [middle], f"{name}_bridge_{k}_{step}", self.settings.search_samples, bank, "bridge"
                )
                try:
                    bank = bank.with_references(*bridge)
                    near = middle
                except ConvergenceError:
                    far = middle
        return bank

    def extend(
        self,
        references: list[Reference],
        *,
        points: Sequence[np.ndarray],
        name: str,
        n_samples: int,
        bank: ReferenceBank,
        noise: Callable[[Reference], float],
        limit: float,
    ) -> list[Reference]:
        """Simulate on where the noise turned out larger than foreseen: one too noisy draw would test nothing.

        Args:
            references: simulations so far, n_samples per replica.
            points: the z they were run at.
            name: under which they are kept.
            n_samples: samples per replica so far.
            bank: gives starts.
            noise: of a simulation's averages.
            limit: what the noise of each should stay below.
        """
        purpose = references[0].purpose
        for part in range(MOST_EXTENSIONS):
            worst = max(noise(reference) for reference in references)
            allowed = self.settings.max_verification_samples - n_samples
            missing = int(np.ceil(n_samples * ((worst / (0.9 * limit)) ** 2 - 1.0) / 10.0) * 10)
            more_samples = min(missing, allowed)
            if worst <= 0.97 * limit or more_samples <= 0:
                break
            more = self.simulate(points, f"{name}_more_{part}", more_samples, bank, purpose)
            references = [first.extended(second) for first, second in zip(references, more, strict=True)]
            n_samples += more_samples
        return references


def _pack_references(references: Sequence[Reference]) -> dict[str, np.ndarray]:
    return {
        f"{k}_{field}": np.asarray(value)
        for k, reference in enumerate(references)
        for field, value in reference._asdict().items()
    }


def _unpack_reference(arrays: dict[str, np.ndarray], k: int) -> Reference:
    fields = {field: arrays[f"{k}_{field}"] for field in Reference._fields}
    purpose, acceptance = str(fields.pop("purpose")), float(fields.pop("acceptance"))
    results = tuple(int(n) for n in fields.pop("results"))
    return Reference(**fields, purpose=purpose, acceptance=acceptance, results=results)
