"""One predicted observable: its draws, what its spread is made of, and how it was found."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float

from bayescg.analysis import (
    Check,
    common_noise_split,
    corrected_draws,
    draw_means,
    simulated_split,
)
from bayescg.errors import InputError
from bayescg.physics import coordination_number, kirkwood_buff_integral
from bayescg.study._predicted_observables import OBSERVABLES
from bayescg.study._prediction_target import PredictionTarget


class PredictedPart(NamedTuple):
    """One observable.

    Attributes:
        name: on the command line.
        split: of `common_noise_split` or `nested_split` [*grid].
        means: of every draw as found [draw *grid].
        method: `reweighting` or `simulation`.
        reason: why this method.
        effective_frames: of every draw, by reweighting; None by simulation.
    """

    name: str
    split: xr.Dataset
    means: xr.DataArray
    method: str
    reason: str
    effective_frames: np.ndarray | None

    @property
    def grid(self) -> Float[np.ndarray, " place"]:
        """Places of a function; one NaN of a number."""
        dims = self.split["mean"].dims
        return np.asarray(self.split[dims[0]].values, float) if dims else np.array([np.nan])

    @property
    def draws(self) -> xr.DataArray:
        """The draws, scattering as the parameters make them."""
        return corrected_draws(self.means, self.split)


def reweighted_part(name: str, means: xr.Dataset, reason: str) -> PredictedPart:
    """From what `reweighted_means` or its like gave.

    Args:
        name: of the observable.
        means: `mean`, `influence`, `fluctuation_variance`, `effective_frames`; a draw whose mean is NaN has none.
        reason: why by reweighting.
    """
    means["mean"].attrs["long_name"] = OBSERVABLES[name].long_name
    there = np.isfinite(means["mean"].values.reshape(means.sizes["draw"], -1)).all(axis=1)
    split = common_noise_split(means.isel(draw=np.flatnonzero(there)))
    return PredictedPart(name, split, means["mean"], "reweighting", reason, means["effective_frames"].values)


def simulated_part(
    name: str,
    values: xr.DataArray,
    frame_variance: xr.DataArray | None,
    reason: str,
    *,
    common_seeds: bool,
    long_name: str | None = None,
) -> PredictedPart:
    """From simulations of every draw.

    Args:
        name: of the observable.
        values: [draw simulation *grid].
        frame_variance: variance from frame to frame, likewise; None where a frame has no value.
        reason: why by simulation.
        common_seeds: the j-th simulation of every draw used the same random numbers.
        long_name: in words, of the user's own observable.
    """
    values = values.assign_attrs(long_name=long_name or OBSERVABLES[name].long_name)
    split = simulated_split(values, common_seeds=common_seeds, frame_variance=frame_variance)
    means = draw_means(values).assign_attrs(values.attrs)
    if common_seeds:  # a draw that lost a simulation would not share all the others' noise
        means = means.where(values.notnull().all([d for d in values.dims if d != "draw"]))
    return PredictedPart(name, split, means, "simulation", reason, None)


class FoundParts(NamedTuple):
    """What one method found of the observables asked of it.

    Attributes:
        parts: the observables.
        notes: sentences.
        lost: why the others could not be had, by name.
        checks: of new simulations.
    """

    parts: list[PredictedPart]
    notes: list[str]
    lost: dict[str, str]
    checks: tuple[Check, ...] = ()


def left_out(lost: Mapping[str, str], found: Collection[PredictedPart], *, run: str) -> list[str]:
    """Notes on observables that could not be had.

    Args:
        lost: why, by name.
        found: the others.
        run: whose name a message begins with.

    Raises:
        InputError: there are no others.

    Example:
        >>> left_out({"viscosity": "No plateau."}, [], run="runs/argon")
        Traceback (most recent call last):
        ...
        bayescg.errors.InputError: runs/argon: viscosity could not be had: No plateau.
    """
    if lost and not found:
        name, why = next(iter(lost.items()))
        raise InputError(f"{run}: {name} could not be had: {why}")
    return [f"Left out: {name}, which could not be had: {why.rstrip('.')}." for name, why in lost.items()]


class RdfFunctionals(NamedTuple):
    """Numbers that are affine in g(r): constant + weights · g.

    Attributes:
        weights: by name [bin].
        constants: by name.
        shell: distance up to which neighbours are counted [length].
    """

    weights: Mapping[str, Float[np.ndarray, " bin"]]
    constants: Mapping[str, float]
    shell: float

    def of(self, name: str, rdf: Float[np.ndarray, "*batch bin"]) -> np.ndarray:
        """One of them."""
        return self.constants[name] + rdf @ self.weights[name]


def rdf_functionals(target: PredictionTarget, *, shell: float) -> RdfFunctionals:
    """Coordination number up to a distance, and the Kirkwood-Buff integral up to the last bin, as weights of g(r).

    Args:
        target: with the bins.
        shell: one of the bins' upper edges [length].

    Example:
        >>> edges = np.linspace(0.0, 2.0, 21)
        >>> target = PredictionTarget(1.0, 100, np.full(3, 10.0), edges, 2.0)
        >>> made = rdf_functionals(target, shell=2.0)
        >>> round(float(made.of("coordination", np.ones(20))), 3)  # 0.099 (the others' density) · 4π/3 · 8
        3.318
    """
    assert target.distance_edges is not None
    edges, n = target.distance_edges, len(target.distance_edges) - 1
    unit, none = jnp.eye(n), jnp.zeros(n)
    place = int(np.argmin(np.abs(edges[1:] - shell)))
    density = (target.n_sites - 1) / target.volume
    neighbours = coordination_number(unit, edges=edges, density=density)[:, place]
    total = lambda g: np.asarray(kirkwood_buff_integral(g, edges=edges, volume=target.volume)[..., -1])  # noqa: E731
    constant = float(total(none))
    return RdfFunctionals(
        {"coordination": np.asarray(neighbours), "kirkwood-buff": total(unit) - constant},
        {"coordination": 0.0, "kirkwood-buff": constant},
        float(edges[1:][place]),
    )


def first_shell(rdf: Float[np.ndarray, " bin"], edges: Float[np.ndarray, " edge"]) -> float:
    """Upper edge of the bin where g(r) has its first minimum behind its highest peak [length].

    The curve is smoothed over three bins first; without a minimum, the last edge.

    Example:
        >>> edges = np.linspace(0.0, 9.0, 10)
        >>> first_shell(np.array([0.0, 0.0, 2.0, 3.0, 1.5, 0.7, 0.5, 0.9, 1.1]), edges)
        7.0
    """
    smooth = np.convolve(np.pad(rdf, 1, mode="edge"), np.ones(3) / 3.0, mode="valid")
    peak = int(np.argmax(smooth))
    rises = np.flatnonzero(np.diff(smooth[peak:]) > 0.0)
    return float(edges[peak + rises[0] + 1] if len(rises) else edges[-1])
