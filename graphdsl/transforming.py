"""The sweep that rules and passes stand on: every node once, in order, with its new inputs.

What is untouched is reused as it is; what depends on a change is made anew; what lost its last user is dropped. The
cost is linear in the nodes, whatever is replaced.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from operator import attrgetter
from types import MappingProxyType
from typing import Any, TypeVar, overload
from weakref import WeakValueDictionary

import onnx

from . import schemas
from .errors import BuildError
from .garbage import undisturbed
from .generic import generic
from .ir import (
    SEALED,
    Constant,
    Function,
    Graph,
    Input,
    ModelData,
    Node,
    Output,
    Value,
    next_order,
)
from .ir_versions import least_ir_version
from .loading import Source, load
from .models import Model
from .renewal import inferred, is_alike, is_typed_by_types, moved
from .schemas import Schema
from .sites import at, caller
from .tensor import Tensor
from .tensor.calling import ROOT, Trace, tracing
from .tensor.handle import Handle
from .tracing import as_tensor, types_through
from .types import OptionalType, SequenceType, TensorType, Type, from_proto
from .walk import Survey, callees_first, captured, functions, needs, operators, used

M = TypeVar("M", bound=ModelData)

Visit = Callable[[Node], Sequence[Value] | None]
"""Given a node whose inputs are the new ones: the values to put in the place of its outputs, or None to keep it."""


@overload
def transform(model: M, function: Callable[[Node, tuple[Tensor | None, ...]], Any]) -> M: ...
@overload
def transform(model: Source, function: Callable[[Node, tuple[Tensor | None, ...]], Any]) -> Model: ...
def transform(model: Any, function: Callable[[Node, tuple[Tensor | None, ...]], Any]) -> Any:
    """The model with nodes replaced as a function says, in bodies and local functions too.

    The function gets each node, in order, and its inputs as tensors to build on, after everything before it was
    transformed. It returns the tensor (or tensors, one for each output) to put in the node's place, or None to keep it.
    In a function that is called with several types, tensors have what is common to them.

    >>> import graphdsl as gd
    >>> x = gd.input("x", gd.float32[3])
    >>> def subtract(node, inputs):
    ...     if node.op_type == "Add":
    ...         return inputs[0] - inputs[1]
    >>> [node.op_type for node in gd.transform(gd.build(x * x + x), subtract).nodes]
    ['Mul', 'Sub']

    Raises:
        BuildError: the function returns another number of tensors than the node has outputs, or is none.
    """
    if not callable(function):
        raise BuildError(f"gd.transform takes a function of a node and its inputs, got {function!r}" + at(caller()))

    def visit(node: Node) -> Sequence[Value] | None:
        inputs = tuple([None if value is None else Tensor(value) for value in node.inputs])
        returned = function(node, inputs)
        return None if returned is None else replacement(node, returned, "gd.transform")

    return sweep(model if isinstance(model, ModelData) else load(model), visit)


def replacement(node: Node, returned: Any, what: str) -> tuple[Value, ...]:
    """What a callable returned in the place of a node, one value for each output.

    Raises:
        BuildError: there are too many or too few, or they are no tensors.
    """
    items = returned if isinstance(returned, (tuple, list)) else (returned,)
    if len(items) != len(node.outputs):
        raise BuildError(
            f"{what}: {node.schema.label} has {len(node.outputs)} outputs, but {len(items)} were returned for it"
            f"{at(node.site)}" + at(caller())
        )
    return tuple([item._v if isinstance(item, Handle) else as_tensor(item, what)._v for item in items])


def sweep(
    model: M,
    visit: Visit,
    follow: Callable[[Node, Node], None] | None = None,
    values: Mapping[Value, Value] | None = None,
    *,
    bodies: Mapping[Function, Graph] | None = None,
    finish: Callable[[Graph], Graph] | None = None,
    opset: int | None = None,
    same_types: bool = False,
) -> M:
    """The model with every node visited; the same object where nothing was replaced.

    `visit` is called in the trace of the node's graph, at the opset of the model or function; `follow` hears of each
    node that was made anew because its inputs changed, with the old one; `values` are replaced from the start; `bodies`
    are visited in the place of those of functions, by default as they hold for all calls, and take it where something
    in them was replaced; `finish` is what is done to each graph at last, inner ones first; `opset` is that of the
    result and its functions, which keep theirs by default. With `same_types` every new value has the type of the one
    whose place it takes: none is inferred.
    """
    given = dict(values or {})
    swept: dict[Function, Schema] = {}
    version = model.opset_imports.get("", schemas.DEFAULT_OPSET)
    bodies = generic(model) if bodies is None else bodies
    for function in callees_first(model.functions):
        own = function.opset_imports.get("", version)
        imports = _at_opset(function.opset_imports, opset if "" in function.opset_imports else None)
        with undisturbed(), schemas.opset_forced(opset or own):
            start = bodies.get(function, function.graph)
            graph = _Sweep(visit, swept, follow, finish, given, same_types).graph(start, dict(given))
        if graph is not start or imports is not function.opset_imports:
            swept[function] = _called(replace(function, graph=graph, opset_imports=imports), function, model)
    imports = _at_opset(model.opset_imports, opset)
    with undisturbed(), schemas.opset_forced(opset or version):
        graph = _Sweep(visit, swept, follow, finish, given, same_types).graph(model.graph, dict(given), is_body=False)
    if graph is model.graph and not swept and imports is model.opset_imports:
        return model
    kept = tuple(swept[f].function if f in swept else f for f in model.functions)
    return with_needs(replace(model, graph=graph, functions=kept, opset_imports=imports))


def _at_opset(imports: Mapping[str, int], opset: int | None) -> Mapping[str, int]:
    return imports if opset is None or imports.get("") == opset else MappingProxyType({**imports, "": opset})


def with_needs(model: M) -> M:
    """The model with the functions, opset imports and IR version that its new nodes need."""
    used = operators(model.graph, *(function.graph for function in model.functions))
    added = tuple(function for function in functions(used) if function not in model.functions)
    if added:
        used |= operators(*(function.graph for function in added))
    imports = dict(model.opset_imports)
    for schema in used:
        imports.setdefault(schema.domain, schema.version)
    if not added and imports == dict(model.opset_imports):
        return model
    called = (*model.functions, *added)
    least = least_ir_version(Survey(used, set()), imports, called)
    return replace(model, functions=called, opset_imports=imports, ir_version=max(model.ir_version, least))


_by_order = attrgetter("order")


def _called(function: Function, old: Function, model: ModelData) -> Schema:
    """The schema that calls a function in the place of the one it was made from."""
    found = next(
        (
            s
            for part in (model.graph, *(f.graph for f in model.functions))
            for s in operators(part)
            if s.function is old
        ),
        None,
    )
    made = Schema(
        function.domain,
        function.name,
        version=found.version if found else 1,
        since=found.since if found else 1,
        until=schemas.FOREVER,
        inputs=found.inputs if found else (),
        outputs=found.outputs if found else (),
        attributes=found.attributes if found else {},
        doc=function.doc,
        rule=types_through(function),
        function=function,
    )
    return made


def graph_trace(graph: Graph) -> Trace:
    """The trace that a graph's values belong to."""
    for value in (*graph.inputs, *(output for node in graph.nodes[:1] for output in node.outputs)):
        if isinstance(value.owner, Trace):
            return value.owner
    return ROOT


