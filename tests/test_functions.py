"""Local functions: one FunctionProto for each body, called as one node, and their calls expanded."""

import inspect
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import onnx
import pytest

import graphdsl as gd
from graphdsl import op

X = np.arange(6, dtype=np.float32).reshape(2, 3)


def matrix(name: str = "x") -> gd.Tensor:
    return gd.input(name, gd.float32["n", 3])


@gd.function(domain="my")
def my_add(a: gd.Tensor, b: gd.Tensor) -> gd.Tensor:
    """Twice the first, and the second."""
    return 2 * a + b


def checked(model: gd.Model) -> onnx.ModelProto:
    """The model as a proto that ONNX's checker accepts."""
    proto = model.to_proto()
    onnx.checker.check_model(proto, full_check=True)
    return proto


def run(model: gd.Model, **feeds: Any) -> list[Any]:
    """What a model gives on ONNX Runtime; expanded, and in the reference evaluator, it must give the same bits."""
    checked(model)
    expanded = gd.inline(model)
    assert expanded.functions == () and not checked(expanded).functions
    assert set(expanded.opset_imports) <= set(model.opset_imports)
    options = {"graph_optimization_level": "ORT_DISABLE_ALL", "intra_op_num_threads": 1}
    found = list(model.run(feeds, options=options).values())
    for other in (expanded.run(feeds, options=options), model.run(feeds, providers="reference")):
        for one, two in zip(found, other.values(), strict=True):
            assert (one.dtype, one.shape) == (two.dtype, two.shape)
            assert one.tolist() == two.tolist()
    return found


def labels(model: gd.Model) -> list[tuple[str, str]]:
    """The functions of the emitted model: names and overloads."""
    return [(function.name, function.overload) for function in checked(model).functions]


def line_of(function: Callable[..., Any], text: str) -> str:
    """`test_functions.py:NN` of the first line of a function that holds a text."""
    lines, start = inspect.getsourcelines(function)
    return f"test_functions.py:{start + next(i for i, line in enumerate(lines) if text in line)}"


def test_a_call_is_one_node_and_the_body_one_function() -> None:
    x, y = matrix(), matrix("y")
    model = gd.build({"z": my_add(x, y)})
    proto = checked(model)
    assert [(n.domain, n.op_type, list(n.input), list(n.output)) for n in proto.graph.node] == [
        ("my", "my_add", ["x", "y"], ["z"])
    ]
    (function,) = proto.functions
    assert (function.domain, function.name, function.overload) == ("my", "my_add", "")
    assert (list(function.input), list(function.output)) == (["a", "b"], ["output"])
    assert [node.op_type for node in function.node] == ["Constant", "Mul", "Add"]
    assert function.doc_string == "Twice the first, and the second."
    assert model.opset_imports == {"": 21, "my": 1}
    assert {entry.domain: entry.version for entry in function.opset_import} == {"": 21}
    assert run(model, x=X, y=X + 1)[0].tolist() == (3 * X + 1).tolist()


def test_one_function_serves_all_shapes_and_attributes() -> None:
    @gd.function(domain="my")
    def turned(a: gd.Tensor, *, perm: list[int]) -> Any:
        flipped = op.If(a.sum() > 0, then_branch=lambda: a, else_branch=lambda: -a)
        grown = op.Loop(2, None, flipped, body=lambda i, going, s: (going, s + flipped))
        return op.Transpose(grown, perm=perm)

    x, y, z = gd.input("x", gd.float32["n", 3]), gd.input("y", gd.float32[2, 5]), gd.input("z", gd.float32[4, 4])
    outputs = {"a": turned(x, perm=[1, 0]), "b": turned(y, perm=[0, 1]), "c": turned(z, perm=[1, 0])}
    assert [tensor.type for tensor in outputs.values()] == [gd.float32[3, "n"], gd.float32[2, 5], gd.float32[4, 4]]
    model = gd.build(outputs)
    assert labels(model) == [("turned", "")]
    found = run(model, x=X, y=-np.ones((2, 5), np.float32), z=np.eye(4, dtype=np.float32))
    assert [array.tolist() for array in found] == [(3 * X.T).tolist(), [[3] * 5] * 2, (3 * np.eye(4)).tolist()]


