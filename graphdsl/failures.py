"""ONNX Runtime's messages, led back to the node that they are about and to the line that made it.

The runtime is given nodes named by number, and its messages name the node that failed: as it is, or inside the name of
a fused or inlined one. What it says around that is C++: a source file, a function's signature, a failed condition.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .emission import NUMBER
from .errors import RunError
from .ir import Node, Value
from .refusals import given_inputs
from .sites import at

_MARK = re.compile(rf"{NUMBER}(\d+)")
_RUNNING = re.compile(r"Non-zero status code returned while running (\S+) node\. Name:'([^']*)' Status Message: ")
_NO_KERNEL = re.compile(r"Could not find an implementation for (\w+)\((\d+)\)")
_UNKNOWN = re.compile(r"(?:^|\s)([^\s:]*):(\w+)\(-?\d+\) is not a registered function/op")
_UNREGISTERED = re.compile(r"No Op registered for (\w+) with domain_version of (\d+)")
_OPSET = re.compile(r"Opset (\d+) is under development.*support for domain (\S+) is till opset (\d+)", re.DOTALL)
_IR_VERSION = re.compile(r"Unsupported model IR version: (\d+), max supported IR version: (\d+)")


class Failure(NamedTuple):
    """One message of the runtime: the nodes that it names, outermost first, and what it says."""

    nodes: tuple[Node, ...]
    text: str
    exact: bool
    """Whether the innermost node is named as itself, not as part of a fused one."""


def read(message: str, nodes: Sequence[Node]) -> Failure:
    """Read a message of the runtime, given the nodes by their numbers."""
    numbers = [int(number) for number in _MARK.findall(message)]
    found = tuple(dict.fromkeys(nodes[number] for number in numbers if number < len(nodes)))
    inner = list(_RUNNING.finditer(message))
    text = message[inner[-1].end() :] if inner else message
    exact = bool(found)
    if inner and found:
        exact = inner[-1][1] == found[-1].schema.name and _MARK.fullmatch(inner[-1][2]) is not None
    elif inner:
        text = f"{inner[-1][1]} {inner[-1][2]!r}: {text}"
    return Failure(found, plain(text), exact)


def plain(message: str) -> str:
    """A message without what it says about the runtime's own C++."""
    text = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : ", "", message).strip()
    text = re.sub(r"^(Exception during (initialization|loading): )+", "", text)
    text = re.sub(rf"^Node \({NUMBER}\d+\) Op \(\w+\) ", "", text)
    text = re.sub(r"^This is an invalid model\. ", "", text)
    text = re.sub(r"^In Node, \(.*\) , Error ", "", text, flags=re.DOTALL)
    text = re.sub(rf" ?(in|of) node \({NUMBER}\d+\)", "", text)
    text = re.sub(r"\[\w*InferenceError\] ", "", text)
    text = _without_source(text)
    return " ".join(text.split()) or message


def _without_source(text: str) -> str:
    """Without `file.h:12 void f(int)` at the start, and without the condition that failed."""
    short = re.match(r"[\w.]+\.(?:cc|h|cpp):\d+ \w+ ", text)
    if short:
        return text[short.end() :]
    source = re.match(r"\S*[\\/][\w.]+\.(?:cc|h|cpp):\d+ ", text)
    if not source:
        return text
    rest = text[source.end() :]
    _, failed, said = rest.partition(" was false. ")
    if failed and said.strip():
        return said
    end = _closing(rest)
    return re.sub(r"^ *(const )?(\[with [^\]]*\] )?", "", rest[end:]) if end else rest


def _closing(text: str) -> int:
    """The place behind the parenthesis that closes the first one."""
    depth = 0
    for place, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if char == ")" and depth == 0:
            return place + 1
    return 0


def at_run(failure: Failure, label: str, feeds: Mapping[str, Any], names: Mapping[Value | None, str]) -> RunError:
    """The error of a run that failed."""
    lines = [f"{label}: ONNX Runtime failed{_in(failure, names)}: {failure.text}"]
    lines += _details(failure.nodes)
    shown = ", ".join(f"{name} {_shape(value)}" for name, value in feeds.items())
    if shown:
        lines.append(f"  the model was given: {shown}")
    return RunError("\n".join(lines) + _sites(failure.nodes))


