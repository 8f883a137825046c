"""Energies read out from symmetry functions: linearly, or by a small neural network."""

import abc
from collections.abc import Sequence
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from bayescg.errors import InputError
from bayescg.physics._environment import Environments
from bayescg.physics._interatomic import InteratomicTerm
from bayescg.physics._potential import ParameterInfo
from bayescg.physics._symmetry_functions import SymmetryFunctions
from bayescg.physics._term_fields import as_floats, as_tuple, check_rows, describe


class SymmetryTerm(InteratomicTerm):
    """Site energies read out from standardised symmetry functions, x_k = (G_ik − m_k)/s_k.

    Attributes:
        functions: the symmetry functions G.
        centre: m, subtracted; default 0.
        scale: s, divided by; default 1 (`standardisation` gives both from data).
        name: prefix of the parameters' names.

    Raises:
        InputError: centre or scale that do not fit the functions.
    """

    functions: SymmetryFunctions = eqx.field(static=True, kw_only=True)
    centre: tuple[float, ...] = eqx.field(static=True, converter=as_tuple, default=(), kw_only=True)
    scale: tuple[float, ...] = eqx.field(static=True, converter=as_tuple, default=(), kw_only=True)

    @abc.abstractmethod
    def read_out(self, values: Float[Array, "atom function"]) -> Float[Array, "atom species"]:
        """The energy that each atom would have as an atom of each species [energy].

        Args:
            values: x, the standardised functions.
        """

    def __check_init__(self):
        n, centre, scale = self.functions.n_functions, self.centre, self.scale
        if len(centre) not in (0, n) or len(scale) not in (0, n) or any(s <= 0.0 for s in scale):
            raise InputError(
                f"potential '{self.name}': centre and scale need {n} entries each, the scale positive; found"
                f" {len(centre)} and {len(scale)}"
            )

    @property  # type: ignore[misc]  # an AbstractVar may be a property
    def species(self) -> tuple[str, ...]:  # type: ignore[override]
        """Those of the functions."""
        return self.functions.species

    @property  # type: ignore[misc]
    def cutoff(self) -> float:  # type: ignore[override]
        """That of the functions [length]."""
        return self.functions.cutoff

    def site_energies(
        self,
        vectors: Float[Array, "atom neighbour 3"],
        types: Int[Array, " atom"],
        neighbour_types: Int[Array, "atom neighbour"],
    ) -> Float[Array, " atom"]:
        values = self.functions(vectors, types, neighbour_types)
        if self.centre:
            values = values - np.asarray(self.centre)
        if self.scale:
            values = values / np.asarray(self.scale)
        return _of_own(self.read_out(values), types)


class LinearSymmetry(SymmetryTerm):
    """Linear in the symmetry functions: e_i = Σ_k w_ak (G_ik − m_k)/s_k, a the species of atom i.

    Attributes:
        weights: w [energy].
        functions: the symmetry functions G.
        centre: m, subtracted; default 0.
        scale: s, divided by; default 1 (`standardisation` gives both from data).
        name: prefix of the parameter's name `<name>_weights`.

    Raises:
        InputError: weights, centre or scale that do not fit the functions.

    Example:
        >>> functions = SymmetryFunctions.spread(species=("Si",), cutoff=5.0, n_radial=4, zetas=(1,))
        >>> potential = LinearSymmetry(np.zeros((1, 6)), functions=functions)  # four radial and two angular functions
        >>> [info.name for info in potential.parameters()]
        ['symmetry_weights']
    """

    weights: Float[Array, "species function"] = eqx.field(converter=as_floats)
    name: str = eqx.field(static=True, default="symmetry", kw_only=True)

    def __check_init__(self):
        n = self.functions.n_functions
        check_rows(
            self, ("weights",), len(self.species), n, "a row for each species, a column for each function"
        )

    def read_out(self, values: Float[Array, "atom function"]) -> Float[Array, "atom species"]:
        return values @ self.weights.T

    def field_infos(self) -> tuple[ParameterInfo, ...]:
        return describe(self, {"weights": ("energy", "weights of the symmetry functions", "real", 1.0)})


