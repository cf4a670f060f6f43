"""What is known of small tensors made of shapes: against what ONNX Runtime computes, and as expressions."""

import gc
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sized import run

import graphdsl as gd
from graphdsl import contents as module
from graphdsl import inference, op
from graphdsl.contents import contents, known_array
from graphdsl.dims import Dim

X = gd.float32["n", 3, "m"]
Y = gd.float32["m", None]


def elements(tensor: Any) -> list[Any] | None:
    """What is known of a tensor's elements, in order; None where nothing is."""
    found = contents(tensor._v)
    return None if found is None else list(found.flat)


def compare(tensors: Sequence[Any], arrays: Sequence[np.ndarray], sizes: dict[str, int]) -> int:
    """Assert that every element known of the tensors is what a run gave; answer with how many were known."""
    count = 0
    for tensor, array in zip(tensors, arrays, strict=True):
        found = contents(tensor._v)
        if found is None:
            continue
        assert found.shape == array.shape
        for element, number in zip(found.flat, array.flat, strict=True):
            value = element.substitute(sizes) if isinstance(element, Dim) else element
            assert value is None or (value == number and type(value) is type(number.item())), (tensor, found, array)
            count += value is not None
    return count


Pool = list[Any]
Draw = Callable[[Any], Any]

ONE = ("Abs", "Neg", "Identity", "Not")
TWO = ("Add", "Sub", "Mul", "Div", "Mod", "Min", "Max", "Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual")
LOGIC = ("And", "Or", "Xor")
FOLDS = ("ReduceProd", "ReduceSum", "ReduceMax", "ReduceMin")


def grow(pool: Pool, draw: Draw) -> Any:
    """One more tensor, from those of the pool."""

    def some() -> Any:
        return pool[draw(st.integers(0, len(pool) - 1))]

    def small() -> Any:
        return draw(st.integers(-3, 3))

    match draw(st.integers(0, 19)):
        case 0 | 1 | 2:
            return getattr(op, draw(st.sampled_from(TWO)))(some(), some())
        case 3:
            return getattr(op, draw(st.sampled_from(TWO)))(some(), np.int64(small()))
        case 4:
            return getattr(op, draw(st.sampled_from(ONE)))(some())
        case 5:
            return getattr(op, draw(st.sampled_from(LOGIC)))(some(), some())
        case 6:
            return op.Concat(some(), some(), axis=0)
        case 7:
            return op.Gather(some(), np.array(draw(st.lists(st.integers(-2, 2), max_size=3)), np.int64))
        case 8:
            return op.Gather(some(), np.int64(small()))
        case 9:
            bounds = st.integers(-5, 5) | st.just(2**62)  # not the largest integer: docs/upstream.md
            return op.Slice(some(), [draw(bounds)], [draw(bounds)], [0], [draw(st.sampled_from([-2, -1, 1, 2]))])
        case 10:
            return op.Unsqueeze(some(), [0])
        case 11:
            return op.Squeeze(some(), [0])
        case 12:
            return getattr(op, draw(st.sampled_from(FOLDS)))(some(), keepdims=draw(st.integers(0, 1)))
        case 13:
            return op.Where(some(), some(), some())
        case 14:
            return op.Cast(some(), to=draw(st.sampled_from([gd.int32, gd.int64, gd.bool])))
        case 15:
            return op.Reshape(some(), draw(st.sampled_from([[-1], [1, -1], [2, -1], []])))
        case 16:
            return op.Transpose(some())
        case 17:
            return op.Expand(some(), draw(st.sampled_from([[2], [1], [2, 1]])))
        case 18:
            return op.Tile(some(), [draw(st.integers(0, 2))])
        case _:
            return draw(st.sampled_from(op.Split(some(), outputs=2, num_outputs=2)))


@st.composite
def programs(draw: st.DrawFn) -> tuple[list[Any], Pool]:
    """Inputs, and tensors computed from their shapes."""
    x, y = gd.input("x", X), gd.input("y", Y)
    pool: Pool = [op.Shape(x), op.Shape(y), op.Size(x), op.Identity(np.array([2, -1])), op.Shape(x) > 2]
    for _ in range(draw(st.integers(1, 12))):
        try:
            pool.append(grow(pool, draw))
        except gd.GraphError:
            continue
    return [x, y], pool


SIZES = st.fixed_dictionaries({"n": st.integers(0, 5), "m": st.integers(0, 5)})