def test_other_bodies_are_overloads() -> None:
    x, i = matrix(), gd.input("i", gd.int64["n"])
    model = gd.build({"a": my_add(x, x), "b": my_add(i, i), "c": my_add(x, x * 2)})
    assert labels(model) == [("my_add", ""), ("my_add", "1")]
    assert [node.overload for node in model.to_proto().graph.node if node.op_type == "my_add"] == ["", "1", ""]
    a, b, c = run(model, x=X, i=np.array([1, 2]))
    assert (a.tolist(), b.tolist(), c.tolist()) == ((3 * X).tolist(), [3, 6], (4 * X).tolist())


@pytest.mark.parametrize("dtypes, version", [(["float32"], 8), (["float32", "float64"], 10)])
def test_the_ir_version_is_the_least_with_functions_or_overloads(dtypes: list[str], version: int) -> None:
    with gd.opset(15):
        inputs = [gd.input(name, gd.DType.__getitem__(getattr(gd, name), 3)) for name in dtypes]
        model = gd.build({f"y{i}": my_add(x, x) for i, x in enumerate(inputs)})
    assert (model.opset, model.ir_version) == (15, version)
    run(model, **{name: np.ones(3, name) for name in dtypes})


def test_functions_call_functions() -> None:
    @gd.function(domain="other", version=3)
    def scaled(a: gd.Tensor, *, factor: float = 0.5) -> gd.Tensor:
        return my_add(a, a * factor)

    @gd.function(domain="my")
    def thrice(a: gd.Tensor, *, factor: float) -> gd.Tensor:
        return scaled(scaled(a, factor=factor)) + op.If(
            a.sum() > 0, then_branch=lambda: scaled(a, factor=factor), else_branch=lambda: a
        )

    model = gd.build({"y": thrice(matrix(), factor=2.0)})
    assert labels(model) == [("thrice", ""), ("scaled", ""), ("my_add", "")]
    assert model.opset_imports == {"": 21, "my": 1, "other": 3}
    imports = [{e.domain: e.version for e in function.opset_import} for function in model.to_proto().functions]
    assert imports == [{"": 21, "other": 3}, {"": 21, "my": 1}, {"": 21}]
    np.testing.assert_array_equal(run(model, x=X)[0], (X * 4) * 2.5 + X * 4)


def test_a_function_that_only_a_body_calls_is_in_the_model() -> None:
    ml = gd.domain("ai.onnx.ml", 3)

    @gd.function(domain="my", version=2)
    def rescaled(a: gd.Tensor) -> gd.Tensor:
        return ml.Scaler(a, scale=[2.0], offset=[1.0])

    x, c = matrix(), gd.input("c", gd.bool[()])
    model = gd.build({"y": op.If(c, then_branch=lambda: rescaled(x), else_branch=lambda: x)})
    assert labels(model) == [("rescaled", "")]
    assert model.opset_imports == {"": 21, "ai.onnx.ml": 3, "my": 2}
    assert {e.domain: e.version for e in model.to_proto().functions[0].opset_import} == {"": 21, "ai.onnx.ml": 3}
    assert gd.inline(model).opset_imports == {"": 21, "ai.onnx.ml": 3}
    np.testing.assert_array_equal(run(model, x=X, c=np.array(True))[0], (X - 1) * 2)


def test_a_function_of_another_opset_decides_the_models() -> None:
    @gd.function(domain="my")
    def squeezed(a: gd.Tensor) -> gd.Tensor:
        return gd.opset(13).Squeeze(a, [0])

    x = gd.input("x", gd.float32[1, 3])
    assert gd.build(squeezed(x)).opset == 20  # where Squeeze means what it does at 13
    assert gd.build(squeezed(x), opset=13).opset == 13
    with pytest.raises(
        gd.OpsetError, match="an operator does not mean the same at opset 21\n  Squeeze as written here"
    ):
        gd.build(squeezed(x), opset=21)


# Attributes


