"""Priors: NumPyro models that return a potential, on one vector of unconstrained coordinates."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key
from numpyro import handlers
from numpyro.distributions import constraints
from numpyro.distributions.transforms import biject_to
from numpyro.infer.util import potential_energy

from bayescg.errors import InputError
from bayescg.physics import ParameterInfo, Potential
from bayescg.physics._potential import Parametrised, check_names


class RandomWalk(dist.Distribution):
    """Second-order random-walk (P-spline) prior on coefficients that end at zero.

    The scaled second differences (θ_j − 2θ_{j+1} + θ_{j+2}) / w_j, with zeros appended after the last
    coefficient, are independent normals of one scale. The zeros make it proper: far in, where data
    say nothing, it continues the line that the data determine, ever less certainly.

    Args:
        scale: standard deviation of the scaled second differences [unit of the coefficients].
        weights: w_j, relative size of each second difference [coefficient].

    Example:
        >>> straight = jnp.array([3.0, 2.0, 1.0])  # on the way to the zeros that follow
        >>> walk = RandomWalk(jnp.array(1.0), jnp.ones(3))
        >>> bool(walk.log_prob(straight) > walk.log_prob(jnp.array([3.0, 0.0, 1.0])))
        True

    References:
        Lang & Brezger (2004), doi:10.1198/1061860043010, section 2.
    """

    support = constraints.real_vector
    arg_constraints = {"scale": constraints.positive, "weights": constraints.positive}
    reparametrized_params = ["scale"]

    def __init__(self, scale: Array, weights: Array):
        self.scale, self.weights = jnp.asarray(scale), jnp.asarray(weights)
        super().__init__(jnp.shape(self.scale), jnp.shape(self.weights))

    def log_prob(self, value: Array) -> Array:
        differences = second_differences(value) / self.weights
        normal = dist.Normal(0.0, self.scale[..., None])
        return jnp.sum(normal.log_prob(differences) - jnp.log(self.weights), axis=-1)

    def sample(self, key: Key[Array, ""], sample_shape: tuple[int, ...] = ()) -> Array:
        shape = (*sample_shape, *self.batch_shape, *self.event_shape)
        noise = jax.random.normal(key, shape) * self.weights * self.scale[..., None]
        slope = jnp.flip(jnp.cumsum(jnp.flip(noise, -1), -1), -1)
        return jnp.flip(jnp.cumsum(jnp.flip(slope, -1), -1), -1)


def second_differences(values: Float[Array, "*batch knot"]) -> Float[Array, "*batch knot"]:
    """θ_j − 2θ_{j+1} + θ_{j+2} with zeros appended."""
    pad = [(0, 0)] * (values.ndim - 1) + [(0, 2)]
    padded = jnp.pad(values, pad)
    return padded[..., :-2] - 2.0 * padded[..., 1:-1] + padded[..., 2:]


class Smoothness(NamedTuple):
    """A random-walk prior on an array of spline coefficients, with its scale inferred.

    Attributes:
        scale: prior of the random walk's scale [unit of the coefficients].
        weights: relative size of each second difference [coefficient].

    Example:
        >>> smooth = Smoothness(dist.LogNormal(0.0, 1.0), weights=jnp.ones(8))  # of eight coefficients
        >>> smooth.weights.shape
        (8,)
    """

    scale: dist.Distribution
    weights: Array


class Coordinate(NamedTuple):
    """One entry of the vector of unconstrained coordinates."""

    site: str
    place: tuple[int, ...]

    def __str__(self) -> str:
        return self.site + (f"[{','.join(map(str, self.place))}]" if self.place else "")


class Prior:
    """A NumPyro model of the parameters, seen as a density on unconstrained coordinates z.

    Args:
        model: a NumPyro model without arguments that returns the potential (or a pytree that holds it).
        hyperparameters: names of the sites that scale others (their values are held at the MAP
            where an average over the prior is taken, see `score_covariance`).

    Example:
        >>> from bayescg.physics import DoubleWell
        >>> well = DoubleWell(1.0, 1.0)
        >>> prior = independent_prior(well, {"well_t1": dist.Normal(1, 2), "well_t2": dist.Gamma(2, 1)})
        >>> prior.size
        2
    """

    def __init__(self, model: Callable[[], Any], *, hyperparameters: tuple[str, ...] = ()):
        self.model = model
        self.hyperparameters = hyperparameters
        trace = _trace(model, jax.random.key(0))
        self._sites = {
            name: site["fn"]
            for name, site in trace.items()
            if site["type"] == "sample" and not site["is_observed"]
        }
        other = _trace(model, jax.random.key(1))
        for name, distribution in self._sites.items():
            if name not in other or other[name]["fn"].support != distribution.support:
                raise InputError(
                    f"prior of '{name}': its support depends on other parameters; give it a fixed support and"
                    " transform its value in the model"
                )
        example = {name: biject_to(fn.support).inv(trace[name]["value"]) for name, fn in self._sites.items()}
        flat, self._unravel = ravel_pytree(example)
        self.size = flat.size
        order = sorted(example)
        self.coordinates = tuple(
            Coordinate(name, tuple(int(i) for i in index))
            for name in order
            for index in _indices(jnp.shape(example[name]))
        )

    def log_density(self, z: Float[Array, " coordinate"]) -> Float[Array, ""]:
        """log p(z), the transforms' Jacobians included."""
        return -potential_energy(self.model, (), {}, self._unravel(z))

    def sites(self, z: Float[Array, " coordinate"]) -> dict[str, Array]:
        """Values of the model's sites at z, by name."""
        return {n: biject_to(self._sites[n].support)(u) for n, u in self._unravel(z).items()}

    def potential(self, z: Float[Array, " coordinate"]) -> Any:
        """What the model returns at z: the potential."""
        model = handlers.substitute(handlers.seed(self.model, jax.random.key(0)), data=self.sites(z))
        return handlers.block(model)()

    def unconstrain(self, sites: Mapping[str, Array]) -> Float[Array, " coordinate"]:
        """z at given values of the model's sites."""
        check_names(sites, self._sites, what="the prior")
        flat = {n: biject_to(fn.support).inv(jnp.asarray(sites[n], float)) for n, fn in self._sites.items()}
        return ravel_pytree(flat)[0]

    def sample(self, key: Key[Array, ""], n: int) -> Float[Array, "draw coordinate"]:
        """Independent prior draws of z."""

        def one(k):
            trace = handlers.trace(handlers.seed(self.model, k)).get_trace()
            return self.unconstrain({name: trace[name]["value"] for name in self._sites})

        return jax.vmap(one)(jax.random.split(key, n))

    def score_covariance(
        self, z: Float[Array, " coordinate"], *, key: Key[Array, ""], n: int = 4000
    ) -> Float[Array, "coordinate coordinate"]:
        """E[s sᵀ] of the score s = ∂ log p/∂z over the prior, hyperparameters held at their values in z.

        For a Gaussian prior this is its precision. It stands in the middle of the calibrated covariance,
        where minus the Hessian of a hierarchical log prior would be indefinite.
        """
        held = jnp.asarray([c.site in self.hyperparameters for c in self.coordinates])
        fixed = {name: value for name, value in self.sites(z).items() if name in self.hyperparameters}

        def one(k):
            model = handlers.substitute(handlers.seed(self.model, k), data=fixed)
            trace = handlers.trace(model).get_trace()
            return self.unconstrain({name: trace[name]["value"] for name in self._sites})

        draws = jax.vmap(one)(jax.random.split(key, n))
        scores = jax.vmap(jax.grad(self.log_density))(draws)
        centred = scores - jnp.where(held, scores.mean(axis=0), 0.0)
        covariance = centred.T @ centred / n
        own = jnp.where(held, 1.0 / jnp.maximum(self.sample(key, 500).var(axis=0), 1e-300), 0.0)
        return covariance + jnp.diag(own)


