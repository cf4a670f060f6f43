"""Local functions: a Python function on tensors that becomes one FunctionProto, called as one node."""

import inspect
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import update_wrapper
from types import MappingProxyType
from typing import Any, overload

import numpy as np
from onnx import AttributeProto

from . import schemas
from .attributes import kind_word, normalise
from .emission import function_bytes
from .errors import BuildError, SignatureError
from .interfaces import Interface
from .ir import Function, Input, Reference, Value, make_node
from .schemas import FOREVER, AttributeSpec, Parameter, Schema
from .sites import at, caller
from .tensor import Tensor
from .tensor.calling import Trace, call, current_trace, tracing
from .tensor.handle import Handle
from .tracing import as_outputs, as_tensor, close_graph, types_through, wrap
from .types import Type

_CONSTANT: dict[int, str] = {
    AttributeProto.FLOAT: "value_float",
    AttributeProto.FLOATS: "value_floats",
    AttributeProto.INT: "value_int",
    AttributeProto.INTS: "value_ints",
    AttributeProto.STRING: "value_string",
    AttributeProto.STRINGS: "value_strings",
    AttributeProto.TENSOR: "value",
}


_being_traced: ContextVar[tuple["_FunctionMaker", ...]] = ContextVar("_being_traced", default=())
"""The functions whose bodies are being traced in this thread or task, the innermost last."""


class AttributeTensor(Tensor):
    """An attribute of the function being traced: an attribute value for other operators, or a tensor."""

    __slots__ = ("reference",)

    def __init__(self, value: Value, reference: Reference | None = None) -> None:
        super().__init__(value)
        self.reference = reference


class _FunctionMaker:
    """What `@function` gives: call it on tensors."""

    def __init__(
        self, function: Callable[..., Any], domain: str, name: str, version: int, overload: str | None
    ) -> None:
        update_wrapper(self, function)
        self.domain = domain
        self.op_type = name
        self.version = version
        self.overload = overload
        self._function = function
        self._interface = Interface(function, f"function '{domain}::{name}'")
        self._traced: dict[Any, Schema] = {}
        self._bodies: dict[bytes, Schema] = {}

    def __call__(self, *inputs: Any, **keywords: Any) -> Any:
        if not current_trace().infers:
            return wrap(call(self._signature(len(inputs)), inputs, keywords))
        what = self._interface.what
        formal = self._interface.names(len(inputs))
        order = [name for name, _ in formal]
        given = [None if item is None else as_tensor(item, what) for item in inputs]
        for name in [name for name in keywords if name in order]:
            index = order.index(name)
            given.extend([None] * (index + 1 - len(given)))
            if given[index] is not None:
                raise SignatureError(f"{what}: input {name!r} is given twice" + at(caller()))
            item = keywords.pop(name)
            given[index] = None if item is None else as_tensor(item, what)
        attributes: dict[str, Any] = {}
        values = dict(self._interface.defaults)
        for name, value in keywords.items():
            spec = self._interface.attributes.get(name)
            reference = getattr(value, "reference", None)
            if isinstance(reference, Reference):  # of the function around: this one is traced for the value there
                bound = (current_trace().bound or {}).get(reference.name)
                if bound is not None:
                    values[name] = bound
            elif spec is not None and value is not None:
                value = values[name] = self._attribute(spec, value)
            attributes[name] = value
        return wrap(call(self._trace(given, values), given, attributes))

    def _signature(self, count: int) -> Schema:
        """The schema of a call where no body is traced, in a pattern: it says nothing of the outputs."""
        return Schema(
            self.domain,
            self.op_type,
            version=self.version,
            since=self.version,
            until=FOREVER,
            inputs=self._interface.parameters(count),
            outputs=(Parameter("outputs", "R", frozenset(), False, True, False, 1),),
            attributes=self._interface.attributes,
            rule=lambda *_: (),
            maker=self,
        )

    def _attribute(self, spec: AttributeSpec, value: Any) -> Any:
        try:
            return normalise(spec.kind, value)
        except (TypeError, ValueError):
            got = f"attribute {spec.name!r} is {kind_word(spec.kind)}, got {value!r} ({type(value).__name__})"
            raise SignatureError(f"{self._interface.what}: {got}" + at(caller())) from None

    def _trace(self, given: list[Tensor | None], values: Mapping[str, Any]) -> Schema:
        """The schema that calls the body for inputs of these types and attributes of these values."""
        site = caller()
        formal = self._interface.names(len(given))
        if len(given) > len(formal) or any(
            required and (i >= len(given) or given[i] is None) for i, (_, required) in enumerate(formal)
        ):
            names = ", ".join(name if required else f"{name}=None" for name, required in formal)
            raise SignatureError(f"{self._interface.what} takes ({names}), got {_inputs(len(given))}" + at(site))
        missing = [n for n, spec in self._interface.attributes.items() if spec.required and n not in values]
        if missing:
            raise SignatureError(
                f"{self._interface.what}: attribute {', '.join(map(repr, missing))} is required" + at(site)
            )
        types: list[Type | None] = [None if tensor is None else tensor.type for tensor in given]
        present = tuple(tensor is not None for tensor in given)
        key: Any = (tuple(types), present, schemas.opset_in_force(), tuple(_hashable(values)))
        found = self._traced.get(key)
        if found is None:
            outer = _being_traced.get()
            if self in outer:
                raise BuildError(f"{self._interface.what} calls itself; ONNX functions cannot recur" + at(site))
            token = _being_traced.set((*outer, self))
            try:
                found = self._traced[key] = self._make(present, types, values)
            finally:
                _being_traced.reset(token)
        return found

    def _make(self, present: tuple[bool, ...], types: list[Type | None], values: Mapping[str, Any]) -> Schema:
        interface = self._interface
        trace = Trace(interface.what, None, caller())
        trace.bound = values
        names = [name for name, _ in interface.names(len(types))]
        padded = [*types, *[None] * (len(names) - len(types))]
        with tracing(trace):
            inputs = tuple([Input(n, kind, trace, trace.site) for n, kind in zip(names, padded, strict=True)])
            arguments = [Tensor(value) if i < len(present) and present[i] else None for i, value in enumerate(inputs)]
            keywords = {
                name: _attribute_tensor(trace, spec, values.get(name)) for name, spec in interface.attributes.items()
            }
            outputs = as_outputs(self._function(*arguments, **keywords), interface.what)
        graph = close_graph(self.op_type, trace, inputs, outputs)
        function = Function(
            self.domain,
            self.op_type,
            graph,
            attributes=tuple(n for n in interface.attributes if n not in interface.defaults),
            defaults=MappingProxyType(interface.defaults),
            kinds=MappingProxyType({n: spec.kind for n, spec in interface.attributes.items()}),
            overload=self.overload,
            origin=self,
            doc=inspect.getdoc(self._function) or "",
        )
        return self._bodies.setdefault(function_bytes(function, schemas.opset_in_force()), _schema(self, function))


