"""A model as a whole module: what stands before its function, the function, and what is said of the model."""

import ast
import inspect
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto

from .. import schemas
from ..emission import Emitter
from ..errors import GraphError, SourceError, UnknownOperator
from ..ir import Function, Graph, Input, ModelData, Node, Reference, Value
from ..ir_versions import least_ir_version
from ..models import PRODUCER
from ..schemas import Schema
from ..tensor.calling import Trace, tracing
from ..tracing import replay
from ..types import Type, as_dtype, from_proto, may_be
from ..walk import callees_first, functions, graphs, operators, survey
from .layout import WIDTH, Block, Expression, grouped
from .literals import (
    MOST_ITEMS,
    Names,
    array_text,
    attribute_text,
    dtype_text,
    is_python_name,
    items,
    packed_text,
    snake,
    text,
    type_text,
)
from .spelling import Speller, trimmed
from .statements import Finish, Statements, as_tuple, live

_RESERVED = (
    *("gd", "op", "np", "onnx", "base64", "Path", "replace", "model", "weights"),
    *("float", "int", "str", "list", "object", "complex", "bool"),
    *("file", "args", "kwds", "allow_pickle"),  # numpy.savez takes what goes into the file by name
)

_ANNOTATIONS: dict[int, str] = {
    AttributeProto.FLOAT: "float",
    AttributeProto.INT: "int",
    AttributeProto.STRING: "str",
    AttributeProto.TENSOR: "np.ndarray",
    AttributeProto.FLOATS: "list[float]",
    AttributeProto.INTS: "list[int]",
    AttributeProto.STRINGS: "list[str]",
}

_LONGEST_LITERAL = 100
"""Arrays with longer texts go into the file of weights, if there is one."""

LARGEST_TEXT = 64 << 10
"""Weights of more bytes than this in all do not go into the text."""


Brackets = tuple[str, Sequence[str], str]
"""An opening bracket, items, and the closing one."""


