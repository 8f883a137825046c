"""The classic artefacts of a simulation, looked for in every batch of new simulations at draws."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy import stats

from bayescg.analysis import (
    Check,
    autocorrelation_check,
    box_check,
    equilibration_check,
    kinetic_energy_check,
    time_step_verdict,
    two_starts_check,
)
from bayescg.analysis._sanity_ensemble import P_LIMIT
from bayescg.data import UnitSystem
from bayescg.physics import Simulator
from bayescg.physics._draw_dynamics import DrawCorrelations
from bayescg.physics._draw_equilibration import Equilibrium, over_draws
from bayescg.physics._draw_simulation import DrawBatch
from bayescg.physics._fastest_vibration import fastest_frequencies
from bayescg.study._prediction_target import PredictionTarget

LEAST_ACCEPTED = 0.4
"""Mean acceptance that a run's references are held to as well."""
OFF = 0.02
"""Relative error of the kinetic energy along dynamics that matters."""
SMALL_SHARE = 0.05
"""Of diffusion that a finite box may take away."""


class SimulatedState(NamedTuple):
    """What all checks of one batch look at.

    Attributes:
        batch: of the sampling.
        found: its outcome.
        target: the state.
        units: unit system.
    """

    batch: DrawBatch
    found: Equilibrium
    target: PredictionTarget
    units: UnitSystem


def sampling_checks(state: SimulatedState) -> list[Check]:
    """Box, time step, acceptance, kinetic energies, equilibration, two starts and independent frames.

    Args:
        state: a sampled batch.
    """
    checks = []
    if state.target.cutoff > 0.0:
        checks.append(box_check(np.asarray(state.target.box, float), cutoff=state.target.cutoff))
    simulator = state.batch.simulator
    checks.append(_time_step(state, simulator, metropolis=simulator.settings.metropolis))
    if simulator.settings.metropolis:
        checks.append(_acceptance(state.found))
    checks.append(_kinetic_energies(state))
    return checks + _series(state)


def dynamics_checks(
    state: SimulatedState,
    moving: Simulator,
    correlations: DrawCorrelations,
    values: Mapping[str, xr.DataArray],
    *,
    most_heating: float,
) -> list[Check]:
    """Time step of the dynamics, energy conserved (Newton) or as warm as the thermostat (Langevin), and what the box takes
    from diffusion.

    Args:
        state: the batch that the dynamics began from.
        moving: simulator of the dynamics.
        correlations: of it.
        values: observables by name.
        most_heating: limit of the total energy's change, per site and k_B T.
    """
    step = _time_step(state, moving, metropolis=False)
    checks = [step._replace(name="time step of dynamics")]
    if moving.engine.deterministic:
        checks.append(_conservation(correlations, most_heating))
    else:
        checks.append(_warmth(moving, correlations))
    if "diffusion" in values and np.isfinite(state.target.volume):
        checks.append(_box_of_diffusion(values))
    return checks


def _time_step(state: SimulatedState, simulator: Simulator, *, metropolis: bool) -> Check:
    """Of the draw with the fastest vibration, the median over its replicas' last configurations."""
    batch, usable = state.batch, state.found.usable
    found = fastest_frequencies(simulator.engine, np.asarray(state.found.state.positions), batch.parameters)
    each = np.where(usable, found.reshape(usable.shape), np.nan)
    each = each[np.isfinite(each).any(axis=1)]
    fastest = float(np.nanmedian(each, axis=1).max(initial=0.0))
    return time_step_verdict(
        fastest, time_step=simulator.settings.time_step, metropolis=metropolis, unit=state.units.unit("time")
    )


def _acceptance(found: Equilibrium) -> Check:
    each = np.where(found.usable, found.samples.acceptance, np.nan)
    least = float(np.nanmin(np.nanmean(each[found.usable.any(axis=1)], axis=1)))
    if least >= LEAST_ACCEPTED:
        sentence = f"Metropolis' test accepts {100 * least:.0f} % or more at every draw, so the time step biases no average."
        return Check("acceptance", "passed", least, LEAST_ACCEPTED, sentence)
    sentence = (
        f"Metropolis' test accepts only {100 * least:.0f} % at some draw: sampling is right but slow, and replicas may hardly"
        " have left their starts; shorten the time step."
    )
    return Check("acceptance", "failed", least, LEAST_ACCEPTED, sentence)


def _kinetic_energies(state: SimulatedState) -> Check:
    """Of the draw that is farthest from the canonical law, at a level that allows for the number of draws."""
    usable, samples = state.found.usable, state.found.samples
    kT, freedom = state.units.kT(state.target.temperature), state.target.n_sites * len(state.target.box)
    some = [k[fine] for k, fine in zip(samples.kinetic, usable, strict=True) if fine.any()]
    checks = [
        kinetic_energy_check(k, kT=kT, degrees_of_freedom=freedom, level=P_LIMIT / len(some))
        for k in some
        if k.size >= 10 and k.shape[1] > 1
    ]
    tested = [check for check in checks if check.value is not None]
    if not tested:
        sentence = (
            "Too few independent kinetic energies of each draw to tell their distribution; simulate longer."
        )
        return Check("kinetic energy", "not tested", None, P_LIMIT, sentence)
    return min(tested, key=lambda check: np.inf if check.value is None else check.value)


