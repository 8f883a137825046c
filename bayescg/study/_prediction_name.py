"""The name under which a prediction is kept, so that answers to different questions lie side by side."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from bayescg.errors import InputError
from bayescg.study._predicted_observables import OBSERVABLES

PLAIN = "predictions"
"""What the default observables at the run's own state are kept as; other names begin with it."""
LONGEST = 150
"""Letters of a name made here; a longer one is cut and told from others by a checksum."""
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_NUMBER = r"-?[0-9][0-9.e+-]*"
_MADE_HERE = re.compile(
    rf"(-({'|'.join(OBSERVABLES)}))*(-T{_NUMBER})?(-N{_NUMBER})?(-rho{_NUMBER})?(-prior)?(-against-.*)?",
    re.IGNORECASE,
)
"""What a name looks like that is made of a question, a hyphen before it; some disks tell no capitals."""


def prediction_name(
    observables: Sequence[str],
    *,
    temperature: float | None = None,
    n_sites: int | None = None,
    density: float | None = None,
    from_prior: bool = False,
    observed: Path | str | None = None,
    name: str | None = None,
) -> str:
    """Name of a prediction: what was asked for, in which state; how well it was computed does not matter.

    Args:
        observables: names asked for, in any order; none for the default ones.
        temperature, n_sites, density: of the state where they are not the run's.
        from_prior: draws of the prior.
        observed: file with values that it was compared with; its folder is in the name as a checksum.
        name: a name of the user's own in place of all that.

    Raises:
        InputError: a name of one's own that is none for a file, or such as is made of a question.

    Example:
        >>> prediction_name([])
        'predictions'
        >>> prediction_name(["pressure", "energy"], temperature=90.0)
        'predictions-energy-pressure-T90'
        >>> prediction_name([], observed=Path("data/measured.csv"))  # doctest: +ELLIPSIS
        'predictions-against-measured.csv-...'
        >>> prediction_name(["pressure"], name="cold")
        'predictions-cold'
    """
    if name is not None:
        if not _WORD.fullmatch(name):
            raise InputError(
                f"name {name!r}: at most 80 letters, digits, dots, hyphens and underscores expected, a letter or digit first"
            )
        if _MADE_HERE.fullmatch(f"-{name}"):
            raise InputError(
                f"name {name!r}: is one that answers to a question get by themselves, and would replace one; choose another"
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
        file = Path(observed)
        place = hashlib.sha256(str(file.resolve()).encode()).hexdigest()[:6]
        words.append("against-" + re.sub(r"[^A-Za-z0-9._-]", "_", file.name) + f"-{place}")
    made = "-".join([PLAIN, *words])
    if len(made) <= LONGEST:
        return made
    return f"{made[:LONGEST].rstrip('-')}-{hashlib.sha256(made.encode()).hexdigest()[:8]}"
