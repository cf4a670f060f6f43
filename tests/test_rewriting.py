"""Rules: what fires, what is left alone and why, and that a rewrite ends."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

import graphdsl as gd
from graphdsl import op


@gd.rule(lambda x, y: x + y)
def add_to_sub(x, y):
    return x - y


@gd.rule(lambda x, p, q: op.Transpose(op.Transpose(x, perm=p), perm=q))
def merge_transposes(x, p, q):
    return op.Transpose(x, perm=[p[i] for i in q])


@gd.rule(lambda x: x * 1)
def drop_one(x):
    return x


def vector(name: str = "x") -> gd.Tensor:
    return gd.input(name, gd.float32[3])


def parsed(body: str, imports: str = '"" : 17') -> gd.Model:
    return gd.load(onnx.parser.parse_model(f"<ir_version: 8, opset_import: [{imports}]> {body}"))


def operators(model: gd.Model) -> list[str]:
    onnx.checker.check_model(model.to_proto(), full_check=True)
    return [node.op_type for node in model.nodes]


def test_add_to_sub() -> None:
    x = vector()
    before = gd.build({"y": (x * x + x).named("sum") + 1.0})
    result = gd.rewrite(before, add_to_sub)
    assert operators(before) == ["Mul", "Add", "Add"]
    assert operators(result.model) == ["Mul", "Sub", "Sub"]
    assert result.applied == {"add_to_sub": 2}
    assert [firing.tensors for firing in result.firings] == [("sum",), ("y",)]
    assert "test_rewriting.py" in str(result.firings[0].line)
    np.testing.assert_array_equal(result.model(np.float32([1, 2, 3])), [-1, 1, 5])
    assert result.model["sum"].shape == (3,)


def test_one_place_only() -> None:
    x = vector()
    model = gd.build({"y": (x + x).named("inner") + 1.0})
    assert operators(gd.rewrite(model, add_to_sub, at="y").model) == ["Add", "Sub"]
    assert operators(gd.rewrite(model, add_to_sub, at=["inner"]).model) == ["Sub", "Add"]
    with pytest.raises(gd.GraphError, match=r"has no tensor 'iner'; did you mean 'inner'\?"):
        gd.rewrite(model, add_to_sub, at="iner")
    inner = model["inner"]
    assert operators(gd.rewrite(model, add_to_sub, at=inner).model) == ["Sub", "Add"]
    assert operators(gd.rewrite(model, add_to_sub, at=[inner, "y"]).model) == ["Sub", "Sub"]
    assert add_to_sub.explain(model, inner) == f"rule 'add_to_sub' matches at {inner!r}"
    for nothing in (vector(), 3):
        with pytest.raises(gd.GraphError, match="no tensor"):
            gd.rewrite(model, add_to_sub, at=nothing)


def test_debug_to_identity() -> None:
    @gd.custom_op("my::Debug")
    def debug(x, *, name: str):
        return x

    @gd.rule(lambda x, **attrs: gd.domain("my", 1).Debug(x, **attrs))
    def debug_to_identity(x, **attrs):
        names.append(attrs["name"])
        return op.Identity(x)

    names: list[str] = []
    x = vector()
    model = gd.build({"y": debug(debug(x, name="a") * 2, name="b")})
    result = gd.rewrite(model, debug_to_identity)
    assert operators(result.model) == ["Identity", "Mul", "Identity"]
    assert names == ["a", "b"]


def test_a_chain_is_merged_in_one_rewrite() -> None:
    image = gd.input("image", gd.float32[2, 3, 4])
    h = image
    for index in range(7):
        h = op.Transpose(h, perm=[1, 2, 0]) if index % 2 else op.Transpose(h)
    model = gd.build({"y": h})
    result = gd.rewrite(model, merge_transposes)
    assert operators(result.model) == ["Transpose"]
    assert result.applied == {"merge_transposes": 6}
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    np.testing.assert_array_equal(result.model(array), model(array))


class TestPatterns:
    def test_commutative_operators_fit_either_way(self) -> None:
        x = vector()
        for y in (x * 1.0, 1.0 * x):
            assert gd.rewrite(gd.build({"y": op.Relu(y)}), drop_one).applied == {"drop_one": 1}

    def test_a_number_must_not_widen(self) -> None:
        x = vector()
        assert gd.rewrite(gd.build({"y": op.Relu(x * np.ones((1,), np.float32))}), drop_one).applied == {"drop_one": 1}
        wide = gd.build({"y": op.Relu(x * np.ones((2, 3), np.float32))})
        assert gd.rewrite(wide, drop_one).applied == {}

    def test_a_number_must_be_the_number(self) -> None:
        @gd.rule(lambda x: x + 0.0)
        def drop_zero(x):
            return x

        x = vector()
        assert gd.rewrite(gd.build(op.Relu(x + 0.0)), drop_zero).applied == {"drop_zero": 1}
        assert gd.rewrite(gd.build(op.Relu(x + -0.0)), drop_zero).applied == {}
        assert gd.rewrite(gd.build(op.Relu(x + 1e-9)), drop_zero).applied == {}
        i = gd.input("i", gd.int32[3])

        @gd.rule(lambda x: x * 0.5)
        def half(x):
            return x

        assert gd.rewrite(gd.build(i * 0), half).applied == {}

    def test_a_variable_that_stands_twice_is_one_value(self) -> None:
        @gd.rule(lambda x: x + x)
        def double(x):
            return x * 2

        x, y = vector("x"), vector("y")
        assert operators(gd.rewrite(gd.build({"z": x + x}), double).model) == ["Mul"]
        assert operators(gd.rewrite(gd.build({"z": x + y}), double).model) == ["Add"]

    def test_type_conditions(self) -> None:
        @gd.rule(lambda x=gd.float32["n", 3]: op.Abs(x))
        def gone(x):
            return x

        def applied(kind: gd.Type) -> dict[str, int]:
            return gd.rewrite(gd.build(op.Relu(op.Abs(gd.input("x", kind)))), gone).applied

        assert applied(gd.float32[2, 3]) == {"gone": 1}
        assert applied(gd.float32["batch", 3]) == {"gone": 1}
        assert applied(gd.float64[2, 3]) == {}
        assert applied(gd.float32[2, 4]) == {}
        assert applied(gd.float32[3]) == {}
        assert applied(gd.float32) == {}

    def test_optional_and_variadic_inputs(self) -> None:
        seen: list[Any] = []

        @gd.rule(lambda x, w, b=None: op.Conv(x, w, b))
        def convolution(x, w, b):
            seen.append(b)

        @gd.rule(lambda *xs, axis: op.Concat(*xs, axis=axis))
        def joined(*xs, axis):
            seen.append((len(xs), axis))

        x, w, b = (gd.input(n, gd.float32[1, 1, 3, 3]) for n in "xwb")
        gd.rewrite(gd.build(op.Conv(x, w)), convolution)
        gd.rewrite(gd.build(op.Conv(x, w, np.float32([1]))), convolution)
        gd.rewrite(gd.build(op.Concat(x, w, b, axis=2)), joined)
        assert seen[0] is None
        np.testing.assert_array_equal(seen[1].value, [1])
        assert seen[2] == (3, 2)

    def test_alternatives(self) -> None:
        x = vector()
        model = gd.build([op.Relu(x), op.Sigmoid(x), op.Tanh(x)])
        found = gd.find(model, lambda x: gd.any_of(op.Relu(x), op.Sigmoid(x)))
        assert [match.root.op_type for match in found] == ["Relu", "Sigmoid"]

    def test_logical_or_bitwise(self) -> None:
        p, i = gd.input("p", gd.bool[2]), gd.input("i", gd.int32[2])
        found = gd.find(gd.build([p & p, i & i, p | p]), lambda a, b: a & b)
        assert [match.root.op_type for match in found] == ["And", "BitwiseAnd"]

    def test_several_outputs(self) -> None:
        @gd.rule(lambda x, k: op.TopK(x, k, outputs=2))
        def smallest(x, k):
            values, where = op.TopK(-x, k, outputs=2)
            return -values, where

        values, where = op.TopK(vector(), [2], outputs=2)
        result = gd.rewrite(gd.build({"v": values, "i": where}), smallest)
        assert operators(result.model) == ["Neg", "TopK", "Neg"]
        found = result.model.run({"x": np.float32([3, 1, 2])})
        np.testing.assert_array_equal(found["v"], [1, 2])
        np.testing.assert_array_equal(found["i"], [1, 2])

    @pytest.mark.parametrize(
        ("attributes", "fires"),
        [({}, True), ({"axis": -1}, True), ({"axis": 0}, False), ({"axis": 1}, False)],
    )
    def test_an_attribute_that_is_not_mentioned_has_its_default(self, attributes: dict[str, int], fires: bool) -> None:
        found = gd.find(gd.build(op.Softmax(gd.input("x", gd.float32[2, 3]), **attributes)), lambda x: op.Softmax(x))
        assert bool(found) is fires

    def test_absence_means_what_it_means_for_the_inputs(self) -> None:
        x, w = gd.input("x", gd.float32[1, 1, 5, 5]), gd.input("w", gd.float32[1, 1, 3, 3])
        plain = lambda x, w: op.Conv(x, w)  # noqa: E731
        explicit = {"strides": [1, 1], "pads": [0, 0, 0, 0], "dilations": [1, 1], "kernel_shape": [3, 3]}
        assert len(gd.find(gd.build(op.Conv(x, w, **explicit)), plain)) == 1
        assert gd.find(gd.build(op.Conv(x, w, pads=[1, 1, 1, 1])), plain) == []
        assert len(gd.find(gd.build(op.Conv(x, w)), lambda x, w: op.Conv(x, w, strides=[1, 1]))) == 1


class TestLeftAlone:
    def test_a_value_that_others_use(self) -> None:
        image = gd.input("image", gd.float32[2, 3])
        inner = op.Transpose(image).named("inner")
        model = gd.build({"a": op.Transpose(inner), "b": inner})
        result = gd.rewrite(model, merge_transposes)
        assert result.applied == {}
        assert [(skip.rule, skip.tensors, skip.reason) for skip in result.skipped] == [
            ("merge_transposes", ("a",), "'inner' is used elsewhere")
        ]

    def test_unless_the_rule_keeps_it(self) -> None:
        @gd.rule(lambda x: op.Neg(op.Neg(x)), keep_shared=True)
        def twice(x):
            return x * 1.0

        x = vector()
        inner = -x
        result = gd.rewrite(gd.build({"a": -inner, "b": inner}), twice)
        assert result.applied == {"twice": 1}
        assert operators(result.model) == ["Neg", "Mul"]

    def test_a_type_that_would_change(self) -> None:
        @gd.rule(lambda x: op.Abs(x))
        def wrong(x):
            return x.reshape(1, 3)

        result = gd.rewrite(gd.build({"y": op.Abs(vector())}), wrong)
        assert result.applied == {}
        assert result.skipped[0].reason == "float32[3] would become float32[1, 3]"
        with pytest.raises(gd.RuleError, match=r"rule 'wrong': 'y': float32\[3\] would become float32\[1, 3\]"):
            gd.rewrite(gd.build({"y": op.Abs(vector())}), wrong, strict=True)

    def test_a_declined_match(self) -> None:
        @gd.rule(lambda x: op.Abs(x))
        def never(x):
            return None

        result = gd.rewrite(gd.build({"y": op.Abs(vector())}), never)
        assert result.skipped[0].reason == "the rule declined"

    def test_a_pattern_that_an_opset_does_not_have(self) -> None:
        @gd.rule(lambda x: op.Gelu(x))
        def gelu(x):
            return x

        result = gd.rewrite(gd.build(gd.opset(13).Relu(vector()), opset=13), gelu)
        assert "it cannot be written at opset 13: 'Gelu' exists since opset 20" in result.skipped[0].reason


class TestEnding:
    def test_a_swap_fires_once(self) -> None:
        @gd.rule(lambda x, y: x + y)
        def swap(x, y):
            return y + x

        x, y = vector("x"), vector("y")
        result = gd.rewrite(gd.build({"z": x + y}), swap)
        assert result.applied == {"swap": 1}
        assert result.skipped[0].reason == "it would undo or repeat what it just made"

    def test_a_wrap_fires_once(self) -> None:
        @gd.rule(lambda x: op.Relu(x))
        def wrap(x):
            return op.Relu(op.Relu(x))

        result = gd.rewrite(gd.build({"z": op.Relu(vector())}), wrap)
        assert result.applied == {"wrap": 1}
        assert operators(result.model) == ["Relu", "Relu"]

    def test_ping_pong_stops(self) -> None:
        @gd.rule(lambda x, y: x + y)
        def ping(x, y):
            return x - y

        @gd.rule(lambda x, y: x - y)
        def pong(x, y):
            return x + y

        result = gd.rewrite(gd.build({"z": vector("x") + vector("y")}), ping, pong)
        assert result.applied == {"ping": 1, "pong": 1}


class TestBodies:
    def test_rules_apply_in_bodies_and_functions(self) -> None:
        @gd.function(domain="my")
        def add(a, b):
            return a + b

        x, flag = vector(), gd.input("flag", gd.bool[()])
        y = op.If(flag, then_branch=lambda: x + 1.0, else_branch=lambda: add(x, x))
        model = gd.build({"y": y})
        result = gd.rewrite(model, add_to_sub)
        assert result.applied == {"add_to_sub": 2}
        np.testing.assert_array_equal(result.model(np.ones(3, np.float32), True), np.zeros(3))
        np.testing.assert_array_equal(result.model(np.ones(3, np.float32), False), np.zeros(3))
        assert model.functions[0].graph.nodes[0].op_type == "Add"

    def test_what_lies_in_an_enclosing_graph_is_a_leaf_only(self) -> None:
        image, flag = gd.input("image", gd.float32[2, 3]), gd.input("flag", gd.bool[()])
        outer = op.Transpose(image)
        y = op.If(flag, then_branch=lambda: op.Transpose(outer), else_branch=lambda: image)
        assert gd.rewrite(gd.build({"y": y}), merge_transposes).applied == {}


def test_explain_says_where_a_pattern_stops() -> None:
    image = gd.input("image", gd.float32[2, 3])
    model = gd.build({"y": op.Transpose(op.Relu(image)), "z": op.Transpose(image)})
    assert merge_transposes.explain(model, "y") == (
        "rule 'merge_transposes' does not match at 'y': the node is Relu, and the pattern needs Transpose"
    )
    assert merge_transposes.explain(model, "z") == (
        "rule 'merge_transposes' does not match at 'z': Transpose: the input 'data' is no node's output, and "
        "the pattern needs Transpose"
    )


@pytest.mark.parametrize(
    ("define", "message"),
    [
        (
            lambda: gd.rule(lambda x: op.Trnspose(x))(print),
            "ONNX has no operator 'Trnspose'; did you mean 'Transpose'?",
        ),
        (lambda: gd.rule(lambda x: op.Relu(x, axis=1))(print), "no attribute or input 'axis'"),
        (lambda: gd.rule(lambda x: op.Conv(x))(print), "Conv takes 2 to 3 inputs, got 1"),
        (lambda: gd.rule(lambda x: x // 2)(print), "is not one ONNX node, so a pattern cannot use it; write op.X"),
        (lambda: gd.rule(lambda x: x.sum())(print), ".sum is not one ONNX node"),
        (lambda: gd.rule(lambda x: x)(lambda x: x), "returns what one operator makes"),
        (lambda: gd.rule(lambda x: (op.Relu(x), op.Abs(x)))(lambda x: x), "or several of one node"),
        (
            lambda: gd.rule(lambda x: op.Relu(x))(lambda y: y),
            "the pattern has no parameter 'y'; it has 'x'",
        ),
        (
            lambda: gd.rule(lambda x, p: op.Transpose(x + p, perm=p))(lambda x: x),
            "stands for a tensor and for an attribute",
        ),
        (lambda: gd.rule(lambda x=3: op.Relu(x))(lambda x: x), "the default of 'x' is a type that it must have"),
        (lambda: gd.rule(lambda x: op.Relu(vector()))(lambda x: x), "uses a tensor from outside"),
        (lambda: gd.rule("Relu"), "gd.rule takes a pattern"),
        (lambda: gd.rewrite(gd.build(vector()), lambda x: x), "gd.rewrite takes rules made by @gd.rule"),
        (lambda: add_to_sub(vector(), vector()), "apply it with gd.rewrite(model, add_to_sub)"),
    ],
)
def test_a_rule_is_checked_when_it_is_defined(define: Callable[[], Any], message: str) -> None:
    with pytest.raises(gd.GraphError) as caught:
        define()
    assert message in str(caught.value)


class TestTransform:
    def test_what_is_untouched_is_reused(self) -> None:
        x = vector()
        model = gd.build({"a": op.Abs(x) + 1.0, "b": op.Relu(x)})
        made = gd.transform(model, lambda node, inputs: inputs[0] - inputs[1] if node.op_type == "Add" else None)
        assert operators(made) == ["Abs", "Sub", "Relu"]
        assert made.nodes[0] is model.nodes[0] and made.nodes[2] is model.nodes[2]
        assert gd.transform(model, lambda node, inputs: None) is model

    def test_what_lost_its_last_user_is_dropped_and_dead_nodes_stay(self) -> None:
        model = parsed("g (float[3] x) => (float[3] y) { d = Neg (x) a = Abs (x) y = Relu (a) }")
        made = gd.transform(model, lambda node, inputs: model.inputs[0] if node.op_type == "Abs" else None)
        assert operators(made) == ["Neg", "Relu"]

    def test_dead_nodes_behind_a_change_stay_too(self) -> None:
        model = parsed("g (float[3] x) => (float[3] y) { a = Abs (x) d = Neg (a) e = Exp (d) y = Relu (a) }")
        made = gd.transform(model, lambda node, inputs: model.inputs[0] if node.op_type == "Abs" else None)
        assert operators(made) == ["Neg", "Exp", "Relu"]
        assert made.to_proto().graph.node[0].input == ["x"]

    def test_a_node_can_be_wrapped(self) -> None:
        model = gd.build({"y": op.Abs(vector()) * 2.0})
        wrapped = gd.transform(
            model, lambda node, _: gd.marker(gd.Tensor(node.outputs[0]), "here") if node.op_type == "Abs" else None
        )
        assert operators(wrapped) == ["Abs", "Debug", "Mul"]
        assert [f.name for f in wrapped.functions] == ["Debug"]
        assert wrapped.opset_imports["graphdsl"] == 1
        np.testing.assert_array_equal(wrapped(np.float32([-1, 2, 3])), [2, 4, 6])

    def test_the_number_of_outputs_must_fit(self) -> None:
        model = gd.build({"y": op.Abs(vector())})
        with pytest.raises(gd.BuildError, match="Abs has 1 outputs, but 2 were returned for it"):
            gd.transform(model, lambda node, inputs: (inputs[0], inputs[0]))


def test_weights_are_replaced_by_name() -> None:
    model = gd.build({"y": vector() * gd.constant([1.0, 2.0, 3.0], "w")})
    new = gd.with_weights(model, {"m.w": np.float32([4, 5, 6])}, rename=lambda name: name.removeprefix("m."))
    np.testing.assert_array_equal(new(np.ones(3, np.float32)), [4, 5, 6])
    np.testing.assert_array_equal(gd.weights_of(model)["w"], [1, 2, 3])
    with pytest.raises(gd.WeightError) as caught:
        gd.with_weights(model, {"v": np.float32([1]), "w": np.float64([1, 2, 3])})
    assert "'v': the model has no weight 'v'" in str(caught.value)
    assert "'w': 'w' is float32[3], got float64[3]" in str(caught.value)
    twice = {"w": np.float32([4, 5, 6]), "m.w": np.float32([7, 8, 9])}
    with pytest.raises(gd.WeightError, match=r"'m\.w': 'w' is given twice"):
        gd.with_weights(model, twice, rename=lambda name: name.removeprefix("m."))
    with pytest.raises(gd.WeightError, match="weights are a mapping from names to arrays, got list"):
        gd.with_weights(model, [np.float32([4, 5, 6])])


@pytest.mark.parametrize("version", [3, 8])
def test_defaults_of_inputs_are_weights_too(version: int) -> None:
    weights = "<float[2] b = {1, 2}, float[2] c = {3, 4}>"
    text = f"g (float[2] x, float[2] b) => (float[2] y) {weights} {{ h = Add (x, b) y = Mul (h, c) }}"
    text = text if version > 3 else text.replace("float[2] b)", "float[2] b, float[2] c)")
    model = gd.load(onnx.parser.parse_model(f'<ir_version: {version}, opset_import: ["" : 9]> {text}'))
    assert {name: array.tolist() for name, array in gd.weights_of(model).items()} == {"b": [1, 2], "c": [3, 4]}
    other = gd.with_weights(model, {"b": np.float32([0, 0]), "c": np.float32([1, 2])})
    assert other([1, 1]).tolist() == [1, 2]
    assert [tensor.name for tensor in other.inputs] == [tensor.name for tensor in model.inputs]
    again = gd.load(other.to_proto())
    assert again([1, 1]).tolist() == [1, 2]
    assert again([1, 1], [4, 4]).tolist() == [5, 10]
    assert [t.name for t in other.to_proto().graph.initializer] == ["b", "c"]
    with pytest.raises(gd.WeightError, match=r"'b' is float32\[2\], got float32\[3\]"):
        gd.with_weights(model, {"b": np.float32([0, 0, 0])})


def test_firings_in_functions_are_named() -> None:
    @gd.function(domain="my")
    def twice(a):
        return op.Neg((a + a).named("sum"))

    model = gd.build({"y": twice(vector())})
    for before in (model, gd.load(model.to_proto())):
        assert [firing.tensors for firing in gd.rewrite(before, add_to_sub).firings] == [("sum",)]


def test_what_is_no_function_is_refused() -> None:
    model = gd.build({"y": op.Abs(vector())})
    with pytest.raises(gd.RuleError, match=r"gd\.find takes a pattern, as in lambda x, y: x \+ y, or a rule, got 3"):
        gd.find(model, 3)
    with pytest.raises(gd.BuildError, match=r"gd\.transform takes a function of a node and its inputs, got 3"):
        gd.transform(model, 3)


def test_check_gives_every_finding() -> None:
    broken = parsed("g (float[2, 3] x) => (float[2, 3] y) { a = MatMul (x, x) b = Conv (x, x) y = Relu (x) }")
    with pytest.raises(gd.CheckError) as caught:
        gd.check(broken)
    assert len(caught.value.findings) == 2
    assert caught.value.findings[0].startswith("node MatMul ('a'): MatMul: A has size 3 on axis -1 and B has size 2")
    assert gd.check(gd.build({"y": vector() * 2.0})) == ()
    (note,) = gd.check(parsed("g (float[2] x) => (float[2] y) { a = o.Foo (x) y = Relu (x) }", '"" : 17, "o" : 1'))
    assert "ONNX Runtime here cannot run it" in note and "no operator 'Foo' in the domain 'o'" in note
    assert gd.check(gd.build({"y": op.Relu(gd.input("x", gd.float32[1]))})) == ()
    with pytest.raises(gd.CheckError, match="the output 'y' is float32 of unknown rank"):
        gd.check(gd.build({"y": op.Relu(gd.input("x", gd.float32))}))
