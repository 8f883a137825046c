"""Residuals as noise of the labels and discrepancy of the form, each with a scale of its own."""

from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Float

from bayescg.errors import InputError
from bayescg.inference._labelled import QUANTITIES, LabelledData, Noise
from bayescg.inference._prior import Prior, Smoothness, parameter_model
from bayescg.physics import InteratomicPotential


class DiscrepantModel(eqx.Module):
    """A potential, the noise of the labels and the discrepancy of the form.

    Attributes:
        potential: the potential.
        label_noise: standard deviations of the labels' own errors.
        discrepancy: standard deviations of what the form misses.
        noise: of the residuals, √(label_noise² + discrepancy²).

    Example:
        >>> from bayescg.physics import SpeciesEnergies
        >>> known, missed = (Noise(*jnp.full((3, 1), scale)) for scale in (0.03, 0.04))
        >>> model = DiscrepantModel(SpeciesEnergies([-11.7], species=("Ta",)), known, missed)
        >>> round(float(model.noise.energy[0]), 3)
        0.05
    """

    potential: InteratomicPotential
    label_noise: Noise
    discrepancy: Noise

    @property
    def noise(self) -> Noise:
        """√(label_noise² + discrepancy²), what a residual's likelihood needs."""
        return Noise(
            *(jnp.hypot(getattr(self.label_noise, n), getattr(self.discrepancy, n)) for n in QUANTITIES)
        )


def discrepancy_prior(
    potential: InteratomicPotential,
    distributions: Mapping[str, dist.Distribution | Smoothness],
    *,
    label_noise: Mapping[str, float],
    discrepancy: Mapping[str, float],
    data: LabelledData,
) -> Prior:
    """Prior of labelled data whose residuals are known noise plus a learned discrepancy of the form.

    Half-normal priors of the discrepancy's scales; several groups share a scale that is learned too, so that a group
    not seen before has a discrepancy to expect. The sites are `discrepancy_energy`, `discrepancy_forces`,
    `discrepancy_stress` [group], and with several groups `discrepancy_energy_common` and so on.

    Residuals stay independent given these scales; `configuration_discrepancy` is for those of one configuration that
    err together.

    Args:
        potential: the potential; its values do not matter where they vary.
        distributions: by parameter name.
        label_noise: standard deviation of the labels' own errors, known [unit of the quantity].
        discrepancy: scale of the half-normal prior of what the form misses [unit of the quantity].
        data: gives the groups and which quantities are there.

    Raises:
        InputError: a quantity without scale, or a scale that is not positive.

    Example:
        >>> import numpy as np
        >>> from bayescg.data import Configurations, get_unit_system
        >>> from bayescg.inference import labelled_data
        >>> from bayescg.physics import SpeciesEnergies
        >>> cells = Configurations(
        ...     species=("Ta",), positions=(np.zeros((1, 3)),), types=(np.zeros(1, int),), cell=3.3 * np.eye(3)[None],
        ...     periodic=np.ones((1, 3), bool), units=get_unit_system("metal"), energy=np.array([-11.8]),
        ... )
        >>> data = labelled_data(cells, cutoff=2.0, species=("Ta",), quantities=("energy",))
        >>> prior = discrepancy_prior(
        ...     SpeciesEnergies(jnp.zeros(1), species=("Ta",)), {"offset_energies": dist.Normal(0.0, 20.0)},
        ...     label_noise={"energy": 0.001}, discrepancy={"energy": 0.05}, data=data,
        ... )
        >>> [str(coordinate) for coordinate in prior.coordinates]
        ['discrepancy_energy[0]', 'offset_energies[0]']

    References:
        Kennedy & O'Hagan (2001), doi:10.1111/1467-9868.00294.
    """
    used = [name for name, counts in zip(QUANTITIES, data.counts, strict=True) if sum(counts)]
    for what, scales in (("label_noise", label_noise), ("discrepancy", discrepancy)):
        unknown = sorted(set(scales) - set(QUANTITIES))
        missing = [name for name in used if not scales.get(name, 0.0) > 0.0]
        if unknown or missing:
            raise InputError(
                f"{what}: positive scales of {', '.join(used)} are needed; missing or not positive:"
                f" {', '.join(missing) or 'none'}; unknown: {', '.join(unknown) or 'none'}"
            )
    parameters = parameter_model(potential, distributions)
    n_groups = len(data.groups)

    def model() -> DiscrepantModel:
        scales = {name: _site(f"discrepancy_{name}", discrepancy[name], n_groups) for name in used}
        own = {name: jnp.full(n_groups, label_noise[name]) for name in used}
        nothing, one = jnp.zeros(n_groups), jnp.ones(n_groups)
        return DiscrepantModel(
            parameters(),
            Noise(*(own.get(name, one) for name in QUANTITIES)),
            Noise(*(scales.get(name, nothing) for name in QUANTITIES)),
        )

    hyper = tuple(f"discrepancy_{name}_common" for name in used if n_groups > 1)
    smooth = tuple(f"{n}_smoothness" for n, prior in distributions.items() if isinstance(prior, Smoothness))
    return Prior(model, hyperparameters=(*smooth, *hyper))


def _site(name: str, scale: float, n_groups: int) -> Float[Array, " group"]:
    if n_groups == 1:
        return numpyro.sample(name, dist.HalfNormal(scale).expand((1,)).to_event(1))
    common = numpyro.sample(f"{name}_common", dist.HalfNormal(scale))
    return numpyro.sample(name, dist.HalfNormal(common).expand((n_groups,)).to_event(1))
