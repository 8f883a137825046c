"""Priors of labelled data: a potential's parameters, and a noise scale for each quantity and group."""

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float

from bayescg.errors import InputError
from bayescg.inference._labelled import QUANTITIES, LabelledData, LabelledModel, Noise
from bayescg.inference._prior import Prior, Smoothness, parameter_model
from bayescg.physics import InteratomicPotential


class NoiseScale(NamedTuple):
    """Noise of one quantity: learned, with a half-normal prior, or known.

    Several groups share the scale of their half-normal priors, which is learned too (a half-normal of its own), so that
    a group with few configurations leans on the others.

    Attributes:
        learned: scale of the half-normal prior, or None [unit of the quantity].
        known: a fixed standard deviation, or None [unit of the quantity].

    Example:
        >>> NoiseScale(known=0.002)
        NoiseScale(learned=None, known=0.002)
    """

    learned: float | None = None
    known: float | None = None


def labelled_prior(
    potential: InteratomicPotential,
    distributions: Mapping[str, dist.Distribution | Smoothness],
    *,
    noise: Mapping[str, NoiseScale],
    data: LabelledData,
) -> Prior:
    """The prior of a labelled data set: one distribution for each parameter, and the noise scales.

    The sites of learned scales are called `noise_energy`, `noise_forces`, `noise_stress` [group], and with several
    groups `noise_energy_common` and so on.

    Args:
        potential: the potential; its values do not matter where they vary.
        distributions: by parameter name.
        noise: for each quantity that the data are labelled with.
        data: gives the groups and which quantities are there.

    Raises:
        InputError: names that do not fit, a quantity without noise scale, a scale that is not positive.

    Example:
        >>> NoiseScale(learned=0.01).known is None
        True
    """
    used = [name for name, counts in zip(QUANTITIES, data.counts, strict=True) if sum(counts)]
    for name in used:
        if name not in noise:
            raise InputError(
                f"noise: the data have '{name}', for which no noise scale is given; add NoiseScale(...)"
            )
    for name, scale in noise.items():
        if name not in QUANTITIES:
            raise InputError(f"noise: unknown quantity '{name}'; choose from {', '.join(QUANTITIES)}")
        given = [value for value in scale if value is not None]
        if len(given) != 1 or not given[0] > 0.0:
            raise InputError(
                f"noise of '{name}': give one positive number, `learned` or `known`, found {scale}"
            )
    parameters = parameter_model(potential, distributions)
    n_groups = len(data.groups)

    def model() -> LabelledModel:
        scales = {name: _noise_site(name, noise[name], n_groups) for name in used}
        nothing = jnp.ones(n_groups)
        return LabelledModel(parameters(), Noise(*(scales.get(name, nothing) for name in QUANTITIES)))

    hyper = tuple(f"noise_{name}_common" for name in used if n_groups > 1 and noise[name].learned is not None)
    smooth = tuple(f"{n}_smoothness" for n, prior in distributions.items() if isinstance(prior, Smoothness))
    return Prior(model, hyperparameters=(*smooth, *hyper))


def _noise_site(name: str, scale: NoiseScale, n_groups: int) -> Float[Array, " group"]:
    if scale.known is not None:
        return jnp.full(n_groups, scale.known)
    if n_groups == 1:
        return numpyro.sample(f"noise_{name}", dist.HalfNormal(scale.learned).expand((1,)).to_event(1))
    common = numpyro.sample(f"noise_{name}_common", dist.HalfNormal(scale.learned))
    return numpyro.sample(f"noise_{name}", dist.HalfNormal(common).expand((n_groups,)).to_event(1))