class Module:
    """Writes the module of one model; `named` keeps the names of tensors, `beside` puts weights into `arrays`."""

    def __init__(self, model: ModelData, *, named: bool, beside: bool) -> None:
        self.names = Names(*_RESERVED)
        self.arrays: dict[str, np.ndarray] = {}
        """What goes into the file of weights."""
        self._keys = Names(*_RESERVED)
        self._model = model
        self._named = named
        self._beside = beside
        self._packed = 0
        self._version = model.opset_imports.get("", schemas.DEFAULT_OPSET)
        emitter = Emitter(store=lambda tensor, array: True)
        proto = emitter.model(model)
        self._hints: Mapping[Value | None, str] = emitter.names
        self._outputs = [info.name for info in proto.graph.output]
        self._overloads = {f: p.overload for f, p in zip(model.functions, proto.functions, strict=True)}
        labels = Counter((f.domain, f.name) for f in model.functions)
        self._overloaded = {label for label, count in labels.items() if count > 1}
        for function in model.functions:  # whose attributes are parameters, and must hide nothing
            for name in (*function.attributes, *function.defaults):
                self.names.reserve(name)
        self._speller = Speller(self._namespace)
        self._constants: dict[Value, str] = {}
        self._functions: dict[Function, str] = {}
        self._operators: dict[Any, str] = {}
        self._domains: dict[tuple[str, int], str] = {}
        self._above: list[str] = []
        """What stands before all functions: domains and constants."""
        self._declarations: list[list[str]] = []

    def text(self) -> str:
        """The source.

        Raises:
            SourceError: something of the model has no form in the language; the message says what.
        """
        if onnx.ModelProto.FromString(self._model.extras).training_info:
            raise SourceError("the model has training information, which the language cannot say")
        called = set(functions(operators(self._model.graph)))
        defined = [f for f in callees_first(self._model.functions) if f in called]
        with schemas.opset_forced(self._version):
            parts = [self._function(function) for function in defined]
            try:
                parts.append(self._main())
            except SourceError:
                raise
            except GraphError as error:
                problem = str(error).partition("\n")[0]
                raise SourceError(f"the language refuses it: {problem}") from error
        said = self._said(defined)
        code = "\n\n\n".join("\n".join(lines) for lines in (*self._declarations, *parts))
        if said:
            code += "\n\n\n" + "\n".join(said)
        above = "\n".join(self._above)
        used = {node.id for node in ast.walk(ast.parse(f"{above}\n{code}")) if isinstance(node, ast.Name)}
        loads = 'weights = np.load(Path(__file__).with_suffix(".npz"))' if self.arrays else ""
        head = "\n".join(_imports(used | ({"Path", "np"} if self.arrays else set())))
        middle = "\n".join(filter(None, (loads, above)))
        return "\n\n".join(filter(None, (head, middle))) + f"\n\n\n{code}\n"

    # What the statements refer to

    def _namespace(self, schema: Schema) -> str:
        if not schema.domain:
            return "op"
        key = schema.domain, schema.version
        found = self._domains.get(key)
        if found is None:
            found = self._domains[key] = self.names.make(schema.domain.rpartition(".")[2], "domain")
            self._above.append(f"{found} = gd.domain({text(schema.domain)}, {schema.version})")
        return found

    def constant(self, value: Value, fallback: str = "constant") -> str:
        """The module's name of a constant, or a name for it."""
        found = self._constants.get(value)
        if found is None:
            if value.array is None:
                raise SourceError(f"{value.name!r} is a sparse initializer, which the language cannot say")
            found = self._constants[value] = self.names.make(value.name or "", fallback)
            self._keys.reserve(found)
            shown = self._array(found, value.array, or_list=True)
            parts = [shown, *([text(value.name)] if value.name else [])]
            self._above += _statement(f"{found} = ", grouped("gd.constant(", parts, ")"))
        return found

    def array(self, array: np.ndarray, hint: str, fallback: str) -> str:
        """An expression for a large array: one of the file of weights, or a variable of the module."""
        if self._beside:
            return self._array(self._keys.make(hint, fallback), array)
        name = self.names.make(hint, fallback)
        self._above.append(f"{name} = {self._array(name, array)}")
        return name

    def _array(self, name: str, array: np.ndarray, *, or_list: bool = False) -> str:
        """An array as an expression: small ones as they are, others from the file of weights or as text."""
        dtype = as_dtype(array.dtype)
        shown = (or_list and listed_text(array)) or array_text(array)
        is_text = array.dtype == object
        if shown is not None and (is_text or not self._beside or len(shown) <= _LONGEST_LITERAL):
            return shown
        if self._beside:
            if dtype_text(dtype).startswith("np."):
                self.arrays[name] = array
                return f"weights[{text(name)}]"
            self.arrays[name] = array.view(f"uint{8 * array.dtype.itemsize}")
            return f"weights[{text(name)}].view({dtype_text(dtype)})"
        self._packed += array.nbytes
        if self._packed > LARGEST_TEXT:
            raise SourceError(
                f"the weights are larger than the {LARGEST_TEXT >> 10} KiB that go into the text; give a path, as in "
                'gd.to_source(model, "model.py"), which puts them into a file beside it'
            )
        return packed_text(array)

    def callee(self, node: Node) -> str:
        """The function that a node calls: a local one, or a declared operator; empty for ONNX's."""
        schema = node.schema
        if schema.function is not None:
            self._check_call(node, schema.function)
            return self._functions[schema.function]
        if not schema.domain:
            if schema.native is None:
                raise SourceError(f"ONNX has no operator {schema.name!r} at opset {self._version}")
            if not schema.since <= self._version <= schema.until:
                raise SourceError(
                    f"{schema.label} in a local function means what it does at opset {schema.since}, and the model is "
                    f"of opset {self._version}"
                )
            return ""
        if schema.native is not None or _is_known(schema):
            return ""
        return self._declared(node)

    def _check_call(self, node: Node, function: Function) -> None:
        given = trimmed(node.inputs)
        missing = [name for name in function.attributes if name not in node.attributes]
        if len(given) != len(function.graph.inputs) or None in given or missing:
            what = f"the attribute {missing[0]!r}" if missing else "an input"
            raise SourceError(f"{node.schema.label} is called without {what}, which the language must be given")

    def _declared(self, node: Node) -> str:
        """The function that declares an operator which nobody here knows, for calls of these inputs and types."""
        schema = node.schema
        given = tuple([value is not None for value in node.inputs])
        types = tuple([value.type for value in node.outputs])
        key = schema.domain, schema.name, given, types, bool(node.attributes)
        found = self._operators.get(key)
        if found is None:
            found = self._operators[key] = self.names.make(snake(schema.name), "operator")
            takes = [f"x{i}" if all(given[: i + 1]) else f"x{i}=None" for i in range(len(given))]
            takes += ["**attributes"] if node.attributes else []
            version = self._model.opset_imports.get(schema.domain, 1)
            options = f", version={version}" if version != 1 else ""
            shown = ["None" if kind is None else type_text(kind) for kind in types]
            returned = f"({shown[0]},)" if shown == ["None"] else ", ".join(shown)
            self._declarations.append(
                [
                    f"@gd.custom_op({text(f'{schema.domain}::{schema.name}')}{options})",
                    f"def {found}({', '.join(takes)}):",
                    f"    return {returned}",
                ]
            )
        return found

    # Local functions

    def _check_attributes(self, function: Function) -> None:
        for name in (*function.attributes, *function.defaults):
            if not is_python_name(name) or name in _RESERVED:
                label = f"{function.domain}::{function.name}"
                raise SourceError(f"the attribute {name!r} of the function {label!r} is no name that Python can use")

    def _function(self, function: Function) -> list[str]:
        self._check_attributes(function)
        kinds = dict(function.kinds)
        for graph in graphs(function.graph):
            for node in graph.nodes:
                kinds.update({v.name: v.kind for v in node.attributes.values() if isinstance(v, Reference)})
        attributes = [f"{n}: {self._annotation(function, n, kinds)}" for n in function.attributes]
        for name, value in function.defaults.items():
            shown = attribute_text(name, value, kinds[name])
            attributes.append(f"{name}: {self._annotation(function, name, kinds)} = {shown}")
        references = {name: name for name in (*function.attributes, *function.defaults)}
        statements = Statements(self, self._speller, hints={}, named=self._named, references=references)
        takes = [statements.parameter(value) for value in function.graph.inputs]
        made = self._functions[function] = self.names.make(function.name, "function")
        options = [f"domain={text(function.domain)}"]
        if made != function.name:
            options.append(f"name={text(function.name)}")
        version = self._model.opset_imports.get(function.domain, 1)
        if version != 1:
            options.append(f"version={version}")
        overload = self._overloads[function]
        if overload or (function.domain, function.name) in self._overloaded:
            options.append(f"overload={text(overload)}")
        lines = [f"@gd.function({', '.join(options)})"]
        lines += _definition(made, [*takes, *(["*"] if attributes else []), *attributes], ("", [], ""))
        doc = function.doc or onnx.FunctionProto.FromString(function.extras).doc_string
        if doc and inspect.cleandoc(doc) == doc:
            lines.append(f"    {text(doc)}")
        return lines + statements.write(function.graph, "    ")

    def _annotation(self, function: Function, name: str, kinds: Mapping[str, int]) -> str:
        found = _ANNOTATIONS.get(kinds.get(name, AttributeProto.FLOAT))
        if found is None:
            label = f"{function.domain}::{function.name}"
            raise SourceError(
                f"the attribute {name!r} of the function {label!r} is of a kind that functions cannot take"
            )
        return str(found)

    # The model's function

    def _main(self) -> list[str]:
        graph = self._model.graph
        statements = Statements(self, self._speller, hints=self._hints, named=self._named)
        takes: list[str] = []
        renamed: dict[str, str] = {}
        optional = [value.default is not None for value in graph.inputs]
        if optional != sorted(optional):
            takes.append("*")  # an input with a default may come before one without
        names = Counter(value.name for value in graph.inputs)
        for value in graph.inputs:
            if names[value.name] > 1:
                raise SourceError(f"two inputs are called {value.name!r}")
            if value.type is None:
                raise SourceError(f"the type of the input {value.name!r} is not known")
            variable = statements.parameter(value)
            if variable != value.name:
                renamed[variable] = value.name or ""
            default = "" if value.default is None else f" = {self._default(variable, value)}"
            takes.append(f"{variable}: {type_text(value.type)}{default}")
        finish, returns = self._signature(graph)
        options = [f"opset={self._version}"] if "" in self._model.opset_imports else []
        if graph.name and graph.name != "model":
            options.append(f"name={text(graph.name)}")
        if renamed:
            shown = ", ".join(f"{text(variable)}: {text(name)}" for variable, name in renamed.items())
            options.append(f"inputs={{{shown}}}")
        lines = _statement("@", grouped("gd.model(", options, ")")) if options else ["@gd.model"]
        return [*lines, *_definition("model", takes, returns), *statements.write(graph, "    ", finish)]

    def _default(self, variable: str, value: Input) -> str:
        assert value.default is not None
        name = self.names.make(f"{variable}_default", "default")
        self._above.append(f"{name} = {self._array(name, value.default)}")
        return name

    def _signature(self, graph: Graph) -> tuple[Finish, Brackets]:
        """How the function returns its outputs, and the annotation that declares their types."""
        found = self._traced_types(graph)
        types = [self._output_type(graph, value, kind) for (_, value), kind in zip(graph.outputs, found, strict=True)]
        shown = ["None" if kind is None else type_text(kind) for kind in types]
        count = len(types)
        usual = ["output"] if count == 1 else [f"output_{i}" for i in range(count)]
        plain = all(value.node is not None and not (self._named and value.name) for _, value in graph.outputs)
        if self._outputs == usual and plain and len({value for _, value in graph.outputs}) == count:
            if set(shown) == {"None"}:
                return as_tuple, ("", [], "")
            return as_tuple, ("", shown, "") if count == 1 else ("(", shown, ")")
        pairs = [f"{text(name)}: {kind}" for name, kind in zip(self._outputs, shown, strict=True) if kind != "None"]

        def finish(parts: tuple[str, ...]) -> Expression:
            items = [f"{text(name)}: {part}" for name, part in zip(self._outputs, parts, strict=True)]
            return grouped("{", items, "}")

        return finish, ("{", pairs, "}") if pairs else ("", [], "")

    def _traced_types(self, graph: Graph) -> list[Type | None]:
        """The types of the outputs when the nodes are made anew.

        Bodies are typed anew by what goes into them, whatever a file declares of that; nodes elsewhere were tried.

        Raises:
            GraphError: the language refuses a node.
        """
        nodes = live(graph)
        if not any(node.bodies for node in nodes):
            return [value.type for _, value in graph.outputs]
        trace = Trace("the source", None)
        with tracing(trace):
            inputs = [Input(value.name, value.type, trace, None) for value in graph.inputs]
            outputs = replay(replace(graph, nodes=tuple(nodes)), inputs)
        return [kind or value.type for kind, (_, value) in zip([v.type for v in outputs], graph.outputs, strict=True)]

    def _output_type(self, graph: Graph, value: Value, found: Type | None) -> Type | None:
        """The type that an output is declared to have; None where nothing but inference says it."""
        if isinstance(value, Input):
            return None
        raw = graph.declared.get(value)
        kind = None if raw is None else from_proto(onnx.ValueInfoProto.FromString(raw).type)
        if kind is not None and may_be(found, kind):
            return kind
        if found is None:
            raise SourceError("the type of an output is neither declared nor inferred")
        return found if kind is not None else None

    def _said(self, called: Sequence[Function]) -> list[str]:
        """What is said of the model besides its graph."""
        model = self._model
        parts = [model.graph, *(f.graph for f in called)]
        used = {schema.domain: schema.version for schema in reversed(operators(*parts))}
        imports = dict(model.opset_imports)
        fields: list[str] = []
        everything = all(len(live(graph)) == len(graph.nodes) for part in parts for graph in graphs(part))
        if (
            not everything
            or used.keys() | {""} != imports.keys()
            or any(domain and imports[domain] != version for domain, version in used.items())
        ):
            fields.append(f"opset_imports={{{', '.join(f'{text(d)}: {v}' for d, v in imports.items())}}}")
        least = least_ir_version(survey(*parts), imports, tuple(called))
        if not everything or "" not in imports or model.ir_version != least:
            fields.append(f"ir_version={model.ir_version}")
        for field, usual in (("producer", PRODUCER), ("producer_version", ""), ("domain", ""), ("doc", "")):
            value = getattr(model, field)
            if value != usual:
                fields.append(f"{field}={text(value)}")
        if model.model_version:
            fields.append(f"model_version={model.model_version}")
        if model.metadata:
            items = ", ".join(f"{text(key)}: {text(value)}" for key, value in model.metadata.items())
            fields.append(f"metadata={{{items}}}")
        return _statement("model = ", grouped("replace(", ["model", *fields], ")")) if fields else []


