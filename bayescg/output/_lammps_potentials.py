"""Interatomic potentials for LAMMPS: the posterior mean's parameters and an ensemble of draws, with a manifest."""

import datetime
import json
import os
import re
import tempfile
from pathlib import Path

import numpy as np

from bayescg import __version__
from bayescg.data import UnitSystem, conversion, get_unit_system
from bayescg.errors import InputError
from bayescg.output._atoms_system import AtomsSystem, atoms_facts
from bayescg.output._engine_files import checksum, write_text
from bayescg.output._engine_system import RunPlan
from bayescg.output._lammps import LAMMPS_UNITS
from bayescg.output._lammps_embedded_atom import write_embedded_atom
from bayescg.output._lammps_pair_forms import write_pair_form
from bayescg.output._lammps_run import RUN_FILES, check_start, write_potentials_run
from bayescg.output._lammps_splines import write_body_splines
from bayescg.output._lammps_term import LammpsTerm, Scale, file_stem
from bayescg.output._lammps_three_body import write_stillinger_weber, write_tersoff
from bayescg.output._manifest import QUANTITIES
from bayescg.output._potential_draws import MEAN_PARAMETERS, PotentialDraws
from bayescg.physics import (
    BodySplines,
    InteratomicPotential,
    LongRangeCoulomb,
    SpeciesEnergies,
    StillingerWeber,
    Tersoff,
    TersoffMixture,
)
from bayescg.physics._embedded_atom import EmbeddedAtom
from bayescg.physics._interatomic import interatomic_terms
from bayescg.physics._pair_form import PairForm
from bayescg.physics._pairwise_term import terms_between_molecules

ROWS = 5000
"""Rows of a table by default."""


def export_lammps_potentials(
    draws: PotentialDraws,
    folder: Path,
    *,
    units: str = "metal",
    rows: int = ROWS,
    system: AtomsSystem | None = None,
    plan: RunPlan | None = None,
) -> list[Path]:
    """Writes the potential with the mean parameters and every draw for LAMMPS.

    The folder then holds `mean/` and `draws/draw_000/` and so on with the files of each potential, `in.potential` (the
    lines of a LAMMPS script that use them) and `manifest.json` (what each file is, its checksum, its precision, which
    posterior the draws come from). With a single draw there is no `draws/`. Styles:

    | potential | pair style | precision |
    |---|---|---|
    | `StillingerWeber` | `sw` | the same formula |
    | `Tersoff`, `TersoffMixture` | `tersoff` | the same formula |
    | `BodySplines` | `uf3` | the same splines |
    | `FinnisSinclair` | `eam/fs` | tables |
    | `Johnson`, `EmbeddedSplines` | `eam/alloy` | tables |
    | pair formulas (`LennardJonesPairs` and so on) | `table` | tables |
    | `SpeciesEnergies` | none: constants, given in the manifest | |

    Sums become `hybrid/overlay`. LAMMPS' energies lack the constants; forces and stresses don't feel them.

    Args:
        draws: the potentials.
        folder: a folder that doesn't exist yet or is empty.
        units: the LAMMPS unit system to convert into: "metal", "real" or "lj".
        rows: of each table.
        system: atoms, periodic in all directions, and the thermostat. With it and `plan` the folder also holds what runs
            every potential: `start.data`, `in.run` and `run.sh`.
        plan: how long and how often each potential is simulated.

    Returns:
        The files written.

    Raises:
        InputError: the folder holds something already, `units` can't be reached from the study's, a term or a parameter
            that LAMMPS has no style for. Nothing is written then.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from bayescg.physics import StillingerWeber
        >>> silicon = StillingerWeber.silicon(cutoff=4.0).vary("sw_A")
        >>> draws = PotentialDraws.of_potentials(
        ...     [silicon.with_parameters({"sw_A": A}) for A in (7.0, 7.1)],
        ...     units=get_unit_system("metal"), posterior="calibrated",
        ... )
        >>> with TemporaryDirectory() as place:
        ...     files = export_lammps_potentials(draws, Path(place) / "silicon")
        ...     [file.relative_to(place).as_posix() for file in files][1:]
        ['silicon/draws/draw_000/sw.sw', 'silicon/draws/draw_001/sw.sw', 'silicon/in.potential', 'silicon/manifest.json']
    """
    scale = _scale(draws.units, units)
    if rows < 100:
        raise InputError(f"export: tables of {rows} rows are too coarse; give at least 100")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(
            f"{folder}: is there already and is not empty; name another folder or remove this one"
        )
    _check_terms(draws.stack)
    if system is not None and plan is not None:
        check_start(system, draws.species)
        plan.check(potentials=1 + draws.n_draws)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.partial") as place:
        partial = Path(place) / folder.name
        names = _write_all(draws, partial, scale=scale, rows=rows, system=system, plan=plan)
        os.replace(partial, folder)  # all of it or nothing
    return [folder / name for name in names]


