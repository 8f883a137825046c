"""Exact rates in one dimension: the slowest relaxation of the Fokker-Planck operator on a grid."""

import numpy as np
import scipy.sparse
from jaxtyping import Float
from scipy.sparse.linalg import eigs

from bayescg.errors import ConvergenceError, InputError
from bayescg.physics._profile import Profile, RateConstants, checked_profile, share_below

_ITERATIONS = 2000


def overdamped_rates(
    free_energy: Float[np.ndarray, " grid"],
    coordinate: Float[np.ndarray, " grid"],
    *,
    dividing: float,
    diffusion: float | Float[np.ndarray, " grid"],
    thermal_energy: float,
) -> RateConstants:
    """Rate constants of overdamped motion in a profile, from its Fokker-Planck operator.

    ∂p/∂t = ∂ₓ D e^{−βF} ∂ₓ e^{βF} p becomes hops between neighbouring points with rates D/h² exp(∓β(F′ h)/2), which
    keep detailed balance exactly; ends reflect. The smallest non-zero eigenvalue λ is the rate at which the populations
    relax, and k↑ = λ P(above), k↓ = λ P(below). The error is of order h², and relative: no barrier is too high.

    Args:
        free_energy: F(x) [energy].
        coordinate: x on a uniform grid, to where F is several k_B T above the barrier [length].
        dividing: between the basins [length].
        diffusion: D, one number or one per grid point [length²/time].
        thermal_energy: k_B T [energy].

    Raises:
        InputError: a profile that isn't finite on a uniform grid, a dividing point outside it, or diffusion not
            positive.
        ConvergenceError: several modes about equally slow, as with three basins.

    References:
        Hummer (2005), doi:10.1088/1367-2630/7/1/034; Risken (1996), doi:10.1007/978-3-642-61544-3, section 5.

    Example:
        >>> x = np.linspace(-2.0, 2.0, 401)
        >>> rates = overdamped_rates(5.0 * (x**2 - 1.0) ** 2, x, dividing=0.0, diffusion=1.0, thermal_energy=1.0)
        >>> round(rates.relaxation, 3)
        0.056
    """
    profile = checked_profile(free_energy, coordinate, thermal_energy)
    d = np.broadcast_to(np.asarray(diffusion, np.float64), profile.coordinate.shape)
    if not (np.isfinite(d).all() and (d > 0).all()):
        raise InputError(
            "overdamped rates: diffusion coefficients that are not positive; expected positive ones"
        )
    between = 0.5 * (d[1:] + d[:-1]) / profile.spacing**2
    return _shared(profile, dividing, _slowest_decay(profile, between))


def _slowest_decay(profile: Profile, between: Float[np.ndarray, " gap"]) -> float:
    """The smallest non-zero eigenvalue, by inverse iteration on the eigenfunction of the backward operator.

    Its equation, summed from one end, is c_k (g_{k+1} − g_k) = −λ Σ_{i ≤ k} p_i g_i. An eigenvalue routine gets λ to
    rounding of the fastest hop; two sums get it to rounding of itself, if each starts from the end that is nearer.
    """
    population = np.exp(-profile.reduced)
    total = population.sum()
    population /= total
    conductance = between * np.exp(-0.5 * (profile.reduced[1:] + profile.reduced[:-1])) / total
    from_left = np.cumsum(population)[:-1] < 0.5
    g, last = profile.coordinate - profile.coordinate @ population, np.inf
    for _ in range(_ITERATIONS):
        content = population * g
        flux = np.where(from_left, np.cumsum(content)[:-1], -np.cumsum(content[::-1])[-2::-1])
        solved = np.concatenate([[0.0], np.cumsum(-flux / conductance)])
        solved -= population @ solved
        decay = float((content @ g) / (content @ solved))
        if abs(decay - last) <= 1e-13 * decay:
            return decay
        g, last = solved / np.sqrt(population @ solved**2), decay
    raise ConvergenceError(
        f"overdamped rates: several modes relax about as slowly as {decay:.3g}; cut the profile into pairs of basins"
    )


