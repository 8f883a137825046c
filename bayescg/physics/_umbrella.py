"""Umbrella sampling: all windows, replicas and draws of the parameters simulated as one batch, and whether they overlap."""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree

from bayescg.data import Topology, UnitSystem
from bayescg.errors import ConvergenceError, InputError
from bayescg.physics._bank import Reference, ReferenceBank
from bayescg.physics._potential import Potential
from bayescg.physics._reaction_coordinates import ReactionCoordinate
from bayescg.physics._simulate import SimulationSettings, Simulator
from bayescg.physics._umbrella_bias import UmbrellaBias, UmbrellaWindows, coordinate_values

_TAIL = 0.01
"""Share of the frames at either end of an energy difference that does not count as overlap."""


class UmbrellaState(NamedTuple):
    """The physical state of umbrella sampling.

    Attributes:
        topology: sites and their masses.
        box: edge lengths, inf where open [length].
        units: unit system of every number.
        temperature: [K, or reduced].

    Example:
        >>> from bayescg.data import get_unit_system
        >>> one = UmbrellaState(Topology(("A",), np.ones(1)), np.full(1, np.inf), get_unit_system("lj"), 0.5)
        >>> one.kT
        0.5
    """

    topology: Topology
    box: Float[np.ndarray, " dim"]
    units: UnitSystem
    temperature: float

    @property
    def kT(self) -> float:
        """k_B T [energy]."""
        return float(self.units.kT(self.temperature))


class _Changes(NamedTuple):
    """u_j − u_i over the frames of simulation i: ends of its bulk, and its mean [i j] [energy]."""

    low: Float[np.ndarray, "state state"]
    high: Float[np.ndarray, "state state"]
    mean: Float[np.ndarray, "state state"]