class _Sweep:
    def __init__(
        self,
        visit: Visit,
        functions: Mapping[Function, Schema],
        follow: Callable[[Node, Node], None] | None,
        finish: Callable[[Graph], Graph] | None,
        given: Mapping[Value, Value],
        same_types: bool,
    ) -> None:
        self._finish = finish
        self._same_types = same_types
        self._retyped: set[Value | None] = set()
        """The values that others of another type take the places of."""
        self._visit = visit
        self._follow = follow
        self._functions = functions
        self._present: set[Node | Value] = set()
        """The inputs of the graphs around, and the nodes met so far, as far as anybody asked."""
        self._open: list[list[Node]] = []
        """The nodes met so far of the graph at hand, and of those around it, that are not in `_present` yet."""
        if not same_types:
            self._retyped.update([old for old, new in given.items() if not is_alike(new, old)])

    def graph(self, graph: Graph, outer: dict[Value, Value], *, is_body: bool = True) -> Graph:
        """A graph with its nodes visited; `outer` says what stands for the values of enclosing graphs."""
        found = self._visited(graph, outer, is_body=is_body)
        return found if self._finish is None else self._finish(found)

    def _visited(self, graph: Graph, outer: dict[Value, Value], *, is_body: bool) -> Graph:
        trace = graph_trace(graph)
        values, moved, visit = outer, outer.keys(), self._visit
        self._present.update(graph.inputs)
        nodes: list[Node] = []
        unnoted: list[Node] = []
        self._open.append(unnoted)
        changed, start = False, next_order()
        with tracing(trace), _forgetful(trace):
            for node in graph.nodes:
                current, schema = node, node.schema
                if not moved.isdisjoint(node.inputs) or schema.function is not None or schema.may_have_bodies:
                    current = self._renewed(node, values, trace)
                mark = next_order()
                found = visit(current)
                if trace.memo.data:  # type: ignore[attr-defined]  # its own length takes long to ask for
                    forget(trace)
                if found is None:
                    nodes.append(current)
                    unnoted.append(current)
                    if current is not node:
                        changed = True
                    continue
                made, needed = made_since(mark, found, current)
                self._check_scope(needed, current)
                nodes += made
                unnoted += made
                changed = True
                self._replace(node, found, values)
        self._present.update(self._open.pop())
        outputs = tuple([_renamed(output, values, is_body=is_body) for output in graph.outputs])
        listed = tuple(dict.fromkeys([values.get(value, value) for value in graph.initializers]))
        if not changed and outputs == graph.outputs and listed == graph.initializers:
            return graph
        ends = [value for _, value in outputs]
        before = used(graph)
        unneeded = [value for node in graph.nodes if before.isdisjoint(node.outputs) for value in node.outputs]
        live = live_nodes(nodes, [*ends, *[values.get(value, value) for value in unneeded]])
        kept = [node for node in nodes if node in live]
        for value in chain.from_iterable([node.outputs for node in kept if node.order > start]):
            if value.name is None:
                value.name = SEALED
        free = captured(kept, graph.inputs, ends) if graph.captures or trace.parent is not None else ()
        said = _declared(graph, values)
        result = replace(graph, nodes=tuple(kept), outputs=outputs, captures=free, initializers=listed, declared=said)
        return _without_unused(result, before) if listed else result

    def _renewed(self, node: Node, values: dict[Value, Value], trace: Trace) -> Node:
        """The node on its new inputs and with its new bodies; the node itself where none of them changed."""
        schema, attributes = node.schema, node.attributes
        inputs = replaced(node.inputs, values)
        if schema.may_have_bodies or schema.function is not None:
            schema, attributes = self._called(node, values)
            if attributes is node.attributes and schema is node.schema and inputs == node.inputs:
                return node
        alike = schema is node.schema and (not self._retyped or self._retyped.isdisjoint(node.inputs))
        if self._same_types or (alike and attributes is node.attributes and is_typed_by_types(schema)):
            new = moved(node, schema, inputs, attributes, trace)
        else:
            new = inferred(node, schema, inputs, attributes, trace, alike=alike)
            self._retyped.update([old for old in node.outputs if not is_alike(new.outputs[old.index], old)])
        for old in node.outputs:
            values[old] = new.outputs[old.index]
        if self._follow is not None:
            self._follow(node, new)
        return new

    def _called(self, node: Node, values: dict[Value, Value]) -> tuple[Schema, Mapping[str, Any]]:
        """What a node calls, and its attributes, with functions and bodies as they are now."""
        schema, attributes = node.schema, node.attributes
        bodies = {name: self._bodies(value, values) for name, value in attributes.items()}
        if any(bodies[name] is not attributes[name] for name in bodies):
            attributes = MappingProxyType(bodies)
        return schema if schema.function is None else self._functions.get(schema.function, schema), attributes

    def _replace(self, node: Node, found: Sequence[Value], values: dict[Value, Value]) -> None:
        """Put values in the place of a node's, with its names."""
        for old in node.outputs:
            values[old] = new = found[old.index]
            if not self._same_types and not is_alike(new, old):
                self._retyped.add(old)
            if old.name and new.name is None and new.node is not None:
                new.name = old.name

    def _check_scope(self, needed: Sequence[Value], root: Node) -> None:
        """Refuse what builds on tensors that are not made before the node that it replaces."""
        present = self._present
        for nodes in self._open:
            if nodes:
                present.update(nodes)
                nodes.clear()
        for value in needed:
            source = value.node or value
            if source in present or source is root or isinstance(value, Constant):
                continue
            name = f"the tensor {value.name!r}" if value.name else f"{value!r}"
            raise BuildError(
                f"{name} is not made before {root.schema.label}, so it cannot take its place or be used for it; "
                f"build on the inputs{at(root.site)}" + at(value.site if value.node is None else caller())
            )

    def _bodies(self, value: Any, values: dict[Value, Value]) -> Any:
        if isinstance(value, Graph):
            return self.graph(value, values)
        if isinstance(value, tuple) and any(isinstance(item, Graph) for item in value):
            swept = tuple([self.graph(item, values) if isinstance(item, Graph) else item for item in value])
            return value if all(a is b for a, b in zip(swept, value, strict=True)) else swept
        return value


