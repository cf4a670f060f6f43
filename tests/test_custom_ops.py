"""Operators that only others implement: type rules, NumPy bodies, bodies in the language, and the marker."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

import graphdsl as gd
from graphdsl import op

X = np.arange(6, dtype=np.float32).reshape(2, 3)


def matrix(name: str = "x") -> gd.Tensor:
    return gd.input(name, gd.float32["n", 3])


def line_of(function: Callable[..., Any], text: str) -> str:
    """`test_custom_ops.py:NN` of the first line of a function that holds a text."""
    lines, start = inspect.getsourcelines(function)
    return f"test_custom_ops.py:{start + next(i for i, line in enumerate(lines) if text in line)}"


@gd.custom_op("my::Upsampled", version=2)
def upsampled(x, *, factor: int = 2, mode: str = "nearest", weights: list[float] = [0.5, 0.5]):  # noqa: B006
    """Repeats columns."""
    n, columns = x.shape
    return x.dtype[n, columns * factor]


# Declarations


def test_a_declared_operator_is_a_node_of_its_domain() -> None:
    x = matrix()
    y = upsampled(x, factor=3)
    assert y.type is gd.float32["n", 9]
    model = gd.build({"y": y + 1})
    proto = model.to_proto()
    onnx.checker.check_model(proto, full_check=True)
    node = proto.graph.node[0]
    assert (node.domain, node.op_type, list(node.input)) == ("my", "Upsampled", ["x"])
    assert [(a.name, a.type, a.i) for a in node.attribute] == [("factor", onnx.AttributeProto.INT, 3)]
    assert model.opset_imports == {"": 21, "my": 2}
    assert upsampled.__name__ == "upsampled" and upsampled.__doc__ == "Repeats columns."


def test_the_namespace_of_its_domain_has_it() -> None:
    my = gd.domain("my", 2)
    assert my.Upsampled(matrix(), factor=2).shape == upsampled(matrix(), factor=2).shape
    assert "Upsampled" in dir(my)
    assert "factor (an int, default 2)" in my.Upsampled.__doc__


def test_a_type_rule_returns_types_tensors_or_several() -> None:
    @gd.custom_op("my::Split3")
    def split3(x, *rest, axis: int = 0):
        return x, gd.sequence(x.type), np.float64, gd.int64[()], (x * 2).sum(axis=axis), rest[0]

    x, words = matrix(), gd.input("words", gd.string[2])
    found = split3(x, words, axis=1)
    assert [repr(tensor.type) for tensor in found] == [
        "float32['n', 3]",
        "sequence(float32['n', 3])",
        "float64",
        "int64[()]",
        "float32['n']",
        "string[2]",
    ]
    assert [node.op_type for node in gd.build({"y": found[4]}).nodes] == ["Split3"]  # the rule's own nodes stay in it


def test_a_type_rule_reads_constants() -> None:
    @gd.custom_op("my::Reshaped")
    def reshaped(x, shape):
        return x.dtype if shape.value is None else x.dtype[tuple(shape.value.tolist())]

    x = matrix()
    assert [reshaped(x, shape).shape for shape in ([3, 2], [1, 6])] == [(3, 2), (1, 6)]
    large = [reshaped(x, np.full(5000, size)).shape for size in (1, 2)]
    assert large == [(1,) * 5000, (2,) * 5000]
    assert reshaped(x, gd.input("shape", gd.int64[2])).shape is None


def test_attributes_may_be_of_any_name_and_kind() -> None:
    @gd.custom_op("my::Open")
    def opened(x: gd.Tensor, **attributes: Any) -> Any:
        return x.dtype[attributes["self"], len(attributes)], None

    proto = onnx.helper.make_attribute("names", ["a"])
    given = {"self": 3, "odd name": 0.5, "rows": [1, 2], "kind": gd.float32[2], "w": np.zeros(2), "names": proto}
    known, unknown = opened(matrix(), **given)
    assert known.type is gd.float32[3, 6] and unknown.type is None
    made = {item.name: item for item in gd.build(known).to_proto().graph.node[0].attribute}
    kinds = onnx.AttributeProto.AttributeType.Name
    assert {name: kinds(item.type) for name, item in made.items()} == {
        "self": "INT",
        "odd name": "FLOAT",
        "rows": "INTS",
        "kind": "TYPE_PROTO",
        "w": "TENSOR",
        "names": "STRINGS",
    }
    with pytest.raises(gd.SignatureError, match="my::Open: attribute 'odd' is of no kind that ONNX has, got <object"):
        opened(matrix(), self=1, odd=object())


def test_inputs_may_be_absent_or_many() -> None:
    @gd.custom_op("my::Joined")
    def joined(x, y=None, *others):
        return x.dtype[1 + (y is not None) + len(others)]

    x = matrix()
    assert [t.shape[0] for t in (joined(x), joined(x, None), joined(x, x), joined(x, None, x, x))] == [1, 1, 2, 3]
    proto = gd.build(joined(x, None, x, x)).to_proto()
    assert list(proto.graph.node[0].input) == ["x", "", "x", "x"]


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda x: upsampled(), "my::Upsampled takes 1 input, got 0; it takes (x; factor=..., mode=..., weights=...)"),
        (lambda x: upsampled(x, factors=2), "my::Upsampled: no attribute or input 'factors'; did you mean 'factor'?;"),
        (lambda x: upsampled(x, factor=1.5), "my::Upsampled: attribute 'factor' is an int, got 1.5 (float)"),
        (lambda x: upsampled(x, factor=x), "my::Upsampled: attribute 'factor' is an int, got <Tensor 'x' "),
        (
            lambda x: upsampled(print),
            "my::Upsampled: input 'x': expected a tensor, an array or a number, got <built-in",
        ),
        (lambda x: gd.domain("my", 2).Upsampled(x, outputs=2), "my::Upsampled has 1 outputs by its type rule, got"),
        (
            lambda x: gd.domain("my", 2).Upsampld(x),
            "no operator 'Upsampld' is declared in domain 'my'; did you mean 'Upsampled'?",
        ),
        (
            lambda x: gd.domain("mine", 1).Other(x),
            (
                "no operator 'Other' is known in domain 'mine'; declare it with @gd.custom_op('mine::Other') and "
                "its type rule, or define it with @gd.function"
            ),
        ),
    ],
)
def test_a_call_that_does_not_fit_is_refused(call: Callable[[gd.Tensor], Any], message: str) -> None:
    with pytest.raises((gd.SignatureError, gd.UnknownOperator)) as caught:
        call(matrix())
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "define, message",
    [
        (lambda: gd.custom_op("Upsampled"), "a custom operator is named 'domain::Operator', not 'Upsampled'"),
        (lambda: gd.custom_op("my::"), "a custom operator is named 'domain::Operator', not 'my::'"),
        (
            lambda: gd.custom_op("ai.onnx::Relu2"),
            "'ai.onnx::Relu2': the domain of ONNX's own operators is closed; choose another",
        ),
        (
            lambda: gd.custom_op("my::Op")(lambda x, *, k: x),
            (
                "operator 'my::Op': the attribute 'k' needs a type: annotate it with float, int, str, list[float], "
                "list[int], list[str] or np.ndarray"
            ),
        ),
    ],
)
def test_a_declaration_that_does_not_fit_is_refused(define: Callable[[], Any], message: str) -> None:
    with pytest.raises(gd.BuildError) as caught:
        define()
    assert str(caught.value).splitlines()[0] == message


def test_a_type_rule_that_returns_no_types_is_refused() -> None:
    @gd.custom_op("my::Nothing")
    def nothing(x):
        return None

    @gd.custom_op("my::None2")
    def none(x):
        return ()

    @gd.custom_op("my::Unpacked")
    def unpacked(x):
        _, _, _, _ = x.shape

    with pytest.raises(gd.InferenceError, match=r"the type rule of my::Unpacked failed: ValueError: not enough values"):
        unpacked(matrix())
    with pytest.raises(gd.BuildError, match=r"the type rule of my::Nothing returns tensors or types, got None\n"):
        nothing(matrix())
    with pytest.raises(gd.BuildError, match=r"the type rule of my::None2 returns no outputs\n"):
        none(matrix())


def test_the_runtime_says_what_it_lacks_and_what_to_do() -> None:
    model = gd.build(upsampled(matrix()))
    with pytest.raises(gd.RunError) as caught:
        model(X)
    first = str(caught.value).splitlines()[0]
    assert "has no operator 'Upsampled' in the domain 'my'; define it with @gd.function(domain='my')" in first
    assert line_of(test_the_runtime_says_what_it_lacks_and_what_to_do, "upsampled(") in str(caught.value)


# NumPy bodies


@gd.custom_op("my::Scaled")
def scaled(x, bias=None, *, factor: float = 2.0, shifts: tuple[int, ...] = (0,)):
    return x


@scaled.numpy
def scaled_body(x, bias=None, *, factor, shifts):
    assert isinstance(factor, float) and isinstance(shifts, tuple)
    return x * np.float32(factor) + sum(shifts) + (0 if bias is None else bias)


def test_a_numpy_body_runs() -> None:
    x = matrix()
    model = gd.build({"a": scaled(x) + 1, "b": scaled(x, x, factor=3, shifts=[1, 2])})
    a, b = model(X)
    np.testing.assert_array_equal(a, X * 2 + 1)
    np.testing.assert_array_equal(b, X * 4 + 3)
    assert a.dtype == b.dtype == np.float32
    np.testing.assert_array_equal(model.run({"x": X}, outputs="a")["a"], X * 2 + 1)
    assert scaled_body(X, factor=1.0, shifts=()).tolist() == X.tolist()  # still a function on arrays


def test_a_numpy_body_runs_inside_branches_loops_and_functions() -> None:
    @gd.function(domain="test")
    def wrapped(a: gd.Tensor, *, factor: float) -> gd.Tensor:
        return scaled(a, factor=factor) + 1

    x, c = matrix(), gd.input("c", gd.bool[()])
    y = op.If(c, then_branch=lambda: scaled(x), else_branch=lambda: wrapped(x, factor=5.0))
    y = op.Loop(2, None, y, body=lambda i, going, s: (going, scaled(s)))
    model = gd.build({"y": y})
    np.testing.assert_array_equal(model(X, True), X * 8)
    np.testing.assert_array_equal(model(X, False), (X * 5 + 1) * 4)


def test_a_model_with_a_numpy_body_runs_on_what_is_asked_for() -> None:
    model = gd.build(scaled(matrix()))
    with pytest.raises(gd.RunError, match="has no operator 'Scaled' in the domain 'my'"):
        model.run({"x": X}, providers=["CPUExecutionProvider"])


def test_any_model_runs_in_the_reference_evaluator() -> None:
    x = matrix()
    model = gd.build({"y": x @ x.T, "words": gd.constant(["a", "b"])})
    found = model.run({"x": X}, providers=["reference"])
    np.testing.assert_array_equal(found["y"], X @ X.T)
    assert found["words"].dtype == object and found["words"].tolist() == ["a", "b"]
    assert model.run({"x": X}, providers="reference", outputs="y")["y"].tolist() == (X @ X.T).tolist()
    with pytest.raises(gd.FeedError, match="input 'x' is float32"):
        model.run({"x": "no"}, providers="reference")


def test_what_a_numpy_body_returns_must_be_what_the_rule_says() -> None:
    def declare(returned: Any, *types: Any) -> gd.Model:
        @gd.custom_op("my::Wrong")
        def wrong(x):
            return types

        @wrong.numpy
        def body(x):
            return returned(x)

        return gd.build(wrong(matrix()))

    for returned, kind, message in (
        (lambda x: x.astype(np.float64), gd.float32, "float64[2, 3] for output 0, which is float32"),
        (lambda x: x[0], gd.float32["n", 3], "float32[3] for output 0, which is float32['n', 3]"),
        (lambda x: x[:, :2], gd.float32["n", 3], "float32[2, 2] for output 0, which is float32['n', 3]"),
    ):
        with pytest.raises(gd.RunError) as caught:
            declare(returned, kind)(X)
        assert f"the NumPy body of my::Wrong returned {message} by the type rule" in str(caught.value)
    with pytest.raises(gd.RunError, match="the NumPy body of my::Wrong returned 2 values, not 1"):
        declare(lambda x: (x, x), gd.float32)(X)
    with pytest.raises(gd.RunError, match=r"the NumPy body of my::Wrong failed: ZeroDivisionError: division by zero\n"):
        declare(lambda x: 1 / 0, gd.float32)(X)


def test_a_failure_in_the_evaluator_names_the_node_and_its_line() -> None:
    model = gd.build(scaled(op.Reshape(matrix(), gd.input("shape", gd.int64[2]))))
    with pytest.raises(gd.RunError) as caught:
        model.run({"x": X, "shape": [4, 4]})
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("model 'graph': ONNX's reference evaluator failed in Reshape: cannot reshape array of")
    assert line_of(test_a_failure_in_the_evaluator_names_the_node_and_its_line, "op.Reshape") in lines[1]


def test_the_emitted_model_runs_in_a_plain_evaluator() -> None:
    """What is emitted is ONNX: an evaluator of the user's own, with an operator of the user's own, runs it."""

    class Upsampled(OpRun):
        op_domain = "my"

        def _run(self, x: Any, factor: Any = None, **_: Any) -> Any:
            return (np.repeat(x, factor, axis=1),)

    proto = gd.build({"y": upsampled(matrix(), factor=2)}).to_proto()
    (found,) = ReferenceEvaluator(proto, new_ops=[Upsampled]).run(None, {"x": X})
    np.testing.assert_array_equal(found, np.repeat(X, 2, axis=1))


# Bodies in the language


def test_twice_a_and_b_both_ways() -> None:
    """The same operator as a local function, and declared with a NumPy body."""

    @gd.function(domain="my")
    def my_add(a, b):
        return 2 * a + b

    @gd.custom_op("mine::my_add")
    def my_other_add(a, b):
        return a

    @my_other_add.numpy
    def body(a, b):
        return 2 * a + b

    a, b = matrix("a"), matrix("b")
    one, other = gd.build({"y": my_add(a, b)}), gd.build({"y": my_other_add(a, b)})
    assert [[(n.domain, n.op_type) for n in m.nodes] for m in (one, other)] == [
        [("my", "my_add")],
        [("mine", "my_add")],
    ]
    np.testing.assert_array_equal(one(X, X + 1), 2 * X + X + 1)
    np.testing.assert_array_equal(other(X, X + 1), one(X, X + 1))


def test_a_body_in_the_language_makes_it_a_function() -> None:
    @gd.custom_op("my::Swished", version=4)
    def swished(x, *, beta: float = 1.0):
        return x

    x = matrix()
    before = gd.build(swished(x))
    assert before.functions == ()

    @swished.body
    def body(x, *, beta: float = 1.0):
        return x * op.Sigmoid(x * beta)

    model = gd.build({"y": swished(x, beta=2.0)})
    assert [(n.domain, n.op_type) for n in model.nodes] == [("my", "Swished")]
    assert [(f.domain, f.name) for f in model.functions] == [("my", "Swished")]
    assert model.opset_imports == {"": 21, "my": 4}
    onnx.checker.check_model(model.to_proto(), full_check=True)
    np.testing.assert_allclose(model(X), X / (1 + np.exp(-2 * X)), rtol=1e-6)


def test_the_last_declaration_counts() -> None:
    @gd.custom_op("my::Redeclared")
    def first(x):
        return x

    @gd.custom_op("my::Redeclared")
    def second(x):
        return gd.int64[()]

    assert gd.domain("my", 1).Redeclared(matrix()).type is gd.int64[()]


# The marker


def test_a_marker_is_a_function_that_every_runtime_runs() -> None:
    x = matrix()
    model = gd.build({"y": gd.marker(gd.marker(x * 2, "doubled") + 1, "y")})
    proto = model.to_proto()
    onnx.checker.check_model(proto, full_check=True)
    marked = [node for node in proto.graph.node if node.op_type == "Debug"]
    assert [(n.domain, n.attribute[0].name, n.attribute[0].s) for n in marked] == [
        ("graphdsl", "name", b"doubled"),
        ("graphdsl", "name", b"y"),
    ]
    (function,) = proto.functions
    assert [node.op_type for node in function.node] == ["Identity"]
    np.testing.assert_array_equal(model(X), X * 2 + 1)
    assert [node.op_type for node in gd.inline(model).nodes] == ["Mul", "Add"]


def test_a_marker_takes_anything() -> None:
    x = matrix()
    sequence = gd.marker(op.SequenceConstruct(x, x), "rows")
    assert sequence.type is gd.sequence(gd.float32["n", 3])
    model = gd.build({"y": op.SequenceAt(sequence, 1), "z": gd.marker(gd.constant(["a"]), "words")})
    y, z = model(X)
    np.testing.assert_array_equal(y, X)
    assert z.tolist() == ["a"]
    with pytest.raises(gd.SignatureError, match="attribute 'name' is a str, got 3"):
        gd.marker(x, 3)
