"""Patterns: what may stand in one, what fits it, and that matching costs little."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import pytest

import graphdsl as gd
from graphdsl import op
from graphdsl.rewriting.matching import MOST_STEPS, Matcher
from graphdsl.rewriting.rules import _homes
from graphdsl.rewriting.writing import Recipe
from graphdsl.schemas import opset_in_force


def vector(name: str = "x", kind: gd.Type = gd.float32[3]) -> gd.Tensor:
    return gd.input(name, kind)


def parsed(body: str, imports: str = '"" : 17') -> gd.Model:
    return gd.load(onnx.parser.parse_model(f"<ir_version: 8, opset_import: [{imports}]> {body}"))


def count(model: gd.Model | gd.Tensor, pattern: Callable[..., Any]) -> int:
    return len(gd.find(model if isinstance(model, gd.Model) else gd.build(model), pattern))


class TestConstants:
    @pytest.mark.parametrize(
        "dtype", [gd.float16, gd.bfloat16, gd.float32, gd.float64, gd.int8, gd.uint8, gd.int64], ids=str
    )
    def test_a_number_fits_after_a_cast_to_the_dtype_of_the_constant(self, dtype: gd.DType) -> None:
        y = op.Mul(vector(kind=dtype[3]), gd.constant(np.ones((), dtype.numpy)))
        assert count(y, lambda x: x * 1) == count(y, lambda x: x * 1.0) == 1
        assert count(y, lambda x: x * 257) == count(y, lambda x: x * 1.5) == 0

    def test_a_number_fits_what_rounds_to_it(self) -> None:
        assert count(vector() * 0.1, lambda x: x * 0.1) == 1
        assert count(vector(kind=gd.float64[3]) * 0.1, lambda x: x * float(np.float32(0.1))) == 0

    def test_zeros_have_signs_and_any_nan_is_one(self) -> None:
        assert count(vector() + -0.0, lambda x: x + 0.0) == count(vector() + 0.0, lambda x: x + -0.0) == 0
        assert count(vector() + np.nan, lambda x: x + np.nan) == 1

    def test_an_array_has_its_dtype_and_a_list_any(self) -> None:
        y = op.Reshape(vector(kind=gd.float32[2, 3]), np.int64([3, 2]))
        assert count(y, lambda x: op.Reshape(x, [3, 2])) == 1
        assert count(y, lambda x: op.Reshape(x, np.int64([3, 2]))) == 1
        assert count(y, lambda x: op.Reshape(x, np.int32([3, 2]))) == 0
        assert count(y, lambda x: op.Reshape(x, [2, 3])) == count(y, lambda x: op.Reshape(x, [3])) == 0

    @pytest.mark.parametrize(
        ("text", "fits"),
        [
            ("(float[3] x) => (float[3] y) <float[1] one = {1}> { a = Mul (x, one) y = Relu (a) }", 1),
            ("(float[3] x) => (float[3] y) { one = Constant <value_float = 1.0> () a = Mul (x, one) y = Relu (a) }", 1),
            ("(float[3] x) => (float[3] y) { c = Constant <value_floats = [1.0]> () a = Mul (x, c) y = Relu (a) }", 1),
            ("(float[3] x, float[1] one = {1}) => (float[3] y) { a = Mul (x, one) y = Relu (a) }", 0),
            ("(float[3] x) => (float[2, 3] y) <float[2, 1] one = {1, 1}> { a = Mul (x, one) y = Relu (a) }", 0),
            ("(float[n] x) => (float[m] y) <float[3] one = {1, 1, 1}> { a = Mul (x, one) y = Relu (a) }", 0),
            ("(float[3] x) => (float[3] y) <float[3] one = {1, 1, 2}> { a = Mul (x, one) y = Relu (a) }", 0),
        ],
    )  # fmt: skip
    def test_what_is_a_constant_and_does_not_widen(self, text: str, fits: int) -> None:
        assert count(parsed(f"g {text}"), lambda x: x * 1) == fits

    def test_all_other_operands_count_for_width(self) -> None:
        condition, x = vector("c", gd.bool[3]), vector("x", gd.float32[2, 3])
        zeros = np.zeros((2, 3), np.float32)
        assert count(op.Where(condition, x, zeros), lambda c, x: op.Where(c, x, 0)) == 1
        assert count(op.Where(condition, vector(), zeros), lambda c, x: op.Where(c, x, 0)) == 0

    def test_where_nothing_is_broadcast_the_shape_is_free(self) -> None:
        x, w = vector("x", gd.float32[1, 2, 5, 5]), vector("w", gd.float32[4, 2, 3, 3])
        assert count(op.Conv(x, w, np.zeros(4, np.float32)), lambda x, w: op.Conv(x, w, 0)) == 1


class TestInputs:
    def test_a_star_stands_for_any_number_anywhere(self) -> None:
        y = op.Concat(*map(vector, "abcd"), axis=0)
        (match,) = gd.find(gd.build(y), lambda first, *middle, last: op.Concat(first, *middle, last, axis=0))
        assert (match.bindings["first"].name, match.bindings["last"].name) == ("a", "d")
        assert [tensor.name for tensor in match.bindings["middle"]] == ["b", "c"]
        assert count(op.Concat(vector("a"), vector("b"), axis=0), lambda a, *m, b: op.Concat(a, *m, b, axis=0)) == 1
        assert count(op.Concat(vector("a"), axis=0), lambda a, *m, b: op.Concat(a, *m, b, axis=0)) == 0

    def test_an_input_that_may_be_absent(self) -> None:
        x = vector()
        assert count(op.Clip(x, 0.0), lambda x, lo=None, hi=None: op.Clip(x, lo, hi)) == 1
        assert count(op.Clip(x, None, 6.0), lambda x, lo, hi: op.Clip(x, lo, hi)) == 0
        assert count(op.Clip(x, None, 6.0), lambda x, hi: op.Clip(x, None, hi)) == 1
        assert count(op.Clip(x, 0.0, 6.0), lambda x, hi: op.Clip(x, None, hi)) == 0
        assert count(op.Clip(x, 0.0, 6.0), lambda x: op.Clip(x, 0)) == 0

    def test_a_node_that_stands_twice_is_one_node(self) -> None:
        def difference(x: Any) -> Any:
            drawn = op.RandomNormalLike(x)
            return drawn - drawn

        x = vector()
        once, twice = op.RandomNormalLike(x), op.RandomNormalLike(x)
        assert count(once - once, difference) == 1
        assert count(once - twice, difference) == 0
        assert count(once - once, lambda x: op.RandomNormalLike(x) - op.RandomNormalLike(x)) == 1

    def test_both_orders_are_tried_where_a_variable_stands_elsewhere_too(self) -> None:
        a, b = vector("a"), vector("b")
        for model in ((a + b) * a, (b + a) * a, a * (b + a)):
            assert count(model, lambda x, y: (x + y) * x) == 1
        assert count((a + b) / a, lambda x, y: (y + x) / x) == count((a + b) / b, lambda x, y: (y + x) / x) == 1

    def test_both_orders_are_tried_where_a_variable_has_a_condition(self) -> None:
        a, b = vector("a", gd.float32[2, 3]), vector("b")
        for model in (a + b, b + a):
            assert count(model, lambda x=gd.float32[3], y=gd.float32[2, 3]: x + y) == 1

    def test_constants_of_equal_bytes_are_the_same_value(self) -> None:
        x = vector()
        model = parsed(
            "g (float[1] x) => (float[1] y) <float[1] a = {2}, float[1] b = {2}> { c = Mul (x, a) y = Add (c, b) }"
        )
        assert count(model, lambda x, a: x * a + a) == 1
        assert count(x * 2.0 + 3.0, lambda x, a: x * a + a) == 0

    def test_how_many_outputs_a_split_has(self) -> None:
        model = gd.build(list(op.Split(vector(kind=gd.float32[6]), num_outputs=3)))
        assert count(model, lambda x: op.Split(x, num_outputs=3, outputs=3)) == 1
        assert count(model, lambda x, n: op.Split(x, num_outputs=n, outputs=2)) == 0

    def test_the_second_output_of_a_node(self) -> None:
        _, where = op.TopK(vector(), [2], outputs=2)
        cast = lambda x, k: op.Cast(op.TopK(x, k, outputs=2)[1], to=gd.float32)  # noqa: E731
        assert count(op.Cast(where, to=gd.float32), cast) == 1
        values, _ = op.TopK(vector(), [2], outputs=2)
        assert count(op.Cast(values, to=gd.float32), cast) == 0


class TestTypes:
    def test_a_dimension_that_is_named_twice_is_one(self) -> None:
        same = lambda a=gd.float32["n", 3], b=gd.float32["n", 3]: a - b  # noqa: E731
        square = lambda a=gd.float32["n", "n"]: op.Abs(a)  # noqa: E731
        x, y, z = (vector(n, gd.float32[d, 3]) for n, d in (("x", "n"), ("y", "n"), ("z", "m")))
        assert count(x - y, same) == 1
        assert count(x - z, same) == 0
        assert count(op.Abs(vector(kind=gd.float32[4, 4])), square) == 1
        assert count(op.Abs(vector(kind=gd.float32[4, 5])), square) == 0
        assert count(op.Abs(vector(kind=gd.float32[None, None])), square) == 0

    def test_explain_says_what_the_name_stood_for(self) -> None:
        rule = gd.rule(lambda a=gd.float32["n"], b=gd.float32["n"]: a - b, name="same")(lambda a: a)
        model = gd.build({"y": op.Sub(vector(kind=gd.float32[1]), vector("z", gd.float32[4]))})
        assert rule.explain(model, "y") == (
            "rule 'same' does not match at 'y': Sub: the input 'B' is float32[4], and 'b' must be float32['n'], "
            "with n = 1"
        )


class TestAttributes:
    def test_captured_twice_is_one_value(self) -> None:
        x = vector(kind=gd.float32[2, 3])
        twice = lambda x, a: op.Softmax(op.Softmax(x, axis=a), axis=a)  # noqa: E731
        assert count(op.Softmax(op.Softmax(x, axis=0), axis=0), twice) == 1
        assert count(op.Softmax(op.Softmax(x, axis=1), axis=0), twice) == 0
        assert count(op.Softmax(op.Softmax(x, axis=-1)), twice) == 1

    def test_all_attributes_of_a_node(self) -> None:
        x, w = vector("x", gd.float32[1, 1, 5, 5]), vector("w", gd.float32[1, 1, 3, 3])
        (match,) = gd.find(gd.build(op.Conv(x, w, pads=[1, 1, 1, 1])), lambda x, w, **attrs: op.Conv(x, w, **attrs))
        assert match.bindings["attrs"] == {"pads": (1, 1, 1, 1)}

    def test_what_a_function_is_given_is_not_known_in_its_body(self) -> None:
        model = parsed(
            'g (float[2, 3] x) => (float[2, 3] y) { y = my.f <a = 0> (x) } '
            '<domain: "my", opset_import: ["" : 17]> f <a> (x) => (y) { y = Softmax <axis: int = @a> (x) }',
            '"" : 17, "my" : 1',
        )  # fmt: skip
        assert count(model, lambda x, a: op.Softmax(x, axis=a)) == 0
        assert count(model, lambda x: op.Softmax(x)) == 0
        assert count(model, lambda x, **attrs: op.Softmax(x, **attrs)) == 1


class TestDomains:
    def test_operators_of_onnx_runtime(self) -> None:
        gelu = gd.domain("com.microsoft", 1).Gelu
        assert count(gelu(op.Abs(vector())), lambda x: gelu(x)) == 1

    def test_calls_of_local_functions_and_markers(self) -> None:
        @gd.function(domain="my")
        def scaled(a, *, by: float):
            return a * by

        x = vector()
        (match,) = gd.find(gd.build(scaled(x, by=2.0)), lambda a, b: scaled(a, by=b))
        assert match.bindings["b"] == 2.0
        (match,) = gd.find(gd.build(gd.marker(x, "here")), lambda a, n: gd.marker(a, n))
        assert match.bindings["n"] == "here"

    def test_a_function_of_another_opset_is_searched_at_its_own(self) -> None:
        model = parsed(
            "g (float[2, 1] x) => (float[2] y) { y = my.f (x) } "
            '<domain: "my", opset_import: ["" : 11]> f (x) => (y) { y = Squeeze <axes = [1]> (x) }',
            '"" : 17, "my" : 1',
        )

        def squeeze(x: Any, axes: Any) -> Any:
            return op.Squeeze(x, axes=axes)

        (match,) = gd.find(model, squeeze)
        assert match.bindings["axes"] == (1,)


def chain(depth: int) -> Callable[[Any], Any]:
    def pattern(x: Any) -> Any:
        for _ in range(depth):
            x = op.Relu(x)
        return x

    return pattern


def balanced(tensors: Sequence[Any]) -> Any:
    """The sum of tensors, in pairs of pairs."""
    level = list(tensors)
    while len(level) > 1:
        level = [a + b for a, b in zip(level[::2], level[1::2], strict=True)]
    return level[0]


def with_parameters(count: int, pattern: Callable[..., Any]) -> Callable[..., Any]:
    """A pattern of so many parameters."""

    def written(*given: Any) -> Any:
        return pattern(*given)

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    written.__signature__ = inspect.Signature([inspect.Parameter(f"v{i}", kind) for i in range(count)])  # type: ignore
    return written


def steps(model: gd.Model, pattern: Callable[..., Any]) -> tuple[bool, int]:
    """Whether a pattern fits at the last node of a model, and how many comparisons that took."""
    traced = Recipe(pattern, "the pattern").at(model.opset)
    assert not isinstance(traced, gd.GraphError)
    matcher = Matcher(traced, _homes(model).get)
    return matcher.match(model.nodes[-1]) is not None, matcher.steps


class TestCost:
    def test_a_pattern_may_be_deeper_than_python_recurses(self) -> None:
        model = gd.build({"y": chain(3000)(vector())})
        assert steps(model, chain(3000)) == (True, 3001)

    @pytest.mark.parametrize("leaves", [4, 8, 16, 32, 64])
    def test_commutative_operators_cost_no_power_of_their_number(self, leaves: int) -> None:
        model = gd.build({"y": balanced([op.Abs(vector(f"t{i}")) for i in range(leaves)])})
        fits, taken = steps(model, with_parameters(leaves, lambda *v: balanced(v)))
        assert fits and taken < 4 * leaves
        misses = with_parameters(leaves, lambda *v: balanced([*v[:-1], op.Relu(v[-1])]))
        fits, taken = steps(model, misses)
        assert not fits and taken < 2 * leaves**2  # of 2 ** (leaves - 1) orders

    def test_a_swap_deep_inside_is_found(self) -> None:
        tensors = [op.Abs(vector(f"t{i}")) for i in range(31)]
        pattern = with_parameters(32, lambda *v: balanced([*map(op.Abs, v[:-1]), op.Relu(v[-1])]))
        for place in (0, 5, 31):
            mixed = [*tensors[:place], op.Relu(vector("odd")), *tensors[place:]]
            assert steps(gd.build({"y": balanced(mixed)}), pattern)[0]

    def test_paths_that_meet_again_are_gone_once(self) -> None:
        a, b = vector("a"), vector("b")
        for _ in range(40):
            a, b = b, a + b  # as many paths as the 40th Fibonacci number

        def path(*v: Any) -> Any:
            h = op.Relu(v[0])
            for other in v[1:]:
                h = h + other
            return h

        fits, taken = steps(gd.build({"y": b}), with_parameters(31, path))
        assert not fits and taken < 1000

    def test_a_pattern_that_is_too_ambiguous_is_reported(self) -> None:
        pattern = with_parameters(32, lambda *v: balanced(v) * balanced(v[::-1]) - op.Relu(v[0]))
        rule = gd.rule(pattern, name="mirror")(lambda v0: v0)
        tensors = [vector(f"t{i}") for i in range(32)]
        model = gd.build({"y": balanced(tensors) * balanced(tensors[::-1]) - op.Relu(tensors[5])})
        reason = f"the pattern is too ambiguous here: given up after {MOST_STEPS:,} comparisons"
        assert [(s.rule, s.tensors, s.reason) for s in gd.rewrite(model, rule).skipped] == [("mirror", ("y",), reason)]


@pytest.mark.parametrize(
    ("define", "message"),
    [
        (lambda: gd.rule(lambda x, y: op.Abs(x))(print), "the pattern does not use its parameter 'y'"),
        (
            lambda: gd.rule(lambda x, **attrs: op.Softmax(x, **attrs))(lambda x, **kw: x),
            "the pattern has no parameter 'kw'",
        ),
        (lambda: gd.rule(lambda x: op.Abs(x))(lambda *x: x), "*x is plain 'x' in the pattern"),
        (
            lambda: gd.rule(lambda *xs: op.Abs(xs[0]))(lambda: None),
            "'*xs' stands for the inputs of a variadic operator, and the input 'X' of Abs is one value",
        ),
        (lambda: gd.rule(lambda *xs: op.Sum(*xs, *xs))(print), "Sum has two inputs that stand for any number"),
        (
            lambda: gd.rule(lambda x=gd.float32["2*n"]: op.Abs(x))(print),
            "a dimension of a condition is a number, a name or None; check '2*n' in the function",
        ),
        (
            lambda: gd.rule(lambda x, p=gd.float32: op.Transpose(x, perm=p))(print),
            "'p' stands for an attribute value, which takes no default; check it in the function",
        ),
        (
            lambda: gd.rule(lambda c, x: op.If(c, then_branch=lambda: x, else_branch=lambda: x))(print),
            "If: a body ('then_branch') cannot stand in a pattern; capture it with **attributes",
        ),
        (lambda: gd.rule(lambda x: gd.any_of(op.Relu(x), x))(print), "where it is returned, are operators"),
        (lambda: gd.rule(lambda x, k: (lambda t: (t[0], t[0]))(op.TopK(x, k, outputs=2)))(print), "one output twice"),
        (lambda: gd.rule(lambda x: gd.domain("my.own", 1).Foo(x))(print), "no operator 'Foo' is known in domain"),
    ],
)  # fmt: skip
def test_a_pattern_is_checked_when_it_is_defined(define: Callable[[], Any], message: str) -> None:
    with pytest.raises(gd.GraphError) as caught:
        define()
    assert message in str(caught.value)


def test_a_parameter_that_only_some_opsets_use() -> None:
    def dropout(x: Any, ratio: Any = None) -> Any:
        return op.Dropout(x, ratio) if opset_in_force() >= 12 else op.Dropout(x)

    with gd.opset(11):
        model = gd.build(op.Relu(op.Dropout(vector())))
    rule = gd.rule(dropout, name="drop")(lambda x, ratio: x if ratio is None else None)
    assert gd.rewrite(model, rule).applied == {"drop": 1}
