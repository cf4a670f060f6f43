"""`debug.compare`: two models side by side, and the repro of what is found."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import graphdsl as gd
from graphdsl import debug, op

FEEDS = {"x": np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)}
W = np.linspace(-1, 1, 16, dtype=np.float32).reshape(4, 4)


def chain(*, scale: float = 1.0, named: bool = True, dtype: gd.DType = gd.float32, epsilon: float = 1e-5) -> gd.Model:
    """A matmul, an activation, a normalisation and a product; `scale` is on the second step."""
    x = gd.input("x", dtype[3, 4])
    dense = x @ gd.constant(W.astype(dtype.numpy), "w")
    activated = op.Tanh(dense) * np.asarray(scale, dtype.numpy)
    normal = op.LayerNormalization(activated, np.ones(4, dtype.numpy), np.zeros(4, dtype.numpy), epsilon=epsilon)
    if named:
        dense, activated, normal = (
            t.named(n) for t, n in zip((dense, activated, normal), ("a", "b", "c"), strict=True)
        )
    return gd.build({"y": normal * np.asarray(3, dtype.numpy)}, inputs=[x])


def culprit_of(report: debug.Report) -> str | None:
    return report.culprit.name if report.culprit else None


def test_the_same_model_has_no_culprit() -> None:
    model = chain()
    report = debug.compare(model, model, FEEDS)
    assert [(row.name, row.local, row.accumulated) for row in report.rows if row.name in "abcy"] == [
        (name, 0.0, 0.0) for name in "abcy"
    ]
    assert report.culprit is None and report.coverage == 1.0


def test_the_tensor_where_error_is_made_is_named() -> None:
    report = debug.compare(chain(), chain(epsilon=0.1), FEEDS)
    assert culprit_of(report) == "c"
    row = report.culprit
    assert row is not None and row.kind == "LayerNormalization"
    assert row.source is not None and row.source.text.startswith("normal = op.LayerNormalization(")
    last = report.rows[-1]
    assert last.name == "y" and last.local == 0.0 and last.accumulated is not None and last.accumulated > 0.01


def test_names_are_not_needed() -> None:
    report = debug.compare(chain(named=False), chain(named=False, epsilon=0.1), FEEDS)
    assert report.coverage == 1.0
    assert report.culprit is not None and report.culprit.kind == "LayerNormalization"


def test_tensors_behind_a_change_are_matched_by_what_uses_them() -> None:
    """A rewrite that replaces a node leaves no name and another structure; what follows is matched from the end."""
    model = chain(named=False)

    def change(node: Any, inputs: Any) -> Any:
        return op.Sub(op.Tanh(inputs[0]), np.float32(0.01)) if node.op_type == "Tanh" else None

    report = debug.compare(model, gd.transform(model, change), FEEDS)
    row = report.culprit
    assert row is not None and [node.op_type for node in row.nodes] == ["Sub", "Mul"]
    assert [r.kind for r in report.aligned] == ["MatMul", "Tanh", "Mul", "LayerNormalization", "Mul"]


def test_a_rewrite_is_followed() -> None:
    @gd.rule(lambda x: op.Tanh(x))
    def wrong(x: gd.Tensor) -> gd.Tensor:
        return op.Tanh(x) + np.float32(0.125)

    model = chain()
    result = gd.rewrite(model, wrong)
    assert result.applied == {"wrong": 1}
    report = debug.compare(model, result.model, FEEDS)
    row = report.culprit
    assert row is not None and "Add" in [node.op_type for node in row.nodes]
    assert {r.name for r in report.aligned} >= {"a", "b", "c", "y"}


def test_half_precision_is_told_from_an_error() -> None:
    assert culprit_of(debug.compare(chain(), chain(dtype=gd.float16), FEEDS)) is None
    report = debug.compare(chain(), chain(dtype=gd.float16, scale=1.1), FEEDS)
    assert culprit_of(report) == "b"


def test_what_is_cast_back_from_half_precision_is_no_error() -> None:
    a = chain()
    report = debug.compare(a, gd.passes.to_float16(a), FEEDS)
    assert report.culprit is None and all(
        row.expected is None or row.expected.dtype == "float32" for row in report.rows
    )
    wrong = debug.compare(a, gd.passes.to_float16(chain(scale=1.1)), FEEDS)
    assert wrong.culprit is not None


def test_providers_are_compared() -> None:
    report = debug.compare(chain(), chain(), FEEDS, a_providers=["reference"])
    assert report.culprit is None and len(report.rows) >= 4


def test_a_model_that_the_runtime_optimised_is_compared(tmp_path: Path) -> None:
    x = gd.input("x", gd.float32[1, 2, 4, 4])
    weight = np.linspace(-1, 1, 36, dtype=np.float32).reshape(2, 2, 3, 3)
    ones, halves = np.ones(2, np.float32), np.full(2, 0.5, np.float32)
    conv = op.Conv(x, weight, pads=[1, 1, 1, 1]).named("conv")
    normal = op.BatchNormalization(conv, ones, halves, halves, ones).named("normal")
    model = gd.build({"y": op.Relu(normal).named("relu") * 2})
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(model.to_proto().SerializeToString(), options)
    feeds = {"x": np.linspace(-1, 1, 32, dtype=np.float32).reshape(1, 2, 4, 4)}
    report = debug.compare(model, tmp_path / "optimised.onnx", feeds)
    assert report.culprit is None
    assert {row.name for row in report.aligned} >= {"relu", "y"}
    assert [row.name for row in report.unaligned] == ["conv"]


def test_other_shapes_are_reasons() -> None:
    x = gd.input("x", gd.float32[3, 4])
    a = gd.build({"y": (x * 2).named("t").sum()})
    b = gd.build({"y": (x.reshape(4, 3) * 2).named("t").sum()})
    (row,) = [row for row in debug.compare(a, b, FEEDS).rows if row.name == "t"]
    assert row.reason == "it is float32[4, 3], not float32[3, 4] in the second model"


def test_tensors_without_a_counterpart_are_listed() -> None:
    x = gd.input("x", gd.float32[3, 4])
    a = gd.build({"y": op.Exp(op.Abs(x).named("t"))})
    b = gd.build({"y": op.Exp(x)})
    report = debug.compare(a, b, FEEDS)
    assert [(row.name, row.reason) for row in report.unaligned] == [("t", "the second model has no such tensor")]
    assert culprit_of(report) == "y"


def test_a_name_that_means_something_else_is_no_error() -> None:
    """An optimiser may give a tensor's name to another; then two errors cancel, and the match is given up."""
    x = gd.input("x", gd.float32[3, 4])
    a = gd.build({"y": ((x * 2).named("t") + 1).named("u") - 3})
    b = gd.build({"y": ((x + 0.5).named("t") * 2).named("u") - 3})
    report = debug.compare(a, b, FEEDS)
    assert report.culprit is None
    (row,) = report.unaligned
    assert (row.name, row.reason) == ("t", "'t' holds something else there: what follows is right without it")


