"""`verify.models`: random valid models, which shrink to the smallest that still shows what is looked for.

A program is made step by step. Each step calls an operator by its recipe, or makes a branch, a loop or a function of
steps of its own. What no output needs is no part of the model, so dropping a step is all it takes to shrink it.
"""

from collections.abc import Iterable
from functools import cache
from itertools import count
from typing import Any, NamedTuple

import numpy as np
from hypothesis import reject
from hypothesis import strategies as st

from .. import op
from ..building import build
from ..errors import GraphError, SignatureError, UnknownOperator, nearest
from ..functions import function
from ..ir import Constant, Input, Node
from ..models import Model
from ..runtime import opens
from ..schemas import lookup, opset_forced
from ..sites import at, caller
from ..tensor import Tensor
from ..tensor.calling import Trace, current_trace, tracing
from ..types import DType, TensorType, Type, as_dtype, tensor_type
from .arrays import edges
from .choices import Choices, integers
from .drafts import BY_SIMPLICITY, Draft, Unfit
from .recipes import RECIPES
from .scopes import Scope

OPSETS = (21, 13, 15, 17, 18, 19, 20, 22, 23, 24, 26)
"""The opsets that models are made at, the simplest choice first; those that ONNX Runtime runs and that differ."""

FLOW = ("If", "Loop", "Scan", "function")
"""Steps with steps of their own."""

OPERATORS = (*RECIPES, "If", "Loop", "Scan")
"""The operators that models are made of."""


_SHELF = 16
"""How many operators are chosen among at a time."""


_STEP = st.binary(min_size=24, max_size=24)
"""The choices of a step; one that needs more draws again."""

_INNER = 1
"""How often of eight times the value of a step is no output, unless it is the last."""


class Plan(NamedTuple):
    """What models are made of, and how large they get."""

    operators: tuple[str, ...]
    dtypes: frozenset[DType]
    opsets: tuple[int, ...]
    largest: int
    outputs: int
    runnable: bool
    without: frozenset[str]
    strict: bool = False
    """Whether a call that is refused is an error, as for a test of the recipes; else it is drawn again."""


def models(
    operators: Iterable[str] | None = None,
    *,
    dtypes: Iterable[Any] | None = None,
    opsets: Iterable[int] | None = None,
    largest: int = 6,
    outputs: int = 3,
    bodies: bool = True,
    functions: bool = True,
    runnable: bool = True,
    without: Iterable[str] = (),
) -> st.SearchStrategy[Model]:
    """Random valid models, as a Hypothesis strategy.

    They are made of all operators of the default domain but those that draw random numbers, of all dtypes that these
    take, at several opsets, with several outputs, shared values, constants, broadcasting, branches, loops, functions.

    >>> from graphdsl import verify
    >>> from hypothesis import find
    >>> model = find(verify.models(["Add", "Exp", "Softmax"]), lambda m: "Softmax" in [n.op_type for n in m.nodes])
    >>> [node.op_type for node in model.nodes], model.opset
    (['Softmax'], 21)

    Args:
        operators: The operators to make them of; by default all of `verify.OPERATORS`.
        dtypes: The dtypes of what is not bound to one dtype; by default all.
        opsets: The opsets to make them at; by default several from 13 to 26.
        largest: How many steps there are at the most; a step is a node, or a branch, loop or function with steps of
            its own.
        outputs: How many outputs there are at the most.
        bodies: Whether there are branches and loops.
        functions: Whether there are local functions, where no operators are named.
        runnable: Whether ONNX Runtime has kernels for all nodes.
        without: Edges to leave out of the constants, as for `verify.tensors`.

    Raises:
        SignatureError: there is no such operator or edge, or none of the operators exists at one of the opsets.
        MissingRuntime: models are to be runnable, and ONNX Runtime is not installed.
    """
    names = list(OPERATORS) if operators is None else list(operators)
    for name in names:
        if name not in OPERATORS:
            raise SignatureError(f"no models are made of {name!r}{nearest(name, OPERATORS)}" + at(caller()))
    flow = [name for name in FLOW if (functions if name == "function" else bodies)]
    chosen = [name for name in names if name in RECIPES]
    chosen += [name for name in flow if operators is None or name in names]
    known = tuple(opset for opset in (OPSETS if opsets is None else opsets) if _known(tuple(chosen), opset))
    if not known:
        raise SignatureError("none of these operators exists at one of these opsets" + at(caller()))
    wanted = frozenset(BY_SIMPLICITY if dtypes is None else map(as_dtype, dtypes))
    return _models(Plan(tuple(chosen), wanted, known, largest, outputs, runnable, edges(without)))


