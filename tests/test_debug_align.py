"""`debug.align`: a torch module beside its exported model, part by part; faults are planted and must be found."""

import io
import subprocess
import sys
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from faults import faults
from torch import nn

import graphdsl as gd
from benchmarks.networks import NETWORKS, network
from graphdsl import debug

SETTINGS: dict[str, dict[str, Any]] = {
    "older": {"dynamo": False, "optimize": False},
    "older, folded": {"dynamo": False, "optimize": True},
    "dynamo": {"dynamo": True, "optimize": False},
    "dynamo, optimised": {"dynamo": True, "optimize": True},
}
CASES = [(name, setting) for name in NETWORKS for setting in SETTINGS]


@cache
def exported(name: str, setting: str) -> onnx.ModelProto:
    net, x = network(name)
    return debug.from_torch(net, x, check=False, **SETTINGS[setting]).to_proto()


def assert_faults_are_found(name: str, setting: str, every: int) -> None:
    """The clean model has no culprit, and with each fault in every so many the culprit is the module that has it.

    Where a module was fused away, it is the row whose nodes have the fault.
    """
    net, x = network(name)
    proto = exported(name, setting)
    clean = debug.align(net, x, model=proto)
    assert clean.culprit is None, str(clean)
    if not SETTINGS[setting]["optimize"]:
        assert clean.coverage >= 0.9, str(clean)
    print(f"{name}, {setting}: {clean.coverage:.0%} of the leaf modules aligned")
    aligned = {row.module for row in clean.aligned}
    weighted = [path for path, part in net.named_modules() if any(True for _ in part.parameters(recurse=False))]
    planted = [(path, fault) for path in weighted for fault in faults(proto, path)]
    assert len(planted) >= len(weighted) - len(clean.unaligned)
    for path, fault in planted[::every]:
        row = debug.align(net, x, model=fault.model).culprit
        assert row is not None, f"{fault.what} of {path}: nothing was found"
        named = row.module == path if path in aligned else fault.node in [node.info.name for node in row.nodes]
        assert named, f"{fault.what} of {path} was said to be in {row}"


@pytest.mark.parametrize(("name", "setting"), CASES)
def test_a_planted_fault_is_named(name: str, setting: str) -> None:
    assert_faults_are_found(name, setting, every=7)


@pytest.mark.full
@pytest.mark.parametrize(("name", "setting"), CASES)
def test_every_planted_fault_is_named(name: str, setting: str) -> None:
    assert_faults_are_found(name, setting, every=1)


def rows(report: debug.Report) -> list[str]:
    return [row.name for row in report.rows]


def test_calls_of_one_part_are_told_apart() -> None:
    net, x = network("plain")
    report = debug.align(net, x, dynamo=False)
    assert rows(report) == ["convs.0", "convs.1", "convs.2", "convs", "act", "flat", "fc", "act (2)", "(the module)"]
    tensors = [row.tensor for row in report.rows]
    assert tensors[2] == tensors[3] and tensors[4] != tensors[7] == tensors[8]
    assert report.rows[3].reason == "the tensor of 'convs.2'"


def test_the_culprit_is_described() -> None:
    net, x = network("residual")
    proto = exported("residual", "dynamo")
    (fault,) = [f for f in faults(proto, "blocks.1.conv1") if f.what == "weight"]
    report = debug.align(net, x, model=fault.model)
    row = report.culprit
    assert row is not None and row.local is not None and row.accumulated is not None and row.source is not None
    assert (row.module, row.kind, row.tensor) == ("blocks.1.conv1", "Conv2d", "conv2d_3")
    assert [node.op_type for node in row.nodes] == ["Conv"]
    assert row.local > 0.001 and row.local == pytest.approx(row.accumulated, rel=1e-3)
    assert row.source.text == "return torch.relu(x + self.conv2(torch.relu(self.conv1(x))))"
    later = report.rows[report.rows.index(row) + 1 :]
    assert all(r.accumulated > 1e-4 and r.local < 1e-5 for r in later)
    assert "> blocks.1.conv1 (Conv2d)" in str(report)
    verdict, nodes, place = str(report).splitlines()[-3:]
    assert verdict.startswith("error is made in blocks.1.conv1 (Conv2d): ") and nodes == "  nodes: Conv"
    assert place.startswith("  at ") and place.endswith(row.source.text)
    assert "100% of the leaf modules aligned" in str(report).splitlines()


