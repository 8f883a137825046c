"""The name under which a prediction is kept, so that answers to different questions lie side by side."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from bayescg.errors import InputError

PLAIN = "predictions"
"""What the default observables at the run's own state are kept as; other names begin with it."""
LONGEST = 150
"""Letters of a name made here; a longer one is cut and told from others by a checksum."""
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


def prediction_name(
    observables: Sequence[str],
    *,
    temperature: float | None = None,
    n_sites: int | None = None,
    density: float | None = None,
    from_prior: bool = False,
    observed: Path | None = None,
    name: str | None = None,
) -> str:
    """Name of a prediction: what was asked for, in which state; how well it was computed does not matter.

    Args:
        observables: names asked for, in any order; none for the default ones.
        temperature, n_sites, density: of the state where they are not the run's.
        from_prior: draws of the prior.
        observed: file with values that it was compared with.
        name: a name of the user's own in place of all that.

    Raises:
        InputError: a name of one's own that is none for a file.

    Example:
        >>> prediction_name([])
        'predictions'
        >>> prediction_name(["pressure", "energy"], temperature=90.0, observed=Path("data/measured.csv"))
        'predictions-energy-pressure-T90-against-measured'
        >>> prediction_name(["pressure"], name="cold")
        'predictions-cold'
    """
    if name is not None:
        if not _WORD.fullmatch(name):
            raise InputError(
                f"name {name!r}: at most 80 letters, digits, dots, hyphens and underscores expected, a letter or digit first"
            )
        return f"{PLAIN}-{name}"
    state = {"T": temperature, "N": n_sites, "rho": density}
    words = [
        *sorted(set(observables)),
        *(f"{key}{value:g}" for key, value in state.items() if value is not None),
    ]
    if from_prior:
        words.append("prior")
    if observed is not None:
        words.append("against-" + re.sub(r"[^A-Za-z0-9._-]", "_", observed.stem))
    made = "-".join([PLAIN, *words])
    if len(made) <= LONGEST:
        return made
    return f"{made[:LONGEST].rstrip('-')}-{hashlib.sha256(made.encode()).hexdigest()[:8]}"
