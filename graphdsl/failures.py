"""ONNX Runtime's messages, led back to the node that they are about and to the line that made it.

The runtime is given nodes named by number, and its messages name the node that failed: as it is, or inside the name of
a fused or inlined one. What it says around that is C++: a source file, a function's signature, a failed condition.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from onnx import NodeProto

from .emission import NUMBER
from .errors import RunError
from .ir import ModelData, Node, Value
from .refusals import given_inputs
from .sites import LOCATION, at, caller

_MARK = re.compile(rf"{NUMBER}(\d+)")
_OWN_NAME = re.compile(rf"(_inlfunc_.*)?{NUMBER}\d+")
"""The name of a node, or of its copy where the call of a function was."""

_RUNNING = re.compile(r"Non-zero status code returned while running (\S+) node\. Name:'([^']*)' Status Message: ")
_NO_KERNEL = re.compile(r"Could not find an implementation for (\w+)\((\d+)\)")
_UNKNOWN = re.compile(r"(?:^|\s)([^\s:]*):(\w+)\(-?\d+\) is not a registered function/op")
_UNREGISTERED = re.compile(r"No Op registered for (\w+) with domain_version of (\d+)")
_NO_TENSORS = re.compile(r"MLDataType for: tensor\((\w+)\) is not currently registered")
_OPSET = re.compile(r"Opset (\d+) is under development.*support for domain (\S+) is till opset (\d+)", re.DOTALL)
_IR_VERSION = re.compile(r"Unsupported model IR version: (\d+), max supported IR version: (\d+)")

Names = Mapping[Value | None, str]
"""What the values are called in the model that the runtime was given."""


class Runtime(NamedTuple):
    """Which runtime it is: its name and version, and the newest opset that it runs."""

    label: str
    newest_opset: int

    def __str__(self) -> str:
        return self.label


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
        exact = inner[-1][1] == found[-1].schema.name and _OWN_NAME.fullmatch(inner[-1][2]) is not None
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
    short = re.match(r"[\w.]+\.(?:cc|h|cpp):\d+ \w+(?:\(\))? ", text)
    if short:
        return text[short.end() :]
    source = re.match(r"\S*[\\/][\w.]+\.(?:cc|h|cpp):\d+ ", text)
    if not source:
        return text
    rest = text[source.end() :]
    _, failed, said = rest.partition(" was false. ")
    if failed:
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


def at_run(failure: Failure, label: str, feeds: Mapping[str, Any], names: Names) -> RunError:
    """The error of a run that failed."""
    where = f" in {_subject(failure, names)}" if failure.nodes else ""
    lines = [f"{label}: ONNX Runtime failed{where}: {failure.text}", *_details(failure.nodes)]
    shown = ", ".join(f"{name} {_shape(value)}" for name, value in feeds.items())
    if shown:
        lines.append(f"  the model was given: {shown}")
    return RunError("\n".join(lines) + _sites(failure.nodes))


def at_load(
    message: str, failure: Failure, model: ModelData, runtime: Runtime, nodes: Sequence[Node], names: Names
) -> RunError:
    """The error of a model that the runtime does not load."""
    found = failure.nodes
    refused = _too_new(message, model, runtime)
    if refused:
        problem, found = refused, ()
    elif missing := _UNKNOWN.search(message):
        domain, operator = "" if missing[1] == "ai.onnx" else missing[1], missing[2]
        found = tuple(n for n in nodes if n.schema.name == operator and n.schema.domain == domain)[:1]
        problem = _no_operator(operator, domain, runtime)
    elif found and (unregistered := _UNREGISTERED.search(message)):
        schema = found[-1].schema
        problem = f"{runtime} has no operator {schema.name!r} at opset {unregistered[2]}; write it with other operators"
        if schema.domain:
            problem = _no_operator(schema.name, schema.domain, runtime)
    elif found and (kernel := _NO_KERNEL.search(message)):
        problem = (
            f"{runtime} has no kernel of {found[-1].schema.label} (since opset {kernel[2]}) for these types; cast to a "
            "dtype that it has one for, as in x.astype(gd.float32), or run with other providers"
        )
    elif unregistered_type := _NO_TENSORS.search(message):
        problem = (
            f"{runtime} has no tensors of {unregistered_type[1]}; ONNX's reference evaluator runs it: "
            'model.run(..., providers="reference")'
        )
    else:
        problem = f"ONNX Runtime refuses {_subject(failure, names) if found else 'the model'}: {failure.text}"
    return RunError("\n".join([f"model {model.graph.name!r}: {problem}", *_details(found)]) + _sites(found))


def _too_new(message: str, model: ModelData, runtime: Runtime) -> str | None:
    """What to do about a version that the runtime does not read."""
    opset = model.opset_imports.get("", 1)
    if found := _IR_VERSION.search(message):
        newest = int(found[2])
        reads = f"{runtime} reads versions up to {newest}"
        if opset > runtime.newest_opset:
            return f"opset {opset} needs IR version {found[1]}, and {reads}; {_lower(runtime.newest_opset)}"
        return f"it is of IR version {found[1]}, and {reads}; write dataclasses.replace(model, ir_version={newest})"
    if found := unknown_opset(message):
        if found[2] != "ai.onnx":
            return f"it imports {found[2]!r} {found[1]}, and {runtime} runs versions of it up to {found[3]}"
        return f"it is of opset {found[1]}, and {runtime} runs opsets up to {found[3]}; {_lower(int(found[3]))}"
    return None


def unknown_opset(message: str) -> re.Match[str] | None:
    """The opset that the runtime does not know, its domain, and the newest one that it knows."""
    return _OPSET.search(message)


def _lower(opset: int) -> str:
    return f"build it with opset={opset}, or write gd.convert_opset(model, {opset})"


def _no_operator(operator: str, domain: str, runtime: Runtime) -> str:
    where = f"the domain {domain!r}" if domain else "the default domain"
    return (
        f"{runtime} has no operator {operator!r} in {where}; define it with @gd.function(domain={domain!r}), which "
        "every runtime runs, or give the library that implements it: "
        'model.run(..., options={"register_custom_ops_library": path})'
    )


def _subject(failure: Failure, names: Names) -> str:
    """Which node it was: the operator, and the tensor that it makes."""
    node = failure.nodes[-1]
    made = next((names[value] for value in node.outputs if value in names), None)
    fused = "" if failure.exact else ", or in a node that was fused with it"
    return node.schema.label + (f", which makes {made!r}" if made else "") + fused


def _details(nodes: Sequence[Node]) -> list[str]:
    """The types of what the innermost node was given."""
    if not nodes or not any(nodes[-1].inputs):
        return []
    given = given_inputs(nodes[-1].schema, nodes[-1].inputs)
    return ["  inputs: " + ", ".join(f"{item.name} {item.value.type}" for item in given.values())]


def _sites(nodes: Sequence[Node]) -> str:
    """Where the node was written, then the nodes in whose bodies it lies; who ran the model where that is not known."""
    text = (_place(nodes[-1]) if nodes else "") or at(caller())
    origin = nodes[-1].info.origin if nodes and nodes[-1].info is not None else None
    if origin is not None:
        text += f"\n  by rule {origin.rule!r}" + at(origin.site).replace("\n ", "")
    for outer in reversed(nodes[:-1]):
        text += f"\n  in {outer.schema.label}" + _place(outer).replace("\n ", "")
    return text


def _place(node: Node) -> str:
    """Where a node was written: in this program, or in the one that saved the model and said so."""
    if node.site is not None or node.info is None:
        return at(node.site)
    said = dict(node.info.metadata)
    if node.info.kept is not None:
        said |= {entry.key: entry.value for entry in NodeProto.FromString(node.info.kept.raw).metadata_props}
    return f"\n  at {said[LOCATION]}" if LOCATION in said else ""


def _shape(value: Any) -> str:
    if hasattr(value, "dtype"):
        return f"{value.dtype.name}{list(value.shape)}" if value.shape else value.dtype.name
    return "nothing" if value is None else f"{type(value).__name__} of {len(value)}"
