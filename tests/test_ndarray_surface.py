"""Everything that NumPy's arrays have, walked: it works on a tensor as on an array, or says what to write instead."""

import copy
import operator
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from twins import KNOWN, NAMED, agree, assert_same, compute

import graphdsl as gd
from graphdsl import op

SAME: dict[str, Callable[..., Any]] = {
    "T": lambda x: x.T,
    "__abs__": lambda x: abs(x),
    "__add__": lambda x: x + x,
    "__eq__": lambda x: x == x[0],
    "__floordiv__": lambda x: x // 2,
    "__ge__": lambda x: x >= x[0],
    "__getitem__": lambda x: x[::-1, [0, 2]],
    "__gt__": lambda x: x > x[0],
    "__iadd__": lambda x: operator.iadd(+x, 1),
    "__ifloordiv__": lambda x: operator.ifloordiv(+x, 2),
    "__imod__": lambda x: operator.imod(+x, 3),
    "__imul__": lambda x: operator.imul(+x, 2),
    "__ipow__": lambda x: operator.ipow(+x, 2),
    "__isub__": lambda x: operator.isub(+x, 1),
    "__itruediv__": lambda x: operator.itruediv(+x, 2),
    "__le__": lambda x: x <= x[0],
    "__lt__": lambda x: x < x[0],
    "__matmul__": lambda x: x @ x.T,
    "__imatmul__": lambda x: operator.imatmul(x @ x.T, x @ x.T),
    "__mod__": lambda x: x % 3,
    "__divmod__": lambda x: divmod(x, 3),
    "__mul__": lambda x: x * 2,
    "__ne__": lambda x: x != x[0],
    "__neg__": lambda x: -x,
    "__pos__": lambda x: +x,
    "__pow__": lambda x: x**2,
    "__radd__": lambda x: 1 + x,
    "__rdivmod__": lambda x: divmod(7, x + 1),
    "__rfloordiv__": lambda x: 7 // (x + 1),
    "__rmatmul__": lambda x: np.ones((2, 2), np.float32) @ x,
    "__rmod__": lambda x: 7 % (x + 1),
    "__rmul__": lambda x: 2 * x,
    "__rpow__": lambda x: 2**x,
    "__rsub__": lambda x: 1 - x,
    "__rtruediv__": lambda x: 8 / (x + 1),
    "__sub__": lambda x: x - x[0],
    "__truediv__": lambda x: x / 2,
    "__and__": lambda x: (x > 1) & (x < 4),
    "__iand__": lambda x: operator.iand(x > 1, x < 4),
    "__rand__": lambda x: np.array([True, False, True]) & (x > 1),
    "__or__": lambda x: (x > 3) | (x < 1),
    "__ior__": lambda x: operator.ior(x > 3, x < 1),
    "__ror__": lambda x: np.array([True, False, True]) | (x > 1),
    "__xor__": lambda x: (x > 1) ^ (x < 4),
    "__ixor__": lambda x: operator.ixor(x > 1, x < 4),
    "__rxor__": lambda x: np.array([True, False, True]) ^ (x > 1),
    "__invert__": lambda x: ~(x > 1),
    "__lshift__": lambda x: x.astype(np.uint8) << 2,
    "__ilshift__": lambda x: operator.ilshift(x.astype(np.uint8), 2),
    "__rlshift__": lambda x: 3 << x.astype(np.uint8),
    "__rshift__": lambda x: x.astype(np.uint8) >> 1,
    "__irshift__": lambda x: operator.irshift(x.astype(np.uint8), 1),
    "__rrshift__": lambda x: 7 >> x.astype(np.uint8),
    "__array_ufunc__": lambda x: np.sqrt(x),
    "__array_function__": lambda x: np.concatenate([x, x]),
    "__copy__": lambda x: copy.copy(x) + 1,
    "__deepcopy__": lambda x: copy.deepcopy(x) + 1,
    "all": lambda x: x.all(axis=1),
    "any": lambda x: x.any(axis=0),
    "argmax": lambda x: x.argmax(axis=1),
    "argmin": lambda x: x.argmin(),
    "argsort": lambda x: x.argsort(axis=0),
    "astype": lambda x: x.astype(np.int32),
    "clip": lambda x: (x.clip(1, 4), x.clip(min=2), x.clip(max=3), x.clip(x[0], x[1] - 1), x.clip()),
    "compress": lambda x: x.compress([True, False], axis=0),
    "conj": lambda x: x.conj() + 1,
    "conjugate": lambda x: x.conjugate() + 1,
    "copy": lambda x: x.copy() + 1,
    "cumsum": lambda x: x.cumsum(axis=1),
    "diagonal": lambda x: x.diagonal(),
    "dot": lambda x: (x.dot(x.T), x[0].dot(x[1]), x.dot(x[0]), x.dot(np.float32(2))),
    "flatten": lambda x: x.flatten(),
    "mT": lambda x: x.mT,
    "max": lambda x: x.max(axis=-1),
    "mean": lambda x: x.mean(axis=(0, 1)),
    "min": lambda x: x.min(),
    "nonzero": lambda x: x.nonzero(),
    "prod": lambda x: x.prod(axis=0),
    "ravel": lambda x: x.ravel(),
    "real": lambda x: x.real + 1,
    "repeat": lambda x: x.repeat(2, axis=1),
    "reshape": lambda x: x.reshape(3, -1),
    "round": lambda x: (x / 4).round(),
    "squeeze": lambda x: x[:1].squeeze(0),
    "std": lambda x: x.round().std(),
    "sum": lambda x: x.sum(axis=1, keepdims=True),
    "swapaxes": lambda x: x.swapaxes(0, 1),
    "take": lambda x: x.take([2, 0], axis=1),
    "trace": lambda x: x.trace(),
    "transpose": lambda x: x.transpose(1, 0),
    "var": lambda x: x.var(axis=0),
}
"""What means the same on a tensor, by an expression that is tried on both."""

