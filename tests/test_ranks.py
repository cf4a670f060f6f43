"""Ranks that follow from types alone, where the values of inputs are not known; each is what runs give."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphdsl as gd
from graphdsl import op

K = {count: gd.input(f"k{count}", gd.int64[count]) for count in (0, 1, 2, 4, 6)}
K_MANY = gd.input("many", gd.int64["k"])
NUMBER, SIZE = gd.input("number", gd.int64[()]), gd.input("size", gd.int32)
X = gd.input("x", gd.float32["n", 3, 4])


@pytest.mark.parametrize(
    "call, kind",
    [
        (lambda: op.Pad(X, K[6]), gd.float32[None, None, None]),
        (lambda: op.Pad(X, K[4], None, K[2]), gd.float32[None, None, None]),
        (lambda: op.Squeeze(X, K[2]), gd.float32[None]),
        (lambda: op.Unsqueeze(X, K[2]), gd.float32[None, None, None, None, None]),
        (lambda: op.ReduceSum(X, K[2]), gd.float32[None, None, None]),
        (lambda: op.ReduceSum(X, K_MANY), gd.float32[None, None, None]),
        (lambda: op.ReduceMax(X, K[2], keepdims=0), gd.float32[None]),
        (lambda: op.ReduceL2(X, K[0], keepdims=0), gd.float32[()]),
        (lambda: op.ReduceMean(X, K[0], keepdims=0, noop_with_empty_axes=1), gd.float32[None, None, None]),
        (lambda: op.ReduceSum(gd.input("u", gd.float32), keepdims=0), gd.float32[()]),
        (lambda: gd.opset(11).ReduceSum(gd.input("u", gd.float32), keepdims=0), gd.float32[()]),
        (lambda: op.Split(X, K_MANY, axis=1, outputs=2)[1], gd.float32["n", None, 4]),
        (lambda: op.CenterCropPad(X, K_MANY), gd.float32[None, None, None]),
        (lambda: op.CenterCropPad(X, K_MANY, axes=[-1]), gd.float32["n", 3, None]),
        (lambda: op.GatherND(gd.input("v", gd.float32["n"]), K[1]), gd.float32[()]),
        (lambda: op.GatherND(X, gd.input("j", gd.int64["n", 1, 1]), batch_dims=1), gd.float32["n", 1, 4]),
        (lambda: op.Tile(X, K_MANY), gd.float32[None, None, None]),
        (lambda: op.HannWindow(SIZE), gd.float32[None]),
        (lambda: op.STFT(gd.input("s", gd.float32), NUMBER, None, NUMBER), gd.float32[None, None, None, None]),
        (
            lambda: op.MelWeightMatrix(SIZE, SIZE, SIZE, np.float32(0), np.float32(9)),
            gd.float32[None, None],
        ),
        (
            lambda: op.MaxUnpool(
                gd.input("i", gd.float32[1, 1, 2, 2]), gd.input("j", gd.int64), K_MANY, kernel_shape=[2, 2]
            ),
            gd.float32[None, None, None, None],
        ),
    ],
)
def test_a_rank_follows_from_types(call: Callable[[], gd.Tensor], kind: gd.Type) -> None:
    assert call().type is kind


@pytest.mark.parametrize(
    "call",
    [
        lambda: op.Squeeze(X, K_MANY),
        lambda: op.Unsqueeze(X, K_MANY),
        lambda: op.ReduceSum(X, K_MANY, keepdims=0),
        lambda: op.ReduceSum(gd.input("u", gd.float32), K[1], keepdims=0),
        lambda: op.Pad(gd.input("u", gd.float32), K[6]),
    ],
)
def test_what_types_do_not_tell_is_not_claimed(call: Callable[[], gd.Tensor]) -> None:
    assert repr(call().type) == "float32"


@pytest.mark.parametrize(
    "call, values, shape",
    [
        (lambda: op.Squeeze(X, K[1]), {"k1": [0]}, (3, 4)),
        (lambda: op.Unsqueeze(X, K[2]), {"k2": [0, -1]}, (1, 1, 3, 4, 1)),
        (lambda: op.ReduceSum(X, K[2], keepdims=0), {"k2": [0, 2]}, (3,)),
        (lambda: op.ReduceSum(X, K[2]), {"k2": [0, 2]}, (1, 3, 1)),
        (lambda: op.ReduceSum(X, K[0], keepdims=0), {"k0": []}, ()),
        (lambda: op.ReduceSum(X, K[0], keepdims=0, noop_with_empty_axes=1), {"k0": []}, (1, 3, 4)),
        (lambda: op.Pad(X, K[6]), {"k6": [0, 1, 0, 0, 1, 0]}, (1, 5, 4)),
    ],
)
def test_runs_have_that_rank(call: Callable[[], gd.Tensor], values: dict[str, Any], shape: tuple[int, ...]) -> None:
    tensor = call()
    found = gd.build({"y": tensor}).run({"x": np.ones((1, 3, 4), np.float32), **values})["y"]
    assert found.shape == shape and tensor.rank == len(shape)
