"""Tensors as users hold them: what can be read, and the traps that refuse to freeze a value."""

import copy
import operator
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphdsl as gd
from graphdsl import op


@pytest.fixture
def x() -> gd.Tensor:
    return gd.input("x", gd.float32["n", 3, None])


def test_what_is_known_of_a_tensor(x: gd.Tensor) -> None:
    assert x.dtype is gd.float32 and x.dtype == np.float32
    assert x.shape == ("n", 3, None)
    assert x.rank == 3
    assert x.name == "x"
    assert x.value is None
    assert (x * 2).name is None
    assert x.type is gd.float32["n", 3, None]
    assert repr(x) == "<Tensor 'x' float32['n', 3, None]>"
    assert gd.input("any", gd.int64).shape is None


def test_a_constant_has_a_value() -> None:
    c = gd.constant([1.5, 2.5])
    np.testing.assert_array_equal(c.value, np.float32([1.5, 2.5]))
    assert c.dtype is gd.float32 and c.shape == (2,)
    assert gd.constant(3).dtype is gd.int64
    assert gd.constant(True).dtype is gd.bool
    assert gd.constant(["a"]).dtype is gd.string
    assert gd.constant([1, 2], dtype=gd.float16).dtype is gd.float16
    assert gd.op.Constant(value=np.int8([1])).value.dtype == np.int8


def test_small_arrays_are_copied_and_large_ones_are_not() -> None:
    small, large = np.zeros(4, np.float32), np.zeros(1 << 16, np.float32)
    a, b = gd.constant(small), gd.constant(large)
    small[0] = large[0] = 7
    assert a.value[0] == 0 and b.value[0] == 7
    assert not a.value.flags.writeable and not b.value.flags.writeable
    assert large.flags.writeable


@pytest.mark.parametrize(
    ("use", "advice"),
    [
        (bool, "write op.If, op.Where, & | ~, or t.is_same(u) for identity"),
        (int, "write t.astype(gd.int64)"),
        (float, "write t.astype(gd.float32)"),
        (complex, "write t.astype(gd.complex64)"),
        (operator.index, "index with t[i], loop with op.Loop"),
        (len, "write t.shape[0]"),
        (list, "index it, split it with op.Split(t, outputs=n), or loop with op.Scan"),
        (lambda t: 1 in t, "write (t == value).any()"),
        (np.array, "build a model and call it"),
        (np.asarray, "build a model and call it"),
        (lambda t: t.item(), "keep the tensor, or read t.value of a constant"),
        (lambda t: t.tolist(), "keep the tensor, or read t.value of a constant"),
        (lambda t: f"{t:.3f}", "format what the model returns"),
        (lambda t: range(t), "index with t[i], loop with op.Loop"),
        (lambda t: 1 if t > 0 else 2, "write op.If"),
        (lambda t: t > 0 and t < 1, "write op.If"),
    ],
)
def test_a_value_is_never_frozen(x: gd.Tensor, use: Callable[[gd.Tensor], Any], advice: str) -> None:
    with pytest.raises(gd.FrozenValueError) as caught:
        use(x)
    assert "a tensor has a value only when the model runs" in str(caught.value)
    assert advice in str(caught.value)
    assert "test_handle.py" in str(caught.value)
    assert isinstance(caught.value, TypeError)


def test_tensors_are_unhashable_and_compared_elementwise(x: gd.Tensor) -> None:
    with pytest.raises(gd.FrozenValueError, match=r"hash\(tensor\), as in a set .* tell them apart by t\.is_same\(u\)"):
        hash(x)
    assert (x == x).dtype is gd.bool
    assert x.is_same(x) and not x.is_same(x * 1) and not x.is_same(3)


def test_nodes_values_and_types_are_immutable(x: gd.Tensor) -> None:
    model = gd.build({"y": gd.op.Softmax(x, axis=1)})
    node = model.nodes[0]
    with pytest.raises(AttributeError, match=r"Node is immutable; gd\.rewrite and gd\.transform make changed models"):
        node.schema = None
    with pytest.raises(TypeError):
        node.attributes["axis"] = 2
    with pytest.raises(AttributeError):
        model.graph.nodes = ()
    with pytest.raises(AttributeError):
        model.graph = None


