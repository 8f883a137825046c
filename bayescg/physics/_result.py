"""Result codes of simulations: numerical trouble in traced code is a number, raised once at the boundary."""

from collections.abc import Iterable

from bayescg.errors import SimulationError
from bayescg.physics._code import MessageCode


class Result(MessageCode):
    """How a replica ended; each member is a number, its text says what happened and what to do.

    Traced code stores the number, one per replica; the first trouble of a replica is the one it keeps.

    Example:
        >>> int(Result.NONFINITE), str(Result.OK)
        (1, 'the simulation finished normally')
    """

    OK = 0, "the simulation finished normally"
    NONFINITE = (
        1,
        "a position or a force became infinite or not a number: start from frames without overlapping sites, "
        "shorten the time step, or make the potential finite and repulsive at short distance",
    )
    UNSTABLE = (
        2,
        "the kinetic temperature exceeded ten times the thermostat's: shorten the time step, raise the friction, "
        "or start from relaxed frames",
    )
    OVERFLOW = (
        3,
        "a list of neighbouring cells was too short: simulate again from the state before with longer lists, as "
        "`CellEngine.run` does by itself",
    )


def throw(codes: Iterable[int], *, stage: str) -> None:
    """Raise the first trouble among the replicas' result codes, if there is any.

    Args:
        codes: one result code per replica.
        stage: what was being simulated, for the message.

    Raises:
        SimulationError: some code is not `Result.OK`; the message counts the replicas that failed.

    Example:
        >>> throw([0, 0], stage="verification")
    """
    members = {member.value: member for member in Result}
    results = [members[int(code)] for code in codes]
    failed = [replica for replica, result in enumerate(results) if result is not Result.OK]
    if failed:
        raise SimulationError(
            f"{stage}: {len(failed)} of {len(results)} replicas failed, first replica {failed[0]}: "
            f"{results[failed[0]]}"
        )
