"""Functions that are shared by calls of other types and attributes: what tools make of a body holds for all calls."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import graphdsl as gd
from graphdsl import op, verify
from graphdsl.generic import generic
from graphdsl.types import as_dtype, tensor_type

P = gd.passes
PASSES = (
    P.constants_to_initializers, P.dead_code, P.drop_identity, P.drop_noops, P.fold_constants, P.fuse_matmul_add,
    P.infer_types, P.initializers_to_constants, P.merge_casts, P.merge_duplicates, P.merge_pads, P.merge_reshapes,
    P.merge_transposes, P.simplify, gd.inline,
)  # fmt: skip


def sizes(x: Any) -> Any:
    return op.Size(x), op.Shape(x), op.Shape(op.Identity(x)), op.Sqrt(gd.constant(np.float32(4)))


def reshaped(x: Any) -> Any:
    known = op.Concat(op.Shape(x, start=0, end=1), np.array([-1]), axis=0)
    return op.Reshape(x, op.Shape(x)), op.Reshape(op.Reshape(x, np.array([-1])), known), op.Flatten(x)


def casts(x: Any) -> Any:
    single = op.Cast(x, to=gd.float32)
    return op.Cast(single, to=gd.float32), op.Cast(op.CastLike(single, x), to=gd.int32)


def branches(x: Any) -> Any:
    def turned() -> Any:
        return op.Transpose(op.Transpose(x))

    return op.If(op.Size(x) > 7, then_branch=turned, else_branch=lambda: op.Identity(x)), op.Identity(x)


def copies(x: Any) -> Any:
    ones = op.ConstantOfShape(op.Shape(op.Shape(x)), value=np.array([1]))
    return op.Sum(x), op.Expand(x, op.Shape(x)), op.Tile(x, ones), op.Slice(x, [0], [2**62]), op.Pad(x, [0] * 4)


def products(x: Any) -> Any:
    return op.Add(op.MatMul(x, op.Transpose(x)), op.CastLike(op.Constant(value=np.float32(2)), x)), x * 1


BODIES: Sequence[Callable[[Any], Any]] = (sizes, reshaped, casts, branches, copies, products)
ARRAYS = (np.float32([[1, 2], [3, 4]]), np.float64([[1, 2, 3], [4, 5, 6]]), np.float32([[1.5, 2, 3]] * 4))


def called_with(body: Callable[[Any], Any], order: Sequence[int]) -> gd.Model:
    """A model that calls a function on arrays of several types; the first is the one that it is traced with first."""
    function = gd.function(domain="my")(body)
    inputs = [gd.input(f"x{place}", as_dtype(array.dtype)[array.shape]) for place, array in enumerate(ARRAYS)]
    found = {f"y{place}_{i}": t for place in order for i, t in enumerate(function(inputs[place]))}
    model = gd.build(found, inputs=inputs)
    assert len(model.functions) < len(ARRAYS)  # where constants or bodies say a dtype, each dtype has a function
    return model


def alike(before: gd.Model, after: gd.Model, feeds: dict[str, np.ndarray]) -> None:
    expected, found = (verify.run(model, feeds, "unoptimised") for model in (before, after))
    assert isinstance(expected, dict) and isinstance(found, dict), (expected, found)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype and found[name].tolist() == array.tolist(), name


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
def test_passes_change_a_body_as_it_holds_for_all_types(body: Callable[[Any], Any]) -> None:
    feeds = {f"x{place}": array for place, array in enumerate(ARRAYS)}
    for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2)):
        model = called_with(body, order)
        for change in PASSES:
            alike(model, change(model), feeds)


def test_passes_change_a_body_as_it_holds_for_all_attributes() -> None:
    """The body is the same for each permutation, and what is known of its sizes is not."""

    @gd.function(domain="my")
    def turned(x: Any, *, perm: list[int]) -> Any:
        y = op.Transpose(x, perm=perm)
        return op.Shape(y), op.Reshape(y, np.array([2, 3])), op.Reshape(y, op.Shape(y))

    x = gd.input("x", gd.float32[2, 3])
    results = [*turned(x, perm=[0, 1]), *turned(x, perm=[1, 0])]
    model = gd.build({f"y{place}": tensor for place, tensor in enumerate(results)})
    assert len(model.functions) == 1
    for change in PASSES:
        alike(model, change(model), {"x": np.arange(6, dtype=np.float32).reshape(2, 3)})


def test_passes_change_functions_that_call_each_other_as_these_hold_for_all_calls() -> None:
    @gd.function(domain="my")
    def inner(x: Any, *, axis: int) -> Any:
        y = op.Flatten(x, axis=axis)
        return op.Shape(y), op.Reshape(y, op.Shape(y)), op.Concat(x, x, axis=axis)

    @gd.function(domain="my")
    def outer(x: Any, *, axis: int, perm: list[int]) -> Any:
        size, flat, twice = inner(op.Transpose(x, perm=perm), axis=axis)
        return size, flat, op.Shape(twice), op.Reshape(twice, op.Shape(twice))

    arrays = dict(zip("xzw", ARRAYS, strict=True))
    x, z, w = (gd.input(name, as_dtype(array.dtype)[array.shape]) for name, array in arrays.items())
    results = [
        *outer(x, axis=1, perm=[0, 1]),
        *outer(z, axis=0, perm=[1, 0]),
        *outer(w, axis=1, perm=[1, 0]),
        *inner(w, axis=0),
    ]
    built = gd.build({f"y{place}": tensor for place, tensor in enumerate(results)}, inputs=[x, z, w])
    assert len(built.functions) == 2
    for model in (built, gd.load(built.to_proto())):
        for change in (*PASSES, lambda model: gd.convert_opset(model, 24)):
            alike(model, change(model), arrays)


def test_what_the_first_trace_knew_is_nothing_to_a_model_that_calls_with_another_type() -> None:
    function = gd.function(domain="my")(lambda x: (op.Shape(x), op.Relu(x)))
    for size in (2, 3):
        x = gd.input("x", gd.float32[size])
        model = gd.build(dict(zip("ab", function(x), strict=True)))
        assert P.fold_constants(model)(np.ones(size, np.float32))[0].tolist() == [size]


def test_a_converted_body_holds_for_all_ranks() -> None:
    """Softmax worked on rows of a matrix up to opset 12, and works along an axis since."""
    inputs = [gd.input("x", gd.float32[2, 3]), gd.input("z", gd.float32[2, 3, 4])]
    function = gd.function(domain="my")(lambda x: op.Softmax(x))
    with gd.opset(11):
        model = gd.build({f"y{place}": function(tensor) for place, tensor in enumerate(inputs)}, inputs=inputs)
    feeds = {"x": np.eye(2, 3, dtype=np.float32), "z": np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 9}
    found = gd.convert_opset(model, 13).run(feeds)
    for name, array in model.run(feeds).items():
        np.testing.assert_allclose(found[name], array, rtol=1e-6)


def test_transform_shows_the_types_that_all_calls_have() -> None:
    seen = []

    def visit(node: Any, inputs: Any) -> None:
        if node.op_type == "Relu":
            seen.append(inputs[0].type)

    inputs = [gd.input("x", gd.float32[2, 3]), gd.input("z", gd.float32[4, 3])]
    function = gd.function(domain="my")(lambda x: op.Relu(op.Neg(x)))
    gd.transform(gd.build([function(tensor) for tensor in inputs], inputs=inputs), visit)
    assert seen == [gd.float32[None, 3]]


def test_a_body_of_one_type_is_left_as_it_was_traced() -> None:
    x = gd.input("x", gd.float32[2, 3])
    function = gd.function(domain="my")(lambda x: op.Relu(op.Neg(x)))
    model = gd.build({"y": function(x), "z": function(-x)})
    assert generic(model) == {}
    assert P.dead_code(model) is model


def test_attributes_that_are_given_by_calls_say_nothing_of_types() -> None:
    """ONNX's inference takes what is not written down for 0 or an empty list."""

    @gd.function(domain="my")
    def scaled(x: Any, *, axis: int, alpha: float = 2.0, names: list[str] = ["a"]) -> Any:  # noqa: B006
        return op.Flatten(x, axis=axis) * alpha, op.Constant(value_strings=names), op.Cast(x, to=axis)

    x = gd.input("x", gd.float32[2, 3, 4])
    model = gd.build(scaled(x, axis=1))
    (body,) = generic(model).values()
    known = {node.op_type: node.outputs[0].type for node in body.nodes}
    assert known["Flatten"] is known["Mul"] is tensor_type(gd.float32)
    assert known["Cast"] is None
    kinds = [node.outputs[0].type for node in body.nodes if node.op_type == "Constant"]
    assert gd.float32[()] in kinds and gd.string[None] in kinds
