"""The smallest labelled data set, which the examples of this part share."""

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from bayescg.data import Configurations, get_unit_system
from bayescg.inference._labelled import LabelledData, labelled_data
from bayescg.inference._noise_prior import NoiseScale, labelled_prior
from bayescg.inference._prior import Prior
from bayescg.physics import SpeciesEnergies


def example_labels() -> tuple[SpeciesEnergies, LabelledData, Prior]:
    """Two cells of one tantalum atom with energies of −11.8 and −11.6 eV, and the energy of an atom as only parameter.

    Returns:
        The potential, at −11.5 eV; the data; the prior, normal about −11.5 eV with a standard deviation of 1 eV, with a
        known noise of 0.1 eV.

    Example:
        >>> atoms, data, prior = example_labels()
        >>> residuals, = data.residuals(atoms)
        >>> np.sort(residuals.energy).round(3).tolist()
        [0.1, 0.3]
    """
    cells = Configurations(
        species=("Ta",),
        positions=(np.zeros((1, 3)),) * 2,
        types=(np.zeros(1, int),) * 2,
        cell=np.stack([3.3 * np.eye(3)] * 2),
        periodic=np.ones((2, 3), bool),
        units=get_unit_system("metal"),
        energy=np.array([-11.8, -11.6]),
    )
    atoms = SpeciesEnergies(energies=jnp.array([-11.5]), species=("Ta",))  # type: ignore[call-arg]
    data = labelled_data(cells, cutoff=2.0, species=("Ta",), quantities=("energy",))
    parameters = {"offset_energies": dist.Normal(-11.5, 1.0)}
    return atoms, data, labelled_prior(atoms, parameters, noise={"energy": NoiseScale(known=0.1)}, data=data)
