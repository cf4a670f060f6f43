"""`verify.tensors` and `verify.feeds`: what they draw, what can be left out, and what they shrink to."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st

import graphdsl as gd
from graphdsl import op, verify
from graphdsl.types import DTYPES, TensorType
from graphdsl.verify.undefined import undefined

FLOATS = [dtype for dtype in DTYPES if dtype.kind == "float"]
QUICK = settings(database=None, derandomize=True, max_examples=1000, suppress_health_check=list(HealthCheck))


def seen(strategy: st.SearchStrategy[Any], count: int = 200) -> list[Any]:
    """What a strategy draws."""
    found = []

    @settings(QUICK, max_examples=count)
    @given(strategy)
    def collect(value: Any) -> None:
        found.append(value)

    collect()
    return found


def classes(array: np.ndarray, dtype: gd.DType) -> set[str]:
    """Which edges an array holds."""
    found = {"empty"} if not array.size else set()
    found |= {"one"} if 1 in array.shape else set()
    if dtype.kind != "float":
        limits = ml_dtypes.iinfo(dtype.numpy)
        extreme = {int(limits.max), int(limits.min)} - {0}
        return found | ({"extreme"} if extreme & set(array.ravel().tolist()) else set())
    wide, limits = array.astype(np.float64), ml_dtypes.finfo(dtype.numpy)
    tests = {
        "nan": np.isnan(wide),
        "infinity": np.isinf(wide),
        "negative_zero": (wide == 0) & np.signbit(wide),
        "subnormal": (wide != 0) & (abs(wide) < float(limits.smallest_normal)),
        "extreme": abs(wide) == float(limits.max),
    }
    return found | {name for name, mask in tests.items() if mask.any()}


@pytest.mark.parametrize("dtype", DTYPES, ids=repr)
def test_arrays_of_every_dtype_have_the_type(dtype: gd.DType) -> None:
    for array in seen(verify.tensors(dtype["n", 2]), 20):
        assert array.dtype == dtype.numpy and array.ndim == 2 and array.shape[1] == 2


@pytest.mark.parametrize("dtype", [gd.float16, gd.float32, gd.float64, gd.bfloat16, gd.float8e5m2], ids=repr)
def test_every_edge_of_floats_is_drawn_and_can_be_left_out(dtype: gd.DType) -> None:
    edges = {"nan", "infinity", "negative_zero", "subnormal", "extreme", "empty", "one"}
    assert set.union(*[classes(array, dtype) for array in seen(verify.tensors(dtype["n", "m"]), 250)]) == edges
    for edge in sorted(edges):
        found = set.union(*[classes(a, dtype) for a in seen(verify.tensors(dtype["n", "m"], without=[edge]), 50)])
        assert edge not in found
    plain = set.union(*[classes(a, dtype) for a in seen(verify.tensors(dtype["n", "m"], without=edges), 50)])
    assert plain == set()


@pytest.mark.parametrize("dtype", [gd.int8, gd.int64, gd.uint16, gd.uint64], ids=repr)
def test_the_ends_of_integers_are_drawn_and_can_be_left_out(dtype: gd.DType) -> None:
    assert "extreme" in set.union(*[classes(array, dtype) for array in seen(verify.tensors(dtype[8]), 200)])
    left = set.union(*[classes(array, dtype) for array in seen(verify.tensors(dtype[8], without="extreme"), 200)])
    assert "extreme" not in left


def test_values_lie_within_bounds() -> None:
    for low, high in [(-2, 3), (10, 1000), (0.25, 0.75)]:
        for dtype in (gd.float32, gd.float16, gd.int32 if high > 1 else gd.float64):
            found = np.concatenate(seen(verify.tensors(dtype[8], low=low, high=high), 100))
            assert found.min() >= low and found.max() <= high and len(set(found.tolist())) > 4
    with pytest.raises(gd.SignatureError, match=r"int8 has no values from 200 to 300 that are not left out"):
        verify.tensors(gd.int8[1], low=200, high=300)


def test_sizes_are_bound_by_name_or_given() -> None:
    for array in seen(verify.tensors(gd.float32["n", "n + 1", "2*n"]), 50):
        n = array.shape[0]
        assert array.shape == (n, n + 1, 2 * n)
    assert {array.shape for array in seen(verify.tensors(gd.int8["n", "m"], sizes={"n": 5, "m": 2}), 20)} == {(5, 2)}
    assert {array.ndim for array in seen(verify.tensors(gd.float32), 100)} == {0, 1, 2, 3}


def test_large_arrays_hold_more_than_one_value() -> None:
    arrays = seen(verify.tensors(gd.float32[100, 100]), 20)
    assert max(len(np.unique(array)) for array in arrays) > 20
    assert find(verify.tensors(gd.float32[50, 50]), lambda a: True, settings=QUICK).tolist() == [[0.0] * 50] * 50


@pytest.mark.parametrize(
    "kind, condition, smallest",
    [
        (gd.float32["n"], lambda a: a.size > 0, [0.0]),
        (gd.float32["n"], lambda a: a.size == 0, []),
        (gd.float32["n"], lambda a: (a > 2).any(), [3.0]),
        (gd.float32["n"], lambda a: (a < 0).any(), [-1.0]),
        (gd.float32["n"], lambda a: np.isinf(a).any(), [np.inf]),
        (gd.float32["n"], lambda a: np.isnan(a).any(), [np.nan]),
        (gd.float64[1], lambda a: ((a == 0) & np.signbit(a)).any(), [-0.0]),
        (gd.int64["n"], lambda a: (a == -(2**63)).any(), [-(2**63)]),
        (gd.bool["n"], lambda a: a.any(), [True]),
        (gd.string["n"], lambda a: "a" in a, ["a"]),
        (gd.uint8["n", 1], lambda a: a.shape[0] > 1, [[0], [0]]),
    ],
)
def test_what_is_found_is_the_smallest(kind: TensorType, condition: Any, smallest: Any) -> None:
    np.testing.assert_array_equal(find(verify.tensors(kind), condition, settings=QUICK), smallest)


def test_sequences_optionals_and_maps_are_drawn() -> None:
    lists = seen(verify.tensors(gd.sequence(gd.float32["n", 2])), 50)
    assert {len(items) for items in lists} == {0, 1, 2, 3}
    assert all(item.shape == (items[0].shape[0], 2) for items in lists for item in items)
    assert None in seen(verify.tensors(gd.optional(gd.int8[2])), 20)
    assert all(
        isinstance(key, str)
        for found in seen(verify.tensors(gd.map_of(gd.string, gd.float32[()])), 20)
        for key in found
    )


def test_unknown_edges_are_refused() -> None:
    with pytest.raises(gd.SignatureError, match=r"there is no edge 'inf'; .*there are 'nan', 'infinity'"):
        verify.tensors(gd.float32, without=["inf"])


# Feeds


def defined(model: gd.Model, count: int = 60, **keywords: Any) -> list[dict[str, Any]]:
    """What `verify.feeds` draws for a model, all of which ONNX Runtime runs."""
    found = seen(verify.feeds(model, **keywords), count)
    for feeds in found:
        outcome = verify.run(model, feeds, "unoptimised")
        assert isinstance(outcome, dict), f"{feeds}: {outcome}"
    return found


def test_named_dimensions_have_one_size() -> None:
    x, y, z = (
        gd.input(name, kind)
        for name, kind in zip("xyz", [gd.float32["n"], gd.float32["m", "n"], gd.int8["n + m"]], strict=True)
    )
    for feeds in seen(verify.feeds(gd.build([x, y, z])), 60):
        (n,), (m, same) = feeds["x"].shape, feeds["y"].shape
        assert same == n and feeds["z"].shape == (n + m,)


def test_sizes_inside_the_model_are_not_negative() -> None:
    image = gd.input("image", gd.float32[1, 1, "h", "w"])
    model = gd.build(op.Conv(image, np.ones((1, 1, 5, 5), np.float32)))
    assert min(feeds["image"].shape[2] for feeds in seen(verify.feeds(model, without="empty"), 60)) == 4


def typed(*kinds: Any) -> list[gd.Tensor]:
    return [gd.input(f"x{i}", kind) for i, kind in enumerate(kinds)]


@pytest.mark.parametrize(
    "call, kinds",
    [
        (op.Gather, [gd.float32[3, "m"], gd.int64["k"]]),
        (lambda a, b: op.Gather(a, b, axis=1), [gd.float32["n", 2], gd.int32["k", 2]]),
        (lambda a, b: op.Gather(a, op.Reshape(op.Cast(b, to=gd.int64), [-1])), [gd.float32[3], gd.int8["k", 2]]),
        (lambda a, b: op.GatherElements(a, b, axis=1), [gd.float32[3, 4], gd.int64[3, 2]]),
        (op.GatherND, [gd.float32[3, 2, 4], gd.int64["k", 2]]),
        (op.Div, [gd.int64["n"], gd.int64["n"]]),
        (op.Mod, [gd.int32["n"], gd.int32["n"]]),
        (lambda a, b: op.Div(a, op.Concat(b, b, axis=0)), [gd.int64[4], gd.int64[2]]),
        (op.CumSum, [gd.float32[2, 3], gd.int64[()]]),
        (op.ReduceSum, [gd.float32[2, 3], gd.int64[2]]),
        (op.Unsqueeze, [gd.float32[2, 3], gd.int64[2]]),
        (op.Tile, [gd.float32[2, 3], gd.int64[2]]),
        (op.TopK, [gd.float32[4], gd.int64[1]]),
        (op.Expand, [gd.float32[2, 1], gd.int64[3]]),
        (lambda a, b: op.OneHot(a, b, np.array([0, 1], np.float32)), [gd.int64["n"], gd.int64[()]]),
        (lambda a, b: op.NegativeLogLikelihoodLoss(a, b), [gd.float32[3, 2], gd.int64[3]]),
        (op.Slice, [gd.float32[5, 2], gd.int64[1], gd.int64[1], gd.int64[1], gd.int64[1]]),
    ],
)
def test_inputs_have_values_for_which_operators_are_defined(call: Any, kinds: list[Any]) -> None:
    inputs = typed(*kinds)
    returned = call(*inputs)
    defined(gd.build(returned, inputs=inputs), without="empty")


def test_indices_reach_both_ends() -> None:
    table, index = gd.input("table", gd.float32[3]), gd.input("index", gd.int64[1])
    found = {int(feeds["index"][0]) for feeds in seen(verify.feeds(gd.build(op.Gather(table, index))), 100)}
    assert found == {-3, -2, -1, 0, 1, 2}


@pytest.mark.parametrize(
    "call, kinds",
    [
        (lambda a, i, u: op.ScatterElements(a, i, u, axis=0), [gd.float32[4, 2], gd.int64[3, 2], gd.float32[3, 2]]),
        (lambda a, i, u: op.ScatterElements(a, i, u, axis=-1), [gd.float32[2, 3], gd.int32[2, 3], gd.float32[2, 3]]),
        (op.ScatterND, [gd.float32[2, 3], gd.int64[4, 2], gd.float32[4]]),
        (op.ScatterND, [gd.float32[3, 2], gd.int64[1, 2, 1], gd.float32[1, 2, 2]]),
        (gd.opset(10).Scatter, [gd.float32[4], gd.int64[3], gd.float32[3]]),
    ],
)
def test_no_place_is_written_twice(call: Any, kinds: list[Any]) -> None:
    inputs = typed(*kinds)
    scattered = call(*inputs)
    model = gd.build(scattered, inputs=inputs)
    found = defined(model, without="empty")
    (node,) = model.nodes
    assert [undefined(node, list(feeds.values()), None) for feeds in found] == [None] * len(found)
    indices = np.array([feeds["x1"] for feeds in found])
    assert indices.min() < -1 and indices.max() > 0 and len({item.tobytes() for item in indices}) > 8
    once = np.zeros_like(found[0]["x1"])
    assert (
        undefined(node, [found[0]["x0"], once, found[0]["x2"]], None) == f"an element that {node.op_type} writes twice"
    )


def test_what_is_combined_may_be_written_twice() -> None:
    inputs = typed(gd.float32[2], gd.int64[3], gd.float32[3])
    model = gd.build(op.ScatterElements(*inputs, reduction="add"), inputs=inputs)
    assert all(len(set(feeds["x1"] % 2)) <= 2 for feeds in defined(model))


def test_a_cache_holds_what_is_written_to_it() -> None:
    inputs = typed(gd.float32[2, 4, 1], gd.float32[2, 3, 1], gd.int64[2])
    with gd.opset(24):
        model = gd.build(op.TensorScatter(*inputs), inputs=inputs)
    assert {int(first) for feeds in seen(verify.feeds(model), 60) for first in feeds["x2"]} == {0, 1}


def test_places_that_are_moved_lie_within_the_shortest_axis() -> None:
    """Which axis an index is for, the operators between do not tell."""
    inputs = typed(gd.float32[2, 40], gd.int64[1, 2], gd.float32[1])
    data, places, updates = inputs
    found = defined(gd.build(op.ScatterND(data, op.Identity(places), updates), inputs=inputs))
    assert {int(place) for feeds in found for place in feeds["x1"].ravel()} == {-2, -1, 0, 1}


@pytest.mark.parametrize("name", ["If", "Loop", "Loop given", "Scan", "Scan given", "SequenceMap"])
def test_indices_are_followed_into_bodies_and_out_of_them(name: str) -> None:
    table, index, flag = typed(gd.float32[2], gd.int64[3], gd.bool[()])
    loop = op.Loop(2, True, index, body=lambda i, going, kept: (going, kept, op.Gather(table, kept)))
    scan = op.Scan(table, index, body=lambda state, place: (state, op.Gather(state, place)), num_scan_inputs=1)
    pair = op.SequenceConstruct(index, index)
    result = {
        "If": lambda: op.Gather(table, op.If(flag, then_branch=lambda: index, else_branch=lambda: index[::-1])),
        "Loop": lambda: loop[1],
        "Loop given": lambda: op.Gather(table, loop[0]),
        "Scan": lambda: scan[1],
        "Scan given": lambda: op.Gather(
            table, op.Scan(index, table, body=lambda state, row: (state, row), num_scan_inputs=1)[0]
        ),
        "SequenceMap": lambda: op.SequenceMap(pair, body=lambda places: op.Gather(table, places)),
    }[name]()
    found = defined(gd.build(result, inputs=[table, index, flag]))
    assert {int(place) for feeds in found for place in feeds["x1"]} == {-2, -1, 0, 1}


def test_an_input_of_a_body_is_told_from_one_of_the_model_by_the_same_name() -> None:
    table, i = gd.input("table", gd.float32[2]), gd.input("i", gd.int64[1])
    rows = op.Loop(3, True, body=lambda i, going: (going, op.Gather(np.float32([1, 2, 3, 4, 5]), i)))
    found = defined(gd.build([op.Gather(table, i), rows], inputs=[table, i]))
    assert {int(feeds["i"][0]) for feeds in found} == {-2, -1, 0, 1}


def test_captured_indices_and_those_of_functions_are_followed() -> None:
    @gd.function(domain="feeds")
    def picked(table, index):
        return op.Gather(table, index)

    table, index, flag = typed(gd.float32[2], gd.int64[1], gd.bool[()])
    inside = op.If(flag, then_branch=lambda: picked(table, index), else_branch=lambda: op.Gather(-table, index))
    found = defined(gd.build(inside, inputs=[table, index, flag]))
    assert {int(feeds["x1"][0]) for feeds in found} == {-2, -1, 0, 1}


def test_defaults_are_left_out_at_times_and_given_at_times() -> None:
    @gd.model
    def scaled(x: gd.float32["n"], factor: gd.float32[()] = 2):
        return x * factor

    assert {"factor" in feeds for feeds in defined(scaled, 30)} == {True, False}


def test_feeds_of_a_file_and_of_a_proto(tmp_path: Any) -> None:
    model = gd.build({"y": gd.input("x", gd.float32["n"]) * 2})
    model.save(tmp_path / "model.onnx")
    for source in (tmp_path / "model.onnx", model.to_proto()):
        assert find(verify.feeds(source), lambda feeds: True, settings=QUICK)["x"].tolist() == [0.0]


def test_the_sizes_that_the_user_gives_are_kept() -> None:
    x = gd.input("x", gd.float32["n", "m"])
    model = gd.build({"y": x * 2})
    assert {feeds["x"].shape[0] for feeds in seen(verify.feeds(model, sizes={"n": 7}), 20)} == {7}


FLOAT_EDGES = {"nan": np.isnan, "infinity": np.isinf}


@pytest.mark.parametrize("edge", FLOAT_EDGES)
def test_edges_are_left_out_of_feeds(edge: str) -> None:
    model = gd.build({"y": gd.input("x", gd.float32[8]) * 2})
    for without, want in ((), True), ((edge,), False):
        assert (
            any(FLOAT_EDGES[edge](feeds["x"]).any() for feeds in seen(verify.feeds(model, without=without), 100))
            is want
        )
