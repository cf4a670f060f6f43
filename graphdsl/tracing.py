"""Callables on symbolic inputs: their outputs, the graphs of bodies, and graphs replayed on other values."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from .bodies import carry, has_known_bodies, parameters
from .dims import Dim
from .errors import BuildError, GraphError, OpsetError, SignatureError, TypeSpecError
from .ir import NO_ATTRIBUTES, SEALED, Function, Graph, Input, ModelData, Node, Output, Value
from .schemas import Schema, opset_in_force
from .sites import Site, at, caller
from .tensor import Tensor
from .tensor.calling import Trace, computed_dtype, current_trace, emit, resolved, tracing
from .tensor.handle import Handle
from .tensor.lifting import adopt, as_array, natural_dtype, shared
from .tensor.measuring import lift
from .types import DType, TensorType, Type, string
from .walk import captured, constants, operators, reachable

DEEPEST_BODY = 31
"""How deep bodies can be nested before protobuf refuses to parse the model."""


def wrap(values: Sequence[Value]) -> Any:
    """Values as what users hold: one tensor, or a tuple of several."""
    held = current_trace().handle or Tensor
    return held(values[0]) if len(values) == 1 else tuple(map(held, values))


def as_tensor(item: Any, what: str, dtype: DType | None = None) -> Tensor:
    """A tensor, or what stands for one: an array, a dimension, or a Python number or list, of `dtype` if it is given.

    Raises:
        BuildError: it is nothing of the kind.
        SignatureError: it does not fit the dtype.
    """
    if isinstance(item, Tensor):
        return item
    if isinstance(item, Handle):
        return Tensor(item._v)
    try:
        if isinstance(item, (np.ndarray, np.generic)):
            return Tensor(shared(as_array(item), caller()))
        if isinstance(item, (Dim, list)) and (natural := computed_dtype(item)) is not None:
            return Tensor(lift(current_trace(), item, dtype or natural, caller()))
        if isinstance(item, (bool, int, float, list)) or (isinstance(item, str) and dtype is string):
            return Tensor(adopt(item, dtype or natural_dtype(item)))
    except (TypeSpecError, SignatureError) as error:
        raise SignatureError(f"{what}: {error}" + at(caller())) from None
    except GraphError:  # of what computes a dimension
        raise
    except ValueError as error:  # ragged lists
        raise SignatureError(f"{what}: {item!r} is no array ({error})" + at(caller())) from None
    got = "nothing (is a return missing?)" if item is None else f"{item!r} ({type(item).__name__})"
    raise BuildError(f"{what}: a tensor is needed, got {got}" + at(caller()))


def as_outputs(returned: Any, what: str) -> tuple[Output, ...]:
    """What a traced callable returned, or `build` was given: a tensor, a sequence of tensors, or a dict by name.

    Raises:
        BuildError: it is nothing of the kind, or empty.
    """
    if isinstance(returned, Mapping):
        for name in returned:
            if not isinstance(name, str) or not name:
                raise BuildError(f"{what}: an output's name is a non-empty str, not {name!r}" + at(caller()))
        outputs = [Output(name, _returned(item, what)) for name, item in returned.items()]
    elif isinstance(returned, (tuple, list)):
        outputs = [Output(None, _returned(item, what)) for item in returned]
    else:
        outputs = [Output(None, _returned(returned, what))]
    if not outputs:
        raise BuildError(f"{what} has no outputs; return a tensor, a tuple of tensors or a dict of them" + at(caller()))
    return tuple(outputs)


def _returned(item: Any, what: str) -> Value:
    return as_tensor(item, what)._v


def trace_graph(
    function: Callable[..., Any], trace: Trace, parameters: Sequence[tuple[str | None, Type | None]], name: str
) -> Graph:
    """The graph of a callable, traced on inputs of these names and types.

    Raises:
        BuildError: the callable returns no tensors, or bodies are nested deeper than protobuf reads.
        ScopeError: it uses tensors of another body.
    """
    _check_depth(trace)
    with tracing(trace):
        inputs = tuple([Input(label, kind, trace, trace.site) for label, kind in parameters])
        outputs = as_outputs(function(*map(Tensor, inputs)), trace.label)
    return close_graph(name, trace, inputs, outputs)


def _check_depth(trace: Trace) -> None:
    if trace.depth > DEEPEST_BODY:
        raise BuildError(
            f"{trace.label} would be nested {trace.depth} deep; protobuf reads at most {DEEPEST_BODY} levels of "
            f"bodies: move an inner one out, or into a @gd.function" + at(trace.site)
        )


def close_graph(name: str, trace: Trace, inputs: tuple[Input, ...], outputs: tuple[Output, ...]) -> Graph:
    """The graph of what was made in a trace and its outputs need; from now on its values keep their names."""
    values = [value for _, value in outputs]
    admit(outputs, trace, trace.site)
    nodes, _ = reachable(values, within=trace)
    seal(nodes)
    return Graph(name, inputs, tuple(nodes), outputs, captured(nodes, inputs, values))


def admit(outputs: Sequence[Output], trace: Trace, site: Site | None) -> None:
    """Check that a trace may return these.

    Raises:
        ScopeError: one belongs to a trace that does not enclose this one.
    """
    for _, value in outputs:
        if value.owner is not trace and value.owner is not None:
            trace.admit(value, site)


def seal(nodes: Sequence[Node]) -> None:
    """A graph holds these nodes now: outputs without a name can no longer be given one."""
    for node in nodes:
        for value in node.outputs:
            if value.name is None:
                value.name = SEALED


def trace_body(
    function: Any, operator: str, attribute: str, types: Sequence[Type | None], *, closed: bool = False
) -> Graph:
    """The graph of a branch or loop body; unless `closed`, it may use the tensors of everything that encloses it."""
    site = caller()
    if isinstance(function, Graph):
        return function
    if not callable(function) or isinstance(function, Handle):
        raise BuildError(
            f"{operator}: {attribute} is a function that returns tensors, as in {attribute}=lambda: x * 2, "
            f"got {function!r}" + at(site)
        )
    trace = Trace(f"the {attribute} of {operator}", current_trace(), site, closed=closed)
    labels = _parameter_names(function, len(types), f"{operator}: {attribute}", site)
    graph = trace_graph(function, trace, list(zip(labels, types, strict=True)), attribute)
    return with_constant_nodes(graph) if closed else graph


def with_constant_nodes(graph: Graph) -> Graph:
    """The graph with Constant nodes of its own in the place of constants, which belong to the outermost graph."""
    trace = Trace(graph.name, current_trace(), closed=True)
    with tracing(trace):
        made: dict[Value, Value | None] = {c: emit("Constant", value=c.array)[0] for c in constants(graph)}
        types = [value.type for value in graph.inputs]
        inputs, outputs = _replay_in(trace, graph, made, NO_ATTRIBUTES, types, expand=False)
    return close_graph(graph.name, trace, inputs, outputs)


_MOST_ROUNDS = 12
"""How often a body is traced until the types of its state hold; each round can only widen them."""


def settled(
    schema: Schema,
    types: tuple[Type | None, ...],
    attributes: Mapping[str, Any],
    trace: Callable[[Sequence[Type | None]], Graph],
) -> Graph:
    """The body of an operator whose inputs are of these types: a state whose size changes has an unknown size.

    Raises:
        SignatureError: the inputs do not fit the attributes.
        BuildError: the body's types do not settle.
    """
    try:
        known = parameters(schema, types, attributes)
    except ValueError as error:
        raise SignatureError(f"{schema.label}: {error}" + at(caller())) from None
    states: list[Type | None] = list(known.states)
    for _ in range(_MOST_ROUNDS):
        body = trace([*known.first, *states, *known.rest])
        after: list[Type | None] = [value.type for _, value in body.outputs[known.leading :]][: len(states)]
        if len(after) != len(states):
            return body  # too few outputs: the type rule says so
        try:
            wider = [carry(before, now)[0] for before, now in zip(states, after, strict=True)]
        except ValueError:
            return body  # another dtype: the type rule says so
        if wider == states:
            return body
        states = wider
    raise BuildError(
        f"{schema.label}: the types of the state do not settle; give the state a fixed rank" + at(caller())
    )


def _parameter_names(function: Callable[..., Any], count: int, what: str, site: Site | None) -> list[str | None]:
    """The names of a callable's parameters, for its inputs; None where it takes any number."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return [None] * count
    names: list[str | None] = []
    for parameter in parameters:
        if parameter.kind is parameter.VAR_POSITIONAL:
            return names + [None] * (count - len(names))
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            names.append(parameter.name)
    needed = sum(p.default is p.empty and p.name in names for p in parameters)
    if not needed <= count <= len(names):
        plural = "" if len(names) == 1 else "s"
        raise BuildError(f"{what} takes {len(names)} parameter{plural}, and gets {count}" + at(site))
    return names[:count]