def test_attributes_of_every_kind_are_references_in_the_body() -> None:
    @gd.function(domain="my")
    def many(
        a: gd.Tensor,
        *,
        number: float = 1.5,
        whole: int,
        word: str = "é",
        flag: bool = True,
        numbers: list[float] = [1.0, 2.0],  # noqa: B006
        wholes: tuple[int, ...] = (0, 1),
        words: list[str] = ["a", "b"],  # noqa: B006
        table: np.ndarray = np.ones(3, np.float32),  # noqa: B008
    ) -> Any:
        turned = op.Transpose(a, perm=wholes)
        summed = a * number + op.Cast(whole, to=gd.float32) + op.ReduceSum(numbers, keepdims=0) + table
        return summed, turned, op.Identity(word), op.Identity(words), op.Identity(flag)

    outputs = dict(zip("abcde", many(matrix(), whole=3, wholes=[1, 0], words=["c"]), strict=True))
    types = [gd.float32["n", 3], gd.float32[3, "n"], gd.string[()], gd.string[1], gd.int64[()]]
    assert [tensor.type for tensor in outputs.values()] == types
    model = gd.build(outputs)
    (function,) = checked(model).functions
    assert list(function.attribute) == ["whole"]
    defaults = {a.name: onnx.helper.get_attribute_value(a) for a in function.attribute_proto}
    assert onnx.numpy_helper.to_array(defaults.pop("table")).tolist() == [1, 1, 1]
    assert defaults == {
        "number": 1.5,
        "word": "é".encode(),
        "flag": 1,
        "numbers": [1, 2],
        "wholes": [0, 1],
        "words": [b"a", b"b"],
    }
    (node,) = model.to_proto().graph.node
    assert sorted(attribute.name for attribute in node.attribute) == ["whole", "wholes", "words"]
    references = {a.ref_attr_name for inner in function.node for a in inner.attribute if a.ref_attr_name}
    assert references == {"number", "whole", "word", "flag", "numbers", "wholes", "words", "table"}
    a, b, c, d, e = run(model, x=X)
    np.testing.assert_array_equal(a, X * 1.5 + 3 + 3 + 1)
    np.testing.assert_array_equal(b, X.T)
    assert (c.tolist(), d.tolist(), e.tolist()) == ("é", ["c"], 1)


def test_an_attribute_is_a_tensor_in_the_body_too() -> None:
    @gd.function(domain="my")
    def powered(a: gd.Tensor, *, exponent: float = 2.0) -> gd.Tensor:
        assert exponent.type is gd.float32[()]
        return a**exponent

    model = gd.build({"a": powered(matrix()), "b": powered(matrix("y"), exponent=3)})
    assert labels(model) == [("powered", "")]
    a, b = run(model, x=X, y=X)
    np.testing.assert_array_equal(a, X**2)
    np.testing.assert_array_equal(b, X**3)


def test_an_attribute_is_handed_on_to_a_function_that_is_called_inside() -> None:
    @gd.function(domain="my")
    def inner(x: Any, *, axis: int) -> Any:
        return op.Flatten(x, axis=axis)

    @gd.function(domain="my")
    def outer(x: Any, *, k: int) -> Any:
        return op.Relu(inner(x, axis=k))

    x = gd.input("x", gd.float32[2, 3, 4])
    model = gd.build({"y": outer(x, k=1), "z": outer(x, k=2)})
    assert [output.shape for output in model.outputs] == [(2, 12), (6, 4)]
    assert len(model.functions) == 2
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    assert [found.tolist() for found in model(array)] == [array.reshape(2, 12).tolist(), array.reshape(6, 4).tolist()]


def test_an_attribute_whose_value_shapes_the_body_is_refused_as_a_number() -> None:
    @gd.function(domain="my")
    def repeated(a: gd.Tensor, *, times: int = 2) -> gd.Tensor:
        for _ in range(times):
            a = a + 1
        return a

    with pytest.raises(gd.FrozenValueError, match="a tensor as a Python index or count; a tensor has a value only"):
        repeated(matrix())


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda x: my_add(x), "function 'my::my_add' takes (a, b), got 1 input"),
        (lambda x: my_add(x, x, x), "function 'my::my_add' takes (a, b), got 3 inputs"),
        (lambda x: my_add(x, None), "function 'my::my_add' takes (a, b), got 2 inputs"),
        (lambda x: my_add(x, a=x), "function 'my::my_add': input 'a' is given twice"),
        (lambda x: my_add(x, x, c=x), "my::my_add: no attribute or input 'c'; it takes (a, b)"),
        (lambda x: scaled(x, factor="a"), "function 'my::scaled': attribute 'factor' is a float, got 'a' (str)"),
        (lambda x: scaled(x), "function 'my::scaled': attribute 'factor' is required"),
        (lambda x: my_add(x, print), "function 'my::my_add': a tensor is needed, got <built-in function print>"),
    ],
)
def test_a_call_that_does_not_fit_is_refused(call: Callable[[gd.Tensor], Any], message: str) -> None:
    with pytest.raises((gd.SignatureError, gd.BuildError)) as caught:
        call(matrix())
    assert str(caught.value).startswith(message)
    assert "test_functions.py:" in str(caught.value).splitlines()[-1]


