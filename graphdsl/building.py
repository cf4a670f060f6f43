"""Models from expressions: `build` and `@model`."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, overload

import numpy as np

from . import schemas
from .declarations import annotated, declared
from .emission import is_readable
from .errors import BuildError, OpsetError, SignatureError, TypeSpecError
from .ir import NO_ATTRIBUTES, Constant, Graph, Input, Node, Output, Value, clash
from .ir_versions import least_ir_version
from .models import PRODUCER, Model
from .sites import Site, at, caller
from .tensor import Tensor, lifting
from .tensor.calling import ROOT, Trace, current_trace, tracing
from .tensor.handle import Handle
from .tracing import admit, as_outputs, seal
from .types import TensorType, as_dtype, as_type, is_type
from .walk import Survey, deepest, dependencies, functions, reachable, survey


def input(name: str, type: Any) -> Tensor:
    """A graph input.

    >>> import graphdsl as gd
    >>> gd.input("x", gd.float32["n", 3])
    <Tensor 'x' float32['n', 3]>

    Args:
        name: Its name in the model.
        type: `gd.float32[2, "n"]`, a dtype (unknown rank), or `gd.sequence(...)` and the like.

    Raises:
        SignatureError: the name is not a non-empty str.
        TypeSpecError: the type cannot be read.
    """
    if not isinstance(name, str) or not name:
        raise SignatureError(f"an input's name is a non-empty str, not {name!r}" + at(caller()))
    return Tensor(Input(name, as_type(type), current_trace(), caller()))


def constant(array: Any, name: str | None = None, *, dtype: Any = None) -> Tensor:
    """A constant tensor of an array, a number or a (nested) list.

    Python floats become float32 and ints int64 unless `dtype` says otherwise; arrays keep their dtype. Arrays below
    64 KiB are copied, larger ones are held as read-only views, so they must not be changed afterwards.

    >>> import graphdsl as gd
    >>> gd.constant([1.0, 2.0]).value
    array([1., 2.], dtype=float32)

    Args:
        array: The values.
        name: Its name in the model.
        dtype: What holds them: a dtype that cannot hold the values is refused.

    Raises:
        SignatureError: it is no array, or `dtype` does not hold its values.
        TypeSpecError: ONNX has no such element type.
    """
    site = caller()
    if isinstance(array, Handle):
        raise SignatureError("a tensor is no constant; read its .value if it stands for one" + at(site))
    is_array = isinstance(array, (np.ndarray, np.generic))
    try:
        wanted = as_dtype(dtype) if dtype is not None else None if is_array else lifting.natural_dtype(array)
        if wanted is not None and not (is_array and array.dtype == wanted.numpy):
            array = lifting.adopt(array, wanted).array
        return Tensor(lifting.constant(lifting.as_array(array), site, name))
    except (SignatureError, TypeSpecError) as error:
        problem = str(error).partition("; cast")[0]  # advice for tensors
        raise type(error)(f"gd.constant: {problem}" + at(site)) from None
    except (ValueError, TypeError) as error:  # ragged lists, and what is no array at all
        raise SignatureError(f"gd.constant: {array!r} is no array ({error})" + at(site)) from None


def build(
    outputs: Any,
    inputs: Sequence[Tensor] | None = None,
    *,
    name: str = "graph",
    opset: int | None = None,
    types: Any = None,
) -> Model:
    """The model that computes `outputs`.

    >>> import graphdsl as gd
    >>> a, x, b = (gd.input(n, gd.float32[10, 10]) for n in "axb")
    >>> gd.build({"out": a * x + b}, inputs=[a, x, b], name="linear_func")
    <Model 'linear_func'(a: float32[10, 10], x: float32[10, 10], b: float32[10, 10]), 2 nodes, opset 21>

    Args:
        outputs: A tensor, a sequence of tensors, or a dict by output name.
        inputs: The model's inputs, in order; by default those that the outputs need, in the order they were made.
        name: The graph's name.
        opset: The opset version; by default the one in force if all nodes fit it, else the highest that they share.
        types: What to declare of outputs where you know more than is inferred: a type, types in order, or a dict by
            output name.

    Raises:
        BuildError: an input that is needed is not listed, two have one name, or an output has no known type or
            another one than is declared.
        ScopeError: an output was made in a body, and belongs to it.
        OpsetError: no opset fits all nodes.
    """
    found = as_outputs(outputs, "gd.build")
    admit(found, current_trace(), caller())
    return assemble(found, inputs, name=name, opset=opset, what="gd.build", types=types)


def assemble(
    outputs: tuple[Output, ...],
    inputs: Sequence[Tensor] | None,
    *,
    name: str,
    opset: int | None,
    what: str,
    types: Any = None,
) -> Model:
    """A model of outputs and inputs; the last step of `build` and of `@model`."""
    site = caller()
    if not isinstance(name, str):
        raise BuildError(f"{what}: a model's name is a str, not {name!r}" + at(site))
    values = [value for _, value in outputs]
    nodes, needed = reachable(values)
    if inputs is None:
        listed = needed
    else:
        listed = _listed(inputs, what, site)
        _check_needed(needed, listed, nodes, what, site)
    _check_names(listed, outputs, what, site)
    declarations = declared(outputs, types, what, site)
    for output in outputs:
        if output.value.type is None and output.value not in declarations:
            label = repr(output.name) if output.name else "an output"
            made = output.value.node.schema.label if output.value.node else "?"
            raise BuildError(
                f"{what}: the type of {label} (made by {made}) is not known, and a model declares the types of its "
                f"outputs; declare it with types=..., or the operator with @gd.custom_op and a type rule"
                + at(output.value.site or site)
            )
    graph = Graph(name, tuple(listed), tuple(nodes), outputs, declared=declarations)
    seal(nodes)
    used = survey(graph)
    called = functions(used.operators)
    if called:
        used = survey(graph, *(function.graph for function in called))
        _check_functions(used, what, site)
    imports = choose_opsets(used, opset, what, site)
    built = Model(graph, imports, least_ir_version(used, imports, called), called, producer=PRODUCER)
    if used.graphs > _SHALLOW:
        _check_depth(built, what, site)
    return built


_SHALLOW = 28
"""Bodies nested no deeper than this can be read whatever they hold."""


def _check_depth(built: Model, what: str, site: Site | None) -> None:
    """How deep is too deep depends on what the innermost body holds, so the answer is protobuf's."""
    depth, node = max((deepest(part) for part in (built.graph, *(f.graph for f in built.functions))), key=itemgetter(0))
    if depth > _SHALLOW and not is_readable(built):
        raise BuildError(
            f"{what}: a body of {node.schema.label if node else '?'} is nested {depth} deep, where what it holds is "
            f"beyond what protobuf reads; move an inner body out, or into a @gd.function"
            + at(node.site if node else site)
        )