def at_load(
    message: str, failure: Failure, label: str, runtime: str, nodes: Sequence[Node], names: Mapping[Value | None, str]
) -> RunError:
    """The error of a model that the runtime does not load."""
    refused = _refused(message, runtime)
    if refused:
        return RunError(f"{label}: {refused}")
    found = failure.nodes
    missing = _UNKNOWN.search(message)
    if missing:
        domain, operator = "" if missing[1] == "ai.onnx" else missing[1], missing[2]
        found = tuple(n for n in nodes if n.schema.name == operator and n.schema.domain == domain)[:1]
        problem = _no_operator(operator, domain, runtime)
    elif (unregistered := _UNREGISTERED.search(message)) and found:
        schema = found[-1].schema
        problem = (
            _no_operator(schema.name, schema.domain, runtime)
            if schema.domain
            else f"{runtime} has no operator {schema.name!r} at opset {unregistered[2]}; "
            "a newer one may, or write it with other operators"
        )
    elif (kernel := _NO_KERNEL.search(message)) and found:
        problem = (
            f"{runtime} has no kernel of {found[-1].schema.label} (since opset {kernel[2]}) for these types; cast to a "
            "dtype that it has one for, as in x.astype(gd.float32), or run with other providers"
        )
    else:
        problem = f"ONNX Runtime does not load the model{_in(Failure(found, '', True), names)}: {failure.text}"
    return RunError("\n".join([f"{label}: {problem}", *_details(found)]) + _sites(found))


def _refused(message: str, runtime: str) -> str | None:
    """What to do about a version that the runtime does not read."""
    if found := _IR_VERSION.search(message):
        return (
            f"it is of IR version {found[1]}, and {runtime} reads versions up to {found[2]}; "
            f"write dataclasses.replace(model, ir_version={found[2]})"
        )
    if found := _OPSET.search(message):
        domain = "" if found[2] == "ai.onnx" else found[2]
        if domain:
            return f"it imports {domain!r} {found[1]}, and {runtime} runs versions of it up to {found[3]}"
        return (
            f"it is of opset {found[1]}, and {runtime} runs opsets up to {found[3]}; "
            f"build it with opset={found[3]}, or write gd.convert_opset(model, {found[3]})"
        )
    return None


def _no_operator(operator: str, domain: str, runtime: str) -> str:
    where = f"the domain {domain!r}" if domain else "the default domain"
    return (
        f"{runtime} has no operator {operator!r} in {where}; define it with @gd.function(domain={domain!r}), which "
        "every runtime runs, or give the library that implements it: "
        'model.run(..., options={"register_custom_ops_library": path})'
    )


def _in(failure: Failure, names: Mapping[Value | None, str]) -> str:
    """Which node it was: the operator, and the tensor that it makes."""
    if not failure.nodes:
        return ""
    node = failure.nodes[-1]
    made = next((names[value] for value in node.outputs if value in names), None)
    fused = "" if failure.exact else ", or in a node that was fused with it"
    return f" in {node.schema.label}" + (f", which makes {made!r}" if made else "") + fused


def _details(nodes: Sequence[Node]) -> list[str]:
    """The types of what the innermost node was given."""
    if not nodes or not any(nodes[-1].inputs):
        return []
    given = given_inputs(nodes[-1].schema, nodes[-1].inputs)
    return ["  inputs: " + ", ".join(f"{item.name} {item.value.type}" for item in given.values())]


def _sites(nodes: Sequence[Node]) -> str:
    """Where the node was written, then the nodes in whose bodies it lies."""
    text = at(nodes[-1].site) if nodes else ""
    for outer in reversed(nodes[:-1]):
        text += f"\n  in {outer.schema.label}" + at(outer.site).replace("\n ", "")
    return text


def _shape(value: Any) -> str:
    if hasattr(value, "dtype"):
        return f"{value.dtype.name}{list(value.shape)}" if value.shape else value.dtype.name
    return "nothing" if value is None else f"{type(value).__name__} of {len(value)}"
