"""The pooled frames of a bank as arrays, with what each frame adds to the error of any reweighted number; draws as vectors."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayescg.analysis._reweighted_means import _shared
from bayescg.data import UnitSystem
from bayescg.errors import InputError
from bayescg.physics import Potential, ReferenceBank

SMALLEST = 1e-30
"""Weight of a frame, relative to the largest, that is set to 0: denormal products are slow."""


class PooledFrames(NamedTuple):
    """What reweighting needs of a bank.

    Attributes:
        centre: of the features [feature].
        features: of every frame, about the centre [frame feature].
        log_base: logarithm of the weights that the frames would have with no energy [frame].
        to_blocks: what a change of the logarithm of each frame's weight does, summed over independent blocks, counts and
            free energies of the references included and centred within each [block frame].
    """

    centre: Float[Array, " feature"]
    features: Float[Array, "frame feature"]
    log_base: Float[Array, " frame"]
    to_blocks: Float[Array, "block frame"]

    def weights(
        self,
        coefficients: Float[Array, " feature"],
        *,
        kT: float | Array,  # noqa: N803
    ) -> Float[Array, " frame"]:
        """Normalised weights at η."""
        log_w = self.log_base - self.features @ coefficients / kT
        unnormalised = jnp.exp(log_w - jnp.max(log_w))
        kept = jnp.where(unnormalised < SMALLEST, 0.0, unnormalised)
        return kept / jnp.sum(kept)

    def error(self, influence: Float[Array, "frame *number"]) -> Float[Array, "*number"]:
        """Monte-Carlo standard error of numbers whose derivatives by the logarithms of the frames' weights are given."""
        flat = influence.reshape(len(influence), -1).astype(jnp.float32)  # of errors a few digits suffice
        blocks = self.to_blocks @ flat
        return jnp.sqrt(jnp.sum(blocks.astype(influence.dtype) ** 2, axis=0)).reshape(influence.shape[1:])


def pooled_frames(bank: ReferenceBank) -> PooledFrames:
    """The frames of a bank; the references' free energies are what MBAR found.

    Raises:
        InputError: a reference of a single block.
    """
    shared = _shared(bank)
    starts, counts = shared.edges[:-1], np.diff(shared.edges)
    to_blocks = np.zeros((len(starts), len(bank.features)))
    for block, (first, last) in enumerate(zip(starts, shared.edges[1:])):
        to_blocks[block, first:last] = 1.0
    to_blocks -= counts[:, None] * shared.state_weights[shared.references]
    to_blocks -= (shared.free_influence.T * bank.n_frames) @ shared.state_weights
    for k in np.unique(shared.references):
        own = shared.references == k
        factor = np.sqrt(own.sum() / (own.sum() - 1.0))
        to_blocks[own] = factor * (to_blocks[own] - to_blocks[own].mean(axis=0))
    surrogate = bank.surrogate(pad_to=1)
    return PooledFrames(
        surrogate.centre,
        surrogate.centred_features,
        surrogate.log_base_weight,
        jnp.asarray(np.where(np.abs(to_blocks) < SMALLEST, 0.0, to_blocks), jnp.float32),
    )


class ParameterVectors(eqx.Module):
    """Draws of a potential's parameters as vectors, and the potential of such a vector.

    Attributes:
        potential: any of its family.
        vectors: parameters of each draw, one after the other [draw parameter].
        names: of the parameters, arrays entry by entry.
        units: of the parameters.
    """

    potential: Potential
    vectors: Float[Array, "draw parameter"]
    names: tuple[str, ...] = eqx.field(static=True)
    units: tuple[str, ...] = eqx.field(static=True)

    def at(self, vector: Float[Array, " parameter"]) -> Potential:
        """The potential with these parameters."""
        values, first = {}, 0
        for info in self.potential.parameters():
            size = int(np.prod(info.shape))
            values[info.name] = vector[first : first + size].reshape(info.shape)
            first += size
        return self.potential.with_parameters(values)


def parameter_vectors(
    potential: Potential, draws: Mapping[str, Float[np.ndarray, "draw *shape"]], units: UnitSystem
) -> ParameterVectors:
    """Draws by name as vectors in the order of the potential's parameters.

    Raises:
        InputError: a parameter that is missing or unknown, of another shape, or other numbers of draws.

    Example:
        >>> from bayescg.data import get_unit_system
        >>> from bayescg.physics import LennardJones
        >>> draws = {"lj_epsilon": np.array([1.0, 1.1]), "lj_sigma": np.array([1.0, 1.0])}
        >>> made = parameter_vectors(LennardJones(1.0, 1.0, cutoff=2.5), draws, get_unit_system("gromacs"))
        >>> made.names, made.units
        (('lj_epsilon', 'lj_sigma'), ('kJ/mol', 'nm'))
    """
    infos = potential.parameters()
    expected = [info.name for info in infos]
    if sorted(draws) != sorted(expected):
        raise InputError(
            f"slopes: draws of {', '.join(draws) or 'nothing'}; the potential's parameters are {', '.join(expected)}"
        )
    columns: list[np.ndarray] = []
    names: list[str] = []
    of: list[str] = []
    n_draws = {np.shape(one)[:1] for one in draws.values()}
    for info in infos:
        value = np.asarray(draws[info.name], float)
        if value.shape[1:] != info.shape or len(n_draws) != 1 or value.ndim < 1:
            raise InputError(
                f"slopes: draws of {info.name} have the shape {value.shape}; expected (draws, *{info.shape}), and as many"
                " draws of every parameter"
            )
        columns.append(value.reshape(len(value), -1))
        places: Sequence[tuple[int, ...]] = list(np.ndindex(info.shape))
        names += [info.name + (f"[{','.join(map(str, place))}]" if place else "") for place in places]
        of += [units.unit(info.quantity)] * len(places)
    return ParameterVectors(potential, jnp.asarray(np.concatenate(columns, axis=1)), tuple(names), tuple(of))