def _check_functions(used: Survey, what: str, site: Site | None) -> None:
    """Refuse two functions of one name that are not overloads of each other."""
    found: dict[tuple[str, str], list[Node]] = {}
    for schema, node in used.operators.items():
        if schema.function is not None:
            same = found.setdefault((schema.domain, schema.name), [])
            for other in same:
                known = other.schema.function
                if known is not None and known is not schema.function and clash(known, schema.function):
                    problem = f"two functions are named {schema.label!r}; rename one of them"
                    if known.overload is not None and known.origin is schema.function.origin:
                        problem = f"the calls of {schema.label!r} make two bodies, and it is one overload"
                    raise BuildError(f"{what}: {problem}{at(other.site)}{at(node.site)}" + at(site))
            same.append(node)


def _listed(inputs: Iterable[Any], what: str, site: Site | None) -> list[Input]:
    listed: list[Input] = []
    for item in inputs:
        value = item._v if isinstance(item, Handle) else None
        if not isinstance(value, Input):
            raise BuildError(f"{what}: inputs are tensors made by gd.input, got {item!r}" + at(site))
        listed.append(value)
    return listed


def _check_needed(needed: list[Input], listed: list[Input], nodes: list[Node], what: str, site: Site | None) -> None:
    known = set(listed)
    missing = [value for value in needed if value not in known]
    if not missing:
        return
    lines = [f"{what}: the outputs need inputs that are not listed: {', '.join(repr(v.name) for v in missing)}"]
    users: dict[Value, Node] = {}
    for node in nodes:
        for value in dependencies(node):
            users.setdefault(value, node)
    for value in missing:
        user = users.get(value)
        lines.append(f"  {value.name!r} ({value.type!r})" + (f" is used by {user.schema.label}" if user else ""))
        if user is not None:
            lines.append(at(user.site).lstrip("\n"))
    raise BuildError("\n".join(lines) + f"\nadd them to inputs=[...]{at(site)}")


