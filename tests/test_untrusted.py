"""Models from anyone: what an attacker writes is refused clearly, before anything is allocated for it or runs it.

References to data files are in test_guarding.py, files that are replaced in test_saving.py.
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fuzzing
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import graphdsl as gd


def parsed(body: str, imports: str = '"" : 17') -> onnx.ModelProto:
    return onnx.parser.parse_model(f"<ir_version: 8, opset_import: [{imports}]> {body}")


def identity(**fields: Any) -> onnx.ModelProto:
    return parsed("g (float[2] x) => (float[2] y) { y = Identity (x) }")


def refusal(proto: onnx.ModelProto | bytes, base_dir: Path | None = None) -> str:
    with pytest.raises(gd.LoadError) as caught:
        gd.load(proto, base_dir)
    return str(caught.value).splitlines()[0]


# Sizes


@pytest.mark.parametrize(
    "nodes",
    ["y = ConstantOfShape (s)", "a = ConstantOfShape (s) y = Add (a, a)", "a = ConstantOfShape (s) y = Expand (a, s)"],
)
def test_what_a_tiny_model_would_allocate_is_not_allocated(nodes: str) -> None:
    proto = parsed(f"g () => (float[n] y) <int64[1] s = {{4000000000000}}> {{ {nodes} }}")
    model = gd.load(proto)
    assert model.outputs[0].shape == (4_000_000_000_000,)
    gd.check(model)
    assert gd.convert_opset(model, 21).opset == 21


def test_a_shape_of_more_dimensions_than_memory_holds_is_a_finding() -> None:
    proto = parsed("g (float[1] x, int64[9223372036854775807] s) => (float[n] y) { y = Expand (x, s) }")
    with pytest.raises(gd.CheckError, match="Expand: shape has more elements than a tensor has axes"):
        gd.check(proto)


@pytest.mark.parametrize("dims", [[2**62, 4], [2**31, 2**31, 4], [-1], [3], [0, 2**62]])
@pytest.mark.parametrize("typed", [False, True])
def test_dimensions_that_do_not_fit_the_data_are_refused(dims: list[int], typed: bool) -> None:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims)
    if typed:
        tensor.float_data.extend([1, 2])
    else:
        tensor.raw_data = np.float32([1, 2]).tobytes()
    for place in ("initializer", "attribute"):
        proto = identity()
        if place == "initializer":
            proto.graph.initializer.append(tensor)
        else:
            proto.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))
        assert "the tensor 'w'" in refusal(proto)


def test_sparse_tensors_are_checked() -> None:
    values = numpy_helper.from_array(np.float32([1]), "w")
    for change, message in (
        (lambda s: s.dims.append(-2), "has a negative dimension: [3, -2]"),
        (lambda s: setattr(s.values, "raw_data", b"\0"), "which takes 4 bytes, but has 1"),
        (lambda s: setattr(s.indices, "data_location", 1), "has data in another file"),
    ):
        sparse = onnx.SparseTensorProto(values=values, indices=numpy_helper.from_array(np.int64([0])), dims=[3])
        change(sparse)
        proto = identity()
        proto.graph.sparse_initializer.append(sparse)
        assert message in refusal(proto)
        proto = identity()
        proto.graph.node.append(helper.make_node("Constant", [], ["c"], sparse_value=sparse))
        assert message in refusal(proto)


# Data elsewhere, in an attribute


def test_data_files_of_attributes_are_guarded_and_carried_along(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "data").write_bytes(np.float32([3, 4]).tobytes())
    (tmp_path / "secret").write_bytes(np.float32([3, 4]).tobytes())
    for location in ("../secret", str(tmp_path / "secret"), "data\0"):
        assert "the tensor ''" in refusal(with_external(location), tmp_path / "inner")
    model = gd.load(with_external("data"), tmp_path / "inner")
    np.testing.assert_array_equal(model(), [3, 4])
    model.save(tmp_path / "m.onnx")  # where there is no such file
    np.testing.assert_array_equal(gd.load(tmp_path / "m.onnx")(), [3, 4])
    assert gd.load(tmp_path / "m.onnx").to_proto().graph.node[0].name == "named"


def with_external(location: str) -> onnx.ModelProto:
    tensor = TensorProto(data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    proto = parsed("g () => (float[2] y) { y = Identity (y0) }".replace("y0", "c"))
    node = helper.make_node("Constant", [], ["c"], "named")
    node.attribute.add(name="value", type=onnx.AttributeProto.TENSOR).t.CopyFrom(tensor)
    proto.graph.node.insert(0, node)
    return proto


# Functions


def doubling(levels: int) -> onnx.ModelProto:
    """Functions that each call the next twice."""
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    made = []
    for level in range(levels):
        nodes = [helper.make_node("Neg", ["x"], ["y"])]
        if level < levels - 1:
            nodes = [helper.make_node(f"f{level + 1}", [a], [b], domain="f") for a, b in (("x", "t"), ("t", "y"))]
        made.append(helper.make_function("f", f"f{level}", ["x"], ["y"], nodes, imports))
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("f0", ["x"], ["y"], domain="f")], "g", infos[:1], infos[1:])
    return helper.make_model(graph, opset_imports=imports, functions=made, ir_version=8)


def test_functions_that_explode_are_refused_before_anything_expands_them() -> None:
    assert "expanding its functions would add 8388607 nodes, more than 1000000" in refusal(doubling(24))
    model = gd.load(doubling(18))  # which the runtime would take minutes to load
    assert model.outputs[0].shape == (1,)
    (note,) = gd.check(model)
    assert note == "not tried on ONNX Runtime, which takes very long to expand functions: they make 131072 nodes"


def test_two_names_of_the_default_domain_hide_no_recursion() -> None:
    proto = parsed("g (float[2] x) => (float[2] y) { y = Loopy (x) }")
    nodes = [helper.make_node("Loopy", ["x"], ["y"], domain="ai.onnx")]
    proto.functions.append(helper.make_function("", "Loopy", ["x"], ["y"], nodes, [helper.make_opsetid("", 17)]))
    assert "calls itself, directly or through others" in refusal(proto)


def test_functions_that_are_nested_beyond_what_python_follows_are_refused() -> None:
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    proto = doubling(1)
    for level in range(3000):
        nodes = [helper.make_node(f"g{level + 1}" if level < 2999 else "f0", ["x"], ["y"], domain="f")]
        proto.functions.append(helper.make_function("f", f"g{level}", ["x"], ["y"], nodes, imports))
    assert "functions call each other too deeply to be followed" in refusal(proto)


# Text, names, numbers


def test_text_that_is_not_utf8_is_refused() -> None:
    raw = identity().SerializeToString()
    for old, new in ((b"\x0a\x01x", b"\x0a\x01\xff"), (b"Identity", b"Identit\xff"), (b"\x12\x01g", b"\x12\x01\xff")):
        assert raw.count(old)
        assert "is not UTF-8" in refusal(raw.replace(old, new))


@pytest.mark.parametrize("version", [0, -1, 2**31, 2**62])
def test_versions_that_are_no_versions_are_refused(version: int) -> None:
    proto = identity()
    proto.opset_import[0].version = version
    assert f"it imports version {version} of the domain ''" in refusal(proto)


def test_names_that_come_from_nowhere_or_twice_are_refused() -> None:
    proto = identity()
    proto.graph.node[0].input[0] = "nothing"
    assert "Identity: the input 'nothing' is neither an input, an initializer nor made by a node" in refusal(proto)
    proto = identity()
    proto.graph.node.append(proto.graph.node[0])
    assert "Identity: the output 'y' is made twice" in refusal(proto)
    proto = parsed("g (float[2] x) => (float[2] y) { y = Neg (h) h = Abs (y) }")
    assert "need each other in a circle" in refusal(proto)


def test_bodies_whose_order_is_wrong_at_every_level_are_read_once() -> None:
    graph = helper.make_graph([helper.make_node("Neg", ["late"], ["t"])], "b", [], [info("t")])
    for level in range(28):
        nodes = [
            helper.make_node("If", ["c"], [f"o{level}"], then_branch=graph, else_branch=leaf()),
            helper.make_node("Abs", ["x"], ["late" if level == 27 else f"late{level}"]),
        ]
        graph = helper.make_graph(nodes, "b", [], [info(f"o{level}")])
    proto = parsed("g (float[2] x, bool c) => (float[2] y) { y = Neg (x) }")
    proto.graph.node.extend(graph.node)
    assert len(gd.load(proto).nodes) == 3


def info(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [2])


def leaf() -> onnx.GraphProto:
    return helper.make_graph([helper.make_node("Neg", ["x"], ["t"])], "leaf", [], [info("t")])


def test_a_body_in_the_place_of_another_kind_of_attribute_is_no_body() -> None:
    proto = parsed("g (float[2] x, bool c) => (float[2] y) { y = If <then_branch = 1, else_branch = 2> (c) }")
    with pytest.raises(gd.CheckError, match="attribute 'then_branch' is a function, got an int"):
        gd.check(proto)
    assert gd.load(proto).to_proto() == proto


def test_a_model_without_outputs_is_no_source() -> None:
    proto = identity()
    proto.graph.ClearField("output")
    with pytest.raises(
        gd.GraphError, match="model 'g': it has no outputs, and a function of the language returns some"
    ):
        gd.to_source(proto)


# Anything else


@pytest.mark.parametrize(
    ("count", "start"), [(600, 0), pytest.param(5000, int(time.time()), marks=pytest.mark.full)], ids=["sample", "full"]
)
def test_only_graph_errors_come_out_of_mutated_models(count: int, start: int) -> None:
    outcomes, found = fuzzing.fuzz(range(start, start + count))
    assert found == {}
    assert min(outcomes["refused"], outcomes["loaded"] + outcomes["loaded, a step refused"]) > count / 10


def test_the_fuzzer_sees_what_it_looks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = identity().SerializeToString()

    def judged(step: Callable[[], Any]) -> str:
        monkeypatch.setattr(fuzzing, "steps", lambda model, folder: [step])
        return fuzzing.fuzz_one(raw)

    def hangs() -> None:
        while True:
            pass

    monkeypatch.setattr(fuzzing, "SECONDS", 0.2)
    assert judged(lambda: None) == "loaded"
    assert judged(lambda: gd.load(b"")) == "loaded, a step refused"
    assert "ZeroDivisionError" in judged(lambda: 1 / 0)
    assert "takes too long" in judged(hangs)
    assert "MemoryError" in judged(lambda: bytearray(fuzzing.MEMORY * 2))
    assert "the process died: SIGKILL" in judged(lambda: os.kill(os.getpid(), signal.SIGKILL))