def test_a_parents_own_operators_have_rows() -> None:
    """What a module computes between its parts is found where it goes into one."""
    net, x = network("residual")
    proto = exported("residual", "dynamo")
    (relu,) = [node for node in proto.graph.node if node.name == "node_relu_2"]
    wrong = onnx.ModelProto()
    wrong.CopyFrom(proto)
    next(node for node in wrong.graph.node if node.name == relu.name).op_type = "Sigmoid"
    row = debug.align(net, x, model=wrong).culprit
    assert row is not None
    assert (row.name, row.module) == ("blocks.1, before blocks.1.conv2", "blocks.1")


def test_fused_modules_say_by_which_rule() -> None:
    net, x = network("normalised")
    report = debug.align(net, x, model=exported("normalised", "dynamo, optimised"))
    assert {row.name: row.reason for row in report.unaligned}["conv2"] == (
        "fused into node 'node_Conv_38' (Conv) of 'bn2' by the exporter's rule FuseBatchNormIntoConv"
    )
    report = debug.align(net, x, model=exported("normalised", "older, folded"))
    assert {row.name: row.reason for row in report.unaligned}["conv2"] == (
        "its nodes give the tensor of 'bn2': one was folded into the other"
    )


def test_modules_that_torch_does_not_call_are_listed() -> None:
    net, x = network("transformer")
    report = debug.align(net, x, model=exported("transformer", "dynamo"))
    (row,) = [row for row in report.unaligned if row.name == "encoder.layers.0.self_attn.out_proj"]
    assert row.reason == "torch does not call it; others use its weights (in node 'node_linear_1')"


def without_traces(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A model whose names and metadata tell nothing of modules."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    names = {info.name: info.name for info in (*copy.graph.input, *copy.graph.output)} | {"": ""}
    for node in copy.graph.node:
        node.name = ""
        del node.metadata_props[:]
        for values in (node.input, node.output):
            for index, name in enumerate(values):
                values[index] = names.setdefault(name, f"t{len(names)}")
    for tensor in copy.graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    del copy.graph.value_info[:]
    return copy


def test_values_decide_where_the_model_tells_nothing() -> None:
    net, x = network("residual")
    proto = without_traces(exported("residual", "older"))
    assert debug.align(net, x, model=proto).coverage == 1.0
    position = [node.op_type for node in proto.graph.node].index("Conv", 3)
    weight = next(t for t in proto.graph.initializer if t.name == proto.graph.node[position].input[1])
    array = onnx.numpy_helper.to_array(weight) * np.float32(1.01)
    weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
    row = debug.align(net, x, model=proto).culprit
    assert row is not None and row.module == "blocks.0.conv2"


def test_a_nan_is_a_difference() -> None:
    class Root(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x: Any) -> Any:
            return self.second(torch.sqrt(torch.abs(self.first(x))))

    net, x = Root().eval(), torch.ones(2, 3)
    proto = debug.from_torch(net, x, dynamo=False).to_proto()
    for node in proto.graph.node:
        if node.op_type == "Abs":
            node.op_type = "Neg"
    report = debug.align(net, x, model=proto)
    row = report.culprit
    assert row is not None and row.local is not None
    assert row.name == "(the module), before second" and row.local == float("inf")
    assert row.local.note.startswith("NaN or infinity in ")


def test_a_small_budget_gives_the_same_report() -> None:
    net, x = network("residual")
    proto = exported("residual", "older")
    large, small = (debug.align(net, x, model=proto, memory=memory) for memory in (1 << 30, 10_000))
    assert [(row.name, row.tensor, row.accumulated) for row in large.rows] == [
        (row.name, row.tensor, row.accumulated) for row in small.rows
    ]


def test_a_model_of_other_precision_is_aligned() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 2)

        def forward(self, x: Any) -> Any:
            return self.second(torch.tanh(self.first(x)))

    torch.manual_seed(0)
    net, x = Half().eval(), torch.randn(3, 8)
    model = debug.from_torch(Half().half().eval(), x.half(), dynamo=False, check=False)
    state = {name: value.half() for name, value in net.state_dict().items()}
    report = debug.align(net, x, model=gd.with_weights(model, state))
    assert report.culprit is None and report.coverage == 1.0
    assert any(row.local and 1e-5 < row.local < 1e-2 for row in report.rows)


