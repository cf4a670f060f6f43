"""If, Loop, Scan, SequenceMap and FlexAttention with Python callables for bodies."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

import graphdsl as gd
from graphdsl import op

X = np.arange(6, dtype=np.float32).reshape(2, 3)


def matrix(name: str = "x") -> gd.Tensor:
    return gd.input(name, gd.float32["n", 3])


def flag(name: str = "c") -> gd.Tensor:
    return gd.input(name, gd.bool[()])


def run(outputs: Any, *, reference: bool = True, **feeds: Any) -> Any:
    """What a model of these outputs gives on ONNX Runtime and in the reference evaluator; the checker must agree."""
    model = gd.build(outputs)
    proto = model.to_proto()
    onnx.checker.check_model(proto, full_check=True)
    onnx.ModelProto.FromString(proto.SerializeToString())
    given = {name: feeds[name] for name in [tensor.name for tensor in model.inputs]}
    found = list(model.run(given).values())
    if reference:
        for one, two in zip(found, model.run(given, providers="reference").values(), strict=True):
            np.testing.assert_array_equal(one, two, strict=isinstance(one, np.ndarray))
    return found[0] if len(found) == 1 else found


def line_of(function: Callable[..., Any], text: str) -> str:
    """`test_control_flow.py:NN` of the first line of a function that holds a text."""
    lines, start = inspect.getsourcelines(function)
    return f"test_control_flow.py:{start + next(i for i, line in enumerate(lines) if text in line)}"


# Branches


def test_a_branch_is_chosen_at_run_time() -> None:
    x, c = matrix(), flag()
    y = op.If(c, then_branch=lambda: x * 2, else_branch=lambda: x - 1)
    assert y.type == gd.float32["n", 3]
    np.testing.assert_array_equal(run(y, x=X, c=True), X * 2)
    np.testing.assert_array_equal(run(y, x=X, c=False), X - 1)


def test_the_types_of_branches_are_reconciled() -> None:
    x, c = gd.input("x", gd.float32[2, 3]), flag()

    def chosen(then: Callable[[], Any], otherwise: Callable[[], Any]) -> gd.Type | None:
        return op.If(c, then_branch=then, else_branch=otherwise).type

    assert chosen(lambda: x, lambda: x * 2) is gd.float32[2, 3]
    assert chosen(lambda: x, lambda: op.Concat(x, x, axis=0)) is gd.float32[None, 3]
    assert repr(chosen(lambda: x, lambda: x.reshape(-1))) == "float32"
    one, two = op.SequenceConstruct(x), op.SequenceConstruct(x.reshape(3, 2))
    assert chosen(lambda: one, lambda: two) is gd.sequence(gd.float32[None, None])
    assert chosen(lambda: op.Optional(x), lambda: op.Optional(x[:1])) is gd.optional(gd.float32[None, 3])


@pytest.mark.parametrize(
    "then, otherwise, message",
    [
        (
            lambda x: x,
            lambda x: x.astype(gd.int64),
            "If: output 0 is float32['n', 3] in then_branch and int64['n', 3] in else_branch; cast one of them",
        ),
        (
            lambda x: (x, x),
            lambda x: (x, op.SequenceConstruct(x)),
            (
                "If: output 1 is float32['n', 3] in then_branch and sequence(float32['n', 3]) in else_branch; "
                "cast one of them"
            ),
        ),
        (lambda x: (x, x), lambda x: x, "If: then_branch returns 2 tensors, else_branch 1; both return as many"),
    ],
)
def test_branches_that_do_not_fit_each_other_are_refused(
    then: Callable[..., Any], otherwise: Callable[..., Any], message: str
) -> None:
    x, c = matrix(), flag()
    with pytest.raises(gd.InferenceError) as caught:
        op.If(c, then_branch=lambda: then(x), else_branch=lambda: otherwise(x))
    assert str(caught.value).splitlines()[:2] == [message, "  inputs: cond bool[()]"]
    assert line_of(test_branches_that_do_not_fit_each_other_are_refused, "op.If(") in str(caught.value)


def test_a_condition_is_a_scalar_of_bool() -> None:
    x = gd.input("x", gd.bool[2])
    with pytest.raises(gd.InferenceError, match=r"If: cond is a scalar of bool, got bool\[2\]\n"):
        op.If(x, then_branch=lambda: x, else_branch=lambda: x)
    with pytest.raises(gd.InferenceError, match="If: cond is float32, which is not allowed; it takes bool\n"):
        op.If(matrix(), then_branch=lambda: x, else_branch=lambda: x)
    assert op.If(x[:1], then_branch=lambda: x, else_branch=lambda: x).type is gd.bool[2]


def test_a_branch_returns_numbers_arrays_and_lists_of_tensors() -> None:
    c = flag()
    number = op.If(c, then_branch=lambda: 1.5, else_branch=lambda: np.float32(2))
    array = op.If(c, then_branch=lambda: np.array([1, 2]), else_branch=lambda: np.array([3, 4]))
    several = op.If(c, then_branch=lambda: [1, True], else_branch=lambda: (2, False))
    assert [t.type for t in (number, array, *several)] == [gd.float32[()], gd.int64[2], gd.int64[()], gd.bool[()]]
    found = run((number, array, *several), c=False)
    assert [value.tolist() for value in found] == [2.0, [3, 4], 2, False]


def test_a_branch_returns_what_is_not_its_own() -> None:
    """An outer tensor, an input of the model, a constant: each becomes an output through an Identity."""
    x, c = matrix(), flag()
    outer = (x * 2).named("outer")
    found = op.If(c, then_branch=lambda: (outer, x, 1.0), else_branch=lambda: (x, outer, outer.sum()))
    first, second, third = run(found, x=X, c=True)
    np.testing.assert_array_equal(first, X * 2)
    np.testing.assert_array_equal(second, X)
    assert third == 1.0
    assert run(found, x=X, c=False)[2] == (X * 2).sum()


def test_an_input_that_one_branch_uses_is_an_input_of_the_model() -> None:
    x, y, c = matrix(), matrix("y"), flag()
    model = gd.build(op.If(c, then_branch=lambda: x, else_branch=lambda: y))
    assert [tensor.name for tensor in model.inputs] == ["x", "y", "c"]
    np.testing.assert_array_equal(model(X, X + 1, False), X + 1)


def test_what_a_branch_does_not_need_is_not_in_it() -> None:
    x, c = matrix(), flag()

    def branch() -> gd.Tensor:
        op.Exp(x)
        return x * 2

    model = gd.build(op.If(c, then_branch=branch, else_branch=lambda: x))
    assert [node.op_type for node in model.nodes[0].bodies[1].nodes] == ["Mul"]


def test_a_tensor_that_leaves_its_branch_is_refused_with_both_lines() -> None:
    x, c = matrix(), flag()
    kept: list[gd.Tensor] = []

    def branch() -> gd.Tensor:
        kept.append(x * 3)
        return kept[0]

    y = op.If(c, then_branch=branch, else_branch=lambda: x)
    with pytest.raises(gd.ScopeError) as caught:
        kept[0] + y
    here = test_a_tensor_that_leaves_its_branch_is_refused_with_both_lines
    lines = str(caught.value).splitlines()
    assert lines[0] == (
        "a tensor made in the then_branch of If cannot be used in the program; "
        "return it from the body to use it outside"
    )
    assert lines[1].startswith("  made at ") and line_of(here, "x * 3") in lines[1]
    assert lines[2].startswith("  at ") and line_of(here, "kept[0] + y") in lines[2]
    with pytest.raises(gd.ScopeError, match="made in the then_branch of If cannot be used in the else_branch of If"):
        op.If(c, then_branch=lambda: x, else_branch=lambda: kept[0])
    with pytest.raises(gd.ScopeError, match="made in the then_branch of If cannot be used in the program"):
        gd.build(op.Relu(kept[0]))


@pytest.mark.parametrize(
    "keywords, message",
    [
        (
            {"then_branch": lambda: None, "else_branch": lambda: 1},
            "the then_branch of If: a tensor is needed, got nothing (is a return missing?)",
        ),
        (
            {"then_branch": dict, "else_branch": lambda: 1},
            "the then_branch of If has no outputs; return a tensor",
        ),
        (
            {"then_branch": 1, "else_branch": lambda: 1},
            "If: then_branch is a function that returns tensors, as in then_branch=lambda: x * 2, got 1",
        ),
        ({"then_branch": lambda a: a, "else_branch": lambda: 1}, "If: then_branch takes 1 parameter, and gets 0"),
        ({"else_branch": lambda: 1}, "If: 'then_branch' is required, a function that returns tensors"),
    ],
)
def test_what_is_no_branch_is_refused(keywords: dict[str, Any], message: str) -> None:
    c = flag()
    with pytest.raises((gd.BuildError, gd.SignatureError)) as caught:
        op.If(c, **keywords)
    assert str(caught.value).startswith(message)
    assert line_of(test_what_is_no_branch_is_refused, "op.If(c") in str(caught.value)


def test_a_tensor_of_a_body_is_no_output_of_a_model() -> None:
    kept: list[gd.Tensor] = []

    def body(i: gd.Tensor, going: gd.Tensor, state: gd.Tensor) -> Any:
        kept.extend([state, state + 1])
        return going, kept[1]

    y = op.Loop(3, True, matrix(), body=body)
    for tensor in kept:
        with pytest.raises(gd.ScopeError, match="made in the body of Loop cannot be used in the program") as caught:
            gd.build({"y": y, "kept": tensor})
        assert line_of(test_a_tensor_of_a_body_is_no_output_of_a_model, "gd.build({") in str(caught.value)


def test_bodies_are_given_by_name() -> None:
    x, c = matrix(), flag()
    with pytest.raises(gd.SignatureError, match="If: bodies are given by name, as then_branch=, else_branch=, not by"):
        op.If(c, lambda: x, lambda: x)  # type: ignore[call-arg, arg-type]
    with pytest.raises(gd.SignatureError, match="Loop: bodies are given by name, as body=, not by place"):
        op.Loop(3, None, lambda i, going, state: (going, state), x)  # type: ignore[call-arg, arg-type]


def test_a_number_that_does_not_fit_names_the_operator_and_the_line() -> None:
    with pytest.raises(gd.SignatureError) as caught:
        op.Loop(3.5, None, matrix(), body=lambda i, going, state: (going, state))
    assert str(caught.value).startswith("Loop: input 'M': 3.5 does not fit int64")
    assert line_of(test_a_number_that_does_not_fit_names_the_operator_and_the_line, "op.Loop(3.5") in str(caught.value)


def test_dimensions_are_counts_states_and_results() -> None:
    x = matrix()
    rows = x.shape[0]
    total, state = op.Loop(rows, None, 0, [rows, 7], body=lambda i, going, t, s: (True, t + rows, s + 1))
    chosen = op.If(flag(), then_branch=lambda: rows * 2, else_branch=lambda: 0)
    count = len(X)
    found = run((total, state, chosen, rows), x=X, c=True)
    assert [array.tolist() for array in found] == [count * count, [2 * count, 7 + count], 2 * count, count]


# Loops


def test_a_loop_carries_state_and_collects() -> None:
    x = matrix()

    def body(i: gd.Tensor, going: gd.Tensor, total: gd.Tensor) -> Any:
        return going, total + x.sum(), total * 10, i

    total, each, numbers = op.Loop(4, None, 0.5, body=body)
    assert [t.type for t in (total, each, numbers)] == [gd.float32[()], gd.float32[None], gd.int64[None]]
    found = run((total, each, numbers), x=X)
    assert [value.tolist() for value in found] == [60.5, [5, 155, 305, 455], [0, 1, 2, 3]]


def test_a_loop_ends_by_its_condition_or_by_its_count() -> None:
    n = gd.input("n", gd.int64[()])

    def doubled(i: gd.Tensor, going: gd.Tensor, s: gd.Tensor) -> Any:
        return s * 2 < 20, s * 2

    one = gd.constant(1)
    assert run(op.Loop(None, True, one, body=doubled)) == 32
    assert run(op.Loop(None, None, one, body=doubled)) == 32
    assert run(op.Loop(3, None, one, body=doubled)) == 8
    assert run(op.Loop(n, None, one, body=doubled), n=0) == 1
    assert run(op.Loop(n, False, one, body=doubled), n=9) == 1
    assert run(op.Loop(n, n > 5, one, body=doubled), n=9) == 32


def test_a_loop_without_state_collects() -> None:
    """The checker wants both optional inputs to be there, empty."""
    squares = op.Loop(4, None, body=lambda i, going: (True, i * i))
    assert run(squares).tolist() == [0, 1, 4, 9]
    assert run(op.Loop(3, body=lambda i, going: (True, i))).tolist() == [0, 1, 2]
    model = gd.build(op.Loop(body=lambda i, going: (i < 2, i)))
    assert list(model.to_proto().graph.node[0].input) == ["", ""]
    assert model().tolist() == [0, 1, 2]


def test_inputs_of_a_loop_by_name() -> None:
    x = matrix()

    def swap(i: gd.Tensor, going: gd.Tensor, a: gd.Tensor, b: gd.Tensor) -> Any:
        return going, b, a

    first, second = run(op.Loop(M=3, cond=True, v_initial=[x, x * 2], body=swap), x=X)
    np.testing.assert_array_equal(first, X * 2)
    np.testing.assert_array_equal(second, X)
    once = run(op.Loop(body=lambda i, going, s: (i < 2, s + 1), v_initial=x), x=X)
    np.testing.assert_array_equal(once, X + 3)


def test_a_body_returns_its_parameters_and_outer_tensors() -> None:
    x = matrix()
    outer = x + 1
    a, b, seen = op.Loop(2, None, x, x, body=lambda i, going, a, b: (going, outer, a, b))
    assert seen.type == gd.float32[None, "n", 3]
    a, b, seen = run((a, b, seen), x=X)
    np.testing.assert_array_equal(a, X + 1)
    np.testing.assert_array_equal(b, X + 1)
    np.testing.assert_array_equal(seen, [X, X])


def test_a_state_that_grows_has_unknown_sizes() -> None:
    x = gd.input("x", gd.float32[1, 3])

    def body(i: gd.Tensor, going: gd.Tensor, rows: gd.Tensor, fixed: gd.Tensor) -> Any:
        assert rows.type in (gd.float32[1, 3], gd.float32[None, 3])  # traced again once it is known to grow
        return True, op.Concat(rows, fixed, axis=0), fixed

    rows, fixed = op.Loop(3, None, x, x, body=body)
    assert (rows.type, fixed.type) == (gd.float32[None, 3], gd.float32[1, 3])
    (inner,) = gd.build(rows).nodes[0].bodies
    assert [value.type for value in inner.inputs[2:]] == [gd.float32[None, 3], gd.float32[1, 3]]
    assert run((rows, fixed), x=X[:1])[0].shape == (4, 3)


def test_a_state_whose_rank_changes_has_unknown_rank() -> None:
    x = gd.input("x", gd.float32[3])
    y = op.Loop(2, None, x, body=lambda i, going, s: (True, op.Unsqueeze(s, [0])))
    assert repr(y.type) == "float32"
    assert gd.build(y.reshape(-1))(X[0]).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "body, message",
    [
        (
            lambda i, going, s: (True, s.astype(gd.int64)),
            (
                "Loop: the state 's' is float32['n', 3] before the first iteration and int64['n', 3] after one; "
                "cast it in body"
            ),
        ),
        (
            lambda i, going, *s: (True, op.SequenceConstruct(*s)),
            (
                "Loop: the state 'state 0' is float32['n', 3] before the first iteration and sequence(float32['n', 3]) "
                "after one; cast it in body"
            ),
        ),
        (
            lambda i, going, s: s,
            (
                "Loop: body returns 1 tensor, and at least 2 are needed: the condition, then 1 state tensor, "
                "then what is collected"
            ),
        ),
        (
            lambda i, going, s: (s, s),
            "Loop: the condition that body returns is a scalar of bool, got float32['n', 3]",
        ),
        (lambda i, s: (True, s), "Loop: body takes 2 parameters, and gets 3"),
    ],
)
def test_a_body_that_does_not_fit_is_refused(body: Callable[..., Any], message: str) -> None:
    x = matrix()
    with pytest.raises((gd.InferenceError, gd.BuildError)) as caught:
        op.Loop(3, None, x, body=body)
    assert str(caught.value).splitlines()[0] == message
    assert line_of(test_a_body_that_does_not_fit_is_refused, "op.Loop(3") in str(caught.value)


def test_a_count_and_a_condition_are_scalars() -> None:
    x = matrix()
    with pytest.raises(gd.InferenceError, match="Loop: M is float32, which is not allowed; it takes int64\n"):
        op.Loop(x, None, body=lambda i, going: (True, i))
    with pytest.raises(gd.InferenceError, match=r"Loop: the trip count M is a scalar of int64, got int64\[2\]\n"):
        op.Loop(np.array([1, 2]), None, body=lambda i, going: (True, i))


def test_a_sequence_is_a_state() -> None:
    x = matrix()

    def body(i: gd.Tensor, going: gd.Tensor, rows: gd.Tensor) -> Any:
        return going, op.SequenceInsert(rows, x[:1] * i.astype(gd.float32))

    rows = op.Loop(3, None, op.SequenceEmpty(dtype=gd.float32), body=body)
    assert isinstance(rows.type, gd.SequenceType)
    found = gd.build(rows)(X)
    assert [row.tolist() for row in found] == [[[0, 0, 0]], [[0, 1, 2]], [[0, 2, 4]]]
    np.testing.assert_array_equal(gd.build(op.ConcatFromSequence(rows, axis=0))(X), np.outer([0, 1, 2], X[0]))


def test_an_optional_state_may_be_filled() -> None:
    """As in ONNX's own suite: absent before the first round, a sequence from then on."""
    begin = gd.input("begin", gd.optional(gd.sequence(gd.float32[1])))

    def body(i: gd.Tensor, going: gd.Tensor, known: gd.Tensor) -> Any:
        rows = op.If(
            op.OptionalHasElement(known),
            then_branch=lambda: op.OptionalGetElement(known),
            else_branch=lambda: op.SequenceConstruct(np.zeros(1, np.float32)),
        )
        return going, op.SequenceInsert(rows, i.astype(gd.float32).reshape(1))

    rows = op.Loop(3, None, begin, body=body)
    assert rows.type is gd.sequence(gd.float32[1])
    for given, want in ((None, [[0], [0], [1], [2]]), ([np.ones(1, np.float32)], [[1], [0], [1], [2]])):
        model = gd.build(rows)
        onnx.checker.check_model(model.to_proto(), full_check=True)
        assert [row.tolist() for row in model.run({"begin": given})["output"]] == want


