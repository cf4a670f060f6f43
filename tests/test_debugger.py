"""`debug.Debugger`: tensors marked in a torch module, compared with those of the exported model."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import graphdsl as gd
from graphdsl import debug

X = torch.linspace(-1, 1, 12).reshape(3, 4)


class Marked(nn.Module):
    """Markers in order, in a loop under one name, and one whose result nothing uses."""

    def __init__(self, debugger: debug.Debugger) -> None:
        super().__init__()
        self.debugger = debugger
        self.first = nn.Linear(4, 4)

    def forward(self, x: Any) -> Any:
        x = self.debugger.debug(self.first(x), "first")
        for _ in range(2):
            x = self.debugger.debug(torch.relu(x) - 0.25, "loop")
        self.debugger.debug(x + 1, "unused")
        return x * 2


@pytest.mark.parametrize("dynamo", [False, True])
def test_the_tutorials_steps(dynamo: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    debugger = debug.Debugger()
    net = Marked(debugger).eval()
    before, after = tmp_path / "before.onnx", tmp_path / "after.onnx"
    names = {} if dynamo else {"input_names": ["x"]}
    torch.onnx.export(net, (X,), str(before), dynamo=dynamo, verbose=False, **names)
    assert {node.domain for node in onnx.load(before).graph.node if node.op_type == "Debug"} == {"my"}
    if dynamo:
        net(-X)  # an earlier run does not count
        net(X)
    debugger.extract_debug_model(before, after)
    onnx.checker.check_model(onnx.load(after), full_check=True)
    assert [node.op_type for node in onnx.load(after).graph.node].count("Identity") >= 3
    capsys.readouterr()
    debugger.run_debug_model({"x": X.numpy()}, after)
    debugger.print_debug_result()
    table = capsys.readouterr().out.splitlines()
    assert table[1].split() == ["tensor", "max", "abs", "max", "rel", "MSE", "cosine"]
    assert [line.split("  ")[1] for line in table[3:6]] == ["first", "loop", "loop (2)"]
    assert table[6:] == [
        "not aligned:",
        "  unused: the exporter dropped the marker: nothing uses what debug(...) returned",
        "3 of 4 compared",
    ]
    rows = debugger.report.rows
    assert [row.name for row in rows] == ["first", "loop", "loop (2)", "unused"]
    assert all(row.accumulated is not None and row.accumulated < 1e-6 for row in rows[:3])


def changed(debugger: debug.Debugger) -> gd.Model:
    """The marked module's model, with the weight of its layer halved."""
    net = Marked(debugger).eval()
    model = debugger.extract_debug_model(debug.from_torch(net, X, dynamo=False))
    net(X)
    (name,) = [name for name, array in gd.weights_of(model).items() if array.shape == (4, 4)]
    return gd.with_weights(model, {name: gd.weights_of(model)[name] / 2})


def test_a_difference_is_measured() -> None:
    debugger = debug.Debugger()
    model = changed(debugger)
    report = debugger.run_debug_model({"x": X}, model)
    net = nn.Linear(4, 4)
    first = report.rows[0]
    assert first.accumulated is not None and first.expected is not None and first.got is not None
    assert first.accumulated > 0.01 and 0 < first.accumulated.cosine < 1
    assert first.expected.shape == (3, 4) == net(X).shape
    assert debugger.report is report


def test_models_that_are_built_here_have_markers_too() -> None:
    x = gd.input("x", gd.float32[3, 4])
    model = gd.build({"y": gd.marker(x * 2, "twice") + 1})
    debugger = debug.Debugger()
    debugger.debug(X * 2, "twice")
    report = debugger.run_debug_model({"x": X}, debugger.extract_debug_model(model))
    assert [(row.name, row.accumulated) for row in report.rows] == [("twice", 0.0)]


def test_what_lacks_is_said() -> None:
    debugger = debug.Debugger()
    x = gd.input("x", gd.float32[3])
    with pytest.raises(gd.GraphError, match="nothing was compared yet"):
        debugger.print_debug_result()
    with pytest.raises(gd.GraphError, match=r"has no markers \(my::Debug nodes\); export a module that calls"):
        debugger.extract_debug_model(gd.build(x * 2))
    with pytest.raises(gd.GraphError, match="lists no markers; give what"):
        debugger.run_debug_model({}, gd.build(x * 2))
    model = debugger.extract_debug_model(gd.build(gd.marker(x * 2, "twice")))
    with pytest.raises(gd.GraphError, match="torch's side has no values yet"):
        debugger.run_debug_model({"x": [1, 2, 3]}, model)
    with pytest.raises(gd.ExportError, match=r"debugger.debug\('a'\): a marker takes a tensor, got list"):
        debugger.debug([1], "a")
    debugger.debug(torch.ones(3), "other")
    report = debugger.run_debug_model({"x": np.float32([1, 2, 3])}, model)
    assert [(row.name, row.reason) for row in report.rows] == [
        ("other", "the exporter dropped the marker: nothing uses what debug(...) returned"),
        ("twice", "torch's last run did not pass this marker"),
    ]
