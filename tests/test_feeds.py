"""What a model refuses to run on, word for word: the input, what is wanted, what came, and what to write."""

import dataclasses
import re
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import graphdsl as gd
from graphdsl.feeds import checked


@pytest.fixture(autouse=True)
def no_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    """Feeds are checked before a session is made, so none of these tests may reach the runtime."""

    def unreached(*_: Any) -> None:
        raise AssertionError("a session was asked for")

    monkeypatch.setattr("graphdsl.runtime._load", unreached)


def refusal(model: gd.Model, *given: Any, **named: Any) -> str:
    """The message of a refused call, without the line that says where."""
    with pytest.raises(gd.FeedError) as caught:
        model(*given, **named)
    message, _, where = str(caught.value).rpartition("\n  at ")
    assert re.fullmatch(r"tests[/\\]test_feeds\.py:\d+, in refusal: model\(\*given, \*\*named\)", where), where
    return message


def model_of(**kinds: Any) -> gd.Model:
    """A model that hands its inputs through."""
    inputs = [gd.input(name, kind) for name, kind in kinds.items()]
    return gd.build({f"{t.name}_out": t for t in inputs}, inputs=inputs, name="f")


@gd.model
def linear(a: gd.float32[10, 10], x: gd.float32[10, 10], b: gd.float32[10, 10]):
    return a * x + b


FULL = np.zeros((10, 10), np.float32)


def test_the_judge_of_this_file_rejects_a_call_that_is_fine() -> None:
    with pytest.raises(AssertionError, match="a session was asked for"):
        refusal(linear, FULL, FULL, FULL)


def test_errors_are_type_and_value_errors_too() -> None:
    with pytest.raises(TypeError):
        linear(FULL)
    with pytest.raises(ValueError):
        linear(FULL)


# Names and number


def test_a_missing_input_is_named_with_its_type() -> None:
    assert refusal(linear, FULL, FULL) == "model 'linear': input 'b' (float32[10, 10]) is missing"


def test_all_missing_inputs_are_named_together() -> None:
    assert refusal(linear) == (
        "model 'linear':\n"
        "  input 'a' (float32[10, 10]) is missing\n"
        "  input 'x' (float32[10, 10]) is missing\n"
        "  input 'b' (float32[10, 10]) is missing"
    )


def test_an_unknown_input_is_refused_with_the_nearest_name() -> None:
    model = model_of(image=gd.float32["n"], scale=gd.float32[()])
    assert refusal(model, [1], 2, imag=[3]) == (
        "model 'f': there is no input 'imag'; did you mean 'image'?; it takes 'image', 'scale'"
    )
    assert refusal(gd.build({"y": gd.constant([1.0])}, name="f"), x=1) == (
        "model 'f': there is no input 'x'; it takes none"
    )


def test_too_many_inputs() -> None:
    assert refusal(linear, FULL, FULL, FULL, FULL) == "model 'linear' takes 3 inputs (a, x, b), got 4"
    assert refusal(model_of(x=gd.float32["n"]), 1, 2) == "model 'f' takes 1 input (x), got 2"


def test_an_input_given_twice() -> None:
    assert refusal(linear, FULL, FULL, FULL, x=FULL) == "model 'linear': input 'x' is given by place and by name"


def test_a_call_takes_no_dict() -> None:
    feeds = {"a": FULL, "x": FULL, "b": FULL}
    assert refusal(linear, feeds) == "model 'linear' is called on arrays; with a dict by name, write model.run(feeds)"


def test_run_takes_a_dict() -> None:
    with pytest.raises(gd.FeedError, match="run takes a dict of arrays by input name, not list"):
        linear.run([FULL, FULL, FULL])


def test_an_unknown_output_is_refused_with_the_nearest_name() -> None:
    x = gd.input("x", gd.float32["n"])
    model = gd.build({"twice": x * 2, "half": x / 2}, name="f")
    with pytest.raises(gd.FeedError) as caught:
        model.run({"x": [1]}, outputs=["twic"])
    message = str(caught.value).splitlines()[0]
    assert message == "model 'f' has no output 'twic'; did you mean 'twice'?; it has 'twice', 'half'"
    with pytest.raises(gd.FeedError, match=re.escape("model 'f': outputs=[] asks for none; leave it out for all")):
        model.run({"x": [1]}, outputs=[])


# Dtypes