def test_how_many_outputs_a_body_makes_is_not_asked_for() -> None:
    x = matrix()

    def outputs(count: int) -> Any:
        return op.Loop(3, None, x, body=lambda i, going, s: (True, s, s), outputs=count)

    assert len(outputs(2)) == 2
    for count in (1, 3):
        with pytest.raises(gd.SignatureError, match=f"Loop has 2 outputs by its body, got outputs={count}\n"):
            outputs(count)


# Scans


def test_a_scan_goes_through_rows() -> None:
    x = matrix()
    total, doubled = op.Scan(0.0, x, body=lambda s, row: (s + row.sum(), row * 2), num_scan_inputs=1)
    assert (total.type, doubled.type) == (gd.float32[()], gd.float32["n", 3])
    total, doubled = run((total, doubled), x=X)
    assert total == 15
    np.testing.assert_array_equal(doubled, X * 2)


def test_a_scan_goes_along_any_axes_and_backwards() -> None:
    x, y = gd.input("x", gd.float32[2, 3]), gd.input("y", gd.float32[3, 2, 4])

    def body(before: gd.Tensor, column: gd.Tensor, slab: gd.Tensor) -> Any:
        assert (column.type, slab.type) == (gd.float32[2], gd.float32[2, 4])
        now = before + column
        return now, now, slab.sum(axis=1)

    last, sums, slabs = op.Scan(
        np.zeros(2, np.float32),
        x,
        y,
        body=body,
        num_scan_inputs=2,
        scan_input_axes=[1, 0],
        scan_input_directions=[1, 0],
        scan_output_axes=[-1, 0],
        scan_output_directions=[0, 1],
    )
    assert [t.type for t in (last, sums, slabs)] == [gd.float32[2], gd.float32[2, 3], gd.float32[3, 2]]
    array = np.arange(24, dtype=np.float32).reshape(3, 2, 4)
    last, sums, slabs = run((last, sums, slabs), x=X, y=array)
    np.testing.assert_array_equal(last, X.sum(1))
    np.testing.assert_array_equal(sums, np.cumsum(X[:, ::-1], axis=1))
    np.testing.assert_array_equal(slabs, array.sum(2)[::-1])


