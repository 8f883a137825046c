"""Energies, forces and stresses as a likelihood: noise scales per group, one score per configuration.

A configuration is the statistical unit: the components of its forces are correlated, so that scores, calibration and
comparison count configurations, never components.
"""

from collections.abc import Sequence
from typing import Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jaxtyping import Array, Float, Int

from bayescg.data import VOIGT, Configurations
from bayescg.errors import InputError
from bayescg.inference._likelihood import ExactLikelihood
from bayescg.physics import Environments, InteratomicPotential, environments, predict

QUANTITIES = ("energy", "forces", "stress")
"""What a configuration may be labelled with."""


class Noise(eqx.Module):
    """Standard deviation of each quantity's residuals in each group.

    Attributes:
        energy: of the energy per atom [group] [energy].
        forces: of a force component [group] [energy/length].
        stress: of a stress component [group] [energy/length³].

    Example:
        >>> noise = Noise(jnp.array([0.01, 0.02]), jnp.array([0.1, 0.3]), jnp.array([1e-3, 1e-3]))  # of two groups
        >>> noise.by_kind().shape
        (6,)
    """

    energy: Float[Array, " group"]
    forces: Float[Array, " group"]
    stress: Float[Array, " group"]

    def by_kind(self) -> Float[Array, " kind"]:
        """All of them, quantity by quantity: kind = quantity times number of groups plus group."""
        return jnp.concatenate([self.energy, self.forces, self.stress])


class LabelledModel(eqx.Module):
    """A potential and the noise about it: what the prior of a labelled data set draws.

    Example:
        >>> from bayescg.physics import SpeciesEnergies
        >>> model = LabelledModel(SpeciesEnergies([-11.7], species=("Ta",)), Noise(*jnp.full((3, 1), 0.1)))
        >>> model.noise.energy.shape
        (1,)
    """

    potential: InteratomicPotential
    noise: Noise


class LabelledBatch(eqx.Module):
    """Neighbourhoods of some configurations with what was computed for them; weight 0 where a label is absent.

    Attributes:
        environments: neighbourhoods.
        energy: [configuration] [energy].
        forces: [atom 3] [energy/length].
        stress: [configuration 6], components xx yy zz yz xz xy [energy/length³].
        energy_weight: [configuration].
        force_weight: [atom].
        stress_weight: [configuration].
        group: index of each configuration's group.
    """

    environments: Environments
    energy: Float[Array, " configuration"]
    forces: Float[Array, "atom 3"]
    stress: Float[Array, "configuration 6"]
    energy_weight: Float[Array, " configuration"]
    force_weight: Float[Array, " atom"]
    stress_weight: Float[Array, " configuration"]
    group: Int[Array, " configuration"]


class Residuals(eqx.Module):
    """Prediction minus label, of the configurations of one batch; 0 where a label is absent.

    Attributes:
        energy: per atom [configuration] [energy].
        forces: [atom 3] [energy/length].
        stress: [configuration 6] [energy/length³].
    """

    energy: Float[Array, " configuration"]
    forces: Float[Array, "atom 3"]
    stress: Float[Array, "configuration 6"]


class LabelledData(eqx.Module):
    """A data set ready for prediction: batches, and the names of its groups.

    Attributes:
        batches: the configurations, sorted by the size of their neighbourhoods.
        groups: names that the group indices count along.
        n_configurations: all batches together.
        counts: labels of each quantity in each group: energies, force components, stress components [quantity group].

    Example:
        >>> import numpy as np
        >>> from bayescg.inference import example_labels
        >>> atoms, data, _ = example_labels()
        >>> data.n_configurations, data.groups, data.counts  # energies, force and stress components
        (2, ('all',), ((2,), (0,), (0,)))
        >>> residuals, = data.residuals(atoms)
        >>> np.sort(residuals.energy).round(3).tolist()
        [0.1, 0.3]
    """

    batches: tuple[LabelledBatch, ...]
    groups: tuple[str, ...] = eqx.field(static=True)
    n_configurations: int = eqx.field(static=True)
    counts: tuple[tuple[int, ...], ...] = eqx.field(static=True)

    def residuals(self, potential: InteratomicPotential) -> tuple[Residuals, ...]:
        """Prediction minus label, batch by batch."""
        return tuple(batch_residuals(potential, batch) for batch in self.batches)


