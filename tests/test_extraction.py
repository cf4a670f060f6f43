"""Parts of models: cuts, taps and chains, on models that the language builds."""

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest

import graphdsl as gd
from graphdsl import op
from graphdsl.extraction.intermediates import _Runner
from graphdsl.extraction.naming import Named
from graphdsl.lookup import Tensors, emitted_names, own_names

LIGHT = sorted((Path(onnx.__file__ or "").parent / "backend" / "test" / "data" / "light").glob("*.onnx"))
SQUARE = gd.float32[3, 3]


def diamond() -> gd.Model:
    """`out = (a * x) + relu(b * d)`, with tensors c = a * x and e = b * d."""
    a, x, b, d = (gd.input(name, SQUARE) for name in "axbd")
    return gd.build({"out": (a * x).named("c") + op.Relu((b * d).named("e"))})


def feeds(model: gd.Model) -> dict[str, np.ndarray]:
    random = np.random.default_rng(3)
    return {str(t.name): random.standard_normal((3, 3)).astype(np.float32) for t in model.inputs}


def test_a_part_takes_and_gives_what_was_asked_for() -> None:
    part = gd.extract(diamond(), ["c", "e"], ["out"])
    assert [(t.name, t.type) for t in part.inputs] == [("c", SQUARE), ("e", SQUARE)]
    assert part.output_names == ("out",)
    assert [node.op_type for node in part.nodes] == ["Relu", "Add"]
    assert gd.check(part) == ()


def test_what_is_missing_is_told_with_ways_and_cuts_that_do() -> None:
    model = diamond()
    with pytest.raises(gd.MissingInputs) as caught:
        gd.extract(model, ["c"], ["out"])
    error = caught.value
    assert error.missing == ("b", "d")
    assert error.paths == {"b": ("out", "Relu_0", "e", "b"), "d": ("out", "Relu_0", "e", "d")}
    assert error.suggested == (("c", "b", "d"), ("c", "Relu_0"), ("c", "e"))
    for cut in error.suggested:
        assert [t.name for t in gd.extract(model, cut, ["out"]).inputs] == list(cut)
    text = re.sub(r"at \S+:\d+,?", "at FILE", str(error))
    assert text.splitlines()[:3] == [
        "gd.extract: the outputs need 2 inputs that are not listed:",
        "  'b' (float32[3, 3]), needed by 'out' <- 'Relu_0' <- 'e'",
        '  at FILE in diamond: return gd.build({"out": (a * x).named("c") + op.Relu((b * d).named("e"))})',
    ]
    assert "\nwrite inputs=['c', 'b', 'd']\n  or inputs=['c', 'Relu_0']\n  or inputs=['c', 'e']\n  at FILE" in text


def test_exposing_is_undone_by_extracting() -> None:
    model = diamond()
    tapped = gd.expose(model, "c", "Relu*")
    assert tapped.output_names == ("out", "c", "Relu_0")
    assert gd.extract(tapped, outputs=["out"]).to_proto() == model.to_proto()


def test_intermediate_values_come_in_chunks_and_are_those_of_the_whole_model() -> None:
    model = diamond()
    given = feeds(model)
    whole = gd.expose(model, "c", "e", "Relu_0").run(given)
    for memory in (1, 40, 1 << 20):
        found = dict(gd.run_intermediates(model, given, memory=memory))
        assert list(found) == ["c", "e", "Relu_0", "out"]
        assert all(np.array_equal(found[name], whole[name]) for name in whole)


def test_a_chain_computes_what_the_model_does() -> None:
    model = diamond()
    values = given = feeds(model)
    parts = gd.split(model, at=["c", ["e"]])
    for part in parts:
        values = part.run(values)
    assert np.array_equal(values["out"], model.run(given)["out"])
    assert [[node.op_type for node in part.nodes] for part in parts] == [["Mul"], ["Mul"], ["Relu", "Add"]]


@pytest.mark.parametrize("path", LIGHT, ids=lambda path: path.stem)
def test_loaded_tensors_are_known_by_the_names_that_emission_gives_them(path: Path) -> None:
    model = gd.load(path)
    assert own_names(model.graph) == emitted_names(model)