def _series(state: SimulatedState) -> list[Check]:
    """Checks of the energy and the pressure in time, averaged over draws since draws share their noise."""
    batch, found = state.batch, state.found
    energy = over_draws(np.where(found.usable[..., None], batch.energies(found.samples), np.nan))
    names, columns = ["energy"], [energy]
    if found.samples.statistics[1].shape[3]:
        virial = np.einsum("djsf,df->djs", found.samples.statistics[1], batch.coefficients)
        names.append("pressure")
        columns.append(over_draws(np.where(found.usable[..., None], virial, np.nan)))
    if not energy.std() > 0.0:
        sentence = "The energy does not change from frame to frame, so nothing can be told from it."
        return [Check("equilibration", "not tested", None, None, sentence)]
    kept = [k for k, column in enumerate(columns) if column.std() > 0.0]
    both = np.stack([columns[k] for k in kept], axis=-1)
    starts = two_starts_check(both[::2], both[1::2], names=tuple(names[k] for k in kept))
    if starts.verdict == "passed" and found.apart:
        starts = Check(
            "two starts", "failed", float(len(found.apart)), 0.0,
            f"Runs from two starts disagree in the energy at draws {', '.join(map(str, found.apart))}: at least one of them has"
            " not left its start; simulate longer there.",
        )  # fmt: skip
    frames = autocorrelation_check(energy)
    return [
        equilibration_check(energy),
        starts,
        frames._replace(sentence=f"Of each draw, {frames.sentence}"),
    ]


def _conservation(correlations: DrawCorrelations, limit: float) -> Check:
    """Newton's total energy, averaged over the replicas of a draw."""
    heating = correlations.heating[np.isfinite(correlations.heating).any(axis=1)]
    if not len(heating):
        return Check("energy conservation", "not tested", None, limit, "No replica stayed finite.")
    worst = float(np.abs(np.nanmean(heating, axis=1)).max())
    told = f"Newton's dynamics changes the total energy by at most {worst:.2g} k_B T per site in any draw"
    if worst <= limit:
        return Check("energy conservation", "passed", worst, limit, f"{told}.")
    return Check(
        "energy conservation", "failed", worst, limit, f"{told}: its time step is too long; shorten it."
    )


def _warmth(moving: Simulator, correlations: DrawCorrelations) -> Check:
    """Mean kinetic energy along Langevin dynamics against that of the temperature, with an error from pieces of it.

    Newton's dynamics keeps what energy its few starts have; whether it conserves that is the sharper question there.
    """
    engine = moving.engine.settings
    expected = (
        len(moving.box) * float(np.asarray(engine.kT)) * float(np.mean(np.asarray(engine.inverse_mass)))
    )
    whole = correlations.usable.all(axis=1)
    if not whole.any():
        sentence = "No draw has all of its replicas; look why some fail."
        return Check("kinetic energy of dynamics", "not tested", None, OFF, sentence)
    # draws share their noise and are no repeats: averaged first
    each = correlations.velocity[whole][..., 0].mean(axis=0).ravel() / expected - 1.0
    off, error = float(each.mean()), float(each.std(ddof=1) / np.sqrt(len(each)))
    slack = float(stats.t.ppf(1.0 - 0.5 * P_LIMIT, len(each) - 1)) * error
    told = f"Along the dynamics the kinetic energy is {100 * off:+.1f} ± {100 * error:.1f} % off that of the temperature"
    if abs(off) > OFF + slack:
        sentence = f"{told}: its time step is too long; shorten it."
        return Check("kinetic energy of dynamics", "failed", off, OFF, sentence)
    if slack > 5.0 * OFF:
        sentence = f"{told}: too uncertain to tell a wrong one; give more replicas, or a larger system."
        return Check("kinetic energy of dynamics", "not tested", off, OFF, sentence)
    return Check("kinetic energy of dynamics", "passed", off, OFF, f"{told}.")


def _box_of_diffusion(values: Mapping[str, xr.DataArray]) -> Check:
    """How much less diffusion is in the finite box."""
    if "diffusion-infinite" not in values:
        sentence = (
            "Diffusion is that of a periodic box, whose images slow it down by ξ kT/(6π η L); ask for `viscosity` too, in a"
            " cube, to have it corrected, or compare boxes of two sizes."
        )
        return Check("box of diffusion", "not tested", None, SMALL_SHARE, sentence)
    share = 1.0 - float(values["diffusion"].mean() / values["diffusion-infinite"].mean())
    told = f"The periodic images take {100 * share:.1f} % of the diffusion away"
    if share <= SMALL_SHARE:
        return Check("box of diffusion", "passed", share, SMALL_SHARE, f"{told}.")
    sentence = f"{told}: use the value of an infinite box, which is given too, or a larger one."
    return Check("box of diffusion", "failed", share, SMALL_SHARE, sentence)