def test_another_shape_is_an_error_where_it_is_made(tmp_path: Path) -> None:
    """Behind a wrong stride no shape fits, until one is the same for all sizes; the stride is named all the same."""
    net, x = network("residual")
    proto = onnx.ModelProto()
    proto.CopyFrom(exported("residual", "dynamo"))
    (conv,) = [node for node in proto.graph.node if node.name == "node_conv2d"]
    for attribute in conv.attribute:
        if attribute.name == "strides":
            attribute.ints[:] = [2, 2]
    del proto.graph.value_info[:]
    report = debug.align(net, x, model=proto)
    row = report.culprit
    assert row is not None and row.local is not None
    assert (row.module, row.tensor, row.local) == ("stem", "conv2d", float("inf"))
    assert row.local.note == "another shape: 'conv2d' is float32[2, 4, 4, 4]"
    script = report.save_repro(tmp_path)
    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert run.stderr == "shape [2, 4, 4, 4], expected [2, 4, 8, 8]\n" and run.returncode == 1


@pytest.mark.parametrize("setting", ["older", "dynamo"])
@pytest.mark.parametrize("fault", ["transposed", "scaled"])
def test_what_the_model_returns_is_compared_and_not_what_is_right_before(fault: str, setting: str) -> None:
    net, x = network("plain")
    model = gd.load(exported("plain", setting))
    with gd.opset(model.opset):
        inputs = [gd.input(value.name or "", value.type) for value in model.inputs]
        found = model(*inputs)
        wrong = gd.build({"y": found.T if fault == "transposed" else found * 1.1}, inputs=inputs)
    row = debug.align(net, x, model=wrong).culprit
    assert row is not None and row.tensor == "y"
    assert row.nodes[-1].op_type == ("Transpose" if fault == "transposed" else "Mul")


def test_a_model_that_fails_because_of_a_shape_is_aligned_up_to_it() -> None:
    net, x = network("plain")
    proto = onnx.ModelProto()
    proto.CopyFrom(exported("plain", "older"))
    conv = [node for node in proto.graph.node if node.op_type == "Conv"][1]
    next(attribute for attribute in conv.attribute if attribute.name == "strides").ints[:] = [2, 2]
    del proto.graph.value_info[:]
    with pytest.raises(gd.RunError):
        gd.load(proto)(x.numpy())
    report = debug.align(net, x, model=proto)
    row = report.culprit
    assert row is not None and row.local is not None and row.module == "convs.2"
    assert row.local.note == "another shape: '/convs/convs.2/Conv_output_0' is float32[2, 4, 4, 4]"
    assert [row.name for row in report.rows if row.accumulated is not None] == ["convs.0", "convs.1"]