def test_a_scan_of_opset_8_goes_through_batches() -> None:
    with gd.opset(8):
        x = gd.input("x", gd.float32["b", "t", 3])
        begin = gd.input("begin", gd.float32["b", 3])

        def body(s: gd.Tensor, row: gd.Tensor) -> Any:
            assert (s.type, row.type) == (gd.float32[3], gd.float32[3])
            now = op.Add(s, row)
            return now, now

        last, all_of = op.Scan(None, begin, x, body=body, num_scan_inputs=1)
        assert (last.type, all_of.type) == (gd.float32["b", 3], gd.float32["b", "t", 3])
        array = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
        last, all_of = run((last, all_of), reference=False, x=array, begin=np.ones((2, 3), np.float32))
    np.testing.assert_array_equal(last, array.sum(1) + 1)
    np.testing.assert_array_equal(all_of, np.cumsum(array, 1) + 1)


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda x: op.Scan(x, body=lambda r: r),
            (
                "Scan: 'num_scan_inputs' is required: how many of the inputs, the last ones, are scanned; "
                "the others are state"
            ),
        ),
        (
            lambda x: op.Scan(x, body=lambda r: r, num_scan_inputs=2),
            "Scan: num_scan_inputs is 2, of 1 input",
        ),
        (
            lambda x: op.Scan(x, body=lambda r: r, num_scan_inputs=1, scan_input_axes=[2]),
            "Scan: it goes along axis 2, which float32['n', 3] does not have",
        ),
        (
            lambda x: op.Scan(x, x, body=lambda s, r: (), num_scan_inputs=1),
            "the body of Scan has no outputs; return a tensor, a tuple of tensors or a dict of them",
        ),
        (
            lambda x: op.Scan(x, x, x, body=lambda s, q, r: r, num_scan_inputs=1),
            "Scan: body returns 1 tensor, fewer than the 2 state tensors",
        ),
    ],
)
def test_a_scan_that_does_not_fit_is_refused(call: Callable[[gd.Tensor], Any], message: str) -> None:
    with pytest.raises((gd.SignatureError, gd.BuildError, gd.InferenceError)) as caught:
        call(matrix())
    assert str(caught.value).splitlines()[0] == message


