"""`t[...]` means what NumPy's indexing means, for every kind of index, whether sizes are known or not."""

import gc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twins import ALL, KNOWN, NAMED, UNNAMED, UNRANKED, agree, assert_same, check_type, compute, counted

import graphdsl as gd
from graphdsl import op
from graphdsl.ir import Value
from graphdsl.tensor.calling import ROOT

X = counted((2, 3, 4))
SIZES = st.integers(0, 4)
SHAPES = st.lists(SIZES, max_size=4).map(tuple)
BOUNDS = st.none() | st.integers(-6, 6)
STEPS = st.none() | st.sampled_from([1, 2, 3, -1, -2, -3, 7, -7])


def one_index(size: int) -> st.SearchStrategy[int]:
    return st.integers(-size, size - 1) if size else st.just(0)


@st.composite
def keys(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Keys of every form; now and then one that NumPy refuses, on an empty axis or with too many items."""
    common = draw(st.lists(st.integers(0, 3), min_size=1, max_size=2).map(tuple))
    items: list[Any] = []
    axis = 0
    arrays = draw(st.booleans())
    while axis < len(shape) and draw(st.integers(0, 5)):
        kinds = ["int", "slice", "slice", "none"] + ["pick", "pick", "mask"] * arrays
        match draw(st.sampled_from(kinds)):
            case "int":
                items.append(draw(one_index(shape[axis])))
            case "slice":
                items.append(slice(draw(BOUNDS), draw(BOUNDS), draw(STEPS)))
            case "none":
                items.append(None)
                continue
            case "pick":
                own = tuple(draw(st.sampled_from([size, size, 1])) for size in common[draw(st.integers(0, 1)) :])
                own = own if shape[axis] else (0, *own[1:])  # an empty axis has no index
                flat = [draw(one_index(shape[axis])) for _ in range(int(np.prod(own)))]
                items.append(np.array(flat, np.int64).reshape(own))
            case "mask":
                extent = shape[axis : axis + draw(st.integers(1, 2))]
                flat = [draw(st.booleans()) for _ in range(int(np.prod(extent)))]
                items.append(np.array(flat, bool).reshape(extent))
                axis += len(extent) - 1
        axis += 1
    if draw(st.booleans()):
        place = draw(st.integers(0, len(items)))
        items.insert(place, Ellipsis)
    return tuple(items)


@st.composite
def shaped_keys(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[Any, ...]]:
    shape = draw(SHAPES)
    return shape, draw(keys(shape))


def numpy_takes(array: np.ndarray, key: Any) -> bool:
    try:
        array[key]
    except IndexError:
        return False
    return True


@given(shaped_keys(), st.sampled_from([NAMED, UNNAMED]))
def test_indexing_is_numpys(drawn: tuple[tuple[int, ...], Any], what: str) -> None:
    shape, key = drawn
    array = counted(shape)
    if not numpy_takes(array, key):
        with pytest.raises(gd.IndexingError):
            compute(lambda x: x[key], array)
        return
    known = agree(lambda x: x[key], array)
    assert known.tensors[0].shape == array[key].shape
    agree(lambda x: x[key], array, what=what)


@given(shaped_keys())
def test_indexing_a_tensor_of_unknown_rank_is_numpys_or_refused(drawn: tuple[tuple[int, ...], Any]) -> None:
    shape, key = drawn
    array = counted(shape)
    if not numpy_takes(array, key):
        return
    try:
        agree(lambda x: x[key], array, what=UNRANKED)
    except gd.GraphError as error:
        assert "number of dimensions" in str(error) or "unknown rank" in str(error)
        gaps = [i for i, item in enumerate(key) if item is Ellipsis]
        after = key[gaps[0] + 1 :] if gaps else ()
        arrays = [item for item in key if isinstance(item, np.ndarray)]
        assert any(item is not None for item in after) or arrays


def stretched_to_nothing(key: tuple[Any, ...]) -> bool:
    """Whether an index array is stretched from size 1 to 0; see `test_the_runtime_drops_an_expansion_to_nothing`."""
    shapes = [array.shape for item in key if isinstance(item, np.ndarray) for array in taken_from(item)]
    common = np.broadcast_shapes(*shapes)
    return 0 in common and any(shape != common for shape in shapes)


def taken_from(item: np.ndarray) -> tuple[np.ndarray, ...]:
    return item.nonzero() if item.dtype == bool else (item,)


def test_the_runtime_drops_an_expansion_to_nothing() -> None:
    """docs/upstream.md: when this fails, ONNX Runtime is mended, and `stretched_to_nothing` is to go."""
    with pytest.raises(AssertionError, match=r"float32\[0, 3\] promised with .*, \(1, 3\) came"):
        compute(lambda x: abs(op.Expand(-x, [0, 3])), counted((1, 3)))
    assert compute(lambda x: abs(op.Expand(x, [0, 3])), counted((1, 3))).arrays[0].shape == (0, 3)


@given(shaped_keys(), st.data())
def test_indices_and_bounds_may_be_tensors(drawn: tuple[tuple[int, ...], Any], data: st.DataObject) -> None:
    shape, key = drawn
    array = counted(shape)
    if not numpy_takes(array, key) or stretched_to_nothing(key):
        return
    feeds = [array]
    plan: list[Any] = []  # each item of the key, or where among the inputs it comes from

    def fed(item: Any, dtype: Any) -> Any:
        if item is None or (isinstance(item, int | np.ndarray) and not data.draw(st.booleans())):
            return item
        feeds.append(np.asarray(item, dtype))
        return (len(feeds) - 1,)

    for item in key:
        if isinstance(item, slice):
            start = item.start if (item.step or 1) < 0 else fed(item.start, np.int64)
            stop = item.stop if (item.step or 1) < 0 and (item.start or 0) < 0 else fed(item.stop, np.int32)
            plan.append((start, stop, item.step))
        elif isinstance(item, int | np.ndarray):
            integer = np.asarray(item).dtype.kind == "i"
            plan.append(fed(item, data.draw(st.sampled_from([np.int32, np.int64, np.int8])) if integer else bool))
        else:
            plan.append(item)

    def expression(x: Any, *rest: Any) -> Any:
        inputs = (x, *rest)

        def found(item: Any) -> Any:
            if isinstance(item, tuple) and len(item) == 1:
                return inputs[item[0]]
            return slice(*map(found, item)) if isinstance(item, tuple) else item

        return x[tuple(map(found, plan))]

    result = compute(expression, *feeds, what=data.draw(st.sampled_from([KNOWN, NAMED, UNNAMED])))
    assert_same(result.arrays[0], array[key], f"x[{key}] by {result.operators}")


@pytest.mark.parametrize("step", [None, 2, -1, -2])
@pytest.mark.parametrize("what", [KNOWN, NAMED])
def test_every_slice_of_a_short_axis(step: int | None, what: str) -> None:
    bounds = [None, *range(-5, 6), 2**31 - 1, 2**63 - 1, 2**80, -(2**31), -(2**63)]
    slices = [slice(start, stop, step) for start in bounds for stop in bounds]
    for size in range(4) if what == KNOWN else [4]:
        agree(lambda x: tuple(x[key] + 0 for key in slices), counted((size,)), what=what)
    if what == NAMED:  # one model for all sizes
        x = gd.input("x", gd.float32["n"])
        model = gd.build([x[key] + 0 for key in slices], inputs=[x])
        for size in range(4):
            for key, found in zip(slices, model(counted((size,))), strict=True):
                assert_same(found, counted((size,))[key], f"{key} of {size}")


Y = counted((2, 3, 4, 5))

PLACES = {
    "side by side behind an axis": np.s_[:, [0, 1], [[1], [3]]],
    "side by side with an int": np.s_[:, 1, [0, 3, 2]],
    "parted by a slice": np.s_[:, [0, 1], :, [1, 3]],
    "parted by a slice from an int": np.s_[:, 1, :, [1, 3]],
    "parted by None": np.s_[:, [0, 1], None, [1, 3]],
    "parted by an ellipsis": np.s_[:, [0, 1], ..., [1, 3]],
    "parted by an ellipsis that stands for no axis": np.s_[:, :, [0, 1], ..., [1, 3]],
    "None before and after": np.s_[:, None, [0, 1], [1, 3], None],
    "one array": np.s_[:, ::2, [[0, 1]]],
    "a mask behind an axis": np.s_[:, Y[0, :, :, 0] % 3 == 1],
    "a mask and an array": np.s_[:, Y[0, :, 0, 0] > 10, [3, 0]],
    "a mask apart from an int": np.s_[Y[:, 0, 0, 0] > 3, :, 2],
}


@pytest.mark.parametrize("name", PLACES)
def test_where_the_axes_of_index_arrays_go(name: str) -> None:
    key = PLACES[name]
    for what in (KNOWN, NAMED):
        agree(lambda x: x[key], Y, what=what)


def test_indices_are_counted_from_the_front_where_the_size_is_known() -> None:
    def index_of(tensor: gd.Tensor) -> Any:
        return gd.build(tensor).nodes[-1].inputs[1].array.tolist()

    x = gd.input("x", gd.float32["n", 3])
    assert index_of(x[:, -1]) == 2 and index_of(x[:, [-1, 0]]) == [2, 0] and index_of(x.take([-3], 1)) == [0]
    assert index_of(x[-1]) == -1


ONE_NODE = {
    "an int": (np.s_[1], ["Gather"]),
    "a negative int": (np.s_[:, -1], ["Gather"]),
    "an int behind an ellipsis": (np.s_[..., 0], ["Gather"]),
    "a NumPy int": (np.uint8(1), ["Gather"]),
    "a list": ([1, 0, 1], ["Gather"]),
    "an array of two axes": (np.s_[:, np.array([[0, -1], [2, 2]])], ["Gather"]),
    "slices of all axes": (np.s_[1:, ::-1, :-1:2], ["Slice"]),
    "None": (np.s_[:, None, ..., None], ["Unsqueeze"]),
    "index arrays of leading axes": (np.s_[[0, 1], [2, -1]], ["GatherND"]),
    "a constant mask": (np.s_[:, [True, False, True]], ["Gather"]),
    "a constant mask of all axes": (X % 5 > 2, ["GatherND"]),
    "everything": (np.s_[...], []),
    "whole slices": (np.s_[:, 0:3, ::1], []),
    "a slice past the ends": (np.s_[-9:9], []),
    "nothing": ((), []),
    "an int and an array": (np.s_[0, [1, 2]], ["Gather", "Gather"]),
    "an int and an array apart": (np.s_[0, :, [1, 2]], ["Gather", "Gather", "Transpose"]),
    "arrays of the last axes": (np.s_[:, [0, 1], [1, 2]], ["Transpose", "GatherND", "Transpose"]),
    "an int, a slice and None": (np.s_[1, ::2, None], ["Gather", "Slice", "Unsqueeze"]),
}


@pytest.mark.parametrize("name", ONE_NODE)
def test_an_index_is_the_simplest_onnx(name: str) -> None:
    key, operators = ONE_NODE[name]
    assert agree(lambda x: x[key], X).operators == operators


def test_masks_that_are_tensors() -> None:
    assert agree(lambda x, m: x[m], X, X[:, 0, 0] > 0).operators == ["Compress"]
    assert agree(lambda x, m: x[:, m], X, X[0, :, 0] > 0).operators == ["Compress"]
    assert agree(lambda x, m: x[m], X, X > 7).operators == ["NonZero", "Transpose", "GatherND"]
    assert agree(lambda x: x[x > 7], X, what=NAMED).tensors[0].shape == (None,)
    assert agree(lambda x, m: x[m], X, X[:, :, 0] > 7).tensors[0].shape == (None, 4)
    agree(lambda x, m: x[0, m], X, X[0] > 7)
    agree(lambda x, m: x[:, m], X, X[0] > 7)
    agree(lambda x, m: x[..., m, None], X, X[0, 0] > 1)
    agree(lambda x, m: x[m, [0, 1]], X, X[:, :, 0] == [[0, 1, 1], [1, 1, 20]])


def test_where_a_mask_leaves_numpy() -> None:
    """The rows of docs/numpy.md: a mask that is too short at run time, an index that is broadcast away."""
    short = compute(lambda x, m: x[m], X, np.array([True]), what=NAMED)
    assert_same(short.arrays[0], X[:1])
    with pytest.raises(IndexError):
        X[np.array([True])]
    x = gd.input("x", gd.float32[0, 3])
    assert np.zeros((0, 3))[np.zeros((0, 1), int), [[5]]].shape == (0, 1)
    assert refusal(lambda: x[np.zeros((0, 1), int), [[5]]]).startswith("index 5 is out of range for axis 1")


def test_named_dimensions_are_kept() -> None:
    x = gd.input("x", gd.float32["n", "m", 8])
    assert x[0].shape == ("m", 8)
    assert x[..., 2:-1].shape == ("n", "m", 5)
    assert x[:, None, ..., ::-3].shape == ("n", 1, "m", 3)
    assert x[:, [0, 1]].shape == ("n", 2, 8)
    assert x[[0, 1], [[0], [1]]].shape == (2, 2, 8)
    assert x[: x.shape[0]].is_same(x)


def test_dimensions_are_indices_and_bounds() -> None:
    agree(lambda x: x[x.shape[0] - 1, : x.shape[1] // 2], counted((3, 4)), what=NAMED)
    agree(lambda x, y: x[y.shape[0] : 2 * y.shape[0]], counted((7, 2)), counted((3,)), what=NAMED)
    agree(lambda x, y: x[[y.shape[0], 0]], counted((7, 2)), counted((3,)), what=NAMED)


def test_the_size_of_an_axis_is_one_node_however_often_it_is_used() -> None:
    result = compute(lambda x: (x[x.shape[0] - 1], x[: x.shape[0] - 1]), X, what=NAMED)
    assert result.operators.count("Shape") == 1
    with gd.opset(13):
        result = compute(lambda x: x[x.shape[0] - 1], X, what=NAMED, opset=13)
    assert result.operators == ["Shape", "Gather", "Sub", "Squeeze", "Gather"]


def test_sizes_that_nothing_uses_are_forgotten() -> None:
    def remembered() -> int:
        while gc.collect():  # a size is forgotten when what was computed from it is
            pass
        return len(ROOT.memo)

    before = remembered()
    x = gd.input("x", gd.float32["n"])
    kept = x[: x.shape[0] - 1]
    assert remembered() > before
    del kept
    assert remembered() == before


@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_every_dtype(dtype: np.dtype) -> None:
    x = counted((2, 3, 4), dtype)
    keys = [np.s_[::-1, 1:], np.s_[..., [0, 0]], np.s_[..., 1], np.s_[[0, 1], [1, 2]], np.s_[:, None], x != x[0, 0, 0]]
    for key in keys if dtype.kind == "O" else [*keys, np.s_[1], np.s_[[0, 0]]]:
        agree(lambda x, key=key: x[key], x)
    agree(lambda x, m: x[m], x, X[:, 0, 0] > 0)
    agree(lambda x, m: x[m], x, X > 7)


def test_the_runtime_gathers_rows_of_strings_wrongly() -> None:
    """docs/upstream.md: when this fails, ONNX Runtime is mended, and `test_every_dtype` may try strings on all keys."""
    words = np.array([["a", "b"], ["c", "d"]], object)
    assert compute(lambda x: x[1], words).arrays[0].tolist() == ["c", ""]
    assert compute(lambda x: x[:, 1], words).arrays[0].tolist() == ["b", "d"]


@pytest.mark.parametrize("opset", [9, 10, 11, 13, 15, 18, 20, 23, 26])
def test_every_opset(opset: int) -> None:
    keys = [np.s_[1], np.s_[..., -1], np.s_[1:, :-1], np.s_[[1, 0], ..., None], np.s_[0, :, [1, 2]]]
    keys += [np.s_[::-1], np.s_[:, -2::-1]] if opset >= 10 else []
    keys += [np.s_[[0, 1], [1, 2]], X > 3] if opset >= 11 else []
    for key in keys:
        agree(lambda x, key=key: x[key], X, opset=opset)
        agree(lambda x, key=key: x[key], X, opset=opset, what=NAMED)


def refusal(call: Any) -> str:
    with pytest.raises(gd.GraphError) as caught:
        call()
    assert isinstance(caught.value, gd.IndexingError | gd.UnsupportedError)
    message, place = str(caught.value).rsplit("\n  at ", 1)
    assert "test_indexing.py" in place
    return message


def test_what_is_out_of_range_is_refused() -> None:
    x = gd.input("x", gd.float32[2, "n", 4])
    assert refusal(lambda: x[2]) == "index 2 is out of range for axis 0 of float32[2, 'n', 4], whose size is 2"
    assert refusal(lambda: x[..., [0, -5, 9]]) == (
        "index -5 is out of range for axis 2 of float32[2, 'n', 4], whose size is 4"
    )
    assert refusal(lambda: x[gd.constant(7)]) == (
        "index 7 is out of range for axis 0 of float32[2, 'n', 4], whose size is 2"
    )
    assert refusal(lambda: x[0, 0, 0, 0]) == "too many indices for float32[2, 'n', 4]: 4 for 3 dimensions"
    assert refusal(lambda: x[[True, False, True]]) == ("the mask has size 3 where axis 0 of float32[2, 'n', 4] has 2")
    assert refusal(lambda: x[gd.input("m", gd.bool[2, 3, 5])]) == (
        "the mask has size 5 where axis 2 of float32[2, 'n', 4] has 4"
    )
    assert refusal(lambda: x[[0, 1], :, [0, 1, 2]]) == "index arrays of shapes (2,), (3,) have no common shape"
    with pytest.raises(IndexError):
        x[5]
    with pytest.raises(ValueError):
        x[5]


def test_what_is_no_index_is_refused() -> None:
    x, i = gd.input("x", gd.float32["n", 4]), gd.input("i", gd.int64[()])
    kinds = "a tensor is indexed by integers, slices, '...', None, and arrays or tensors of integers or bool, not by "
    assert refusal(lambda: x[1.5]) == kinds + "1.5 (float)"
    assert refusal(lambda: x["a"]) == kinds + "'a' (str)"
    assert refusal(lambda: x[[0.0, 1.0]]) == kinds + "[0.0, 1.0] (list)"
    assert refusal(lambda: x[[[1], [1, 2]]]) == "[[1], [1, 2]] is no index: its rows differ in length"
    assert refusal(lambda: x[x]) == (
        "an index tensor has integers or bool, not float32['n', 4]; write i.astype(gd.int64)"
    )
    assert refusal(lambda: x[gd.input("u", gd.int64)]) == (
        "an index tensor has a known rank, and int64 has not; write i.reshape(...) with all its dimensions"
    )
    one_bool = "a single bool is no index here; write t[None] for True, op.If to choose when the model runs"
    assert refusal(lambda: x[True]) == refusal(lambda: x[gd.input("b", gd.bool[()])]) == one_bool
    assert refusal(lambda: x[..., ...]) == "an index has one ellipsis ('...') at the most"
    assert refusal(lambda: x[::0]) == "the step of a slice is not 0"
    assert refusal(lambda: x[::i]) == (
        "the step of a slice is known when the graph is written; write op.Slice for one that is not"
    )
    assert refusal(lambda: x[i::-1]) == (
        "a slice with a negative step of an axis of unknown size starts at an int; cut first, as in t[:n][::-1]"
    )
    assert refusal(lambda: x["a":]) == (
        "the start of a slice is an int, None, a dimension or an integer scalar, not 'a'"
    )
    assert refusal(lambda: x[: gd.input("v", gd.int64[1])]) == (
        "the stop of a slice is an integer scalar, not int64[1]; write i.astype(gd.int64).reshape(())"
    )
    assert refusal(lambda: x[gd.Dim("k")]) == (
        "the dimension 'k' does not say which tensor it is a size of; write x.shape[axis] of a tensor that has it"
    )
    untyped = gd.Tensor(Value(None, None, 0, ROOT))
    assert refusal(lambda: untyped[0]) == (
        "indexing a tensor of unknown type; declare what makes it with @gd.custom_op and a type rule"
    )
    assert refusal(lambda: gd.input("s", gd.sequence(gd.float32))[0]) == (
        "indexing sequence(float32), which is no tensor; write op.SequenceAt(s, i) for a sequence"
    )


def test_indices_that_need_the_rank_are_refused_without_it() -> None:
    x = gd.input("x", gd.float32)
    assert refusal(lambda: x[..., 0]) == (
        "an index after '...' needs the number of dimensions, which float32 does not say; declare them where the "
        "tensor enters, as in gd.float32['n', None]"
    )
    assert refusal(lambda: x[:, [0], [0]]) == (
        "index arrays behind other axes of a tensor of unknown rank; declare its dimensions where it enters, as in "
        "gd.float32['n', None], or write t.reshape(...) first"
    )


def test_storing_and_deleting_are_refused() -> None:
    x = gd.input("x", gd.float32["n", 4])

    def store() -> None:
        x[0] = 1.0

    def delete() -> None:
        del x[0]

    assert refusal(store) == (
        "t[i] = value: a tensor never changes; write op.Where(mask, value, t) for a mask, op.ScatterND(t, indices, "
        "value) for index arrays, or op.Concat of the parts before and after a slice"
    )
    assert refusal(delete) == "del t[i]: a tensor never changes; select what stays, as in t[keep]"


def test_an_index_out_of_range_at_run_time_fails() -> None:
    with pytest.raises(Exception, match="out of data bounds"):
        compute(lambda x, i: x[i], X, np.array([5]))


@pytest.mark.parametrize("mode", ["indices", "size", "axis"])
def test_take(mode: str) -> None:
    match mode:
        case "indices":
            for indices in (1, [2, 0, -1], [[0, 1]], np.array([1], np.uint8), []):
                agree(lambda x, i=indices: x.take(i, axis=1), X)
                agree(lambda x, i=indices: x.take(i), X, what=NAMED)
            agree(lambda x, i: x.take(i, axis=-1), X, np.array([[0, 3]], np.int16))
        case "size":
            x = gd.input("x", gd.float32[2, 3])
            assert refusal(lambda: x.take([3], 1)) == (
                "index 3 is out of range for axis 1 of float32[2, 3], whose size is 3"
            )
            assert refusal(lambda: x.take([6])) == "index 6 is out of range for axis 0 of float32[6], whose size is 6"
        case "axis":
            x = gd.input("x", gd.float32[2, 3])
            assert refusal(lambda: x.take(0, 2)) == (
                "take: axis 2 is out of range for float32[2, 3]; its axes run from -2 to 1"
            )
            assert refusal(lambda: x.take(0, mode="wrap")) == (
                "take(mode='wrap'); write t.take(i % n) for 'wrap', t.take(i.clip(0, n - 1)) for 'clip'"
            )


def test_compress() -> None:
    for condition, axis in (([True, False], 0), ([0, 1, 1], -2), ([False] * 4, 2), ([True] * 5, None)):
        agree(lambda x, c=condition, a=axis: x.compress(c, axis=a), X)
        agree(lambda x, c, a=axis: x.compress(c, axis=a), X, np.array(condition, bool), what=NAMED)
    condition = gd.input("c", gd.int64["n"])
    assert refusal(lambda: gd.input("x", gd.float32["n"]).compress(condition)) == (
        "compress() by int64['n']; the condition is a bool tensor of one axis"
    )


@pytest.mark.parametrize("dtype", [d for d in ALL if d.kind != "O"], ids=str)
def test_nonzero(dtype: np.dtype) -> None:
    x = counted((3, 4), dtype) * counted((3, 4), bool).astype(dtype)
    agree(lambda x: x.nonzero(), x)
    agree(lambda x: x.nonzero(), np.zeros((0, 3), dtype), what=NAMED)


def test_nonzero_needs_axes() -> None:
    assert refusal(lambda: gd.input("x", gd.float32[()]).nonzero()) == (
        "nonzero() of a scalar; write t.reshape(1).nonzero()"
    )


def test_repeat() -> None:
    for repeats in (0, 1, 3, [2]):
        for axis in (None, 0, -1):
            agree(lambda x, r=repeats, a=axis: x.repeat(r, axis=a), X)
            agree(lambda x, r=repeats, a=axis: x.repeat(r, axis=a), X, what=NAMED)
    assert agree(lambda x: x.repeat([1, 0, 2], axis=1), X).operators == ["Gather"]
    x = gd.input("x", gd.float32["n", 3])
    assert refusal(lambda: x.repeat([1, 2], 1)) == "repeat: 2 counts for axis 1 of float32['n', 3]"
    assert refusal(lambda: x.repeat(-1, 1)) == "repeat(-1); write how often as an int, or as a list of ints"
    assert refusal(lambda: x.repeat([1, 2], 0)) == (
        "repeat() by a list of counts along an axis of unknown size; write an int, or t.take(indices)"
    )
    assert refusal(lambda: x.repeat(gd.input("r", gd.int64[()]))) == (
        "repeat() as often as a tensor says; write t.take(indices, axis=axis) with the indices to repeat"
    )


@given(
    st.lists(SIZES, min_size=2, max_size=4).map(tuple), st.integers(-5, 5), st.permutations([0, 1, 2, 3]), st.booleans()
)
def test_diagonal_and_trace(shape: tuple[int, ...], offset: int, axes: list[int], named: bool) -> None:
    first, second = [axis for axis in axes if axis < len(shape)][:2]
    what = NAMED if named else KNOWN
    x = counted(shape, np.int64)
    agree(lambda x: x.diagonal(offset, first, second - len(shape)), x, what=what)
    agree(lambda x: x.trace(offset, first, second), x, what=what)


def test_the_diagonal_of_a_matrix_is_one_node() -> None:
    assert agree(lambda x: x.diagonal(1), counted((3, 4))).operators == ["GatherND"]
    assert refusal(lambda: gd.input("x", gd.float32[3, 3]).diagonal(0, 1, -1)) == (
        "diagonal: an axis is given twice in (1, -1)"
    )


def test_the_judges_reject() -> None:
    with pytest.raises(AssertionError, match="but NumPy gives"):
        assert_same(np.float32([1, 2]), np.float32([1, 3]))
    with pytest.raises(AssertionError, match="has shape"):
        assert_same(np.float32([[1]]), np.float32([1]))
    with pytest.raises(AssertionError, match="promised with"):
        check_type(gd.float32["n", 3], np.zeros((2, 3), np.float32), {"n": 1})
    with pytest.raises(AssertionError, match="promised with"):
        check_type(gd.float32[2], np.zeros((2, 3), np.float32), {})
    with pytest.raises(AssertionError, match="promised, int64 came"):
        check_type(gd.float32[2], np.zeros(2, np.int64), {})
    with pytest.raises(AssertionError, match="but NumPy gives"):
        agree(lambda x: x[0] if isinstance(x, np.ndarray) else x[1], X)


def test_an_index_works_inside_a_body_too() -> None:
    flag = gd.input("flag", gd.bool[()])
    x = gd.input("x", gd.float32["n", 3])
    branches = {"then_branch": lambda: x[x.shape[0] - 1], "else_branch": lambda: x[0]}
    chosen = op.If(flag, **branches)
    assert chosen.shape == (3,)
    model = gd.build(chosen, inputs=[flag, x])
    rows = counted((4, 3))
    assert [model(np.array(which), rows).tolist() for which in (True, False)] == [rows[3].tolist(), rows[0].tolist()]
