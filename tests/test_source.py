"""Models as source: what it looks like, that it rebuilds the model, and that no model can smuggle code into it."""

import ast
import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import backend
import ml_dtypes
import numpy as np
import onnx
import pytest
import sources
import torch
from equality import unequal
from onnx import helper, numpy_helper
from sources import rebuilt
from workers import Crash, each

import graphdsl as gd
from graphdsl import op
from graphdsl.source.literals import Names, array_text
from graphdsl.source.vetting import vet


def body(source: str) -> str:
    """A source from its first function on."""
    return source[source.index("@") :]


def run(source: str) -> gd.Model:
    """The model of a source without a file."""
    names: dict[str, Any] = {}
    exec(source, names)
    found: gd.Model = names["model"]
    return found


def same(model: gd.Model, **options: Any) -> gd.Model:
    """The model rebuilt from its source, with and without a file, once it was found equal."""
    for made in (rebuilt(model, **options), run(gd.to_source(model, **options))):
        assert unequal(model, made) == []
    return made


# What it looks like


def test_expressions_read_as_they_would_be_written() -> None:
    @gd.model
    def block(x: gd.float32["n", 3, "h", "w"], scale: gd.float32[()]):
        up = op.Resize(x, None, [1.0, 1.0, 2.0, 2.0], mode="nearest")
        centred = (up - up.mean(axis=(2, 3), keepdims=True)) * scale
        return {"y": op.Relu(centred[:, 1:3, ::2, 0].astype(gd.float64) + 1) ** 2, "flat": op.Reshape(up, [1, -1])}

    assert gd.to_source(block) == '''\
import graphdsl as gd
from graphdsl import op


@gd.model(opset=21, name="block")
def model(x: gd.float32["n", 3, "h", "w"], scale: gd.float32[()]):
    resize = op.Resize(x, None, [1.0, 1.0, 2.0, 2.0], mode="nearest")
    mul = (resize - op.ReduceMean(resize, [2, 3])) * scale
    return {
        "y": op.Relu(mul[:, :, :, 0][:, 1:3, ::2].astype(gd.float64) + 1.0) ** 2.0,
        "flat": op.Reshape(resize, [1, -1]),
    }
'''
    same(block)


def test_parentheses_are_where_python_needs_them() -> None:
    @gd.model
    def expressions(a: gd.float32[2, 2], b: gd.float32[2, 2], p: gd.bool[2, 2], i: gd.int64[2, 2]):
        return (
            a - (b - a),
            (a - b) - a,
            -(a**b),
            (-a) ** b,
            a ** -(b),
            a * (b + 1.0) / (a * b),
            2.0 ** (a**b),
            (a < b) == (b < a),
            ~(p & (p | ~p)) ^ p,
            (a @ b)[0] * -1.5,
            (-1.5 - a) ** 2.0,
            (i & i) | ~i % 3,
        )

    assert body(gd.to_source(expressions)).partition("return ")[2] == '''\
a - (b - a), a - b - a, -a ** b, (-a) ** b, a ** (-b), a * (b + 1.0) / (a * b), 2.0 ** (a ** b), (a < b) == (b < a), \
~(p & (p | ~p)) ^ p, (a @ b)[0] * -1.5, (-1.5 - a) ** 2.0, i & i | ~i % 3
'''
    same(expressions)


def test_bodies_are_local_functions_and_short_ones_lambdas() -> None:
    @gd.model
    def control(x: gd.float32[2, 2], positive: gd.bool[()]):
        y = op.If(positive, then_branch=lambda: x * 2, else_branch=lambda: x - 1)

        def step(i: Any, go: Any, state: Any) -> Any:
            inner = op.If(go, then_branch=lambda: state @ y, else_branch=lambda: state)
            return go, inner + y, inner.sum()

        return op.Loop(3, True, x, body=step)

    assert body(gd.to_source(control)) == '''\
@gd.model(opset=21, name="control")
def model(x: gd.float32[2, 2], positive: gd.bool[()]):
    if_ = op.If(positive, then_branch=lambda: x * 2.0, else_branch=lambda: x - 1.0)

    def body(i, go, state):
        if_2 = op.If(go, then_branch=lambda: state @ if_, else_branch=lambda: state)
        return go, if_2 + if_, op.ReduceSum(if_2, keepdims=0)

    loop, loop_2 = op.Loop(3, True, x, body=body)
    return loop, loop_2
'''
    same(control)


