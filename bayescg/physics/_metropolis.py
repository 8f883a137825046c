"""Metropolised Langevin dynamics: trajectories of the engine, accepted or rejected with float64 energies.

The engine's BAOAB dynamics samples exp(−βU) up to a bias of order Δt², which is small per frame but not beside a
posterior made from thousands of frames. Here each sample is one generalised hybrid Monte Carlo move: the momenta
are partly refreshed (the exact Ornstein–Uhlenbeck step over the trajectory's time), the engine runs a stretch of
frictionless dynamics, and the end point is accepted with probability min(1, exp(−βΔH)). U is the energy of the
stored statistics, η·φ in float64, so neither the time step, nor float32 forces, nor the table biases any average. What
is left is that rounding makes a trajectory not quite reversible; tests/benchmarks/sampler_bias.py measures that.

References:
    Horowitz (1991), doi:10.1016/0370-2693(91)90812-5; Duane et al. (1987), doi:10.1016/0370-2693(87)91197-X.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from bayescg.physics._cell_engine import CellEngine
from bayescg.physics._engine import EngineState, PairEngine
from bayescg.physics._generic_engine import GenericEngine
from bayescg.physics._reduce import FrameReducer
from bayescg.physics._result import Result


class Trajectories(NamedTuple):
    """Samples of all replicas from one call.

    Attributes:
        positions: [replica sample site dim].
        statistics: features, virial features and pair counts [replica sample column].
        acceptance: acceptance probability of each move, 0 where the trajectory failed [replica sample].
        results: `Result` of each move's trajectory [replica sample].
        kinetic: kinetic energy after each move [replica sample] [energy].
    """

    positions: np.ndarray
    statistics: tuple[np.ndarray, ...]
    acceptance: np.ndarray
    results: np.ndarray
    kinetic: np.ndarray


@jax.jit
def _refresh(
    keys: Key[Array, " replica"],
    velocities: Float[Array, "replica site dim"],
    keep: Float[Array, ""],
    thermal: Float[Array, " site"],
) -> tuple[Key[Array, " replica"], Float[Array, "replica site dim"], Float[Array, " replica"]]:
    """New keys, partly refreshed velocities, and the uniform numbers that decide on acceptance."""

    def one(key, v):
        key, normal_key, uniform_key = jax.random.split(key, 3)
        noise = jax.random.normal(normal_key, v.shape, v.dtype)
        fresh = keep * v + jnp.sqrt(1.0 - keep**2) * thermal[:, None] * noise
        return key, fresh, jax.random.uniform(uniform_key, dtype=v.dtype)

    return jax.vmap(one)(keys, velocities)


class Metropolis:
    """Metropolised sampling with an engine's frictionless dynamics.

    Args:
        engine: made with `deterministic=True`.
        reducer: gives the features, and so the energies.
        friction: collision rate; the momenta keep exp(−γτ) of themselves over a trajectory of length τ [1/time].
    """

    def __init__(
        self, engine: PairEngine | CellEngine | GenericEngine, reducer: FrameReducer, *, friction: float
    ):
        self.engine, self.reducer, self.friction = engine, reducer, friction

    def run(
        self,
        state: EngineState,
        parameters,
        coefficients: Float[np.ndarray, "replica feature"],
        *,
        n_samples: int,
        stride: int,
    ) -> tuple[EngineState, Trajectories]:
        """n_samples moves of `stride` steps each.

        Args:
            state: positions and on-step velocities of the replicas.
            parameters: the engine's, one row per replica.
            coefficients: η of every replica.
            n_samples: moves.
            stride: steps per trajectory.

        Returns:
            The state after the last move, its result `NONFINITE` where a replica began with positions or an energy
            that are not finite, and the samples.
        """
        settings = self.engine.settings
        mass = 1.0 / np.asarray(settings.inverse_mass, float)[None, :, None]
        beta = 1.0 / float(np.asarray(settings.kT))
        dtype = state.positions.dtype
        keep = jnp.asarray(np.exp(-self.friction * float(np.asarray(settings.time_step)) * stride), dtype)
        thermal = jnp.asarray(
            np.sqrt(float(np.asarray(settings.kT)) * np.asarray(settings.inverse_mass)), dtype
        )
        half_kick = jnp.asarray(
            0.5 * float(np.asarray(settings.time_step)) * np.asarray(settings.inverse_mass), dtype
        )[:, None]

        def kinetic(velocities: Array) -> np.ndarray:
            return 0.5 * np.sum(mass * np.asarray(velocities, np.float64) ** 2, axis=(1, 2))

        x, v, keys = state.positions, state.velocities, state.keys
        forces = self.engine.forces(x, parameters)
        statistics: tuple[np.ndarray, ...] = self.reducer(np.asarray(x))
        energy = np.sum(coefficients * statistics[0], axis=1)
        # A start that is no state of the model would never be left: every move from it fails or is rejected.
        sound = np.isfinite(energy) & np.isfinite(np.asarray(x)).all(axis=(1, 2))
        begun = jnp.where(jnp.asarray(sound), state.result, Result.NONFINITE.value)
        fine = jnp.full_like(state.result, Result.OK.value)
        positions, collected, acceptance, results, moving = [], [], [], [], []
        for _ in range(n_samples):
            keys, v, uniform = _refresh(keys, v, keep, thermal)
            kinetic_before = kinetic(v)
            before = energy + kinetic_before
            start = EngineState(x, v - half_kick * forces, keys, fine)
            end, samples = self.engine.run(start, parameters, n_samples=1, stride=stride)
            new_x = samples[:, 0]
            ok = np.asarray(end.result) == Result.OK.value
            new_x = jnp.where(jnp.asarray(ok)[:, None, None], new_x, x)
            new_forces = self.engine.forces(new_x, parameters)
            new_v = end.velocities + half_kick * new_forces
            new_statistics = self.reducer(np.asarray(new_x))
            new_energy = np.sum(coefficients * new_statistics[0], axis=1)
            with np.errstate(over="ignore", invalid="ignore"):
                kinetic_after = kinetic(new_v)
                change = new_energy + kinetic_after - before
                chance = np.where(ok & np.isfinite(change), np.exp(-beta * np.maximum(change, 0.0)), 0.0)
            take = np.asarray(uniform, np.float64) < chance
            pick = jnp.asarray(take)[:, None, None]
            x, v = jnp.where(pick, new_x, x), jnp.where(pick, new_v, -v)
            forces = jnp.where(pick, new_forces, forces)
            energy = np.where(take, new_energy, energy)
            statistics = tuple(
                np.where(take[:, None], new, old) for new, old in zip(new_statistics, statistics, strict=True)
            )
            positions.append(np.asarray(x))
            collected.append(statistics)
            acceptance.append(chance)
            results.append(np.asarray(end.result))
            moving.append(np.where(take, kinetic_after, kinetic_before))
        columns = tuple(np.stack(column, axis=1) for column in zip(*collected, strict=True))
        moves = Trajectories(
            np.stack(positions, axis=1), columns, np.stack(acceptance, axis=1), np.stack(results, axis=1),
            np.stack(moving, axis=1),
        )  # fmt: skip
        return EngineState(x, v, keys, begun), moves
