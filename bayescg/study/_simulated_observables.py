"""Observables by name from simulations at draws: one value for each simulation, and its variance from frame to frame."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr

from bayescg.analysis import Check, System, insertion_check, pseudo_values, relative_noise
from bayescg.analysis._predict import ideal_counts
from bayescg.analysis._reweighting_reach import LEAST_TERMS, variance_terms_of_frames
from bayescg.data import UnitSystem
from bayescg.errors import BayescgError, ConvergenceError, InputError
from bayescg.physics import Estimate, Insertion
from bayescg.physics._compressibility import hypervirial_per_bin
from bayescg.physics._diffusion import FINITE_SIZE
from bayescg.physics._draw_dynamics import DrawCorrelations
from bayescg.physics._draw_equilibration import Equilibrium
from bayescg.physics._draw_simulation import DrawBatch
from bayescg.physics._draw_transport import DrawTransport, draw_diffusion, draw_viscosity
from bayescg.study._frame_columns import FrameColumns, waves
from bayescg.study._observable import Observable, not_finite
from bayescg.study._predicted_observables import NOT_GIVEN
from bayescg.study._prediction_target import PredictionTarget

STATIC = (
    "rdf",
    "pressure",
    "energy",
    "heat-capacity",
    "compressibility",
    "structure-factor",
    "chemical-potential",
)
DYNAMIC = {"diffusion", "viscosity", "velocity-autocorrelation"}
NAMES = {
    "rdf": "g(r)",
    "pressure": "pressure",
    "energy": "potential energy per site",
    "heat-capacity": "heat capacity at constant volume, per site in k_B",
    "compressibility": "isothermal compressibility",
    "structure-factor": "S(k)",
    "chemical-potential": "residual chemical potential",
    "diffusion": "diffusion coefficient",
    "diffusion-infinite": "diffusion coefficient in an infinite box",
    "viscosity": "shear viscosity",
    "velocity-autocorrelation": "velocity autocorrelation function",
}
NOISY = 0.2
"""Relative noise of a viscosity above which it is not divided by."""
MOST_LAGS = 128


class Averages(NamedTuple):
    """Observables of every simulation.

    Attributes:
        values: [draw simulation *dims].
        frame_variance: of instantaneous values [draw simulation *dims].
        notes: sentences.
        checks: whether insertions can be trusted.
        lost: why, of what could not be had, by name.
    """

    values: dict[str, xr.DataArray]
    frame_variance: dict[str, xr.DataArray]
    notes: tuple[str, ...]
    checks: tuple[Check, ...]
    lost: dict[str, BayescgError]


def static_values(
    batch: DrawBatch,
    found: Equilibrium,
    observables: Sequence[str],
    target: PredictionTarget,
    units: UnitSystem,
    *,
    columns: FrameColumns,
    functions: Mapping[str, Observable],
) -> Averages:
    """Structure and thermodynamics of every simulation, and averages of functions of a frame.

    Lost are insertions that nearly all overlap, and functions that gave NaN or infinity.
    """
    frames = _Frames(batch, found, target, units, columns)
    made: dict[str, tuple[xr.DataArray, xr.DataArray | None]] = {}
    lost: dict[str, BayescgError] = {}
    for name in observables:
        try:
            if name in functions:
                made[name] = frames.function(functions[name])
            elif name in STATIC:
                made[name] = frames.of(name)
        except InputError as error:
            lost[name] = error
    return Averages(
        {name: value for name, (value, _) in made.items()},
        {name: variance for name, (_, variance) in made.items() if variance is not None},
        tuple(frames.notes),
        tuple(frames.checks),
        lost,
    )


class _Frames:
    """Frames of all simulations in equilibrium, and what is averaged over them."""

    def __init__(
        self,
        batch: DrawBatch,
        found: Equilibrium,
        target: PredictionTarget,
        units: UnitSystem,
        columns: FrameColumns,
    ):
        self.batch, self.found, self.target, self.units = batch, found, target, units
        self.columns = columns
        self.thermal = units.kT(target.temperature)
        self.notes: list[str] = []
        self.checks: list[Check] = []

    def of(self, name: str) -> tuple[xr.DataArray, xr.DataArray | None]:
        """An observable and its variance from frame to frame."""
        if name == "heat-capacity":
            return self._heat_capacity(), None
        if name == "compressibility":
            return self._compressibility(), None
        if name == "chemical-potential":
            return self._chemical_potential(), None
        series, along, unit = self._series(name)
        if name == "structure-factor":  # of some frames only
            series = series[:, :, np.isfinite(series[self.found.usable]).all(axis=(0, 2))]
        return self._averaged(name, series, along, unit)

    def function(self, one: Observable) -> tuple[xr.DataArray, xr.DataArray]:
        """The average of a function of a frame and its variance from frame to frame.

        Raises:
            InputError: what it gave of a usable frame is not finite.
        """
        every = next(part.every for part in self.columns.parts if part.name == one.name)
        series = self.columns.of(one.name, self.found.samples.also)
        computed = _computed(series, every)
        finite = np.isfinite(series[:, :, computed]).all(axis=3) | ~self.found.usable[:, :, None]
        if not finite.all():
            draw = int(np.argmin(finite.all(axis=(1, 2))))
            raise InputError(
                not_finite(one.name, f"{np.sum(~finite)} of {finite.size} frames, first at draw {draw}")
            )
        n_values = one.n_values(self.target.n_sites, len(self.target.box))
        along = None if n_values is None else (one.along, one.places(n_values), one.at_unit)
        series = series[:, :, computed]
        return self._averaged(one.name, series[..., 0] if along is None else series, along, one.unit)

    def _averaged(
        self, name: str, series: np.ndarray, along: tuple[str, np.ndarray, str] | None, unit: str
    ) -> tuple[xr.DataArray, xr.DataArray]:
        both = [self._array(name, f(series, axis=2), along, unit) for f in (np.mean, np.var)]
        return both[0], both[1].assign_attrs(units=f"({unit})^2")

    def _series(self, name: str) -> tuple[np.ndarray, tuple[str, np.ndarray, str] | None, str]:
        """Instantaneous values [draw replica sample *dims], the coordinate they lie along, and the unit."""
        target, units = self.target, self.units
        if name == "rdf":
            edges = np.asarray(target.distance_edges, float)
            system = System(target.n_sites, target.volume, target.temperature, units, edges)
            values = self.found.samples.statistics[2] / ideal_counts(system)
            return values, ("r", 0.5 * (edges[1:] + edges[:-1]), units.unit("length")), "1"
        if name == "structure-factor":
            k = waves(target).k
            return self.columns.of(name, self.found.samples.also), ("k", k, f"1/{units.unit('length')}"), "1"
        if name == "energy":
            return self.batch.energies(self.found.samples) / target.n_sites, None, units.unit("energy")
        virial = self._virial()
        pressure = (target.n_sites * self.thermal + virial / 3.0) / target.volume * units.pressure_factor
        return pressure, None, units.unit("pressure")

    def _virial(self) -> np.ndarray:
        """W = Σ f·r of every frame [draw replica sample]."""
        return np.einsum("djsf,df->djs", self.found.samples.statistics[1], self.batch.coefficients)

    def _heat_capacity(self) -> xr.DataArray:
        """d/2 + β² Var(U)/N with the variance about the draw's own mean over all its replicas."""
        energy = self.batch.energies(self.found.samples)
        energy = energy - energy.mean(axis=(1, 2), keepdims=True)
        self._count_terms("heat capacity", "energy", energy)
        moments = [self._array("heat-capacity", (energy**k).mean(axis=2), None, "1") for k in (1, 2)]
        scale = 1.0 / (self.thermal**2 * self.target.n_sites)
        kinetic = 0.5 * len(self.target.box)
        made = pseudo_values(lambda mean, square: kinetic + scale * (square - mean**2), *moments)
        return made.assign_attrs(moments[0].attrs)

    def _chemical_potential(self) -> xr.DataArray:
        """−kT ln⟨exp(−ΔU/kT)⟩ over all insertions of the draw, beyond the ideal gas of the same density (Widom).

        Raises:
            InputError: insertions that all overlap at more than half of the draws.
        """
        columns = self.columns.of("chemical-potential", self.found.samples.also)
        unit = self.units.unit("energy")
        factors = self._array("chemical-potential", columns[..., 0].mean(axis=2), None, unit)
        overlap = factors.notnull() & ~(factors.sum("simulation") - factors > 0.0)  # any one left out
        positive = factors.where(~overlap.any("simulation"))
        if positive.notnull().all("simulation").mean() < 0.5:
            raise InputError(
                "chemical-potential: nearly every inserted site overlaps with another one; simulate longer, or use a lower"
                " density"
            )
        made = pseudo_values(lambda m: -self.thermal * np.log(m), positive)
        lost = overlap.any("simulation") & factors.notnull().all("simulation")
        left_out = _left_out(int(lost.sum()), factors.sizes["draw"])
        self.notes += left_out
        self.checks.append(_insertion_verdict(made, columns, left_out))
        return made.assign_attrs(factors.attrs)

    def _compressibility(self) -> xr.DataArray:
        """1/K, with the bulk modulus K of Rowlinson's formula from averages over all replicas of the draw."""
        target, units = self.target, self.units
        per_bin = np.stack(
            [
                np.asarray(hypervirial_per_bin(p, np.asarray(target.distance_edges, float), kT=self.thermal))
                for p in self.batch.potentials
            ]
        )
        hypervirial = np.einsum("djsb,db->djs", self.found.samples.statistics[2], per_bin)
        virial = self._virial()
        shift = virial.mean(axis=(1, 2), keepdims=True)
        self._count_terms("compressibility", "virial", virial - shift)
        unit = units.unit("1/pressure")
        parts = [
            self._array("compressibility", v.mean(axis=2), None, unit)
            for v in (
                virial / 3.0 + hypervirial / 9.0,
                virial - shift,
                (virial - shift) ** 2,
            )
        ]

        def modulus(sums: xr.DataArray, mean: xr.DataArray, square: xr.DataArray) -> xr.DataArray:
            scatter = (square - mean**2) / (9.0 * self.thermal)
            return (target.n_sites * self.thermal + sums - scatter) / target.volume * units.pressure_factor

        noise = relative_noise(pseudo_values(modulus, *parts))
        if noise > NOISY:
            self.notes.append(
                f"Compressibility: the bulk modulus of a draw has a relative error of {100 * noise:.0f} %, too large for its"
                " inverse to be read; simulate longer."
            )
        made = pseudo_values(lambda *means: 1.0 / modulus(*means), *parts)
        return made.assign_attrs(parts[0].attrs)

    def _count_terms(self, name: str, what: str, deviations: np.ndarray) -> None:
        """Says so where the variance of a statistic hangs on few frames of all simulations [draw replica frame]."""
        kept = deviations[:, self.found.usable.all(axis=0)]
        if not kept.size:
            return
        terms = variance_terms_of_frames(kept)
        if terms < LEAST_TERMS:
            self.notes.append(
                f"The error bar of the {name} may be far too small: the variance of the {what} hangs on {terms:.0f} effective"
                f" frames of {kept.size} at all draws, {LEAST_TERMS:.0f} are needed; simulate longer."
            )

    def _array(
        self, name: str, values: np.ndarray, along: tuple[str, np.ndarray, str] | None, unit: str
    ) -> xr.DataArray:
        usable = self.found.usable.reshape(*self.found.usable.shape, *(1,) * (values.ndim - 2))
        return _array(name, np.where(usable, values, np.nan), along, unit)