def labelled_data(
    configurations: Configurations,
    *,
    cutoff: float,
    species: tuple[str, ...],
    quantities: Sequence[str] = QUANTITIES,
    groups: tuple[str, ...] | None = None,
) -> LabelledData:
    """Neighbour lists and labels of configurations.

    Args:
        configurations: the data; NaN and None mean that a label is absent.
        cutoff: of the potential [length].
        species: of the potential.
        quantities: which labels are used.
        groups: names of the groups that noise scales are kept for; default those of the data.

    Raises:
        InputError: an unknown quantity, or one that no configuration is labelled with; a group without noise scale.

    Example:
        >>> from bayescg.data import Configurations, get_unit_system
        >>> cells = Configurations(
        ...     species=("Ta",), positions=(np.zeros((1, 3)),) * 2, types=(np.zeros(1, int),) * 2,
        ...     cell=np.stack([3.3 * np.eye(3)] * 2), periodic=np.ones((2, 3), bool), units=get_unit_system("metal"),
        ...     energy=np.array([-11.8, -11.6]),
        ... )
        >>> data = labelled_data(cells, cutoff=2.0, species=("Ta",), quantities=("energy",))
        >>> data.n_configurations
        2
    """
    wrong = sorted(set(quantities) - set(QUANTITIES))
    if wrong or not quantities:
        raise InputError(f"quantities {', '.join(wrong) or '(none)'}: choose from {', '.join(QUANTITIES)}")
    names = tuple(sorted(set(configurations.group))) if groups is None else groups
    unknown = sorted(set(configurations.group) - set(names))
    if unknown:
        raise InputError(
            f"group {', '.join(unknown)} is not among those with a noise scale: {', '.join(names)}"
        )
    n = len(configurations.positions)
    of_group = np.asarray([names.index(name) for name in configurations.group])
    weight = np.asarray(configurations.weight, float)
    has_energy = np.isfinite(configurations.energy) & ("energy" in quantities)
    has_stress = np.isfinite(configurations.stress).all(axis=(1, 2)) & ("stress" in quantities)
    forces, has_forces = _all_forces(configurations, wanted="forces" in quantities)
    for name, present in zip(QUANTITIES, (has_energy, has_forces, has_stress), strict=True):
        if name in quantities and not present.any():
            raise InputError(
                f"no configuration has a label '{name}': leave it out of the quantities or check its key"
            )
    atom_weight = np.repeat(weight, configurations.n_atoms) * has_forces
    stress = np.nan_to_num(np.asarray(configurations.stress)[:, *VOIGT])
    batches = []
    for batch in environments(configurations, cutoff, species=species):
        index, atom = np.asarray(batch.configuration_index), np.asarray(batch.atom_index)
        real, solid = index >= 0, atom >= 0
        batches.append(
            LabelledBatch(
                batch,
                energy=jnp.asarray(np.where(real, np.nan_to_num(configurations.energy)[index], 0.0)),
                forces=jnp.asarray(np.where(solid[:, None], forces[atom], 0.0)),
                stress=jnp.asarray(np.where(real[:, None], stress[index], 0.0)),
                energy_weight=jnp.asarray(np.where(real, (weight * has_energy)[index], 0.0)),
                force_weight=jnp.asarray(np.where(solid, atom_weight[atom], 0.0)),
                stress_weight=jnp.asarray(np.where(real, (weight * has_stress)[index], 0.0)),
                group=jnp.asarray(np.where(real, of_group[index], 0)),
            )
        )
    sizes = np.zeros(n)
    np.add.at(sizes, np.repeat(np.arange(n), configurations.n_atoms), 3.0 * has_forces)
    counts = tuple(
        tuple(int(x) for x in np.bincount(of_group, weights=values, minlength=len(names)))
        for values in (has_energy.astype(float), sizes, 6.0 * has_stress)
    )
    return LabelledData(tuple(batches), names, n, counts)


def _all_forces(configurations: Configurations, *, wanted: bool) -> tuple[np.ndarray, np.ndarray]:
    """Forces on all atoms one after the other, and which atoms have them."""
    rows, present = [], []
    for positions, forces in zip(configurations.positions, configurations.forces, strict=True):
        rows.append(np.zeros_like(positions) if forces is None or not wanted else forces)
        present.append(np.full(len(positions), wanted and forces is not None))
    return np.concatenate(rows), np.concatenate(present)


def batch_residuals(potential: InteratomicPotential, batch: LabelledBatch) -> Residuals:
    """Prediction minus label."""
    predicted = predict(potential, batch.environments)
    n_atoms = jnp.maximum(batch.environments.n_atoms, 1)
    stress = predicted.stress[:, *VOIGT]
    return Residuals(
        jnp.where(batch.energy_weight > 0.0, (predicted.energy - batch.energy) / n_atoms, 0.0),
        jnp.where(batch.force_weight[:, None] > 0.0, predicted.forces - batch.forces, 0.0),
        jnp.where(batch.stress_weight[:, None] > 0.0, stress - batch.stress, 0.0),
    )


