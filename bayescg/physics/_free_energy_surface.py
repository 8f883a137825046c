"""Free energies along reaction coordinates from umbrella sampling, with and without the Jacobian, and their errors."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse
from jaxtyping import Bool, Float, Int

from bayescg.errors import InputError
from bayescg.physics._bank import ReferenceBank
from bayescg.physics._estimate import Estimate
from bayescg.physics._umbrella import UmbrellaSamples

LEAST_FRAMES = 10.0
"""Effective number of frames in a bin below which its free energy is not given."""


class FreeEnergySurface(NamedTuple):
    """Free energies over the bins of one or two reaction coordinates, for each draw of the parameters.

    Two conventions, both relative to their lowest bin, NaN where a bin has too few effective frames; where several bins
    are about equally low, the lowest is so by chance too, and `difference` of regions chosen beforehand is the fair number:
    `free_energy` is −kT ln ρ(ξ), with the Jacobian left in: the probability of finding ξ.
    `potential_of_mean_force` is −kT ln[ρ(ξ)/J(ξ)], with the Jacobian (r², sin θ) taken out: what the mean force along ξ
    derives from, 0 everywhere for sites that do not interact.

    Attributes:
        edges: bin edges of each coordinate.
        density: ρ, mean over the bin, normalised over all bins [draw *bin].
        free_energy: [draw *bin] [energy].
        free_energy_error: standard error of its difference to the lowest bin, from simulation alone [draw *bin].
        potential_of_mean_force: [draw *bin] [energy].
        potential_of_mean_force_error: standard error of its difference to the lowest bin [draw *bin].
        effective_frames: Kish's effective number of frames in the bin [draw *bin].
        response: change of ln ρ by each independent block of frames; squares add up to the variance [draw block *bin].
        degrees_of_freedom: blocks less simulations.
        kT: [energy].

    Example:
        >>> flat = np.full((1, 2), 0.5)
        >>> response = np.array([[[0.1, -0.1]]])
        >>> FreeEnergySurface((np.arange(3.0),), flat, 0 * flat, flat, 0 * flat, flat, flat, response, 9, 1.0).difference(
        ...     np.array([True, False]), np.array([False, True])
        ... )
        Estimate(value=0.0, standard_error=0.2, degrees_of_freedom=9.0)
    """

    edges: tuple[Float[np.ndarray, " edge"], ...]
    density: Float[np.ndarray, "draw *bin"]
    free_energy: Float[np.ndarray, "draw *bin"]
    free_energy_error: Float[np.ndarray, "draw *bin"]
    potential_of_mean_force: Float[np.ndarray, "draw *bin"]
    potential_of_mean_force_error: Float[np.ndarray, "draw *bin"]
    effective_frames: Float[np.ndarray, "draw *bin"]
    response: Float[np.ndarray, "draw block *bin"]
    degrees_of_freedom: int
    kT: float

    @property
    def centres(self) -> tuple[Float[np.ndarray, " bin"], ...]:
        """Middle of the bins of each coordinate."""
        return tuple(0.5 * (e[1:] + e[:-1]) for e in self.edges)

    def difference(
        self, first: Bool[np.ndarray, "*bin"], second: Bool[np.ndarray, "*bin"], *, draw: int = 0
    ) -> Estimate:
        """Free energy of one region minus that of another, −kT ln(P_first/P_second), the Jacobian left in.

        Args:
            first: bins of the region.
            second: bins of the other.
            draw: of the parameters.

        Raises:
            InputError: masks of another shape than the bins, or a region that was never visited.
        """
        shape = self.density.shape[1:]
        if first.shape != shape or second.shape != shape:
            raise InputError(
                f"free energy: regions {first.shape}, {second.shape}; expected masks of {shape} bins"
            )
        share = (self.density[draw] * _widths(self.edges)).ravel()
        response = self.response[draw].reshape(self.response.shape[1], -1)
        logs, changes = [], []
        for region in (first.ravel(), second.ravel()):
            p = share * region
            if not p.sum() > 0.0:
                raise InputError("free energy: a region holds no frames; widen it or simulate longer")
            logs.append(np.log(p.sum()))
            changes.append(response @ (p / p.sum()))
        error = self.kT * np.linalg.norm(changes[0] - changes[1])
        return Estimate(float(self.kT * (logs[1] - logs[0])), float(error), float(self.degrees_of_freedom))

    def over_draws(self) -> tuple[Float[np.ndarray, "*bin"], Float[np.ndarray, "*bin"]]:
        """Mean of the potential of mean force over draws and its whole error, parameters and simulation.

        The standard deviation over draws already holds what is left of the simulation's error that differs between
        draws; the mean squared standard error is added in full, which is on the wide side.

        Raises:
            InputError: a single draw.
        """
        if len(self.density) < 2:
            raise InputError("free energy over draws: one draw of the parameters; expected at least two")
        pmf = self.potential_of_mean_force
        error = np.sqrt(pmf.var(axis=0, ddof=1) + np.mean(self.potential_of_mean_force_error**2, axis=0))
        return pmf.mean(axis=0), error


def free_energy_surface(
    samples: UmbrellaSamples,
    *,
    edges: Sequence[Float[np.ndarray, " edge"]],
    coefficients: Float[np.ndarray, "draw feature"] | None = None,
    least_frames: float = LEAST_FRAMES,
) -> FreeEnergySurface:
    """Free energy over bins of the reaction coordinates, by MBAR with the biases taken out.

    The density in a bin is the sum of the weights exp(−β η·φ)/D of all frames that fall into it, whatever their window.
    Standard errors come from blocks of frames (replicas, or parts of them where they are few), with the
    effect of each block on the free energies of the windows.

    Args:
        samples: of umbrella sampling.
        edges: bin edges of each coordinate; those of a periodic one span no more than its period.
        coefficients: η of further draws of the parameters, reached by reweighting without new simulation; the draws
            that were simulated by default.
        least_frames: effective frames that a bin needs at a draw; below it, and NaN, is where the overlap ends.

    Raises:
        InputError: edges that do not rise, no bins with frames, or draws that the frames do not reach in any bin.

    References:
        Shirts & Chodera (2008), doi:10.1063/1.2978177, eqs. 13-15; Khavrutskii, Dzubiella & McCammon (2008),
        doi:10.1063/1.2825620, for the Jacobian.

    Example:
        >>> x = np.random.default_rng(1).normal([[[-0.5]], [[0.5]]], np.sqrt(0.5), size=(2, 10, 400))
        >>> phi = np.stack([x**2 / 2, x**2 / 2, -x], axis=-1)  # U = ξ²/2, bias (ξ ∓ 1)²/2
        >>> from bayescg.physics import CartesianCoordinate, Reference, UmbrellaWindows
        >>> references = [
        ...     Reference(np.array([1.0, 1.0, c]), p, p[..., :0], p[..., :0], np.zeros((0, 1, 1)))
        ...     for c, p in zip((-1.0, 1.0), phi)
        ... ]
        >>> windows = UmbrellaWindows.grid([-1.0, 1.0], stiffness=[1.0])
        >>> samples = UmbrellaSamples(references, windows, (CartesianCoordinate(0, 0),), np.ones((1, 1)), kT=1.0)
        >>> found = free_energy_surface(samples, edges=[np.array([-0.1, 0.1, 0.9, 1.1])])
        >>> bool(abs(found.free_energy[0, 2] - 0.5) < 4 * found.free_energy_error[0, 2])  # ½ 1² − 0
        True
    """
    grid = _checked_edges(samples, edges)
    eta = samples.coefficients if coefficients is None else np.asarray(coefficients, float)
    if eta.ndim != 2 or eta.shape[1] != samples.coefficients.shape[1]:
        raise InputError(
            f"free energy: coefficients of the shape {eta.shape}; expected [draw, {samples.coefficients.shape[1]}]"
        )
    bins = _bin_of_frames(samples, grid)
    shape = tuple(len(e) - 1 for e in grid)
    n_bins, bank = int(np.prod(shape)), samples.bank
    share, effective, response = _shares(bank, samples.unbiased(eta), bins, n_bins)
    response -= np.einsum("dkb,db->dk", response, share)[:, :, None]  # of what is normalised over the bins
    enough = effective >= least_frames
    lost = np.flatnonzero(~enough.any(axis=1))
    if len(lost):
        raise InputError(
            f"free energy: draws {', '.join(map(str, lost))} have fewer than {least_frames:g} effective frames in every"
            " bin; simulate windows at one of them, or widen the bins"
        )
    volume = np.ones(1)
    for coordinate, e in zip(samples.coordinates, grid, strict=True):
        volume = np.multiply.outer(volume, coordinate.volume(e))
    width = _widths(grid).ravel()
    left_in = _relative(share, width, response, enough, samples.kT)
    taken_out = _relative(share, volume.ravel(), response, enough, samples.kT)
    return FreeEnergySurface(
        edges=tuple(grid),
        density=(share / width).reshape(-1, *shape),
        free_energy=left_in[0].reshape(-1, *shape),
        free_energy_error=left_in[1].reshape(-1, *shape),
        potential_of_mean_force=taken_out[0].reshape(-1, *shape),
        potential_of_mean_force_error=taken_out[1].reshape(-1, *shape),
        effective_frames=effective.reshape(-1, *shape),
        response=response.reshape(*response.shape[:2], *shape),
        degrees_of_freedom=response.shape[1] - len(bank.references),
        kT=samples.kT,
    )


def _checked_edges(samples: UmbrellaSamples, edges: Sequence[np.ndarray]) -> list[np.ndarray]:
    grid = [np.asarray(e, float) for e in edges]
    if len(grid) != len(samples.coordinates):
        raise InputError(
            f"free energy: edges of {len(grid)} coordinates; expected {len(samples.coordinates)}"
        )
    for e, coordinate in zip(grid, samples.coordinates, strict=True):
        if e.ndim != 1 or len(e) < 3 or not (np.diff(e) > 0.0).all():
            raise InputError(f"free energy: edges {e.tolist()[:4]}; expected at least three that rise")
        if e[-1] - e[0] > coordinate.period * (1.0 + 1e-9):
            raise InputError(
                f"free energy: bins from {e[0]:g} to {e[-1]:g} span more than the period {coordinate.period:g}"
            )
    return grid


def _widths(edges: Sequence[np.ndarray]) -> Float[np.ndarray, "*bin"]:
    """Width, or area, of the bins."""
    area = np.ones(())
    for e in edges:
        area = np.multiply.outer(area, np.diff(e))
    return area


def _bin_of_frames(samples: UmbrellaSamples, grid: list[np.ndarray]) -> Int[np.ndarray, " frame"]:
    """Number of the bin that each frame falls into, or of bins altogether where it falls outside."""
    number, inside = np.zeros(len(samples.values), int), np.ones(len(samples.values), bool)
    for x, e, coordinate in zip(samples.values.T, grid, samples.coordinates, strict=True):
        if np.isfinite(coordinate.period):
            x = e[0] + np.mod(x - e[0], coordinate.period)
        place = np.searchsorted(e, x, side="right") - 1
        inside &= (place >= 0) & (place < len(e) - 1)
        number = number * (len(e) - 1) + place
    n_bins = int(np.prod([len(e) - 1 for e in grid]))
    if not inside.any():
        raise InputError("free energy: no frame falls into the bins; choose edges that cover the windows")
    return np.where(inside, number, n_bins)


def _shares(
    bank: ReferenceBank, eta: Float[np.ndarray, "draw feature"], bins: Int[np.ndarray, " frame"], n_bins: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Share and effective frames of each bin [draw bin], and the response of ln share to blocks [draw block bin]."""
    frames, n_blocks = np.arange(len(bins)), bank.block_index[-1] + 1
    in_bin = scipy.sparse.csr_matrix((np.ones(len(bins)), (frames, bins)), (len(bins), n_bins + 1))
    in_both = scipy.sparse.csr_matrix(
        (np.ones(len(bins)), (frames, bank.block_index * (n_bins + 1) + bins)),
        (len(bins), n_blocks * (n_bins + 1)),
    )
    in_block = scipy.sparse.csr_matrix(
        (np.ones(len(bins)), (frames, bank.block_index)), (len(bins), n_blocks)
    )
    state_weights, free = bank._free_energy_influence(bank.features - bank.centre)
    free_of_block = (in_block.T @ free.T).T
    first = np.unique(bank.block_index, return_index=True)[1]
    state_of_block, size = bank.reference_index[first], np.bincount(bank.block_index)
    parts = []
    few = max(1, int(2e7 // state_weights.size))  # draws at once, as many as fit into memory
    for start in range(0, len(eta), few):
        w = bank.draw_weights(eta[start : start + few])
        p = (in_bin.T @ w.T).T
        squared = (in_bin.T @ (w**2).T).T
        safe = np.where(p > 0.0, p, 1.0)
        both = (in_both.T @ w.T).T.reshape(len(w), n_blocks, n_bins + 1) / safe[:, None]
        product = (w[:, None, :] * state_weights).reshape(-1, len(bins))
        of_state = (in_bin.T @ product.T).T.reshape(len(w), -1, n_bins + 1) / safe[:, None]
        change = (
            both
            - size[:, None] * of_state[:, state_of_block]
            - np.einsum("k,dkb,kB->dBb", bank.n_frames, of_state, free_of_block)
        )
        p, squared, change = p[:, :-1], squared[:, :-1], change[:, :, :-1]
        total = p.sum(axis=1, keepdims=True)
        total = np.where(total > 0.0, total, 1.0)
        parts.append((p / total, p**2 / np.where(squared > 0.0, squared, 1.0), change))
    share, effective, change = (np.concatenate(column) for column in zip(*parts, strict=True))
    for k in range(len(bank.references)):
        own = state_of_block == k
        if own.sum() < 2:
            raise InputError("the Monte-Carlo error needs at least 2 replicas in every window")
        centred = change[:, own] - change[:, own].mean(axis=1, keepdims=True)
        change[:, own] = np.sqrt(own.sum() / (own.sum() - 1)) * centred
    return share, effective, change


def _relative(
    share: Float[np.ndarray, "draw bin"],
    volume: Float[np.ndarray, " bin"],
    response: Float[np.ndarray, "draw block bin"],
    enough: Bool[np.ndarray, "draw bin"],
    kT: float,
) -> tuple[Float[np.ndarray, "draw bin"], Float[np.ndarray, "draw bin"]]:
    """−kT ln(share/volume) above its lowest bin and the standard error of that, NaN where frames are too few."""
    with np.errstate(divide="ignore"):
        free = np.where(enough, -kT * np.log(share / volume), np.nan)
    lowest = np.nanargmin(free, axis=1)
    draw = np.arange(len(free))
    error = kT * np.linalg.norm(response - response[draw, :, lowest][:, :, None], axis=1)
    return free - free[draw, lowest][:, None], np.where(enough, error, np.nan)
