"""graphdsl/op.pyi: fresh, accepted by type checkers, true to what the functions take, and never imported."""

import ast
import importlib.util
import inspect
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import onnx
import pytest
from calls import CONTROL_FLOW

import graphdsl as gd
from graphdsl import op, schemas
from graphdsl.schemas import FOREVER

ROOT = Path(__file__).parent.parent
STUB = ROOT / "graphdsl" / "op.pyi"


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_op_stubs", ROOT / "tools" / "generate_op_stubs.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generator = _generator()
TEXT = STUB.read_text(encoding="utf-8")
FUNCTIONS = [node for node in ast.parse(TEXT).body if isinstance(node, ast.FunctionDef) and node.name[0].isupper()]


of_this_onnx = pytest.mark.skipif(
    f"from onnx {onnx.__version__} " not in TEXT, reason=f"the stub was made with another onnx than {onnx.__version__}"
)


@of_this_onnx
def test_the_stub_is_fresh() -> None:
    assert generator.stub() == TEXT, "run python tools/generate_op_stubs.py"


def test_a_stale_stub_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(generator.SUMMARIES, "Relu", "Something else.")
    assert generator.stub() != TEXT


@of_this_onnx
def test_every_operator_has_a_sentence() -> None:
    assert set(generator.SUMMARIES) == set(schemas.operators(""))


@of_this_onnx
def test_every_operator_is_there() -> None:
    assert {function.name for function in FUNCTIONS} == {n for n in schemas.operators("") if generator.versions(n)}


@of_this_onnx
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.name)
def test_the_stub_takes_what_the_newest_version_takes(function: ast.FunctionDef) -> None:
    newest = generator.versions(function.name)[-1]
    arguments = function.args
    names = [argument.arg for argument in arguments.args] + ([arguments.vararg.arg] if arguments.vararg else [])
    assert names == [formal.name for formal in newest.inputs]
    keywords = {argument.arg for argument in arguments.kwonlyargs}
    assert set(newest.attributes) <= keywords
    assert ("outputs" in keywords) == (newest.most_outputs != 1)
    required = [a.arg for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if d is None]
    assert set(required) - {"outputs"} == {n for n, spec in newest.attributes.items() if spec.required}


@of_this_onnx
def test_the_defaults_are_those_of_the_functions() -> None:
    """Of the newest opset; where the stub writes `...`, a literal would say nothing."""
    compared = 0
    for function in FUNCTIONS:
        newest = generator.versions(function.name)[-1]
        signature = inspect.signature(getattr(gd.opset(newest.since), function.name))
        for argument, default in zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True):
            if argument.arg not in newest.attributes or default is None:
                continue
            value = ast.literal_eval(default)
            assert value is ... or value == signature.parameters[argument.arg].default
            compared += value is not ...
    assert compared > 250


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        (
            "Squeeze",
            [
                "def Squeeze(data: _Input, axes: _Input | None = None) -> Tensor:",
                "Opset 1 on, changed at 11, 13, 21, 23, 24, 25; `axes` is an attribute up to opset 12.",
            ],
        ),
        ("TopK", ["    K: _Input | None = None,", "    k: _Int | None = None,", ") -> tuple[Tensor, Tensor]:"]),
        ("Upsample", ["X enlarged by scales (withdrawn at opset 10: Resize).", "Opset 1 to 9, changed at 9;"]),
        ("Upsample", ['mode: Literal["nearest", "linear", "cubic"] = "nearest"']),
        ("Cast", ["to: _Dtype", "`round_mode` since opset 24; `saturate` since opset 19."]),
    ],
)
def test_forms_of_older_opsets_are_told(name: str, lines: list[str]) -> None:
    text = generator.function(name)
    for line in lines:
        assert line in text


def test_several_outputs_are_overloads() -> None:
    text = generator.function("MaxPool")
    assert text.count("@overload") == 2
    assert "    outputs: Literal[1] | None = None,\n) -> Tensor:\n" in text
    assert "    outputs: Literal[2],\n) -> tuple[Tensor, Tensor]: ...\n" in text
    assert "outputs: int | None = None" in generator.function("Split")