@pytest.mark.parametrize(
    ("kind", "array", "message"),
    [
        (gd.float32["n"], np.zeros(2), "is float32['n'], got a float64 array; write x.astype(np.float32)"),
        (gd.int64["n"], np.zeros(2, np.int32), "is int64['n'], got an int32 array; write x.astype(np.int64)"),
        (gd.bool["n"], np.zeros(2, np.uint8), "is bool['n'], got a uint8 array; write x.astype(np.bool)"),
        (gd.bfloat16, np.float32(1), "is bfloat16, got a float32 array; write x.astype(ml_dtypes.bfloat16)"),
        (gd.int4[2], np.zeros(2, np.int8), "is int4[2], got an int8 array; write x.astype(ml_dtypes.int4)"),
        (gd.float32["n"], np.array(["a"]), "is float32['n'], got a str32 array; write x.astype(np.float32)"),
        (gd.float32["n"], np.array([{}]), "is float32['n'], got an object array; write x.astype(np.float32)"),
        (gd.string["n"], np.zeros(2), "is string['n'], got a float64 array; it takes str objects"),
        (gd.string["n"], np.array(["a", 3], object), "is string['n'], got 3 (int) in the array; it takes str objects"),
    ],
)
def test_an_array_of_another_dtype_is_refused_with_the_cast_to_write(kind: Any, array: Any, message: str) -> None:
    assert refusal(model_of(x=kind), array) == f"model 'f': input 'x' {message}"


def test_the_cast_names_something_that_python_can_say() -> None:
    assert refusal(gd.build(gd.input("x:0", gd.float32["n"]) + 1, name="f"), np.zeros(2)) == (
        "model 'f': input 'x:0' is float32['n'], got a float64 array; write array.astype(np.float32)"
    )


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        (gd.int64["n"], [1, 2.5], "[1, 2.5] (list)"),
        (gd.uint8[()], 256, "256 (int)"),
        (gd.uint8[()], -1, "-1 (int)"),
        (gd.bool[()], 1.5, "1.5 (float)"),
        (gd.float32["n"], [[1], [1, 2]], "[[1], [1, 2]] (list)"),
        (gd.float32["n"], "text", "'text' (str)"),
        (
            gd.float32["n"],
            [*range(100), "x"],
            "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16... (list)",
        ),
    ],
)
def test_python_values_that_the_dtype_cannot_hold(kind: Any, value: Any, shown: str) -> None:
    assert refusal(model_of(x=kind), value) == f"model 'f': input 'x' is {kind!r}, which cannot hold {shown}"


def test_what_is_no_array_is_refused() -> None:
    model = model_of(x=gd.float32["n"])
    assert refusal(model, None) == "model 'f': input 'x' is float32['n'], got None (NoneType)"
    assert refusal(model, {"a": 1}) == "model 'f': input 'x' is float32['n'], got {'a': 1} (dict)"
    masked = np.ma.masked_array(np.zeros(2, np.float32), [True, False])
    assert refusal(model, masked) == (
        "model 'f': input 'x': got a masked array, whose mask would be lost; write x.filled(...)"
    )


def test_an_array_that_refuses_to_be_read_says_why() -> None:
    torch = pytest.importorskip("torch")
    message = refusal(model_of(x=gd.float32["n"]), torch.ones(2, requires_grad=True))
    assert message.startswith("model 'f': input 'x': Tensor cannot be read as an array: Can't call numpy()")


def test_bytes_that_are_no_text_are_refused() -> None:
    assert refusal(model_of(x=gd.string["n"]), np.array([b"\xff"], object)) == (
        r"model 'f': input 'x': b'\xff' (bytes) is not UTF-8, which ONNX text is"
    )


def test_run_refuses_tensors() -> None:
    model = model_of(x=gd.float32["n"])
    with pytest.raises(gd.FeedError) as caught:
        model.run({"x": gd.input("t", gd.float32["n"])})
    assert str(caught.value).splitlines()[0] == (
        "model 'f': input 'x': got a tensor of a graph; run takes arrays, and model(...) takes tensors"
    )


# Shapes


@pytest.mark.parametrize(
    ("kind", "shape", "problem"),
    [
        (gd.float32[10, 10], (10, 11), "dimension 1 is 11, not 10"),
        (gd.float32["n", 3], (3,), "1 dimension, not 2"),
        (gd.float32[()], (2, 2), "2 dimensions, not 0"),
        (gd.float32["n", None, 2], (0, 5, 1), "dimension 2 is 1, not 2"),
    ],
)
def test_a_wrong_rank_or_size_is_named(kind: Any, shape: tuple[int, ...], problem: str) -> None:
    message = refusal(model_of(x=kind), np.zeros(shape, np.float32))
    assert message == f"model 'f': input 'x' is {kind!r}, got shape {shape}: {problem}"


