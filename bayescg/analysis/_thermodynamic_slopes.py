"""How reweighted energy, heat capacity, pressure and compressibility change with the parameters, at every draw."""

from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from bayescg.analysis._pooled_frames import (
    ParameterVectors,
    PooledFrames,
    parameter_vectors,
    pooled_frames,
)
from bayescg.analysis._predict import System
from bayescg.analysis._reweighted_scalars import LONG_NAMES
from bayescg.analysis._reweighted_slopes import slopes_dataset
from bayescg.errors import InputError
from bayescg.physics import Potential, ReferenceBank
from bayescg.physics._compressibility import hypervirial_per_bin, pair_terms_within

AT_ONCE = 32
"""Numbers whose derivatives by the weights of all frames are held in memory together."""


class _Kept(eqx.Module):
    """Statistics of the frames and numbers of the system.

    Attributes:
        frames: of the bank.
        virial: features of the virial, no columns where they are not needed [frame feature].
        counts: pairs per distance bin, likewise [frame bin].
        edges: of the bins.
        kT: [energy].
        volume, n_sites: as in `System`.
        pressure_factor: from energy per volume to pressure.
        dim: directions of space.
    """

    frames: PooledFrames
    virial: Float[Array, "frame feature"]
    counts: Float[Array, "frame bin"]
    kT: Array
    volume: Array
    pressure_factor: Array
    edges: tuple[float, ...] = eqx.field(static=True)
    n_sites: int = eqx.field(static=True)
    dim: int = eqx.field(static=True)

    def averages(self, potential: Potential, names: tuple[str, ...]) -> Float[Array, " name"]:
        """The observables at a potential, as functions of weighted means."""
        eta = potential.coefficients()
        weights = self.frames.weights(eta, kT=self.kT)
        made = []
        for name in names:
            if name == "energy":
                mean = self.frames.centre + weights @ self.frames.features
                made.append(eta @ mean / self.n_sites)
            elif name == "heat-capacity":
                variance = _variance(self.frames.features @ eta, weights)
                made.append(0.5 * self.dim + variance / (self.n_sites * self.kT**2))
            elif name == "pressure":
                work = weights @ (self.virial @ eta)
                made.append((self.n_sites * self.kT + work / 3.0) / self.volume * self.pressure_factor)
            else:
                made.append(self._compressibility(potential, eta, weights))
        return jnp.stack(made)

    def _compressibility(self, potential: Potential, eta: Array, weights: Array) -> Array:
        """1/K with K of `bulk_modulus_terms`; NaN where K is not positive."""
        per_bin = hypervirial_per_bin(potential, np.asarray(self.edges), kT=self.kT)
        virial = self.virial @ eta
        terms = weights @ virial / 3.0 + weights @ self.counts @ per_bin / 9.0
        modulus = (
            self.n_sites * self.kT + terms - _variance(virial, weights) / (9.0 * self.kT)
        ) / self.volume
        modulus = modulus * self.pressure_factor
        return jnp.where(modulus > 0.0, 1.0 / jnp.where(modulus > 0.0, modulus, 1.0), jnp.nan)


def _variance(numbers: Float[Array, " frame"], weights: Float[Array, " frame"]) -> Array:
    return weights @ (numbers - weights @ numbers) ** 2


