"""What a Python function's signature says of the operator that it stands for."""

import inspect
from collections.abc import Callable
from typing import Any, get_args, get_origin

import numpy as np
from onnx import AttributeProto

from .attributes import kind_of, normalise, to_attribute
from .errors import BuildError
from .schemas import AttributeSpec, Parameter
from .sites import at, caller

_KINDS: dict[Any, int] = {
    float: AttributeProto.FLOAT,
    int: AttributeProto.INT,
    bool: AttributeProto.INT,
    str: AttributeProto.STRING,
    np.ndarray: AttributeProto.TENSOR,
}
_PLURAL: dict[int, int] = {
    AttributeProto.FLOAT: AttributeProto.FLOATS,
    AttributeProto.INT: AttributeProto.INTS,
    AttributeProto.STRING: AttributeProto.STRINGS,
    AttributeProto.TENSOR: AttributeProto.TENSORS,
}


class Interface:
    """Positional parameters are inputs; keyword-only ones attributes, of the kinds of their annotations or defaults."""

    def __init__(self, function: Callable[..., Any], what: str, *, open_ended: bool = False) -> None:
        self.what = what
        self.takes_any = False
        """Whether a `**parameter` takes attributes of any name, as only an open-ended interface may."""
        self.inputs: list[inspect.Parameter] = []
        self.attributes: dict[str, AttributeSpec] = {}
        self.defaults: dict[str, Any] = {}
        for parameter in inspect.signature(function, eval_str=True).parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                self.takes_any = open_ended
                if open_ended:
                    continue
                raise BuildError(f"{what}: **{parameter.name} names no attributes; write each one" + at(caller()))
            if parameter.kind is parameter.KEYWORD_ONLY:
                self._attribute(parameter)
            else:
                self.inputs.append(parameter)

    def _attribute(self, parameter: inspect.Parameter) -> None:
        name, default = parameter.name, parameter.default
        kind = attribute_kind(parameter.annotation)
        if kind is None and default is not parameter.empty and default is not None:
            plain = tuple(default) if isinstance(default, list) else default
            try:
                kind = kind_of(plain)
            except (TypeError, StopIteration):
                kind = None
        if kind is None:
            raise BuildError(
                f"{self.what}: the attribute {name!r} needs a type: annotate it with float, int, str, list[float], "
                f"list[int], list[str] or np.ndarray" + at(caller())
            )
        proto = None
        if default is not parameter.empty and default is not None:
            self.defaults[name] = normalise(kind, default)
            proto = to_attribute(name, self.defaults[name], kind)
        self.attributes[name] = AttributeSpec(name, kind, default is parameter.empty, proto, "")

    def parameters(self, count: int) -> tuple[Parameter, ...]:
        """The formal inputs of a call with `count` inputs."""
        return tuple(
            Parameter(name, f"T{i}", frozenset(), required, False, True, 1)
            for i, (name, required) in enumerate(self.names(count))
        )

    def names(self, count: int) -> list[tuple[str, bool]]:
        """The names of the inputs, and whether each is required; a `*parameter` gives as many as it takes."""
        found: list[tuple[str, bool]] = []
        for parameter in self.inputs:
            if parameter.kind is parameter.VAR_POSITIONAL:
                found += [(f"{parameter.name}_{i}", True) for i in range(count - len(found))]
            else:
                found.append((parameter.name, parameter.default is parameter.empty))
        return found


def attribute_kind(annotation: Any) -> int | None:
    """The kind of attribute that an annotation stands for: `float`, `list[int]`, `tuple[str, ...]`."""
    if annotation in _KINDS:
        return _KINDS[annotation]
    arguments = get_args(annotation)
    if get_origin(annotation) is not None and arguments and arguments[0] in _KINDS:
        return _PLURAL[_KINDS[arguments[0]]]
    return None
