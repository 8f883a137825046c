"""Seconds of `import bayescg` and of `bayescg --help`, the best of five fresh interpreters each.

usage: python tests/benchmarks/startup.py
"""

import subprocess
import sys
import time


def best(command: list[str]) -> float:
    """Shortest of five runs [s]."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return min(times)


bare = best([sys.executable, "-c", "pass"])
print("| command | seconds | of which the bare interpreter |")
print("|---|---|---|")
print(f"| `import bayescg` | {best([sys.executable, '-c', 'import bayescg']):.3f} | {bare:.3f} |")
print(f"| `bayescg --help` | {best([sys.executable, '-m', 'bayescg.cli', '--help']):.3f} | {bare:.3f} |")
