"""The functions that call operators, made from schemas, with the operator's documentation and signature."""

import inspect
import textwrap
from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from functools import cache
from keyword import iskeyword
from typing import Any

import numpy as np

from . import schemas
from .attributes import from_attribute, kind_word
from .control import with_bodies
from .errors import OpsetError, UnknownOperator
from .schemas import AttributeSpec, Parameter, Schema
from .sites import at, caller
from .tensor.calling import call
from .tracing import wrap
from .types import TensorType, from_text


def operator(domain: str, name: str, version: int | None) -> Callable[..., Any]:
    """The function that calls an operator; without a version, at the opset in force when it is called.

    Raises:
        UnknownOperator: there is no such operator at this version, or at any when there is no version.
    """
    return _operator(domain, name, version, version or schemas.opset_in_force())


@cache
def _operator(domain: str, name: str, version: int | None, documented: int) -> Callable[..., Any]:
    shown = _shown_schema(domain, name, documented, exactly=version is not None)

    def call_operator(*inputs: Any, outputs: int | None = None, **attributes: Any) -> Any:
        schema = schemas.lookup(domain, name, schemas.opset_in_force() if version is None else version)
        given, keywords = with_bodies(schema, inputs, attributes) if schema.may_have_bodies else (inputs, attributes)
        return wrap(call(schema, given, keywords, outputs, caller(2)))

    call_operator.__name__ = call_operator.__qualname__ = name
    call_operator.__module__ = "graphdsl.op"
    call_operator.__doc__ = _documentation(shown)
    call_operator.__signature__ = _signature(shown)  # type: ignore[attr-defined]
    return call_operator


def _shown_schema(domain: str, name: str, version: int, *, exactly: bool) -> Schema:
    """The schema that documents the operator: at a version, else at the newest opset that has it."""
    try:
        return schemas.lookup(domain, name, version)
    except UnknownOperator:
        if exactly:
            raise
    for other in range(schemas.NEWEST_OPSET, 0, -1):
        try:
            return schemas.lookup(domain, name, other)
        except UnknownOperator:
            continue
    return schemas.lookup(domain, name, version)


def _signature(schema: Schema) -> inspect.Signature:
    kinds = inspect.Parameter
    parameters = []
    for formal in schema.inputs:
        name = formal.name + "_" * iskeyword(formal.name)  # some of ONNX Runtime's are called `global`
        if formal.variadic:
            parameters.append(kinds(name, kinds.VAR_POSITIONAL))
        else:
            default = kinds.empty if formal.required else None
            if parameters and parameters[-1].default is None and default is kinds.empty:
                default = None
            parameters.append(kinds(name, kinds.POSITIONAL_OR_KEYWORD, default=default))
    taken = {p.name for p in parameters} | {"outputs"}
    for spec in sorted(schema.attributes.values(), key=lambda spec: (not spec.required, spec.name)):
        if spec.name not in taken and spec.name.isidentifier():
            default = kinds.empty if spec.required else default_value(spec)
            parameters.append(kinds(spec.name, kinds.KEYWORD_ONLY, default=default))
    parameters.append(kinds("outputs", kinds.KEYWORD_ONLY, default=None))
    return inspect.Signature(parameters)


def default_value(spec: AttributeSpec) -> Any:
    """What an attribute is when it is left out, with floats as short as float32 allows; None where nothing says."""
    value = None if spec.default is None else from_attribute(spec.default)
    return float(str(np.float32(value))) if isinstance(value, float) else value


_SOURCES = {
    "": "ONNX specification, Operators.md",
    "ai.onnx.ml": "ONNX specification, Operators-ml.md",
    "com.microsoft": "ONNX Runtime, ContribOperators.md",
}


def _documentation(schema: Schema) -> str:
    """The operator's text in the standard, then its inputs, outputs, attributes and types."""
    source = _SOURCES.get(schema.domain, f"domain {schema.domain!r}")
    lines = [f"{schema.label}, as of opset {schema.since} ({source}).", ""]
    lines.append(textwrap.dedent(schema.doc).strip())
    for title, formals in (("Inputs", schema.inputs), ("Outputs", schema.outputs)):
        if formals:
            lines += ["", f"{title}:"]
            lines += [f"    {f.name} ({f.type_str}{_option(f)}): {_flat(f.doc)}" for f in formals]
    if schema.attributes:
        lines += ["", "Attributes:"]
        for spec in sorted(schema.attributes.values()):
            default = default_value(spec)
            need = "required" if spec.required else "optional" if default is None else f"default {default!r}"
            lines.append(f"    {spec.name} ({kind_word(spec.kind)}, {need}): {_flat(spec.doc)}")
    variables = {f.type_str: f.types for f in (*schema.inputs, *schema.outputs) if f.types - {f.type_str}}
    if variables:
        lines += ["", "Types:"]
        lines += [f"    {name}: {', '.join(_type_names(texts))}" for name, texts in variables.items()]
    return "\n".join(lines)


def _type_names(texts: frozenset[str]) -> list[str]:
    """Types under this library's names, dtypes before sequences and the like."""
    kinds = [from_text(text) or text for text in sorted(texts)]
    dtypes = sorted(repr(kind.dtype) for kind in kinds if isinstance(kind, TensorType))
    return dtypes + [str(kind) for kind in kinds if not isinstance(kind, TensorType)]


def _option(formal: Parameter) -> str:
    return "" if formal.required else ", variadic" if formal.variadic else ", optional"


def _flat(text: str) -> str:
    return " ".join((text or "").split())


class Domain:
    """The operators of one domain at one version: `gd.domain("ai.onnx.ml", 3).LabelEncoder(...)`."""

    def __init__(self, name: str, version: int) -> None:
        if not isinstance(name, str):
            raise OpsetError(f"a domain's name is a str, not {name!r}" + at(caller()))
        self._name = "" if name == "ai.onnx" else name
        self._version = schemas.known_version(self._name, version) if self._name else schemas.known_opset(version)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        return operator(self._name, name, self._version)

    def __dir__(self) -> list[str]:
        return schemas.operators(self._name, self._version)

    def __repr__(self) -> str:
        return f"<operators of {self._name or 'ai.onnx'!r} at version {self._version}>"


class Opset(Domain):
    """`gd.opset(13).Squeeze(...)` calls one operator at opset 13; `with gd.opset(13):` puts the opset in force."""

    def __init__(self, version: int) -> None:
        super().__init__("", version)

    def __enter__(self) -> "Opset":
        manager = schemas.opset_forced(self._version)
        manager.__enter__()
        _entered.set((*_entered.get(), manager))
        return self

    def __exit__(self, *error: Any) -> None:
        *outer, manager = _entered.get()
        _entered.set(tuple(outer))
        manager.__exit__(*error)


_entered: ContextVar[tuple[AbstractContextManager[None], ...]] = ContextVar("graphdsl_opset_blocks", default=())
"""The `with` blocks of opsets that this thread or task is in: one `Opset` may be entered by several at once."""


def opset(version: int) -> Opset:
    """The operators of the default domain at an opset, and the context that puts it in force.

    >>> import graphdsl as gd
    >>> x = gd.input("x", gd.float32[1, 3])
    >>> gd.opset(11).Squeeze(x, axes=[0]).shape
    (3,)

    Raises:
        OpsetError: the installed onnx does not define it.
    """
    return Opset(version)


def domain(name: str, version: int) -> Domain:
    """The operators of another domain, such as `ai.onnx.ml` or `com.microsoft`, at a version."""
    return Domain(name, version)
