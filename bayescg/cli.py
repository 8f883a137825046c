"""The command `bayescg`: reads arguments, calls `bayescg.study` and `bayescg.output`, tells the outcome.

Everything heavy is imported inside the commands, so that `bayescg --help` answers at once.
"""

import argparse
import json
import logging
import sys
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bayescg._arguments import parse
from bayescg.errors import BayescgError, InputError

if TYPE_CHECKING:
    import xarray as xr

    from bayescg import analysis, output

DONE, CHECK_FAILED, ERROR, CRASHED, INTERRUPTED = 0, 1, 2, 3, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: The words after `bayescg`; None takes them from the command line.

    Returns:
        The exit status: 0 done, 1 a check failed, 2 an error, 3 a crash, 130 interrupted.
    """
    options = parse(arguments)
    logging.basicConfig(
        level=logging.INFO if options.verbose else logging.ERROR, format="%(name)s: %(message)s"
    )
    logging.captureWarnings(True)
    if options.verbose:
        warnings.simplefilter("default")
    commands = {
        "run": _run, "check": _check, "resume": _resume, "report": _report, "identify": _identify,
        "compare": _compare, "sbc": _sbc, "ppc": _ppc, "sweep": _sweep, "export": _export,
        "predict": _predict,
        "collect": _collect,
    }  # fmt: skip
    try:
        return commands[options.command](options)
    except BayescgError as error:
        _tell_error(" ".join(str(error).split()))
        return ERROR
    except KeyboardInterrupt:
        _tell_error("interrupted; `bayescg resume OUT` goes on from the last checkpoint")
        return INTERRUPTED
    except Exception as error:
        traceback.print_exc()
        _tell_error(f"crashed with {type(error).__name__}: the lines above say where; please report them")
        return CRASHED


def _run(options: argparse.Namespace) -> int:
    from bayescg.output import make_progress

    _enable_64_bit()
    from bayescg.study import Study

    path = _model_file(options.model)
    output = options.output if options.output is not None else Path("runs") / path.resolve().parent.name
    study = Study.from_file(path)
    progress = make_progress(sys.stderr)
    try:
        tree = study.run(output, progress=progress, seed=options.seed, quick=options.quick)
        progress.finish()
    finally:
        progress.stop()
    _tell_outcome(tree, output)
    return DONE


def _check(options: argparse.Namespace) -> int:
    _enable_64_bit()
    from bayescg.study import Study

    checks = Study.from_file(_model_file(options.model)).check()
    _tell_checks(checks)
    failed = sum(check.verdict == "failed" for check in checks)
    print(f"{len(checks)} checks, {failed} failed")
    return CHECK_FAILED if failed else DONE


def _resume(options: argparse.Namespace) -> int:
    from bayescg.output import make_progress

    _enable_64_bit()
    from bayescg.study import Study

    progress = make_progress(sys.stderr)
    try:
        tree = Study.resume(options.output, progress=progress)
        progress.finish()
    finally:
        progress.stop()
    _tell_outcome(tree, options.output)
    return DONE


def _report(options: argparse.Namespace) -> int:
    from bayescg.output import open_result, write_outputs

    tree = open_result(options.output)
    write_outputs(tree, options.output)
    _tell_outcome(tree, options.output)
    return DONE


def _identify(options: argparse.Namespace) -> int:
    from bayescg.output import determination_table

    _enable_64_bit()
    from bayescg.study import identify_run

    data, _ = identify_run(options.output, tell=_tell)
    return _analysed(data, determination_table(data), options.output, "identification")


def _compare(options: argparse.Namespace) -> int:
    from bayescg.output import comparison_table, write_comparison

    _enable_64_bit()
    from bayescg.study import compare_runs
    from bayescg.study._output_folder import refuse_used_folder

    if options.output is not None:
        refuse_used_folder(options.output)
    table = compare_runs(
        options.runs, method=options.method, score=options.score, n_blocks=options.blocks,
        buffer=options.buffer, evidence=options.evidence, tell=_tell,
    )  # fmt: skip
    print(comparison_table(table))
    if options.output is not None:
        for path in write_comparison(table, options.output):
            print(f"wrote {path}")
    return DONE


def _sbc(options: argparse.Namespace) -> int:
    from bayescg.output import calibration_check_table

    _enable_64_bit()
    from bayescg.study import check_calibration

    check = check_calibration(
        options.output, n_replicates=options.replicates, seed=options.seed,
        tell=_tell,
    )  # fmt: skip
    return _analysed(check, calibration_check_table(check), options.output, "calibration_check")


def _ppc(options: argparse.Namespace) -> int:
    from bayescg.output import predictive_check_table

    _enable_64_bit()
    from bayescg.study import check_predictions

    check = check_predictions(options.output, n_draws=options.draws, held_out=options.held_out, tell=_tell)
    return _analysed(check, predictive_check_table(check), options.output, "predictive_checks")


def _sweep(options: argparse.Namespace) -> int:
    from bayescg.output import sweep_table

    _enable_64_bit()
    from bayescg.study import sweep_run

    swept = sweep_run(options.output, sizes=options.sizes, tell=_tell)
    return _analysed(swept, sweep_table(swept), options.output, "sweep")


def _predict(options: argparse.Namespace) -> int:
    from bayescg.output import prediction_table

    _enable_64_bit()
    from bayescg.study import predict, prediction_name

    name = prediction_name(
        options.observables, temperature=options.temperature, n_sites=options.sites, density=options.density,
        from_prior=options.prior, observed=options.observed, name=options.name,
    )  # fmt: skip
    data = predict(
        options.output, options.observables, temperature=options.temperature, n_sites=options.sites,
        density=options.density, n_draws=options.draws, from_prior=options.prior, simulation=not options.no_simulation,
        n_simulated=options.simulated_draws, n_replicas=options.replicas, n_samples=options.samples,
        averaged_frames=options.frames, observed=options.observed, seed=options.seed, tell=_tell,
    )  # fmt: skip
    return _analysed(data, prediction_table(data), options.output, name)


def _analysed(data: "xr.Dataset", table: str, folder: Path, name: str) -> int:
    """An analysis told: its table, its sentences, checks of its simulations, and where it is kept."""
    from bayescg.output import read_checks

    print(table)
    print()
    print("\n".join(json.loads(data.attrs["sentences"])))
    if checks := read_checks(data):
        print()
        _tell_checks(checks)
    _keep(data, folder, name)
    return DONE


def _tell_checks(checks: "Sequence[analysis.Check | output.Check]") -> None:
    """A line for each check."""
    width = max((len(check.name) for check in checks), default=0)
    for check in checks:
        print(f"{check.verdict:<10}  {check.name:<{width}}  {check.sentence}")


def _tell(text: str) -> None:
    """What is being done, apart from the answer."""
    print(text, file=sys.stderr)


def _keep(data: "xr.Dataset", folder: Path, name: str) -> None:
    """An analysis beside its run, and the report that tells of it."""
    from bayescg.output import open_result, write_analysis, write_report

    files = write_analysis(data, folder, name)
    write_report(open_result(folder), folder / "report.html")
    for path in [*files, folder / "report.html"]:
        print(f"wrote {path}")


def _export(options: argparse.Namespace) -> int:
    from bayescg.output import open_result

    _enable_64_bit()
    default = options.engine if options.ensemble == "posterior" else f"{options.engine}_{options.ensemble}"
    folder = options.to if options.to is not None else options.output / default
    if open_result(options.output).attrs.get("kind") == "labelled":
        return _export_labelled(options, folder)
    if options.ensemble != "posterior":
        raise InputError(
            f"{options.output}: holds no ensemble '{options.ensemble}', only the posterior, as every run on frames at"
            " equilibrium; leave --ensemble out"
        )
    from bayescg.study import export_pairs

    done = export_pairs(
        options.output, folder, engine=options.engine, n_draws=options.draws, units=options.units,
        steps=options.steps, repeats=options.repeats, kelvin=options.kelvin, tell=_tell,
    )  # fmt: skip
    return _told_export(len(done.files), folder, done.n_draws, done.units, done.calibration)


def _export_labelled(options: argparse.Namespace, folder: Path) -> int:
    from bayescg.study import export_labelled

    done = export_labelled(
        options.output, folder, engine=options.engine, n_draws=options.draws, units=options.units,
        ensemble=options.ensemble, steps=options.steps, repeats=options.repeats, kelvin=options.kelvin, tell=_tell,
    )  # fmt: skip
    return _told_export(len(done.files), folder, done.n_draws, done.units, done.calibration)


def _told_export(n_files: int, folder: Path, n_draws: int, units: str, calibration: str) -> int:
    print(f"{n_files} files in {folder}: the mean and {n_draws} draws, in {units}")
    print(f"calibration: {calibration}")
    return DONE


def _collect(options: argparse.Namespace) -> int:
    from bayescg.output import collected_table

    _enable_64_bit()
    from bayescg.study import collect, write_collected

    tree = collect(options.folder, tell=_tell)
    print(collected_table(tree))
    print()
    for node in tree.children.values():
        if "sentence" in node.attrs:
            print(node.attrs["sentence"])
    for name, node in tree.children.items():
        if node.attrs["note"]:
            print(f"{name}: {node.attrs['note']}")
    print(f"wrote {write_collected(tree, options.folder)}")
    return DONE


def _tell_outcome(tree: "xr.DataTree", output: Path) -> None:
    from bayescg.output import read_checks, read_statement, stage_table

    print("Time per stage")
    print(stage_table(tree))
    print()
    print(f"Files in {output}")
    for path in sorted(output.iterdir()):
        if not path.name.startswith("."):
            print(f"  {path.name}{'/' if path.is_dir() else ''}")
    print()
    for check in read_checks(tree):
        if check.verdict != "passed":
            print(f"{check.verdict}: {check.name}: {check.sentence}")
    for sentence in read_statement(tree):
        print(sentence)


def _model_file(path: Path) -> Path:
    if path.is_dir():
        path = path / "model.toml"
    if not path.is_file():
        raise InputError(f"{path}: no such file; name a folder with a model.toml, or the file itself")
    return path


def _enable_64_bit() -> None:
    """Free-energy differences times thousands of frames need float64; the library leaves this switch to its user."""
    import jax

    jax.config.update("jax_enable_x64", True)


def _tell_error(text: str) -> None:
    print(f"bayescg: error: {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