def test_types_are_interned() -> None:
    kind = gd.float32["n", 3]
    assert kind is gd.float32["n", 3]
    assert pickle.loads(pickle.dumps(kind)) is kind
    assert copy.deepcopy(kind) is kind
    assert gd.sequence(kind) is gd.sequence(gd.float32["n", 3])


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (gd.float32, "float32"),
        (np.float64, "float64"),
        (np.dtype(">i4"), "int32"),
        ("bfloat16", "bfloat16"),
        (float, "float64"),
        (int, "int64"),
        (bool, "bool"),
        (str, "string"),
        (np.str_, "string"),
        (7, "int64"),
    ],
)
def test_what_is_read_as_a_dtype(spec: Any, expected: str) -> None:
    assert repr(gd.input("x", gd.float32[1]).astype(spec).dtype) == expected


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gd.float32[-1], "a dimension is not negative, got -1; write None for an unknown dimension"),
        (lambda: gd.float32[1.5], "a dimension is an int, a name or None, not 1.5 (float)"),
        (lambda: gd.float32[""], "a dimension's name is empty"),
        (lambda: gd.input("x", "flot32"), "'flot32' is not a type"),
        (
            lambda: gd.input("x", gd.float32[2]).astype("flot32"),
            "'flot32' is not a dtype that ONNX has; did you mean 'float32'?",
        ),
        (lambda: gd.float32[True], "a dimension is an int, a name or None, not True (bool)"),
        (lambda: gd.float32[np.array([3, 4])], "a dimension is an int, a name or None, not array([3, 4]) (ndarray)"),
        (lambda: gd.float32(3), "float32 is a dtype, not a function"),
        (lambda: gd.constant(np.zeros(2, "datetime64[s]")), "is not a dtype that ONNX has"),
        (lambda: gd.map_of(gd.float32, gd.int64), "a map's key is an integer or string dtype, not float32"),
        (lambda: gd.sparse(gd.sequence(gd.float32)), "a sparse tensor is made of a tensor type"),
    ],
)
def test_what_is_no_type_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(gd.TypeSpecError) as caught:
        make()
    assert message in str(caught.value)


def test_sizes_are_integers_of_numpy_too() -> None:
    assert gd.float32[np.int64(3)] is gd.float32[3]
    assert gd.float32[np.uint8(2), "n"].shape == (2, "n")


def test_an_attribute_that_tensors_lack_says_what_to_write(x: gd.Tensor) -> None:
    def refusal(name: str) -> str:
        with pytest.raises(gd.UnsupportedAttribute) as caught:
            getattr(x, name)
        first, line = str(caught.value).splitlines()
        assert "test_handle.py" in line
        return first

    assert refusal("softmax") == "a tensor has no 'softmax'; write op.Softmax(t)"
    assert refusal("reduce_sum") == "a tensor has no 'reduce_sum'; write op.ReduceSum(t)"
    assert refusal("permute") == "a tensor has no 'permute'; write t.transpose(...)"
    assert refusal("shpe") == "a tensor has no 'shpe'; did you mean 'shape'?"
    assert refusal("zzzz") == "a tensor has no 'zzzz'"
    assert not hasattr(x, "softmax") and not hasattr(x, "_repr_html_")


@pytest.mark.parametrize(
    "use",
    [
        lambda t, item: t + item,
        lambda t, item: t - item,
        lambda t, item: t // item,
        lambda t, item: t % item,
        lambda t, item: t**item,
        lambda t, item: t < item,
        lambda t, item: t.astype(gd.uint8) << item,
    ],
)
def test_what_is_no_operand_is_refused(x: gd.Tensor, use: Callable[..., Any]) -> None:
    class Foreign:
        def __array__(self) -> np.ndarray:
            return np.ones(3)

        def __repr__(self) -> str:
            return "foreign"

    with pytest.raises(gd.SignatureError, match="an operand is a tensor, an array or a number, got None"):
        use(x, None)
    with pytest.raises(gd.SignatureError, match=r"got foreign \(Foreign\); write np.asarray\(...\)\n.*test_handle.py"):
        use(x, Foreign())


@pytest.mark.parametrize("size", [3, 300_000])  # copied and held
def test_a_mask_is_never_lost(x: gd.Tensor, size: int) -> None:
    masked = np.ma.array(np.ones((size, 1), np.float32), mask=True)
    calls: list[Callable[[], Any]] = [
        lambda: gd.constant(masked),
        lambda: gd.constant(masked, dtype=gd.float16),
        lambda: x + masked,
        lambda: x // masked,
        lambda: op.Add(x, masked),
        lambda: op.If(x.sum() > 0, then_branch=lambda: masked, else_branch=lambda: x),
    ]
    for call in calls:
        with pytest.raises(gd.SignatureError, match=r"a masked array would lose its mask; write array.filled\(...\)"):
            call()


def test_what_is_refused_of_a_tensor_names_the_line(x: gd.Tensor) -> None:
    sequence = op.SequenceConstruct(x)
    refused: list[Callable[[], Any]] = [
        lambda: (x + 1).named(""),
        lambda: (x + 1).named("a").named("b"),
        lambda: sequence.shape,
        lambda: sequence.dtype,
    ]
    for call in refused:
        with pytest.raises(gd.GraphError, match=r"test_handle\.py"):
            call()


def test_numpys_own_functions_are_not_the_users_line(x: gd.Tensor) -> None:
    with pytest.raises(gd.FrozenValueError) as caught:
        np.sum([x, x])
    assert "test_handle.py" in str(caught.value)


def test_python_numbers_adopt_and_arrays_keep() -> None:
    x = gd.input("x", gd.float16[2])
    assert (x + 1).dtype is gd.float16
    assert (x * [1, 2.5]).dtype is gd.float16
    with pytest.raises(gd.InferenceError, match=r"float16.*float32"):
        x + np.float32([1, 2])
    with pytest.raises(gd.InferenceError, match=r"float16.*float64"):
        x + np.float64(1)
    i = gd.input("i", gd.uint8[2])
    with pytest.raises(
        gd.SignatureError, match=r"1\.5 does not fit uint8; cast the tensor first, as in t\.astype\(gd\.float32\)"
    ):
        i + 1.5
    with pytest.raises(gd.SignatureError, match="300 is out of range for uint8"):
        i + 300