def _check_names(inputs: list[Input], outputs: tuple[Output, ...], what: str, site: Site | None) -> None:
    seen: dict[str | None, Input] = {}
    for value in inputs:
        first = seen.setdefault(value.name, value)
        if first is value and list(inputs).count(value) == 1:
            continue
        same = (
            "the same input is listed twice"
            if first is value
            else "two inputs have this name; give one another, with gd.rename where a model has it"
        )
        raise BuildError(f"{what}: input {value.name!r}: {same}{at(first.site)}{at(value.site)}{at(site)}")
    called: dict[str | None, Value] = {}
    for name, output in outputs:
        wanted = name or output.name
        if not name and wanted and called.setdefault(wanted, output) is not output:
            raise BuildError(
                f"{what}: two outputs are named {wanted!r}; return a dict, whose keys are the names"
                f"{at(called[wanted].site)}{at(output.site)}{at(site)}"
            )
        if wanted in seen and seen[wanted] is not output:
            raise BuildError(f"{what}: the output name {wanted!r} is the name of an input" + at(output.site or site))


def choose_opsets(used: Survey, wanted: int | None, what: str, site: Site | None) -> dict[str, int]:
    """The opset version of each domain that the nodes use: wanted, in force, or the highest that fits them all.

    Raises:
        OpsetError: none fits; the message names two nodes that share no version.
    """
    if wanted is not None:
        schemas.known_opset(wanted)
    bounds: dict[str, tuple[Node, Node]] = {}
    asked: dict[str, int] = {}
    for schema, node in used.operators.items():
        low, high = bounds.get(schema.domain, (node, node))
        bounds[schema.domain] = (
            node if schema.since > low.schema.since else low,
            node if schema.until < high.schema.until else high,
        )
        asked[schema.domain] = max(asked.get(schema.domain, 1), schema.version)
    imports: dict[str, int] = {}
    for domain in ["", *sorted(set(bounds) - {""})]:
        preferred = (wanted or schemas.opset_in_force()) if domain == "" else asked[domain]
        if domain not in bounds:
            imports[domain] = preferred
            continue
        low, high = bounds[domain]
        if low.schema.since > high.schema.until:
            advice = (
                ""
                if domain
                else f"\n  for a model of an older opset, write gd.convert_opset(model, {low.schema.since})"
            )
            raise OpsetError(
                f"{what}: two operators share no opset{_interval(low)}{_interval(high)}{advice}" + at(site)
            )
        if low.schema.since <= preferred <= high.schema.until:
            imports[domain] = preferred
        elif domain == "" and wanted is not None:
            wrong = low if wanted < low.schema.since else high
            raise OpsetError(
                f"{what}: an operator does not mean the same at opset {wanted}{_interval(wrong)}" + at(site)
            )
        else:
            imports[domain] = min(high.schema.until, schemas.newest(domain))
    return imports


def _interval(node: Node) -> str:
    schema = node.schema
    last = "on" if schema.until == schemas.FOREVER else f"to {schema.until}"
    return f"\n  {schema.label} as written here is of opset {schema.since} {last}{at(node.site)}"


@overload
def model(function: Callable[..., Any], /) -> Model: ...
@overload
def model(
    *, opset: int | None = None, name: str | None = None, inputs: Mapping[str, str] = ...
) -> Callable[[Callable[..., Any]], Model]: ...
def model(
    function: Callable[..., Any] | None = None,
    /,
    *,
    opset: int | None = None,
    name: str | None = None,
    inputs: Mapping[str, str] = NO_ATTRIBUTES,
) -> Any:
    """A model from a function, traced once with symbolic inputs.

    Parameters annotated with a type become the model's inputs; the others are Python values. If one of those has no
    default, the result is a function of them that returns the model. A return annotation declares the outputs' types,
    as `types` does in `gd.build`.

    >>> import graphdsl as gd
    >>> @gd.model
    ... def linear_func(a: gd.float32[10, 10], x: gd.float32[10, 10], b: gd.float32[10, 10]):
    ...     return a * x + b
    >>> [node.op_type for node in linear_func.nodes]
    ['Mul', 'Add']

    Args:
        function: Returns a tensor, a tuple of tensors, or a dict by output name.
        opset: The opset in force while it is traced; by default the one in force where it is written.
        name: The graph's name; by default the function's.
        inputs: The names of inputs by parameter, where they are not those of the parameters: `{"image": "input.1"}`.

    Raises:
        BuildError: it returns no tensors, uses tensors that are not its own, or has no such parameter.
    """
    if function is None:
        return lambda f: model(f, opset=opset, name=name, inputs=inputs)  # type: ignore[call-overload]
    if not callable(function):
        raise BuildError(f"gd.model takes a function, got {function!r}" + at(caller()))
    types, values = _parameters(function)
    label = str(name or getattr(function, "__name__", "graph"))
    for parameter, wanted in inputs.items():
        if parameter not in types or not isinstance(wanted, str) or not wanted:
            known = ", ".join(map(repr, types)) or "none"
            raise BuildError(
                f"model {label!r}: inputs={{{parameter!r}: {wanted!r}}} names no input; its inputs are {known}"
                + at(caller())
            )

    def trace(*given: Any, **named: Any) -> Model:
        bound = inspect.Signature(values).bind(*given, **named)
        bound.apply_defaults()
        return _trace(function, types, bound.arguments, label, opset, inputs)

    if any(p.default is p.empty for p in values):
        trace.__name__ = trace.__qualname__ = label
        trace.__doc__ = function.__doc__
        trace.__signature__ = inspect.Signature(values)  # type: ignore[attr-defined]
        return trace
    return trace()


