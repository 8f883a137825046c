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

from bayescg.errors import BayescgError, InputError

if TYPE_CHECKING:
    import xarray as xr

DONE, CHECK_FAILED, ERROR, CRASHED, INTERRUPTED = 0, 1, 2, 3, 130

_EPILOG = """\
exit status: 0 done; 1 `check` found something that failed; 2 an error, told in one line, or a wrong command line;
3 a crash, told with a traceback: a defect of bayescg or of a library; 130 interrupted.
A model is a folder with a model.toml, or the file itself.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: The words after `bayescg`; None takes them from the command line.

    Returns:
        The exit status: 0 done, 1 a check failed, 2 an error, 3 a crash, 130 interrupted.
    """
    options = _parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO if options.verbose else logging.ERROR, format="%(name)s: %(message)s"
    )
    logging.captureWarnings(True)
    if options.verbose:
        warnings.simplefilter("default")
    commands = {
        "run": _run, "check": _check, "resume": _resume, "report": _report, "identify": _identify,
        "compare": _compare, "sbc": _sbc, "ppc": _ppc, "sweep": _sweep, "export": _export,
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


def _parser() -> argparse.ArgumentParser:
    from bayescg import __version__

    parser = argparse.ArgumentParser(
        prog="bayescg",
        description="Bayesian inference of coarse-grained and interatomic potentials.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"bayescg {__version__}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "-v", "--verbose", action="store_true", help="show the log and warnings of libraries too"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser(
        "run", parents=[common], help="infer the potential of a model, from files to report"
    )
    run.add_argument("model", type=Path, metavar="MODEL", help="folder with a model.toml, or the file")
    run.add_argument("-o", "--output", type=Path, metavar="OUT", help="output folder (default: runs/NAME)")
    run.add_argument("--seed", type=_seed, help="random seed (default: the model file's)")
    run.add_argument(
        "--quick",
        action="store_true",
        help="test the pipeline with little work; the numbers mean nothing",
    )

    check = commands.add_parser("check", parents=[common], help="look at the data and the model before a run")
    check.add_argument("model", type=Path, metavar="MODEL", help="folder with a model.toml, or the file")

    resume = commands.add_parser("resume", parents=[common], help="go on with a run that was stopped")
    resume.add_argument("output", type=Path, metavar="OUT", help="the run's output folder")

    report = commands.add_parser(
        "report", parents=[common], help="write the report and figures of a run again"
    )
    report.add_argument("output", type=Path, metavar="OUT", help="the run's output folder")

    identify = commands.add_parser(
        "identify",
        parents=[common],
        help="say which parameters and combinations the data of a run determine; nothing is simulated",
    )
    identify.add_argument("output", type=Path, metavar="RUN", help="the run's output folder")

    compare = commands.add_parser(
        "compare", parents=[common], help="compare runs of the same data by predictive scores"
    )
    compare.add_argument(
        "runs", type=Path, nargs="+", metavar="RUN", help="output folders of at least two runs"
    )
    compare.add_argument(
        "-o", "--output", type=Path, metavar="OUT", help="new folder for the figure and the table"
    )
    compare.add_argument(
        "--method",
        choices=["refit", "psis"],
        default="refit",
        help="of frames: refits without each block (default), or importance sampling of the stored scores",
    )
    compare.add_argument(
        "--score",
        choices=["pointwise", "joint"],
        default="pointwise",
        help="of refits: frame by frame (default), or all frames of a block together",
    )
    compare.add_argument(
        "--blocks", type=_count, default=20, metavar="N", help="about how many blocks are left out (20)"
    )
    compare.add_argument(
        "--buffer", type=_count_or_none, default=0, metavar="N", help="frames beside a block left out too (0)"
    )

    sbc = commands.add_parser(
        "sbc",
        parents=[common],
        help="check a run's calibration with its own references (simulation-based calibration)",
    )
    sbc.add_argument("output", type=Path, metavar="RUN", help="the run's output folder")
    sbc.add_argument(
        "--replicates",
        type=_count,
        default=200,
        metavar="N",
        help="synthetic data sets (200; below 100 can't tell)",
    )
    sbc.add_argument("--seed", type=_seed, default=0, help="random seed (0)")

    ppc = commands.add_parser(
        "ppc",
        parents=[common],
        help="check whether data of the model would look like a run's data (posterior predictive checks)",
    )
    ppc.add_argument("output", type=Path, metavar="RUN", help="the run's output folder")
    ppc.add_argument("--draws", type=_draws, default=50, metavar="N", help="posterior draws (50)")
    ppc.add_argument(
        "--held-out",
        type=Path,
        metavar="FRAMES",
        help="netCDF of further frames, to be scored beside the run's",
    )

    sweep = commands.add_parser(
        "sweep",
        parents=[common],
        help="say how large a basis the data of a run carry and what more data would bring; nothing is simulated",
    )
    sweep.add_argument("output", type=Path, metavar="RUN", help="the run's output folder")
    sweep.add_argument(
        "--sizes", type=_sizes, metavar="N,N,...", help="coefficients of coarser splines or series to try"
    )

    export = commands.add_parser("export", parents=[common], help="write potentials for a simulation engine")
    export.add_argument("output", type=Path, metavar="OUT", help="the run's output folder")
    export.add_argument("--format", choices=["lammps"], default="lammps", help="engine (default: lammps)")
    export.add_argument(
        "--draws", type=_count, default=20, metavar="N", help="posterior draws beside the mean (20)"
    )
    export.add_argument(
        "--units",
        choices=["real", "metal", "lj"],
        help="the engine's units (default: lj for a study in lj, metal for one in metal, else real)",
    )
    export.add_argument(
        "--ensemble",
        choices=["posterior", "pops", "discrepancy", "bootstrap"],
        default="posterior",
        help="which draws, of those that the run holds (default: posterior)",
    )
    export.add_argument(
        "--to", type=Path, metavar="FOLDER", help="new folder (default: OUT/lammps, or OUT/lammps_ENSEMBLE)"
    )
    return parser


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
    width = max((len(check.name) for check in checks), default=0)
    for check in checks:
        print(f"{check.verdict:<10}  {check.name:<{width}}  {check.sentence}")
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
        buffer=options.buffer, tell=_tell,
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


def _analysed(data: "xr.Dataset", table: str, folder: Path, name: str) -> int:
    """An analysis told: its table, its sentences, and where it is kept."""
    print(table)
    print()
    print("\n".join(json.loads(data.attrs["sentences"])))
    _keep(data, folder, name)
    return DONE


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
    from bayescg.output import export_lammps, export_lammps_potentials, open_result

    _enable_64_bit()
    ensemble = options.ensemble
    default = "lammps" if ensemble == "posterior" else f"lammps_{ensemble}"
    folder = options.to if options.to is not None else options.output / default
    if open_result(options.output).attrs.get("kind") == "labelled":
        from bayescg.study import stored_potentials

        draws = stored_potentials(options.output, options.draws, ensemble=ensemble)
        units = options.units or _engine_units(draws.units.name)
        files = export_lammps_potentials(draws, folder, units=units)
        count, calibration = draws.n_draws, draws.posterior
    else:
        from bayescg.study import pair_tables

        if ensemble != "posterior":
            raise InputError(
                f"{options.output}: holds no ensemble '{ensemble}', only the posterior, as every run on frames at"
                " equilibrium; leave --ensemble out"
            )
        tables = pair_tables(options.output, options.draws)
        units = options.units or _engine_units(tables.units.name)
        files = export_lammps(tables, folder, units=units)
        count, calibration = len(tables.draw_ids), str(tables.provenance.get("calibration", "not stated"))
    print(f"{len(files)} files in {folder}: the mean and {count} draws, in LAMMPS' units {units}")
    print(f"calibration: {calibration}")
    return DONE


def _engine_units(own: str) -> str:
    return own if own in ("lj", "metal") else "real"


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


def _seed(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**32:
        raise argparse.ArgumentTypeError(f"{value} is out of range; a seed is 0 to {2**32 - 1}")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is too few; at least 1")
    return value


def _count_or_none(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is too few; 0 or more")
    return value


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r}; expected whole numbers with commas, as 8,12,16"
        ) from None


def _draws(text: str) -> int:
    value = int(text)
    if value < 2:
        raise argparse.ArgumentTypeError(f"{value} is too few; at least 2")
    return value


def _tell_error(text: str) -> None:
    print(f"bayescg: error: {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
