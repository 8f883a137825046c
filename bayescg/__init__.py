"""Bayesian inference of coarse-grained molecular potentials.

Importing the package costs milliseconds: its rooms are loaded when they are first used.

    data       what was seen: frames, topologies, mapping, units
    physics    what the parameters imply: potentials, simulation, free energies, observables
    inference  what the data say about the parameters: priors, likelihoods, posteriors, samplers
    analysis   what the posterior means: identifiability, checks, statements, predictions
    output     what leaves Python: figures, reports, tables for simulation engines, progress displays
    study      the model file, and a `Study` that runs the stages in order

JAX must run in 64-bit mode; the command `bayescg` switches it on, and a script does so itself by
`jax.config.update("jax_enable_x64", True)`.
"""

import importlib
from types import ModuleType

__version__ = "0.1.0"

_ROOMS = ("analysis", "data", "errors", "inference", "output", "physics", "progress", "study")


def __getattr__(name: str) -> ModuleType:
    if name in _ROOMS:
        return importlib.import_module(f"bayescg.{name}")
    raise AttributeError(f"module 'bayescg' has no attribute {name!r}; its rooms are {', '.join(_ROOMS)}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_ROOMS])