class UmbrellaSamples:
    """Frames of all windows at all draws, pooled by MBAR.

    A frame is kept as the features of the potential and of the bias, which say its energy at any parameters and in any
    window, and its reaction coordinates.

    Args:
        references: of each window at each draw, the windows of the first draw first.
        windows: the windows.
        coordinates: what they hold.
        coefficients: η of the potential of each draw, without bias.
        kT: k_B T [energy].

    Attributes:
        bank: all frames pooled.
        values: ξ of every pooled frame.

    Raises:
        InputError: a number of references that is no multiple of the windows.
        ConvergenceError: windows that do not overlap with the others; the message names them.

    References:
        Shirts & Chodera (2008), doi:10.1063/1.2978177.

    Example:
        >>> x = np.random.default_rng(0).normal([[[0.0]], [[1.0]]], 1.0, size=(2, 4, 200))  # exp(−(ξ − c)²/2)
        >>> features = np.stack([0 * x, x**2 / 2, -x], axis=-1)
        >>> none = features[..., :0]
        >>> references = [
        ...     Reference(np.array([1.0, 1.0, c]), f, n, n, np.zeros((0, 1, 1)))
        ...     for c, f, n in zip((0.0, 1.0), features, none)
        ... ]
        >>> from bayescg.physics import CartesianCoordinate, UmbrellaWindows
        >>> windows = UmbrellaWindows.grid([0.0, 1.0], stiffness=[1.0])
        >>> coordinates = (CartesianCoordinate(0, 0),)
        >>> samples = UmbrellaSamples(references, windows, coordinates, np.array([[1.0]]), kT=1.0)
        >>> samples.overlap().round(1).tolist()
        [[0.6, 0.4], [0.4, 0.6]]
    """

    def __init__(
        self,
        references: Sequence[Reference],
        windows: UmbrellaWindows,
        coordinates: tuple[ReactionCoordinate, ...],
        coefficients: Float[np.ndarray, "draw feature"],
        *,
        kT: float,
    ):
        if len(references) != len(windows.centres) * len(coefficients):
            raise InputError(
                f"umbrella sampling: {len(references)} simulations for {len(windows.centres)} windows at"
                f" {len(coefficients)} draws; expected one for each window at each draw"
            )
        self.references, self.windows, self.coordinates = tuple(references), windows, tuple(coordinates)
        self.coefficients, self.kT = np.asarray(coefficients, float), float(kT)
        self._changes = _energy_changes(self.references)
        self._refuse_gaps()

    @cached_property
    def bank(self) -> ReferenceBank:
        start = _guess(self._changes.mean / self.kT)
        try:
            return ReferenceBank(1.0 / self.kT, self.references, start=start)
        except ConvergenceError as error:
            order = "simulations are numbered draw by draw, window by window"
            raise ConvergenceError(f"umbrella windows overlap too little ({order}): {error}") from error

    @cached_property
    def values(self) -> Float[np.ndarray, "frame coordinate"]:
        features = np.concatenate([r.features.reshape(r.n_frames, -1) for r in self.references])
        return coordinate_values(features[:, -2 * len(self.coordinates) :], self.coordinates)

    def overlap(self) -> Float[np.ndarray, "state state"]:
        """Probability that MBAR assigns a frame of one simulation to another, windows of the first draw first.

        A neighbour's entry below 0.03 means that free energies hang on few frames.

        References:
            Klimovich, Shirts & Mobley (2015), doi:10.1007/s10822-015-9840-9.
        """
        return self.bank.overlap()

    def weakest_link(self) -> tuple[str, float]:
        """The window that overlaps least with all others together, and that share of its frames."""
        matrix = self.overlap()
        elsewhere = 1.0 - np.diag(matrix)
        least = int(np.argmin(elsewhere))
        return self._names([least])[0], float(elsewhere[least])

    def unbiased(self, coefficients: Float[np.ndarray, "draw feature"]) -> Float[np.ndarray, "draw feature"]:
        """η of all features with no bias."""
        none = np.zeros((len(coefficients), 2 * len(self.coordinates)))
        return np.concatenate([coefficients, none], axis=1)

    def _names(self, states: Sequence[int]) -> list[str]:
        names, n = self.windows.names(), len(self.windows.centres)
        if len(self.coefficients) == 1:
            return [names[k] for k in states]
        return [f"{names[k % n]} of draw {k // n}" for k in states]

    def _refuse_gaps(self) -> None:
        """Two simulations are linked where their distributions of the energy difference meet.

        u_j − u_i has its mean above the free-energy difference in state i and below it in state j; both distributions
        cross at the difference (Crooks 1999, doi:10.1103/PhysRevE.60.2721). Where the bulk of one ends before that of
        the other begins, nothing but extreme frames relates the two.
        """
        low, high, _ = self._changes
        meet = (low <= -low.T) & (high >= -high.T)
        n_groups, group = connected_components(meet, directed=False)
        if n_groups > 1:
            main = np.argmax(np.bincount(group))
            lost = self._names(np.flatnonzero(group != main).tolist())
            shown = "; ".join(lost[:6]) + (f"; and {len(lost) - 6} more" if len(lost) > 6 else "")
            raise ConvergenceError(
                f"umbrella windows {shown}: no overlap with the other {int((group == main).sum())}; add windows in"
                " between or make the biases softer"
            )


def _energy_changes(references: Sequence[Reference]) -> _Changes:
    eta = np.stack([r.coefficients for r in references])
    low, high, mean = np.zeros((3, len(eta), len(eta)))
    for i, reference in enumerate(references):
        change = reference.features.reshape(reference.n_frames, -1) @ (eta - eta[i]).T
        low[i], high[i] = np.quantile(change, [_TAIL, 1.0 - _TAIL], axis=0)
        mean[i] = change.mean(axis=0)
    return _Changes(low, high, mean)


def _guess(mean: Float[np.ndarray, "state state"]) -> Float[np.ndarray, " state"]:
    """Free energies for MBAR to begin with, along the tree that links the simulations most alike.

    f_j − f_i lies between the mean of u_j − u_i in i and in j, and half-way if both are normal.
    """
    apart = np.maximum(mean + mean.T, 1e-12)  # twice the symmetrised relative entropy; 0 would be no link
    np.fill_diagonal(apart, 0.0)
    tree = minimum_spanning_tree(apart)
    order, parent = breadth_first_order(tree, 0, directed=False)
    free = np.zeros(len(mean))
    for j in order[1:]:
        i = parent[j]
        free[j] = free[i] + 0.5 * (mean[i, j] - mean[j, i])
    return free


