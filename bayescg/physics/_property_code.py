"""How the computation of a property ended: numerical trouble in compiled code is a number, one for each draw."""

import jax.numpy as jnp
from jaxtyping import Array, Int

from bayescg.physics._code import MessageCode


class PropertyCode(MessageCode):
    """How the computation of a property ended; each member is a number, its text says what happened and what to do.

    Compiled code stores the number, one per draw; values whose code is not `OK` are NaN.

    Example:
        >>> int(PropertyCode.UNSTABLE), str(PropertyCode.NOT_CONVERGED)
        (4, 'the relaxation did not converge: start from a structure nearer to the minimum')
    """

    OK = 0, "computed normally"
    NONFINITE = (
        1,
        "an energy or a force is infinite or not a number: keep the potential's parameters within its cutoff and support",
    )
    SKIN = (
        2,
        "the relaxed structure left the margin of the neighbour list: start from a nearer structure or raise `skin`",
    )
    NOT_CONVERGED = 3, "the relaxation did not converge: start from a structure nearer to the minimum"
    UNSTABLE = 4, "the crystal is no minimum of the energy: a strain or a displacement of its atoms lowers it"


def first_trouble(*codes: Int[Array, ""]) -> Int[Array, ""]:
    """The first code that is not `OK`; `OK` if there is none.

    Example:
        >>> int(first_trouble(jnp.array(0), jnp.array(3), jnp.array(2)))
        3
    """
    found = codes[0]
    for code in codes[1:]:
        found = jnp.where(found == PropertyCode.OK, code, found)
    return found
