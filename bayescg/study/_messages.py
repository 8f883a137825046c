"""What is wrong with a model file, in one line: its key, what was found, what is expected."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from bayescg.data import get_unit_system
from bayescg.errors import InputError

_QUANTITIES = {
    "temperature": "temperature", "time_step": "time", "rdf_bin": "length", "inner": "length", "cutoff": "length",
    "spacing": "length", "outer_spacing": "length", "core_distance": "length", "onset": "length", "sigma": "length",
    "core_strength": "energy", "epsilon": "energy", "smoothness": "energy",
}  # fmt: skip
"""What the number under a key measures, wherever the key stands."""

_EXPECTED: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "greater_than": lambda limits: f"a number above {limits['gt']:.15g}",
    "greater_than_equal": lambda limits: f"{_kind(limits['ge'])} of at least {limits['ge']:.15g}",
    "less_than_equal": lambda limits: f"{_kind(limits['le'])} of at most {limits['le']:.15g}",
    "finite_number": lambda limits: "a finite number",
    "float_type": lambda limits: "a number",
    "float_parsing": lambda limits: "a number",
    "int_type": lambda limits: "a whole number",
    "int_parsing": lambda limits: "a whole number",
    "int_from_float": lambda limits: "a whole number",
    "int_parsing_size": lambda limits: "a smaller whole number",
    "string_type": lambda limits: "a text in quotes",
    "path_type": lambda limits: "the name of a file in quotes",
    "literal_error": lambda limits: f"one of {limits['expected'].replace(' or ', ', ')}",
    "too_short": lambda limits: f"at least {_entries(limits['min_length'])}",
    "too_long": lambda limits: f"at most {_entries(limits['max_length'])}",
    "tuple_type": lambda limits: "a list in brackets",
    "dict_type": lambda limits: "a table",
    "model_type": lambda limits: "a table",
    "model_attributes_type": lambda limits: "a table",
}
"""What each of pydantic's types of error says was expected."""


def describe_problem(error: ValidationError, document: Mapping[str, Any]) -> str:
    """The first problem of a model file, misspelt keys before all others.

    Args:
        error: what pydantic found.
        document: the file's tables, for the units of its numbers.
    """
    details = error.errors()
    # a list with a wrong entry is told to be too short as well, which says nothing
    first = min(
        details, key=lambda d: (d["type"] != "extra_forbidden", d["type"] == "too_short", len(d["loc"]))
    )
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    place, kind, limits = list(first["loc"]), first["type"], first.get("ctx", {})
    if len(place) > 2 and place[0] in ("potential", "prior"):
        del place[2]  # pydantic puts the kind of the table there, which is no key of the file
    place = _keys_of_the_file(place, document, missing=kind == "missing")
    key = _key(place)
    if kind == "extra_forbidden":
        return f"unknown key '{key}': remove it or correct its spelling{more}"
    if kind == "missing":
        return f"key '{key}' is missing: add it{more}"
    if kind == "union_tag_not_found":
        return f"key '{key}.kind' is missing: add it{more}"
    if kind == "union_tag_invalid":
        return f"key '{key}.kind': found {limits['tag']!r}, expected one of {limits['expected_tags']}{more}"
    found = "" if isinstance(first["input"], dict) else f"found {_short(first['input'])}"
    if kind == "prior" and first["input"]:
        found = "found only " + ", ".join(f"`{name}`" for name in first["input"])
    if kind in _EXPECTED:
        expected = f"expected {_EXPECTED[kind](limits)}{_unit(place, document)}"
    else:
        expected = first["msg"].removeprefix("Value error, ")
    told = ", ".join(part for part in (found, expected) if part)
    return (f"key '{key}': " if key else "") + told + more


def _keys_of_the_file(
    place: Sequence[str | int], document: Mapping[str, Any], *, missing: bool
) -> list[str | int]:
    """A place without what pydantic adds of its own: the kinds of tables, and the types that a value may have.

    Args:
        place: as pydantic gives it.
        document: the file's tables.
        missing: whether the last of the place is a key that the file lacks.
    """
    kept: list[str | int] = []
    here: Any = document
    for step, part in enumerate(place):
        held = range(len(here)) if isinstance(here, list) else here if isinstance(here, Mapping) else ()
        if part in held:
            kept.append(part)
            here = here[part]
        elif missing and step == len(place) - 1:
            kept.append(part)
    return kept


def _key(place: Sequence[str | int]) -> str:
    """A key as the file's reader would write it, such as mapping.beads[0].weights."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def _unit(place: Sequence[str | int], document: Mapping[str, Any]) -> str:
    """The unit that a key's number is in, if it has one and the file says in which units it speaks."""
    name = next((part for part in reversed(place) if isinstance(part, str)), "")
    try:
        units = get_unit_system(str(document.get("units")))
    except InputError:
        return ""
    if name == "friction":
        return f" [1/{units.time}]"
    return f" [{units.unit(_QUANTITIES[name])}]" if name in _QUANTITIES else ""


def _kind(limit: float) -> str:
    return "a whole number" if isinstance(limit, int) else "a number"


def _entries(count: int) -> str:
    return "one entry" if count == 1 else f"{count} entries"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 60 else text[:57] + "..."
