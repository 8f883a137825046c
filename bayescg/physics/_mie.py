"""The Mie potential on frames: its exponents may vary, so a cubic spline through the formula is its statistic."""

import dataclasses
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Self

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.interpolate import CubicSpline

from bayescg.errors import InputError
from bayescg.physics._pair import PairPotential, check_cutoff, smooth_switch
from bayescg.physics._pair_forms import mie_energy, mie_strength
from bayescg.physics._potential import ParameterInfo, check_names
from bayescg.physics._term_fields import as_floats

FIELDS = ("epsilon", "sigma", "n", "m")
POWER = 9
"""u(r) r⁹ bends little: 9 lies between the usual exponents."""


class Mie(PairPotential):
    """Mie n-m: u(r) = C ε[(σ/r)ⁿ − (σ/r)ᵐ] for r < r_c, else 0, with C = n/(n−m) (n/m)^{m/(n−m)}.

    No finite sum of functions of r holds all exponents, so u is r⁻⁹ times the cubic spline in ln r through its values at
    `n_nodes` distances in geometric progression from `inner` to r_c. Those values are η(θ); simulation and statistics use
    this same interpolated energy, which differs from the formula by `interpolation_error`. Below `inner` the spline
    continues along its tangent. What happens at the cutoff is as in `LennardJones`: `truncated`, `shifted` or `smooth`.

    Exchanging n and m leaves u as it is.

    Attributes:
        epsilon: well depth [energy].
        sigma: distance of zero energy [length].
        n: exponent of the repulsion.
        m: exponent of the attraction.
        inner: distance of the first node [length]; choose it below the shortest distance in the data.
        cutoff: cutoff distance [length].
        convention: one of `truncated`, `shifted`, `smooth`.
        onset: start of the switching function [length]; only for `smooth`.
        n_nodes: number of nodes.
        held: fields that keep their values, of `epsilon`, `sigma`, `n`, `m`; all others are parameters.
        name: prefix of the parameters' names.

    Raises:
        InputError: nodes, cutoff, convention or onset that do not fit together, unknown held fields.

    Example:
        >>> argon = Mie(0.238, 3.405, 12.0, 6.0, inner=2.8, cutoff=10.215, held=("m",), name="argon")
        >>> sorted(argon.parameter_values())
        ['argon_epsilon', 'argon_n', 'argon_sigma']
        >>> bool(argon.interpolation_error() < 1e-5)
        True

    References:
        Mie (1903), doi:10.1002/andp.19033160802.
    """

    epsilon: Float[Array, ""] = eqx.field(converter=as_floats)
    sigma: Float[Array, ""] = eqx.field(converter=as_floats)
    n: Float[Array, ""] = eqx.field(converter=as_floats)
    m: Float[Array, ""] = eqx.field(converter=as_floats)
    inner: float = eqx.field(static=True, kw_only=True)
    cutoff: float = eqx.field(static=True, kw_only=True)
    convention: str = eqx.field(static=True, default="shifted", kw_only=True)
    onset: float | None = eqx.field(static=True, default=None, kw_only=True)
    n_nodes: int = eqx.field(static=True, default=32, kw_only=True)
    held: tuple[str, ...] = eqx.field(static=True, default=(), kw_only=True)
    name: str = eqx.field(static=True, default="mie", kw_only=True)
    tabulated = True

    def __check_init__(self):
        check_cutoff(self.name, self.cutoff, self.convention, self.onset)
        if not 0.0 < self.inner < self.cutoff:
            raise InputError(
                f"potential '{self.name}': inner {self.inner} must lie between 0 and the cutoff {self.cutoff}"
            )
        if self.n_nodes < 4:
            raise InputError(f"potential '{self.name}': n_nodes {self.n_nodes} must be at least 4")
        unknown = sorted(set(self.held) - set(FIELDS))
        if unknown or len(set(self.held)) == len(FIELDS):
            raise InputError(
                f"potential '{self.name}': held {', '.join(self.held)}; expected some of {', '.join(FIELDS)}, not all"
            )

    def formula(self, r: Float[Array, "*pair"]) -> Float[Array, "*pair"]:
        """The exact u(r) [energy] without a cutoff."""
        return mie_energy(r, mie_strength(self.epsilon, self.n, self.m), self.sigma, self.n, self.m)

    def nodes(self) -> np.ndarray:
        """Distances of the nodes [length]."""
        return np.geomspace(self.inner, self.cutoff, self.n_nodes)

    def coefficients(self) -> Float[Array, " feature"]:
        return self.formula(jnp.asarray(self.nodes()))

    def pair_basis(self, r2: Float[Array, "*pair"]) -> Float[Array, "*pair feature"]:
        cubics = jnp.asarray(cardinal_cubics(self.inner, self.cutoff, self.n_nodes))
        values = self._evaluate(cubics, r2)
        if self.convention == "shifted":  # u(r_c) is the last coefficient
            values = values - jnp.asarray(np.eye(self.n_nodes)[-1])
        elif self.onset is not None:
            values = values * smooth_switch(r2, onset=self.onset, cutoff=self.cutoff)[..., None]
        return jnp.where((r2 < self.cutoff**2)[..., None], values, 0.0)

    def pair_energy(self, r2: Float[Array, "*pair"]) -> Float[Array, "*pair"]:
        eta = self.coefficients()
        cubics = jnp.asarray(cardinal_cubics(self.inner, self.cutoff, self.n_nodes)) @ eta
        energy = self._evaluate(cubics, r2)
        if self.convention == "shifted":
            energy = energy - eta[-1]
        elif self.onset is not None:
            energy = energy * smooth_switch(r2, onset=self.onset, cutoff=self.cutoff)
        return jnp.where(r2 < self.cutoff**2, energy, 0.0)

    def _evaluate(
        self, cubics: Float[Array, "power interval *feature"], r2: Float[Array, "*pair"]
    ) -> Float[Array, "..."]:
        """r⁻⁹ times piecewise cubics in ln r [*pair *feature]; along the first one's tangent below `inner`."""
        x = 0.5 * jnp.log(jnp.maximum(r2, (1e-3 * self.inner) ** 2) / self.inner**2)
        width = np.log(self.cutoff / self.inner) / (self.n_nodes - 1)
        interval = jnp.clip(jnp.floor(x / width).astype(jnp.int32), 0, self.n_nodes - 2)
        offset = (x - width * interval).reshape(*x.shape, *(1,) * (cubics.ndim - 2))
        inside = jnp.maximum(offset, 0.0)
        third, second, first, value = cubics[:, interval]
        smooth = ((third * inside + second) * inside + first) * offset + value
        return smooth * jnp.exp(-POWER * x).reshape(offset.shape)

    def interpolation_error(self) -> Float[Array, ""]:
        """Largest error of u between σ (or `inner`, where that is longer) and the cutoff, relative to ε."""
        r = jnp.geomspace(jnp.maximum(self.sigma, self.inner), self.cutoff, 16 * self.n_nodes)[:-1]
        cubics = jnp.asarray(cardinal_cubics(self.inner, self.cutoff, self.n_nodes)) @ self.coefficients()
        return jnp.max(jnp.abs(self._evaluate(cubics, r**2) - self.formula(r))) / self.epsilon

    def continuous(self) -> "Mie":
        """The potential that dynamics with these forces sample: the shifted one for a bare truncation."""
        return dataclasses.replace(self, convention="shifted") if self.convention == "truncated" else self

    def parameter_values(self) -> dict[str, Array]:
        return {f"{self.name}_{field}": getattr(self, field) for field in FIELDS if field not in self.held}

    def with_parameters(self, values: Mapping[str, Array]) -> Self:
        check_names(values, self.parameter_values(), what=f"potential '{self.name}'")
        fields: dict[str, Any] = {
            name.removeprefix(f"{self.name}_"): jnp.asarray(value) for name, value in values.items()
        }
        return dataclasses.replace(self, **fields)

    def parameters(self) -> tuple[ParameterInfo, ...]:
        about = {
            "epsilon": ("energy", "Mie well depth", 1.0),
            "sigma": ("length", "Mie diameter", self.cutoff / 3.0),
            "n": ("dimensionless", "exponent of the repulsion", 12.0),
            "m": ("dimensionless", "exponent of the attraction", 6.0),
        }
        return tuple(
            ParameterInfo(f"{self.name}_{field}", quantity, words, "positive", scale, ())
            for field, (quantity, words, scale) in about.items()
            if field not in self.held
        )


@lru_cache
def cardinal_cubics(inner: float, cutoff: float, n_nodes: int) -> Float[np.ndarray, "power interval node"]:
    """Coefficients, highest power first, of the cubic splines in ln r whose product with r⁻⁹ is 1 at one node."""
    x = np.linspace(0.0, np.log(cutoff / inner), n_nodes)
    return CubicSpline(x, np.diag(np.exp(POWER * x))).c