LIKE: dict[str, Callable[[gd.Tensor], bool]] = {
    "dtype": lambda t: t.dtype == np.float32,
    "ndim": lambda t: t.ndim == 2,
    "shape": lambda t: t.shape == (2, 3),
    "size": lambda t: t.size == 6,
    "cumprod": lambda t: at_opset(26, lambda: t.cumprod(1).shape == (2, 3)),
    "sort": lambda t: t.sort(0).shape == (2, 3),  # gives a new tensor, where NumPy's sorts in place
    "__doc__": lambda t: "tensor" in (t.__doc__ or ""),
    "__repr__": lambda t: repr(t) == "<Tensor 'x' float32[2, 3]>",
    "__str__": lambda t: str(t) == "<Tensor 'x' float32[2, 3]>",
    "__format__": lambda t: f"{t}" == "<Tensor 'x' float32[2, 3]>",
}
"""What gives no array, or is tested where NumPy's answer differs on purpose."""

FROZEN: dict[str, tuple[Callable[[gd.Tensor], Any], str]] = {
    "__array__": (np.asarray, "build a model and call it, or read t.value of a constant"),
    "__bool__": (bool, "write op.If"),
    "__complex__": (complex, "write t.astype(gd.complex64)"),
    "__contains__": (lambda t: 1.0 in t, "write (t == value).any()"),
    "__float__": (float, "write t.astype(gd.float32)"),
    "__hash__": (hash, "tell them apart by t.is_same(u)"),
    "__index__": (operator.index, "index with t[i]"),
    "__int__": (int, "write t.astype(gd.int64)"),
    "__iter__": (iter, "split it with op.Split"),
    "__len__": (len, "write t.shape[0]"),
    "item": (lambda t: t.item(), "keep the tensor, or read t.value of a constant"),
    "tolist": (lambda t: t.tolist(), "keep the tensor, or read t.value of a constant"),
}
"""What asks for a value now, with the advice."""

REFUSED: dict[str, str] = {
    "argpartition": "write t.sort() or t.argsort(), or op.TopK for the first few",
    "base": "a tensor has no memory before the model runs: nothing is a view of another tensor",
    "byteswap": "the bytes of constants are little-endian in every model",
    "choose": "write op.Where(t == 0, a, op.Where(t == 1, b, c))",
    "ctypes": "run the model and use the arrays it returns",
    "data": "run the model, or read t.value of a constant",
    "device": "choose where it runs with model.run(..., providers=[...])",
    "dump": "build a model of it and write model.save(path)",
    "dumps": "build a model of it and write model.save(path)",
    "fill": "a tensor never changes: write op.Expand(value, op.Shape(t))",
    "flags": "it never changes, and its layout is the runtime's affair",
    "flat": "write t.ravel()",
    "getfield": "t.astype(dtype) converts the elements",
    "imag": "the elements are real; write op.ConstantOfShape(op.Shape(t)) where zeros are meant",
    "itemsize": "t.dtype.bits is the size of an element in bits",
    "nbytes": "t.size and t.dtype.bits are what is known",
    "partition": "write t.sort() or t.argsort(), or op.TopK for the first few",
    "put": "a tensor never changes: write op.ScatterElements(t, indices, values, axis=0)",
    "resize": "write t.reshape(...), op.Pad, op.Tile, or op.Resize for images",
    "searchsorted": "write (t < values[..., None]).astype(gd.int64).sum(-1), or <= for side='right'",
    "setfield": "a tensor never changes: write op.Where(mask, values, t)",
    "setflags": "a tensor never changes: there is nothing to protect",
    "strides": "t.shape says all there is to know of the layout",
    "to_device": "choose where it runs with model.run(..., providers=[...])",
    "tobytes": "run the model, or read t.value of a constant",
    "tofile": "build a model of it and write model.save(path)",
    "view": "t.astype(dtype) converts the elements; op.BitCast (opset 26) reinterprets their bits",
    "__array_interface__": "run the model, or read t.value of a constant",
    "__array_struct__": "run the model, or read t.value of a constant",
    "__dlpack__": "run the model, or read t.value of a constant",
    "__dlpack_device__": "choose where it runs with model.run(..., providers=[...])",
}
"""What tensors do not have, with what the refusal says."""

