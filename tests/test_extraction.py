"""Parts of models: cuts, taps and chains, on models that the language builds."""

import re
from pathlib import Path

import numpy as np
import onnx
import pytest

import graphdsl as gd
from graphdsl import op
from graphdsl.lookup import emitted_names, own_names

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