# Sequences


def test_a_body_for_each_element_of_a_sequence() -> None:
    x = matrix()
    rows = op.SequenceConstruct(x, x + 1)
    scaled = op.SequenceMap(rows, body=lambda row: row * 2)
    assert scaled.type is gd.sequence(gd.float32["n", 3])
    paired = op.SequenceMap(rows, scaled, x, body=lambda a, b, whole: (a + b, b.sum() + whole))
    assert [t.type for t in paired] == [gd.sequence(gd.float32["n", 3])] * 2
    found = run((scaled, *paired), x=X)
    np.testing.assert_array_equal(found[0], [X * 2, X * 2 + 2])
    np.testing.assert_array_equal(found[1], [X * 3, X * 3 + 3])
    np.testing.assert_array_equal(found[2], [X + 30, X + 42])


def test_a_tensor_is_no_sequence_to_map() -> None:
    with pytest.raises(gd.SignatureError, match=r"SequenceMap: input_sequence is float32\['n', 3\], and a sequence is"):
        op.SequenceMap(matrix(), body=lambda row: row)


# Attention


def test_the_bodies_of_attention_see_only_their_parameter() -> None:
    """The standard gives FlexAttention a function body, so its bodies hold their constants and capture nothing."""
    preview = gd.domain("ai.onnx.preview", 1)
    with gd.opset(26):
        q = gd.input("q", gd.float32[1, 2, 3, 4])
        y = preview.FlexAttention(q, q, q, score_mod=lambda scores: op.Tanh(scores) * 2.0)
        assert y.type is gd.float32[1, 2, 3, 4]
        model = gd.build(y)
        onnx.checker.check_model(model.to_proto(), full_check=True)
        assert [node.op_type for node in model.nodes[0].bodies[0].nodes] == ["Constant", "Tanh", "Mul"]
        array = np.linspace(0, 1, 24, dtype=np.float32).reshape(1, 2, 3, 4)
        (found,) = ReferenceEvaluator(model.to_proto()).run(None, {"q": array})
        scores = np.tanh(array @ array.swapaxes(2, 3) / 2) * 2
        weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
        np.testing.assert_allclose(found, weights @ array, rtol=1e-5)
        with pytest.raises(gd.ScopeError, match="the tensor 'q' made in the program cannot be used in the prob_mod of"):
            preview.FlexAttention(q, q, q, prob_mod=lambda scores: scores * q.sum())
        with pytest.raises(gd.InferenceError, match=r"score_mod returns one tensor of the type that it takes, float32"):
            preview.FlexAttention(q, q, q, score_mod=lambda scores: scores.sum(axis=0))


