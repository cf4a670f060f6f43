"""NumPy as the specification: the same expression on arrays and on tensors, compared in type and value."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
from support import assert_equal

import graphdsl as gd
from graphdsl.dims import Dim
from graphdsl.types import tensor_type

NAMED, KNOWN, UNNAMED, UNRANKED = "named", "known", "unnamed", "unranked"
"""How much of an input's shape the type says: names of dimensions, sizes, the rank alone, nothing."""


def input_type(array: np.ndarray, what: str, index: int) -> gd.TensorType:
    """The type of an input that takes the array; named dimensions are `d0_0`, `d0_1`, ..."""
    dtype = gd.constant(array).dtype
    if what == UNRANKED:
        return tensor_type(dtype)
    names = {KNOWN: array.shape, NAMED: [f"d{index}_{i}" for i in range(array.ndim)], UNNAMED: [None] * array.ndim}
    return tensor_type(dtype, names[what])


class Result:
    """What a tensor expression gives: the arrays of a run, the tensors, the operators of the model."""

    def __init__(self, arrays: Sequence[np.ndarray], tensors: Sequence[Any], operators: list[str]) -> None:
        self.arrays, self.tensors, self.operators = arrays, tensors, operators


def compute(expression: Callable[..., Any], *arrays: np.ndarray, what: str = KNOWN, opset: int = 21) -> Result:
    """Build the expression on inputs that take the arrays, run it on ONNX Runtime, and check the types it promised."""
    with gd.opset(opset):
        inputs = [gd.input(f"x{i}", input_type(a, what, i)) for i, a in enumerate(arrays)]
        returned = expression(*inputs)
        tensors = returned if isinstance(returned, tuple) else (returned,)
        model = gd.build(list(tensors), inputs=inputs)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.to_proto().SerializeToString(), options, providers=["CPUExecutionProvider"])
    feeds = {tensor.name: np.asarray(array) for tensor, array in zip(inputs, arrays, strict=True)}
    found = [np.asarray(array) for array in session.run(None, feeds)]
    sizes = {f"d{i}_{j}": size for i, array in enumerate(arrays) for j, size in enumerate(array.shape)}
    for tensor, array in zip(tensors, found, strict=True):
        check_type(tensor.type, array, sizes)
    return Result(found, tensors, [node.op_type for node in model.nodes])


def check_type(kind: gd.TensorType, array: np.ndarray, sizes: dict[str, int]) -> None:
    """Assert that a type holds for the array that a run gave."""
    assert kind.dtype == array.dtype, f"{kind!r} promised, {array.dtype} came"
    if kind.shape is None:
        return
    promised = tuple(dim.substitute(sizes) if isinstance(dim, Dim) else dim for dim in kind.shape)
    fits = len(promised) == array.ndim and all(
        p is None or p == size for p, size in zip(promised, array.shape, strict=True)
    )
    assert fits, f"{kind!r} promised with {sizes}, {array.shape} came"


def assert_same(found: np.ndarray, wanted: Any, what: str = "the result") -> None:
    """Assert that two arrays agree in dtype, shape and every element; NaN equals NaN, and 0.0 equals -0.0."""
    assert_equal(found, wanted, what, zeros=False)


def agree(expression: Callable[..., Any], *arrays: np.ndarray, what: str = KNOWN, opset: int = 21) -> Result:
    """Assert that the expression gives the same on tensors as on arrays, element by element."""
    wanted = expression(*arrays)
    result = compute(expression, *arrays, what=what, opset=opset)
    for found, want in zip(result.arrays, wanted if isinstance(wanted, tuple) else (wanted,), strict=True):
        assert_same(found, want, f"the result ({what}, opset {opset}, {', '.join(result.operators)})")
    return result


INTEGERS = [np.dtype(name) for name in ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]]
FLOATS = [np.dtype(name) for name in ["float16", "float32", "float64"]]
NUMBERS = INTEGERS + FLOATS
ALL = [*NUMBERS, np.dtype(bool), np.dtype(object)]
"""The dtypes that NumPy and ONNX Runtime share; object stands for strings."""


def counted(shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
    """An array whose elements all differ where the dtype allows: 0, 1, 2, ... in order, strings for objects."""
    numbers = np.arange(int(np.prod(shape))).reshape(shape)
    if np.dtype(dtype) == object:
        return np.array([str(n) for n in numbers.ravel()], object).reshape(shape)
    return (numbers % 3 == 1) if np.dtype(dtype) == bool else numbers.astype(dtype)
