"""Samplers by the names that the model file gives them."""

import functools

from bayescg import inference
from bayescg.data import UnitSystem
from bayescg.errors import InputError
from bayescg.physics import persistent_replicas
from bayescg.study._result import Loaded
from bayescg.study._schema import ModelFile

OF_THE_LOG_DENSITY: dict[str, inference.SamplerChoice] = {
    "nuts": inference.Nuts,
    "blackjax-nuts": inference.BlackjaxNuts,
    "pathfinder-nuts": inference.StartedByPathfinder,
    "smc": inference.TemperedSmc,
    "smc-prior": functools.partial(inference.TemperedSmc, from_prior=True),
    "laplace": inference.LaplaceDraws,
}
"""Samplers that need nothing but the log density with the reweighted free energy."""


def sampler_choice(model: ModelFile, loaded: Loaded, units: UnitSystem) -> inference.SamplerChoice:
    """What makes the sampler of `[inference]`.

    Args:
        model: names it, and its settings.
        loaded: data and prior, which samplers of resampled data and of noisy gradients need.
        units: of the model file.

    Raises:
        InputError: too few blocks to be resampled, a minibatch of more frames than there are, or replicas that can't be
            made.
    """
    table = model.inference
    if table.sampler in OF_THE_LOG_DENSITY:
        return OF_THE_LOG_DENSITY[table.sampler]
    if table.sampler in ("block-bootstrap", "bayesbag"):
        return functools.partial(
            inference.ResampledDraws, statistics=loaded.statistics, bagged=table.sampler == "bayesbag"
        )
    if table.sampler == "tempered-langevin":
        return functools.partial(inference.LangevinChains, temperature=table.posterior_temperature)
    if table.sampler == "exchange":
        return functools.partial(inference.BankExchange, n_frames=loaded.statistics.n_frames)
    return functools.partial(
        inference.StochasticGradientChains,
        gradient=_gradient(model, loaded, units),
        dynamics=inference.Sgld() if table.sampler == "sgld" else inference.Sghmc(),
        tolerance=table.step_tolerance,
        step=table.step,
    )


def _gradient(model: ModelFile, loaded: Loaded, units: UnitSystem) -> inference.RelativeEntropyGradient:
    """Of all frames or minibatches of them, with `simulation.replicas` replicas in every chain."""
    simulation, survey, batch = model.simulation, loaded.survey, model.inference.batch
    if batch is not None and batch > loaded.statistics.n_frames:
        raise InputError(
            f"inference.batch ({batch}) is more than the {loaded.statistics.n_frames} frames of the data; leave it out to"
            " use all of them in every update"
        )
    replicas = persistent_replicas(
        loaded.potential,
        starts=survey.configurations,
        topology=survey.source.topology,
        box=survey.box,
        units=units,
        temperature=model.temperature,
        time_step=simulation.time_step,
        friction=simulation.friction,
        stride=simulation.stride,
        n_replicas=simulation.replicas,
    )
    beta = units.beta(model.temperature)
    return inference.relative_entropy_gradient(
        loaded.prior, loaded.statistics, beta=beta, replicas=replicas, batch_size=batch
    )