# Graphs replayed on other values


def replay(
    graph: Graph,
    arguments: Sequence[Value | None],
    attributes: Mapping[str, Any] = NO_ATTRIBUTES,
    *,
    expand: bool = False,
) -> tuple[Value, ...]:
    """Make a graph's nodes anew in the current trace, on other inputs, and answer with its outputs.

    Types are inferred again. `attributes` are values for the references of a function's body; with `expand`, calls of
    local functions are replaced by their bodies.
    """
    values: dict[Value, Value | None] = dict(zip(graph.inputs, arguments, strict=True))
    replay_nodes(graph.nodes, values, attributes, expand=expand)
    return tuple([_present(values, value) for _, value in graph.outputs])


def inline(model: ModelData, arguments: Mapping[str, Any]) -> tuple[Tensor, ...]:
    """A model's nodes made anew in the current trace, on tensors or arrays by input name; types are inferred again.

    Raises:
        OpsetError: an operator of the model means something else at the opset in force.
        BuildError: an argument's type does not fit the input, or an input without a default is left out.
    """
    site = caller()
    what = f"model {model.graph.name!r}"
    version = opset_in_force()
    for schema, node in operators(model.graph, *(f.graph for f in model.functions)).items():
        if not schema.domain and not schema.since <= version <= schema.until:
            own = model.opset_imports.get("", 1)
            raise OpsetError(
                f"{what} is of opset {own} and the opset in force is {version}, where {schema.label} means something "
                f"else; write gd.convert_opset(model, {version}), or build at opset {own}: @gd.model(opset={own}), "
                f"or under `with gd.opset({own}):`{at(node.site)}" + at(site)
            )
    given: list[Value] = []
    for value in model.graph.inputs:
        argument = arguments.get(value.name or "")
        if argument is not None:
            dtype = value.type.dtype if isinstance(value.type, TensorType) else None
            tensor = as_tensor(argument, f"{what}: input {value.name!r}", dtype)
            _check_argument(what, value, tensor.type, site)
            given.append(tensor._v)
        elif value.default is not None:
            given.append(Tensor(shared(value.default, site))._v)
        else:
            raise BuildError(f"{what}: input {value.name!r} is missing" + at(site))
    return tuple(map(Tensor, replay(model.graph, given)))


