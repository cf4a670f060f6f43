"""The primitive that makes a node: every operator, however it is written, passes through `call`.

`call` checks a call against the operator's schema and hands it to the trace in force. A `Trace` lifts constants,
infers the types of the outputs and makes the node; the trace of a pattern does neither.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from types import MappingProxyType
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from onnx import AttributeProto

from ..allowed import objection
from ..attributes import kind_of, kind_word, normalise
from ..dims import Dim
from ..errors import GraphError, ScopeError, SignatureError, TypeSpecError
from ..forms import form, surplus_inputs, tensor_as_attribute, unknown_keyword, value_advice
from ..inference import infer
from ..ir import NO_ATTRIBUTES, NodeInfo, Opaque, Reference, Value, make_node
from ..schemas import FOREVER, Schema, in_force
from ..sites import Site, at, caller
from ..types import DType, TensorType, Type, from_text, int64
from . import lifting, measuring
from .handle import Handle


class Trace:
    """Where nodes are made: the program itself, or the body of a model, function, branch or loop being traced.

    Values belong to the trace in which they were made. A trace sees its own values, constants, and those of the traces
    that enclose it (`parent`).
    """

    __slots__ = ("bound", "closed", "handle", "label", "memo", "parent", "released", "site")

    def __init__(self, label: str, parent: "Trace | None", site: Site | None = None, *, closed: bool = False) -> None:
        self.closed = closed
        """Whether it sees nothing of the traces that enclose it."""
        self.label = label
        """What messages call it: "model 'f'", "the body of Loop"."""
        self.parent = parent
        self.site = site
        self.memo: WeakValueDictionary[Any, Value] = WeakValueDictionary()
        """What is computed once for the whole trace, such as the size of a tensor's axis, while anything needs it."""
        self.handle: type[Handle] | None = None
        """What users hold of its values, where that is no `Tensor`."""
        self.released = False
        """Whether a model holds its values now, so that the program may build on them."""
        self.bound: Mapping[str, Any] | None = parent.bound if parent is not None else None
        """In a function, the values of its attributes for which it is traced."""

    @property
    def depth(self) -> int:
        """How many traces enclose this one."""
        depth, outer = 0, self.parent
        while outer is not None:
            depth, outer = depth + 1, outer.parent
        return depth

    def call(
        self,
        schema: Schema,
        inputs: Sequence[Any],
        attributes: Mapping[str, Any],
        count: int,
        site: Site | None,
        info: NodeInfo | None = None,
    ) -> tuple[Value, ...]:
        """Make a node of a call that fits the schema, and answer with its outputs."""
        values: list[Value | None] = []
        types: list[Type | None] = []
        unlifted = False
        for item in inputs:
            if isinstance(item, Handle):
                value = item._v
                if value.owner is not self and value.owner is not None:
                    self.admit(value, site)
                values.append(value)
                types.append(value.type)
            else:
                unlifted = unlifted or item is not None
                values.append(None)
                types.append(None)
        if unlifted:
            for index, item in enumerate(inputs):
                if item is not None and values[index] is None:
                    values[index] = constant = _lift(self, schema, index, item, values, site)
                    types[index] = constant.type
        taken = tuple(values)
        known = attributes if self.bound is None else resolved(attributes, self.bound)
        found = infer(schema, taken, tuple(types), known, count, site)
        return make_node(schema, taken, attributes, found, self, site, info).outputs

    def binary(self, schema: Schema, left: Any, right: Any, site: Site | None) -> Value:
        """`call` for the operator of two inputs, one output and no attributes: most of the nodes of an expression."""
        if isinstance(left, Handle) and isinstance(right, Handle):
            one, other = left._v, right._v
            if (one.owner is self or one.owner is None) and (other.owner is self or other.owner is None):
                found = infer(schema, (one, other), (one.type, other.type), NO_ATTRIBUTES, 1, site)
                return make_node(schema, (one, other), NO_ATTRIBUTES, found, self, site).outputs[0]
        return self.call(schema, (left, right), NO_ATTRIBUTES, 1, site)[0]

    @property
    def infers(self) -> bool:
        """Whether the types of what is made are inferred."""
        return True

    @property
    def open_ended(self) -> bool:
        """Whether the call at hand may leave out attributes that are required."""
        return False

    def keywords(self, keywords: Mapping[str, Any]) -> Mapping[str, Any]:
        """The keywords of a call, before they are told apart into inputs and attributes."""
        return keywords

    def attribute(self, schema: Schema, name: str, kind: int, value: Any, site: Site | None) -> Any:
        """An attribute's value as the node keeps it.

        Raises:
            SignatureError: it is of another kind, or none of the values that the standard lists.
        """
        reference = getattr(value, "reference", None)
        if isinstance(reference, Reference) and reference.kind == kind:
            return reference
        try:
            result = normalise(kind, value)
        except (TypeError, ValueError):
            got = f"attribute {name!r} is {kind_word(kind)}, got {_shown(value)}"
            advice = tensor_as_attribute(schema, name) if isinstance(value, Handle) else value_advice(kind, value)
            raise SignatureError(f"{schema.label}: {got}{advice}" + at(site)) from None
        problem = objection(schema.domain, schema.name, name, schema.since, result)
        if problem is not None:
            raise SignatureError(f"{schema.label}: {problem}" + at(site))
        return result

    def admit(self, value: Value, site: Site | None) -> None:
        """Check that a value of another trace may be used here.

        Raises:
            ScopeError: it belongs to a body or model that does not enclose this one.
        """
        home = value.owner
        outer: Trace | None = self
        while outer is not None:
            if home is outer or (outer is ROOT and isinstance(home, Trace) and home.released):
                return
            outer = None if outer.closed else outer.parent
        raise ScopeError(_out_of_scope(value, self) + at(site))