def _declared(graph: Graph, values: Mapping[Value, Value]) -> Mapping[Value, bytes]:
    """What a graph declares of its values, handed on to those that took their places where it is still true."""
    if not graph.declared:
        return graph.declared
    found: dict[Value, bytes] = {}
    for old, raw in graph.declared.items():
        new = values.get(old, old)
        if new is old or (not isinstance(new, Input) and not contradicts(raw, new.type)):
            found.setdefault(new, raw)
    return MappingProxyType(found)


def contradicts(declaration: bytes, kind: Type | None) -> bool:
    """Whether a declaration (`ValueInfoProto`) says something of a value that cannot be so."""
    proto = onnx.ValueInfoProto.FromString(declaration)
    said = from_proto(proto.type) if proto.HasField("type") else None
    while type(said) is type(kind) and isinstance(said, (SequenceType, OptionalType)):
        said, kind = said.element, kind.element  # type: ignore[union-attr]
    if said is None or kind is None or said is kind:
        return False
    if not isinstance(said, TensorType) or not isinstance(kind, TensorType) or said.dtype is not kind.dtype:
        return True
    if said.shape is None or kind.shape is None:
        return False
    sizes = zip(said.shape, kind.shape, strict=False)
    return len(said.shape) != len(kind.shape) or any(
        isinstance(a, int) and isinstance(b, int) and a != b for a, b in sizes
    )


