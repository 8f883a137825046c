"""Sweeps of a stored run as tables in text."""

import xarray as xr

from bayescg.analysis import sweep_part
from bayescg.output._text_table import aligned

DATA_SIZE_HEAD = ("frames", "pieces", "fitted to", "left out", "gap ± se")
BASIS_HEAD = ("coefficients", "fitted to", "left out", "above best ± se", "criterion", "variance", "n_eff")


def sweep_table(joined: xr.Dataset) -> str:
    """Relative entropy by number of frames and, where it was swept, by size of the basis, in nats per frame.

    Args:
        joined: of `analysis.joined_sweeps`.

    Example:
        >>> from bayescg.analysis import joined_sweeps
        >>> names = ("gap", "gap_se", "train_relative_entropy", "held_out_relative_entropy")
        >>> values = {name: ("data_size", [0.2, 0.1]) for name in names}
        >>> flags = {"converged": ("data_size", [True, True]), "n_pieces": ("data_size", [8, 4])}
        >>> table = xr.Dataset(values | flags, coords={"data_size": [50, 100]})
        >>> print(sweep_table(joined_sweeps(table, None)).splitlines()[1])
            50       8     0.1000    0.1000  0.2000 ± 0.2000
    """
    by_size, by_basis = sweep_part(joined, "data_size"), sweep_part(joined, "basis")
    assert by_size is not None
    lines = _data_size(by_size)
    if by_basis is not None:
        lines += ["", *_basis(by_basis)]
    return "\n".join(lines)


def _data_size(table: xr.Dataset) -> list[str]:
    zero = float(table["held_out_relative_entropy"][-1])
    rows = [DATA_SIZE_HEAD]
    for n in table["data_size"].values:
        row = table.sel(data_size=n)
        rows.append(
            (
                f"{n}{_mark(row)}",
                f"{int(row['n_pieces'])}",
                f"{float(row['train_relative_entropy']) - zero:.4f}",
                f"{float(row['held_out_relative_entropy']) - zero:.4f}",
                f"{float(row['gap']):.4f} ± {float(row['gap_se']):.4f}",
            )
        )
    about = "Relative entropy in nats per frame, above that of frames left out by the longest pieces."
    return [*aligned(rows, left=()), about, *_legend(table)]


def _basis(table: xr.Dataset) -> list[str]:
    zero = float(table["block_cv"].sel(basis=table.attrs["best"]))
    rows = [BASIS_HEAD]
    for name in table.sortby("basis_size")["basis"].values:
        row = table.sel(basis=name)
        recommended = " <" if name == table.attrs["recommended"] else ""
        rows.append(
            (
                f"{name}{_mark(row)}{recommended}",
                f"{float(row['train_relative_entropy']) - zero:.4f}",
                f"{float(row['block_cv']) - zero:.4f}",
                f"{float(row['difference']):.4f} ± {float(row['difference_se']):.4f}",
                f"{float(row['tic']) - zero:.4f}",
                f"{float(row['variance']):.4f}",
                f"{float(row['effective_reference_frames']):.0f}",
            )
        )
    about = (
        "<: recommended. Relative entropy in nats per frame above the best of blocks left out; criterion: Takeuchi's;"
        " n_eff: effective reference frames."
    )
    return [*aligned(rows, left=(0,)), about, *_legend(table)]


def _mark(row: xr.Dataset) -> str:
    return "" if bool(row["converged"]) else " (!)"


def _legend(table: xr.Dataset) -> list[str]:
    lost = not table["converged"].values.astype(bool).all()
    return ["(!): the best fit lies beyond reach of the reference simulations."] if lost else []
