"""Many potentials of one form side by side, a few replicas of each, with common random numbers between them."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Key

from bayescg.errors import InputError
from bayescg.physics._engine import EngineState
from bayescg.physics._potential import Potential
from bayescg.physics._result import Result
from bayescg.physics._simulate import STUCK, Simulator

AlsoOfFrames = Callable[[Float[np.ndarray, "replica sample site dim"]], np.ndarray]
"""Of positions, further columns of every frame [replica sample column]."""


class DrawSamples(NamedTuple):
    """Frames of all draws, reduced.

    Attributes:
        statistics: what `FrameReducer` gives: features, virial features, pair counts [draw replica sample column].
        also: further columns [draw replica sample column].
        acceptance: mean acceptance of Metropolised moves, NaN without them [draw replica].
        result: a `Result` code of each replica [draw replica].
        kinetic: kinetic energies of the sampling, of every move or else of every chunk [draw replica sample] [energy].

    Example:
        >>> DrawSamples((), np.zeros((5, 2, 10, 0)), np.ones((5, 2)), np.zeros((5, 2), int)).result.shape
        (5, 2)
    """

    statistics: tuple[np.ndarray, ...]
    also: np.ndarray
    acceptance: np.ndarray
    result: np.ndarray
    kinetic: np.ndarray = np.zeros((0, 0, 0))


class DrawBatch:
    """Simulations of several potentials at once, each with the same number of replicas.

    All go through the engine as one batch. With common random numbers the j-th replica of every potential starts from
    the same positions and velocities and feels the same noise: what differs between two potentials then differs because
    of their parameters, as far as the dynamics does not forget (chaos makes a fluid forget, friction and wells don't).

    Args:
        simulator: of the state to be simulated; its engine, its reduction, and Metropolis' test if it has one.
        potentials: of its form.
        n_replicas: of each.

    Raises:
        InputError: fewer than two replicas, no potentials, or one of another form.

    Example:
        >>> from bayescg.data import Topology, get_unit_system
        >>> from bayescg.physics import HarmonicWell, SimulationSettings
        >>> settings = SimulationSettings(0.1, 1.0, stride=5, n_replicas=4, equilibration=0)
        >>> simulator = Simulator(
        ...     HarmonicWell(1.0),
        ...     topology=Topology(("A",), np.ones(1)),
        ...     box=np.full(3, np.inf),
        ...     units=get_unit_system("lj"),
        ...     temperature=1.0,
        ...     settings=settings,
        ... )
        >>> batch = DrawBatch(simulator, [HarmonicWell(1.0), HarmonicWell(1.0)], n_replicas=2)
        >>> state = batch.start(jax.random.key(0), np.zeros((2, 1, 3)))
        >>> _, samples = batch.sample(state, n_samples=6)
        >>> samples.statistics[0].shape, bool((samples.statistics[0][0] == samples.statistics[0][1]).all())
        ((2, 2, 6, 1), True)
    """

    def __init__(self, simulator: Simulator, potentials: Sequence[Potential], *, n_replicas: int):
        if n_replicas < 2 or not potentials:
            raise InputError(
                f"simulation at draws: {len(potentials)} potentials with {n_replicas} replicas each; expected at least"
                " one, and two replicas, since their scatter is the simulation noise"
            )
        self.simulator, self.potentials, self.n_replicas = simulator, tuple(potentials), n_replicas
        self.n_draws = len(potentials)
        self.parameters = simulator._parameters(potentials, each=n_replicas)
        self.coefficients = np.stack([np.asarray(p.coefficients(), np.float64) for p in potentials])

    def start(
        self, key: Key[Array, ""], positions: Float[np.ndarray, "replica site dim"], *, common: bool = True
    ) -> EngineState:
        """All replicas of all draws at the given positions, with velocities of the Maxwell distribution.

        Args:
            key: PRNG key.
            positions: of the replicas of one draw, the same for all [length].
            common: the same velocities and later noise for every draw, or their own.

        Raises:
            InputError: another number of positions than replicas.
        """
        if len(positions) != self.n_replicas:
            raise InputError(
                f"simulation at draws: {len(positions)} starts for {self.n_replicas} replicas; as many expected"
            )
        engine = self.simulator.engine
        if common:
            one = engine.initial_state(key, positions)
            each = np.tile(np.arange(self.n_replicas), self.n_draws)
            return jax.tree.map(lambda leaf: leaf[each], one)
        return engine.initial_state(key, np.tile(positions, (self.n_draws, 1, 1)))

    def sample(
        self, state: EngineState, *, n_samples: int, also: AlsoOfFrames | None = None
    ) -> tuple[EngineState, DrawSamples]:
        """Sample n_samples frames of every replica in equilibrium dynamics, one stride apart, and reduce them.

        A replica that fails keeps its code, and the others go on.

        Args:
            state: from `start` or an earlier call.
            n_samples: frames.
            also: further columns of every frame.
        """
        simulator, chunk = self.simulator, self.simulator.settings.chunk
        coefficients = np.repeat(self.coefficients, self.n_replicas, axis=0)
        columns: list[tuple[np.ndarray, ...]] = []
        further, acceptances, kinetic, left = [], [], [], n_samples
        while left > 0:
            size = min(chunk, left) if simulator.settings.metropolis else chunk
            if simulator.settings.metropolis:
                state, moves = simulator._metropolis.run(
                    state, self.parameters, coefficients, n_samples=size, stride=simulator.settings.stride
                )
                positions, reduced, accepted = moves.positions, moves.statistics, moves.acceptance
                kinetic.append(moves.kinetic)
            else:
                state, raw = simulator.engine.run(
                    state, self.parameters, n_samples=size, stride=simulator.settings.stride
                )
                positions = np.asarray(raw)[:, :left]
                flat = positions.reshape(-1, *positions.shape[2:])
                reduced = tuple(a.reshape(*positions.shape[:2], -1) for a in simulator.reducer(flat))
                accepted = np.full(positions.shape[:2], np.nan)
                kinetic.append(self._kinetic(state)[:, None])
            columns.append(reduced)
            acceptances.append(accepted)
            further.append(np.zeros((*accepted.shape, 0)) if also is None else also(positions))
            left -= size
        acceptance = self._by_draw(np.concatenate(acceptances, axis=1)).mean(axis=2)
        return state, DrawSamples(
            tuple(self._by_draw(np.concatenate(c, axis=1)) for c in zip(*columns, strict=True)),
            self._by_draw(np.concatenate(further, axis=1)),
            acceptance,
            self._by_draw(np.asarray(state.result)),
            self._by_draw(np.concatenate(kinetic, axis=1)),
        )

    def _kinetic(self, state: EngineState) -> Float[np.ndarray, " replica"]:
        """Half a kick before the step, where Langevin's velocities are not colder than their thermostat [energy]."""
        mass = 1.0 / np.asarray(self.simulator.engine.settings.inverse_mass, float)
        return 0.5 * np.einsum("s,rsd->r", mass, np.asarray(state.velocities, np.float64) ** 2)

    def energies(self, samples: DrawSamples) -> Float[np.ndarray, "draw replica sample"]:
        """Potential energy of every frame [energy]."""
        return np.einsum("djsf,df->djs", samples.statistics[0], self.coefficients)

    def _by_draw(self, values: np.ndarray) -> np.ndarray:
        return values.reshape(self.n_draws, self.n_replicas, *values.shape[1:])


def joined(parts: Sequence[DrawSamples], *, last: int) -> DrawSamples:
    """The last frames of several pieces of the same simulations; the codes are those of the last piece.

    Example:
        >>> piece = DrawSamples((np.ones((1, 2, 5, 1)),), np.zeros((1, 2, 5, 0)), np.ones((1, 2)), np.zeros((1, 2), int))
        >>> joined([piece, piece], last=7).statistics[0].shape
        (1, 2, 7, 1)
    """
    columns = zip(*(part.statistics for part in parts), strict=True)
    weight = np.array([part.also.shape[2] for part in parts], float)
    return DrawSamples(
        tuple(np.concatenate(c, axis=2)[:, :, -last:] for c in columns),
        np.concatenate([part.also for part in parts], axis=2)[:, :, -last:],
        np.average([part.acceptance for part in parts], axis=0, weights=weight),
        parts[-1].result,
        np.concatenate([part.kinetic for part in parts], axis=2)[:, :, -last:],
    )


def troubles(samples: DrawSamples) -> Float[np.ndarray, "draw replica"]:
    """Which replicas are of no use: failed, not finite, or stuck where every Metropolised move is rejected.

    Example:
        >>> finite, stuck = np.ones((1, 2, 5, 1)), np.array([[0.9, 0.0]])
        >>> troubles(DrawSamples((finite,), finite[..., :0], stuck, np.zeros((1, 2), int))).tolist()
        [[False, True]]
    """
    bad = samples.result != Result.OK.value
    for values in samples.statistics:
        bad = bad | ~np.isfinite(values).all(axis=(2, 3))
    return bad | (samples.acceptance < STUCK)
