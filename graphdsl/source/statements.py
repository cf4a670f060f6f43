"""Graphs as statements: the nodes of a model, a local function, a branch or a loop body."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from ..control import takes_callable
from ..errors import GraphError, SourceError
from ..ir import Graph, Node, Reference, Value
from ..schemas import Schema
from ..walk import dependencies
from .layout import RETURN, Block, Expression
from .literals import Names, array_text, snake, text
from .spelling import ATOM, Call, Literal, Piece, Speller, Spelling, in_reading_order, literals_of, written

_LAMBDA = 60
"""A body that is one expression up to this long is a lambda."""

Finish = Callable[[tuple[str, ...]], Expression]
"""Makes what a function returns of its outputs."""


class Surroundings(Protocol):
    """What the statements of a module refer to outside of themselves."""

    names: Names

    def constant(self, value: Value, fallback: str = "constant") -> str:
        """The module's name of a constant, or a name for it."""

    def array(self, array: np.ndarray, hint: str, fallback: str) -> str:
        """An expression for a large array, which stands elsewhere."""

    def callee(self, node: Node) -> str:
        """The function that a node calls: a local one, or a declared operator; empty for ONNX's."""


def live(graph: Graph) -> list[Node]:
    """The nodes that the outputs need, in order."""
    needed = {value for _, value in graph.outputs}
    found: list[Node] = []
    for node in reversed(graph.nodes):
        if any(value in needed for value in node.outputs):
            found.append(node)
            needed.update(dependencies(node))
    return found[::-1]


def as_tuple(parts: tuple[str, ...]) -> Expression:
    """One output, or several as a tuple without brackets."""
    return Expression(", ".join(parts), ATOM)