@st.composite
def _models(draw: st.DrawFn, plan: Plan) -> Model:
    opset = plan.opsets[draw(integers(0, len(plan.opsets) - 1))]
    scope = Scope(without=plan.without)
    builder = Builder(draw, plan, opset)
    with opset_forced(opset):
        made = builder.program(scope, draw(integers(1, plan.largest)))
        if not made:
            reject()
        others = [tensor for tensor in builder.returned if tensor._v is not made[-1]._v]
        returned = [made[-1], *others[::-1][: plan.outputs - 1]]
        return build({f"y{place}": tensor for place, tensor in enumerate(returned)}, opset=opset)


class Builder:
    """Makes the steps of one program."""

    def __init__(self, draw: st.DrawFn, plan: Plan, opset: int) -> None:
        self.draw = draw
        self.choices = Choices()
        self.plan = plan
        self.opset = opset
        self.returned: list[Tensor] = []
        """What the model returns beside what the last step makes."""
        self._names = count()
        # whether they exist at the opset or not, so that another opset leaves the choices what they are
        self._flow, self._shelves = _kinds(plan.operators)

    def program(self, scope: Scope, number: int) -> list[Tensor]:
        """What a number of steps make, in order: each by a draw of its own, which Hypothesis can take away."""
        made: list[Tensor] = []
        for _ in range(number):
            self.choices = Choices(self.draw(_STEP), lambda: self.draw(_STEP))
            found = self.steps(scope, 1)
            made += found
            # decided here, so that a step that is taken away takes its part in this along
            if found and self.number(0, 7) >= _INNER:
                self.returned.append(found[-1])
        return made

    def steps(self, scope: Scope, number: int, depth: int = 0) -> list[Tensor]:
        """What a number of steps make, in order, by the choices of the step that they are part of."""
        made: list[Tensor] = []
        for _ in range(number):
            found = self.attempt(scope, depth)
            for tensor in found:
                scope.add(tensor)
            made += found
        return made

    def attempt(self, scope: Scope, depth: int) -> list[Tensor]:
        """What one step makes: nothing, where what is drawn cannot be called."""
        try:
            return self.step(self.operator(), scope, depth)
        except Unfit:
            return []

    def operator(self) -> str:
        """What the next step calls. Steps with steps of their own are drawn more often than one operator is."""
        if self._flow and (not self._shelves or self.number(0, 9) == 9):
            return self._flow[self.number(0, len(self._flow) - 1)]
        shelf = self._shelves[self.number(0, len(self._shelves) - 1)]
        return shelf[self.number(0, len(shelf) - 1)]

    def step(self, name: str, scope: Scope, depth: int) -> list[Tensor]:
        """What one step makes.

        Raises:
            Unfit: it cannot be made here.
        """
        if name in FLOW:
            if depth > 1:
                raise Unfit("nested deep enough")
            make = {"If": self.branch, "Loop": self.loop, "Scan": self.scan, "function": self.function}[name]
            return make(scope, depth)
        if not _exists(name, self.opset):
            raise Unfit(f"no {name} at opset {self.opset}")
        schema = lookup("", name, self.opset)
        draft = Draft(self.draw, self.choices, scope, schema, self.plan.dtypes)
        outputs = RECIPES[name](draft)
        return self.call(draft, outputs)

    def call(self, draft: Draft, outputs: int | None) -> list[Tensor]:
        """The outputs of the call that a draft has become.

        Raises:
            Unfit: no kernel runs it.
        """
        name = draft.schema.name
        try:
            returned = getattr(op, name)(*draft.inputs, **draft.attributes, outputs=outputs)
        except GraphError:
            if self.plan.strict:
                raise
            raise Unfit(name) from None
        made = list(returned) if isinstance(returned, tuple) else [returned]
        if self.plan.runnable and not _runs(made[0], self.opset):
            raise Unfit(f"no kernel of {name}")
        return made

    def number(self, low: int, high: int) -> int:
        """A number, the least one being the simplest."""
        return self.choices.between(low, high)

    # Steps with steps of their own

    def branch(self, scope: Scope, depth: int) -> list[Tensor]:
        """An If, whose branches return values of the same types."""
        condition = self.condition(scope)
        kinds: list[Any] = []

        def then() -> list[Tensor]:
            inner = Scope(scope)
            made = [t for t in self.steps(inner, self.number(1, 2), depth + 1) if is_plain(t)]
            found = made[-1:] or [self.some(inner)]
            kinds[:] = [found[0].type]
            return found

        def otherwise() -> list[Tensor]:
            inner = Scope(scope)
            self.steps(inner, self.number(0, 2), depth + 1)
            return [self.of_type(inner, kind) for kind in kinds]

        return listed(op.If(condition, then_branch=then, else_branch=otherwise))

    def loop(self, scope: Scope, depth: int) -> list[Tensor]:
        """A Loop that carries one value, and may collect another."""
        start = self.some(scope)
        collects = self.choices.flag()

        def body(i: Tensor, going: Tensor, state: Tensor) -> list[Tensor]:
            inner = Scope(scope)
            inner.add(state)
            made = [t for t in self.steps(inner, self.number(1, 2), depth + 1) if is_plain(t)]
            return [going, self.of_type(inner, start.type), *([made[-1] if made else state] if collects else [])]

        rounds = self.number(0, 3)
        return listed(op.Loop(rounds, True, start, body=body))

    def scan(self, scope: Scope, depth: int) -> list[Tensor]:
        """A Scan along the first axis of a value."""
        found = [t for t in scope.tensors() if t.shape and isinstance(t.shape[0], int) and t.shape[0] > 0]
        rows = self.choices.pick(found[:3]) if found else self.new(scope, (2, 2))
        state = self.some(scope)

        def body(carried: Tensor, row: Tensor) -> list[Tensor]:
            inner = Scope(scope)
            inner.add(carried)
            inner.add(row)
            made = [t for t in self.steps(inner, self.number(1, 2), depth + 1) if is_plain(t)]
            return [self.of_type(inner, state.type), made[-1] if made else row]

        return listed(op.Scan(state, rows, body=body, num_scan_inputs=1))

    def function(self, scope: Scope, depth: int) -> list[Tensor]:
        """A local function of one or two values, called once or twice."""
        given = [self.some(scope) for _ in range(self.number(1, 2))]

        def body(*parameters: Tensor) -> list[Tensor]:
            inner = Scope(scope, closed=True)
            for parameter in parameters:
                inner.add(parameter)
            made = self.steps(inner, self.number(1, 3), depth + 1)
            return made[-1:] or [parameters[0]]

        body.__name__ = f"f{next(self._names)}"
        called = function(domain="random", name=body.__name__)(_taking(body, len(given)))
        made = listed(called(*given))
        return made if not self.choices.flag() else made + listed(called(*given))

    # Values

    def condition(self, scope: Scope) -> Any:
        """A truth value: one that there is, or a new input."""
        wanted = tensor_type("bool", ())
        found = [tensor for tensor in scope.tensors() if tensor.type is wanted]
        return found[0] if found else self.new(scope, (), "bool")

    def some(self, scope: Scope) -> Tensor:
        """A tensor that there is, or a new one."""
        found = [tensor for tensor in scope.tensors() if is_plain(tensor)][:3]
        return self.choices.pick(found) if found else self.new(scope, (self.number(1, 3),))

    def new(self, scope: Scope, shape: tuple[int, ...], dtype: str | None = None) -> Any:
        """A new tensor."""
        kinds = [d for d in BY_SIMPLICITY if d in self.plan.dtypes] if dtype is None else [as_dtype(dtype)]
        drawn = kinds[0]
        if scope.takes_inputs:
            return scope.input(tensor_type(drawn, shape))
        return scope.constant(np.full(shape, "", object) if drawn.kind == "string" else np.zeros(shape, drawn.numpy))

    def of_type(self, scope: Scope, kind: Any) -> Any:
        """A tensor of a type: the last that there is, or a new one."""
        found = [tensor for tensor in scope.tensors() if tensor.type is kind]
        if found:
            return found[0]
        if any(not isinstance(size, int) for size in kind.shape):
            raise Unfit("no value of this type")
        return self.new(scope, kind.shape, kind.dtype.name)