PROGRAM = """
import sys
from itertools import pairwise
from pathlib import Path
import graphdsl as gd

def memory(name):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024

source, target = sys.argv[1:]
before = memory("VmRSS")
part = gd.extract(source, ["h"], ["y"])
part.save(target, external_data=True, size_threshold=0)
print(memory("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_only_the_weights_of_the_part_are_read_and_written(tmp_path: Path) -> None:
    rows = 1_000_000
    with (tmp_path / "weights").open("wb") as stream:
        stream.truncate(rows * 4000)  # four gigabytes, of which the disk holds nothing
        stream.seek(rows * 4000)
        stream.write(np.arange(1000, dtype=np.float32).tobytes())
    proto = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (int64[k] rows) => (float[k, 1000] y) { h = Gather (table, rows) y = Mul (h, scale) }
    """)
    for name, shape, offset in (("table", [rows, 1000], 0), ("scale", [1000], rows * 4000)):
        tensor = proto.graph.initializer.add(name=name, data_type=1, dims=shape)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", "weights"), ("offset", offset), ("length", np.prod(shape) * 4)):
            tensor.external_data.add(key=key, value=str(value))
    onnx.save(proto, tmp_path / "whole.onnx")
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "whole.onnx"), str(tmp_path / "part.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 100e6
    assert (tmp_path / "part.onnx.data").stat().st_size == 4000
    part = gd.load(tmp_path / "part.onnx")
    assert list(gd.weights_of(part)) == ["scale"]
    np.testing.assert_array_equal(part(np.ones((1, 1000), np.float32)), [np.arange(1000)])


def test_inputs_that_nothing_needs_stay_with_a_warning_at_the_caller_s_line() -> None:
    with pytest.warns(UserWarning) as caught:
        part = gd.extract(diamond(), ["c", "e", "a"], ["c"])
    assert str(caught[0].message) == "gd.extract: the outputs do not need 'e', 'a', kept as input"
    assert caught[0].filename == __file__
    assert [t.name for t in part.inputs] == ["c", "e", "a"]
    assert gd.check(part) == ()


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        (["c", "c"], ["out"], "gd.extract: the input 'c' is listed twice"),
        (["c"], [], "gd.extract: there are no outputs to compute; list at least one"),
        (["cc"], ["out"], "gd.extract: model 'graph' has no tensor 'cc'"),
        (["c"], [gd.input("other", SQUARE)], "is no tensor of model 'graph'"),
    ],
)
def test_what_makes_no_cut_is_refused(inputs: list[str], outputs: list[object], message: str) -> None:
    with pytest.raises(gd.GraphError) as caught:
        gd.extract(diamond(), inputs, outputs)
    assert message in str(caught.value)
    assert "test_extraction.py" in str(caught.value)


def test_the_type_of_a_cut_is_inferred_and_not_believed() -> None:
    proto = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[n, 3] x) => (float[n, 3] y) { h = Relu (x) k = Neg (h) y = Abs (k) }
    """)
    for name in "hk":  # as they were before the batch was made free
        proto.graph.value_info.append(onnx.helper.make_tensor_value_info(name, 1, [1, 3]))
    part = gd.extract(proto, ["h"], ["k"]).to_proto()
    assert [info.type.tensor_type.shape.dim[0].dim_param for info in (*part.graph.input, *part.graph.output)] == [
        "n"
    ] * 2
    assert gd.load(part)(np.zeros((5, 3), np.float32)).shape == (5, 3)


def test_a_tensor_of_no_known_type_cannot_be_an_input() -> None:
    proto = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17, "other" : 1]>
        g (float[2] x) => (float[2] y) { h = other.Thing (x) y = Relu (h) }
    """)
    with pytest.raises(gd.GraphError) as caught:
        gd.extract(proto, ["h"], ["y"])
    assert str(caught.value).splitlines()[0] == (
        "gd.extract: the type of 'h', made by other::Thing, is not known, and a model declares the types of its "
        "inputs; cut elsewhere"
    )


def test_fewer_tensors_are_suggested_where_all_ways_lead_through_them() -> None:
    names = [f"i{k}" for k in range(6)]
    *first, last = [gd.input(name, SQUARE) for name in names]
    total = sum(first[1:], first[0]).named("total")
    model = gd.build({"y": op.Relu(total) @ total + last})
    with pytest.raises(gd.MissingInputs) as caught:
        gd.extract(model, [], ["y"])
    assert caught.value.suggested == (tuple(names), ("i5", "total"))
    assert [t.name for t in gd.extract(model, ["i5", "total"], ["y"]).inputs] == ["i5", "total"]