# Nesting


def test_bodies_capture_from_all_that_enclose_them() -> None:
    x, c = matrix(), flag()
    weight = gd.constant(np.float32(3), name="weight")

    def outer(i: gd.Tensor, going: gd.Tensor, s: gd.Tensor) -> Any:
        local = s + i.astype(gd.float32)

        def inner(total: gd.Tensor, row: gd.Tensor) -> Any:
            return op.If(c, then_branch=lambda: total + row * weight, else_branch=lambda: total + local.max()), row

        total, _ = op.Scan(0.0 * x[0], x, body=inner, num_scan_inputs=1)
        return going, s + total

    def interpreted(x: np.ndarray, c: bool) -> np.ndarray:
        s = np.zeros(3, np.float32)
        for i in range(3):
            total = 0 * x[0]
            for row in x:
                total = total + (row * 3 if c else (s + i).max())
            s = s + total
        return s

    y = op.Loop(3, None, np.zeros(3, np.float32), body=outer)
    for c_value in (True, False):
        np.testing.assert_array_equal(run(y, x=X, c=c_value), interpreted(X, c_value))


def test_a_body_is_a_method_a_partial_or_a_function_of_any_number() -> None:
    from functools import partial

    class Counter:
        def body(self, i: gd.Tensor, going: gd.Tensor, s: gd.Tensor) -> Any:
            return going, s + 1

    def scaled(factor: float, i: gd.Tensor, going: gd.Tensor, s: gd.Tensor) -> Any:
        return going, s * factor

    x = matrix()
    counted = op.Loop(3, None, x, body=Counter().body)
    tripled = op.Loop(1, None, x, body=partial(scaled, 3.0))
    handed = op.Loop(1, None, x, x, body=lambda i, going, *states: (going, *states[::-1]))
    found = run((counted, tripled, *handed), x=X)
    np.testing.assert_array_equal(found[0], X + 3)
    np.testing.assert_array_equal(found[1], X * 3)