def _parameters(function: Callable[..., Any]) -> tuple[dict[str, inspect.Parameter], list[inspect.Parameter]]:
    """The parameters that are inputs (with their types as annotations), and those that are Python values."""
    try:
        signature = inspect.signature(function, eval_str=True)
    except NameError as error:
        raise BuildError(
            f"@gd.model: an annotation cannot be read: {error}. Under 'from __future__ import annotations' they are "
            "text that sees only the names of the module; leave that import out, or make the model with gd.build"
            + at(caller())
        ) from None
    inputs: dict[str, inspect.Parameter] = {}
    values: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        if parameter.annotation is not parameter.empty and is_type(parameter.annotation):
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise BuildError(f"@gd.model: *{parameter.name} cannot be inputs; name each one" + at(caller()))
            inputs[parameter.name] = parameter.replace(annotation=as_type(parameter.annotation))
        elif parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            values.append(parameter)
    return inputs, values


def _trace(
    function: Callable[..., Any],
    parameters: Mapping[str, inspect.Parameter],
    values: Mapping[str, Any],
    label: str,
    opset: int | None,
    names: Mapping[str, str],
) -> Model:
    site = caller()
    what = f"model {label!r}"
    trace = Trace(what, None, site)
    version = schemas.opset_in_force() if opset is None else opset
    with schemas.opset_forced(version), tracing(trace):
        inputs = {
            name: Tensor(Input(names.get(name, name), p.annotation, trace, site, _default(p, what, site)))
            for name, p in parameters.items()
        }
        given = dict(values) | inputs
        arguments, keywords = [], {}
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                arguments.append(given[name])
            elif parameter.kind is parameter.KEYWORD_ONLY:
                keywords[name] = given[name]
        outputs = as_outputs(function(*arguments, **keywords), what)
        admit(outputs, trace, site)
        types = annotated(inspect.signature(function, eval_str=True).return_annotation)
        result = assemble(outputs, list(inputs.values()), name=label, opset=opset, what=what, types=types)
    trace.released = True
    return result


def _default(parameter: inspect.Parameter, what: str, site: Site | None) -> np.ndarray | None:
    """The array that an input has where it is left out.

    Raises:
        BuildError: it is not of the input's type.
    """
    if parameter.default is parameter.empty or parameter.default is None:
        return None
    kind = parameter.annotation
    problem = f"{what}: the input {parameter.name!r} is {kind!r}"
    if not isinstance(kind, TensorType):
        raise BuildError(f"{problem}, and only tensors have a default" + at(site))
    try:
        given = lifting.as_array(parameter.default) if hasattr(parameter.default, "__array__") else None
        found = lifting.adopt(parameter.default, kind.dtype) if given is None else lifting.constant(given, None)
    except (SignatureError, TypeSpecError, ValueError) as error:
        raise BuildError(f"{problem}, and its default cannot be: {error}" + at(site)) from None
    got = found.type
    assert isinstance(got, TensorType) and got.shape is not None
    sizes = got.shape if kind.shape is None else kind.shape
    fits = len(sizes) == len(got.shape) and all(
        not isinstance(size, int) or size == own for size, own in zip(sizes, got.shape, strict=True)
    )
    if got.dtype is not kind.dtype or not fits:
        raise BuildError(f"{problem}, and its default is {got!r}" + at(site))
    return found.array


__all__ = ["ROOT", "Constant", "build", "constant", "input", "model"]
