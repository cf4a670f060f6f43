"""Models from strangers: what is refused before anything is made of it, and weights in other files."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import graphdsl as gd

W = np.arange(20_000, dtype=np.float32).reshape(100, 200)
X = np.ones((1, 100), np.float32)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    x = gd.input("x", gd.float32[1, 100])
    model = gd.build({"y": x @ gd.constant(W, "w") + gd.constant(W[0], "b")})
    model.save(tmp_path / "m.onnx", external_data=True, size_threshold=0)
    assert (tmp_path / "m.onnx.data").exists()
    return tmp_path / "m.onnx"


def test_weights_in_another_file_are_mapped(saved: Path) -> None:
    model = gd.load(saved)
    np.testing.assert_array_equal(gd.weights_of(model)["w"], W)
    np.testing.assert_array_equal(model(X), X @ W + W[0])
    proto = onnx.load(saved, load_external_data=False)
    np.testing.assert_array_equal(gd.load(proto, base_dir=saved.parent)(X), X @ W + W[0])


def test_a_file_can_be_replaced_while_it_is_mapped(saved: Path) -> None:
    model = gd.load(saved)
    doubled = gd.with_weights(model, {"w": W * 2})
    doubled.save(saved, external_data=True, size_threshold=0)
    np.testing.assert_array_equal(model(X), X @ W + W[0])
    np.testing.assert_array_equal(gd.load(saved)(X), X @ (W * 2) + W[0])


def test_hard_links_are_refused_unless_allowed(saved: Path) -> None:
    os.link(saved.parent / "m.onnx.data", saved.parent / "other")
    with pytest.raises(
        gd.LoadError, match=r"hard link.*; write gd\.load\(\.\.\., allow_hard_links=True\) if they are yours"
    ):
        gd.load(saved)
    np.testing.assert_array_equal(gd.load(saved, allow_hard_links=True)(X), X @ W + W[0])


def test_a_data_file_that_is_not_there_is_said_to_be_missing(saved: Path) -> None:
    (saved.parent / "m.onnx.data").unlink()
    with pytest.raises(gd.LoadError, match=r"its data file 'm\.onnx\.data' cannot be used: there is none in "):
        gd.load(saved)


@pytest.mark.parametrize("allow", [False, True])
def test_links_that_lead_outside_are_refused(saved: Path, tmp_path: Path, allow: bool) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "m.onnx").write_bytes(saved.read_bytes())
    (inner / "m.onnx.data").symlink_to(tmp_path / "m.onnx.data")
    with pytest.raises(gd.LoadError, match=r"its data file 'm\.onnx\.data' cannot be used"):
        gd.load(inner / "m.onnx", allow_hard_links=allow)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"location": "../m.onnx.data"}, "its data file '../m.onnx.data' cannot be used"),
        ({"location": "/etc/passwd"}, "its data file '/etc/passwd' cannot be used"),
        ({"location": "m.onnx.data\0.txt"}, "is no file name"),
        ({"location": ""}, "'' is no file name"),
        ({"location": "*/_ORT_MEM_ADDR_/*"}, "is no file name"),
        ({"location": "missing"}, "its data file 'missing' cannot be used"),
        ({"offset": "-1"}, "offset is not a size: '-1'"),
        ({"offset": "99999999"}, "are past the end of 'm.onnx.data'"),
        ({"length": "5"}, "which takes 80000 bytes, but has 5"),
        ({"length": "9" * 30}, "length is not a size"),
        ({"color": "red"}, "in a way that is not known: ['color']"),
    ],
)
@pytest.mark.parametrize("allow", [False, True])
def test_references_that_do_not_fit_are_refused(
    saved: Path, changes: dict[str, str], message: str, allow: bool
) -> None:
    proto = onnx.load(saved, load_external_data=False)
    tensor = next(t for t in proto.graph.initializer if t.name == "w")
    entries = {entry.key: entry.value for entry in tensor.external_data} | changes
    del tensor.external_data[:]
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    with pytest.raises(gd.LoadError) as caught:
        gd.load(proto, base_dir=saved.parent, allow_hard_links=allow)
    assert message in str(caught.value)


def test_without_a_folder_there_is_no_data(saved: Path) -> None:
    with pytest.raises(gd.LoadError, match=r"say where with base_dir=\.\.\."):
        gd.load(saved.read_bytes())


def with_tensor(change: Callable[[TensorProto], None]) -> onnx.ModelProto:
    tensor = onnx.numpy_helper.from_array(np.float32([1, 2]), "w")
    change(tensor)
    graph = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["y"])],
        "g",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
        [tensor],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def set_dims(*dims: int) -> Callable[[TensorProto], None]:
    def change(tensor: TensorProto) -> None:
        tensor.dims[:] = dims

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_dims(-1), "has a negative dimension: [-1]"),
        (set_dims(2**33, 2**33), "but has 8"),
        (set_dims(3), "is float32[3], which takes 12 bytes, but has 8"),
        (lambda t: t.float_data.extend([1, 2]), "gives its data twice"),
        (lambda t: setattr(t, "data_type", 99), "has no dtype that ONNX knows (99)"),
        (lambda t: setattr(t, "data_type", TensorProto.STRING), "holds text as raw data"),
        (lambda t: t.ClearField("raw_data"), "has 2 elements, and data for fewer"),
        (lambda t: t.segment.SetInParent(), "is a segment of a larger one"),
    ],
)
def test_tensors_that_contradict_themselves_are_refused(change: Callable[[TensorProto], None], message: str) -> None:
    assert gd.load(with_tensor(lambda tensor: None)).nodes[0].op_type == "Identity"
    with pytest.raises(gd.LoadError) as caught:
        gd.load(with_tensor(change))
    assert message in str(caught.value)


def functions(calls: dict[str, list[str]]) -> onnx.ModelProto:
    """A model that calls `f0`; each function calls those listed for it."""
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("f", 1)]
    made = []
    for name, called in calls.items():
        nodes, last = [], "x"
        for i, callee in enumerate(called):
            nodes.append(helper.make_node(callee, [last], [f"t{i}"], domain="f"))
            last = f"t{i}"
        nodes.append(helper.make_node("Neg", [last], ["y"]))
        made.append(helper.make_function("f", name, ["x"], ["y"], nodes, imports))
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("f0", ["x"], ["y"], domain="f")], "g", info[:1], info[1:])
    return helper.make_model(graph, opset_imports=imports, functions=made, ir_version=8)


def test_functions_that_grow_beyond_bounds_are_refused() -> None:
    assert len(gd.load(functions({"f0": ["f1", "f1"], "f1": []})).functions) == 2
    chain = {f"f{i}": [f"f{i + 1}"] * 2 for i in range(30)} | {"f30": []}
    with pytest.raises(gd.LoadError, match=r"expanding its functions would add \d+ nodes"):
        gd.load(functions(chain))


def test_functions_that_call_themselves_are_refused() -> None:
    for calls in ({"f0": ["f0"]}, {"f0": ["f1"], "f1": ["f2"], "f2": ["f0"]}):
        with pytest.raises(gd.LoadError, match="calls itself, directly or through others"):
            gd.load(functions(calls))


def field(number: int, content: bytes) -> bytes:
    """A field of a message as protobuf writes it."""
    size, varint = len(content), b""
    while size > 127:
        varint, size = varint + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + varint + bytes([size]) + content


def test_bodies_nested_too_deep_are_refused() -> None:
    graph = b""
    for _ in range(40):
        attribute = field(1, b"body") + field(6, graph) + b"\xa0\x01\x05"
        graph = field(1, field(4, b"If") + field(5, attribute))
    with pytest.raises(gd.LoadError, match="bodies are nested more than 31 deep, which protobuf cannot parse"):
        gd.load(field(7, graph))