def is_plain(tensor: Tensor) -> bool:
    """Whether a tensor has a dtype, and sizes that are known."""
    kind = tensor.type
    return isinstance(kind, TensorType) and kind.shape is not None and all(isinstance(dim, int) for dim in kind.shape)


def listed(returned: Any) -> list[Tensor]:
    """What a call returned, as a list."""
    return list(returned) if isinstance(returned, (tuple, list)) else [returned]


def _taking(body: Any, number: int) -> Any:
    """A function of so many parameters, which a signature shows."""
    if number == 1:
        return lambda a: body(a)
    return lambda a, b: body(a, b)


@cache
def _kinds(operators: tuple[str, ...]) -> tuple[list[str], list[list[str]]]:
    """Steps with steps of their own; and operators, some at a time, which are drawn in two choices."""
    simple = [name for name in operators if name not in FLOW]
    shelves = [simple[start : start + _SHELF] for start in range(0, len(simple), _SHELF)]
    return [name for name in operators if name in FLOW], shelves


@cache
def _known(operators: tuple[str, ...], opset: int) -> tuple[str, ...]:
    """Those of the operators that exist at an opset."""
    return tuple(name for name in operators if name in FLOW or _exists(name, opset))


@cache
def _exists(name: str, opset: int) -> bool:
    try:
        lookup("", name, opset)
    except UnknownOperator:
        return False
    return True


