"""From potentials to reference simulations: engine choice, equilibration, sampling, reduction."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from bayescg.data import Topology, UnitSystem, equilibration_cut
from bayescg.errors import InputError, SimulationError
from bayescg.physics._bank import Reference
from bayescg.physics._engine import AnalyticForce, EngineState, LangevinSettings, PairEngine, TableForce
from bayescg.physics._generic_engine import GenericEngine
from bayescg.physics._pair import LennardJones, PairPotential
from bayescg.physics._potential import Potential, terms_of
from bayescg.physics._reduce import TABLE_BINS, FrameReducer, table_nodes
from bayescg.physics._result import throw


Snapshot = dict[str, np.ndarray]
"""Everything a simulation needs to go on, as arrays."""
OnChunk = Callable[[float, Callable[[], Snapshot]], None]
BLOCK = ("features", "virial", "pair_counts")


class SimulationSettings(NamedTuple):
    """How references are simulated.

    Attributes:
        time_step: [time].
        friction: collision rate of the Langevin thermostat [1/time].
        stride: steps between samples.
        n_replicas: replicas that run together.
        equilibration: samples discarded at the start of every replica, at least.
        chunk: samples per compiled call; progress and checkpoints fall between calls.
    """

    time_step: float
    friction: float
    stride: int
    n_replicas: int
    equilibration: int
    chunk: int = 10


def _pair_factor(potential: PairPotential, r2: Float[Array, "*pair"]) -> Float[Array, "*pair"]:
    return potential.pair_force_factor(r2)


def _given_nodes(node_energies: Float[Array, " node"], r2: Float[Array, " node"]) -> Float[Array, " node"]:
    return node_energies


def _energy(
    potential: Potential, positions: Float[Array, "site dim"], box: Float[Array, " dim"]
) -> Float[Array, ""]:
    return potential.energy(positions, box)


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
        langevin = LangevinSettings(
            settings.time_step,
            settings.friction,
            units.kT(temperature),
            jnp.asarray(units.force_to_acceleration / np.asarray(topology.masses)),
        )
        n_sites = len(topology.masses)
        self._form = "generic"
        self.engine: PairEngine | GenericEngine
        if all(isinstance(term, PairPotential) for term in terms):
            pair_terms = [term for term in terms if isinstance(term, PairPotential)]
            for term in pair_terms:
                if isinstance(term, LennardJones) and term.convention == "truncated":
                    raise InputError(
                        f"potential '{term.name}': dynamics cannot sample a bare truncation; simulate its"
                        " `continuous()` form (the same forces), or use the convention 'shifted' or 'smooth'"
                    )
            self._form = "table" if any(term.tabulated for term in pair_terms) or len(terms) > 1 else "analytic"
            self._cutoff = max(term.cutoff for term in pair_terms)
            force = AnalyticForce(_pair_factor) if self._form == "analytic" else TableForce(_given_nodes, TABLE_BINS)
            self.engine = PairEngine(n_sites, self.box, self._cutoff, langevin, force)
        else:
            self.engine = GenericEngine(n_sites, self.box, langevin, _energy, dtype=jnp.float32)

    def _parameters(self, potentials: Sequence[Potential]):
        if self._form == "table":
            nodes = jnp.asarray(table_nodes(self._cutoff))
            energies = [sum(term.pair_energy(nodes) for term in terms_of(p)) for p in potentials]
            return jnp.stack(energies)
        return jax.tree.map(lambda *leaves: jnp.stack(leaves).astype(jnp.float32), *potentials)

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
        """
        n_replicas, settings = len(starts), self.settings
        if n_replicas % len(potentials):
            raise InputError(f"{n_replicas} replicas cannot be shared evenly among {len(potentials)} potentials")
        each = n_replicas // len(potentials)
        parameters = self._parameters([p for p in potentials for _ in range(each)])
        state = self.engine.initial_state(key, starts)
        done, blocks = -settings.equilibration, []
        positions = np.asarray(state.positions)[:, None]
        if resume is not None:
            done, blocks, positions = int(resume["done"]), [[resume[n] for n in BLOCK]], resume["kept_positions"]
            state = EngineState(
                jnp.asarray(resume["positions"]),
                jnp.asarray(resume["velocities"]),
                jax.random.wrap_key_data(jnp.asarray(resume["keys"])),
                jnp.asarray(resume["result"]),
            )

        def snapshot() -> Snapshot:
            arrays = [np.concatenate(c, axis=1) for c in zip(*blocks, strict=True)] or [np.zeros((n_replicas, 0, 0))] * 3
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
            state, samples = self.engine.run(state, parameters, n_samples=settings.chunk, stride=settings.stride)
            throw(np.asarray(state.result), stage=f"{purpose} simulation")
            if done + settings.chunk > 0:
                positions = np.asarray(samples[:, max(0, -done) : n_samples - done])
                flat = positions.reshape(-1, *positions.shape[2:])
                blocks.append([a.reshape(*positions.shape[:2], -1) for a in self.reducer(flat)])
            done += settings.chunk
            if on_chunk is not None:
                on_chunk(settings.chunk * settings.stride * settings.time_step * n_replicas, snapshot)
        features, virial, counts = (np.concatenate(column, axis=1) for column in zip(*blocks, strict=True))
        final = final_configurations(state, positions)
        return [
            _reference(
                np.asarray(potential.coefficients(), np.float64),
                *(a[k * each : (k + 1) * each] for a in (features, virial, counts, final)),
                purpose=purpose,
            )
            for k, potential in enumerate(potentials)
        ]


def final_configurations(state: EngineState, positions: np.ndarray) -> np.ndarray:
    """The first kept and the last configuration of the last chunk of every replica [replica 2 site dim]."""
    return np.stack([positions[:, 0], np.asarray(state.positions)], axis=1)


def _reference(
    coefficients: np.ndarray,
    features: np.ndarray,
    virial: np.ndarray,
    counts: np.ndarray,
    final: np.ndarray,
    *,
    purpose: str,
) -> Reference:
    """Cut off what is not yet equilibrated, judged by the energy averaged over replicas."""
    n_samples = features.shape[1]
    start = 0
    if n_samples >= 20:
        start = equilibration_cut((features @ coefficients).mean(axis=0)).start
        if start > n_samples // 2:
            late = slice(n_samples // 2, None)
            if not _stationary((features @ coefficients)[:, late]):
                raise SimulationError(
                    f"{purpose} simulation: the energy still drifts after half of the {n_samples} samples;"
                    " raise `equilibration` or the number of samples"
                )
            start = n_samples // 2
        start = start if start > n_samples // 10 else 0
    return Reference(
        coefficients,
        features[:, start:],
        virial[:, start:],
        counts[:, start:].astype(np.float32),
        final.reshape(-1, *final.shape[2:]).astype(np.float32),
        purpose,
    )


def _stationary(energy: np.ndarray) -> bool:
    """Whether the two halves of the replicas' energies agree within five standard errors over replicas."""
    half = energy.shape[1] // 2
    difference = energy[:, :half].mean(1) - energy[:, half:].mean(1)
    if len(difference) < 2:
        return True
    return abs(difference.mean()) <= 5.0 * difference.std(ddof=1) / np.sqrt(len(difference)) + 1e-12