def langevin_rates(
    free_energy: Float[np.ndarray, " grid"],
    coordinate: Float[np.ndarray, " grid"],
    *,
    dividing: float,
    friction: float,
    mass: float,
    thermal_energy: float,
    n_hermite: int = 40,
) -> RateConstants:
    """Rate constants of Langevin motion at any friction, from the Klein-Kramers operator.

    The density in position and velocity is expanded in Hermite functions of the velocity, even ones on the points of the
    grid and odd ones between them: ċ_n = −nγ c_n − √n D̂ c_{n−1} − √(n+1) D c_{n+1}, D̂ and D = v_T (∂ₓ ± βF′/2). The
    equilibrium is exact on the grid; the error is of order h². The smallest non-zero eigenvalue is the rate at which
    populations relax. The lower the friction, the more Hermite functions it takes: double them and compare.

    Args:
        free_energy: F(x) [energy].
        coordinate: x on a uniform grid, to where F is several k_B T above the barrier [length].
        dividing: between the basins [length].
        friction: γ, rate at which a free velocity decays [1/time].
        mass: m [mass, in units of energy time²/length²].
        thermal_energy: k_B T [energy].
        n_hermite: Hermite functions of the velocity.

    Raises:
        InputError: a profile that isn't finite on a uniform grid, a dividing point outside it, friction, mass or number
            of functions too small, or a barrier so high that the eigenvalue drowns in rounding.
        ConvergenceError: a slowest mode that moves no population, as without a barrier at weak friction.

    References:
        Risken (1996), doi:10.1007/978-3-642-61544-3, section 10.

    Example:
        >>> x = np.linspace(-1.8, 1.8, 91)
        >>> rates = langevin_rates(
        ...     3.0 * (x**2 - 1.0) ** 2, x, dividing=0.0, friction=5.0, mass=1.0, thermal_energy=1.0, n_hermite=12
        ... )
        >>> round(rates.relaxation, 2)
        0.04
    """
    profile = checked_profile(free_energy, coordinate, thermal_energy)
    if not (friction > 0 and mass > 0 and n_hermite >= 4):
        raise InputError(
            f"Langevin rates: friction {friction:g}, mass {mass:g}, {n_hermite} Hermite functions; expected positive"
            " numbers and at least four functions"
        )
    operator = _klein_kramers(profile, np.sqrt(thermal_energy / mass), friction, n_hermite)
    start = np.ones(operator.shape[0])  # a fixed start: the same answer each time
    fastest = float(np.abs(operator).max())
    values, modes = eigs(operator, k=3, sigma=1e-7 * fastest, v0=start)
    place = np.argsort(-values.real)[1]
    slowest = values[place]
    content = np.abs(modes[: len(profile.coordinate), place]) * np.exp(-0.5 * profile.reduced)
    side = (modes[: len(profile.coordinate), place].real * np.exp(-0.5 * profile.reduced))[
        profile.coordinate < dividing
    ].sum()
    if abs(slowest.imag) > 1e-6 * abs(slowest) or not slowest.real < 0 or abs(side) < 0.25 * content.sum():
        raise ConvergenceError(
            f"Langevin rates: the slowest mode found, {slowest:.3g}, moves no population between the basins; use more"
            " friction, more Hermite functions or a higher barrier"
        )
    if -slowest.real < 1e5 * np.finfo(float).eps * fastest:
        raise InputError(
            f"Langevin rates: the slowest rate {-slowest.real:.3g} is lost in rounding beside the fastest {fastest:.3g};"
            " use a coarser grid, end it where F is a few k_B T above the barrier, or take `kramers_rate`"
        )
    return _shared(profile, dividing, -float(slowest.real))


def _shared(profile: Profile, dividing: float, relaxation: float) -> RateConstants:
    below = share_below(profile, dividing)
    return RateConstants(relaxation * (1.0 - below), relaxation * below)


def _klein_kramers(
    profile: Profile, thermal_velocity: float, friction: float, n_hermite: int
) -> scipy.sparse.csc_matrix:
    """Damping on the diagonal and an antisymmetric streaming part, Hermite index by Hermite index."""
    n = len(profile.coordinate)
    quarter = 0.25 * np.diff(profile.reduced)
    scale = thermal_velocity / profile.spacing
    shape = (n - 1, n)
    raising = scale * scipy.sparse.diags([-np.exp(-quarter), np.exp(quarter)], [0, 1], shape=shape)
    lowering = scale * scipy.sparse.diags([-np.exp(quarter), np.exp(-quarter)], [0, 1], shape=shape)
    blocks: list[list[scipy.sparse.sparray | None]] = [[None] * n_hermite for _ in range(n_hermite)]
    for index in range(n_hermite):
        size = n - 1 if index % 2 else n
        blocks[index][index] = -index * friction * scipy.sparse.eye_array(size)
    for index in range(1, n_hermite):
        down = -np.sqrt(index) * (raising if index % 2 else -lowering.T)
        blocks[index][index - 1], blocks[index - 1][index] = down, -down.T
    return scipy.sparse.csc_matrix(scipy.sparse.block_array(blocks))