def _computed(series: np.ndarray, every: int) -> np.ndarray:
    """Frames of which a function was computed, since it gives NaN of the others to all simulations [frame]."""
    there = np.flatnonzero(~np.isnan(series).all(axis=(0, 1, 3)))
    return there if every > 1 and len(there) else np.arange(series.shape[2])


def _left_out(n: int, n_draws: int) -> list[str]:
    """What is said of draws that have no chemical potential, since the answer itself chose them."""
    if not n:
        return []
    return [
        f"Chemical potential left out: {n} of {n_draws} draws, where every insertion overlaps but those of one simulation at"
        " most; they have the highest values, so the mean is too low and the band too narrow."
    ]


def _insertion_verdict(potential: xr.DataArray, columns: np.ndarray, left_out: Sequence[str]) -> Check:
    """Whether insertion can be trusted at the draw where it is worst, from its columns [draw simulation frame column].

    It can't where draws had to be left out.
    """
    there = np.flatnonzero(potential.notnull().all("simulation").values)
    mean, square, largest = np.moveaxis(columns[there].reshape(len(there), -1, 3), -1, 0)
    total = mean.sum(axis=1)
    share = largest.max(axis=1) / total
    worst = int(np.argmax(share))
    own = potential.values[there[worst]]
    known = Estimate(float(own.mean()), float(own.std(ddof=1) / np.sqrt(len(own))), len(own) - 1.0)
    effective = float(total[worst] ** 2 / square[worst].sum())
    check = insertion_check(Insertion(known, effective, float(share[worst])))
    told = f"At the worst of {len(there)} draws: {check.sentence[:1].lower()}{check.sentence[1:]}"
    return check._replace(
        sentence=" ".join([*left_out, told]), verdict="failed" if left_out else check.verdict
    )


