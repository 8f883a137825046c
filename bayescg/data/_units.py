"""Named unit systems, as in LAMMPS: a study runs in one of them and every stored number carries its unit.

All factors follow from the SI values of five units and from CODATA 2018 (k_B, N_A, e exact by definition; the dalton
is taken as 1 g/mol exactly, as molecular dynamics programs do). Programs with older constants differ in the seventh
digit; ``real`` in LAMMPS has k_B = 0.0019872067 kcal/mol/K where CODATA 2018 gives 0.0019872043.

| system  | length | energy   | time | mass  | pressure |
|---------|--------|----------|------|-------|----------|
| gromacs | nm     | kJ/mol   | ps   | g/mol | bar      |
| metal   | Å      | eV       | ps   | g/mol | bar      |
| real    | Å      | kcal/mol | fs   | g/mol | atm      |
| lj      | σ      | ε        | τ    | m     | ε/σ³     |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from bayescg.errors import InputError

_BOLTZMANN = 1.380649e-23  # [J/K]
_AVOGADRO = 6.02214076e23  # [1/mol]
_ELEMENTARY_CHARGE = 1.602176634e-19  # [C]
_PER_MOL = 1.0 / _AVOGADRO

# SI value of every unit a file may name, by what it measures.
_SI: dict[str, dict[str, float]] = {
    "length": {"nm": 1e-9, "angstrom": 1e-10, "pm": 1e-12, "m": 1.0, "bohr": 5.29177210903e-11},
    "energy": {
        "kJ/mol": 1e3 * _PER_MOL,
        "kcal/mol": 4184.0 * _PER_MOL,
        "eV": _ELEMENTARY_CHARGE,
        "J": 1.0,
        "hartree": 4.3597447222071e-18,
    },
    "time": {"fs": 1e-15, "ps": 1e-12, "ns": 1e-9, "us": 1e-6, "s": 1.0},
    "mass": {"g/mol": 1e-3 * _PER_MOL, "kg": 1.0},
    "pressure": {"bar": 1e5, "atm": 101325.0, "Pa": 1.0, "kPa": 1e3, "MPa": 1e6, "GPa": 1e9},
    "temperature": {"K": 1.0},
    "charge": {"e": _ELEMENTARY_CHARGE, "C": 1.0},
}
_SI["force"] = {f"{e}/{x}": se / sx for e, se in _SI["energy"].items() for x, sx in _SI["length"].items()}
_SI["pressure"] |= {
    f"{e}/{x}^3": se / sx**3 for e, se in _SI["energy"].items() for x, sx in _SI["length"].items()
}
_SI["virial"] = _SI["energy"]

_SPELLINGS = {"å": "angstrom", "a": "angstrom", "angstroms": "angstrom", "ang": "angstrom"} | {
    "nanometer": "nm", "nanometre": "nm", "picosecond": "ps", "picoseconds": "ps", "femtosecond": "fs",
    "kelvin": "K", "amu": "g/mol", "dalton": "g/mol", "u": "g/mol", "da": "g/mol", "elementary_charge": "e",
}  # fmt: skip


@dataclass(frozen=True)
class UnitSystem:
    """The units of a study.

    Attributes:
        name: ``gromacs``, ``metal``, ``real`` or ``lj``.
        length, energy, time, mass, force, pressure, temperature, charge: the unit of each, as written in files.
        boltzmann: k_B [energy / temperature].
        pressure_factor: multiplies an energy per volume to give a pressure in this system's pressure unit.
        force_to_acceleration: multiplies a force per mass to give an acceleration [length / time²].

    Example:
        >>> from bayescg.data import get_unit_system
        >>> round(get_unit_system("gromacs").kT(300.0), 4)
        2.4943
    """

    name: str
    length: str
    energy: str
    time: str
    mass: str
    force: str
    pressure: str
    temperature: str
    charge: str
    boltzmann: float
    pressure_factor: float
    force_to_acceleration: float

    def kT(self, temperature: float) -> float:  # noqa: N802 (the field's own name)
        """Thermal energy k_B T [energy] at `temperature` [temperature]."""
        return self.boltzmann * temperature

    def beta(self, temperature: float) -> float:
        """Inverse thermal energy 1 / (k_B T) [1 / energy] at `temperature` [temperature]."""
        return 1.0 / (self.boltzmann * temperature)

    def unit(self, quantity: str) -> str:
        """The name of this system's unit of `quantity`.

        Args:
            quantity: ``length``, ``energy``, ``time``, ``mass``, ``force``, ``pressure``, ``temperature``,
                ``charge``, ``virial`` or ``dimensionless``, or powers and products of these: ``energy/length^2``,
                ``energy*length^6``, ``1/length``.

        Example:
            >>> get_unit_system("metal").unit("energy*length^6")
            'eV*angstrom^6'
        """
        names = {
            "length": self.length, "energy": self.energy, "time": self.time, "mass": self.mass, "force": self.force,
            "pressure": self.pressure, "temperature": self.temperature, "charge": self.charge, "virial": self.energy,
            "dimensionless": "1",
        }  # fmt: skip
        if quantity in names:
            return names[quantity]
        text = ""
        for base, power in _powers(quantity, names, self.name):
            times = "" if abs(power) == 1 else f"^{abs(power)}"
            text += ("/" if power < 0 else "*" if text else "") + names[base] + times
        return text if not text.startswith("/") else "1" + text


def _powers(quantity: str, known: Mapping[str, object], system: str) -> list[tuple[str, int]]:
    """The base quantities of a product of powers, and their exponents."""
    found = []
    for sign, base, power in re.findall(r"([*/]?)([A-Za-z1]+)(?:\^(\d+))?", quantity):
        if base != "1":
            found.append((base, (-1 if sign == "/" else 1) * int(power or 1)))
    written = re.fullmatch(r"\w+(\^\d+)?([*/]\w+(\^\d+)?)*", quantity)
    if written is None or not found or any(base not in known for base, _ in found):
        raise InputError(
            f"unit system {system}: no quantity {quantity!r}; known are {', '.join(known)} and their powers and products"
        )
    return found


def _clean(value: float) -> float:
    """Drops the last two digits, which are rounding of the products above (1 rather than 0.9999999999999998)."""
    return float(f"{value:.14g}")


def _physical(name: str, *, length: str, energy: str, time: str, pressure: str) -> UnitSystem:
    metre, joule = _SI["length"][length], _SI["energy"][energy]
    second, kilogram = _SI["time"][time], _SI["mass"]["g/mol"]
    return UnitSystem(
        name=name,
        length=length,
        energy=energy,
        time=time,
        mass="g/mol",
        force=f"{energy}/{length}",
        pressure=pressure,
        temperature="K",
        charge="e",
        boltzmann=_clean(_BOLTZMANN / joule),
        pressure_factor=_clean(joule / metre**3 / _SI["pressure"][pressure]),
        force_to_acceleration=_clean(joule / metre / kilogram * second**2 / metre),
    )


_SYSTEMS = {
    "gromacs": _physical("gromacs", length="nm", energy="kJ/mol", time="ps", pressure="bar"),
    "metal": _physical("metal", length="angstrom", energy="eV", time="ps", pressure="bar"),
    "real": _physical("real", length="angstrom", energy="kcal/mol", time="fs", pressure="atm"),
    "lj": UnitSystem(
        name="lj",
        length="sigma",
        energy="epsilon",
        time="tau",
        mass="m",
        force="epsilon/sigma",
        pressure="epsilon/sigma^3",
        temperature="epsilon/k_B",
        charge="q",
        boltzmann=1.0,
        pressure_factor=1.0,
        force_to_acceleration=1.0,
    ),
}


def get_unit_system(name: str) -> UnitSystem:
    """The unit system called `name`.

    Raises:
        InputError: `name` is none of gromacs, metal, real, lj.

    Example:
        >>> get_unit_system("metal").unit("energy/length")
        'eV/angstrom'
    """
    if name not in _SYSTEMS:
        raise InputError(f"unit system {name!r} is not known; expected one of {', '.join(_SYSTEMS)}")
    return _SYSTEMS[name]


def conversion(quantity: str, source: UnitSystem | str, target: UnitSystem | str) -> float:
    """Factor that multiplies a number in `source` units to give it in `target` units.

    Args:
        quantity: as in `UnitSystem.unit`.
        source: a unit system or its name.
        target: a unit system or its name.

    Raises:
        InputError: one of the two is ``lj`` and the other is not (reduced units have no fixed size).

    Example:
        >>> round(conversion("energy", "metal", "real"), 4)  # kcal/mol in one eV
        23.0605
    """
    a = get_unit_system(source) if isinstance(source, str) else source
    b = get_unit_system(target) if isinstance(target, str) else target
    if a.name == b.name:
        a.unit(quantity)
        return 1.0
    if "lj" in (a.name, b.name):
        raise InputError(
            f"{quantity} from {a.name} to {b.name}: reduced units have no fixed size; "
            "multiply by your own sigma and epsilon, or run the study in lj"
        )
    if quantity == "dimensionless":
        return 1.0
    factor = 1.0
    for base, power in [(quantity, 1)] if quantity in _SI else _powers(quantity, _SI, a.name):
        factor *= (_SI[base][a.unit(base)] / _SI[base][b.unit(base)]) ** power
    return factor


def unit_factor(text: str, quantity: str, units: UnitSystem) -> float:
    """Factor that multiplies a number written in the unit `text` to give it in `units`.

    Args:
        text: a unit as a file names it, e.g. ``kJ/mol/nm``, ``angstrom``, ``kcal mol-1``, ``eV/A^3``.
        quantity: as in `UnitSystem.unit`.
        units: the system to convert into.

    Raises:
        InputError: the unit is not known for this quantity, or can't be converted into `units`.

    Example:
        >>> round(unit_factor("kcal mol-1", "energy", get_unit_system("metal")), 6)
        0.043364
    """
    name = _canonical(text)
    if name == units.unit(quantity):
        return 1.0
    if units.name == "lj":
        if name in ("", "1", "dimensionless", "lj", "reduced"):
            return 1.0
        raise InputError(
            f"{quantity} in {text!r} can't be converted into lj units; expected {units.unit(quantity)!r} or '1'"
        )
    if name not in _SI[quantity]:
        known = ", ".join(list(_SI[quantity])[:8])
        raise InputError(f"unit {text!r} is not a known unit of {quantity}; expected one of {known}")
    return _SI[quantity][name] / _SI[quantity][units.unit(quantity)]


def _canonical(text: str) -> str:
    """One spelling for a unit: ``kJ mol-1 nm-1``, ``kJ/(mol nm)`` and ``kJ / mol / nm`` all become ``kJ/mol/nm``."""
    body = text.strip().replace("**", "^").replace("·", " ").replace("*", " ").replace("Å", "angstrom")
    body = body.replace("³", "^3").replace("⁻¹", "^-1")
    if "/(" in body and body.endswith(")"):
        head, tail = body[:-1].split("/(", 1)
        body = head + "".join("/" + part for part in tail.split())
    for unit in ("mol", "nm", "angstrom", "A"):
        for inverse in ("^-1", "-1"):
            body = body.replace(f" {unit}{inverse}", f"/{unit}")
        for inverse in ("^-3", "-3"):
            body = body.replace(f" {unit}{inverse}", f"/{unit}^3")
    parts = []
    for part in body.replace(" ", "").split("/"):
        stem, caret, power = part.partition("^")
        stem = _SPELLINGS.get(stem.lower(), stem)
        parts.append(stem + caret + power)
    return "/".join(parts)
