"""Random programs of nested branches, loops, scans and functions, against a Python interpreter of the same callables.

A program is a block: statements that each add values to those in sight, and which values the block returns. The same
callables are run twice: traced, with the operators of the language, and directly on arrays, with Python's own control
flow. All values are int64 vectors of three elements, so both must agree exactly; arithmetic wraps.
"""

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
from hypothesis import given, note
from hypothesis import strategies as st

import graphdsl as gd
from graphdsl import op

Values = list[Any]


class Block(NamedTuple):
    """Statements, and what is returned: places among the values in sight, counted around."""

    statements: tuple["Statement", ...]
    returns: tuple[int, ...]


class Arithmetic(NamedTuple):
    symbol: str
    left: int
    right: int


class Number(NamedTuple):
    value: int


class Condition(NamedTuple):
    """Whether the sum of a value is less than a number."""

    place: int
    bound: int


class Branch(NamedTuple):
    condition: Condition
    then: Block
    otherwise: Block


class Repeat(NamedTuple):
    """A loop: the body's first returned values are the states, the others are collected."""

    rounds: int | None
    going: Condition | None
    states: tuple[int, ...]
    body: Block


class Rows(NamedTuple):
    """A scan through the rows of an outer product."""

    states: tuple[int, ...]
    left: int
    right: int
    body: Block


class Call(NamedTuple):
    """A function of all values in sight."""

    body: Block


Statement = Arithmetic | Number | Branch | Repeat | Rows | Call

PLACES = st.integers(0, 20)
NUMBERS = st.integers(-5, 5)
CONDITIONS = st.builds(Condition, PLACES, st.integers(-40, 40))
SIMPLE = st.one_of(st.builds(Arithmetic, st.sampled_from("+-*"), PLACES, PLACES), st.builds(Number, NUMBERS))


def blocks(depth: int, returns: st.SearchStrategy[tuple[int, ...]]) -> st.SearchStrategy[Block]:
    statement = st.one_of(SIMPLE, compound(depth)) if depth else SIMPLE
    return st.builds(Block, st.lists(statement, max_size=4).map(tuple), returns)