@given(programs(), SIZES)
def test_what_is_known_is_what_a_run_gives(program: tuple[list[Any], Pool], sizes: dict[str, int]) -> None:
    inputs, pool = program
    arrays = run(pool, inputs, sizes)
    assume(arrays is not None)
    assert compare(pool, arrays or [], sizes) > 0


def test_the_judge_of_known_elements_sees_a_wrong_one() -> None:
    x = gd.input("x", X)
    with pytest.raises(AssertionError):
        compare([op.Shape(x)], [np.array([2, 3, 5])], {"n": 2, "m": 4})
    with pytest.raises(AssertionError):
        compare([op.Shape(x) > 2], [np.array([0, 1, 1])], {"n": 2, "m": 4})
    assert compare([op.Shape(gd.input("y", Y))], [np.array([4, 9])], {"m": 4}) == 1


x, y = gd.input("x", X), gd.input("y", Y)
s = op.Shape(x)
n, m = op.Shape(x)[0], op.Shape(x)[2]
unknown = op.Shape(y)[1]


@pytest.mark.parametrize(
    ("tensor", "expected"),
    [
        (s, ["n", 3, "m"]),
        (op.Shape(y), ["m", None]),
        (op.Shape(y)[1:], None),
        (op.Shape(gd.input("z", gd.float32)), None),
        (op.Size(x), ["3*m*n"]),
        (op.Size(y), None),
        (op.Gather(s, np.int64(-1)), ["m"]),
        (op.Gather(s, gd.input("i", gd.int64[()])), None),
        (s[::-1], ["m", 3, "n"]),
        (op.Concat(s[:1], [-1], axis=0), ["n", -1]),
        (op.Concat(s[:1], gd.input("k", gd.int64[1]), axis=0), ["n", None]),
        (n * m + 1, ["m*n + 1"]),
        (n // 2, ["n//2"]),
        (op.Div(n, np.int64(2)), ["n//2"]),
        (op.Div(n, np.int64(-2)), ["-(n//2)"]),
        (op.Div(n - 1, np.int64(2)), None),  # rounds towards zero: -1 where n is 0
        (op.Div(n, m), ["n//m"]),
        (op.Mod(n - 1, np.int64(2)), ["(n - 1)%2"]),
        (op.Mod(n, np.int64(4), fmod=1), ["n%4"]),
        (op.Mod(n - 9, np.int64(4), fmod=1), None),
        (op.Min(n, n + 1), ["n"]),
        (op.Max(n, m), ["max(m, n)"]),
        (op.Clip(n, np.int64(0), np.int64(8)), ["min(8, n)"]),
        (abs(-n), ["n"]),
        (op.ReduceProd(s, keepdims=0), ["3*m*n"]),
        (op.ReduceProd(s[1:], keepdims=1), ["3*m"]),
        (op.ReduceSum(s[:0], keepdims=0), [0]),
        (s > 2, [None, True, None]),
        (s >= 0, [True, True, True]),
        (s == -1, [False, False, False]),
        (op.Where(s == -1, np.int64(7), s), ["n", 3, "m"]),
        (op.Where(n > 4, s, s), ["n", 3, "m"]),
        (op.Where(n > 4, s, s + 1), None),
        (op.And(n > 4, n < 0), [False]),
        (op.Cast(s, to=gd.int32), ["n", 3, "m"]),
        (op.Cast(s, to=gd.float32), [None, 3.0, None]),
        (op.Cast(s, to=gd.int8), [None, 3, None]),
        (op.Cast(n + 1, to=gd.bool), [True]),
        (op.Unsqueeze(n, [0]), ["n"]),
        (op.Reshape(s, [3, 1]), ["n", 3, "m"]),
        (op.Transpose(op.Reshape(op.Concat(s, s, axis=0), [2, 3])), ["n", "n", 3, 3, "m", "m"]),
        (op.Expand(n, [2]), ["n", "n"]),
        (op.Tile(s[:1], [3]), ["n", "n", "n"]),
        (op.ConstantOfShape([2], value=np.array([4])), [4, 4]),
        (op.Range(1, 7, 2), [1, 3, 5]),
        (op.Split(s, [1, 2], outputs=2)[1], [3, "m"]),
        (op.Constant(value_ints=[1, 2]) + s[:2], ["n + 1", 5]),
        (op.Concat(np.float32([1, 1]), gd.input("f", gd.float32[1]), axis=0), [1.0, 1.0, None]),
        (gd.input("k", gd.int64[2]) + 1, None),
        (n + unknown, None),
        (n - n, [0]),
        (op.Add(op.Size(gd.input("w", gd.float32[2**32])), np.int64(1)), [2**32 + 1]),
        (op.Add(op.Constant(value_int=2**63 - 1), np.int64(1)), None),  # it wraps around
    ],
)
def test_elements(tensor: Any, expected: list[Any] | None) -> None:
    found = elements(tensor)
    assert found == (None if expected is None else [Dim(e) if isinstance(e, str) else e for e in expected])


def test_elements_known_now_are_an_array_of_the_tensor_s_dtype() -> None:
    found = known_array(op.Cast(op.Shape(gd.input("z", gd.float32[2, 3])), to=gd.int32)._v)
    assert found is not None and found.dtype == np.int32 and found.tolist() == [2, 3]
    assert known_array(s._v) is None and known_array(gd.input("z", gd.int64[2])._v) is None


def test_elements_cannot_be_written_to() -> None:
    found = contents(s._v)
    assert found is not None and not found.flags.writeable


def test_a_long_computation_is_followed_without_recursion() -> None:
    total = n
    for _ in range(20_000):
        total = op.Add(total, np.int64(1))
    assert elements(total) == ["n + 20000"]


def test_only_small_tensors_are_followed() -> None:
    assert elements(op.Expand(n, [module.MOST])) == ["n"] * module.MOST
    assert elements(op.Expand(n, [module.MOST + 1])) is None


def test_an_expression_that_grows_too_long_is_not_known() -> None:
    total = n
    for index in range(8):
        total = total * (op.Shape(gd.input(f"x{index}", gd.float32[f"a{index}"]))[0] + 1)
    assert elements(total) is None


def test_what_is_known_is_forgotten_with_the_tensor() -> None:
    made = op.Shape(gd.input("z", gd.float32["k"])) + 1
    assert elements(made) == ["k + 1"]
    before = len(module._met)
    del made
    while gc.collect():
        pass
    assert len(module._met) < before


def test_calls_of_one_type_and_other_contents_are_told_apart() -> None:
    z = gd.input("z", gd.float32["n", "m"])
    a, b = op.Shape(z), op.Shape(op.Transpose(z))
    assert a.type is b.type
    assert op.Reshape(z, a).shape == ("n", "m") and op.Reshape(z, b).shape == ("m", "n")


def test_sizes_known_now_reach_onnx_inference() -> None:
    z = gd.input("z", gd.float32[2, 6])
    assert op.Reshape(gd.input("w", gd.float32[12]), op.Shape(z) * np.array([2, 1]) // np.array([1, 2])).shape == (4, 3)
    with pytest.raises(gd.InferenceError, match="Reshape"):
        op.Reshape(gd.input("w", gd.float32[13]), op.Shape(z))


def test_calls_that_read_no_elements_do_not_ask_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Any) -> None:
        raise AssertionError("asked")

    monkeypatch.setattr(inference, "contents", refuse)
    monkeypatch.setattr(inference, "known_array", refuse)
    z = gd.input("z", gd.float32["unheard", "of"])
    op.Relu(op.MatMul(z, z) + z)
    with pytest.raises(AssertionError, match="asked"):
        op.Reshape(z, op.Shape(z))


def test_a_shape_that_exporters_write_is_followed() -> None:
    """As PyTorch's exporters write `x.view(x.size(0), -1)` and `x.expand(...)`."""
    size = op.Gather(op.Shape(x), np.int64(0), axis=0)
    flat = op.Reshape(x, op.Concat(op.Unsqueeze(size, [0]), [-1], axis=0))
    assert flat.shape == ("n", "3*m")
    target = op.Concat(op.Unsqueeze(size, [0]), [4, 3], axis=0)
    ones = op.ConstantOfShape(op.Shape(target), value=np.array([1]))
    target = op.Where(op.Equal(target, op.Mul(ones, np.int64(-1))), ones, target)
    assert op.Expand(gd.input("w", gd.float32[3]), target).shape == ("n", 4, 3)


def test_a_cast_of_nan_is_not_known_and_says_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert op.Cast(op.Cast(gd.constant(np.float32("nan")), to=gd.int32), to=gd.int64).type is gd.int64[()]
        assert contents(op.Cast(gd.constant(np.float32("nan")), to=gd.int32)._v) is None
