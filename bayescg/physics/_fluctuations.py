"""Response functions from equilibrium fluctuations: heat capacities, compressibility, thermal expansion.

A variance from correlated frames is low by its share 1/n of independent frames; each estimate is corrected by the
statistical inefficiency, and its standard error comes from pieces of the series.
"""

import numpy as np
from jaxtyping import Float

from bayescg.data import statistical_inefficiency
from bayescg.errors import InputError
from bayescg.physics._estimate import Estimate, over_pieces, pieces_of

Series = Float[np.ndarray, "replica frame"]


def heat_capacity(energies: Series, *, kT: float, degrees_of_freedom: float) -> Estimate:
    """Heat capacity at constant volume over k_B: C_V/k_B = f/2 + Var(U)/(k_B T)².

    Args:
        energies: potential energies at constant volume and temperature [energy].
        kT: thermal energy [energy].
        degrees_of_freedom: f, those of the momenta: 3N, 0 for the potential part alone.

    Raises:
        InputError: a series that is too short or not finite.

    References:
        Lebowitz, Percus & Verlet (1967), doi:10.1103/PhysRev.153.250, for what a constant total energy would change.

    Example:
        >>> u = np.random.default_rng(0).gamma(5.0, size=(20, 2000))  # ten harmonic coordinates: Var(U) = 10/2
        >>> found = heat_capacity(u, kT=1.0, degrees_of_freedom=0)
        >>> bool(abs(found.value - 5.0) < 4 * found.standard_error)
        True
    """
    _positive(kT=kT)
    u = _checked("heat capacity", energies)
    spread = _covariance(u, u)
    return Estimate(
        0.5 * degrees_of_freedom + spread.value / kT**2,
        spread.standard_error / kT**2,
        spread.degrees_of_freedom,
    )


def isothermal_compressibility(volumes: Series, *, kT: float) -> Estimate:
    """κ_T = Var(V)/(k_B T ⟨V⟩), from volumes at constant pressure [length³/energy].

    For an edge that fluctuates by itself give volumes too: the result is then that edge's own compliance.

    Args:
        volumes: at constant pressure and temperature [length³].
        kT: thermal energy [energy].

    Raises:
        InputError: a series that is too short, not finite or not positive.

    Example:
        >>> v = np.random.default_rng(0).gamma(11.0, size=(20, 2000))  # ten sites of an ideal gas at βP = 1
        >>> found = isothermal_compressibility(v, kT=1.0)
        >>> bool(abs(found.value - 1.0) < 4 * found.standard_error)  # 1/P, whatever N, with this measure of the volume
        True
    """
    _positive(kT=kT)
    v = _checked("compressibility", volumes)
    if not (v > 0).all():
        raise InputError("compressibility: a volume that is not positive; expected volumes of the box")
    return _ratio(v, v, scale=kT)


def thermal_expansion(volumes: Series, enthalpies: Series, *, kT: float) -> Estimate:
    """Expansion α_P = (∂V/∂T)_P/V as α_P/k_B = Cov(V, H)/((k_B T)² ⟨V⟩), H = U + PV [1/energy].

    Args:
        volumes: at constant pressure and temperature [length³].
        enthalpies: U + PV of the same frames; momenta add nothing [energy].
        kT: thermal energy [energy].

    Raises:
        InputError: series that do not fit together, too short, or not finite.

    Example:
        >>> v = np.random.default_rng(0).gamma(11.0, size=(20, 2000))  # an ideal gas of ten sites, P = kT = 1
        >>> found = thermal_expansion(v, v, kT=1.0)
        >>> bool(abs(found.value - 1.0) < 4 * found.standard_error)
        True
    """
    _positive(kT=kT)
    v, h = _checked("thermal expansion", volumes), _checked("thermal expansion", enthalpies)
    if v.shape != h.shape:
        raise InputError(f"thermal expansion: volumes {v.shape} and enthalpies {h.shape} of different frames")
    return _ratio(v, h, scale=kT**2)


def isobaric_heat_capacity(enthalpies: Series, *, kT: float, degrees_of_freedom: float) -> Estimate:
    """Heat capacity at constant pressure over k_B: C_P/k_B = f/2 + Var(U + PV)/(k_B T)².

    Args:
        enthalpies: U + PV at constant pressure and temperature [energy].
        kT: thermal energy [energy].
        degrees_of_freedom: f, those of the momenta: 3N, 0 for the part of the configuration alone.

    Raises:
        InputError: a series that is too short or not finite.

    Example:
        >>> h = np.random.default_rng(0).gamma(11.0, size=(20, 2000))  # an ideal gas of ten sites
        >>> found = isobaric_heat_capacity(h, kT=1.0, degrees_of_freedom=30)
        >>> bool(abs(found.value - 26.0) < 4 * found.standard_error)  # 5N/2 + 1
        True
    """
    return heat_capacity(enthalpies, kT=kT, degrees_of_freedom=degrees_of_freedom)


def _covariance(a: Series, b: Series) -> Estimate:
    """Covariance of two series, free of the bias of correlated frames, with its error over pieces."""
    product = (a - a.mean()) * (b - b.mean())
    flat = [len(row) for row in a]
    g = max(float(statistical_inefficiency(s.ravel(), lengths=flat)[0]) for s in (a, b))
    correction = 1.0 / (1.0 - min(g / a.size, 0.5))
    pieces = pieces_of(product).mean(axis=1)
    return over_pieces(correction * pieces, correction * product.mean())


def _ratio(a: Series, b: Series, *, scale: float) -> Estimate:
    """Cov(a, b)/(scale ⟨a⟩), the error of the mean included."""
    product = (a - a.mean()) * (b - b.mean())
    spread, mean = _covariance(a, b).value, float(a.mean())
    influence = pieces_of(product).mean(axis=1) / mean - spread / mean**2 * (pieces_of(a).mean(axis=1) - mean)
    return over_pieces(influence / scale, spread / (mean * scale))


def _checked(what: str, series: Series) -> Series:
    values = np.asarray(series, np.float64)
    if values.ndim != 2 or values.size < 20 or not np.isfinite(values).all():
        raise InputError(
            f"{what}: a series of shape {values.shape}; expected [replica frame] with at least 20 finite values"
        )
    return values


def _positive(*, kT: float) -> None:
    if not kT > 0:
        raise InputError(f"fluctuations: thermal energy {kT:g}; expected a positive one")
