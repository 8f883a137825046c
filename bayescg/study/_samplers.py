"""Samplers by the names that the model file gives them."""

import functools

from bayescg import inference


def sampler_choice(name: str) -> inference.SamplerChoice:
    """What makes the sampler of a name in `[inference]`.

    Args:
        name: as in the model file.

    Example:
        >>> sampler_choice("blackjax-nuts").__name__
        'BlackjaxNuts'
    """
    choices: dict[str, inference.SamplerChoice] = {
        "nuts": inference.Nuts,
        "blackjax-nuts": inference.BlackjaxNuts,
        "pathfinder-nuts": inference.StartedByPathfinder,
        "smc": inference.TemperedSmc,
        "smc-prior": functools.partial(inference.TemperedSmc, from_prior=True),
        "laplace": inference.LaplaceDraws,
    }
    return choices[name]
