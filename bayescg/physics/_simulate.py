"""From potentials to reference simulations: engine choice, equilibration, sampling, reduction."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree
from scipy.special import stdtrit

from bayescg.data import Topology, UnitSystem, equilibration_cut
from bayescg.errors import InputError, SimulationError
from bayescg.physics._bank import Reference
from bayescg.physics._cell_engine import CellEngine, is_large
from bayescg.physics._engine import AnalyticForce, EngineState, LangevinSettings, PairEngine, TableForce
from bayescg.physics._generic_engine import GenericEngine
from bayescg.physics._metropolis import Metropolis
from bayescg.physics._mie import Mie
from bayescg.physics._pair import LennardJones, PairPotential
from bayescg.physics._potential import Potential, terms_of
from bayescg.physics._reduce import TABLE_BINS, FrameReducer, table_nodes
from bayescg.physics._result import Result, throw

Snapshot = dict[str, np.ndarray]
"""Everything a simulation needs to go on, as arrays."""
OnChunk = Callable[[float, Callable[[], Snapshot]], None]
LEAST_ACCEPTANCE = 0.2
"""Mean acceptance below which a Metropolised simulation hardly moves."""
STUCK = 0.02
"""Mean acceptance below which one replica is stuck."""
_ENDINGS = tuple(code for code in Result if code is not Result.OVERFLOW)
"""How trajectories end; an overflow never leaves its engine."""
BLOCK = ("features", "virial", "pair_counts", "acceptance", "results")


class SimulationSettings(NamedTuple):
    """How references are simulated.

    Attributes:
        time_step: [time].
        friction: collision rate of the Langevin thermostat [1/time].
        stride: steps between samples.
        n_replicas: replicas that run together.
        equilibration: samples discarded at the start of every replica, at least.
        chunk: samples per compiled call; progress and checkpoints fall between calls.
        metropolis: accept or reject every stretch of `stride` steps with float64 energies, which removes the bias
            of time step and float32 (see `Metropolis`); otherwise plain BAOAB.
    """

    time_step: float
    friction: float
    stride: int
    n_replicas: int
    equilibration: int
    chunk: int = 10
    metropolis: bool = False


def _pair_factor(potential: PairPotential, r2: Float[Array, "*pair"]) -> Float[Array, "*pair"]:
    return potential.pair_force_factor(r2)


def _given_nodes(node_energies: Float[Array, " node"], r2: Float[Array, " node"]) -> Float[Array, " node"]:
    return node_energies


def _energy(
    potential: Potential, positions: Float[Array, "site dim"], box: Float[Array, " dim"]
) -> Float[Array, ""]:
    return potential.energy(positions, box)


def _form(potential: Potential) -> tuple:
    """Everything of a potential but its parameter values."""
    leaves, structure = jax.tree.flatten(potential)
    return structure, [np.shape(leaf) for leaf in leaves]


@eqx.filter_jit
def node_energies(potential: Potential, cutoff: float) -> Float[Array, " node"]:
    """Energies of a sum of pair terms at the nodes of the engine's table [energy]."""
    nodes = jnp.asarray(table_nodes(cutoff))
    energies = [term.pair_energy(nodes) for term in terms_of(potential) if isinstance(term, PairPotential)]
    return jnp.sum(jnp.stack(energies), axis=0)