class Statements:
    """Writes the statements of one function of the module, bodies inside it included."""

    def __init__(
        self,
        around: Surroundings,
        speller: Speller,
        *,
        hints: Mapping[Value | None, str],
        named: bool,
        references: Mapping[str, str] | None = None,
    ) -> None:
        self._around = around
        self._speller = speller
        self._hints = hints
        """What values are called in the model."""
        self._named = named
        """Whether tensors keep their names."""
        self._references = references
        """In a local function, the variables of its attributes by name."""
        self._names = around.names.inside()
        for name in references or ():
            self._names.reserve(name)
        self._variables: dict[Value, str] = {}
        self._literals: dict[tuple[Value, Schema, int], tuple[Literal, ...]] = {}

    def parameter(self, value: Value, fallback: str = "x") -> str:
        """A variable for an input."""
        found = self._variables[value] = self._names.make(value.name or "", fallback)
        return found

    def write(self, graph: Graph, indent: str, finish: Finish = as_tuple) -> list[str]:
        """The statements of a graph, of which the last returns its outputs."""
        block = Block(indent, self._variable, self._known)
        nodes = live(graph)
        uses: Counter[Value] = Counter()
        for node in nodes:
            uses.update([value for value in node.inputs if value is not None])
            for body in node.bodies:
                uses.update([*body.captures, *body.captures])  # a function needs a variable
        ends = [value for _, value in graph.outputs]
        uses.update(ends)
        for node in nodes:
            self._node(node, uses, block)
        everything = Spelling(tuple([Piece(input=i) for i in range(len(ends))]), ATOM, RETURN)
        returned = block.expression(everything, ends).parts
        block.flush()
        block.statement("return ", finish(returned))
        return block.lines

    def _node(self, node: Node, uses: Mapping[Value, int], block: Block) -> None:
        try:
            expression = block.expression(self._spelled(node, block), node.inputs)
        except SourceError:
            raise
        except GraphError as error:
            problem = str(error).partition("\n")[0]
            raise SourceError(f"node {self._label(node)} cannot be written: {problem}") from error
        single = node.outputs[0] if len(node.outputs) == 1 else None
        if single is not None and self._named and single.name:
            shown = expression.text if expression.binds == ATOM else f"({expression.text})"
            expression = Expression(f"{shown}.named({text(single.name)})", ATOM, expression.depth)
        if single is not None and uses[single] == 1:
            block.wait(single, expression)
            return
        block.flush()
        targets = [self._variable(value) if uses[value] else "_" for value in node.outputs]
        block.assign(", ".join(targets), expression)
        if single is None and self._named:
            for value, target in zip(node.outputs, targets, strict=True):
                if value.name and uses[value]:
                    block.statement("", Expression(f"{target}.named({text(value.name)})", ATOM))

    def _label(self, node: Node) -> str:
        name = next((self._hints[value] for value in node.outputs if self._hints.get(value)), "")
        return f"{node.schema.label} ({name!r})" if name else node.schema.label

    def _spelled(self, node: Node, block: Block) -> Spelling:
        literals = {}
        for index, value in enumerate(node.inputs):
            if value is not None and value.array is not None and (found := self._ways(value, node.schema, index)):
                literals[index] = found
        call = Call(node, self._texts(node, block), literals)
        callee = self._around.callee(node)
        if callee:
            return written(callee, call, {i: found[-1] for i, found in literals.items()})
        return self._speller.tried(call) if self._references is None else self._speller.untried(call)

    def _ways(self, value: Value, schema: Schema, index: int) -> tuple[Literal, ...]:
        """The ways to write a constant where it is used; none where it has a name."""
        key = value, schema, index
        found = self._literals.get(key)
        if found is None:
            formal = schema.input(index)
            found = self._literals[key] = () if self._named and value.name else literals_of(value, formal)
            if not found:  # a name that says what it is for
                self._around.constant(value, f"{snake(schema.name)}_{snake(formal.name)}")
        return found

    def _variable(self, value: Value) -> str:
        found = self._variables.get(value)
        if found is None:
            operator = value.node.schema.name if value.node else "value"
            hint = self._hints.get(value) or value.name or ""
            if hint.startswith(f"{operator}_"):  # a name that emission made up
                hint = ""
            found = self._variables[value] = self._names.make(hint, "branch" if operator == "If" else snake(operator))
        return found

    def _known(self, value: Value) -> str:
        found = self._variables.get(value)
        return self._around.constant(value) if found is None else found

    # Bodies and references

    def _texts(self, node: Node, block: Block) -> dict[str, str]:
        """The texts of attributes that refer to something else; the functions of bodies are written first."""
        found: dict[str, str] = {}
        for name, value in in_reading_order(node):
            if isinstance(value, Graph):
                if not takes_callable(node.schema, name):
                    raise SourceError(
                        f"{self._label(node)}: the attribute {name!r} is a graph, and no callable makes it"
                    )
                found[name] = self._callable(name, value, block)
            elif isinstance(value, Reference):
                variable = (self._references or {}).get(value.name)
                if variable is None:
                    raise SourceError(f"{node.schema.label}: {name!r} refers to an attribute of no function")
                found[name] = variable
            elif isinstance(value, np.ndarray) and array_text(value) is None:
                hint = self._hints.get(node.outputs[0], "") if node.op_type == "Constant" else ""
                found[name] = self._around.array(value, hint, f"{snake(node.op_type)}_{name}")
        return found

    def _callable(self, name: str, body: Graph, block: Block) -> str:
        if any(value.default is not None for value in body.inputs):
            raise SourceError(f"the body {body.name!r} has an input with a default, which bodies here have not")
        takes = [self.parameter(value) for value in body.inputs]
        lines = self.write(body, block.indent + "    ")
        only = lines[0].strip().removeprefix("return ") if len(lines) == 1 else ""
        if only and len(only) <= _LAMBDA:
            start = f"lambda {', '.join(takes)}: " if takes else "lambda: "
            return start + (f"({only})" if len(body.outputs) > 1 else only)
        made = self._names.make(name, "body")
        gap = [""] if block.lines else []
        block.lines += [*gap, f"{block.indent}def {made}({', '.join(takes)}):", *lines, ""]
        return made
