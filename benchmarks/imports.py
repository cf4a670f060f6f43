"""Time `import graphdsl` against `import onnx`, each in new interpreters, in turns.

python -m benchmarks.imports
"""

import argparse
import os
import statistics
import subprocess
import sys

from benchmarks.timing import machine, table

_PROGRAM = "from time import process_time; start = process_time(); import {}; print(process_time() - start)"

_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""Installed packages have their bytecode; a checkout gets it from the first import."""
_ENVIRONMENT["OPENBLAS_NUM_THREADS"] = "1"  # threads that NumPy's BLAS starts spin for a while, which is no import


def import_seconds(package: str) -> float:
    """The processor time that a new interpreter takes to import a package."""
    command = [sys.executable, "-c", _PROGRAM.format(package)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True, env=_ENVIRONMENT).stdout)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="Time import graphdsl against import onnx.")
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    packages = ("onnx", "graphdsl")
    for package in packages:  # the first import compiles and reads what later ones find ready
        import_seconds(package)
    taken: dict[str, list[float]] = {package: [] for package in packages}
    for _ in range(options.repeats):
        for package in packages:
            taken[package].append(import_seconds(package))
    base = min(taken["onnx"])
    rows = [
        (name, f"{min(times):.3f}", f"{statistics.median(times):.3f}", f"{min(times) / base:.2f}")
        for name, times in taken.items()
    ]
    print(f"{machine()}\n")
    print(table(("package", "seconds, least", "median", "least / onnx"), rows))


if __name__ == "__main__":
    main()
