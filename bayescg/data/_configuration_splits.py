"""Training and held-out configurations, at random: by configuration, or whole groups."""

from __future__ import annotations

import numpy as np

from bayescg.data._configurations import Configurations
from bayescg.errors import InputError


def split_configurations(
    configurations: Configurations, *, held_out_fraction: float, seed: int
) -> tuple[Configurations, Configurations]:
    """Holds out the same share of every group, single configurations drawn at random.

    Snapshots of one run resemble each other, so this tells how well a model interpolates; `split_groups` tells how well
    it extrapolates.

    Args:
        configurations: what is split.
        held_out_fraction: between 0 and 1; each group's number is rounded.
        seed: of the random choice; the same seed gives the same split.

    Returns:
        Training and held-out configurations, each in the order of the data.

    Raises:
        InputError: the fraction is not between 0 and 1, or a part comes out empty.

    Example:
        >>> train, held_out = split_configurations(data, held_out_fraction=0.1, seed=1)  # doctest: +SKIP
    """
    _check_fraction(held_out_fraction)
    generator = np.random.default_rng(seed)
    held_out = np.zeros(len(configurations), bool)
    labels = np.array(configurations.group)
    for name in configurations.groups:
        members = np.flatnonzero(labels == name)
        held_out[generator.permutation(members)[: round(len(members) * held_out_fraction)]] = True
    return _parts(configurations, held_out, held_out_fraction)


def split_groups(
    configurations: Configurations, *, held_out_fraction: float, seed: int
) -> tuple[Configurations, Configurations]:
    """Holds out whole groups, drawn at random until they make up the asked share of the configurations.

    For groups of your own choice use `Configurations.select` and `Configurations.without`.

    Args:
        configurations: what is split.
        held_out_fraction: between 0 and 1; the least share of configurations that is held out. At least one group stays.
        seed: of the random choice; the same seed gives the same split.

    Returns:
        Training and held-out configurations, each in the order of the data.

    Raises:
        InputError: the fraction is not between 0 and 1, or there is only one group.

    Example:
        >>> train, held_out = split_groups(data, held_out_fraction=0.2, seed=1)  # doctest: +SKIP
    """
    _check_fraction(held_out_fraction)
    if len(configurations.groups) < 2:
        raise InputError(
            f"split_groups: all configurations are in one group ({configurations.groups[0]!r}); expected two or more, "
            "so name their origin when reading (group_key), or use split_configurations"
        )
    labels = np.array(configurations.group)
    held_out = np.zeros(len(configurations), bool)
    order = np.random.default_rng(seed).permutation(np.array(configurations.groups))
    for name in order[:-1]:
        if held_out.mean() >= held_out_fraction:
            break
        held_out |= labels == name
    return _parts(configurations, held_out, held_out_fraction)


def _check_fraction(held_out_fraction: float) -> None:
    if not 0.0 < held_out_fraction < 1.0:
        raise InputError(f"held_out_fraction is {held_out_fraction}; expected a number between 0 and 1")


def _parts(
    configurations: Configurations, held_out: np.ndarray, fraction: float
) -> tuple[Configurations, Configurations]:
    if held_out.all() or not held_out.any():
        raise InputError(
            f"{len(configurations)} configurations can't be split with held_out_fraction {fraction}; "
            "expected at least one on each side"
        )
    return configurations[~held_out], configurations[held_out]