def _array(
    name: str, values: np.ndarray, along: tuple[str, np.ndarray, str] | None, unit: str
) -> xr.DataArray:
    dims = ("draw", "simulation") if along is None else ("draw", "simulation", along[0])
    coords = {} if along is None else {along[0]: (along[0], along[1], {"units": along[2]})}
    return xr.DataArray(
        values, dims=dims, coords=coords, attrs={"units": unit, "long_name": NAMES.get(name, name)}, name=name
    )


def dynamic_values(
    correlations: DrawCorrelations,
    observables: Sequence[str],
    target: PredictionTarget,
    units: UnitSystem,
) -> Averages:
    """Transport coefficients and the velocity autocorrelation function of every simulation.

    Lost are those without a linear range or plateau.
    """
    thermal, when = units.kT(target.temperature), units.unit("time")
    values: dict[str, xr.DataArray] = {}
    notes: list[str] = []
    lost: dict[str, BayescgError] = {}

    def fitted(name: str, fit: Callable[[], DrawTransport]) -> DrawTransport | None:
        if name not in observables:
            return None
        try:
            return fit()
        except ConvergenceError as error:
            lost[name] = error
            return None

    found = fitted("diffusion", lambda: draw_diffusion(correlations, dim=len(target.box)))
    if found is not None:
        unit = units.unit("length^2/time")
        values["diffusion"] = _array("diffusion", found.values, None, unit)
        first, last = found.window
        notes.append(
            f"Diffusion: slope of the mean-squared displacement from {first:.3g} to {last:.3g} {when}, one range for all"
            " draws, in the box as it is."
        )
    found = fitted(
        "viscosity", lambda: draw_viscosity(correlations, volume=target.volume, thermal_energy=thermal)
    )
    if found is not None:
        unit = units.unit("pressure*time")
        values["viscosity"] = _array("viscosity", found.values * units.pressure_factor, None, unit)
        first, last = found.window
        notes.append(f"Viscosity: Green and Kubo, plateau from {first:.3g} to {last:.3g} {when}.")
    if "velocity-autocorrelation" in observables:
        c = correlations.velocity.mean(axis=2)[..., :MOST_LAGS]
        c = np.where(correlations.usable[..., None], c, np.nan)
        times = correlations.time_step * np.arange(c.shape[-1])
        unit = units.unit("length^2/time^2")
        values["velocity-autocorrelation"] = _array(
            "velocity-autocorrelation", c, ("time", times, when), unit
        )
    if {"diffusion", "viscosity"} <= set(values):
        infinite, note = _infinite(values["diffusion"], values["viscosity"], target, units)
        notes.append(note)
        if infinite is not None:
            values["diffusion-infinite"] = infinite
    return Averages(values, {}, tuple(notes), (), lost)


