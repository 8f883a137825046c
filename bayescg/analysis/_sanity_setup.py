"""Checks of a simulation before it runs: the box, the charges, the time step."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.sparse.linalg import LinearOperator, eigsh

from bayescg.analysis._verdicts import FAILED, NOT_TESTED, PASSED, Check
from bayescg.errors import InputError
from bayescg.physics import Potential

LEAST_STEPS_PER_PERIOD = 10.0
"""Steps that the fastest vibration should get; below π of them the dynamics is unstable."""
LEAST_STEPS_OF_TRAJECTORIES = 4.0
"""The same where Metropolis' test accepts or rejects trajectories: of a dense fluid's hardly any is accepted below it."""


def box_check(
    box: Float[np.ndarray, "*batch dim"], *, cutoff: float, radius_of_gyration: float = 0.0
) -> Check:
    """Whether the shortest edge is 2 R_g + 2 r_c or more.

    Below 2 r_c a site would meet two images of the same neighbour. Between 2 r_c and 2 R_g + 2 r_c a molecule can
    interact with its own image, which orders and stiffens it.

    Args:
        box: edge lengths, also of many frames at constant pressure; inf where open [length].
        cutoff: r_c [length].
        radius_of_gyration: R_g of the largest molecule, e.g. its mean plus two standard deviations [length].

    Example:
        >>> print(box_check(np.full(3, 10.0), cutoff=3.0, radius_of_gyration=2.5).sentence)
        The shortest edge is 10, below 2 R_g + 2 r_c = 11: a molecule can interact with its own image, which makes it look \