CHANGES = {"__delitem__", "__setitem__", "__reduce__", "__reduce_ex__"}
"""Syntax and protocols that are refused when used; tested one by one below and in test_indexing.py."""

PYTHON = {
    *("__class__", "__delattr__", "__dir__", "__getattribute__", "__getstate__", "__init__", "__init_subclass__"),
    *("__new__", "__setattr__", "__sizeof__", "__subclasshook__"),
}
"""What every Python object has."""

ABSENT = {
    "__array_finalize__": "a hook for subclasses of arrays",
    "__array_namespace__": "the namespace of the array standard is not what tensors have",
    "__array_priority__": "__array_ufunc__ decides in its place",
    "__array_wrap__": "a hook for what looks like an array",
    "__class_getitem__": "annotations of arrays; a tensor's type is written gd.float32['n', 3]",
    "__setstate__": "pickling is refused",
}
"""Protocols among array classes that a tensor has no part in, and why."""

X = np.float32([[0, 1, 5], [4, 3, 2]])


def at_opset(opset: int, call: Callable[[], Any]) -> Any:
    with gd.opset(opset):
        return call()


def sorted_out(names: Iterable[str]) -> list[str]:
    """The names that no table, or more than one, has."""
    tables = [SAME, LIKE, FROZEN, REFUSED, CHANGES, PYTHON, ABSENT]
    return [name for name in names if sum(name in table for table in tables) != 1]


def test_everything_that_arrays_have_is_in_one_table() -> None:
    assert sorted_out(dir(np.ndarray)) == []
    known = {*SAME, *LIKE, *FROZEN, *REFUSED, *CHANGES, *PYTHON, *ABSENT}
    assert known - set(dir(np.ndarray)) == set()


def test_a_new_name_of_numpys_would_be_noticed() -> None:
    assert sorted_out(["sum", "new_in_numpy_9"]) == ["new_in_numpy_9"]


@pytest.mark.parametrize("name", SAME)
def test_what_means_the_same(name: str) -> None:
    agree(SAME[name], X)
    agree(SAME[name], X, what=NAMED)


@pytest.mark.parametrize("name", LIKE)
def test_what_is_like(name: str) -> None:
    assert LIKE[name](gd.input("x", gd.float32[2, 3]))


@pytest.mark.parametrize("name", FROZEN)
def test_what_would_freeze_a_value(name: str) -> None:
    use, advice = FROZEN[name]
    with pytest.raises(TypeError) as caught:
        use(gd.input("x", gd.float32[2, 3]))
    assert advice in str(caught.value)
    assert isinstance(caught.value, gd.FrozenValueError)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_says_what_to_write(name: str) -> None:
    x = gd.input("x", gd.float32[2, 3])
    with pytest.raises(gd.UnsupportedError) as caught:
        getattr(x, name)
    message, place = str(caught.value).rsplit("\n  at ", 1)
    assert message.startswith(f"a tensor has no {name!r}; ") and message.endswith(REFUSED[name])
    assert "test_ndarray_surface.py" in place
    assert not hasattr(x, name) and isinstance(caught.value, AttributeError)


@pytest.mark.parametrize("name", ABSENT)
def test_what_is_absent(name: str) -> None:
    assert not hasattr(gd.input("x", gd.float32[2, 3]), name)


def test_a_refused_attribute_is_seen_on_the_class() -> None:
    assert gd.Tensor.flat.instead == "write t.ravel()"