class Simulator:
    """Simulates potentials of one form in one box and reduces the frames to sufficient statistics.

    A single analytic pair potential runs by its formula, other sums of pair terms by a table, anything else by
    automatic differentiation. The energy that is sampled is the one whose features are stored.

    Args:
        potential: a potential of the form to be simulated; its parameter values do not matter.
        topology: sites and their masses.
        box: edge lengths [length]; `inf` where open.
        units: unit system of every number here.
        temperature: [K, or reduced].
        settings: time step, friction, sampling.
        distance_edges: edges of distance bins for pair counts [length].

    Raises:
        InputError: a bare truncation, which no dynamics samples, or a cutoff beyond half the box.

    Example:
        >>> from bayescg.data import get_unit_system
        >>> settings = SimulationSettings(0.01, 1.0, stride=10, n_replicas=4, equilibration=0)
        >>> pair = LennardJones(1.0, 1.0, cutoff=2.5)
        >>> simulator = Simulator(
        ...     pair,
        ...     topology=Topology(("A", "A"), np.ones(2)),
        ...     box=np.full(3, 6.0),
        ...     units=get_unit_system("lj"),
        ...     temperature=1.2,
        ...     settings=settings,
        ... )
        >>> starts = np.tile([[0.0, 0.0, 0.0], [0.0, 0.0, 1.2]], (4, 1, 1))
        >>> (reference,) = simulator.simulate([pair], starts=starts, key=jax.random.key(0), n_samples=5)
        >>> reference.features.shape
        (4, 5, 2)
    """

    def __init__(
        self,
        potential: Potential,
        *,
        topology: Topology,
        box: np.ndarray,
        units: UnitSystem,
        temperature: float,
        settings: SimulationSettings,
        distance_edges: np.ndarray | None = None,
    ):
        self.settings = settings
        self.box = np.asarray(box, float)
        self.reducer = FrameReducer(potential, box=self.box, distance_edges=distance_edges)
        terms = terms_of(potential)
        for term in terms:
            if isinstance(term, LennardJones | Mie) and term.convention == "truncated":
                raise InputError(
                    f"potential '{term.name}': dynamics cannot sample a bare truncation; simulate its"
                    " `continuous()` form (the same forces), or use the convention 'shifted' or 'smooth'"
                )
        self._form_of_potential = potential
        langevin = LangevinSettings(
            settings.time_step,
            settings.friction,
            units.kT(temperature),
            jnp.asarray(units.force_to_acceleration / np.asarray(topology.masses)),
        )
        n_sites = len(topology.masses)
        self._form = "generic"
        self.engine: PairEngine | CellEngine | GenericEngine
        if all(isinstance(term, PairPotential) for term in terms):
            pair_terms = [term for term in terms if isinstance(term, PairPotential)]
            self._form = (
                "table" if any(term.tabulated for term in pair_terms) or len(terms) > 1 else "analytic"
            )
            self._cutoff = max(term.cutoff for term in pair_terms)
            force = (
                AnalyticForce(_pair_factor)
                if self._form == "analytic"
                else TableForce(_given_nodes, TABLE_BINS)
            )
            engine = CellEngine if is_large(n_sites, self.box, self._cutoff) else PairEngine
            self.engine = engine(
                n_sites, self.box, self._cutoff, langevin, force, deterministic=settings.metropolis
            )
        else:
            self.engine = GenericEngine(
                n_sites, self.box, langevin, _energy, dtype=jnp.float32, deterministic=settings.metropolis
            )
        self._metropolis = Metropolis(self.engine, self.reducer, friction=settings.friction)

    def _parameters(self, potentials: Sequence[Potential], *, each: int) -> PyTree:
        """What the engine needs of every replica: the table's nodes, or the parameters in float32."""
        for potential in potentials:
            if _form(potential) != _form(self._form_of_potential):
                raise InputError(
                    "a potential to simulate differs from the simulator's in more than its parameter values"
                    " (terms, cutoffs, knots or names): make it with `with_parameters`, or make a new Simulator"
                )
        if self._form == "table":
            tables = jnp.stack([node_energies(potential, self._cutoff) for potential in potentials])
            return jnp.repeat(tables, each, axis=0)
        return jax.tree.map(
            lambda *leaves: jnp.repeat(jnp.stack(leaves).astype(jnp.float32), each, axis=0), *potentials
        )

    def simulate(
        self,
        potentials: Sequence[Potential],
        *,
        starts: Float[np.ndarray, "replica site dim"],
        key: Key[Array, ""],
        n_samples: int,
        purpose: str = "search",
        on_chunk: OnChunk | None = None,
        resume: Snapshot | None = None,
    ) -> list[Reference]:
        """Reference simulations of one or several potentials side by side.

        The replicas are shared out evenly among the potentials, in order.

        Args:
            potentials: what to simulate; their number divides the number of replicas.
            starts: starting configurations [length].
            key: PRNG key.
            n_samples: samples kept per replica.
            purpose: recorded in the references.
            on_chunk: called after every compiled call with the time simulated in it, all replicas together [time],
                and a function that returns a snapshot to resume from.
            resume: such a snapshot; the simulation goes on from it to the same bits.

        Raises:
            SimulationError: a replica left the finite numbers, or did not equilibrate.
            InputError: replicas that cannot be shared out, or a potential of another form than the simulator's.
            ValueError: starts that do not have the shape [replica site dim].
        """
        n_replicas, settings = len(starts), self.settings
        if n_samples < 1:
            raise InputError(f"n_samples {n_samples} must be at least 1")
        if not potentials or n_replicas % len(potentials) or not n_replicas:
            raise InputError(
                f"{n_replicas} replicas cannot be shared evenly among {len(potentials)} potentials"
            )
        each = n_replicas // len(potentials)
        parameters = self._parameters(potentials, each=each)
        coefficients = np.repeat([np.asarray(p.coefficients(), np.float64) for p in potentials], each, axis=0)
        state = self.engine.initial_state(key, starts)
        done, blocks = -settings.equilibration, []
        positions = np.asarray(state.positions)[:, None]
        if resume is not None:
            done, blocks, positions = (
                int(resume["done"]),
                [[resume[n] for n in BLOCK]],
                resume["kept_positions"],
            )
            state = EngineState(
                jnp.asarray(resume["positions"]),
                jnp.asarray(resume["velocities"]),
                jax.random.wrap_key_data(jnp.asarray(resume["keys"])),
                jnp.asarray(resume["result"]),
            )

        def snapshot() -> Snapshot:
            nothing = [np.zeros((n_replicas, 0, 0))] * len(BLOCK)
            arrays = [np.concatenate(c, axis=1) for c in zip(*blocks, strict=True)] or nothing
            return {
                "done": np.asarray(done),
                "kept_positions": positions,
                "positions": np.asarray(state.positions),
                "velocities": np.asarray(state.velocities),
                "keys": np.asarray(jax.random.key_data(state.keys)),
                "result": np.asarray(state.result),
                **dict(zip(BLOCK, arrays, strict=True)),
            }

        if resume is not None and resume[BLOCK[0]].shape[1] == 0:
            blocks = []
        while done < n_samples:
            kept = slice(max(0, -done), max(0, n_samples - done))
            state, samples, columns = self._chunk(state, parameters, coefficients, kept, purpose)
            if done + settings.chunk > 0:
                positions = samples
                blocks.append(columns)
            done += settings.chunk
            if on_chunk is not None:
                on_chunk(settings.chunk * settings.stride * settings.time_step * n_replicas, snapshot)
        columns = [np.concatenate(column, axis=1) for column in zip(*blocks, strict=True)]
        final = final_configurations(state, positions)
        return [
            _reference(
                np.asarray(potential.coefficients(), np.float64),
                *(a[k * each : (k + 1) * each] for a in (*columns, final)),
                purpose=purpose,
            )
            for k, potential in enumerate(potentials)
        ]

    def _chunk(
        self, state: EngineState, parameters: PyTree, coefficients: np.ndarray, kept: slice, purpose: str
    ) -> tuple[EngineState, np.ndarray, list[np.ndarray]]:
        """One compiled call: the state after it, the kept positions, and their columns in the order of `BLOCK`."""
        settings = self.settings
        if settings.metropolis:
            state, moves = self._metropolis.run(
                state, parameters, coefficients, n_samples=settings.chunk, stride=settings.stride
            )
            throw(np.asarray(state.result), stage=f"{purpose} simulation")
            each = (*moves.statistics, moves.acceptance[..., None], moves.results[..., None])
            return state, moves.positions[:, kept], [a[:, kept] for a in each]
        state, samples = self.engine.run(state, parameters, n_samples=settings.chunk, stride=settings.stride)
        throw(np.asarray(state.result), stage=f"{purpose} simulation")
        positions = np.asarray(samples)[:, kept]
        if not positions.size:
            return state, positions, []
        reduced = self.reducer(positions.reshape(-1, *positions.shape[2:]))
        columns = [a.reshape(*positions.shape[:2], -1) for a in reduced]
        shape = (*positions.shape[:2], 1)
        return state, positions, [*columns, np.full(shape, np.nan), np.full(shape, Result.OK.value)]