more ordered and stiffer than it is; use a box with edges above 11.
    """
    edges = np.asarray(box, float)
    if not (edges.size and (edges > 0).all() and cutoff > 0 and radius_of_gyration >= 0):
        raise InputError(
            f"box check: edges {edges.min(initial=np.inf):g}, cutoff {cutoff:g}, R_g {radius_of_gyration:g}; expected"
            " positive edges and cutoff, and a radius that is not negative"
        )
    shortest, least = float(edges.min()), 2.0 * radius_of_gyration + 2.0 * cutoff
    words = "2 R_g + 2 r_c" if radius_of_gyration else "2 r_c"
    if shortest >= least * (1.0 - 1e-9):
        sentence = (
            f"The shortest edge is {shortest:.4g}, not below {words} = {least:.4g}: nothing meets its own image."
            if np.isfinite(shortest)
            else "The box is open: nothing has an image."
        )
        return Check("box", PASSED, shortest if np.isfinite(shortest) else None, least, sentence)
    if shortest < 2.0 * cutoff * (1.0 - 1e-9):
        sentence = (
            f"The shortest edge is {shortest:.4g}, below 2 r_c = {2 * cutoff:.4g}: pairs beyond half an edge are lost or"
            " counted at the wrong image, so that energy and pressure belong to no potential; use a larger system or"
            " a shorter cutoff."
        )
    else:
        sentence = (
            f"The shortest edge is {shortest:.4g}, below {words} = {least:.4g}: a molecule can interact with its own"
            f" image, which makes it look more ordered and stiffer than it is; use a box with edges above {least:.4g}."
        )
    return Check("box", FAILED, shortest, least, sentence)


def charge_check(charges: Float[np.ndarray, " site"], *, tolerance: float = 1e-4) -> Check:
    """Whether the sites' charges add up to zero, as Ewald's sum needs it.

    Args:
        charges: of every site [elementary charge].
        tolerance: net charge that rounding may leave [elementary charge].

    Example:
        >>> charge_check(np.array([1.0, -1.0, 1.0])).verdict
        'failed'
    """
    values = np.asarray(charges, float)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise InputError(
            f"charge check: charges of shape {values.shape}; expected one finite number per site"
        )
    net = float(values.sum())
    if abs(net) <= tolerance:
        return Check("net charge", PASSED, net, tolerance, f"The sites' charges add up to {net:.2g}.")
    sentence = (
        f"The sites carry a net charge of {net:.4g}: Ewald's sum is finite only because it adds a uniform background"
        " of the opposite charge, which shifts energy and pressure by an amount that goes with Q²/V and, where the"
        " density is not uniform, pushes ions into the wrong places; add counter-ions or correct the charges."
    )
    return Check("net charge", FAILED, net, tolerance, sentence)


def fastest_frequency(
    potential: Potential,
    positions: Float[np.ndarray, "site dim"],
    box: Float[np.ndarray, " dim"],
    *,
    inverse_mass: Float[np.ndarray, " site"],
) -> float:
    """Angular frequency of the stiffest vibration about a configuration, ω = √λ_max of M^−½ (∂²U/∂x∂x) M^−½ [1/time].

    The largest eigenvalue by Lanczos' method: only products of the Hessian with vectors are formed. 0 where no
    curvature is positive.

    Args:
        potential: any.
        positions: one typical configuration at the simulation's temperature [length].
        box: edge lengths [length].
        inverse_mass: 1/mass of every site times `UnitSystem.force_to_acceleration` [length²/(time² energy)].

    Raises:
        InputError: shapes that do not fit, a Hessian that is not finite.

    Example:
        >>> from bayescg.physics import HarmonicWell
        >>> well = HarmonicWell(4.0)  # u = k x²/2
        >>> where, mass = np.array([[0.3]]), np.ones(1)
        >>> round(fastest_frequency(well, where, np.array([np.inf]), inverse_mass=mass), 6)
        2.0
    """
    x, weights = np.asarray(positions, float), np.asarray(inverse_mass, float)
    if x.ndim != 2 or weights.shape != x.shape[:1] or not (weights > 0).all():
        raise InputError(
            f"time-step check: positions {x.shape}, inverse masses {weights.shape}; expected [site dim] and one positive"
            " number per site"
        )
    root = np.repeat(np.sqrt(weights), x.shape[1])
    edges = jnp.asarray(box)
    gradient = jax.grad(lambda flat: potential.energy(flat.reshape(x.shape), edges))
    where = jnp.asarray(x.ravel())

    @jax.jit
    def product(vector: Array) -> Array:
        return jax.jvp(gradient, (where,), (vector,))[1]

    def apply(vector: np.ndarray) -> np.ndarray:
        return root * np.asarray(product(jnp.asarray(root * vector.ravel(), where.dtype)), np.float64)

    first = apply(np.random.default_rng(0).normal(size=x.size))
    if not np.isfinite(first).all():
        raise InputError(
            "time-step check: the Hessian is not finite at this configuration; take one without overlapping sites"
        )
    if x.size < 3:  # Lanczos' method needs more than two directions
        matrix = np.stack([apply(unit) for unit in np.eye(x.size)])
        largest = float(np.linalg.eigvalsh(0.5 * (matrix + matrix.T))[-1])
    else:
        operator = LinearOperator((x.size, x.size), matvec=apply, dtype=np.float64)
        start = np.random.default_rng(1).normal(size=x.size)
        largest = float(eigsh(operator, k=1, which="LA", v0=start, tol=1e-4, return_eigenvectors=False)[0])
    return float(np.sqrt(max(largest, 0.0)))


def time_step_check(
    potential: Potential,
    positions: Float[np.ndarray, "site dim"],
    box: Float[np.ndarray, " dim"],
    *,
    inverse_mass: Float[np.ndarray, " site"],
    time_step: float,
) -> Check:
    """Whether the fastest vibration, from the mass-weighted Hessian, gets at least ten steps per period.

    A vibration of frequency ω has kinetic energy (1 − (ω Δt)²/4) k_B T/2 under BAOAB's full-step velocities, and Verlet's
    dynamics leave the finite numbers at ω Δt = 2, π steps per period.

    Args:
        potential: any.
        positions: one typical configuration at the simulation's temperature [length].
        box: edge lengths [length].
        inverse_mass: 1/mass of every site times `UnitSystem.force_to_acceleration` [length²/(time² energy)].
        time_step: Δt [time].

    References:
        Leimkuhler & Matthews (2013), doi:10.1063/1.4802990 (averages of positions are exact for harmonic forces).

    Example:
        >>> from bayescg.physics import HarmonicWell
        >>> well, mass = HarmonicWell(1.0), np.ones(1)
        >>> one = time_step_check(well, np.zeros((1, 1)), np.array([np.inf]), inverse_mass=mass, time_step=1.0)
        >>> one.verdict, round(one.value, 3)
        ('failed', 6.283)
    """
    if not time_step > 0:
        raise InputError(f"time-step check: time step {time_step:g}; expected a positive one")
    omega = fastest_frequency(potential, positions, box, inverse_mass=inverse_mass)
    return time_step_verdict(omega, time_step=time_step)


def time_step_verdict(
    frequency: float,
    *,
    time_step: float,
    metropolis: bool = False,
    setting: str = "a time step",
    unit: str = "",
) -> Check:
    """Whether a time step fits a fastest vibration, by the sampler's own limit.

    Plain dynamics needs ten steps per period, since every average inherits the error of its steps. With Metropolis' test on
    whole trajectories no average does; what a long step costs there is acceptance, and below four steps per period hardly
    any trajectory of a dense fluid is accepted.

    Args:
        frequency: ω of the fastest vibration, 0 where nothing vibrates [1/time].
        time_step: Δt [time].
        metropolis: whether trajectories are accepted or rejected.
        setting: what to change, with its article or as a key of a file.
        unit: of time, for the sentence.

    Raises:
        InputError: a frequency that is negative or not finite, a time step that is not positive.

    References:
        Duane et al. (1987), doi:10.1016/0370-2693(87)91197-X (Metropolis' test on trajectories).

    Example:
        >>> [time_step_verdict(1.0, time_step=1.0, metropolis=tested).verdict for tested in (False, True)]
        ['failed', 'passed']
    """
    if not (time_step > 0 and 0.0 <= frequency < np.inf):
        raise InputError(
            f"time-step check: time step {time_step:g} and frequency {frequency:g}; expected a positive step and a finite"
            " frequency that is not negative"
        )
    limit = LEAST_STEPS_OF_TRAJECTORIES if metropolis else LEAST_STEPS_PER_PERIOD
    if frequency == 0.0:
        sentence = (
            "The Hessian has no positive eigenvalue at this configuration: nothing vibrates, and nothing was tested;"
            " take a configuration of the dense or bonded system."
        )
        return Check("time step", NOT_TESTED, None, limit, sentence)
    period, unit = 2.0 * np.pi / frequency, f" {unit}" if unit else ""
    steps = period / time_step
    told = f"The fastest vibration has the period {period:.3g}{unit}, {steps:.3g} time steps of {time_step:.3g}{unit}"
    if steps >= limit:
        off = 100.0 * (frequency * time_step) ** 2 / 4.0
        well = (
            "enough for trajectories that Metropolis' test accepts"
            if metropolis
            else f"its kinetic energy comes out {off:.2g} % low"
        )
        return Check("time step", PASSED, steps, limit, f"{told}: {well}.")
    if steps <= np.pi:
        effect = "the dynamics is unstable and will leave the finite numbers"
    elif metropolis:
        effect = "hardly any trajectory will pass Metropolis' test, and nothing moves"
    else:
        effect = "energy flows into it from the time step, and it is colder in its velocities than the rest"
    use = f"use {setting} of" if setting.startswith("a ") else f"set {setting} to"
    sentence = (
        f"{told}: {effect}; {use} at most {period / limit:.3g}{unit}, constrain the vibration, or give its sites more"
        " mass."
    )
    return Check("time step", FAILED, steps, limit, sentence)
