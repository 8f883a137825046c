"""The two moves that sample at constant pressure: a stretch of Langevin dynamics, and a change of the box.

The target of the volume moves, with s the fractional coordinates of the N centres that are scaled and V_g the product of
the edges of group g (all three: the volume; one: that edge), is

    π(s, V_1, V_2, …) ds ∏ dV_g ∝ V^N exp(−β [U(s, V) + P V − γ A + c/V]) ds ∏ dV_g,

with γ the surface tension, A the area spanned by the first group, c/V the energy of the tail beyond the cutoff. A move
takes one group at random and ln V_g to ln V_g + δ, δ uniform on ±step. Since dV_g = V_g d ln V_g and V′/V = V_g′/V_g =
exp(δ), it is accepted with probability

    min(1, exp(−β [ΔU + P ΔV − γ ΔA + c Δ(1/V)] + (N + 1) δ)),

whatever the grouping. For an ideal gas scaled isotropically V ~ Gamma(N + 1, βP). Centres are sites, or molecules, which
are shifted as rigid bodies: their inner coordinates take no part in the Jacobian.

References:
    Wood (1968), doi:10.1063/1.1667938; McDonald (1972), doi:10.1080/00268977200100031; Eppenga & Frenkel (1984),
    doi:10.1080/00268978400101951 (moves in ln V); Frenkel & Smit (2002), doi:10.1016/B978-0-12-267351-1.X5000-7,
    section 5.4.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from bayescg.physics._code import MessageCode
from bayescg.physics._engine import minimum_image
from bayescg.physics._isobaric_interaction import Bound, Edges, Rows
from bayescg.physics._langevin import EngineState, LangevinSettings, integrate, wrap
from bayescg.physics._result import Result

Groups = tuple[tuple[int, ...], ...]
ISOTROPIC: Groups = ((0, 1, 2),)
"""All edges keep their ratios."""
SEMI_ISOTROPIC: Groups = ((0, 1), (2,))
"""x and y together, z by itself: interfaces and membranes normal to z."""
ANISOTROPIC: Groups = ((0,), (1,), (2,))
"""Every edge by itself: solids."""


class IsobaricResult(MessageCode):
    """How a replica at constant pressure ended; the first members are those of `Result`.

    Example:
        >>> int(IsobaricResult.SMALL_BOX)
        4
    """

    OK = Result.OK.value, Result.OK.message
    NONFINITE = Result.NONFINITE.value, Result.NONFINITE.message
    UNSTABLE = Result.UNSTABLE.value, Result.UNSTABLE.message
    SMALL_BOX = (
        4,  # 3 means something else in `Result`
        "an edge would have shrunk below twice the cutoff and was held there, which cuts the distribution of volumes off:"
        " use more sites, a shorter cutoff, or scale edges together (an edge that moves by itself drifts in a fluid)",
    )


class Replica(NamedTuple):
    """One replica between moves.

    Attributes:
        rows: positions [length].
        velocities: on the step [length/time].
        edges: 0 where open [length].
        key: of its random numbers.
        result: an `IsobaricResult` code.
    """

    rows: Rows
    velocities: Rows
    edges: Edges
    key: Key[Array, ""]
    result: Int[Array, ""]


class Conditions(NamedTuple):
    """What is imposed on a replica from outside.

    Attributes:
        pressure: P [energy/length^dim].
        surface_tension: γ [energy/length^(dim − 1)].
        tail: c of the energy c/V of what lies beyond the cutoff [energy length^dim].
        volume_steps: largest change of ln V_g in one move, of every group.
        lower: least edges [length].
        upper: largest edges [length].
        smallest: twice the cutoff [length].
    """

    pressure: Float[Array, ""]
    surface_tension: Float[Array, ""]
    tail: Float[Array, ""]
    volume_steps: Float[Array, " group"]
    lower: Float[Array, " dim"]
    upper: Float[Array, " dim"]
    smallest: Float[Array, ""]


def stretch(
    replica: Replica,
    interaction: Bound,
    settings: LangevinSettings,
    interval: Int[Array, ""],
    *,
    metropolis: bool,
) -> tuple[Replica, Float[Array, ""]]:
    """`interval` steps of dynamics at constant volume, and the probability of their acceptance.

    Plain BAOAB, always accepted, or one move of generalised hybrid Monte Carlo (see `Metropolis`), which has no bias of
    the time step.
    """
    x, v, edges, key, result = replica
    key, stretch_key, refresh_key, uniform_key = jax.random.split(key, 4)
    inverse_mass = jnp.asarray(settings.inverse_mass, x.dtype)
    half_kick = 0.5 * settings.time_step * inverse_mass
    if metropolis:
        keep = jnp.exp(-jnp.asarray(settings.friction) * settings.time_step * interval)
        thermal = jnp.sqrt((1 - keep**2) * settings.kT * inverse_mass)
        v = keep * v + thermal * jax.random.normal(refresh_key, v.shape, x.dtype)

    def forces(rows: Rows) -> Rows:
        return interaction.forces(rows, edges)

    start = EngineState(x.T, (v - half_kick * forces(x)).T, stretch_key, jnp.zeros_like(result))
    end, _ = integrate(forces, start, settings, edges, interval, n_samples=1, deterministic=metropolis)
    new_x = end.positions.T
    new_v = end.velocities.T + half_kick * forces(new_x)
    if not metropolis:
        code = jnp.where(result == Result.OK.value, end.result, result)
        return Replica(new_x, new_v, edges, key, code), jnp.ones((), x.dtype)
    change = interaction.energy_change(x, edges, new_x, edges)
    change = change + 0.5 * jnp.sum((new_v**2 - v**2) / inverse_mass)
    sound = (end.result == Result.OK.value) & ~jnp.isnan(change)
    chance = jnp.where(sound, jnp.exp(jnp.minimum(-change / settings.kT, 0.0)), 0.0)
    take = jax.random.uniform(uniform_key, dtype=x.dtype) < chance
    x, v = jnp.where(take, new_x, x), jnp.where(take, new_v, -v)
    return Replica(x, v, edges, key, result), chance


def scaled(rows: Rows, edges: Edges, new_edges: Edges, molecules: tuple[int, ...] | None) -> Rows:
    """Positions after the box has changed: fractional coordinates of the centres stay, molecules keep their shape."""
    ratio = jnp.where(edges > 0, new_edges / jnp.where(edges > 0, edges, 1), 1)[:, None]
    if molecules is None:
        return wrap(rows * ratio, new_edges)
    label = jnp.asarray(molecules)
    n_molecules = max(molecules) + 1
    first = jnp.asarray([molecules.index(m) for m in range(n_molecules)])
    inverse = jnp.where(edges > 0, 1 / edges, 0)[:, None]
    anchor = rows[:, first][:, label]
    inner = minimum_image(rows - anchor, edges[:, None], inverse)
    size = jnp.bincount(label, length=n_molecules)
    middle = jnp.zeros((rows.shape[0], n_molecules), rows.dtype).at[:, label].add(inner) / size
    centre = anchor + middle[:, label]
    # each site beside its anchor, not where it was wrapped to: the new edge would not take that back
    return wrap(anchor + inner + (ratio - 1) * centre, new_edges)


def volume_move(
    replica: Replica,
    interaction: Bound,
    kT: Float[Array, ""],
    conditions: Conditions,
    *,
    groups: Groups,
    molecules: tuple[int, ...] | None,
) -> tuple[Replica, Float[Array, " group"], Float[Array, " group"]]:
    """One change of the box; which group was tried, and with which probability of acceptance."""
    x, v, edges, key, result = replica
    dim, n_sites = x.shape
    n_centres = n_sites if molecules is None else max(molecules) + 1
    key, group_key, step_key, uniform_key = jax.random.split(key, 4)
    group = jax.random.randint(group_key, (), 0, len(groups))
    tried = (jnp.arange(len(groups)) == group).astype(x.dtype)
    # share of the change of ln V_g that falls to each edge
    shares = jnp.asarray([[(axis in g) / len(g) for axis in range(dim)] for g in groups], x.dtype)
    delta = conditions.volume_steps[group] * jax.random.uniform(step_key, (), x.dtype, -1.0, 1.0)
    new_edges = edges * jnp.exp(delta * shares[group])
    new_x = scaled(x, edges, new_edges, molecules)
    volume = jnp.prod(jnp.where(edges > 0, edges, 1))
    area = jnp.prod(edges[jnp.asarray(groups[0])])
    work = interaction.energy_change(x, edges, new_x, new_edges)
    work = work + conditions.pressure * volume * jnp.expm1(delta)
    work = work - conditions.surface_tension * area * jnp.expm1(delta) * tried[0]
    work = work + conditions.tail / volume * jnp.expm1(-delta)
    exponent = -work / kT + (n_centres + 1) * delta
    chance = jnp.where(jnp.isnan(exponent), 0.0, jnp.exp(jnp.minimum(exponent, 0.0)))
    take = jax.random.uniform(uniform_key, dtype=x.dtype) < chance
    closed = edges > 0
    too_small = jnp.any(closed & (new_edges < conditions.smallest))
    allowed = jnp.all(~closed | ((new_edges >= conditions.lower) & (new_edges <= conditions.upper)))
    # where the caller's own limits are wider than the cutoff allows, the ensemble is not the one that was asked for
    cut_off = take & allowed & too_small & (result == Result.OK.value)
    result = jnp.where(cut_off, IsobaricResult.SMALL_BOX.value, result)
    inside = allowed & ~too_small
    take = take & inside
    x, edges = jnp.where(take, new_x, x), jnp.where(take, new_edges, edges)
    return Replica(x, v, edges, key, result), tried, tried * jnp.where(inside, chance, 0.0)
