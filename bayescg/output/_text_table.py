"""Tables in text, their columns aligned."""

from collections.abc import Collection, Sequence


def aligned(rows: Sequence[Sequence[str]], *, left: Collection[int]) -> list[str]:
    """A line per row, two blanks between columns.

    Args:
        rows: cells, as many in each row.
        left: columns that begin at the left; the others end at the right.

    Example:
        >>> print("\\n".join(aligned([("name", "sd"), ("k", "0.125")], left=(0,))))
        name     sd
        k     0.125
    """
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if k in left else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