def test_local_functions_keep_their_attributes_and_overloads() -> None:
    @gd.function(domain="my.domain", version=3)
    def scaled(a: gd.Tensor, *, factor: float = 3.0, axes: list[int], words: str = "a\nb") -> gd.Tensor:
        """Scales, in one way or the other."""
        return op.Transpose(a * op.CastLike(factor, a) if a.dtype == gd.float32 else a, perm=axes)

    @gd.function(domain="my.domain", version=3)
    def twice(a: gd.Tensor) -> gd.Tensor:
        return op.If(a.sum() > 0, then_branch=lambda: scaled(a, axes=[1, 0]), else_branch=lambda: 2 * a)

    x, y = gd.input("x", gd.float32[2, 2]), gd.input("y", gd.float64[2, 2])
    model = gd.build({"a": twice(x), "b": scaled(x, factor=2, axes=[1, 0]), "c": scaled(y, axes=[0, 1])})
    assert body(gd.to_source(model)) == '''\
@gd.function(domain="my.domain", version=3, overload="")
def scaled(a, *, axes: list[int], factor: float = 3.0, words: str = 'a\\nb'):
    "Scales, in one way or the other."
    constant = op.Constant(value_float=factor)
    return op.Transpose(a * op.CastLike(constant, a), perm=axes)


@gd.function(domain="my.domain", version=3)
def twice(a):
    return op.If(
        op.ReduceSum(a, keepdims=0) > 0.0, then_branch=lambda: scaled(a, axes=[1, 0]),
        else_branch=lambda: 2.0 * a,
    )


@gd.function(domain="my.domain", name="scaled", version=3, overload="1")
def scaled_2(a, *, axes: list[int], factor: float = 3.0, words: str = 'a\\nb'):
    "Scales, in one way or the other."
    return op.Transpose(a, perm=axes)


@gd.model(opset=21, name="graph")
def model(x: gd.float32[2, 2], y: gd.float64[2, 2]):
    return {
        "a": twice(x), "b": scaled(x, axes=[1, 0], factor=2.0), "c": scaled_2(y, axes=[0, 1]),
    }
'''
    made = same(model)
    assert sorted(f.overload for f in made.to_proto().functions if f.name == "scaled") == ["", "1"]


def test_other_domains_and_operators_that_nobody_knows() -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 17, "ai.onnx.ml" : 3, "my" : 2]>
    known (float[2, 3] x) => (float[2, 3] y, float[2, 3] z, float w)
    <float[2, 3] odd> {
        odd, more = my.Odd <level = 1, rates: floats = [0.5, 2.0], label = "a"> (x, , x)
        again = my.Odd <level = 2> (odd)
        y = ai.onnx.ml.Scaler <offset = [0.0], scale = [2.0]> (odd)
        z = Add (y, y)
        w = my.Unknown (again)
    }
    """
    model = gd.load(onnx.parser.parse_model(text))
    assert body(gd.to_source(model)) == '''\
@gd.custom_op("my::Odd", version=2)
def odd(x0, x1=None, x2=None, **attributes):
    return gd.float32[2, 3], None


@gd.custom_op("my::Odd", version=2)
def odd_2(x0, **attributes):
    return (None,)


@gd.custom_op("my::Unknown", version=2)
def unknown(x0):
    return gd.float32


@gd.model(opset=17, name="known")
def model(
    x: gd.float32[2, 3],
) -> {"y": gd.float32[2, 3], "z": gd.float32[2, 3], "w": gd.float32}:
    odd, more = odd(x, None, x, level=1, rates=[0.5, 2.0], label="a")
    return
'''
    same(model)
