"""How complex a stored run may be, and what more data would bring: `bayescg sweep`."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import xarray as xr

from bayescg import analysis, output
from bayescg.analysis import LinearBasis
from bayescg.errors import InputError
from bayescg.physics import SplinePair, Surrogate
from bayescg.study._stored_fits import StoredFit, stored_fit
from bayescg.study._stored_verdict import best_point, cautions, refuse_labelled


def sweep_run(
    folder: Path, *, sizes: Sequence[int] | None = None, tell: Callable[[str], None] = lambda _: None
) -> xr.Dataset:
    """Sweeps over data size and, for a linear spline or series, basis size from a stored run; nothing is simulated.

    The model is taken as linear about its best parameters, hyperparameters held at their posterior mean; see
    `analysis.local_basis`.

    Args:
        folder: the run's output folder.
        sizes: numbers of coefficients of coarser bases; None for a default, if the potential has coarser ones.
        tell: hears what is being done.

    Returns:
        As `analysis.joined_sweeps`, with title and sentences.

    Raises:
        InputError: no run, no bank in it, a run on labelled configurations, data that changed, too few frames, sizes that
            are not coarser than the run's.

    Example:
        >>> sweep_run(Path("no-such-run"))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ...
        bayescg.errors.InputError: no-such-run/posterior.nc: no such file; name the output folder of a finished run ...
    """
    tree = output.open_result(folder)
    refuse_labelled(
        tree, folder, "have no free energy to sweep; compare runs of other potentials with `bayescg compare`"
    )
    tell(f"{folder}: reading data and references")
    fit = stored_fit(tree, folder)
    own = analysis.local_basis(fit.loaded.prior, best_point(fit))
    coarser = analysis.default_sizes(fit.loaded.potential) if sizes is None else tuple(sizes)
    bases = analysis.coarser_bases(fit.loaded.potential, own, coarser) if coarser or sizes is not None else []
    surrogate, none_made = fit.bank.surrogate(), ""
    by_size = _data_size(fit, surrogate, own, tell)
    by_basis = None
    if bases:
        tell(f"bases of {', '.join(basis.label for basis in bases)}")
        try:
            by_basis = analysis.basis_sweep(
                fit.loaded.statistics, surrogate, bases, start=own.offset, bank=fit.bank
            )
        except InputError as error:
            if sizes is not None:
                raise
            none_made = f"No sweep over bases: {error}."
    else:
        none_made = (
            "No sweep over bases: the potential is no linear spline or series, so it has no coarser ones."
        )
    joined = analysis.joined_sweeps(by_size, by_basis)
    sentences = [
        *analysis.sweep_sentences(joined),
        *_in_the_model_file(fit, by_basis),
        *([none_made] if none_made else []),
        *cautions(tree),
    ]
    return joined.assign_attrs(
        title="How complex may it be?", sentences=json.dumps(sentences), data_checksum=str(tree.attrs["data_checksum"])
    )  # fmt: skip


def _in_the_model_file(fit: StoredFit, table: xr.Dataset | None) -> list[str]:
    """How to ask for the recommended spline, where it is another one on even knots."""
    spline = fit.loaded.potential
    if (
        table is None
        or not isinstance(spline, SplinePair)
        or not np.allclose(np.diff(spline.knots, n=2), 0.0)
    ):
        return []
    size = int(table["basis_size"].sel(basis=table.attrs["recommended"]))
    if size == len(spline.knots) - 1:
        return []
    spacing = (spline.cutoff - spline.knots[0]) / size
    return [
        f"In the model file that is potential.{spline.name}.spacing = {spacing:.4g}; run it before you rely on it."
    ]


def _data_size(
    fit: StoredFit, surrogate: Surrogate, own: LinearBasis, tell: Callable[[str], None]
) -> xr.Dataset:
    statistics = fit.loaded.statistics
    n_frames = analysis.data_sizes(
        statistics.trajectory_lengths(),
        inefficiency=analysis.score_inefficiency(statistics),
        n_parameters=own.size,
    )
    tell(f"fits to pieces of {', '.join(map(str, n_frames))} frames")
    return analysis.data_size_sweep(
        statistics, surrogate, own, start=np.asarray(own.offset), n_frames=n_frames
    )