def thermodynamic_slopes(
    bank: ReferenceBank,
    potential: Potential,
    draws: Mapping[str, Float[np.ndarray, "draw *shape"]],
    *,
    names: tuple[str, ...],
    system: System,
    dim: int = 3,
) -> dict[str, xr.Dataset]:
    """Derivatives of reweighted thermodynamic averages by the parameters θ of the potential, at every draw.

    These observables know the parameters themselves. With A of energy or virial

        ∂⟨A⟩/∂θ_p = ⟨∂A/∂θ_p⟩ − β Cov(A, ∂U/∂θ_p),

    and fluctuations follow by the chain rule, Var(A) = ⟨A²⟩ − ⟨A⟩²; the frames' bins give the hypervirial, whose
    dependence on θ counts too. It is the exact derivative of what reweighting gives for

        U/N,   C_V/(N k_B) = d/2 + β² Var(U)/N,   P = [N kT + ⟨Σ f·r⟩/3]/V,   κ_T = 1/K, K of `bulk_modulus_terms`.

    Args:
        bank: reference simulations with virials, and with pair counts where the compressibility is wanted.
        potential: any of the family; of pair potentials where the compressibility is wanted.
        draws: of each parameter by its name, arrays behind the draws.
        names: `energy`, `heat-capacity`, `pressure`, `compressibility`, any of them.
        system: sites, volume, temperature, units and bins; the weights are those of this temperature.
        dim: directions of space.

    Returns:
        For each name what `reweighted_slopes` returns. Where K is not positive κ_T and its slopes are NaN.

    Raises:
        InputError: an unknown name, virials or bins missing, a potential that is no pair potential, draws that are not those
            of the potential.

    References:
        Shell (2008), doi:10.1063/1.2992060, for the energy; the others by the chain rule here.

    Example:
        >>> from bayescg.data import get_unit_system
        >>> from bayescg.physics import HarmonicWell, Reference
        >>> x = np.random.default_rng(0).normal(size=(20, 200, 1))  # a spring, U = k x²/2, at k = kT = 1
        >>> bank = ReferenceBank(1.0, (Reference(np.ones(1), x**2 / 2, x[..., :0], x[..., :0], np.zeros((0, 1, 1))),))
        >>> system = System(1, 1.0, 1.0, get_unit_system("lj"), np.zeros(0))
        >>> draws = {"well_k": np.array([1.0, 1.1])}
        >>> made = thermodynamic_slopes(bank, HarmonicWell(1.0), draws, names=("energy",), system=system)["energy"]
        >>> bool((abs(made["slope"]) < 3.0 * made["slope_se"]).all())  # kT/2 whatever the spring
        True
    """
    if unknown := [name for name in names if name not in LONG_NAMES]:
        raise InputError(f"slopes: {unknown[0]!r} is none of {', '.join(LONG_NAMES)}")
    if not names:
        return {}
    vectors = parameter_vectors(potential, draws, system.units)
    kept = _kept(bank, potential, names, system, dim)
    found = [np.asarray(one) for one in _at_draws(kept, vectors, names)]
    units = system.units
    unit = {
        "energy": units.energy, "heat-capacity": "1", "pressure": units.pressure,
        "compressibility": f"1/({units.pressure})" if "/" in units.pressure else f"1/{units.pressure}",
    }  # fmt: skip
    made = {}
    for k, name in enumerate(names):
        like = xr.DataArray(0.0, attrs={"units": unit[name], "long_name": LONG_NAMES[name]})
        made[name] = slopes_dataset(like, vectors, [*(one[..., k] for one in found[:4]), found[4]])
    return made


def _kept(
    bank: ReferenceBank, potential: Potential, names: tuple[str, ...], system: System, dim: int
) -> _Kept:
    """What these observables need of the references."""
    n_features = bank.features.shape[1]
    virial = counts = np.zeros((len(bank.features), 0))
    edges = np.asarray(system.distance_edges, float)
    if {"pressure", "compressibility"} & set(names):
        virial = np.concatenate([r.virial.reshape(r.n_frames, -1) for r in bank.references])
        if virial.shape[1] != n_features:
            raise InputError("pressure: the references keep no virials; run the study again")
    if "compressibility" in names:
        counts = np.concatenate([r.pair_counts.reshape(r.n_frames, -1) for r in bank.references])
        if counts.shape[1] != len(edges) - 1:
            raise InputError(
                f"compressibility: the references count pairs in {counts.shape[1]} bins, the system has"
                f" {len(edges) - 1}; give the edges that they were counted with"
            )
        pair_terms_within(potential, edges)
    kt = system.units.kT(system.temperature)
    return _Kept(
        pooled_frames(bank), jnp.asarray(virial), jnp.asarray(counts, virial.dtype), jnp.asarray(kt),
        jnp.asarray(float(system.volume)), jnp.asarray(float(system.units.pressure_factor)), tuple(edges.tolist()),
        system.n_sites, dim,
    )  # fmt: skip


@eqx.filter_jit
def _at_draws(kept: _Kept, draws: ParameterVectors, names: tuple[str, ...]) -> tuple[Array, ...]:
    """Means, their errors, slopes, their errors [draw (parameter) name] and effective frames [draw]."""

    def numbers(vector: Array, log_base: Array) -> Float[Array, "row name"]:
        """Averages, and below them their derivatives."""
        frames = kept.frames._replace(log_base=log_base)
        some = eqx.tree_at(lambda one: one.frames, kept, frames)

        def averages(point: Array) -> Array:
            return some.averages(draws.at(point), names)

        return jnp.concatenate([averages(vector)[None], jax.jacfwd(averages)(vector).T])

    def at(vector: Array) -> tuple[Array, ...]:
        base = kept.frames.log_base
        both, back = jax.vjp(lambda log_base: numbers(vector, log_base), base)
        directions = jnp.eye(both.size).reshape(both.size, *both.shape)
        # A number responds to each frame's weight; through an average of its own as well, as in a variance.
        if both.size <= AT_ONCE:
            influence = jax.vmap(lambda one: back(one)[0])(directions)
        else:
            influence = jax.lax.map(lambda one: back(one)[0], directions, batch_size=AT_ONCE)
        error = kept.frames.error(influence.T).reshape(both.shape)
        effective = 1.0 / jnp.sum(kept.frames.weights(draws.at(vector).coefficients(), kT=kept.kT) ** 2)
        return both[0], error[0], both[1:], error[1:], effective

    return jax.lax.map(at, draws.vectors)