class NeuralSymmetry(SymmetryTerm):
    """A network with two hidden layers for each species reads the energy from the symmetry functions:

        e_i = w₃·tanh(W₂ tanh(W₁ x + b₁) + b₂),    x_k = (G_ik − m_k)/s_k.

    A constant energy for each atom is left to `SpeciesEnergies`. Hidden units may be permuted and their signs turned
    without any change: the posterior has as many equal modes, so look at predictions rather than at weights.

    Attributes:
        weights1, bias1, weights2, bias2: W₁, b₁, W₂, b₂ of each species.
        weights3: w₃ of each species [energy].
        functions: the symmetry functions G.
        centre: m, subtracted; default 0.
        scale: s, divided by; default 1 (`standardisation` gives both from data).
        name: prefix of the parameters' names.

    Raises:
        InputError: arrays, centre or scale that do not fit one another.

    Example:
        >>> functions = SymmetryFunctions.spread(species=("Si", "C"), cutoff=5.0, n_radial=4, zetas=(1,))
        >>> potential = NeuralSymmetry.random(jax.random.key(0), functions=functions, hidden=3)
        >>> {name: value.shape for name, value in potential.parameter_values().items()}["network_weights1"]
        (2, 3, 14)

    References:
        Behler and Parrinello (2007), doi:10.1103/PhysRevLett.98.146401, eqs. 1 and 2.
    """

    weights1: Float[Array, "species hidden function"] = eqx.field(converter=as_floats)
    bias1: Float[Array, "species hidden"] = eqx.field(converter=as_floats)
    weights2: Float[Array, "species hidden hidden"] = eqx.field(converter=as_floats)
    bias2: Float[Array, "species hidden"] = eqx.field(converter=as_floats)
    weights3: Float[Array, "species hidden"] = eqx.field(converter=as_floats)
    name: str = eqx.field(static=True, default="network", kw_only=True)

    @classmethod
    def random(
        cls,
        key: Array,
        *,
        functions: SymmetryFunctions,
        hidden: int,
        centre: tuple[float, ...] = (),
        scale: tuple[float, ...] = (),
        name: str = "network",
    ) -> Self:
        """Random weights of variance 1/(number of inputs), biases 0.

        Args:
            key: of the random numbers.
            functions: the symmetry functions.
            hidden: units of each hidden layer.
            centre: subtracted from the functions.
            scale: by which the functions are divided.
            name: prefix of the parameters' names.
        """
        n, n_functions = len(functions.species), functions.n_functions
        shapes = {
            "weights1": (n, hidden, n_functions),
            "weights2": (n, hidden, hidden),
            "weights3": (n, hidden),
        }
        # single precision, so that a seed gives the same weights whether or not 64-bit numbers are switched on
        weights = {
            field: jax.random.normal(one, shape, jnp.float32).astype(float) / np.sqrt(shape[-1])
            for one, (field, shape) in zip(jax.random.split(key, 3), shapes.items())
        }
        biases = {field: jnp.zeros((n, hidden)) for field in ("bias1", "bias2")}
        return cls(**weights, **biases, functions=functions, centre=centre, scale=scale, name=name)  # type: ignore[call-arg, arg-type]

    def __check_init__(self):
        n, hidden = len(self.species), self.bias1.shape[-1]
        n_functions = self.functions.n_functions
        expected = {
            "weights1": (n, hidden, n_functions), "bias1": (n, hidden), "weights2": (n, hidden, hidden),
            "bias2": (n, hidden), "weights3": (n, hidden),
        }  # fmt: skip
        for field, shape in expected.items():
            found = getattr(self, field).shape
            if found != shape:
                raise InputError(f"potential '{self.name}': `{field}` has shape {found}, {shape} is expected")

    def prior_scales(self) -> dict[str, float]:
        """By parameter's name a standard deviation about 0 for its prior: that of `random`, and 1 for biases.

        Site energies then vary by about one unit of energy, whatever the size of the layers, where the functions are
        standardised.
        """
        fields = ("weights1", "weights2", "weights3")
        scales = {field: 1.0 / float(np.sqrt(getattr(self, field).shape[-1])) for field in fields}
        return {
            f"{self.name}_{field}": scale for field, scale in {**scales, "bias1": 1.0, "bias2": 1.0}.items()
        }

    def read_out(self, values: Float[Array, "atom function"]) -> Float[Array, "atom species"]:
        energies = []
        for w1, b1, w2, b2, w3 in zip(self.weights1, self.bias1, self.weights2, self.bias2, self.weights3):
            energies.append(jnp.tanh(jnp.tanh(values @ w1.T + b1) @ w2.T + b2) @ w3)
        return jnp.stack(energies, axis=1)

    def field_infos(self) -> tuple[ParameterInfo, ...]:
        words = {
            "weights1": ("dimensionless", "weights of the first hidden layer", "real", 0.3),
            "bias1": ("dimensionless", "biases of the first hidden layer", "real", 0.3),
            "weights2": ("dimensionless", "weights of the second hidden layer", "real", 0.3),
            "bias2": ("dimensionless", "biases of the second hidden layer", "real", 0.3),
            "weights3": ("energy", "weights of the energy", "real", 0.3),
        }
        return describe(self, words)


def standardisation(
    functions: SymmetryFunctions, batches: Sequence[Environments]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each symmetry function over all atoms, for `centre` and `scale`.

    A function that is the same everywhere gets the scale 1.

    Args:
        functions: the symmetry functions.
        batches: the atoms' neighbourhoods, from `environments` of the same species and at least the same cutoff.

    Raises:
        InputError: batches of other species or a shorter cutoff.

    Example:
        >>> from bayescg.physics import SymmetryFunctions, environments_of
        >>> functions = SymmetryFunctions(((0.5, 0.0),), (), species=("Ar",), cutoff=4.0)
        >>> chain = np.array([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [4.5, 0.0, 0.0]])
        >>> open_space = np.zeros((1, 3, 3)), np.zeros((1, 3), bool)
        >>> batches = environments_of([chain], [np.zeros(3, int)], *open_space, 4.0, species=("Ar",))
        >>> centre, scale = standardisation(functions, batches)
        >>> round(centre[0], 4), round(scale[0], 4)
        (0.0542, 0.0292)
    """
    calculate = jax.jit(functions.__call__)
    parts = []
    for batch in batches:
        if batch.species != functions.species or batch.cutoff < functions.cutoff:
            raise InputError(
                f"symmetry functions of {', '.join(functions.species)} with cutoff {functions.cutoff:g} need"
                f" neighbourhoods as far, found {', '.join(batch.species)} with {batch.cutoff:g}; make them so"
            )
        values = calculate(batch.vectors, batch.types, batch.neighbour_types)
        parts.append(np.asarray(values)[np.asarray(batch.atom_index) >= 0])
    every = np.concatenate(parts)
    spread = every.std(axis=0)
    return as_tuple(every.mean(axis=0)), as_tuple(np.where(spread > 1e-10, spread, 1.0))


def _of_own(energies: Float[Array, "atom species"], types: Int[Array, " atom"]) -> Float[Array, " atom"]:
    """The column of each atom's own species."""
    chosen = energies[:, 0]
    for species in range(1, energies.shape[1]):
        chosen = jnp.where(types == species, energies[:, species], chosen)
    return chosen
