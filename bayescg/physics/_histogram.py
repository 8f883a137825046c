"""Pair potentials that are not linear in anything: a fine distance histogram is their sufficient statistic."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayescg.errors import InputError
from bayescg.physics._pair import PairPotential
from bayescg.physics._potential import ParameterInfo


class HistogramPair(PairPotential):
    """A pair formula u_θ(s), s = r², interpolated linearly between nodes uniform in s.

    The features are the hat-function weights of the pairs on the nodes and η(θ)_k = u_θ(s_k), so any
    formula becomes linear in its node values. Simulation and statistics use this same interpolated
    energy. It differs from the formula by at most (Δs)²/8 · max|u″(s)| per pair (`interpolation_bound`).
    Below `inner` the energy continues along the first interval's line.

    Attributes:
        inner: distance of the first node [length].
        cutoff: distance of the last node [length].
        n_nodes: number of nodes.
    """

    inner: eqx.AbstractVar[float]
    cutoff: eqx.AbstractVar[float]
    n_nodes: eqx.AbstractVar[int]
    tabulated = True

    @abc.abstractmethod
    def formula(self, r2: Float[Array, "*pair"]) -> Float[Array, "*pair"]:
        """The exact u_θ(s) [energy] at squared distances [length²]."""

    def nodes(self) -> np.ndarray:
        """Squared distances of the nodes [length²]."""
        return np.linspace(self.inner**2, self.cutoff**2, self.n_nodes)

    def coefficients(self) -> Float[Array, " feature"]:
        return self.formula(jnp.asarray(self.nodes()))

    def pair_basis(self, r2: Float[Array, "*pair"]) -> Float[Array, "*pair feature"]:
        lowest, step = self.inner**2, (self.cutoff**2 - self.inner**2) / (self.n_nodes - 1)
        place = (r2 - lowest) / step
        left = jnp.clip(jnp.floor(place), 0, self.n_nodes - 2).astype(jnp.int32)
        fraction = (place - left)[..., None]
        node = jnp.arange(self.n_nodes)
        hats = jnp.where(node == left[..., None], 1.0 - fraction, 0.0) + jnp.where(
            node == left[..., None] + 1, fraction, 0.0
        )
        return jnp.where((r2 < self.cutoff**2)[..., None], hats, 0.0)

    def pair_energy(self, r2: Float[Array, "*pair"]) -> Float[Array, "*pair"]:
        eta = self.coefficients()
        lowest, step = self.inner**2, (self.cutoff**2 - self.inner**2) / (self.n_nodes - 1)
        place = (r2 - lowest) / step
        left = jnp.clip(jnp.floor(place), 0, self.n_nodes - 2).astype(jnp.int32)
        fraction = place - left
        return jnp.where(r2 < self.cutoff**2, (1.0 - fraction) * eta[left] + fraction * eta[left + 1], 0.0)

    def interpolation_bound(self) -> Float[Array, ""]:
        """Largest error of the interpolated pair energy between `inner` and the cutoff [energy]."""
        step = (self.cutoff**2 - self.inner**2) / (self.n_nodes - 1)
        s = jnp.linspace(self.inner**2, self.cutoff**2, 8 * self.n_nodes)
        curvature = jax.vmap(jax.grad(jax.grad(self.formula)))(s)
        return step**2 / 8.0 * jnp.max(jnp.abs(curvature))


class WeeksChandlerAndersen(HistogramPair):
    """The repulsive part of Lennard-Jones: u(r) = 4ε[(σ/r)¹² − (σ/r)⁶] + ε for r < 2^(1/6) σ, else 0.

    Its range moves with σ, so it has no exact finite statistic: see `HistogramPair`.

    Attributes:
        epsilon: well depth of the parent Lennard-Jones potential [energy].
        sigma: its diameter [length].
        inner: shortest distance resolved [length]; choose it below the shortest distance in the data.
        cutoff: largest range that 2^(1/6) σ may reach [length].
        n_nodes: number of nodes.
        name: prefix of the parameters' names.

    Raises:
        InputError: `inner` is not between 0 and the cutoff, or there are fewer than 2 nodes.

    Example:
        >>> repulsion = WeeksChandlerAndersen(1.0, 1.0, inner=0.7, cutoff=1.3)
        >>> float(repulsion.formula(jnp.asarray(1.0)))
        1.0

    References:
        Weeks, Chandler, Andersen (1971), doi:10.1063/1.1674820.
    """

    epsilon: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    sigma: Float[Array, ""] = eqx.field(converter=jnp.asarray)
    inner: float = eqx.field(static=True, kw_only=True)
    cutoff: float = eqx.field(static=True, kw_only=True)
    n_nodes: int = eqx.field(static=True, default=512, kw_only=True)
    name: str = eqx.field(static=True, default="wca", kw_only=True)

    def __check_init__(self):
        if not 0.0 < self.inner < self.cutoff:
            raise InputError(
                f"potential '{self.name}': inner {self.inner} must lie between 0 and the cutoff {self.cutoff}"
            )
        if self.n_nodes < 2:
            raise InputError(f"potential '{self.name}': n_nodes {self.n_nodes} must be at least 2")

    def formula(self, r2: Float[Array, "*pair"]) -> Float[Array, "*pair"]:
        attraction = (self.sigma**2 / r2) ** 3
        inside = r2 < 2.0 ** (1.0 / 3.0) * self.sigma**2
        return jnp.where(inside, 4.0 * self.epsilon * attraction * (attraction - 1.0) + self.epsilon, 0.0)

    def parameters(self) -> tuple[ParameterInfo, ...]:
        return (
            ParameterInfo(f"{self.name}_epsilon", "energy", "WCA energy", "positive", 1.0, ()),
            ParameterInfo(f"{self.name}_sigma", "length", "WCA diameter", "positive", self.cutoff / 1.3, ()),
        )
