"""A cubic B-spline pair potential with a fixed repulsive core."""

import dataclasses
from collections.abc import Mapping
from typing import Self

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayescg.errors import InputError
from bayescg.physics._pair import PairPotential
from bayescg.physics._potential import ParameterInfo, check_names

DEGREE = 3


class SplinePair(PairPotential):
    """Cubic B-spline in the distance, u(r) = Σ_j θ_j B_j(r) + u_core(r), for r < r_c.

    The basis functions that do not vanish at r_c are left out, so u, u′ and u″ go to 0 at the cutoff.
    Below the first knot each basis function continues along its tangent. The core has no parameters:

        u_core(r) = k ((r_core − r) / h)³ for r < r_core, else 0,

    with h the first knot spacing; it keeps the potential repulsive where there are no data.

    Attributes:
        coefficients_: θ, spline coefficients [energy].
        knots: distances of the knots from the innermost to the cutoff [length].
        core_distance: r_core [length].
        core_strength: k [energy].
        name: prefix of the parameter's name `<name>_coefficients`.

    Raises:
        InputError: knots that do not increase, another number of coefficients than knots less one.

    Example:
        >>> spline = SplinePair.uniform(
        ...     inner=0.3, cutoff=0.9, spacing=0.1, core_distance=0.3, core_strength=10.0, name="water"
        ... )
        >>> spline.parameters()[0].name, spline.coefficients_.shape
        ('water_coefficients', (6,))

    References:
        de Boor (1978), A Practical Guide to Splines, doi:10.1007/978-1-4612-6333-3, chapter IX.
    """

    coefficients_: Float[Array, " knot"] = eqx.field(converter=jnp.asarray)
    knots: tuple[float, ...] = eqx.field(static=True, kw_only=True)
    core_distance: float = eqx.field(static=True, kw_only=True)
    core_strength: float = eqx.field(static=True, kw_only=True)
    name: str = eqx.field(static=True, default="pair", kw_only=True)
    tabulated = True

    @classmethod
    def uniform(
        cls,
        *,
        inner: float,
        cutoff: float,
        spacing: float,
        core_distance: float,
        core_strength: float,
        outer_spacing: float | None = None,
        name: str = "pair",
    ) -> Self:
        """A spline with all coefficients 0 on uniform or graded knots.

        Args:
            inner: innermost knot [length].
            cutoff: last knot [length].
            spacing: knot spacing at the innermost knot, rounded so that a whole number fits [length].
            core_distance: where the repulsive core sets in [length].
            core_strength: energy of the core one spacing inside it [energy].
            outer_spacing: knot spacing at the cutoff for graded knots [length]; default uniform.
            name: prefix of the parameter's name.

        Raises:
            InputError: spacings that do not fit between the innermost knot and the cutoff.
        """
        if not 0.0 < inner < cutoff:
            raise InputError(
                f"spline '{name}': inner knot {inner} must lie between 0 and the cutoff {cutoff}"
            )
        if not 0.0 < spacing <= (cutoff - inner) / 4.0:
            raise InputError(
                f"spline '{name}': spacing {spacing} must be positive and give at least 4 intervals between"
                f" {inner} and {cutoff}"
            )
        knots = graded_knots(inner, cutoff, spacing, outer_spacing or spacing)
        return cls(  # type: ignore[call-arg]  # mypy counts the abstract cutoff as a field
            jnp.zeros(len(knots) - 1),  # type: ignore[arg-type]
            knots=knots,
            core_distance=core_distance,
            core_strength=core_strength,
            name=name,
        )

    def __check_init__(self):
        if np.any(np.diff(self.knots) <= 0.0):
            raise InputError(f"spline '{self.name}': knots must increase, found {self.knots}")
        if self.coefficients_.shape != (len(self.knots) - 1,):
            raise InputError(
                f"spline '{self.name}': {len(self.knots)} knots take {len(self.knots) - 1} coefficients,"
                f" found an array of shape {self.coefficients_.shape}"
            )
        if not (self.core_strength >= 0.0 and self.core_distance >= 0.0):
            raise InputError(f"spline '{self.name}': core distance and strength must not be negative")

    @property  # type: ignore[misc]  # an AbstractVar may be a property
    def cutoff(self) -> float:  # type: ignore[override]
        """The last knot [length]."""
        return self.knots[-1]

    def coefficients(self) -> Float[Array, " feature"]:
        """(θ, 1): the last feature is the fixed core."""
        return jnp.append(self.coefficients_, 1.0)

    def pair_basis(self, r2: Float[Array, "*pair"]) -> Float[Array, "*pair feature"]:
        inner = self.knots[0]
        r = jnp.sqrt(r2)
        basis = bspline_basis(jnp.maximum(r, inner), extended_knots(self.knots))
        value, slope = basis_at_inner_knot(self.knots)
        tangent = value + slope * (r - inner)[..., None]
        basis = jnp.where((r < inner)[..., None], tangent, basis)
        width = self.knots[1] - self.knots[0]
        core = self.core_strength * (jnp.maximum(self.core_distance - r, 0.0) / width) ** 3
        columns = jnp.concatenate([basis, core[..., None]], axis=-1)
        return jnp.where((r < self.cutoff)[..., None], columns, 0.0)

    def centres(self) -> np.ndarray:
        """Greville abscissae, the distance that each coefficient belongs to [length]."""
        t = extended_knots(self.knots)
        return np.asarray([t[j + 1 : j + 1 + DEGREE].mean() for j in range(len(self.knots) - 1)])

    def parameter_values(self) -> dict[str, Array]:
        return {f"{self.name}_coefficients": self.coefficients_}

    def with_parameters(self, values: Mapping[str, Array]) -> Self:
        check_names(values, self.parameter_values(), what=f"potential '{self.name}'")
        return dataclasses.replace(self, coefficients_=jnp.asarray(values[f"{self.name}_coefficients"]))

    def parameters(self) -> tuple[ParameterInfo, ...]:
        return (
            ParameterInfo(
                f"{self.name}_coefficients",
                "energy",
                "cubic B-spline coefficients of the pair potential",
                "real",
                1.0,
                self.coefficients_.shape,
                tuple(float(x) for x in self.centres()),
            ),
        )


