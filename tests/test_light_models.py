"""Types of real architectures, rebuilt: never less precise than ONNX's, and true where they say more.

The models are those that the onnx package carries. Their sizes are known; here those of the images are given names
too, so that every size of every tensor becomes an expression.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from rebuilding import rebuild
from twins import check_type

import graphdsl as gd
from graphdsl.dims import Dim
from graphdsl.types import TensorType

FOLDER = Path(onnx.__file__ or "").parent / "backend" / "test" / "data" / "light"
MODELS = sorted(path.stem for path in FOLDER.glob("*.onnx"))
NAMES = {0: "n", 2: "h", 3: "w"}


def described(name: str, names: Mapping[int, str]) -> onnx.ModelProto:
    """A model with named dimensions of its image, and nothing said of the types of other tensors."""
    model = onnx.load(FOLDER / f"{name}.onnx")
    weights = {tensor.name for tensor in model.graph.initializer}
    (image,) = [info for info in model.graph.input if info.name not in weights]
    for axis, text in names.items():
        image.type.tensor_type.shape.dim[axis].dim_param = text
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    return model


Shape = tuple[Any, ...]


@cache
def by_onnx(name: str, *, named: bool) -> dict[str, Shape]:
    """The shapes that ONNX's inference with data propagation finds."""
    model = onnx.shape_inference.infer_shapes(described(name, NAMES if named else {}), data_prop=True)
    found = {}
    for info in [*model.graph.value_info, *model.graph.output]:
        if info.type.tensor_type.HasField("shape"):
            dims = info.type.tensor_type.shape.dim
            known = [d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in dims]
            found[info.name] = tuple(None if str(d).startswith("unk__") else d for d in known)
    return found


@cache
def rebuilt(name: str, *, named: bool) -> gd.Model:
    """The model written again in the language."""
    return rebuild(described(name, NAMES if named else {}))


def shape_of(model: gd.Model, name: str) -> Shape | None:
    """The shape that is inferred for a tensor."""
    kind = model[name].type
    return kind.shape if isinstance(kind, TensorType) else None


def less_precise(ours: Shape | None, theirs: Shape) -> bool:
    """Whether a shape says less than another: an unknown size for a known one, or a name for a number."""
    if ours is None or len(ours) != len(theirs):
        return True
    return any(
        b is not None and (a is None or (isinstance(b, int) and not isinstance(a, int)))
        for a, b in zip(ours, theirs, strict=True)
    )


@pytest.mark.parametrize("named", [False, True], ids=["known", "named"])
@pytest.mark.parametrize("name", MODELS)
def test_no_shape_is_less_precise_than_onnx_s(name: str, named: bool) -> None:
    model, shapes = rebuilt(name, named=named), by_onnx(name, named=named)
    assert {tensor for tensor, shape in shapes.items() if less_precise(shape_of(model, tensor), shape)} == set()


@pytest.mark.parametrize("name", MODELS)
def test_every_expression_comes_to_the_size_that_the_model_has(name: str) -> None:
    model, shapes = rebuilt(name, named=True), by_onnx(name, named=False)
    image = next(iter(model.inputs)).shape
    assert image is not None and image[0] == "n"
    sizes = {"n": 1, "h": 224, "w": 224}
    unknown = set()
    for tensor, shape in shapes.items():
        ours = shape_of(model, tensor)
        assert ours is not None
        assert all(
            d is None or (d.substitute(sizes) if isinstance(d, Dim) else d) == s
            for d, s in zip(ours, shape, strict=True)
        )
        unknown |= {tensor} if None in ours else set()
    assert unknown == set()


def test_sizes_are_as_promised_when_a_model_runs() -> None:
    model = rebuilt("light_squeezenet", named=True)
    proto = model.to_proto()
    tensors = [name for node in proto.graph.node for name in node.output]
    kept = {output.name for output in proto.graph.output}
    proto.graph.output.extend([onnx.ValueInfoProto(name=name) for name in tensors if name not in kept])
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    sizes = {"n": 2, "h": 150, "w": 211}
    arrays = session.run(tensors, {model.inputs[0].name: np.zeros((2, 3, 150, 211), np.float32)})
    named = 0
    for name, array in zip(tensors, arrays, strict=True):
        kind = model[name].type
        assert isinstance(kind, TensorType)
        check_type(kind, array, sizes)
        named += kind.shape is not None and any(isinstance(dim, Dim) and len(dim.symbols) > 0 for dim in kind.shape)
    assert named > 60


def test_the_comparison_sees_what_is_less_precise() -> None:
    assert less_precise(None, (1,)) and less_precise((None, 2), (1, 2)) and less_precise((None,), ("n",))
    assert less_precise((Dim("n"),), (3,)) and less_precise((1,), (1, 1))
    assert not less_precise((1, Dim("n"), None), (None, "n", None))
