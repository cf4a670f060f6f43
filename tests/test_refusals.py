"""The words of a refused call: what is wrong, the inputs by name with their types, the attributes, the user's line."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphdsl as gd
from graphdsl import op
from graphdsl.refusals import _cleaned

x = gd.input("x", gd.float32["n", 3])
n = gd.input("n", gd.int64[3])


def refusal(call: Callable[[], Any]) -> list[str]:
    """The lines of the message, without the last, which is the user's."""
    with pytest.raises(gd.InferenceError) as caught:
        call()
    *lines, place = str(caught.value).splitlines()
    assert place.startswith("  at tests/test_refusals.py:")
    return lines


def test_the_whole_message() -> None:
    with pytest.raises(gd.InferenceError) as caught:
        op.Conv(np.zeros((1, 3, 8, 8), "f"), np.zeros((4, 5, 3, 3), "f"), pads=[1, 1, 1, 1])
    line = test_the_whole_message.__code__.co_firstlineno + 2
    assert str(caught.value) == (
        "Conv: X has 3 channels, but W expects 5\n"
        "  inputs: X float32[1, 3, 8, 8], W float32[4, 5, 3, 3]\n"
        "  attributes: pads=(1, 1, 1, 1)\n"
        f"  at tests/test_refusals.py:{line}, in test_the_whole_message: "
        'op.Conv(np.zeros((1, 3, 8, 8), "f"), np.zeros((4, 5, 3, 3), "f"), pads=[1, 1, 1, 1])'
    )


def test_a_refusal_is_a_type_and_a_value_error() -> None:
    for kind in (TypeError, ValueError, gd.GraphError):
        with pytest.raises(kind):
            x + n


@pytest.mark.parametrize(
    ("call", "lines"),
    [
        (
            lambda: x + n,
            [
                "Add: A and B must have one dtype, got float32 and int64; cast one of them, as in x.astype(gd.float32)",
                "  inputs: A float32['n', 3], B int64[3]",
            ],
        ),
        (
            lambda: op.Sum(x, x, n.astype(gd.float64)),
            [
                (
                    "Sum: data_0[0] and data_0[2] must have one dtype, got float32 and float64; cast one of them, "
                    "as in x.astype(gd.float32)"
                ),
                "  inputs: data_0[0] float32['n', 3], data_0[1] float32['n', 3], data_0[2] float64[3]",
            ],
        ),
        (
            lambda: op.Not(x),
            ["Not: X is float32, which is not allowed; it takes bool", "  inputs: X float32['n', 3]"],
        ),
        (
            lambda: op.BitShift(n, n, direction="LEFT"),
            [
                "BitShift: X is int64, which is not allowed; it takes uint8, uint16, uint32, uint64",
                "  inputs: X int64[3], Y int64[3]",
                "  attributes: direction='LEFT'",
            ],
        ),
        (
            lambda: op.SequenceAt(x, 0),
            [
                "SequenceAt: input_sequence is float32, which is not allowed; it takes sequence(bool) and the like",
                "  inputs: input_sequence float32['n', 3], position int64[()] = 0",
            ],
        ),
        (
            lambda: op.Relu(op.SequenceConstruct(x)),
            [
                (
                    "Relu: X is sequence(float32), which is not allowed; it takes float16, bfloat16, float32, float64, "
                    "int8, int16, int32, int64"
                ),
                "  inputs: X sequence(float32['n', 3])",
            ],
        ),
        (
            lambda: op.SequenceInsert(op.SequenceConstruct(x), n),
            [
                (
                    "SequenceInsert: Input Sequence and Tensor are expected to have the same elem type. "
                    "Sequence=float32 Tensor=int64"
                ),
                "  inputs: input_sequence sequence(float32['n', 3]), tensor int64[3]",
            ],
        ),
        (
            lambda: gd.opset(12).GreaterOrEqual(x, n),  # ONNX infers nothing here, so we check
            [
                (
                    "GreaterOrEqual: A and B must have one dtype, got float32 and int64; cast one of them, as in "
                    "x.astype(gd.float32)"
                ),
                "  inputs: A float32['n', 3], B int64[3]",
            ],
        ),
        (
            lambda: op.RoiAlign(x, x, n),
            [
                "RoiAlign: X must have rank 4, but has rank 2",
                "  inputs: X float32['n', 3], rois float32['n', 3], batch_indices int64[3]",
            ],
        ),
        (
            lambda: op.TopK(x, [5], axis=1),
            [
                "TopK: Axis has less than the requested k elements",
                "  inputs: X float32['n', 3], K int64[1] = [5]",
                "  attributes: axis=1",
            ],
        ),
        (
            lambda: op.Constant(),
            [
                (
                    "Constant: One and only one of the attributes 'value', 'value_*' or 'sparse_value' must be "
                    "specified for a Constant node"
                ),
                "  inputs: none",
            ],
        ),
        (
            lambda: op.Reshape(np.zeros(9, "f"), list(range(1, 9))),
            [
                "Reshape: data has 9 elements, and shape=[1, 2, 3, 4, 5, 6, 7, 8] needs 40320",
                "  inputs: data float32[9], shape int64[8] = [1, 2, 3, 4, 5, 6, 7, 8]",
            ],
        ),
    ],
)
def test_what_is_said(call: Callable[[], Any], lines: list[str]) -> None:
    assert refusal(call) == lines


def test_long_values_are_cut() -> None:
    lines = refusal(lambda: op.Constant(value_floats=[0.25] * 100, value_int=1))
    assert lines[-1] == (
        "  attributes: value_floats=(0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0...., value_int=1"
    )


@pytest.mark.parametrize(
    ("native", "text"),
    [
        (
            "[ShapeInferenceError] Input 1 expected to have rank 1 but has rank 2 in node X.",
            "W must have rank 1, but has rank 2",
        ),
        ("[TypeInferenceError] (op_type:Foo, node name: n): Input 0 is odd.", "X is odd"),
        ("Dimension mismatch in unification between 4 and 3", "two sizes that must be equal are 4 and 3"),
        ("input 7 is   not\n there", "input 7 is not there"),
        ("Sequence=1 Tensor=7", "Sequence=float32 Tensor=int64"),
        ("Unexpected axis value: 5. Expected range [-2, 2)", "Unexpected axis value: 5. Expected range [-2, 2)"),
    ],
)
def test_native_messages_are_put_in_the_user_s_words(native: str, text: str) -> None:
    assert _cleaned(native, {0: "X", 1: "W"}) == text