_kernels: dict[Any, bool] = {}


def _runs(made: Tensor, opset: int) -> bool:
    """Whether ONNX Runtime has a kernel for the call that made a value.

    It is asked once for calls that are alike: of the same dtypes, with the same words among the attributes.
    """
    node = made._v.node
    if node is None:
        return True
    kinds = tuple(_kind(value.type if value is not None else None) for value in node.inputs)
    words = tuple(
        (name, value if isinstance(value, (str, bytes, DType)) else None) for name, value in node.attributes.items()
    )
    key = (node.schema.name, node.schema.since, kinds, words, len(node.outputs))
    found = _kernels.get(key)
    if found is None:
        found = _kernels[key] = opens(alone(node, opset)) is None
    return found


def _kind(kind: Type | None) -> Any:
    """A type but for its shape, which kernels do not depend on."""
    return kind.dtype if isinstance(kind, TensorType) else kind


def alone(node: Node, opset: int) -> Model:
    """The model of one call, whose computed inputs are inputs of the model."""
    with tracing(Trace("one call", None)):
        inputs = [
            value
            if value is None or isinstance(value, Constant)
            else Input(f"x{place}", value.type, current_trace(), None)
            for place, value in enumerate(node.inputs)
        ]
        given = [None if value is None else Tensor(value) for value in inputs]
        returned = listed(getattr(op, node.op_type)(*given, **node.attributes, outputs=len(node.outputs)))
        return build({f"y{place}": tensor for place, tensor in enumerate(returned)}, opset=opset)
