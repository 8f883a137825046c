"""What makes data unusable for a model, found while they are read."""

from pathlib import Path

import numpy as np

from bayescg.data import Frames
from bayescg.errors import InputError
from bayescg.physics import PairPotential, Potential
from bayescg.physics._potential import terms_of

LEAST_FRAMES = 20
LEAST_BINS = 4
"""Fewest bins of g(r) up to the shortest cutoff."""
MOST_BINS = 10_000
"""Most bins of g(r): each is stored for every frame of every reference simulation."""


class Inspector:
    """Raises on what no inference can mend, block by block.

    Args:
        potential: the potential.
        n_frames: number of all frames.
        rdf_bin: width of the bins of g(r) [length].
        path: the model file, named in errors.

    Raises:
        InputError: too few frames.
    """

    def __init__(self, potential: Potential, *, n_frames: int, rdf_bin: float, path: Path):
        if n_frames < LEAST_FRAMES:
            raise InputError(
                f"{path}: key 'data': {n_frames} frames are too few to see their own correlations, at least"
                f" {LEAST_FRAMES} are needed (hundreds to learn anything); give a longer trajectory"
            )
        self._pairs = [term for term in terms_of(potential) if isinstance(term, PairPotential)]
        self._structure = len(self._pairs) == len(terms_of(potential))
        self._rdf_bin, self._path = rdf_bin, path
        self._low: np.ndarray | None = None
        self._high = np.zeros(0)

    def __call__(self, block: Frames) -> None:
        """Looks at a block.

        Raises:
            InputError: a box too small for the cutoff or for the bins of g(r), sites of several types, a box that
                changes.
        """
        low, high = block.box.min(axis=0), block.box.max(axis=0)
        if self._low is None:
            self._first_block(block)
            self._low, self._high = low, high
        if len(low) != len(self._low):
            raise InputError(
                f"{self._path}: key 'data': frames in {len(low)} and in {len(self._low)} dimensions; keep them apart"
            )
        self._low, self._high = np.minimum(self._low, low), np.maximum(self._high, high)
        change = np.subtract(
            self._high, self._low, out=np.zeros(len(low)), where=self._low != self._high
        )  # open edges are both inf
        if self._pairs and change.max() > 1e-6 * float(self._low.min()):
            raise InputError(
                f"{self._path}: key 'data': the box changes from frame to frame; use a run at constant volume"
            )

    def _first_block(self, block: Frames) -> None:
        shortest, unit = float(block.box.min()), block.units.unit("length")
        for term in self._pairs:
            if np.isfinite(shortest) and 2.0 * term.cutoff > shortest * (1.0 + 1e-9):
                raise InputError(
                    f"{self._path}: key 'potential.{term.name}.cutoff': {term.cutoff:g} is more than half the shortest"
                    f" box edge ({shortest:g} {unit}); shorten the cutoff or use a larger system"
                )
        types = sorted(set(block.topology.site_types))
        if self._pairs and len(types) > 1:
            raise InputError(
                f"{self._path}: key 'data': the sites are of {len(types)} types ({', '.join(types)}), but pair"
                " potentials here act between sites of one type; map to one site per molecule"
            )
        if self._structure and block.dim == 3:
            self._check_bins(shortest, unit)

    def _check_bins(self, shortest: float, unit: str) -> None:
        cutoff = min(term.cutoff for term in self._pairs)
        reach = shortest / 2.0 if np.isfinite(shortest) else max(term.cutoff for term in self._pairs)
        told = f"{self._path}: key 'prediction.rdf_bin': bins of {self._rdf_bin:g} {unit}"
        if self._rdf_bin > cutoff / LEAST_BINS:
            raise InputError(
                f"{told} are too wide to show g(r) up to the cutoff ({cutoff:g}) or half the box ({reach:g}): give less,"
                f" for example {cutoff / 50:.1g}"
            )
        if reach / self._rdf_bin > MOST_BINS:
            raise InputError(
                f"{told} are more than {MOST_BINS} up to {reach:g} {unit}: give more, for example {cutoff / 50:.1g}"
            )