def nested(depth: int, innermost: Callable[[], Any], c: gd.Tensor) -> Any:
    """What a body makes that lies this many bodies deep."""
    if depth == 0:
        return innermost()
    return op.If(c, then_branch=lambda: nested(depth - 1, innermost, c), else_branch=innermost)


def test_bodies_nest_as_deep_as_protobuf_reads() -> None:
    x, c = matrix(), flag()
    np.testing.assert_array_equal(run(nested(31, lambda: x * 2, c), x=X, c=True), X * 2)
    with pytest.raises(gd.BuildError) as caught:
        nested(32, lambda: x * 2, c)
    assert str(caught.value).splitlines()[0] == (
        "the then_branch of If would be nested 32 deep; protobuf reads at most 31 levels of bodies: "
        "move an inner one out, or into a @gd.function"
    )
    assert line_of(nested, "then_branch=") in str(caught.value)


def test_a_sequence_in_the_deepest_body_is_one_level_too_many() -> None:
    """A sequence's type takes more levels of the proto than a tensor's."""
    x, c = matrix(), flag()
    assert len(run(nested(30, lambda: op.SequenceConstruct(x), c), x=X, c=True)) == 1
    with pytest.raises(gd.BuildError) as caught:
        gd.build(nested(31, lambda: op.SequenceConstruct(x), c))
    assert str(caught.value).splitlines()[0] == (
        "gd.build: a body of If is nested 31 deep, where what it holds is beyond what protobuf reads; "
        "move an inner body out, or into a @gd.function"
    )