@gd.function(domain="my")
def scaled(a: gd.Tensor, *, factor: float) -> gd.Tensor:
    return a * factor


@pytest.mark.parametrize(
    "define, message",
    [
        (
            lambda: gd.function(lambda a, *, k: a),
            (
                "function 'local::<lambda>': the attribute 'k' needs a type: annotate it with float, int, str, "
                "list[float], list[int], list[str] or np.ndarray"
            ),
        ),
        (lambda: gd.function(lambda a, **k: a), "function 'local::<lambda>': **k names no attributes; write each one"),
        (
            lambda: gd.function(domain="")(my_add),
            "a function needs a domain of its own, as in @gd.function(domain='my')",
        ),
        (lambda: gd.function(3), "gd.function takes a Python function, got 3"),
    ],
)
def test_what_is_no_function_is_refused(define: Callable[[], Any], message: str) -> None:
    with pytest.raises(gd.BuildError) as caught:
        define()
    assert str(caught.value).splitlines()[0] == message


# Inputs


def test_an_input_may_be_left_out() -> None:
    @gd.function(domain="my")
    def shifted(a: gd.Tensor, b: gd.Tensor | None = None, c: gd.Tensor | None = None) -> gd.Tensor:
        return (a if b is None else a + b) * (1.0 if c is None else c)

    x = matrix()
    model = gd.build({"p": shifted(x), "q": shifted(x, x), "r": shifted(x, None, x), "s": shifted(c=x, a=x)})
    assert labels(model) == [("shifted", ""), ("shifted", "1"), ("shifted", "2")]
    assert [list(n.input) for n in model.to_proto().graph.node] == [["x"], ["x", "x"], ["x", "", "x"], ["x", "", "x"]]
    p, q, r, s = run(model, x=X)
    np.testing.assert_array_equal([p, q, r, s], [X, 2 * X, X * X, X * X])


def test_any_number_of_inputs() -> None:
    @gd.function(domain="my")
    def joined(*parts: gd.Tensor, axis: int = 0) -> gd.Tensor:
        return op.Concat(*parts, axis=axis)

    x = matrix()
    model = gd.build({"p": joined(x, x), "q": joined(x, x, x), "r": joined(x, x, axis=1)})
    assert labels(model) == [("joined", ""), ("joined", "1")]
    p, q, r = run(model, x=X)
    assert [a.tolist() for a in (p, q, r)] == [np.concatenate([X] * n, k).tolist() for n, k in ((2, 0), (3, 0), (2, 1))]


def test_numbers_and_arrays_are_inputs() -> None:
    found = run(gd.build(my_add(matrix(), np.float32(1))), x=X)[0]
    np.testing.assert_array_equal(found, X * 2 + 1)
    np.testing.assert_array_equal(run(gd.build(my_add(2.0, matrix())), x=X)[0], X + 4)


def test_several_outputs_keep_their_order_and_names() -> None:
    @gd.function(domain="my")
    def parts(a: gd.Tensor) -> Any:
        return {"more": a + 1, "same": a, "fixed": 2.0}

    model = gd.build(dict(zip("pqr", parts(matrix()), strict=True)))
    assert list(checked(model).functions[0].output) == ["more", "same", "fixed"]
    p, q, r = run(model, x=X)
    np.testing.assert_array_equal(p, X + 1)
    np.testing.assert_array_equal(q, X)
    assert r.tolist() == 2


