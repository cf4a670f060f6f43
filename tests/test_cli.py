"""The command `graphdsl`, on files: what it prints, what it writes, how it fails."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import graphdsl as gd
from graphdsl.cli import app


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a file that holds `out = (a * x).named("c") + b`, in the current folder."""
    monkeypatch.chdir(tmp_path)
    a, x, b = (gd.input(name, gd.float32[2]) for name in "axb")
    gd.build({"out": gd.op.Identity(a * x).named("c") + b}, name="linear").save("linear.onnx")
    return "linear.onnx"


def run(*arguments: str) -> Result:
    """What a command prints, without its status being looked at by anyone but the test."""
    return CliRunner().invoke(app, arguments)


def test_show_prints_the_model(model: str) -> None:
    shown = run("show", model)
    assert shown.exit_code == 0
    assert shown.stdout == f"{gd.load(model)}\n"
    assert "out = Add (c, b)" in shown.stdout


def test_check_tells_a_valid_model_from_another(model: str) -> None:
    assert run("check", model).stdout == "linear.onnx: valid\n"


def test_extract_writes_the_part_between_tensors(model: str) -> None:
    done = run("extract", model, "part.onnx", "--input", "c", "--input", "b", "--output", "out")
    assert done.stdout == "part.onnx: <Model 'linear'(c: float32[2], b: float32[2]), 1 nodes, opset 21>\n"
    assert gd.load("part.onnx")(np.float32([1, 2]), np.float32([3, 4])).tolist() == [4, 6]


def test_expose_makes_an_inner_tensor_an_output(model: str) -> None:
    assert run("expose", model, "tapped.onnx", "--tensor", "c").exit_code == 0
    assert gd.load("tapped.onnx").output_names == ("out", "c")


def test_simplify_says_how_many_nodes_are_left(model: str) -> None:
    assert run("simplify", model, "simple.onnx").stdout.splitlines()[1] == "3 nodes before, 2 after"
    assert [node.op_type for node in gd.load("simple.onnx").nodes] == ["Mul", "Add"]


def test_convert_writes_another_opset(model: str) -> None:
    assert run("convert", model, "newer.onnx", "--opset", "23").exit_code == 0
    assert gd.load("newer.onnx").opset == 23


def test_diff_tells_models_apart_by_its_status(model: str) -> None:
    run("simplify", model, "simple.onnx")
    assert run("diff", model, model).exit_code == 0
    changed = run("diff", model, "simple.onnx")
    assert changed.exit_code == 1
    assert changed.stdout == f"{gd.diff(model, 'simple.onnx')}\n"


def test_source_rebuilds_the_model(model: str) -> None:
    shown = run("source", model)
    assert shown.stdout == f"{gd.to_source(gd.load(model))}\n"
    assert run("source", model, "linear.py").stdout == "linear.py\n"
    made: dict[str, gd.Model] = {}
    exec(Path("linear.py").read_text(encoding="utf-8"), made)
    assert [node.op_type for node in made["model"].nodes] == ["Mul", "Identity", "Add"]


def test_equivalent_judges_two_models(model: str) -> None:
    run("simplify", model, "simple.onnx")
    assert run("equivalent", model, "simple.onnx", "--examples", "20").exit_code == 0


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, as a shell runs it."""
    return subprocess.run([sys.executable, "-m", "graphdsl.cli", *arguments], capture_output=True, text=True)


def test_a_mistake_is_the_library_s_message_and_status_1(model: str) -> None:
    lacking = command("extract", model, "part.onnx", "--input", "b", "--output", "out")
    assert lacking.returncode == 1 and lacking.stdout == ""
    assert lacking.stderr.startswith("graphdsl: gd.extract: the outputs need 2 inputs that are not listed:\n  'a'")
    assert "typer" not in lacking.stderr and not Path("part.onnx").exists()
    assert command("show", "no.onnx").stderr == "graphdsl: 'no.onnx' cannot be read: No such file or directory\n"


def test_two_models_that_differ_are_refuted(model: str) -> None:
    a, x, b = (gd.input(name, gd.float32[2]) for name in "axb")
    gd.build({"out": a * x - b}, name="other").save("other.onnx")
    refuted = command("equivalent", model, "other.onnx", "--examples", "20")
    assert refuted.returncode == 1
    assert refuted.stderr.startswith("graphdsl: models 'linear' and 'other': other numbers")
