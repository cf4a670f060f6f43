"""Methods that rearrange axes mean what NumPy's mean, whether sizes are known or not."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twins import ALL, KNOWN, NAMED, UNNAMED, UNRANKED, agree, assert_same, compute, counted

import graphdsl as gd

SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)
WHATS = st.sampled_from([KNOWN, NAMED, UNNAMED])
X = counted((2, 3, 4))


def refusal(call: Any) -> str:
    with pytest.raises(gd.GraphError) as caught:
        call()
    message, place = str(caught.value).rsplit("\n  at ", 1)
    assert "test_shaping.py" in place
    return message


@st.composite
def reshapes(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A shape and another of as many elements, perhaps with one size left to -1."""
    factors = draw(st.lists(st.sampled_from([0, 1, 2, 3]), max_size=5))

    def grouped() -> list[int]:
        sizes = [1] * draw(st.integers(1 if factors else 0, 4))
        for factor in draw(st.permutations(factors)):
            sizes[draw(st.integers(0, len(sizes) - 1))] *= factor
        return sizes

    target = grouped()
    if target and draw(st.booleans()):
        place = draw(st.integers(0, len(target) - 1))
        if 0 not in target[:place] + target[place + 1 :]:
            target[place] = -1
    return tuple(grouped()), tuple(target)


@given(reshapes(), WHATS | st.just(UNRANKED))
def test_reshape(shapes: tuple[tuple[int, ...], tuple[int, ...]], what: str) -> None:
    shape, target = shapes
    x = counted(shape)
    result = agree(lambda x: x.reshape(target), x, what=what)
    assert result.operators == ["Reshape"]
    if what == KNOWN:
        assert result.tensors[0].shape == x.reshape(target).shape
    agree(lambda x: x.reshape(*target) if target else x.reshape(()), x, what=what)


@given(reshapes(), WHATS | st.just(UNRANKED))
def test_reshape_to_a_shape_that_is_a_tensor(shapes: tuple[tuple[int, ...], tuple[int, ...]], what: str) -> None:
    shape, target = shapes
    x = counted(shape)
    wanted = x.reshape(target)
    result = compute(lambda x, s: x.reshape(s), x, np.array(target, np.int64), what=what)
    assert_same(result.arrays[0], wanted)
    assert result.operators == ["Reshape"]
    if target and what != UNRANKED:
        sizes = [np.array(size, np.int32) for size in target]
        assert_same(compute(lambda x, *s: x.reshape(s), x, *sizes, what=what).arrays[0], wanted)