def _write_all(
    draws: PotentialDraws,
    folder: Path,
    *,
    scale: Scale,
    rows: int,
    system: AtomsSystem | None,
    plan: RunPlan | None,
) -> list[str]:
    """Writes everything; returns the names of the files."""
    alone = draws.n_draws == 1
    potentials = [("mean", draws.draw_ids[0] if alone else MEAN_PARAMETERS, draws.mean())]
    if not alone:
        potentials += [
            (f"draws/draw_{k:03d}", draws.draw_ids[k], draws.draw(k)) for k in range(draws.n_draws)
        ]
    entries = []
    terms: list[LammpsTerm] = []
    for place, what, potential in potentials:
        (folder / place).mkdir(parents=True)
        words = f"{what}; posterior: {draws.posterior}"
        written = _write_potential(potential, folder / place, scale=scale, words=words, rows=rows)
        terms = terms or written  # those of the mean stand for all
        files = [c.file for term in written for c in term.coefficients]
        entries.append(
            {
                "folder": place,
                "potential": what,
                "constants": constants(potential, scale),
                "files": [
                    {"file": f"{place}/{f}", "sha256": checksum(folder / place / f)}
                    for f in dict.fromkeys(files)
                ],
            }
        )
    script = _script(draws, terms, scale)
    write_text(folder / "in.potential", script)
    target = get_unit_system(scale.units)
    cutoff = float(draws.stack.cutoff) * scale.length
    shared, facts = ["in.potential"], {}
    if system is not None and plan is not None:
        names = [(Path(place).name, place) for place, _, _ in potentials]
        write_potentials_run(
            folder, system, plan, units=target, species=draws.species, cutoff=cutoff, names=names
        )
        shared, facts = [*shared, *RUN_FILES], atoms_facts(system, plan, target)
    manifest = {
        "engine": "LAMMPS",
        "format": "LAMMPS pair styles",
        "units": scale.units,
        "unit_of": {q: target.unit(q) for q in QUANTITIES},
        "cutoff": cutoff,
        "study_units": draws.units.name,
        "species": list(draws.species),
        "posterior": draws.posterior,
        "n_draws": draws.n_draws,
        "terms": [{"style": t.style, "package": t.package, "precision": t.precision} for t in terms],
        "not_carried": "`constants` of each potential: energy of an atom of each species, absent from LAMMPS' energies",
        "commands": [text for text in script.splitlines() if text and not text.startswith("#")],
        "provenance": {"bayescg": __version__, **draws.provenance},
        "potentials": entries,
        "shared": [{"file": f, "sha256": checksum(folder / f)} for f in shared],
        **facts,
    }
    write_text(folder / "manifest.json", json.dumps(manifest, indent=2, default=str) + "\n")
    return [f["file"] for entry in entries for f in entry["files"]] + [*shared, "manifest.json"]  # type: ignore[index, union-attr]


def _write_potential(
    potential: InteratomicPotential, folder: Path, *, scale: Scale, words: str, rows: int
) -> list[LammpsTerm]:
    """The files of one potential, and what LAMMPS is to do with each of its terms."""
    missing = constants(potential, scale)
    if missing:
        words += "; energies lack " + ", ".join(f"{e:.10g} per {symbol}" for symbol, e in missing.items())
    words = re.sub(
        "(UNITS|DATE):", r"\1", " ".join(words.split())
    )  # LAMMPS looks for both words in first lines
    date = datetime.date.today().isoformat()
    comment = f"# DATE: {date} UNITS: {scale.units} CONTRIBUTOR: bayescg COMMENT: {words}"
    splines = f"#UF3 POT UNITS: {scale.units} DATE: {date} AUTHOR: bayescg CITATION: none COMMENT: {words}"
    table = f"DATE: {date} CONTRIBUTOR: bayescg COMMENT: {words}"
    terms: list[LammpsTerm] = []
    stems: tuple[str, ...] = ()
    for term in interatomic_terms(potential):
        if isinstance(term, SpeciesEnergies):
            continue
        stem = file_stem(term, stems)  # type: ignore[arg-type]
        stems = (*stems, stem)
        if isinstance(term, StillingerWeber):
            terms.append(write_stillinger_weber(term, folder, stem=stem, scale=scale, comment=comment))
        elif isinstance(term, Tersoff | TersoffMixture):
            terms.append(write_tersoff(term, folder, stem=stem, scale=scale, comment=comment))
        elif isinstance(term, EmbeddedAtom):
            terms.append(
                write_embedded_atom(term, folder, stem=stem, scale=scale, comment=comment, rows=rows)
            )
        elif isinstance(term, BodySplines):
            terms.append(write_body_splines(term, folder, stem=stem, scale=scale, comment=splines))
        elif isinstance(term, PairForm):
            terms.append(write_pair_form(term, folder, stem=stem, scale=scale, comment=table, rows=rows))
    return terms