def graded_knots(inner: float, cutoff: float, spacing: float, outer_spacing: float) -> tuple[float, ...]:
    """Knots whose spacing grows geometrically from `spacing` at the inner end to `outer_spacing` [length]."""
    if outer_spacing < spacing:
        raise InputError(f"outer knot spacing {outer_spacing} must not be below the inner one, {spacing}")
    if outer_spacing == spacing:
        return tuple(float(x) for x in np.linspace(inner, cutoff, 1 + round((cutoff - inner) / spacing)))
    span = cutoff - inner
    ratio = outer_spacing / spacing
    n = max(4, round(span * np.log(ratio) / (outer_spacing - spacing)))
    steps = ratio ** (np.arange(n) / (n - 1))
    edges = inner + span * np.concatenate([[0.0], np.cumsum(steps) / steps.sum()])
    edges[-1] = cutoff
    return tuple(float(x) for x in edges)


def extended_knots(knots: tuple[float, ...]) -> np.ndarray:
    """Knots with three more on either side; the right-hand ones are cut so that the basis ends at the cutoff."""
    t = np.asarray(knots)
    left = t[0] - (t[1] - t[0]) * np.arange(DEGREE, 0, -1)
    return np.concatenate([left, t])


def bspline_basis(r: Float[Array, "*pair"], t: np.ndarray) -> Float[Array, "*pair knot"]:
    """Cubic B-splines on the knots t by the Cox–de Boor recursion; one per four consecutive intervals."""
    knot = jnp.asarray(t, r.dtype)
    x = r[..., None]
    basis = ((x >= knot[:-1]) & (x < knot[1:])).astype(r.dtype)
    for degree in range(1, DEGREE + 1):
        rising = (x - knot[: -degree - 1]) / (knot[degree:-1] - knot[: -degree - 1])
        falling = (knot[degree + 1 :] - x) / (knot[degree + 1 :] - knot[1:-degree])
        basis = rising * basis[..., :-1] + falling * basis[..., 1:]
    return basis


def basis_at_inner_knot(knots: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Values and slopes of the basis functions at the innermost knot."""
    from scipy.interpolate import BSpline

    t = extended_knots(knots)
    identity = np.eye(len(t) - DEGREE - 1)
    spline = BSpline(t, identity, DEGREE)
    return spline(knots[0]), spline.derivative()(knots[0])