def _check_argument(what: str, formal: Input, given: Type | None, site: Site | None) -> None:
    """Refuse a tensor that can never fit a model's input: another dtype, rank or size."""
    expected = formal.type
    if given is None or expected is None or given is expected:
        return
    problem = type(given) is not type(expected)
    if isinstance(given, TensorType) and isinstance(expected, TensorType):
        problem = given.dtype is not expected.dtype
        if given.shape is not None and expected.shape is not None:
            sizes = zip(given.shape, expected.shape, strict=False)
            problem = problem or len(given.shape) != len(expected.shape)
            problem = problem or any(isinstance(a, int) and isinstance(b, int) and a != b for a, b in sizes)
    if problem:
        raise BuildError(f"{what}: input {formal.name!r} is {expected!r}, got {given!r}" + at(site))


def _present(values: Mapping[Value, Value | None], value: Value) -> Value:
    found = values.get(value, value)
    if found is None:
        raise BuildError(f"the input {value.name!r} is left out, but it is returned as an output")
    return found


def replay_nodes(
    nodes: Sequence[Node],
    values: dict[Value, Value | None],
    attributes: Mapping[str, Any] = NO_ATTRIBUTES,
    *,
    expand: bool = False,
) -> None:
    """Make nodes anew in the current trace; `values` says what stands for which old value, and learns the new ones."""
    trace = current_trace()
    for node in nodes:
        inputs = [None if value is None else values.get(value, value) for value in node.inputs]
        given = resolved(node.attributes, attributes) if attributes or not trace.bound else node.attributes
        if any(isinstance(item, Graph) for item in given.values()):
            given = MappingProxyType(
                {
                    name: _replay_body(node, item, inputs, given, values, attributes, expand)
                    if isinstance(item, Graph)
                    else item
                    for name, item in given.items()
                }
            )
        function = node.schema.function
        if expand and function is not None:
            bound = dict(function.defaults) | dict(given)
            made = replay(function.graph, _filled(function, inputs), bound, expand=True)
        else:
            handles = [None if value is None else Tensor(value) for value in inputs]
            made = trace.call(node.schema, handles, given, len(node.outputs), node.site, node.info)
        for old, new in zip(node.outputs, made, strict=False):
            values[old] = new
            if old.name and new.name is None:
                new.name = old.name