def test_a_model_that_fails_at_a_part_is_its_fault_if_it_tells_of_parts() -> None:
    net, x = network("plain")
    proto = onnx.ModelProto()
    proto.CopyFrom(exported("plain", "older"))
    (last,) = [node for node in proto.graph.node if node.op_type == "Gemm"]
    last.input[1] = last.input[2]
    row = debug.align(net, x, model=proto).culprit
    assert row is not None and row.local is not None and row.module == "fc"
    assert row.local.note.startswith("model 'main_graph': ONNX Runtime refuses Gemm, which makes '/fc/Gemm_output_0'")
    with pytest.raises(gd.RunError, match="ONNX Runtime refuses Gemm"):
        debug.align(net, x, model=without_traces(proto))


def test_parts_that_lost_their_traces_are_found_by_value() -> None:
    net, x = network("residual")
    proto = onnx.ModelProto()
    proto.CopyFrom(exported("residual", "dynamo"))
    for node in list(proto.graph.node)[3:9]:
        del node.metadata_props[:]
        for index, name in enumerate(node.input):
            if name.startswith("blocks."):  # weights tell the module too
                tensor = next(t for t in proto.graph.initializer if t.name == name)
                tensor.name = node.input[index] = name.replace(".", "_")
    report = debug.align(net, x, model=proto)
    assert report.culprit is None and report.coverage == 1.0


def test_scripted_modules_are_aligned_as_a_whole() -> None:
    class Loop(nn.Module):
        def forward(self, x: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
            for _ in range(int(n)):
                x = x * 2 - 1
            return x

    scripted = torch.jit.script(Loop())
    report = debug.align(scripted, (torch.ones(2) / 3, torch.tensor(3)), dynamo=False)
    assert [(row.name, row.is_aligned) for row in report.rows] == [("(the module)", True)]
    assert report.culprit is None


def test_a_parts_own_call_is_its_source() -> None:
    net, x = network("transformer")
    report = debug.align(net, x, model=exported("transformer", "older"))
    (row,) = [row for row in report.rows if row.name == "encoder.layers.0.linear1"]
    assert row.source is not None and "self.linear1(" in row.source.text


def test_a_repro_of_a_module_runs_on_its_own(tmp_path: Path) -> None:
    net, x = network("residual")
    (fault,) = [f for f in faults(exported("residual", "dynamo"), "blocks.1.conv1") if f.what == "weight"]
    script = debug.align(net, x, model=fault.model).save_repro(tmp_path)
    assert [node.op_type for node in onnx.load(tmp_path / "segment.onnx").graph.node] == ["Conv"]
    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert run.returncode == 1 and run.stdout.startswith("segment that makes blocks.1.conv1\n")


def test_a_dropout_that_was_exported_alive_is_named() -> None:
    """In eval mode torch's hands its input through; the model's does not."""
    net = nn.Sequential(nn.Linear(8, 8), nn.Dropout(), nn.Linear(8, 2))
    x = torch.linspace(-1, 1, 32).reshape(4, 8)
    alive = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (x,), alive, dynamo=False, training=torch.onnx.TrainingMode.TRAINING)
    row = debug.align(net, x, model=alive.getvalue()).culprit
    assert row is not None and (row.name, row.kind) == ("1", "Dropout")
    assert debug.align(net, x, dynamo=False).culprit is None


def test_what_returns_its_argument_is_said_to() -> None:
    net = nn.Sequential(nn.Identity(), nn.Linear(3, 2))
    report = debug.align(net, torch.ones(1, 3))
    assert [(row.name, row.reason) for row in report.unaligned] == [
        ("0", "it returns an argument of the module as it is")
    ]
    assert report.coverage == 1.0


def test_inputs_that_the_model_lost_are_refused() -> None:
    class Scaled(nn.Module):
        def forward(self, x: Any, factor: Any) -> Any:
            return x * factor.item()

    call = (torch.ones(3), torch.tensor(2.0))
    model = debug.from_torch(Scaled(), call, dynamo=False, check=False)
    with pytest.raises(gd.ExportError, match="argument 'factor' of Scaled is not an input of the model"):
        debug.align(Scaled(), call, model=model)