def test_a_function_begins_to_count_anew() -> None:
    x, c = matrix(), flag()

    @gd.function(domain="test")
    def deep(x: gd.Tensor, c: gd.Tensor) -> Any:
        return nested(31, lambda: x * 2, c)

    y = nested(31, lambda: deep(x, c), c)
    np.testing.assert_array_equal(run(y, reference=False, x=X, c=True), X * 2)
    with pytest.raises(gd.BuildError, match="would be nested 32 deep; protobuf reads at most 31 levels of bodies"):
        gd.inline(gd.build(y))

    @gd.function(domain="test")
    def deeper(x: gd.Tensor, c: gd.Tensor) -> Any:
        return nested(32, lambda: x * 2, c)

    with pytest.raises(gd.BuildError, match="would be nested 32 deep; protobuf reads at most 31 levels of bodies"):
        deeper(x, c)


def test_a_model_in_a_body_inlines_itself_there() -> None:
    x, c = matrix(), flag()
    double = gd.build({"twice": (y := matrix("y")) * 2}, inputs=[y])
    found = op.If(c, then_branch=lambda: double(x), else_branch=lambda: double(double(x)))
    np.testing.assert_array_equal(run(found, x=X, c=True), X * 2)
    np.testing.assert_array_equal(run(found, x=X, c=False), X * 4)


def test_a_model_with_a_loop_takes_the_sizes_of_its_arguments() -> None:
    y = matrix("y")
    grown = gd.build(op.Loop(2, None, y, body=lambda i, going, s: (going, s + y, s)), inputs=[y])
    x = gd.input("x", gd.float32[5, 3])
    last, all_of = grown(x)
    assert (last.type, all_of.type) == (gd.float32[5, 3], gd.float32[None, 5, 3])
    array = np.ones((5, 3), np.float32)
    np.testing.assert_array_equal(run((last, all_of), x=array)[0], array * 3)


def test_the_same_program_gives_the_same_bytes() -> None:
    def program() -> bytes:
        x, c = matrix(), flag()
        y = op.Loop(2, None, x, body=lambda i, going, s: (going, nested(2, lambda: s + i.astype(gd.float32), c)))
        return gd.build({"y": y}).to_proto().SerializeToString(deterministic=True)

    assert program() == program()
