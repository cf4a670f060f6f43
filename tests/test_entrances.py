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
