"""Observables that are functions of one replica's trajectory: what a frame by itself does not show."""

from collections.abc import Callable, Sequence

import equinox as eqx
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

from bayescg.errors import InputError
from bayescg.physics import ReplicaTrajectory
from bayescg.study._observable import Observable, refuse_place_names

OfTrajectory = Callable[[ReplicaTrajectory], ArrayLike]
"""Of one replica's trajectory, a number or a row of numbers."""
OfMean = Callable[[Float[np.ndarray, " part"]], ArrayLike]
"""Of the row's mean over the replicas of a draw, a number or a row of numbers."""


class TrajectoryObservable(eqx.Module):
    """An observable of the user's own: a function of the trajectory of one replica, averaged over replicas.

    For what is made of a series in time: RMSF, relaxation times, pair lifetimes, counted crossings, growth, integrals of
    correlation functions. It always needs new simulations. `predict` calls the function once for each draw and replica,
    with NumPy arrays, outside of any compiled program; the functions of `bayescg.physics` may be used in it.

    A value that is a ratio, or is fitted, is biased by its noise in a short trajectory, and may not exist in one without
    events. Let the function give the parts then, as a row, and `of_mean` what is made of them: f of the mean over the
    replicas of a draw, whose bias the jackknife takes away (`pseudo_values`).

    Attributes:
        name: in tables; none that `predict` knows already.
        unit: of the values.
        of_trajectory: of a `ReplicaTrajectory` (positions unwrapped, velocities, times, box) a number or a row of numbers,
            finite.
        n_frames: of every trajectory.
        spacing: time between two frames, rounded to whole steps of the dynamics [time].
        at: places that a row's numbers belong to, rising; None for a single number.
        along: name of what `at` measures; none that predictions are stored along themselves, such as `draw`.
        at_unit: of `at`.
        long_name: in words; default the name.
        of_mean: of the mean row of a draw, where the values are not an average themselves.

    Raises:
        InputError: no name, an `along` that is taken, an `at` that does not rise, fewer than two frames, no time between them.

    Example:
        >>> wander = TrajectoryObservable(
        ...     name="wander",
        ...     unit="sigma^2",
        ...     of_trajectory=lambda one: np.mean(np.sum((one.positions[-1] - one.positions[0]) ** 2, axis=-1)),
        ...     n_frames=3,
        ...     spacing=0.5,
        ... )
        >>> x = np.array([[[0.0]], [[1.0]], [[2.0]]])
        >>> wander.row(ReplicaTrajectory(x, x, np.array([0.0, 0.5, 1.0]), np.ones(1))).tolist()
        [4.0]
    """

    name: str = eqx.field(static=True)
    unit: str = eqx.field(static=True)
    of_trajectory: OfTrajectory = eqx.field(static=True)
    n_frames: int = eqx.field(static=True)
    spacing: float = eqx.field(static=True)
    at: np.ndarray | None = None
    along: str = eqx.field(static=True, default="component")
    at_unit: str = eqx.field(static=True, default="1")
    long_name: str = eqx.field(static=True, default="")
    of_mean: OfMean | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        refuse_place_names(self.name, self.along, self.at)
        if not (self.n_frames >= 2 and self.spacing > 0.0 and np.isfinite(self.spacing)):
            raise InputError(
                f"observable {self.name!r}: {self.n_frames} frames, {self.spacing:g} apart; at least two, and a time above 0"
                " between them expected"
            )

    @property
    def in_words(self) -> str:
        """Long name, or name."""
        return self.long_name or self.name

    def n_values(self, n_sites: int, dim: int) -> int | None:
        """How many values it has; None for a single one that is no row."""
        return None if self.at is None else len(self.at)

    def places(self, n_values: int) -> np.ndarray:
        """What a row's numbers belong to."""
        return np.arange(float(n_values)) if self.at is None else np.asarray(self.at, float)

    def row(self, trajectory: ReplicaTrajectory) -> Float[np.ndarray, " number"]:
        """What the function gives, as a row.

        Raises:
            InputError: a function that fails, or gives anything but real numbers, as many as there are places.
        """
        n_frames, n_sites, dim = trajectory.positions.shape
        made = self._numbers(
            self.of_trajectory, trajectory, f"a trajectory of shape ({n_frames}, {n_sites}, {dim})"
        )
        if self.of_mean is None:
            return self._as_wanted(made, "of a trajectory")
        if made.ndim > 1 or not made.size:
            raise InputError(
                f"observable {self.name!r}: its function gives an array of shape {made.shape} of a trajectory; a number or a"
                " row of them expected"
            )
        return np.atleast_1d(made)

    def value_of(self, mean: Float[np.ndarray, " number"]) -> Float[np.ndarray, " value"]:
        """What is made of the mean row of a draw; NaN of one that is not finite.

        Raises:
            InputError: a function `of_mean` that fails, or gives another number of values than there are places.
        """
        if self.of_mean is None:
            return mean
        if not np.isfinite(mean).all():
            return np.full(1 if self.at is None else len(self.at), np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            made = self._numbers(self.of_mean, mean, f"a mean of {len(mean)} numbers", its="`of_mean`")
        return self._as_wanted(made, "of a mean", its="`of_mean`")

    def _numbers(
        self, function: Callable[..., ArrayLike], given: object, what: str, its: str = "its function"
    ) -> np.ndarray:
        try:
            made = np.asarray(function(given))
        except Exception as error:  # whatever the user's function raises
            why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise InputError(f"observable {self.name!r}: {its} fails on {what} ({why})") from error
        if not (np.issubdtype(made.dtype, np.number) or made.dtype == bool) or np.iscomplexobj(made):
            raise InputError(
                f"observable {self.name!r}: {its} gives {made.dtype.name} of {what}; a real number or a row of them expected"
            )
        return made.astype(float)

    def _as_wanted(self, made: np.ndarray, of: str, its: str = "its function") -> np.ndarray:
        wanted = () if self.at is None else (len(self.at),)
        if made.shape != wanted:
            more = "give `at` for a row" if self.at is None else f"`at` has {len(self.at)} places"
            expected = "a single number" if self.at is None else f"a row of {len(self.at)}"
            raise InputError(
                f"observable {self.name!r}: {its} gives an array of shape {made.shape} {of}; {expected} expected, {more}"
            )
        return np.atleast_1d(made)


def among_trajectories(
    observables: Sequence[str | Observable | TrajectoryObservable],
) -> dict[str, TrajectoryObservable]:
    """The functions of a trajectory, by name.

    Example:
        >>> among_trajectories(["energy"])
        {}
    """
    return {one.name: one for one in observables if isinstance(one, TrajectoryObservable)}