def _filled(function: Function, inputs: Sequence[Value | None]) -> list[Value | None]:
    return [*inputs, *[None] * (len(function.graph.inputs) - len(inputs))]


def _replay_body(
    node: Node,
    graph: Graph,
    inputs: Sequence[Value | None],
    given: Mapping[str, Any],
    values: Mapping[Value, Value | None],
    attributes: Mapping[str, Any],
    expand: bool,
) -> Graph:
    """A body made anew for a node with these inputs and attributes."""
    types = tuple([None if value is None else value.type for value in inputs])

    def trace(inner: Sequence[Type | None]) -> Graph:
        trace = Trace(graph.name, current_trace())
        _check_depth(trace)
        with tracing(trace):
            own, outputs = _replay_in(trace, graph, dict(values), attributes, inner, expand=expand)
        return close_graph(graph.name, trace, own, outputs)

    if has_known_bodies(node.schema):
        return settled(node.schema, types, given, trace)
    return trace([value.type for value in graph.inputs])


def _replay_in(
    trace: Trace,
    graph: Graph,
    values: dict[Value, Value | None],
    attributes: Mapping[str, Any],
    types: Sequence[Type | None],
    *,
    expand: bool,
) -> tuple[tuple[Input, ...], tuple[Output, ...]]:
    """The inputs and outputs of a body whose nodes are made anew; `values` are those around it, and learns its own."""
    inputs: list[Input] = []
    if len(types) != len(graph.inputs):
        raise BuildError(f"the body {graph.name!r} has {len(graph.inputs)} inputs, and gets {len(types)}")
    for value, kind in zip(graph.inputs, types, strict=True):
        # where nothing says what a body takes, its file may
        known = value.type if kind is None and value in graph.declared else kind
        inputs.append(Input(value.name, known, trace, value.site, value.default))
    values.update(zip(graph.inputs, inputs, strict=True))
    replay_nodes(graph.nodes, values, attributes, expand=expand)
    return tuple(inputs), tuple([Output(name, _present(values, value)) for name, value in graph.outputs])


def types_through(function: Function) -> Callable[..., tuple[Type | None, ...]]:
    """The type rule of a local function: its body, replayed on inputs of the types at hand."""

    def rule(inputs: tuple[Value | None, ...], attributes: Mapping[str, Any], count: int) -> tuple[Type | None, ...]:
        trace = Trace(f"the body of {function.domain}::{function.name}", None)
        arguments = [
            value if value is None or value.array is not None else Input(value.name, value.type, trace, value.site)
            for value in _filled(function, inputs)
        ]
        with tracing(trace):
            outputs = replay(function.graph, arguments, dict(function.defaults) | dict(attributes))
        return tuple([value.type for value in outputs[: count or None]])

    return rule