def _trace(model: Callable[[], Any], key: Key[Array, ""]) -> dict:
    """One execution of a model: what happened at every site."""
    visited: list[str] = []

    def note(site: dict) -> None:
        visited.append(site["name"])

    try:
        return handlers.trace(handlers.substitute(handlers.seed(model, key), substitute_fn=note)).get_trace()
    except NotImplementedError as error:
        raise InputError(
            f"prior of '{visited[-1]}': it cannot be sampled, as if it were improper; give it a proper prior"
        ) from error


def _indices(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    return [tuple(i) for i in jnp.argwhere(jnp.ones(shape)).tolist()] if shape else [()]


def independent_prior(
    potential: Potential, distributions: Mapping[str, dist.Distribution | Smoothness]
) -> Prior:
    """The flat builder: one distribution for each parameter of a potential.

    Args:
        potential: the potential; its values do not matter.
        distributions: a NumPyro distribution (or `Smoothness` for spline coefficients) by parameter name.

    Raises:
        InputError: an unknown or missing name, a wrong shape, or a support wider than the parameter's.

    Example:
        >>> from bayescg.physics import LennardJones
        >>> argon = LennardJones(0.238, 3.405, cutoff=10.215, name="argon")
        >>> prior = independent_prior(
        ...     argon, {"argon_epsilon": dist.LogNormal(-1.2, 1.0), "argon_sigma": dist.LogNormal(1.2, 0.2)}
        ... )
        >>> [str(coordinate) for coordinate in prior.coordinates]
        ['argon_epsilon', 'argon_sigma']
    """
    model = parameter_model(potential, distributions)
    hyper = tuple(
        f"{name}_smoothness" for name, prior in distributions.items() if isinstance(prior, Smoothness)
    )
    return Prior(model, hyperparameters=hyper)


def parameter_model(
    potential: Parametrised, distributions: Mapping[str, dist.Distribution | Smoothness]
) -> Callable[[], Any]:
    """A NumPyro model that draws a potential's parameters independently; see `independent_prior`."""
    infos = {info.name: info for info in potential.parameters()}
    check_names(distributions, infos, what="the prior")
    for name, prior in distributions.items():
        if not isinstance(prior, Smoothness):
            check_support(infos[name], prior)
        elif jnp.shape(prior.weights) != infos[name].shape:
            raise InputError(
                f"prior of '{name}': smoothness weights have shape {jnp.shape(prior.weights)},"
                f" the parameter has {infos[name].shape}"
            )

    def model() -> Any:
        values = {}
        for name, prior in distributions.items():
            if isinstance(prior, Smoothness):
                scale = numpyro.sample(f"{name}_smoothness", prior.scale)
                values[name] = numpyro.sample(name, RandomWalk(scale, prior.weights))
            else:
                shape = infos[name].shape
                expanded = prior if prior.shape() == shape else prior.expand(shape).to_event(len(shape))
                values[name] = numpyro.sample(name, expanded)
        return potential.with_parameters(values)

    return model


def check_support(info: ParameterInfo, prior: dist.Distribution) -> None:
    """Raise an InputError when a prior allows values that the parameter must not take, or has a wrong shape."""
    if prior.shape() not in ((), info.shape):
        raise InputError(f"prior of '{info.name}': shape {prior.shape()}, the parameter has {info.shape}")
    if info.support != "positive":
        return
    probes = jnp.asarray([-1e6, -1.0, -1e-6])
    if bool(jnp.any(prior.support(probes))):
        raise InputError(
            f"prior of '{info.name}': {type(prior).__name__} allows negative values, but {info.long_name} is positive;"
            " use for example LogNormal, Gamma, HalfNormal or a truncated normal"
        )


def default_smoothness_weights(info: ParameterInfo, *, exponent: float = 3.0) -> Float[Array, " knot"]:
    """w_j = (r_last / r_j)^exponent: pair potentials bend more where they are steep, at short distance."""
    centres = jnp.asarray(info.coordinate)
    return (centres[-1] / centres) ** exponent