def listed_text(array: np.ndarray) -> str:
    """A small array as the number or list that `gd.constant` makes it of; empty where that has another dtype."""
    dtype = as_dtype(array.dtype)
    if dtype.name not in ("float32", "int64", "bool", "string") or not 0 < array.size <= MOST_ITEMS:
        return ""
    if array.dtype == object and not all(isinstance(item, str) for item in array.ravel()):
        return ""
    shown = array_text(array) or ""
    return items(array) if shown.startswith(("np.array(", f"{dtype_text(dtype)}(")) else ""


def _is_known(schema: Schema) -> bool:
    """Whether an operator of another domain is known wherever ONNX Runtime is, without a declaration."""
    if schemas.declared(schema.domain, schema.name) is not None:
        return False
    try:
        schemas.lookup(schema.domain, schema.name, schema.version)
    except UnknownOperator:
        return False
    return True


def _imports(used: set[str]) -> list[str]:
    """The import statements for the names that are used."""
    standard = [("base64", "import base64"), ("replace", "from dataclasses import replace")]
    standard.append(("Path", "from pathlib import Path"))
    others = [("np", "import numpy as np"), ("onnx", "import onnx")]
    own = ["import graphdsl as gd", *(["from graphdsl import op"] if "op" in used else [])]
    groups = [[line for name, line in part if name in used] for part in (standard, others)]
    lines: list[str] = []
    for group in (*groups, own):
        if group and lines:
            lines.append("")
        lines += group
    return lines


def _definition(name: str, takes: Sequence[str], returns: Brackets) -> list[str]:
    """The line that defines a function; a long one is broken between parameters, and outputs."""
    opening, items, closing = returns
    arrow = " -> " if items else ""
    line = f"def {name}({', '.join(takes)}){arrow}{opening}{', '.join(items)}{closing}:"
    if len(line) <= WIDTH:
        return [line]
    lines = [f"def {name}(", *(f"    {item}," for item in takes)] if takes else [f"def {name}("]
    if not closing or len(f"){arrow}{opening}{', '.join(items)}{closing}:") <= WIDTH:
        return [*lines, f"){arrow}{opening}{', '.join(items)}{closing}:"]
    return [*lines, f"){arrow}{opening}", *(f"    {item}," for item in items), f"{closing}:"]


def _statement(start: str, expression: Expression) -> list[str]:
    block = Block("", lambda value: "", lambda value: "")
    block.statement(start, expression)
    return block.lines
