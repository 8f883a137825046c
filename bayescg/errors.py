"""The exceptions of bayescg: few, each for one kind of trouble, each with a one-line message."""

from __future__ import annotations


class BayescgError(Exception):
    """Base of every error that bayescg raises on purpose."""


class InputError(BayescgError):
    """A file, model or data set can't be used as it is.

    The message is one line that names the file (or the object), what was found, what is expected, and the remedy.

    Attributes:
        argument: the argument of the called function that is to blame, such as ``topology``; empty where none is named.
    """

    def __init__(self, message: str, *, argument: str = ""):
        super().__init__(message)
        self.argument = argument


class SimulationError(BayescgError):
    """A simulation left the range where its numbers mean anything."""


class ConvergenceError(BayescgError):
    """An iterative method stopped before its criterion was met."""