class Family(Protocol):
    """Log density of a residual at a scale, elementwise.

    Example:
        >>> families: tuple[Family, ...] = (gaussian, StudentT(5.0))
        >>> [round(float(family(jnp.array(3.0), jnp.array(1.0))), 2) for family in families]
        [-5.42, -4.06]
    """

    def __call__(self, residual: Float[Array, "..."], scale: Float[Array, "..."]) -> Float[Array, "..."]: ...


def gaussian(residual: Float[Array, "..."], scale: Float[Array, "..."]) -> Float[Array, "..."]:
    """log N(residual; 0, scale²).

    Example:
        >>> round(float(gaussian(jnp.array(0.0), jnp.array(0.1))), 4)
        1.3836
    """
    return -0.5 * (residual / scale) ** 2 - jnp.log(scale) - 0.5 * jnp.log(2.0 * jnp.pi)


class StudentT(eqx.Module):
    """log of Student's t density with ν degrees of freedom: outliers weigh less.

    Attributes:
        degrees_of_freedom: ν.

    Example:
        >>> heavy = StudentT(5.0)
        >>> far = jnp.array(10.0), jnp.array(1.0)
        >>> float(heavy(*far)) > float(gaussian(*far))
        True
    """

    degrees_of_freedom: float = eqx.field(static=True)

    def __check_init__(self):
        if not self.degrees_of_freedom > 0.0:
            raise InputError(
                f"Student-t: degrees of freedom must be positive, found {self.degrees_of_freedom}"
            )

    def __call__(self, residual: Float[Array, "..."], scale: Float[Array, "..."]) -> Float[Array, "..."]:
        nu = self.degrees_of_freedom
        norm = gammaln((nu + 1.0) / 2.0) - gammaln(nu / 2.0) - 0.5 * jnp.log(nu * jnp.pi)
        return norm - jnp.log(scale) - 0.5 * (nu + 1.0) * jnp.log1p((residual / scale) ** 2 / nu)


class EnergyForceStress(ExactLikelihood):
    """log p(labels | θ, σ), a sum over configurations.

    Of configuration c in group g, with n atoms,

        w_c [log f((Ê − E)/n; σ_E,g) + Σ log f(F̂ − F; σ_F,g) + Σ log f(Ŝ − S; σ_S,g)],

    f Gaussian or Student-t, over all force components and the six stress components that are there.
    An array pytree: pass it to compiled functions as an argument.

    Attributes:
        data: configurations and labels.
        family: f, `gaussian` or a `StudentT`.
        power: η, which multiplies the log likelihood; 1 unless one tempers it on purpose.

    Example:
        >>> from bayescg.inference import example_labels
        >>> atoms, data, _ = example_labels()
        >>> likelihood = EnergyForceStress(data)
        >>> moved = atoms.with_parameters({"offset_energies": jnp.array([-11.7])})
        >>> model = LabelledModel(moved, Noise(*jnp.full((3, 1), 0.1)))
        >>> likelihood.per_configuration(model).round(3).tolist()  # each one noise scale away
        [0.884, 0.884]
    """

    data: LabelledData
    family: Family = eqx.field(static=True, default=gaussian)
    power: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=1.0)

    def per_configuration(self, model: LabelledModel) -> Float[Array, " configuration"]:
        """log p of each configuration's labels, in the order of the data, untempered."""
        values = jnp.zeros(self.data.n_configurations)
        for batch in self.data.batches:
            index = batch.environments.configuration_index
            place = jnp.where(index >= 0, index, self.data.n_configurations)
            values = values.at[place].add(self._batch(model, batch), mode="drop")
        return values

    def _batch(self, model: LabelledModel, batch: LabelledBatch) -> Float[Array, " configuration"]:
        residuals, noise, group = batch_residuals(model.potential, batch), model.noise, batch.group
        of_atom = jnp.minimum(batch.environments.configuration, len(group) - 1)
        energy = batch.energy_weight * self.family(residuals.energy, noise.energy[group])
        forces = self.family(residuals.forces, noise.forces[group][of_atom][:, None]).sum(axis=1)
        stress = self.family(residuals.stress, noise.stress[group][:, None]).sum(axis=1)
        summed = jax.ops.segment_sum(
            batch.force_weight * forces, of_atom, len(group), indices_are_sorted=True
        )
        return energy + summed + batch.stress_weight * stress

    def log_likelihood(self, model: LabelledModel) -> Float[Array, ""]:
        """η Σ_c log p."""
        return self.power * jnp.sum(self.per_configuration(model))