def umbrella_sampling(
    potentials: Sequence[Potential],
    windows: UmbrellaWindows,
    *,
    coordinates: Sequence[ReactionCoordinate],
    state: UmbrellaState,
    settings: SimulationSettings,
    starts: Float[np.ndarray, "window replica site dim"],
    key: Key[Array, ""],
    n_samples: int,
) -> UmbrellaSamples:
    """Sample exp(−β[U_θ + V_w]) in every window w at every draw θ, as one batch of replicas.

    Dynamics, Metropolis' test, equilibration and its tests are those of `Simulator`.

    Args:
        potentials: U at each draw of the parameters; one for a single potential.
        windows: centres and stiffnesses of the biases V_w.
        coordinates: reaction coordinates that the windows hold.
        state: sites, box, temperature.
        settings: time step, sampling; its number of replicas is not used, `starts` has it.
        starts: of each replica in each window, as `starts_in_windows` makes them [length].
        key: PRNG key.
        n_samples: frames kept of each replica.

    Raises:
        InputError: no potentials, fewer than two replicas, shapes that do not fit, JAX without 64-bit numbers.
        SimulationError: a replica failed or did not equilibrate.
        ConvergenceError: windows that do not overlap; the message names them.

    Example:
        >>> import jax
        >>> from bayescg.data import get_unit_system
        >>> from bayescg.physics import CartesianCoordinate, DoubleWell
        >>> windows = UmbrellaWindows.grid([-1.0, 0.0, 1.0], stiffness=[4.0])
        >>> samples = umbrella_sampling(
        ...     [DoubleWell(1.0, 1.0)],
        ...     windows,
        ...     coordinates=[CartesianCoordinate(0, 0)],
        ...     state=UmbrellaState(Topology(("A",), np.ones(1)), np.full(1, np.inf), get_unit_system("lj"), 1.0),
        ...     settings=SimulationSettings(0.1, 1.0, stride=5, n_replicas=4, equilibration=10),
        ...     starts=np.tile(windows.centres[:, None, None], (1, 4, 1, 1)),
        ...     key=jax.random.key(0),
        ...     n_samples=10,
        ... )
        >>> samples.overlap().shape
        (3, 3)
    """
    chosen, n_windows = tuple(coordinates), len(windows.centres)
    if not potentials or starts.ndim != 4 or len(starts) != n_windows or starts.shape[1] < 2:
        raise InputError(
            f"umbrella sampling: {len(potentials)} potentials, starts of the shape {starts.shape}; expected at least one"
            f" potential and starts [{n_windows} windows, 2 or more replicas, sites, dimensions]"
        )
    if windows.centres.shape != (n_windows, len(chosen)) or windows.stiffness.shape != windows.centres.shape:
        raise InputError(
            f"umbrella windows: centres {windows.centres.shape}, stiffnesses {windows.stiffness.shape}; expected"
            f" [window, {len(chosen)}] of both"
        )
    biases = [
        UmbrellaBias(jnp.asarray(k), jnp.asarray(c), coordinates=chosen)
        for k, c in zip(windows.stiffness, windows.centres, strict=True)
    ]
    biased = [potential + bias for potential in potentials for bias in biases]
    simulator = Simulator(
        biased[0],
        topology=state.topology,
        box=state.box,
        units=state.units,
        temperature=state.temperature,
        settings=settings,
    )
    every = np.tile(starts.reshape(-1, *starts.shape[2:]), (len(potentials), 1, 1))
    references = simulator.simulate(biased, starts=every, key=key, n_samples=n_samples, purpose="umbrella")
    eta = np.stack([np.asarray(p.coefficients(), np.float64) for p in potentials])
    return UmbrellaSamples(references, windows, chosen, eta, kT=state.kT)
