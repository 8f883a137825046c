"""Interatomic potentials drawn from a posterior, together: what calculators and exported files are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from bayescg.data import UnitSystem
from bayescg.errors import InputError
from bayescg.inference import LabelledModel, Prior
from bayescg.physics import InteratomicPotential

MEAN_PARAMETERS = "mean parameters of the draws"
"""What a potential is called that is none of the draws."""


@dataclass(frozen=True, eq=False)
class PotentialDraws:
    """Potentials of one form, each a draw from a posterior.

    Attributes:
        stack: a potential whose arrays have the draws along their first axis.
        units: the unit system that the potentials were inferred in.
        posterior: which posterior the draws come from, in words, such as "calibrated" or "raw"; files repeat it.
        draw_ids: which draw each is, such as "chain 0 draw 17".
        provenance: what else a manifest should say of the inference.

    Example:
        >>> from bayescg.data import get_unit_system
        >>> from bayescg.physics import StillingerWeber
        >>> silicon = StillingerWeber.silicon(cutoff=4.0).vary("sw_A")
        >>> draws = PotentialDraws.of_potentials(
        ...     [silicon.with_parameters({"sw_A": A}) for A in (7.0, 7.1)],
        ...     units=get_unit_system("metal"), posterior="calibrated",
        ... )
        >>> draws.n_draws, round(float(draws.mean().A), 3)
        (2, 7.05)
    """

    stack: InteratomicPotential
    units: UnitSystem
    posterior: str
    draw_ids: tuple[str, ...]
    provenance: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for path, values in jax.tree_util.tree_leaves_with_path(self.stack):
            if np.shape(values)[:1] != (self.n_draws,):
                raise InputError(
                    f"draws: {jax.tree_util.keystr(path)} has shape {np.shape(values)}, expected {self.n_draws} draws"
                    " along its first axis"
                )
            bad = ~np.isfinite(np.asarray(values)).reshape(self.n_draws, -1).all(axis=1)
            if bad.any():
                raise InputError(
                    f"draws: {jax.tree_util.keystr(path)} is NaN or inf in {self.draw_ids[int(np.argmax(bad))]};"
                    " leave such draws out"
                )

    @classmethod
    def of_potentials(
        cls,
        potentials: Sequence[InteratomicPotential],
        *,
        units: UnitSystem,
        posterior: str,
        draw_ids: Sequence[str] | None = None,
        provenance: Mapping[str, object] | None = None,
    ) -> PotentialDraws:
        """From a list.

        Args:
            potentials: of one form; a single one is allowed.
            units: the unit system of their parameters.
            posterior: which posterior they come from, in words.
            draw_ids: one for each; default their numbers.
            provenance: what else a manifest should say.

        Raises:
            InputError: no potential, or potentials that differ in more than the values of their parameters.
        """
        if not potentials:
            raise InputError("draws: no potential is given; expected one at least")
        for k, potential in enumerate(potentials):
            if not _same_form(potential, potentials[0]):
                raise InputError(
                    f"draws: potential {k} differs from the first in more than the values of its parameters; all must"
                    " have the same terms, species, cutoffs and knots"
                )
        ids = [f"draw {k}" for k in range(len(potentials))] if draw_ids is None else draw_ids
        stack = jax.tree.map(lambda *leaves: jnp.stack(leaves), *potentials)
        return cls(stack, units, posterior, tuple(ids), dict(provenance or {}))

    @property
    def n_draws(self) -> int:
        """Number of draws."""
        return len(self.draw_ids)

    @property
    def species(self) -> tuple[str, ...]:
        """Chemical symbols."""
        return self.stack.species

    def draw(self, k: int) -> InteratomicPotential:
        """The potential of one draw."""
        return jax.tree.map(lambda values: values[k], self.stack)

    def mean(self) -> InteratomicPotential:
        """The potential whose parameters are the means over the draws."""
        return jax.tree.map(lambda values: jnp.mean(values, axis=0), self.stack)

    def at_mean(self) -> PotentialDraws:
        """A single draw, the potential with the mean parameters: faster to predict with, but without a spread."""
        stack = jax.tree.map(lambda values: jnp.mean(values, axis=0, keepdims=True), self.stack)
        return replace(self, stack=stack, draw_ids=(MEAN_PARAMETERS,))


def _same_form(one: InteratomicPotential, other: InteratomicPotential) -> bool:
    """Whether two potentials differ in nothing but the values of their parameters."""
    (leaves, form), (others, form_of_other) = (jax.tree.flatten(potential) for potential in (one, other))
    # mypy knows no comparison of JAX's structures
    same = form == form_of_other  # type: ignore[operator]
    return bool(same) and list(map(np.shape, leaves)) == list(map(np.shape, others))


def potential_draws(
    prior: Prior,
    draws: Float[np.ndarray, "*chain draw coordinate"],
    *,
    units: UnitSystem,
    posterior: str,
    n_draws: int | None = None,
    provenance: Mapping[str, object] | None = None,
) -> PotentialDraws:
    """The potentials at a posterior's draws.

    Args:
        prior: whose model the draws belong to, from `labelled_prior` or `independent_prior`.
        draws: unconstrained coordinates, such as `LabelFit.calibrated`.
        units: the unit system of the data.
        posterior: which posterior the draws come from, in words, such as "calibrated" or "raw".
        n_draws: how many are kept, evenly spaced; default all.
        provenance: what else a manifest should say.

    Raises:
        InputError: a prior that returns no interatomic potential, draws of another size, too many asked for.

    Example:
        >>> import numpyro.distributions as dist
        >>> from bayescg.data import get_unit_system
        >>> from bayescg.inference import independent_prior
        >>> from bayescg.physics import StillingerWeber
        >>> silicon = StillingerWeber.silicon(cutoff=4.0).vary("sw_A")
        >>> prior = independent_prior(silicon, {"sw_A": dist.LogNormal(2.0, 0.1)})
        >>> calibrated = np.log(np.linspace(6.9, 7.1, 40)).reshape(2, 20, 1)
        >>> draws = potential_draws(
        ...     prior, calibrated, units=get_unit_system("metal"), posterior="calibrated", n_draws=4
        ... )
        >>> draws.draw_ids
        ('chain 0 draw 0', 'chain 0 draw 13', 'chain 1 draw 6', 'chain 1 draw 19')
    """
    values = np.asarray(draws, float)
    if values.ndim not in (2, 3) or values.shape[-1] != prior.size:
        raise InputError(
            f"draws: shape {values.shape}; expected (draw, {prior.size}) or (chain, draw, {prior.size})"
        )
    flat = values.reshape(-1, prior.size)
    wanted = len(flat) if n_draws is None else n_draws
    if not 1 <= wanted <= len(flat):
        raise InputError(f"draws: {wanted} asked for, there are {len(flat)}")
    chosen = evenly_spaced(len(flat), wanted)
    chains = [np.unravel_index(k, values.shape[:-1]) for k in chosen]
    ids = [f"draw {i[0]}" if len(i) == 1 else f"chain {i[0]} draw {i[1]}" for i in chains]
    stack = jax.jit(jax.vmap(lambda z: _potential_at(prior, z)))(jnp.asarray(flat[chosen]))
    return PotentialDraws(stack, units, posterior, tuple(ids), dict(provenance or {}))


def evenly_spaced(n_held: int, n_wanted: int) -> Int[np.ndarray, " draw"]:
    """Numbers of so many draws, spread evenly over those that there are.

    Example:
        >>> evenly_spaced(40, 4).tolist()
        [0, 13, 26, 39]
    """
    return np.round(np.linspace(0, n_held - 1, n_wanted)).astype(int)


def _potential_at(prior: Prior, z: jax.Array) -> InteratomicPotential:
    model = prior.potential(z)
    potential = model.potential if isinstance(model, LabelledModel) else model
    if not isinstance(potential, InteratomicPotential):
        raise InputError(
            f"the prior returns {type(potential).__name__}, which is no interatomic potential; use one made by"
            " labelled_prior, or by independent_prior for an interatomic potential"
        )
    return potential