def test_the_values_of_constants_count_for_the_types() -> None:
    @gd.function(domain="my")
    def reshaped(a: gd.Tensor, shape: gd.Tensor) -> gd.Tensor:
        return op.Reshape(a, shape)

    x = gd.input("x", gd.float32[2, 3])
    assert [reshaped(x, shape).shape for shape in ([3, 2], [1, 6], [6, 1])] == [(3, 2), (1, 6), (6, 1)]
    assert reshaped(x, gd.input("shape", gd.int64[2])).shape == (None, None)
    model = gd.build({"a": reshaped(x, [3, 2]), "b": reshaped(x, [1, 6])})
    assert labels(model) == [("reshaped", "")]
    assert [array.shape for array in run(model, x=X)] == [(3, 2), (1, 6)]


def test_a_body_that_refuses_its_inputs_names_both_lines() -> None:
    @gd.function(domain="my")
    def product(a: gd.Tensor, b: gd.Tensor) -> gd.Tensor:
        return a @ b

    with pytest.raises(gd.InferenceError) as caught:
        product(gd.input("x", gd.float32[2, 3]), gd.input("y", gd.float32[4, 5]))
    assert line_of(test_a_body_that_refuses_its_inputs_names_both_lines, "a @ b") in str(caught.value)


# What lies outside


def test_constants_from_outside_become_constant_nodes() -> None:
    weight = gd.constant(np.arange(3, dtype=np.float32), "weight")

    @gd.function(domain="my")
    def weighted(a: gd.Tensor) -> gd.Tensor:
        return op.If(a.sum() > 0, then_branch=lambda: a * weight, else_branch=lambda: my_add(a, weight))

    model = gd.build({"y": weighted(matrix()) + weight})
    proto = checked(model)
    assert [tensor.name for tensor in proto.graph.initializer] == ["weight"]
    constants = [node.output[0] for node in proto.functions[0].node if node.op_type == "Constant"]
    assert "weight" in constants
    np.testing.assert_array_equal(run(model, x=X)[0], X * [0, 1, 2] + [0, 1, 2])


def test_tensors_from_outside_are_refused() -> None:
    x = matrix()

    @gd.function(domain="my")
    def leaking(a: gd.Tensor) -> gd.Tensor:
        return a + x

    with pytest.raises(gd.ScopeError) as caught:
        leaking(x * 2)
    here = test_tensors_from_outside_are_refused
    lines = str(caught.value).splitlines()
    assert lines[0] == (
        "the tensor 'x' made in the program cannot be used in function 'my::leaking'; "
        "pass it in as a parameter, or make it inside"
    )
    assert "test_functions.py:" in lines[1] and "made at" in lines[1]
    assert line_of(here, "return a + x") in lines[2]


def test_a_tensor_that_leaves_a_function_is_refused() -> None:
    kept = []

    @gd.function(domain="my")
    def leaking(a: gd.Tensor) -> gd.Tensor:
        kept.append(a * 2)
        return kept[0]

    x = matrix()
    leaking(x)
    with pytest.raises(gd.ScopeError, match="a tensor made in function 'my::leaking' cannot be used in the program"):
        kept[0] + x


def test_a_function_does_not_call_itself() -> None:
    @gd.function(domain="my")
    def endless(a: gd.Tensor) -> gd.Tensor:
        return endless(a) + 1

    @gd.function(domain="my")
    def even(a: gd.Tensor) -> gd.Tensor:
        return odd(a)

    @gd.function(domain="my")
    def odd(a: gd.Tensor) -> gd.Tensor:
        return even(a)

    with pytest.raises(gd.BuildError, match=r"function 'my::endless' calls itself; ONNX functions cannot recur\n"):
        endless(matrix())
    with pytest.raises(gd.BuildError, match="function 'my::even' calls itself"):
        even(matrix())
    with pytest.raises(gd.BuildError, match="function 'my::odd' calls itself"):
        odd(matrix())


def test_threads_that_trace_one_function_do_not_take_each_other_for_recursion() -> None:
    together = threading.Barrier(2)

    @gd.function(domain="my")
    def slow(a: gd.Tensor) -> gd.Tensor:
        together.wait(timeout=20)
        return a + 1

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda size: slow(gd.input("x", gd.float32[size])).shape, [2, 3]))
    assert found == [(2,), (3,)]