def test_inputs_of_other_names_are_taken_in_order() -> None:
    x, z = gd.input("x", gd.float32[3, 4]), gd.input("z", gd.float32[3, 4])
    assert debug.compare(gd.build({"y": x * 2}), gd.build({"y": z * 2}), FEEDS).culprit is None
    two = gd.build({"y": z * 2 + gd.input("w", gd.float32[3, 4])})
    with pytest.raises(gd.FeedError, match="the second model takes 'z', 'w', and there are feeds for 'x'"):
        debug.compare(gd.build({"y": x * 2}), two, FEEDS)


def test_a_repro_runs_on_its_own(tmp_path: Path) -> None:
    report = debug.compare(chain(), chain(epsilon=0.1), FEEDS)
    script = report.save_repro(tmp_path / "repro")
    assert sorted(path.name for path in script.parent.iterdir()) == [
        "expected.npz",
        "inputs.npz",
        "repro.py",
        "segment.onnx",
    ]
    assert [node.op_type for node in onnx.load(script.parent / "segment.onnx").graph.node] == ["LayerNormalization"]
    assert "graphdsl" not in script.read_text()
    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, cwd="/")
    assert run.returncode == 1 and run.stdout.startswith("segment that makes c\nlargest difference "), run.stderr
    row = report.culprit
    assert row is not None and row.local is not None
    assert f"largest difference {row.local:.3g}, of the largest element {row.local.relative:.3g}" in run.stdout
    fine = report.save_repro(tmp_path / "fine", report.rows[-1])
    assert subprocess.run([sys.executable, str(fine)], capture_output=True, cwd="/").returncode == 0


def test_there_is_no_repro_of_nothing(tmp_path: Path) -> None:
    report = debug.compare(chain(), chain(), FEEDS)
    with pytest.raises(gd.GraphError, match="no error is made in this report; say of which row the repro is"):
        report.save_repro(tmp_path)
    assert list(tmp_path.iterdir()) == []