SYMBOLIC: dict[str, tuple[Any, list[str], Any]] = {
    "kept": (lambda x: x.reshape(x.shape[0], -1), ["Reshape"], ("d0_0", "d0_1*d0_2")),
    "kept in place": (lambda x: x.reshape(x.shape[0], x.shape[1], 2, -1), ["Reshape"], ("d0_0", "d0_1", 2, "d0_2//2")),
    "all": (lambda x: x.reshape(x.shape), ["Reshape"], ("d0_0", "d0_1", "d0_2")),
    "a product": (lambda x: x.reshape(x.shape[0] * x.shape[1], x.shape[2]), None, None),
    "the whole product": (lambda x: x.reshape(x.shape[0] * x.shape[1] * x.shape[2]), ["Reshape"], ("d0_0*d0_1*d0_2",)),
    "merged behind": (lambda x: x.reshape(x.shape[0], x.shape[1] * x.shape[2]), ["Reshape"], ("d0_0", "d0_1*d0_2")),
    "swapped": (lambda x: x.reshape(x.shape[1], x.shape[0], x.shape[2]), None, None),
    "a quotient": (lambda x: x.reshape(-1, x.shape[2] // 2), None, None),
    "arithmetic": (lambda x: x.reshape(3 * x.shape[0] - x.shape[1] % 2 - 1, -1), None, None),
}


@pytest.mark.parametrize("name", SYMBOLIC)
@pytest.mark.parametrize("opset", [13, 21])
def test_reshape_by_dimensions(name: str, opset: int) -> None:
    expression, operators, shape = SYMBOLIC[name]
    result = agree(expression, X, what=NAMED, opset=opset)
    if operators is not None:
        assert result.operators == operators
        assert result.tensors[0].shape == shape
    agree(expression, X, opset=opset)


def test_reshape_by_the_dimensions_of_another_tensor() -> None:
    agree(lambda x, y: x.reshape(y.shape), X, counted((4, 6)), what=NAMED)
    agree(lambda x, y: x.reshape(y.shape[0], -1), X, counted((4, 6)), what=NAMED)
    agree(lambda x, y: x.reshape(0, y.shape[0]), counted((0, 3)), counted((5,)), what=NAMED)


def test_a_dimension_that_does_not_fit_at_run_time_fails() -> None:
    with pytest.raises(ValueError, match="cannot reshape"):
        counted((8,)).reshape(counted((3,)).shape[0], 4)
    with pytest.raises(Exception, match="Reshape"):  # and is not taken for whatever is left
        compute(lambda x, y: x.reshape(y.shape[0], 4), counted((8,)), counted((3,)), what=NAMED)


def test_a_size_of_zero_is_an_empty_axis() -> None:
    x = counted((3, 0))
    assert agree(lambda x: x.reshape(0, 5), x, what=NAMED).operators == ["Reshape"]
    agree(lambda x: x.reshape(3, 0), x, opset=9)
    assert refusal(lambda: at_opset(9, lambda: gd.input("x", gd.float32["n", 0]).reshape(0, 5))) == (
        "reshape to (0, 5); an axis of size 0 needs opset 14: with gd.opset(14): ..."
    )


def at_opset(opset: int, call: Any) -> Any:
    with gd.opset(opset):
        return call()


def test_reshape_refusals() -> None:
    x = gd.input("x", gd.float32["n", None, 4])
    assert refusal(lambda: x.reshape(x.shape[1], -1)) == (
        "reshape: size 0 is None, which stands for an unknown dimension; write -1, or name the dimension where the "
        "tensor enters so that its .shape can be used"
    )
    assert refusal(lambda: x.reshape(4, "n", -1)) == (
        "reshape: size 1 is the text 'n'; write x.shape[axis] of a tensor that has this dimension"
    )
    assert refusal(lambda: x.reshape(gd.Dim("k"), -1)) == (
        "the dimension 'k' does not say which tensor it is a size of; write x.shape[axis] of a tensor that has it"
    )
    assert refusal(lambda: x.reshape(2, -1, order="F")) == (
        "reshape(order='F'); elements run row by row in ONNX; transpose before and after"
    )
    assert refusal(lambda: x.reshape(x[0, 0, 0], -1)) == (
        "a tensor that gives a size is an integer scalar, not float32[()]; write t.astype(gd.int64), t.reshape(()) or, "
        "for a whole shape, t.reshape(sizes) with a 1-D tensor of them"
    )
    assert refusal(lambda: x.reshape(gd.input("s", gd.float32["k"]))) == (
        "a shape of type float32['k']; reshape takes ints or one 1-D tensor of integers"
    )
    y = gd.input("y", gd.float32[2, 3])
    assert refusal(lambda: y.reshape(4, -1)).startswith("Reshape: ")
    assert refusal(lambda: y.reshape(4, 2)).startswith("Reshape: ")
    assert refusal(lambda: y.reshape(-1, -1)).startswith("Reshape: ")
    assert refusal(lambda: y.reshape(-2, 3)).startswith("Reshape: ")


@given(SHAPES, WHATS | st.just(UNRANKED), st.data())
def test_transpose(shape: tuple[int, ...], what: str, data: st.DataObject) -> None:
    x = counted(shape)
    perm = data.draw(st.permutations(range(len(shape))))
    agree(lambda x: x.transpose(*perm), x, what=what)
    agree(lambda x: x.transpose(tuple(perm)), x, what=what) if perm else None
    agree(lambda x: (x.T, x.transpose(), x.transpose(None)), x, what=what)
    if what != UNRANKED:
        agree(lambda x: x.transpose([axis - len(shape) for axis in perm]), x, what=what) if perm else None
        if len(shape) > 1:
            first, second = data.draw(st.tuples(*[st.integers(-len(shape), len(shape) - 1)] * 2))
            agree(lambda x: (x.mT, x.swapaxes(first, second)), x, what=what)


def test_a_transposition_of_nothing_is_no_node() -> None:
    x = gd.input("x", gd.float32["n", 3])
    assert x.transpose(0, 1).is_same(x) and x.swapaxes(1, -1).is_same(x)
    assert x[0].T.is_same(x[0]) is False  # two Gather nodes, no Transpose
    assert compute(lambda x: x[0].T, X[0]).operators == ["Gather"]
    assert x.T.shape == x.mT.shape == x.swapaxes(0, 1).shape == (3, "n")


def test_transpose_refusals() -> None:
    x = gd.input("x", gd.float32["n", 3])
    assert refusal(lambda: x.transpose(0)) == "transpose takes all 2 axes of float32['n', 3], got 1: (0,)"
    assert refusal(lambda: x.transpose(())) == "transpose takes all axes of float32['n', 3], got none"
    assert refusal(lambda: x.transpose(0, 0)) == "transpose: an axis is given twice in (0, 0)"
    assert refusal(lambda: x.transpose(0, 2)) == (
        "transpose: axis 2 is out of range for float32['n', 3]; its axes run from -2 to 1"
    )
    assert refusal(lambda: x[0].mT) == ".mT swaps the last two axes, and float32[3] has not two"
    unranked = gd.input("u", gd.float32)
    advice = "declare its dimensions where it enters, as in gd.float32['n', None], or write t.reshape(...) first"
    assert refusal(lambda: unranked.mT) == f".mT of a tensor of unknown rank; {advice}"
    assert refusal(lambda: unranked.swapaxes(0, 1)) == f"swapaxes of a tensor of unknown rank; {advice}"
    assert refusal(lambda: unranked.transpose(0, -1)) == (
        f"transpose by negative axes of a tensor of unknown rank; {advice}"
    )


@given(SHAPES, WHATS | st.just(UNRANKED))
def test_ravel_and_flatten(shape: tuple[int, ...], what: str) -> None:
    agree(lambda x: (x.ravel(), x.flatten(), x.ravel(order="C")), counted(shape), what=what)


def test_ravel_of_one_axis_is_no_node() -> None:
    x = gd.input("x", gd.float32["n"])
    assert x.ravel().is_same(x) and x.flatten().is_same(x)
    assert refusal(lambda: x.ravel("F")) == (
        "ravel(order='F'); elements run row by row in ONNX; transpose before and after"
    )


@given(st.lists(st.sampled_from([0, 1, 1, 2]), max_size=4).map(tuple), WHATS | st.just(UNRANKED), st.data())
def test_squeeze(shape: tuple[int, ...], what: str, data: st.DataObject) -> None:
    x = counted(shape)
    agree(lambda x: x.squeeze(), x, what=what)
    ones = [axis for axis, size in enumerate(shape) if size == 1]
    if ones:
        axes = data.draw(st.lists(st.sampled_from(ones), unique=True).map(tuple))
        agree(lambda x: x.squeeze(axes), x, what=what)
        agree(lambda x: x.squeeze(ones[0] - len(shape)), x, what=what)


def test_squeeze_refusals() -> None:
    x = gd.input("x", gd.float32[1, 2, "n"])
    assert x.squeeze(0).shape == (2, "n")
    assert x.squeeze(-1).shape == (1, 2)
    assert refusal(lambda: x.squeeze(1)) == "squeeze: axis 1 of float32[1, 2, 'n'] has size 2, not 1"
    assert refusal(lambda: x.squeeze((0, -3))) == "squeeze: an axis is given twice in (0, -3)"
    assert refusal(lambda: x.squeeze(3)) == (
        "squeeze: axis 3 is out of range for float32[1, 2, 'n']; its axes run from -3 to 2"
    )
    scalar = gd.input("s", gd.float32[()])
    assert refusal(lambda: scalar.squeeze(0)) == "squeeze: axis 0 is out of range for float32[()]; which has no axes"


@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_every_dtype(dtype: np.dtype) -> None:
    x = counted((2, 1, 3), dtype)
    agree(lambda x: (x.reshape(3, 2), x.T, x.swapaxes(0, 2), x.ravel(), x.squeeze()), x)


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 14, 15, 19, 21, 23, 25, 26])
def test_every_opset(opset: int) -> None:
    x = counted((2, 1, 3))
    for what in (KNOWN, NAMED):
        agree(lambda x: (x.reshape(3, 2), x.T, x.ravel(), x.squeeze(1), x.swapaxes(-1, 0)), x, what=what, opset=opset)
        agree(lambda x: x.reshape(x.shape[0] * x.shape[1], -1), x, what=what, opset=opset)