def resolved(attributes: Mapping[str, Any], bound: Mapping[str, Any]) -> Mapping[str, Any]:
    """Attributes with references to a function's attributes replaced by their values; absent ones are left out."""
    if not any(isinstance(value, Reference) for value in attributes.values()):
        return attributes
    found = {name: bound.get(v.name) if isinstance(v, Reference) else v for name, v in attributes.items()}
    return MappingProxyType({name: value for name, value in found.items() if value is not None})


def _out_of_scope(value: Value, here: Trace) -> str:
    home = value.owner
    name = f"the tensor {value.name!r}" if value.name else "a tensor"
    made = f"{name} made in {home.label}" if isinstance(home, Trace) else name
    origin = at(value.site).replace("at ", "made at ", 1)
    if here is ROOT or (isinstance(home, Trace) and home.parent is not None):
        advice = "return it from the body to use it outside"
    else:
        advice = "pass it in as a parameter, or make it inside"
    return f"{made} cannot be used in {here.label}; {advice}{origin}"


ROOT = Trace("the program", None)
"""The trace of everything written outside any body."""

_current: ContextVar[Trace] = ContextVar("graphdsl_trace", default=ROOT)

current_trace = _current.get
"""The trace in force in this thread or task."""


@contextmanager
def tracing(trace: Trace) -> Iterator[Trace]:
    """Put a trace in force for the code inside."""
    token = _current.set(trace)
    try:
        yield trace
    finally:
        _current.reset(token)


def emit(name: str, *inputs: Any, outputs: int | None = None, **keywords: Any) -> tuple[Value, ...]:
    """Call an operator of the default domain at the opset in force; inputs may also be given by schema name."""
    return call(in_force(name), inputs, keywords, outputs)


def emit_binary(name: str, left: Any, right: Any) -> Value:
    """`emit` for an operator of two inputs and one output, which needs no further check of its arity."""
    # called by Tensor._binary, which a method of Tensor calls: three frames of the library
    return _current.get().binary(in_force(name), left, right, caller(4))


def call(
    schema: Schema,
    inputs: Sequence[Any],
    keywords: Mapping[str, Any],
    outputs: int | None = None,
    site: Site | None = None,
) -> tuple[Value, ...]:
    """Check a call against the schema, and make the node.

    `keywords` are attributes, or inputs by their schema names; `outputs` says how many outputs the caller wants; `site`
    is where the call is written, where that was looked up already.

    Raises:
        SignatureError: names, arity or attribute values do not fit.
        InferenceError: the operator refuses the input types.
        ScopeError: an input belongs to another body or model.
    """
    site = site or caller(2)
    trace = _current.get()
    given, attributes = list(inputs), NO_ATTRIBUTES
    if keywords or schema.needed:
        given, attributes = _sort_out(schema, given, trace.keywords(keywords), trace, site)
    while given and given[-1] is None and len(given) > schema.least_inputs:
        if schema.input(len(given) - 1).variadic:
            break
        given.pop()
    _check_inputs(schema, given, site)
    return trace.call(schema, given, attributes, _count(schema, given, attributes, outputs, site), site)


