"""Power-scaling: how much the posterior moves when prior or likelihood is made a little stronger or weaker."""

from collections.abc import Mapping
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from arviz_stats import psense
from jaxtyping import Array, Float

from bayescg.errors import InputError
from bayescg.inference import Posterior
from bayescg.inference._likelihood import Likelihood

THRESHOLD = 0.05
"""Sensitivity from which on a posterior counts as moved."""


class PowerScaling(NamedTuple):
    """Sensitivity of each variable's posterior.

    Attributes:
        names: of the variables, entries of arrays numbered.
        prior: to the power of the prior; above 0.05 the prior is informative [variable].
        likelihood: to the power of the likelihood; below 0.05 the data say little [variable].

    Example:
        >>> PowerScaling(("a", "b"), np.array([0.01, 0.3]), np.array([0.2, 0.01])).words
        ('the data decide', 'the prior decides, the data say little')
    """

    names: tuple[str, ...]
    prior: np.ndarray
    likelihood: np.ndarray

    @property
    def words(self) -> tuple[str, ...]:
        """What each pair of sensitivities says."""
        meanings = {
            (False, True): "the data decide",
            (True, True): "prior and data both pull, perhaps against each other",
            (True, False): "the prior decides, the data say little",
            (False, False): "neither moves it within the noise of the draws",
        }
        return tuple(
            meanings[bool(p >= THRESHOLD), bool(l >= THRESHOLD)] for p, l in zip(self.prior, self.likelihood)
        )


def power_scaling(
    draws: Mapping[str, Float[np.ndarray, "chain draw *shape"]],
    log_prior: Float[np.ndarray, "chain draw"],
    log_likelihood: Float[np.ndarray, "chain draw *block"],
) -> PowerScaling:
    """Power-scaling sensitivity by Pareto-smoothed reweighting of the draws.

    Args:
        draws: of the raw posterior, by variable; calibrated draws are not proportional to prior times likelihood.
        log_prior: at each draw, in the same coordinates as the draws were made in.
        log_likelihood: at each draw, summed over whatever axes follow.

    Raises:
        InputError: numbers of chains and draws that do not agree.

    Example:
        >>> rng = np.random.default_rng(0)  # N(0, 1) prior, one datum 0 with variance 0.01
        >>> x = rng.normal(size=(4, 1000)) / np.sqrt(101.0)
        >>> found = power_scaling({"x": x}, -(x**2) / 2, -50.0 * x**2)
        >>> found.words
        ('the data decide',)

    References:
        Kallioinen, Paananen, Bürkner & Vehtari (2024), doi:10.1007/s11222-023-10366-5.
    """
    shape = np.shape(log_prior)
    shapes = {name: np.shape(value)[:2] for name, value in draws.items()} | {
        "log_likelihood": np.shape(log_likelihood)[:2]
    }
    wrong = [f"{name} {found}" for name, found in shapes.items() if found != shape]
    if len(shape) != 2 or wrong or not draws:
        raise InputError(
            f"power scaling: log_prior is {shape}, {', '.join(wrong) or 'nothing else'} differs; give every array as"
            " [chain draw ...] of the same draws"
        )
    tree = xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset({name: _array(name, value) for name, value in draws.items()}),
            "log_prior": xr.Dataset({"prior": _array("prior", log_prior)}),
            "log_likelihood": xr.Dataset({"data": _array("data", log_likelihood)}),
        }
    )
    by_prior, by_likelihood = (psense(tree, group=group) for group in ("prior", "likelihood"))
    names = tuple(
        name + (f"[{','.join(map(str, place))}]" if place else "")
        for name, value in draws.items()
        for place in np.ndindex(*np.shape(value)[2:])
    )
    values = [
        np.concatenate([np.ravel(np.asarray(found[name])) for name in draws])
        for found in (by_prior, by_likelihood)
    ]
    return PowerScaling(names, *values)


def _array(name: str, value: np.ndarray) -> xr.DataArray:
    value = np.asarray(value, float)
    return xr.DataArray(value, dims=("chain", "draw", *(f"{name}_{i}" for i in range(value.ndim - 2))))


def log_terms(
    posterior: Posterior, likelihood: Likelihood, z: Float[np.ndarray, "chain draw coordinate"]
) -> tuple[Float[np.ndarray, "chain draw"], Float[np.ndarray, "chain draw"]]:
    """log prior and log likelihood at draws, what `power_scaling` and `information_gain` need.

    Args:
        posterior: prior and likelihood.
        likelihood: at its final state.
        z: unconstrained coordinates.

    Example:
        >>> from bayescg.inference import RelativeEntropy, example_spring
        >>> spring, prior, surrogate = example_spring()
        >>> posterior = Posterior(prior)
        >>> likelihood = RelativeEntropy(jnp.array([0.25]), jnp.asarray(100.0), surrogate)
        >>> log_prior, log_likelihood = log_terms(posterior, likelihood, np.zeros((1, 2, 1)))
        >>> log_prior.round(4).tolist()  # of ln k at 0
        [[-0.9189, -0.9189]]
    """
    flat = jnp.asarray(np.reshape(z, (-1, np.shape(z)[-1])))
    found = _terms(posterior, likelihood, flat)
    log_prior, log_likelihood = (np.asarray(a).reshape(np.shape(z)[:-1]) for a in found)
    return log_prior, log_likelihood


@eqx.filter_jit
def _terms(posterior: Posterior, likelihood: Likelihood, z: Array) -> tuple[Array, Array]:
    return jax.lax.map(
        lambda point: (posterior.prior.log_density(point), posterior.log_likelihood(point, likelihood)), z
    )