def test_a_copy_is_the_tensor_itself() -> None:
    x = gd.input("x", gd.float32["n"])
    assert x.copy().is_same(x) and copy.copy(x).is_same(x) and copy.deepcopy([x])[0].is_same(x)
    assert refusal(lambda: pickle.dumps(x)) == "pickling a tensor; build a model of it and write model.save(path)"


def test_ndim_and_size() -> None:
    x = gd.input("x", gd.float32["n", 3, 4])
    assert x.ndim == 3
    assert x.size == 12 * x.shape[0] and x.size == "12*n"
    assert gd.input("y", gd.float32[2, 3]).size == 6
    assert gd.input("s", gd.float32[()]).size == 1
    agree(lambda x: x.reshape(x.size), X, what=NAMED)
    agree(lambda x: (x * x.shape[0], x.size - x), X, what=NAMED)  # in the tensor's dtype, as any int
    assert refusal(lambda: gd.input("x", gd.float32["n", None]).size) == (
        ".size of float32['n', None], a dimension of which is not known; write op.Size(t)"
    )
    assert refusal(lambda: gd.input("x", gd.float32).size) == (
        ".size of float32, a dimension of which is not known; write op.Size(t)"
    )
    assert refusal(lambda: gd.input("x", gd.float32).ndim) == (
        ".ndim of a tensor of unknown rank; use t.rank, which is None here, or op.Size(op.Shape(t))"
    )
