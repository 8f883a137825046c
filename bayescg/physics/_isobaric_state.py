"""Replicas at constant pressure between calls, what acts on their box, and how they may fail."""

from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Key

from bayescg.errors import SimulationError
from bayescg.physics._isobaric_moves import IsobaricResult


class IsobaricState(NamedTuple):
    """Replicas between two calls of `run`; simulating in one piece or in several gives the same bits.

    Attributes:
        positions: wrapped into the box [length].
        velocities: on the step [length/time].
        boxes: edge lengths, inf where open [length].
        keys: one PRNG key per replica.
        result: the `IsobaricResult` code of each replica.
    """

    positions: Float[Array, "replica site dim"]
    velocities: Float[Array, "replica site dim"]
    boxes: Float[Array, "replica dim"]
    keys: Key[Array, " replica"]
    result: Int[Array, " replica"]


class IsobaricSamples(NamedTuple):
    """Frames of all replicas from one call.

    Attributes:
        positions: [length].
        boxes: [length].
        volume_acceptance: mean over all volume moves of each group; nan where none was tried.
        stretch_acceptance: mean over the stretches of dynamics; 1 without Metropolis.
    """

    positions: Float[Array, "replica sample site dim"]
    boxes: Float[Array, "replica sample dim"]
    volume_acceptance: Float[Array, "replica group"]
    stretch_acceptance: Float[Array, " replica"]


class Barostat(NamedTuple):
    """What acts on the box. Numbers are shared or one per replica; changing them never recompiles.

    Attributes:
        pressure: P [energy/length^dim].
        volume_steps: largest change of ln V_g of one move, of every group [group]; see `IsobaricEngine.tuned`.
        surface_tension: γ of the plane that the first group spans, of dim − 1 directions [energy/length^(dim − 1)].
        tail: c of the energy c/V of what lies beyond the cutoff, `TailCorrection.over_volume` [energy length^dim].
        lower: least edges, shared [length].
        upper: largest edges, shared [length].

    Example:
        >>> Barostat(pressure=1.5).surface_tension
        0.0
    """

    pressure: ArrayLike
    volume_steps: ArrayLike = 0.05
    surface_tension: ArrayLike = 0.0
    tail: ArrayLike = 0.0
    lower: ArrayLike = 0.0
    upper: ArrayLike = np.inf


def throw_isobaric(state: IsobaricState, *, stage: str) -> None:
    """Raise the first trouble among the replicas' result codes, if there is any.

    Args:
        state: after a run.
        stage: what was being simulated, for the message.

    Raises:
        SimulationError: some code is not `IsobaricResult.OK`; the message counts the replicas that failed.

    Example:
        >>> fine = IsobaricState(*[np.zeros(1)] * 4, np.zeros(1, int))
        >>> throw_isobaric(fine, stage="equilibration at 1 bar")
    """
    members = {member.value: member for member in IsobaricResult}
    results = [members[int(code)] for code in np.asarray(state.result)]
    failed = [replica for replica, result in enumerate(results) if result is not IsobaricResult.OK]
    if failed:
        raise SimulationError(
            f"{stage}: {len(failed)} of {len(results)} replicas failed, first replica {failed[0]}: {results[failed[0]]}"
        )