def test_dimensions_of_one_name_are_of_one_size() -> None:
    model = model_of(x=gd.float32["n", "m"], y=gd.float32["m"])
    assert refusal(model, np.zeros((2, 3), np.float32), [1, 2]) == (
        "model 'f': dimension 'm' is 3 in input 'x' (dimension 1), but 2 in input 'y' (dimension 0)"
    )
    square = model_of(x=gd.float32["n", "n"])
    assert refusal(square, np.zeros((2, 3), np.float32)) == (
        "model 'f': dimension 'n' is 2 in input 'x' (dimension 0), but 3 in input 'x' (dimension 1)"
    )


def test_names_are_not_trusted_in_models_of_other_tools() -> None:
    exported = dataclasses.replace(model_of(x=gd.float32["n"], y=gd.float32["n"]), producer="pytorch")
    with pytest.raises(AssertionError, match="a session was asked for"):
        exported([1, 2], [1, 2, 3])


SIZES = st.integers(0, 2)


@given(
    st.lists(
        st.tuples(st.lists(st.sampled_from([0, 1, 2, "n", "m", None]), max_size=3), st.data()), min_size=1, max_size=3
    )
)
def test_shapes_pass_exactly_where_sizes_can_be_given_to_the_names(inputs: list[tuple[list[Any], Any]]) -> None:
    model = model_of(**{f"x{i}": gd.float32[tuple(dims)] for i, (dims, _) in enumerate(inputs)})
    shapes = [tuple(data.draw(st.lists(SIZES, min_size=len(dims), max_size=len(dims) + 1))) for dims, data in inputs]
    fits = any(
        all(
            len(dims) == len(shape)
            and all(
                dim is None or {"n": n, "m": m}.get(dim, dim) == size for dim, size in zip(dims, shape, strict=True)
            )
            for (dims, _), shape in zip(inputs, shapes, strict=True)
        )
        for n in range(3)
        for m in range(3)
    )
    arrays = {f"x{i}": np.zeros(shape, np.float32) for i, shape in enumerate(shapes)}
    if fits:
        assert checked(model.graph.inputs, arrays, "f") == arrays
    else:
        with pytest.raises(gd.FeedError):
            checked(model.graph.inputs, arrays, "f")


def test_dimensions_given_as_expressions_are_computed() -> None:
    model = model_of(x=gd.float32["2*n + m"], y=gd.float32["n", "m"])
    assert refusal(model, np.zeros(6, np.float32), np.zeros((2, 3), np.float32)) == (
        "model 'f': dimension 'm + 2*n' is 6 in input 'x' (dimension 0), not 7: 'm' is 3, 'n' is 2"
    )


def test_a_default_counts_for_the_named_dimensions() -> None:
    @gd.model(name="f")
    def scaled(x: gd.float32["n"], scale: gd.float32["n"] = np.ones(3, np.float32)):  # noqa: B008
        return x * scale

    assert refusal(scaled, [1, 2]) == (
        "model 'f': dimension 'n' is 2 in input 'x' (dimension 0), but 3 in input 'scale' (dimension 0)"
    )


def test_several_problems_come_together() -> None:
    assert refusal(linear, FULL.astype(np.float64), FULL[:3], c=FULL) == (
        "model 'linear':\n"
        "  there is no input 'c'; it takes 'a', 'x', 'b'\n"
        "  input 'b' (float32[10, 10]) is missing\n"
        "  input 'a' is float32[10, 10], got a float64 array; write a.astype(np.float32)\n"
        "  input 'x' is float32[10, 10], got shape (3, 10): dimension 0 is 3, not 10"
    )


# Sequences, optionals and the like


def test_sequences_are_checked_item_by_item() -> None:
    model = model_of(x=gd.sequence(gd.float32["n"]))
    assert refusal(model, np.zeros(2, np.float32)) == (
        "model 'f': input 'x' is sequence(float32['n']): a list of arrays, got array([0., 0.], dtype=float32) (ndarray)"
    )
    assert refusal(model, [np.zeros(2, np.float32), np.zeros(2)]) == (
        "model 'f': input 'x[1]' is float32['n'], got a float64 array; write array.astype(np.float32)"
    )
    assert refusal(model_of(x=gd.sequence(gd.bfloat16["n"])), [np.zeros(2, ml_dtypes.bfloat16)]) == (
        "model 'f': input 'x' is sequence(bfloat16['n']), and ONNX Runtime's Python API takes no lists of such arrays"
    )


def test_maps_and_sparse_tensors() -> None:
    assert refusal(model_of(x=gd.map_of(gd.string, gd.float32[()])), [1]) == (
        "model 'f': input 'x' is map(string, float32[()]): a dict, got [1] (list)"
    )
    assert refusal(model_of(x=gd.sparse(gd.float32[3])), [1, 0, 0]) == (
        "model 'f': input 'x' is sparse(float32[3]), and ONNX Runtime's Python API takes no values of this type"
    )
