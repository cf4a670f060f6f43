"""Every example runs, in an empty folder, and fails when what it computes is wrong."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"

ARGUMENTS: dict[str, list[str]] = {
    "control_flow.py": [],
    "custom_operators.py": [],
    "dynamic_axes.py": [],
    "faster_encoder.py": ["--out", "encoders"],
    "espcn.py": ["--out", "pictures"],
    "cut_and_change.py": [],
    "find_the_layer.py": ["--out", "alignment"],
    "linear_function.py": [],
    "quantize.py": ["--out", "models"],
    "sentence_encoder.py": [],
    "srcnn_three_ways.py": [],
    "super_resolution.py": ["--out", "pictures"],
    "torch_operators.py": [],
}
"""The programs to run and what to give them."""

NOT_RUN = {
    "torch_control_flow.py": "control_flow.py runs it",
    "torch_srcnn.py": "srcnn_three_ways.py and super_resolution.py run it",
    "train_espcn.py": "trains for minutes; espcn.py checks what it wrote",
    "train_srcnn.py": "trains for minutes; super_resolution.py checks what it wrote",
}


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder."""
    return subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True)


def test_every_example_is_known_here() -> None:
    assert {file.name for file in EXAMPLES.glob("*.py")} == set(ARGUMENTS) | set(NOT_RUN)


def test_no_example_is_long() -> None:
    lengths = {file.name: len(file.read_text(encoding="utf-8").splitlines()) for file in EXAMPLES.glob("*.py")}
    assert {name: length for name, length in lengths.items() if length >= 150} == {}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    ran = run(str(EXAMPLES / name), *ARGUMENTS[name], folder=tmp_path)
    assert ran.returncode == 0, ran.stderr


SABOTAGE = """
import runpy, sys
import numpy as np
import graphdsl

def spoiled(call):
    def wrong(value):
        return value[::-1] * 0.9 if isinstance(value, np.ndarray) and value.ndim else value
    def run(model, *inputs, **options):
        found = call(model, *inputs, **options)
        if isinstance(found, dict):
            return {name: wrong(value) for name, value in found.items()}
        return tuple(map(wrong, found)) if isinstance(found, tuple) else wrong(found)
    return run

graphdsl.Model.__call__ = spoiled(graphdsl.Model.__call__)
graphdsl.Model.run = spoiled(graphdsl.Model.run)
sys.argv = sys.argv[1:]
sys.path.insert(0, str(__import__("pathlib").Path(sys.argv[0]).parent))
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""A program that runs an example with models that compute something else."""

CHEAP = ["custom_operators.py", "cut_and_change.py", "dynamic_axes.py"]
REST = [pytest.param(name, marks=pytest.mark.full) for name in ARGUMENTS if name not in CHEAP]


@pytest.mark.parametrize("name", [*CHEAP, *REST])
def test_an_example_fails_when_the_model_is_wrong(name: str, tmp_path: Path) -> None:
    ran = run("-c", SABOTAGE, str(EXAMPLES / name), *ARGUMENTS[name], folder=tmp_path)
    assert ran.returncode == 1, ran.stdout + ran.stderr


def test_the_linear_example_prints_the_model_and_saves_it(tmp_path: Path) -> None:
    ran = run(str(EXAMPLES / "linear_function.py"), folder=tmp_path)
    assert ran.stdout.splitlines()[1:] == [
        "linear_func (float32[10, 10] a, float32[10, 10] x, float32[10, 10] b) => (float32[10, 10] output)",
        "{",
        "   Mul_0 = Mul (a, x)                                         # float32[10, 10]",
        "   output = Add (Mul_0, b)                                    # float32[10, 10]",
        "}",
        "saved as linear_func.onnx",
        "ONNX Runtime and NumPy agree; the first of 100 values is 2.329206",
    ]
    saved = onnx.load(tmp_path / "linear_func.onnx")
    assert [node.op_type for node in saved.graph.node] == ["Mul", "Add"]
    a, x, b = np.random.default_rng(0).standard_normal((3, 10, 10), dtype=np.float32)
    assert f"{(a * x + b)[0, 0]:.6f}" == "2.329206"


def test_the_linear_example_fails_when_the_model_is_wrong(tmp_path: Path) -> None:
    program = """
import runpy, sys
import graphdsl
graphdsl.Model.__call__ = lambda model, a, x, b: a * x - b
runpy.run_path(sys.argv.pop(), run_name="__main__")
"""
    ran = run("-c", program, str(EXAMPLES / "linear_function.py"), folder=tmp_path)
    assert ran.returncode == 1
    assert "AssertionError" in ran.stderr and "Not equal to tolerance rtol=1e-06" in ran.stderr