def _inputs(count: int) -> str:
    return "1 input" if count == 1 else f"{count} inputs"


def _hashable(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(n, (v.dtype, v.shape, v.tobytes()) if isinstance(v, np.ndarray) else v) for n, v in sorted(values.items())]


def _schema(maker: _FunctionMaker, function: Function) -> Schema:
    interface = maker._interface
    count = len(function.graph.inputs)
    outputs = tuple(
        Parameter(f"output_{i}", f"R{i}", frozenset(), True, False, True, 1) for i in range(len(function.graph.outputs))
    )
    return Schema(
        function.domain,
        function.name,
        version=maker.version,
        since=maker.version,
        until=FOREVER,
        inputs=interface.parameters(count),
        outputs=outputs,
        attributes=interface.attributes,
        doc=function.doc,
        rule=types_through(function),
        function=function,
    )


def _attribute_tensor(trace: Trace, spec: AttributeSpec, value: Any) -> Any:
    """The function's attribute as its body sees it: a Constant node that refers to it, where ONNX has one."""
    if value is None and not spec.required:
        return None
    name = _CONSTANT.get(spec.kind)
    reference = Reference(spec.name, spec.kind)
    if name is None or schemas.opset_in_force() < 12:
        raise BuildError(f"{trace.label}: an attribute of this kind cannot be used at this opset" + at(caller()))
    constant = schemas.lookup("", "Constant", schemas.opset_in_force())
    trial = trace.call(constant, [], MappingProxyType({name: value}), 1, caller())
    node = make_node(constant, (), MappingProxyType({name: reference}), (trial[0].type,), trace, caller())
    return AttributeTensor(node.outputs[0], reference)


@overload
def function(callable_: Callable[..., Any], /) -> Callable[..., Any]: ...
@overload
def function(
    *, domain: str = ..., name: str | None = ..., version: int = ..., overload: str | None = ...
) -> Callable[[Callable[..., Any]], Callable[..., Any]]: ...
def function(
    callable_: Callable[..., Any] | None = None,
    /,
    *,
    domain: str = "local",
    name: str | None = None,
    version: int = 1,
    overload: str | None = None,
) -> Any:
    """A local function of the model from a Python function on tensors; each call is one node.

    Positional parameters are inputs, keyword-only ones attributes (typed by annotation or default). The function is
    traced once for each combination of input types and attribute values that it is called with; traces that differ
    become overloads. It may use constants from outside, but no tensors: pass them.

    >>> import graphdsl as gd
    >>> @gd.function(domain="my")
    ... def my_add(a, b):
    ...     return 2 * a + b
    >>> x = gd.input("x", gd.float32[3])
    >>> model = gd.build(my_add(x, x))
    >>> [node.op_type for node in model.nodes], [f.name for f in model.functions]
    (['my_add'], ['my_add'])

    Args:
        callable_: Returns a tensor or a tuple of tensors.
        domain: The domain of the operator.
        name: Its name; by default the function's.
        version: The version of the domain that the model imports.
        overload: Tells Python functions of one name apart (`"1"`); each then has one body. By default, bodies are
            numbered.

    Raises:
        BuildError: it calls itself, returns no tensors, or an attribute has no type.
        ScopeError: it uses a tensor from outside.

    ONNX specification: IR.md, "Functions".
    """
    if callable_ is None:
        options = {"domain": domain, "name": name, "version": version, "overload": overload}
        return lambda f: function(f, **options)
    if not callable(callable_) or isinstance(callable_, Handle):
        raise BuildError(f"gd.function takes a Python function, got {callable_!r}" + at(caller()))
    if not domain or domain == "ai.onnx":
        raise BuildError("a function needs a domain of its own, as in @gd.function(domain='my')" + at(caller()))
    return _FunctionMaker(callable_, domain, name or callable_.__name__, version, overload)


@function(domain="graphdsl", name="Debug")
def _debug(x: Any, *, name: str) -> Any:
    """Hands its input through; the name marks the place."""
    return x


def marker(x: Tensor, name: str) -> Tensor:
    """`x` again, through a node `graphdsl::Debug` that carries a name.

    The operator is a local function with an Identity body, so every runtime runs it; rewrites and tools that look for
    the marked place find the node.

    >>> import graphdsl as gd
    >>> x = gd.input("x", gd.float32[3])
    >>> gd.build(gd.marker(x * 2, "doubled")).nodes[1].attributes["name"]
    'doubled'
    """
    result: Tensor = _debug(x, name=name)
    return result
