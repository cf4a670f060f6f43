"""Running models: on arrays, on ONNX Runtime, in sessions that are kept and shared.

Where a dtype or a kind of value cannot pass through the runtime's Python API, that is known here and refused by name.
"""

import gc
import sys
import threading
import weakref
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import graphdsl as gd
from graphdsl import op, runtime
from graphdsl.types import DTYPES, as_dtype

OLD = tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 31)
"""Whether the runtime may be one that has fewer kernels; the oldest that is supported, 1.20, runs all else here."""


@gd.model
def linear_func(a: gd.float32[10, 10], x: gd.float32[10, 10], b: gd.float32[10, 10]):
    return a * x + b


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bytes, Any]]:
    """The bytes and options of every session that is made during the test."""
    made: list[tuple[bytes, Any]] = []

    class Counted(onnxruntime.InferenceSession):
        def __init__(self, content: bytes, options: Any, **more: Any) -> None:
            made.append((content, options))
            super().__init__(content, options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", Counted)
    return made


def random(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.random.default_rng(7).random(shape).astype(dtype)


def identity(kind: Any, opset: int = 19) -> gd.Model:
    with gd.opset(opset):
        return gd.build({"y": op.Identity(gd.input("x", kind))})


# What is given and what comes back


def test_a_call_takes_arrays_in_order_or_by_name() -> None:
    a, x, b = random(10, 10), random(10, 10) + 1, random(10, 10) + 2
    want = a * x + b
    assert np.array_equal(linear_func(a, x, b), want)
    assert np.array_equal(linear_func(a, b=b, x=x), want)


def test_one_output_is_an_array_and_several_are_a_tuple() -> None:
    x = gd.input("x", gd.float32["n"])
    one = gd.build({"twice": x * 2})([1, 2])
    assert isinstance(one, np.ndarray)
    several = gd.build({"twice": x * 2, "half": x / 2})([1, 2])
    assert isinstance(several, tuple)
    assert [array.tolist() for array in several] == [[2, 4], [0.5, 1]]


def test_run_gives_a_dict_by_output_name() -> None:
    x = gd.input("x", gd.float32["n"])
    found = gd.build({"twice": x * 2, "half": x / 2}).run({"x": [1, 2]})
    assert {name: array.tolist() for name, array in found.items()} == {"twice": [2, 4], "half": [0.5, 1]}


def test_asking_for_some_outputs_computes_nothing_else() -> None:
    x, sizes = gd.input("x", gd.float32["n"]), gd.input("sizes", gd.int64[1])
    model = gd.build({"twice": x * 2, "broken": x.reshape(sizes), "half": x / 2})
    with pytest.raises(gd.RunError, match="Reshape"):
        model.run({"x": [1, 2], "sizes": [5]})
    found = model.run({"x": [1, 2]}, outputs=["half", "twice"])
    assert {name: array.tolist() for name, array in found.items()} == {"half": [0.5, 1], "twice": [2, 4]}
    assert model.run({"x": [1, 2], "sizes": [5]}, outputs="half")["half"].tolist() == [0.5, 1]


def test_python_numbers_and_lists_adopt_the_dtype_of_the_input() -> None:
    x, y = gd.input("x", gd.float16["n"]), gd.input("y", gd.float16[()])
    found = gd.build({"z": x * y})([1, 2.5], 2)
    assert found.dtype == np.float16
    assert found.tolist() == [2, 5]
    assert identity(gd.bool["n"])([True, False]).tolist() == [True, False]
    assert identity(gd.uint8[2, 1])(((1,), (255,))).tolist() == [[1], [255]]


def test_a_default_may_be_overridden_whatever_the_ir_version() -> None:
    text = "g (float[2] x, float[2] b) => (float[2] y) <float[2] b = {1, 2}> { y = Add (x, b) }"
    for version in (3, 4, 8):
        model = gd.load(onnx.parser.parse_model(f'<ir_version: {version}, opset_import: ["" : 9]> {text}'))
        assert model([1, 1]).tolist() == [2, 3]
        assert model([1, 1], [0, 0]).tolist() == [1, 1]
        assert model([1, 1]).tolist() == [2, 3]


def test_an_input_with_a_default_may_be_left_out() -> None:
    @gd.model
    def scaled(x: gd.float32["n"], scale: gd.float32[()] = 2.0):
        return x * scale

    assert scaled([1, 2]).tolist() == [2, 4]
    assert scaled([1, 2], 3).tolist() == [3, 6]
    large = np.full((1, 100_000), 2, np.float32)

    @gd.model
    def added(x: gd.float32["n", 1], table: gd.float32[1, 100_000] = large):
        return (x + table).max()

    assert added([[1.0]]).item() == 3
    assert added([[1.0]], large * 2).item() == 5


@pytest.mark.parametrize("array", [random(4, 6)[::2, ::3], random(3, 4).T, random(2, 3).astype(">f4"), random(0, 3)])
def test_any_layout_of_an_array_is_read_as_its_values(array: np.ndarray) -> None:
    found = identity(gd.float32[None, None])(array)
    assert found.dtype == np.float32
    assert np.array_equal(found, array)


def test_what_can_be_read_as_an_array_is_one() -> None:
    torch = pytest.importorskip("torch")
    assert identity(gd.float32["n"])(torch.tensor([1.0, 2.0])).tolist() == [1, 2]
    assert identity(gd.float32[()])(np.float32(3)).item() == 3


def test_read_only_arrays_are_read() -> None:
    array = random(3)
    array.flags.writeable = False
    assert np.array_equal(identity(gd.float32["n"])(array), array)


PASS = [d for d in DTYPES if d.kind not in ("complex", "string") and d.bits >= 8 and d.name != "float8e8m0"]
"""The dtypes that Identity-19 has a kernel for."""


@pytest.mark.parametrize("dtype", PASS, ids=repr)
def test_arrays_of_a_dtype_pass_through_unchanged(dtype: gd.DType) -> None:
    array = np.array([[0, 1, 2], [3, 1, 0]]).astype(dtype.numpy)
    for given in (array, array.T, array[0, 0], array[:0]):
        found = identity(dtype[(None,) * given.ndim])(given)
        assert found.dtype == dtype.numpy
        assert found.shape == given.shape
        assert found.tobytes() == given.tobytes()


@pytest.mark.parametrize("dtype", [gd.int4, gd.uint4, gd.int2, gd.uint2, gd.float8e8m0, gd.bfloat16], ids=repr)
def test_packed_and_rare_dtypes_pass_through_casts(dtype: gd.DType) -> None:
    if OLD and dtype is not gd.bfloat16:
        pytest.skip("ONNX Runtime 1.20 casts none of these")
    x = gd.input("x", dtype["n", 3])
    with gd.opset(25 if dtype.bits == 2 or dtype is gd.float8e8m0 else 21):
        cast = op.Cast(x, to=gd.float32)
        model = gd.build({"wide": cast, "same": op.Cast(cast, to=dtype)})
    array = np.array([[1, 0, 1], [1, 1, 0]] if dtype.bits == 2 else [[1, 2, 4], [2, 1, 1]]).astype(dtype.numpy)
    wide, same = model(array)
    assert wide.dtype == np.float32
    assert wide.tolist() == array.astype(np.float32).tolist()
    assert same.dtype == dtype.numpy
    assert same.tobytes() == array.tobytes()


@pytest.mark.parametrize("dtype", [gd.int4, gd.uint4, gd.int2, gd.uint2], ids=repr)
def test_packed_dtypes_are_handed_through(dtype: gd.DType) -> None:
    """ONNX Runtime has no Identity of these."""
    if OLD:
        pytest.skip("ONNX Runtime 1.20 casts none of these")
    x = gd.input("x", dtype[3])

    @gd.function(domain="my")
    def moves(x: Any) -> Any:
        return op.Transpose(x, perm=[0])

    with gd.opset(25):
        model = gd.build({"y": x, "z": op.Cast(x, to=gd.float32)})
        moved = gd.build({"y": op.Transpose(op.Transpose(x)), "z": moves(x)})
    assert "y = CastLike (x, x)" in str(model)
    array = np.array([0, 1, 1]).astype(dtype.numpy)
    found = model(array)[0]
    assert found.dtype == dtype.numpy and found.tobytes() == array.tobytes()
    for change in (gd.passes.drop_noops, gd.passes.merge_transposes, gd.passes.simplify):
        assert [found.tobytes() for found in change(moved)(array)] == [array.tobytes()] * 2


def test_scales_of_float8_are_handed_through() -> None:
    """ONNX Runtime has no Identity of float8e8m0, and no Transpose, but casts it."""
    if OLD:
        pytest.skip("ONNX Runtime 1.20 does not know it")
    x = gd.input("x", gd.float8e8m0[3])
    with gd.opset(25):
        model = gd.passes.drop_noops(gd.build({"y": op.Cast(x, to=gd.float8e8m0)}))
    assert "y = CastLike (x, x)" in str(model)
    array = np.array([2.0**-127, 1, np.nan]).astype(gd.float8e8m0.numpy)
    assert model(array).tobytes() == array.tobytes()


@pytest.mark.parametrize("read", [False, True], ids=["traced", "loaded"])
@pytest.mark.parametrize("first", ["packed", "wide"])
def test_a_function_hands_packed_dtypes_through_that_is_called_with_others_too(first: str, read: bool) -> None:
    """What passes leave of it is a copy that has to run in both calls."""
    if OLD:
        pytest.skip("ONNX Runtime 1.20 casts none of these")

    @gd.function(domain="my")
    def moves(x: Any) -> Any:
        turned = op.Transpose(x), op.Transpose(x)  # an input is copied, or a tensor twice
        return op.Transpose(x, perm=[0, 1]), *turned

    arrays = {"packed": np.array([[0, 1], [1, 1]]).astype(gd.int4.numpy), "wide": np.float32([[np.inf, 1], [2, 3]])}
    with gd.opset(25):
        tensors = [gd.input(name, as_dtype(array.dtype)[2, 2]) for name, array in arrays.items()]
        results = {t.name: moves(t) for t in (tensors if first == "packed" else reversed(tensors))}
        outputs = {f"{name}_{index}": t for name, found in results.items() for index, t in enumerate(found)}
        model = gd.build(outputs, inputs=tensors)
    model = gd.load(model.to_proto()) if read else model
    expected = model.run(arrays)
    for change in (gd.passes.drop_noops, gd.passes.merge_duplicates, gd.passes.simplify):
        after = change(model)
        assert len(after.functions[0].graph.nodes) < 3
        for name, array in after.run(arrays).items():
            assert array.dtype == expected[name].dtype and array.tolist() == expected[name].tolist(), change


def test_a_packed_constant_of_a_function_that_is_called_with_several_types_is_handed_through() -> None:
    @gd.function(domain="my")
    def function(x: Any) -> Any:
        return op.Relu(x), op.Constant(value=np.array([1, 2]).astype(gd.uint4.numpy))

    inputs = [gd.input("x", gd.float32[2]), gd.input("z", gd.float32[1])]
    model = gd.build([tensor for given in inputs for tensor in function(given)], inputs=inputs)
    after = gd.passes.constants_to_initializers(model)
    assert after is not model
    assert [y.tolist() for y in after(np.float32([1, -1]), np.float32([2]))] == [[1, 0], [1, 2], [2], [1, 2]]


@pytest.mark.parametrize(
    "array",
    [
        np.array(["a", "é"]),
        np.array(["a", "é"], object),
        np.array([b"a", "é".encode()], object),
        np.array(["a", "é"], np.dtypes.StringDType()),
        np.array([np.str_("a"), "é"], object),
    ],
)
def test_text_is_given_in_any_manner_and_comes_back_as_str(array: np.ndarray) -> None:
    found = identity(gd.string["n"])(array)
    assert found.dtype == object
    assert found.tolist() == ["a", "é"]
    assert {type(item) for item in found} == {str}


def test_text_is_given_as_a_list() -> None:
    assert identity(gd.string["n"])(["a", "b"]).tolist() == ["a", "b"]
    assert identity(gd.string[()])("a").tolist() == "a"


def test_outputs_that_numpy_lacks_are_refused_for_inputs_that_cannot_be_bound() -> None:
    text = gd.input("text", gd.string["n"])
    model = gd.build({"y": op.Cast(op.Cast(text, to=gd.float32), to=gd.bfloat16)})
    with pytest.raises(gd.RunError) as caught:
        model(["1.5", "2"])
    assert str(caught.value).splitlines()[0] == (
        "input 'text' is no tensor of numbers, and ONNX Runtime's Python API gives outputs of dtypes that NumPy "
        "lacks (bfloat16, float8, int4) for such tensors only; cast the outputs in the model, as in "
        "y.astype(gd.float32)"
    )


def test_sequences_are_lists_of_arrays() -> None:
    model = identity(gd.sequence(gd.float32[None]))
    assert [array.tolist() for array in model([[1, 2], np.float32([3])])] == [[1, 2], [3]]
    assert model([]) == []


def test_an_absent_optional_is_none() -> None:
    kind = gd.optional(gd.float32["n"])
    assert identity(kind)(None) is None
    assert identity(kind).run({}) == {"y": None}
    assert identity(kind)([1, 2]).tolist() == [1, 2]
    of_list = identity(gd.optional(gd.sequence(gd.float32[None])))
    assert of_list(None) is None
    assert [array.tolist() for array in of_list([[1]])] == [[1]]


def test_maps_are_dicts() -> None:
    ml = gd.domain("ai.onnx.ml", 1)
    features = gd.input("features", gd.map_of(gd.string, gd.float32[()]))
    model = gd.build({"y": ml.DictVectorizer(features, string_vocabulary=["a", "b"])})
    assert model({"b": 2.0}).tolist() == [[0, 2]]


# Sessions


def test_a_session_is_made_once_for_each_choice(sessions: list[Any]) -> None:
    x = gd.input("x", gd.float32["n"])
    model = gd.build({"twice": x * 2, "half": x / 2})
    for _ in range(3):
        model([1])
        model.run({"x": [1]})
        model.run({"x": [1]}, outputs=["twice", "half"])
    assert len(sessions) == 1
    for _ in range(3):
        model.run({"x": [1]}, outputs=["half"])
        model.run({"x": [1]}, providers=["CPUExecutionProvider"])
    assert len(sessions) == 2
    for _ in range(3):
        model.run({"x": [1]}, options={"intra_op_num_threads": 1})
    assert len(sessions) == 3


def test_options_are_attributes_methods_and_config_entries_of_the_session(sessions: list[Any]) -> None:
    model = gd.build({"y": gd.input("x", gd.float32["n"]) * 2})
    options = {
        "intra_op_num_threads": 1,
        "graph_optimization_level": "ORT_DISABLE_ALL",
        "session.disable_prepacking": 1,
        "add_free_dimension_override_by_name": ("n", 2),
    }
    assert model.run({"x": [1, 2]}, options=options)["y"].tolist() == [2, 4]
    chosen = sessions[0][1]
    assert chosen.intra_op_num_threads == 1
    assert chosen.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    assert chosen.get_session_config_entry("session.disable_prepacking") == "1"


def test_an_unknown_option_or_provider_is_refused() -> None:
    with pytest.raises(gd.SignatureError) as caught:
        identity(gd.float32["n"]).run({"x": [1]}, options={"intra_op_threads": 1})
    first = str(caught.value).splitlines()[0]
    assert first == "ONNX Runtime's SessionOptions has no 'intra_op_threads'; did you mean 'intra_op_num_threads'?"
    with pytest.raises(gd.SignatureError) as caught:
        identity(gd.float32["n"]).run({"x": [1]}, providers=["CPUExecutionProvidr"])
    assert str(caught.value).startswith(
        "ONNX Runtime here has no provider 'CPUExecutionProvidr'; did you mean 'CPUExecutionProvider'?; it has "
    )


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"options": {"intra_op_num_threads": "one"}}, "the option 'intra_op_num_threads' is int, as 0; got 'one'"),
        (
            {"options": {"graph_optimization_level": "NONE"}},
            "the option 'graph_optimization_level' is one of ORT_DISABLE_ALL, ",
        ),
        (
            {"options": {"add_free_dimension_override_by_name": 3}},
            "the option 'add_free_dimension_override_by_name' is a method, called with the value, or with several in",
        ),
        ({"options": {"register_custom_ops_library": "no.so"}}, "ONNX Runtime refuses the option 'register_custom_ops"),
        ({"options": ["a"]}, "options is a dict of ONNX Runtime's session options by name, as in "),
        ({"options": onnxruntime.SessionOptions()}, "options is a dict of ONNX Runtime's session options by name"),
        ({"providers": 3}, "providers is a list of ONNX Runtime's execution providers, each a name or (name, options)"),
        ({"providers": [3]}, "providers is a list of ONNX Runtime's execution providers, "),
    ],
)
def test_an_option_or_provider_of_another_kind_is_refused(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(gd.GraphError) as caught:
        identity(gd.float32["n"]).run({"x": [1]}, **keywords)
    assert str(caught.value).startswith(message)
    assert "test_runtime.py" in str(caught.value)


def test_a_dtype_that_the_runtime_has_no_tensors_of_runs_in_the_reference() -> None:
    model = identity(gd.complex64["n"])
    with pytest.raises(gd.RunError, match=r"has no tensors of complex64; .*providers=.reference.\)\n.*test_runtime"):
        model(np.ones(2, np.complex64))
    assert model.run({"x": np.ones(2, np.complex64)}, providers="reference")["y"].tolist() == [1, 1]


def test_a_session_lives_as_long_as_its_model() -> None:
    model = gd.build({"y": gd.input("x", gd.float32["n"]) * 2})
    model([1])
    (place,) = runtime._places[model].values()
    session = weakref.ref(place.session)
    known = weakref.ref(model)
    del place
    gc.collect()
    assert session() is not None
    del model
    gc.collect()
    assert known() is None
    assert session() is None


def test_threads_share_one_session(sessions: list[Any]) -> None:
    model = gd.build({"y": gd.input("x", gd.float32["n"]) * 2})
    count, rounds = 16, 20
    start = threading.Barrier(count)
    wrong: list[Any] = []

    def work(number: int) -> None:
        start.wait()
        for turn in range(rounds):
            array = np.full(number + 1, turn, np.float32)
            found = model(array)
            if found.tolist() != (array * 2).tolist():
                wrong.append((number, turn, found))

    threads = [threading.Thread(target=work, args=[number]) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(sessions) == 1


def test_a_thread_that_fails_to_load_does_not_stop_the_next() -> None:
    with gd.opset(28):
        model = gd.build({"y": op.Relu(gd.input("x", gd.float32["n"]))})
    for _ in range(2):
        with pytest.raises(gd.RunError, match="opset 28"):
            model([1])


def test_without_the_runtime_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(gd.MissingRuntime) as caught:
        identity(gd.float32["n"])([1])
    assert isinstance(caught.value, ImportError)
    assert "install it with: pip install onnx-graphdsl[run]" in str(caught.value)


# Weights


def test_large_weights_are_handed_over_and_small_ones_are_in_the_proto(sessions: list[Any]) -> None:
    small, large = random(3, 1000), random(3, 100_000)
    x = gd.input("x", gd.float32[3, 1])
    model = gd.build({"y": (x * small).sum() + (x * large).sum()})
    assert np.allclose(model(np.ones((3, 1), np.float32)), small.sum() + large.sum())
    assert small.nbytes < len(sessions[0][0]) < 2 * small.nbytes


@pytest.mark.parametrize("dtype", [gd.bfloat16, gd.float8e4m3fn, gd.float16, gd.bool, gd.int4], ids=repr)
def test_large_weights_of_every_kind_keep_their_values(dtype: gd.DType) -> None:
    if OLD and dtype is gd.int4:
        pytest.skip("ONNX Runtime 1.20 casts no int4")
    array = (np.arange(60_000).reshape(3, 20_000) % 2).astype(dtype.numpy)
    for weight in (array, array.T):
        model = gd.build({"y": op.Cast(gd.constant(weight), to=gd.float32) + gd.input("x", gd.float32[()])})
        assert np.array_equal(model(1), weight.astype(np.float32) + 1)


def test_what_shape_inference_reads_stays_in_the_proto() -> None:
    sizes = np.ones(5000, np.int64)
    x = gd.input("x", gd.float32[5000, 2])
    parts = op.Split(x, sizes, axis=0, outputs=5000)
    model = gd.build({"first": parts[0], "last": parts[-1]})
    array = random(5000, 2)
    first, last = model(array)
    assert np.array_equal(first, array[:1])
    assert np.array_equal(last, array[-1:])


def test_a_model_that_is_too_large_even_so_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(_: Any) -> bytes:
        raise runtime.TooLarge

    monkeypatch.setattr(runtime, "serialised", too_large)
    with pytest.raises(gd.RunError) as caught:
        gd.build({"y": gd.input("x", gd.float32["n"]) * 2}, name="f")([1])
    assert str(caught.value).splitlines()[0] == (
        "model 'f' is larger than 2 GB without the weights that can be handed over as arrays, which are its "
        "initializers other than text and small integers"
    )