def _infinite(
    diffusion: xr.DataArray, viscosity: xr.DataArray, target: PredictionTarget, units: UnitSystem
) -> tuple[xr.DataArray | None, str]:
    """D + ξ kT/(6π η L), with the viscosity of each draw, or of all together where single ones are too noisy."""
    edge = float(np.min(target.box))
    if np.ptp(target.box) > 1e-6 * edge:
        return None, f"{NOT_GIVEN}the correction holds for a cube."
    whose = "its own viscosity"
    if relative_noise(viscosity) > NOISY:
        viscosity = xr.zeros_like(diffusion) + viscosity.mean("draw")  # in this order: draw comes first
        whose = "the viscosity of all draws together, since those of single ones are noisy"
    if relative_noise(viscosity) > NOISY or not float(viscosity.mean()) > 0.0:
        return None, f"{NOT_GIVEN}the viscosity is too noisy; simulate longer."
    factor = FINITE_SIZE * units.kT(target.temperature) * units.pressure_factor / (6.0 * np.pi * edge)

    def corrected(d: xr.DataArray, eta: xr.DataArray) -> xr.DataArray:
        return d + factor / eta

    made = pseudo_values(corrected, diffusion, viscosity)
    attrs = {"units": diffusion.attrs["units"], "long_name": NAMES["diffusion-infinite"]}
    share = float(made.mean() / diffusion.mean() - 1.0)
    return made.assign_attrs(attrs), (
        f"Diffusion in an infinite box: corrected after Yeh and Hummer by {100 * share:+.1f} %, each draw with {whose}."
    )