def final_configurations(state: EngineState, positions: np.ndarray) -> np.ndarray:
    """The first kept and the last configuration of the last chunk of every replica [replica 2 site dim]."""
    return np.stack([positions[:, 0], np.asarray(state.positions)], axis=1)


def _reference(
    coefficients: np.ndarray,
    features: np.ndarray,
    virial: np.ndarray,
    counts: np.ndarray,
    acceptance: np.ndarray,
    results: np.ndarray,
    final: np.ndarray,
    *,
    purpose: str,
) -> Reference:
    """Cut off what is not yet equilibrated, judged by the energy averaged over replicas."""
    n_samples = features.shape[1]
    start = 0
    accepted = float(acceptance.mean())
    if accepted < LEAST_ACCEPTANCE:
        raise SimulationError(
            f"{purpose} simulation: only {100 * accepted:.0f} % of the Metropolised moves were accepted; shorten the"
            " time step"
        )
    if n_samples >= 20:
        _refuse_stuck(acceptance[..., 0], results[..., 0], purpose=purpose)
        energy = features @ coefficients
        start = min(equilibration_cut(energy.mean(axis=0)).start, n_samples // 2)
        start = start if start > n_samples // 10 else 0
        if not _stationary(energy[:, start:]):
            raise SimulationError(
                f"{purpose} simulation: the energy still drifts in the {n_samples - start} of {n_samples} samples kept;"
                " raise `equilibration` or the number of samples"
            )
    return Reference(
        coefficients,
        features[:, start:],
        virial[:, start:],
        counts[:, start:].astype(np.float32),
        final.reshape(-1, *final.shape[2:]).astype(np.float32),
        purpose,
        accepted,
        tuple(int(np.sum(results == code)) for code in _ENDINGS),
    )


def _refuse_stuck(acceptance: np.ndarray, results: np.ndarray, *, purpose: str) -> None:
    """Raise where one replica [replica sample] accepts nothing while the others may do well."""
    mean = acceptance.mean(axis=1)
    stuck = np.flatnonzero(mean < STUCK)
    if len(stuck):
        first = stuck[0]
        failed = results[first][results[first] != Result.OK.value]
        why = f"; its trajectories failed: {list(Result)[int(failed[0])]}" if len(failed) else ""
        raise SimulationError(
            f"{purpose} simulation: {len(stuck)} of {len(mean)} replicas are stuck, first replica {first}"
            f" ({100 * mean[first]:.1f} % of its moves were accepted){why}; start from frames without overlapping"
            " sites, or shorten the time step"
        )


def _stationary(energy: np.ndarray) -> bool:
    """Whether both halves of the replicas' energies [replica sample] agree, by a t-test over replicas at 1e-5."""
    n_replicas, half = len(energy), energy.shape[1] // 2
    difference = energy[:, :half].mean(1) - energy[:, half:].mean(1)
    if n_replicas < 2:
        return True
    allowed = stdtrit(n_replicas - 1, 1.0 - 5e-6) * difference.std(ddof=1) / np.sqrt(n_replicas)
    return bool(abs(difference.mean()) <= allowed + 1e-12 * np.abs(energy).max())