GOOD = """\
import numpy as np

import graphdsl as gd
from graphdsl import op

x = gd.input("x", gd.float32[1, 3, 8, 8])
w = np.zeros((4, 3, 3, 3), np.float32)
conv: gd.Tensor = op.Conv(x, w, pads=[1, 1, 1, 1])
op.Conv(x, w, None, strides=np.array([1, 1]), auto_pad="NOTSET", group=np.int64(1))
values: tuple[gd.Tensor, gd.Tensor] = op.TopK(x, [1])
pooled: gd.Tensor = op.MaxPool(x, kernel_shape=(2, 2))
pooled, indices = op.MaxPool(x, kernel_shape=(2, 2), outputs=2)
op.Cast(x, to=gd.int64)
op.Cast(x, to=np.float16)
op.Squeeze(x, axes=[0])
op.Clip(x, 0, 1)
parts: tuple[gd.Tensor, ...] = op.Split(x, num_outputs=3, axis=1)
op.Resize(x, None, [1, 1, 2, 2], mode="cubic")
op.Concat(x, w, 1.0, axis=0)
op.Constant(value=np.zeros(3))
op.If(gd.input("c", gd.bool[()]), then_branch=lambda: x, else_branch=lambda: x)
with gd.opset(9) as nine:
    op.TopK(x, k=3)
    nine.TopK(x, k=3)
gd.domain("ai.onnx.ml", 3).Scaler(x)


def scaled(a: gd.Tensor) -> gd.Tensor:
    # operators and methods give tensors, which editors complete
    return (2 * a + 1).sum(axis=0)[:1].reshape(-1) // 2


for tensor in (x @ x, -x, x > 0, x == 1, x.T, x.mean(), x.astype(gd.int64), divmod(x, 2)[0], x.sort()):
    scaled(tensor).named("named")
"""

BAD = """\
import graphdsl as gd
from graphdsl import op

x = gd.input("x", gd.float32[1, 3, 8, 8])
op.Cnov(x, x)
op.Conv(x, x, padz=[1])
op.Conv(x)
op.Resize(x, None, [1, 1, 2, 2], mode="cubc")
op.Conv(x, x, pads=1)
op.Cast(x)
op.Concat(x, axis=1.5)
number: int = op.Relu(x)
(x * 2).summ()
"""


def test_a_type_checker_knows_the_operators(tmp_path: Path) -> None:
    """What may be written passes the strict checker, and each line of what may not is refused, each for its reason."""
    (tmp_path / "good.py").write_text(GOOD, encoding="utf-8")
    (tmp_path / "bad.py").write_text(BAD, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context"]
    done = subprocess.run(
        [*command, "--config-file", str(ROOT / "pyproject.toml"), str(tmp_path / "good.py"), str(tmp_path / "bad.py")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    found = [
        (Path(line.split(":")[0]).name, int(line.split(":")[1]), line.split("[")[-1].rstrip("]")) for line in errors
    ]
    assert found == [
        ("bad.py", 5, "attr-defined"),
        ("bad.py", 6, "call-arg"),
        ("bad.py", 7, "call-arg"),
        ("bad.py", 8, "arg-type"),
        ("bad.py", 9, "arg-type"),
        ("bad.py", 10, "call-arg"),
        ("bad.py", 11, "arg-type"),
        ("bad.py", 12, "assignment"),
        ("bad.py", 13, "attr-defined"),
    ], done.stdout + done.stderr


def test_the_stub_is_not_read_at_run_time() -> None:
    source = (ROOT / "graphdsl" / "op.py").read_text(encoding="utf-8")
    assert "pyi" not in source.split('"""', 2)[2]
    assert op.__file__ is not None and op.__file__.endswith("op.py")


def test_control_flow_returns_what_its_bodies_say() -> None:
    for name in CONTROL_FLOW:
        assert generator.function(name).splitlines()[0].endswith("-> Any:") or ") -> Any:" in generator.function(name)
        assert any(version.most_outputs == FOREVER for version in generator.versions(name))