def places(least: int, most: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(PLACES, min_size=least, max_size=most).map(tuple)


@st.composite
def compound(draw: st.DrawFn, depth: int) -> Statement:
    kind = draw(st.sampled_from([Branch, Repeat, Rows, Call]))
    if kind is Branch:
        returned = draw(st.integers(1, 3))
        inner = blocks(depth - 1, places(returned, returned))
        return Branch(draw(CONDITIONS), draw(inner), draw(inner))
    if kind is Call:
        return Call(draw(blocks(depth - 1, places(1, 3))))
    states = draw(places(0, 2))
    body = draw(blocks(depth - 1, places(len(states) + (not states), len(states) + 2)))
    if kind is Rows:
        return Rows(states, draw(PLACES), draw(PLACES), body)
    going = draw(st.none() | CONDITIONS)
    return Repeat(draw(st.integers(0, 3)), going, states, body)


PROGRAMS = blocks(3, places(1, 3))


# The two ways to run it


class Traced:
    """Control flow as the operators of the language."""

    def __init__(self) -> None:
        self._number = count()

    def branch(self, condition: Any, then: Callable[[], Values], otherwise: Callable[[], Values]) -> Values:
        return listed(op.If(condition, then_branch=then, else_branch=otherwise))

    def repeat(self, rounds: int | None, going: Any, states: Values, body: Callable[..., Values]) -> Values:
        return listed(op.Loop(rounds, going, *states, body=body))

    def rows(self, states: Values, matrix: Any, body: Callable[..., Values]) -> Values:
        return listed(op.Scan(*states, matrix, body=body, num_scan_inputs=1))

    def call(self, body: Callable[..., Values], values: Values) -> Values:
        return listed(gd.function(domain="test", name=f"f{next(self._number)}")(body)(*values))


class Interpreted:
    """Control flow as Python's own."""

    def branch(self, condition: Any, then: Callable[[], Values], otherwise: Callable[[], Values]) -> Values:
        return then() if condition else otherwise()

    def repeat(self, rounds: int | None, going: Any, states: Values, body: Callable[..., Values]) -> Values:
        collected: list[Values] = []
        i = 0
        while (rounds is None or i < rounds) and (going is None or going):
            going, *found = body(np.int64(i), np.True_, *states)
            states, i = found[: len(states)], i + 1
            collected.append(found[len(states) :])
        return [*states, *stacked(collected, body)]

    def rows(self, states: Values, matrix: Any, body: Callable[..., Values]) -> Values:
        collected: list[Values] = []
        for row in matrix:
            found = body(*states, row)
            states = found[: len(states)]
            collected.append(found[len(states) :])
        return [*states, *stacked(collected, body)]

    def call(self, body: Callable[..., Values], values: Values) -> Values:
        return body(*values)


def stacked(collected: list[Values], body: Callable[..., Values]) -> Values:
    """What the rounds collected, each as one array; there may have been no round."""
    if collected:
        return [np.stack(arrays) for arrays in zip(*collected, strict=True)]
    return [np.zeros((0, 3), np.int64)] * body.collects  # type: ignore[attr-defined]


def listed(tensors: Any) -> Values:
    return list(tensors) if isinstance(tensors, tuple) else [tensors]


def execute(block: Block, values: Sequence[Any], way: Traced | Interpreted) -> Values:
    """What a block returns, given the values in sight."""
    seen = list(values)
    for statement in block.statements:
        seen += perform(statement, seen, way)
    return [seen[place % len(seen)] for place in block.returns]


def perform(statement: Statement, seen: Values, way: Traced | Interpreted) -> Values:
    """The values that a statement adds."""

    def at(place: int) -> Any:
        return seen[place % len(seen)]

    def holds(condition: Condition, values: Sequence[Any] = seen) -> Any:
        return values[condition.place % len(values)].sum() < condition.bound

    match statement:
        case Arithmetic(symbol, left, right):
            a, b = at(left), at(right)
            return [a + b if symbol == "+" else a - b if symbol == "-" else a * b]
        case Number(value):
            return [at(0) * 0 + value]
        case Branch(condition, then, otherwise):
            return way.branch(holds(condition), lambda: execute(then, seen, way), lambda: execute(otherwise, seen, way))
        case Call(inner):
            return way.call(lambda *given: execute(inner, given, way), seen)
        case Repeat(rounds, going, states, inner):

            def turn(i: Any, _: Any, *given: Any) -> Values:
                returned = execute(inner, [*seen, *given, at(0) * 0 + i], way)
                return [True if going is None else holds(going, returned), *returned]

            turn.collects = len(inner.returns) - len(states)  # type: ignore[attr-defined]
            begin = None if going is None else holds(going)
            found = way.repeat(rounds, begin, [at(place) for place in states], turn)
            return [*found[: len(states)], *(array.sum(axis=0) for array in found[len(states) :])]
        case Rows(states, left, right, inner):

            def step(*given: Any) -> Values:
                return execute(inner, [*seen, *given], way)

            step.collects = len(inner.returns) - len(states)  # type: ignore[attr-defined]
            found = way.rows([at(place) for place in states], at(left).reshape(3, 1) * at(right), step)
            return [*found[: len(states)], *(array.sum(axis=0) for array in found[len(states) :])]
    raise AssertionError(statement)


@given(
    program=PROGRAMS, values=st.lists(st.integers(-9, 9), min_size=6, max_size=6), opset=st.sampled_from([13, 18, 21])
)
def test_a_traced_program_computes_what_python_does(program: Block, values: list[int], opset: int) -> None:
    arrays = [np.array(values[:3]), np.array(values[3:])]
    with np.errstate(over="ignore"):
        want = execute(program, arrays, Interpreted())
    with gd.opset(opset):
        inputs = [gd.input(name, gd.int64[3]) for name in "ab"]
        returned = execute(program, inputs, Traced())
        model = gd.build({f"y{i}": tensor for i, tensor in enumerate(returned)}, inputs=inputs, opset=opset)
    onnx.checker.check_model(model.to_proto(), full_check=True)
    note(str(model))
    feeds = dict(zip("ab", arrays, strict=True))
    for way in (model, gd.inline(model)):
        found = way.run(feeds)
        assert [found[f"y{i}"].tolist() for i in range(len(want))] == [array.tolist() for array in want]
    assert gd.inline(model).functions == ()


def test_the_comparison_sees_a_difference() -> None:
    """An interpreter that is wrong about what a loop carries is found out."""

    class Wrong(Interpreted):
        def repeat(self, rounds: int | None, going: Any, states: Values, body: Callable[..., Values]) -> Values:
            return super().repeat(0, going, states, body)

    double = Block((Arithmetic("+", 2, 2),), (4,))
    program = Block((Repeat(2, None, (0,), double),), (2,))
    arrays = [np.array([1, 2, 3])] * 2
    assert execute(program, arrays, Interpreted())[0].tolist() == [4, 8, 12]
    assert execute(program, arrays, Wrong())[0].tolist() == [1, 2, 3]
    inputs = [gd.input(name, gd.int64[3]) for name in "ab"]
    assert gd.build(execute(program, inputs, Traced()))(arrays[0]).tolist() == [4, 8, 12]


@pytest.mark.parametrize(
    "going, rounds", [(Condition(0, 100), 3), (Condition(0, 6), 1), (Condition(0, 0), 0), (None, 3)]
)
def test_the_interpreter_ends_a_loop_as_onnx_does(going: Condition | None, rounds: int) -> None:
    program = Block((Repeat(3, going, (0,), Block((Arithmetic("+", 0, 1),), (3,))),), (1,))
    assert execute(program, [np.array([1, 1, 1])], Interpreted())[0].tolist() == [1 + rounds] * 3