def forget(trace: Trace) -> None:
    """Let a trace find nothing again that it computed: what it was computed for may have been dropped."""
    trace.memo = WeakValueDictionary()


@contextmanager
def _forgetful(trace: Trace) -> Iterator[None]:
    """Let a trace, and those around it, know nothing that was computed elsewhere for the tensors of a graph."""
    known: list[tuple[Trace, WeakValueDictionary[Any, Value]]] = []
    outer: Trace | None = trace
    while outer is not None:
        known.append((outer, outer.memo))
        forget(outer)
        outer = outer.parent
    try:
        yield
    finally:
        for changed, memo in known:
            changed.memo = memo


def replaced(inputs: tuple[Value | None, ...], values: Mapping[Value, Value]) -> tuple[Value | None, ...]:
    """Inputs, with those that others stand for replaced."""
    found: list[Value | None] = []
    for value in inputs:
        found.append(values.get(value, value))  # type: ignore[arg-type]  # noqa: PERF401  # takes half as long
    return tuple(found)


def made_since(mark: int, found: Iterable[Value], root: Node) -> tuple[list[Node], list[Value]]:
    """The nodes behind a replacement that were made since a moment, and what they and it build on.

    The root counts as made if something builds on it.
    """
    new: set[Node] = set()
    needed: list[Value] = []
    stack: list[Value | None] = [*found]
    while stack:
        value = stack.pop()
        if value is None:
            continue
        node = value.node
        if node is None or (node.order < mark and node is not root):
            needed.append(value)
        elif node not in new:
            new.add(node)
            if node is not root:
                stack += needs(node)
    return sorted(new, key=_by_order) if len(new) > 1 else list(new), needed


def _renamed(output: Output, values: Mapping[Value, Value], *, is_body: bool) -> Output:
    """An output with its new value; a model's keeps its name, also where that was the old value's own.

    Those of bodies and functions are known by their places, so they are called what their values are.
    """
    name, old = output
    value = values.get(old, old)
    if is_body and value is not old:
        return Output(None, value)
    return output if value is old else Output(name or (old.name or None), value)


def _without_unused(graph: Graph, before: Collection[Value | None]) -> Graph:
    """The graph without the listed constants that lost their last use."""
    after = used(graph)
    kept = tuple([v for v in graph.initializers if v in after or v not in before or isinstance(v, Input)])
    return graph if len(kept) == len(graph.initializers) else replace(graph, initializers=kept)


def live_nodes(nodes: Sequence[Node], ends: Iterable[Value]) -> set[Node]:
    """The nodes of a graph that its outputs need."""
    needed: set[Value | None] = set(ends)
    live: set[Node] = set()
    for node in reversed(nodes):
        if not needed.isdisjoint(node.outputs):
            live.add(node)
            needed.update(needs(node))
    return live