def constants(potential: InteratomicPotential, scale: Scale) -> dict[str, float]:
    """What `SpeciesEnergies` add for an atom of each species [energy of the files]; empty without such a term."""
    found = [np.asarray(t.energies) for t in interatomic_terms(potential) if isinstance(t, SpeciesEnergies)]
    if not found:
        return {}
    total = np.sum(found, axis=0) * scale.energy
    return {symbol: float(energy) for symbol, energy in zip(potential.species, total, strict=True)}


def _check_terms(potential: InteratomicPotential) -> None:
    known = (StillingerWeber, Tersoff, TersoffMixture, EmbeddedAtom, BodySplines, PairForm)
    terms = [term for term in interatomic_terms(potential) if not isinstance(term, SpeciesEnergies)]
    for pairwise in terms_between_molecules(potential):
        raise InputError(
            f"export: potential '{pairwise.name}' acts between molecules only, which LAMMPS learns from the data file (its bonds"
            " and special_bonds, or its molecules and neigh_modify exclude); run it in ASE with PosteriorCalculator"
        )
    for term in terms:
        if isinstance(term, LongRangeCoulomb):
            raise InputError(
                "export: long-range Coulomb belongs to the LAMMPS script (pair_style coul/long, kspace_style and the charges"
                " of posterior.nc); run it in ASE with PosteriorCalculator"
            )
        if not isinstance(term, known):
            raise InputError(
                f"export: {type(term).__name__} has no pair style in LAMMPS; run it in ASE with PosteriorCalculator, or"
                " infer BodySplines, which LAMMPS' uf3 computes"
            )
    if not terms:
        raise InputError("export: the potential is a constant, there is nothing for LAMMPS to compute")


def _scale(study: UnitSystem, units: str) -> Scale:
    if units not in LAMMPS_UNITS:
        raise InputError(
            f"export: units {units!r} is no LAMMPS unit system here; use {' or '.join(LAMMPS_UNITS)}"
        )
    length, energy = (conversion(name, study, get_unit_system(units)) for name in ("length", "energy"))
    return Scale(units, length, energy)


def _script(draws: PotentialDraws, terms: list[LammpsTerm], scale: Scale) -> str:
    """The lines of a LAMMPS script; the potential's folder is a variable."""
    numbered = ", ".join(f"{k} {symbol}" for k, symbol in enumerate(draws.species, start=1))
    lines = [
        f"# Include this in a LAMMPS script that says `units {scale.units}`, after the box is made, with this folder as the",
        f"# working directory. Atom types: {numbered}. Posterior: {' '.join(draws.posterior.split())}.",
    ]
    if draws.n_draws > 1:
        lines += [
            f"# `-var potential draws/draw_000` (to {draws.n_draws - 1:03d}) on LAMMPS' command line picks a draw; the spread",
            "# of a result over the draws is the uncertainty that comes from the potential.",
        ]
    packages = sorted({term.package for term in terms} - {""})
    if packages:
        lines.append(f"# Packages needed: {', '.join(packages)}.")
    if constants(draws.mean(), scale):
        lines.append("# Energies lack a constant for every atom, see manifest.json.")
    hybrid = len(terms) > 1
    styles = [term.style for term in terms]
    names = [style.split()[0] for style in styles]
    lines.append("variable potential index mean")
    lines.append("pair_style " + ("hybrid/overlay " if hybrid else "") + " ".join(styles))
    for k, term in enumerate(terms):
        which = ""
        if hybrid:
            number = f" {names[: k + 1].count(names[k])}" if names.count(names[k]) > 1 else ""
            which = f"{names[k]}{number} "
        lines += [
            f"pair_coeff {c.types} {which}${{potential}}/{c.file} {c.arguments}" for c in term.coefficients
        ]
    return "\n".join(lines) + "\n"