def _sort_out(
    schema: Schema, inputs: list[Any], keywords: Mapping[str, Any], trace: Trace, site: Site | None
) -> tuple[list[Any], Mapping[str, Any]]:
    """Keywords as inputs and attributes."""
    attributes: dict[str, Any] = {}
    for name, value in keywords.items():
        spec = schema.attributes.get(name)
        if spec is not None and not (isinstance(value, Handle) and name in schema.places):
            if value is not None:
                attributes[name] = trace.attribute(schema, name, spec.kind, value, site)
        elif name in schema.places:
            index = schema.places[name]
            if schema.inputs[index].variadic:
                inputs.extend([None] * (index - len(inputs)))
                inputs.extend(value if isinstance(value, (list, tuple)) else [value])
                continue
            inputs.extend([None] * (index + 1 - len(inputs)))
            if inputs[index] is not None:
                raise SignatureError(f"{schema.label}: input {name!r} is given twice" + at(site))
            inputs[index] = value
        elif value is not None and schema.takes_any:
            attributes[name] = _unlisted(schema, name, value, trace, site)
        elif value is not None:
            raise SignatureError(f"{schema.label}: {unknown_keyword(schema, name)}" + at(site))
    missing = [name for name in schema.needed if name not in attributes] if schema.needed else None
    if missing and not trace.open_ended:
        needed = ", ".join(map(repr, missing))
        advice = surplus_inputs(schema, len(inputs)) if len(inputs) > schema.most_inputs else form(schema)
        raise SignatureError(f"{schema.label}: attribute {needed} is required; {advice}" + at(site))
    if len(attributes) > 1:
        attributes = dict(sorted(attributes.items()))
    return inputs, MappingProxyType(attributes) if attributes else NO_ATTRIBUTES


def _unlisted(schema: Schema, name: str, value: Any, trace: Trace, site: Site | None) -> Any:
    """The value of an attribute that the schema does not list; an `AttributeProto` says more than Python has."""
    if isinstance(value, AttributeProto):
        return Opaque(value)
    try:
        kind = kind_of(tuple(value) if isinstance(value, list) else value)
    except (TypeError, StopIteration):
        got = f"attribute {name!r} is of no kind that ONNX has, got {_shown(value)}"
        raise SignatureError(f"{schema.label}: {got}" + at(site)) from None
    return trace.attribute(schema, name, kind, value, site)


def _check_inputs(schema: Schema, given: list[Any], site: Site | None) -> None:
    if not schema.least_inputs <= len(given) <= schema.most_inputs:
        least, most = schema.least_inputs, schema.most_inputs
        wanted = f"{least}" if least == most else f"at least {least}" if most == FOREVER else f"{least} to {most}"
        plural = "" if wanted.endswith(" 1") or wanted == "1" else "s"
        advice = surplus_inputs(schema, len(given)) if len(given) > most else form(schema)
        raise SignatureError(f"{schema.label} takes {wanted} input{plural}, got {len(given)}; {advice}" + at(site))
    index = 0
    for value in given:
        if value is None:
            parameter = schema.input(index)
            if parameter.required or parameter.variadic:
                raise SignatureError(f"{schema.label}: input {parameter.name!r} is required, got None" + at(site))
        index += 1  # noqa: SIM113  # takes half as long


def _count(
    schema: Schema, given: list[Any], attributes: Mapping[str, Any], outputs: int | None, site: Site | None
) -> int:
    """How many outputs the node gets: what the caller says, else what the call implies, else the required ones."""
    least, most = schema.least_outputs, schema.most_outputs
    if outputs is None:
        if schema.rule is not None:
            return 0  # the rule says how many
        if least == most:
            return most
        implied = _implied_outputs(schema, given, attributes)
        if implied is not None:
            return implied
        if most == FOREVER:
            raise SignatureError(f"{schema.label} has as many outputs as you ask for; write outputs=n" + at(site))
        return least or most
    if isinstance(outputs, bool) or not isinstance(outputs, int) or not max(least, 1) <= outputs <= most:
        wanted = f"{max(least, 1)} to {most} outputs" if most != FOREVER else f"at least {max(least, 1)} outputs"
        wanted = "1 output" if most == 1 else wanted
        raise SignatureError(f"{schema.label} has {wanted}, got outputs={outputs!r}" + at(site))
    returned = _returned_by_body(schema, attributes)
    if returned not in (None, outputs):
        raise SignatureError(f"{schema.label} has {returned} outputs by its body, got outputs={outputs!r}" + at(site))
    return outputs