def test_long_ways_are_shortened_in_the_message_and_whole_in_the_paths() -> None:
    x = gd.input("x", SQUARE)
    h = x
    for k in range(20):
        h = op.Relu(h).named(f"h{k}")
    with pytest.raises(gd.MissingInputs) as caught:
        gd.extract(gd.build({"y": h + 1}), [], ["y"])
    assert "needed by 'y' <- 'h19' <- 'h18' <- 'h17' <- ... <- 'h2' <- 'h1' <- 'h0'" in str(caught.value)
    assert len(caught.value.paths["x"]) == 22


def test_patterns_and_operators_stand_for_all_that_fit() -> None:
    x = gd.input("x", SQUARE)
    model = gd.build({"y": op.Relu(op.Neg(x).named("/a/Neg_output_0")).named("/a/Relu_output_0") + op.Neg(x)})
    assert gd.expose(model, "/a/*").output_names == ("y", "/a/Neg_output_0", "/a/Relu_output_0")
    assert gd.expose(model, "*/Relu_output_0", op.Neg).output_names[1:] == (
        "/a/Relu_output_0",
        "/a/Neg_output_0",
        "Neg_0",
    )
    assert gd.expose(model, model["/a/Relu_output_0"], "y").output_names == ("y", "/a/Relu_output_0")
    assert gd.expose(model, "y") is model
    for wanted, message in (
        ("*/Conv_*", "no tensor of model 'graph' is '*/Conv_*'"),
        (op.Conv, "is an output of Conv"),
    ):
        with pytest.raises(gd.GraphError) as caught:
            gd.expose(model, wanted)
        assert message in str(caught.value)


def test_values_of_unknown_size_are_measured_before_they_are_put_into_chunks() -> None:
    x = gd.input("x", gd.float32[None])
    kept = op.Compress(x, x > 0, axis=0).named("kept")
    model = gd.build({"y": op.Concat(kept, kept, axis=0).named("twice") * 2})
    ran: list[list[str]] = []
    values = _Runner.values

    def recorded(self: _Runner, tensors: list[Named]) -> dict[str, object]:
        ran.append([tensor.name for tensor in tensors])
        return values(self, tensors)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Runner, "values", recorded)
        found = dict(gd.run_intermediates(model, {"x": [1, -1, 2, 3]}, ["kept", "twice", "y"], memory=12 + 24))
    assert ran == [["kept", "twice"], ["y"]]
    assert {name: value.tolist() for name, value in found.items()} == {
        "kept": [1, 2, 3], "twice": [1, 2, 3, 1, 2, 3], "y": [2, 4, 6, 2, 4, 6]
    }  # fmt: skip
    with pytest.raises(gd.GraphError, match="memory=0 is no number of bytes above 0"):
        gd.run_intermediates(model, {}, memory=0)


def test_a_bar_counts_tensors(capsys: pytest.CaptureFixture[str]) -> None:
    model = diamond()
    list(gd.run_intermediates(model, feeds(model), memory=1, progress=True))
    assert "4/4" in capsys.readouterr().err
    list(gd.run_intermediates(model, feeds(model), progress=False))
    list(gd.run_intermediates(model, feeds(model)))  # no terminal looks on
    assert capsys.readouterr().err == ""


def test_a_bar_that_is_asked_for_needs_tqdm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    model = diamond()
    assert len(list(gd.run_intermediates(model, feeds(model)))) == 4
    with pytest.raises(gd.MissingRuntime, match=r"pip install onnx-graphdsl\[progress\]"):
        gd.run_intermediates(model, feeds(model), progress=True)


def test_cuts_of_a_chain_stand_in_the_order_of_the_graph() -> None:
    with pytest.raises(gd.GraphError) as caught:
        gd.split(diamond(), ["Relu_0", "e"])
    assert str(caught.value).splitlines()[0] == (
        "gd.split: nothing lies between 'Relu_0' and 'e'; give the cuts in the order of the graph"
    )
    assert gd.split(diamond(), [])[0].to_proto() == diamond().to_proto()


def test_many_parts_of_one_model_share_its_index(monkeypatch: pytest.MonkeyPatch) -> None:
    model = gd.load(LIGHT[1])
    made = [node.outputs[0].name for node in model.nodes if node.op_type == "Relu"]
    indexes: list[object] = []
    prepare = Tensors.__init__

    def counted(self: Tensors, of: gd.Model) -> None:
        indexes.append(of)
        prepare(self, of)

    monkeypatch.setattr(Tensors, "__init__", counted)
    for first, last in pairwise(made[:41]):
        try:
            gd.extract(model, [first], [last])
        except gd.MissingInputs as error:
            gd.extract(model, error.suggested[0], [last])
    assert indexes == [model]
