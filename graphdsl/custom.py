"""Operators that only others implement: declared with a type rule, and optionally with what they compute."""

import inspect
from collections.abc import Callable, Mapping
from functools import update_wrapper
from typing import Any

from .errors import BuildError, GraphError, InferenceError
from .functions import function
from .interfaces import Interface
from .ir import Input, Value
from .schemas import FOREVER, Parameter, Schema, declare
from .sites import at, caller
from .tensor import Tensor
from .tensor.calling import Trace, call, tracing
from .tensor.handle import Handle
from .tracing import wrap
from .types import Type, as_type, is_type


class CustomOperator:
    """A declared operator: call it on tensors. `numpy` and `body` say what it computes."""

    def __init__(self, rule: Callable[..., Any], domain: str, name: str, version: int) -> None:
        update_wrapper(self, rule)
        self.domain = domain
        self.op_type = name
        self._rule = rule
        self._version = version
        self._interface = Interface(rule, f"operator '{domain}::{name}'", open_ended=True)
        self._function: Callable[..., Any] | None = None
        self._schema = declare(self._declaration())

    def __call__(self, /, *inputs: Any, **attributes: Any) -> Any:
        if self._function is not None:
            return self._function(*inputs, **attributes)
        return wrap(call(self._schema, inputs, attributes))

    def numpy(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        """Say what the operator computes, as a function on NumPy arrays with the declaration's parameters.

        Models that use the operator then run through ONNX's reference evaluator, since ONNX Runtime does not know it.
        """
        defaults = self._interface.defaults
        self._schema.numpy = lambda *inputs, **attributes: compute(*inputs, **(defaults | attributes))
        return compute

    def body(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        """Say what the operator computes, in the language: calls become calls of a local function."""
        self._function = function(domain=self.domain, name=self.op_type, version=self._version)(compute)
        return compute

    def _declaration(self) -> Schema:
        interface = self._interface
        inputs = tuple(
            Parameter(
                parameter.name,
                f"T{index}",
                frozenset(),
                parameter.default is parameter.empty and parameter.kind is not parameter.VAR_POSITIONAL,
                parameter.kind is parameter.VAR_POSITIONAL,
                False,
                0 if parameter.kind is parameter.VAR_POSITIONAL else 1,
            )
            for index, parameter in enumerate(interface.inputs)
        )
        return Schema(
            self.domain,
            self.op_type,
            version=self._version,
            since=self._version,
            until=FOREVER,
            inputs=inputs,
            outputs=(Parameter("outputs", "R", frozenset(), False, True, False, 1),),
            attributes=interface.attributes,
            doc=inspect.getdoc(self._rule) or "",
            rule=self._types,
            takes_any=interface.takes_any,
        )

    def _types(
        self, inputs: tuple[Value | None, ...], attributes: Mapping[str, Any], count: int
    ) -> tuple[Type | None, ...]:
        """The types of what the rule returns for inputs of these types."""
        label = f"the type rule of {self.domain}::{self.op_type}"
        trace = Trace(label, None, caller())
        with tracing(trace):
            stand_ins = [
                None
                if value is None
                else Tensor(value if value.array is not None else Input(value.name, value.type, trace, value.site))
                for value in inputs
            ]
            try:
                returned = self._rule(*stand_ins, **attributes)
            except GraphError:
                raise
            except Exception as error:
                said = f"{type(error).__name__}: {error}"
                raise InferenceError(f"{label} failed: {said}" + at(caller())) from error
        items = returned if isinstance(returned, (tuple, list)) else (returned,)
        types: list[Type | None] = []
        for item in items:
            if isinstance(item, Handle):
                types.append(item.type)
            elif is_type(item):
                types.append(as_type(item))
            elif item is None and items is returned:
                types.append(None)
            else:
                raise BuildError(f"{label} returns tensors or types, got {item!r}" + at(caller()))
        if not types:
            raise BuildError(f"{label} returns no outputs" + at(caller()))
        return tuple(types[: count or None])


def custom_op(name: str, *, version: int = 1) -> Callable[[Callable[..., Any]], CustomOperator]:
    """Declare an operator that only others implement, by its type rule.

    The decorated function gets the inputs as tensors and the attributes as Python values (keyword-only parameters,
    typed by annotation or default), and returns for each output a type, or a tensor of that type; None in a tuple
    stands for a type that nothing tells. A `**parameter` takes attributes of any name, of the kinds of their values.

    >>> import graphdsl as gd
    >>> @gd.custom_op("my::Upsampled")
    ... def upsampled(x, *, factor: int = 2):
    ...     n, c, h, w = x.shape
    ...     return x.dtype[n, c, h * factor, w * factor]
    >>> upsampled(gd.input("x", gd.float32["n", 3, "h", 8]), factor=3).shape
    (Dim('n'), 3, Dim('3*h'), 24)

    Args:
        name: `"domain::Operator"`.
        version: The version of the domain that a model imports.

    Raises:
        BuildError: the name has no domain, or the function's parameters name no attribute kinds.
    """
    domain, separator, operator = name.partition("::") if isinstance(name, str) else ("", "", "")
    if not separator or not domain or not operator:
        raise BuildError(f"a custom operator is named 'domain::Operator', not {name!r}" + at(caller()))
    if domain == "ai.onnx":
        raise BuildError(f"{name!r}: the domain of ONNX's own operators is closed; choose another" + at(caller()))
    return lambda rule: CustomOperator(rule, domain, operator, version)