def _returned_by_body(schema: Schema, attributes: Mapping[str, Any]) -> int | None:
    """How many outputs a body makes; None where the operator has none."""
    if schema.domain or schema.name not in ("If", "Loop", "Scan", "SequenceMap"):
        return None
    body = next(iter(attributes[n] for n in ("then_branch", "body") if n in attributes))
    return len(body.outputs) - (schema.name == "Loop")


def _implied_outputs(schema: Schema, given: list[Any], attributes: Mapping[str, Any]) -> int | None:
    if schema.name != "Split" or schema.domain:
        return _returned_by_body(schema, attributes) if schema.may_have_bodies else None
    if "num_outputs" in attributes:
        return int(attributes["num_outputs"])
    if "split" in attributes:
        return len(attributes["split"])
    sizes = given[1] if len(given) > 1 else None
    if isinstance(sizes, Handle):
        kind = sizes.type
        first = kind.shape[0] if isinstance(kind, TensorType) and kind.shape else None
        return first if isinstance(first, int) else None
    return len(sizes) if isinstance(sizes, (list, tuple, np.ndarray)) else None


def _lift(trace: Trace, schema: Schema, index: int, item: Any, values: list[Value | None], site: Site | None) -> Value:
    """A Python value or array as the constant input that it stands for; dimensions and lists of them are computed."""
    formal = schema.input(index)
    try:
        if isinstance(item, (np.ndarray, np.generic)):
            return lifting.shared(lifting.as_array(item), site)
        if isinstance(item, (list, tuple, Dim)) and (natural := computed_dtype(item)) is not None:
            return measuring.lift(trace, item, _adopted(schema, index, item, values, natural), site)
        if not isinstance(item, (bool, int, float, complex, str, bytes, list, tuple)):
            hint = "; write np.asarray(...)" if hasattr(item, "__array__") else ""
            raise SignatureError(f"expected a tensor, an array or a number, got {_shown(item)}{hint}")
        return lifting.adopt(item, _adopted(schema, index, item, values))
    except (TypeSpecError, SignatureError) as error:
        hint = ""
        if formal.variadic and isinstance(item, (list, tuple)) and any(isinstance(one, Handle) for one in item):
            hint = f"; the inputs of {schema.name} are given one by one, as in {schema.name}(*tensors, ...)"
        raise SignatureError(f"{schema.label}: input {formal.name!r}: {error}{hint}" + at(site)) from None
    except GraphError:  # of what computes a dimension
        raise
    except ValueError as error:  # ragged lists
        raise SignatureError(
            f"{schema.label}: input {formal.name!r}: {item!r} is no array ({error})" + at(site)
        ) from None


def _adopted(schema: Schema, index: int, item: Any, values: list[Value | None], natural: DType | None = None) -> DType:
    """The dtype a Python value takes: a sibling's that shares the type variable, the only one allowed, its own."""
    formal = schema.input(index)
    if not formal.variadic or formal.homogeneous:
        for i, value in enumerate(values):
            if value is not None and schema.input(i).type_str == formal.type_str and isinstance(value.type, TensorType):
                return value.type.dtype
    allowed = _dtypes(formal.types)
    natural = natural or lifting.natural_dtype(item)
    if len(allowed) == 1:
        return next(iter(allowed))
    if natural.kind == "float":
        for value in values:
            kind = value.type if value is not None else None
            if isinstance(kind, TensorType) and kind.dtype.kind == "float" and kind.dtype in allowed:
                return kind.dtype
    if natural in allowed or not allowed:
        return natural
    fitting = [d for d in allowed if d.kind in ("float", natural.kind) and d.bits in (32, 64)]
    return min(fitting, key=lambda d: (d.kind != natural.kind, d.bits, d.code), default=natural)


@cache
def _dtypes(texts: frozenset[str]) -> frozenset[DType]:
    """The dtypes of the tensor types that a schema allows."""
    return frozenset(kind.dtype for kind in map(from_text, texts) if isinstance(kind, TensorType))


def computed_dtype(item: Any) -> DType | None:
    """The dtype that a dimension, or a list that holds dimensions or tensors, has of its own; None for other values."""
    found: DType | None = None
    for element in (item,) if isinstance(item, Dim) else item:
        if element is None or isinstance(element, Dim):
            found = found or int64
        elif isinstance(element, Handle):
            return element.dtype
        elif isinstance(element, (list, tuple)) and computed_dtype(element) is not None:
            raise SignatureError("lists in a list that hold tensors or dimensions are no tensor; write np.stack")
    return found


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"