def test_what_is_no_attribute_of_an_array_is_none_of_a_tensor() -> None:
    with pytest.raises(AttributeError, match="a tensor has no 'summ'; did you mean 'sum'"):
        gd.input("x", gd.float32[2, 3]).summ  # noqa: B018


def test_clip() -> None:
    assert agree(lambda x: x.clip(1, 4), X).operators == ["Clip"]
    assert agree(lambda x: x.clip(x.min(), 4), X, what=NAMED).operators == ["ReduceMin", "Clip"]
    assert agree(lambda x: x.clip(x[0], x[1]), X).operators == ["Gather", "Gather", "Max", "Min"]
    nan = np.float32([np.nan, -np.inf, 0.5, np.inf])
    agree(lambda x: (x.clip(0, 1), x.clip(1, 0), x.clip(None, 1)), nan)
    for dtype in (np.int8, np.uint8, np.int32, np.int64, np.uint32, np.uint64, np.float16, np.float64):
        agree(lambda x: (x.clip(1, 4), x.clip(min=2)), X.astype(dtype))
    agree(lambda x: (x.clip(-1, 300) + 0, x.clip(3, 256)), np.uint8([0, 5, 255]))  # beyond the dtype: no bound
    agree(lambda x: x.clip(1, 4), X, opset=7)
    x = gd.input("x", gd.uint8[2, 3])
    assert x.clip(-1, 300).is_same(x)
    with pytest.raises(gd.SignatureError, match=r"300 is out of range for uint8"):
        x.clip(300)
    with pytest.raises(gd.SignatureError, match=r"0.5 does not fit uint8"):
        x.clip(0.5)


def test_dot() -> None:
    stack = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    agree(lambda x, y: (x.dot(y), x.dot(y[:, 0])), stack, stack[0].T.copy(), what=KNOWN)
    x = gd.input("x", gd.float32[2, 3, 4])
    with pytest.raises(gd.UnsupportedError, match=r"write a @ b for matrices in the last two axes, or op.Einsum"):
        x.dot(gd.input("y", gd.float32[2, 4, 3]))


def test_what_changes_or_copies_a_tensor_is_refused() -> None:
    x = gd.input("x", gd.float32[2, 3])
    with pytest.raises(gd.UnsupportedError, match="a tensor never changes"):
        x[0] = 1
    with pytest.raises(gd.UnsupportedError, match="a tensor never changes"):
        del x[0]
    with pytest.raises(gd.UnsupportedError, match="pickling a tensor"):
        x.__reduce_ex__(4)
    with pytest.raises(gd.UnsupportedError, match=r"clip\(out=...\); a tensor never changes: use the result"):
        x.clip(0, 1, out=x)
    with pytest.raises(gd.UnsupportedError, match=r"dot\(out=...\); a tensor never changes: use the result"):
        x.dot(2, out=x)


def test_complex_tensors() -> None:
    x = gd.input("x", gd.complex64[2])
    for use in (lambda: x.real, lambda: x.conj()):
        with pytest.raises(gd.UnsupportedError, match="of complex64 tensors; ONNX has no operator for it"):
            use()


def test_the_advice_gives_what_numpy_gives() -> None:
    t, values = np.float32([1, 2, 2, 5]), np.float32([[0, 2], [5, 9]])
    for side, before in (("left", lambda t, v: t < v[..., None]), ("right", lambda t, v: t <= v[..., None])):
        counted = compute(lambda t, v, f=before: f(t, v).astype(gd.int64).sum(-1), t, values).arrays[0]
        assert_same(counted, t.searchsorted(values, side=side))
    which, a, b, c = np.array([0, 2, 1]), *np.float32([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    chosen = compute(lambda t, a, b, c: op.Where(t == 0, a, op.Where(t == 1, b, c)), which, a, b, c).arrays[0]
    assert_same(chosen, which.choose([a, b, c]))
    assert_same(compute(lambda t: op.ConstantOfShape(op.Shape(t)), X, what=NAMED).arrays[0], X.imag)
    filled, put = X.copy(), t.copy()
    filled.fill(7)
    put.put([2, 0], [8, 9])
    assert_same(compute(lambda t: op.Expand(np.float32(7), op.Shape(t)), X, what=NAMED).arrays[0], filled)
    found = compute(lambda t: op.ScatterElements(t, [2, 0], np.float32([8, 9]), axis=0), t).arrays[0]
    assert_same(found, put)
    for mode, index in (("wrap", lambda i: i % 4), ("clip", lambda i: i.clip(0, 3))):
        found = compute(lambda t, i, f=index: t.take(f(i)), t, np.array([-1, 5, 9])).arrays[0]
        assert_same(found, t.take([-1, 5, 9], mode=mode))
