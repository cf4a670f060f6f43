"""Every tool takes a model, a proto, bytes or a path."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphdsl as gd
from graphdsl import op


@gd.function(domain="my")
def my_add(a: Any, b: Any) -> Any:
    return 2 * a + b


@gd.model
def whole(x: gd.float32[2]):
    return {"y": op.Relu(my_add(x, gd.constant(np.float32([1, -2]), "w")).named("h"))}


FORMS: dict[str, Callable[[Path], Any]] = {
    "Model": lambda path: whole,
    "ModelProto": lambda path: whole.to_proto(),
    "bytes": lambda path: path.read_bytes(),
    "Path": lambda path: path,
    "str": str,
}


@gd.rule(lambda x: op.Relu(x))
def relu_to_abs(x: gd.Tensor) -> gd.Tensor:
    return op.Abs(x)


TOOLS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "check": (gd.check, ()),
    "convert_opset": (lambda m: gd.convert_opset(m, 22).opset, 22),
    "diff": (lambda m: bool(gd.diff(m, whole)), False),
    "expose": (lambda m: gd.expose(m, "h").output_names, ("y", "h")),
    "extract": (lambda m: gd.extract(m, ["h"], ["y"]).output_names, ("y",)),
    "find": (lambda m: len(gd.find(m, lambda x: op.Relu(x))), 1),
    "explain": (lambda m: relu_to_abs.explain(m, "y"), "rule 'relu_to_abs' matches at 'y'"),
    "inline": (lambda m: gd.inline(m).functions, ()),
    "rename": (lambda m: gd.rename(m, {"x": "image"}).inputs[0].name, "image"),
    "rewrite": (lambda m: gd.rewrite(m, relu_to_abs).applied, {"relu_to_abs": 1}),
    "run_intermediates": (lambda m: [n for n, _ in gd.run_intermediates(m, {"x": np.float32([1, 2])})], ["h", "y"]),
    "split": (lambda m: len(gd.split(m, at=["h"])), 2),
    "to_source": (lambda m: "my_add(" in gd.to_source(m), True),
    "transform": (lambda m: gd.transform(m, lambda node, inputs: None).output_names, ("y",)),
    "weights_of": (lambda m: list(gd.weights_of(m)), ["w"]),
    "with_weights": (lambda m: gd.with_weights(m, {"w": np.float32([0, 0])})(np.float32([1, 2])).tolist(), [2, 4]),
    "passes": (lambda m: len(gd.passes.dead_code(m).nodes), 2),
    "compose": (lambda m: len(gd.compose(gd.passes.dead_code)(m).nodes), 2),
}


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("form", FORMS)
def test_each_tool_takes_each_form(tool: str, form: str, tmp_path: Path) -> None:
    whole.save(tmp_path / "whole.onnx")
    call, expected = TOOLS[tool]
    assert call(FORMS[form](tmp_path / "whole.onnx")) == expected


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_saved(form: str, tmp_path: Path) -> None:
    whole.save(tmp_path / "whole.onnx")
    gd.save(FORMS[form](tmp_path / "whole.onnx"), tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "whole.onnx").read_bytes()


@pytest.mark.parametrize("tool", TOOLS)
def test_what_is_no_model_is_refused(tool: str) -> None:
    with pytest.raises(gd.GraphError, match="takes a path, bytes or a ModelProto, got int"):
        TOOLS[tool][0](3)


def test_inlining_keeps_what_it_does_not_replace() -> None:
    proto = whole.to_proto()
    proto.graph.input[0].doc_string = "what is seen"
    proto.graph.node[1].name, proto.graph.node[1].doc_string = "last", "of all"
    proto.graph.value_info.add(name="h", doc_string="what is hidden")
    after = gd.inline(proto).to_proto()
    assert [node.op_type for node in after.graph.node] == ["Constant", "Mul", "Add", "Relu"]
    assert after.graph.node[2].output[0] == "h"
    assert after.graph.node[3] == proto.graph.node[1]
    assert after.graph.input[0] == proto.graph.input[0]
    assert after.graph.value_info[0].doc_string == "what is hidden"
    assert [entry.domain for entry in after.opset_import] == [""]


def test_inlining_functions_that_hand_on_or_call_others() -> None:
    @gd.function(domain="my")
    def both(a: Any, b: Any) -> Any:
        h = my_add(a, b)
        return h, a, h

    x = gd.input("x", gd.float32[2])
    flag = gd.input("flag", gd.bool[()])
    p, q, r = both(x, x)
    y = op.If(flag, then_branch=lambda: my_add(p, q), else_branch=lambda: both(r, q)[1])
    model = gd.build({"y": y, "p": p, "q": q, "r": r})
    plain = gd.inline(model)
    assert plain.functions == ()
    assert plain.output_names == model.output_names
    for chosen in (True, False):
        feeds = {"x": np.float32([1, 2]), "flag": chosen}
        for name, value in model.run(feeds).items():
            np.testing.assert_array_equal(plain.run(feeds)[name], value)
