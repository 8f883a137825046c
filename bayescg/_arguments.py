"""The words of the command line: commands, options, and what they may be."""

import argparse
from collections.abc import Sequence
from pathlib import Path

_EPILOG = """\
exit status: 0 done; 1 `check` found something that failed; 2 an error, told in one line, or a wrong command line;
3 a crash, told with a traceback: a defect of bayescg or of a library; 130 interrupted.
A model is a folder with a model.toml, or the file itself.
"""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The words after `bayescg`, None those of the command line; observables may stand behind options, too."""
    parser = _parser()
    options, left = parser.parse_known_args(arguments)
    if options.command == "predict" and not any(word.startswith("-") for word in left):
        options.observables += left
    elif left:
        parser.error(f"unrecognized arguments: {' '.join(left)}")
    return options


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
    compare.add_argument(
        "--evidence",
        action="store_true",
        help="of frames: add log evidence and Bayes factors, which correlated frames are refused",
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

    predict = commands.add_parser(
        "predict",
        parents=[common],
        help="predict observables with error bars told part by part, from the references or by new simulation",
    )
    predict.add_argument("output", type=Path, metavar="RUN", help="the run's output folder")
    predict.add_argument(
        "observables",
        nargs="*",
        metavar="OBSERVABLE",
        help="rdf, coordination, kirkwood-buff, energy, heat-capacity, pressure, compressibility, potential-of-mean-force"
        " (from the references), structure-factor, chemical-potential, tetrahedral-order, bond-order, diffusion,"
        " diffusion-infinite, viscosity, velocity-autocorrelation (simulated); default: what the references give",
    )
    predict.add_argument("--temperature", type=float, metavar="T", help="of the state (default: the run's)")
    predict.add_argument("--sites", type=_count, metavar="N", help="size of the system (default: the run's)")
    predict.add_argument("--density", type=float, metavar="RHO", help="sites per volume (default: the run's)")
    predict.add_argument("--draws", type=_draws, default=200, metavar="N", help="draws for reweighting (200)")
    predict.add_argument("--prior", action="store_true", help="draws of the prior, not of the posterior")
    predict.add_argument(
        "--no-simulation",
        action="store_true",
        help="refuse what the references don't give, instead of simulating it",
    )
    predict.add_argument(
        "--simulated-draws", type=_draws, default=32, metavar="N", help="draws simulated (32)"
    )
    predict.add_argument("--replicas", type=_draws, default=4, metavar="N", help="simulations of each (4)")
    predict.add_argument("--samples", type=_count, default=200, metavar="N", help="frames of each (200)")
    predict.add_argument(
        "--frames",
        type=_count,
        metavar="N",
        help="independent frames in the average whose chance is told (the data's)",
    )
    predict.add_argument(
        "--observed",
        type=Path,
        metavar="FILE",
        help="CSV (observable, at, value, standard_error) or netCDF of frames: held out, to compare with",
    )
    predict.add_argument(
        "--name",
        metavar="NAME",
        help="keep the answer as analyses/predictions-NAME.nc (default: named after observables and state)",
    )
    predict.add_argument("--seed", type=_seed, default=0, help="of new simulations (0)")

    export = commands.add_parser("export", parents=[common], help="write potentials for a simulation engine")
    export.add_argument("output", type=Path, metavar="OUT", help="the run's output folder")
    export.add_argument(
        "--engine",
        "--format",
        choices=["lammps", "openmm", "gromacs", "hoomd", "ase"],
        default="lammps",
        help="engine (default: lammps); GROMACS from 2020 on reads Lennard-Jones and angles only",
    )
    export.add_argument(
        "--draws", type=_count, default=20, metavar="N", help="posterior draws beside the mean (20)"
    )
    export.add_argument(
        "--units",
        choices=["real", "metal", "lj"],
        help="LAMMPS' units (default: lj for a study in lj, metal for one in metal, else real)",
    )
    export.add_argument(
        "--ensemble",
        choices=["posterior", "pops", "discrepancy", "bootstrap"],
        default="posterior",
        help="which draws, of those that the run holds (default: posterior)",
    )
    export.add_argument(
        "--to", type=Path, metavar="FOLDER", help="new folder (default: OUT/ENGINE, or OUT/ENGINE_ENSEMBLE)"
    )
    export.add_argument(
        "--steps",
        type=_count,
        metavar="N",
        help="steps of each run of the run script (default: a thousand rows)",
    )
    export.add_argument(
        "--repeats",
        type=_count,
        default=2,
        metavar="N",
        help="runs of each potential (2: noise is told from parameters)",
    )
    export.add_argument(
        "--kelvin",
        type=float,
        metavar="T",
        help="of an angle in reduced units: the temperature that the study's stands for; of labelled configurations: the"
        " temperature of the run script (300)",
    )

    collect = commands.add_parser(
        "collect", parents=[common], help="read an engine's results of an export back and form their bands"
    )
    collect.add_argument("folder", type=Path, metavar="FOLDER", help="the exported folder, as OUT/openmm")
    return parser


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