def test_two_functions_of_one_name_are_refused() -> None:
    @gd.function(domain="my", name="same")
    def one(a: gd.Tensor) -> gd.Tensor:
        return a + 1

    @gd.function(domain="my", name="same")
    def two(a: gd.Tensor) -> gd.Tensor:
        return a + 2

    x = matrix()
    with pytest.raises(gd.BuildError) as caught:
        gd.build(one(x) + two(x))
    assert str(caught.value).splitlines()[0] == "gd.build: two functions are named 'my::same'; rename one of them"
    assert str(caught.value).count(line_of(test_two_functions_of_one_name_are_refused, "one(x) + two(x)")) == 3


def test_functions_of_one_name_may_say_which_overload_each_is() -> None:
    @gd.function(domain="my", name="scaled", overload="by two")
    def doubled(a: gd.Tensor) -> gd.Tensor:
        return a * 2

    @gd.function(domain="my", overload="")
    def scaled(a: gd.Tensor) -> gd.Tensor:
        return a * 3

    m = matrix()
    model = gd.build(doubled(m) + scaled(m))
    assert labels(model) == [("scaled", "by two"), ("scaled", "")]
    assert [node.overload for node in model.to_proto().graph.node] == ["by two", "", ""]
    with pytest.raises(gd.BuildError, match="the calls of 'my::scaled' make two bodies, and it is one overload"):
        gd.build([doubled(m), doubled(gd.input("y", gd.float64[2]))])

    @gd.function(domain="my", name="scaled", overload="")
    def other(a: gd.Tensor) -> gd.Tensor:
        return a * 4

    with pytest.raises(gd.BuildError, match="two functions are named 'my::scaled'; rename one of them"):
        gd.build([scaled(m), other(m)])


# Other types, other ways


def test_sequences_pass_through_functions() -> None:
    @gd.function(domain="my")
    def first_two(rows: gd.Tensor) -> Any:
        return op.SequenceAt(rows, 0), op.SequenceErase(rows, 0)

    first, rest = first_two(op.SequenceConstruct(matrix(), matrix("y")))
    assert (first.type, rest.type) == (gd.float32["n", 3], gd.sequence(gd.float32["n", 3]))
    model = gd.build({"first": first, "size": op.SequenceLength(rest)})
    found, size = run(model, x=X, y=X)
    np.testing.assert_array_equal(found, X)
    assert size == 1


def test_a_function_may_be_written_without_parentheses() -> None:
    @gd.function
    def doubled(a: gd.Tensor) -> gd.Tensor:
        """Twice."""
        return a * 2

    assert (doubled.__name__, doubled.__doc__) == ("doubled", "Twice.")
    model = gd.build(doubled(matrix()))
    assert model.opset_imports == {"": 21, "local": 1}
    np.testing.assert_array_equal(run(model, x=X)[0], X * 2)


def test_random_calls_expand_to_as_many_random_nodes() -> None:
    @gd.function(domain="my")
    def noise(a: gd.Tensor) -> gd.Tensor:
        return op.RandomNormalLike(a)

    x = matrix()
    model = gd.inline(gd.build({"y": noise(x) - noise(x)}))
    assert [node.op_type for node in model.nodes] == ["RandomNormalLike", "RandomNormalLike", "Sub"]
    assert model(X).any()


def test_expanding_keeps_names_and_what_else_the_model_says() -> None:
    x = matrix()
    model = gd.build({"out": (my_add(x, x).named("inner") * 2)}, name="named")
    expanded = gd.inline(model)
    assert (expanded.name, expanded.output_names) == ("named", ("out",))
    assert [node.op_type for node in expanded.nodes] == ["Mul", "Add", "Mul"]
    assert expanded["inner"].type is gd.float32["n", 3]
    assert labels(model) == [("my_add", "")]  # which is as it was


def test_an_attribute_of_another_dtype_than_the_tensor_is_refused_in_words() -> None:
    @gd.function(domain="my")
    def scaled(a: gd.Tensor, *, k: int = 2) -> gd.Tensor:
        return a * k

    with pytest.raises(gd.InferenceError, match="Mul: A and B must have one dtype, got float32 and int64; cast one"):
        scaled(matrix(), k=3)
