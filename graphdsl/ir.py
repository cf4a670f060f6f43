"""The graph as data: values, nodes, graphs and models. Frozen, compared by identity, without behaviour.

A node is made after its inputs and never changed, so creation order is a topological order and a cycle cannot be
written. What a node refers to is a value: a node's output, an input of a graph, or a constant.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn, cast

import numpy as np
import onnx

from .errors import NameConflict
from .schemas import Schema
from .sites import Site, at, caller
from .types import Type

next_order = count().__next__
"""The number of the next node or input that is made, in this process."""

NO_ATTRIBUTES: Mapping[str, Any] = MappingProxyType({})


def _nothing_declared() -> "Mapping[Value, bytes]":
    return MappingProxyType({})


def _nothing() -> Mapping[str, Any]:
    return NO_ATTRIBUTES


SEALED = ""
"""The name of a value that had none when a model first held it; see `give_name`."""


def _refuse(self: object, name: str, value: object = None) -> NoReturn:
    raise AttributeError(f"{type(self).__name__} is immutable; gd.rewrite and gd.transform make changed models")


class Value:
    """One value of a graph: an output of `node`. `Input` and `Constant` are the other two kinds."""

    __slots__ = ("__weakref__", "index", "name", "node", "owner", "type")

    array: np.ndarray | None = None
    """The data of a constant, else None."""

    def __init__(self, type: Type | None, node: "Node | None", index: int, owner: object) -> None:
        self.type = type
        self.node = node
        self.index = index
        self.owner = owner
        """The trace in which it was made; None for constants, which belong to no body."""
        self.name: str | None = None
        """The user's name for it, None when it has none, `SEALED` when it can no longer be given one."""

    @property
    def site(self) -> Site | None:
        """Where in the user's code it was made."""
        return self.node.site if self.node else None

    def __repr__(self) -> str:
        made = f"output {self.index} of {self.node.schema.name}" if self.node else type(self).__name__.lower()
        return f"<{made} {self.name!r}: {self.type}>" if self.name else f"<{made}: {self.type}>"


class Input(Value):
    """An input of a graph, body or function; `default` is the array of an initializer that is also an input."""

    __slots__ = ("_site", "default", "order", "raw")

    def __init__(
        self, name: str | None, type: Type | None, owner: object, site: Site | None, default: np.ndarray | None = None
    ) -> None:
        super().__init__(type, None, 0, owner)
        self.name = name
        self._site = site
        self.default = default
        self.raw: bytes | None = None
        """The default as a file has it, without its raw data; see `Constant.raw`."""
        self.order = next_order()

    @property
    def site(self) -> Site | None:
        return self._site


class Constant(Value):
    """A value known now: an initializer of the graphs that use it."""

    __slots__ = ("_site", "array", "raw")

    def __init__(
        self, array: Any, type: Type, site: Site | None, name: str | None = None, raw: bytes | None = None
    ) -> None:
        super().__init__(type, None, 0, None)
        self.array = array
        self.name = name
        self._site = site
        self.raw = raw
        """The tensor as a file has it, where a new one would lose something; without its raw data."""

    @property
    def site(self) -> Site | None:
        return self._site


def give_name(value: Value, name: str) -> None:
    """Name a value, once, before any model holds it.

    Raises:
        NameConflict: it has another name, or a model holds it already.
    """
    if value.name == name:
        return
    if value.name is None:
        value.name = name
    elif value.name == SEALED:
        raise NameConflict(
            f"a model holds this tensor already, so it cannot be named {name!r}; write gd.rename" + at(caller())
        )
    else:
        raise NameConflict(
            f"this tensor is named {value.name!r} already, so it cannot be named {name!r}" + at(caller())
        )


named_tuple = tuple.__new__
"""Makes a named tuple of all its fields at once, `named_tuple(NodeInfo, (...))`, in half the time its class takes."""


class Reference(NamedTuple):
    """The value of a node's attribute inside a function: the function's attribute `name` (`ref_attr_name`)."""

    name: str
    kind: int


class Opaque(NamedTuple):
    """An attribute value kept as ONNX wrote it: what has no simpler Python form."""

    proto: onnx.AttributeProto


class NodeInfo(NamedTuple):
    """What a node carries besides its meaning; most nodes have none."""

    name: str = ""
    doc: str = ""
    metadata: tuple[tuple[str, str], ...] = ()
    kept: "Kept | None" = None
    origin: "Origin | None" = None


class Origin(NamedTuple):
    """How a rewrite came to make a node: the rule's name, and where in the rule the node was written.

    The `site` of such a node is that of the node in whose place it stands.
    """

    rule: str
    site: Site | None


class Kept(NamedTuple):
    """A loaded node as it was read: its bytes, without bodies, hold while its attributes are these very ones."""

    raw: bytes
    attributes: Mapping[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    """The names in the file, empty for what is absent."""
    is_whole: bool
    """Whether the bytes are all of the node: it has no bodies."""


class _NodeFields:
    """A node while it is being made: the same fields as `Node`, still writable."""

    __slots__ = ("__weakref__", "attributes", "info", "inputs", "order", "outputs", "schema", "site")

    def __init__(
        self,
        schema: Schema,
        inputs: tuple[Value | None, ...],
        attributes: Mapping[str, Any],
        types: tuple[Type | None, ...],
        owner: object,
        site: Site | None,
        info: NodeInfo | None = None,
        kind: type[Value] = Value,
    ) -> None:
        self.schema = schema
        self.inputs = inputs
        self.attributes = attributes
        self.order = next_order()
        self.site = site
        self.info = info
        node: Any = self
        if len(types) == 1:  # nearly all
            self.outputs: tuple[Value, ...] = (kind(types[0], node, 0, owner),)
        else:
            self.outputs = tuple([kind(each, node, i, owner) for i, each in enumerate(types)])
        # from here on it is frozen; going around a frozen class field by field would cost twice as much
        self.__class__ = Node


class Node(_NodeFields):
    """One call of an operator: `schema`, `inputs` (None for an absent optional one), `attributes`, `outputs`."""

    __slots__ = ()

    __setattr__ = _refuse
    __delattr__ = _refuse

    @property
    def op_type(self) -> str:
        """The operator's name."""
        return self.schema.name

    @property
    def domain(self) -> str:
        """The operator's domain; empty for the default one."""
        return self.schema.domain

    @property
    def bodies(self) -> "tuple[Graph, ...]":
        """The graphs among the attributes (branches and loop bodies)."""
        if not self.attributes or not self.schema.may_have_bodies:
            return ()
        found: list[Graph] = []
        for value in self.attributes.values():
            if isinstance(value, Graph):
                found.append(value)
            elif isinstance(value, tuple) and value and isinstance(value[0], Graph):
                found.extend(value)
        return tuple(found)

    def __repr__(self) -> str:
        return f"<{self.schema.label} node, {len(self.inputs)} inputs, {len(self.outputs)} outputs>"


make_node = cast("Callable[..., Node]", _NodeFields)
"""The one place where nodes are made: `make_node(schema, inputs, attributes, types, owner, site, info, kind)`.

What it is given must have been checked, as tensor/calling.py does; `kind` is the class of the outputs, `Value` unless a
file is loaded, and `info` may be left out too.
"""


_set_site, _set_info = (vars(_NodeFields)[name].__set__ for name in ("site", "info"))


def adopt_origin(node: Node, site: Site | None, info: NodeInfo) -> None:
    """Give a node that a rule has just made what is known of the node that it replaces."""
    _set_site(node, site)
    _set_info(node, info)


_METADATA_TAG = b"\x4a"
"""What precedes each entry of a node's metadata in its bytes; where it does not occur, there is none."""


def node_metadata(node: Node) -> tuple[tuple[str, str], ...]:
    """A node's metadata, also where a loaded node keeps it in its bytes."""
    info = node.info
    if info is None or info.kept is None:
        return () if info is None else info.metadata
    if _METADATA_TAG not in info.kept.raw:
        return ()
    props = onnx.NodeProto.FromString(info.kept.raw).metadata_props
    return tuple([(entry.key, entry.value) for entry in props])


class Output(NamedTuple):
    """One output of a graph: the name it is given, if any, and the value."""

    name: str | None
    value: Value


@dataclass(frozen=True, eq=False, repr=False, slots=True, weakref_slot=True)
class Graph:
    """A graph: of a model, a branch or a loop body. `nodes` are in topological order."""

    name: str
    inputs: tuple[Input, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Output, ...]
    captures: tuple[Value, ...] = ()
    """Values of enclosing graphs that the nodes, or bodies inside them, refer to."""
    initializers: tuple[Value, ...] = ()
    """The constants, and inputs with a default, that this graph lists, in order and even where nothing uses them."""
    declared: Mapping[Value, bytes] = field(default_factory=_nothing_declared)
    """What a file says of its values (`ValueInfoProto`): of inputs and outputs, and of inner values in order."""
    extras: bytes = b""
    """What else a file says (`GraphProto`): documentation, metadata, quantization, unknown fields."""

    def __repr__(self) -> str:
        return f"<graph {self.name!r}: {len(self.inputs)} inputs, {len(self.nodes)} nodes>"


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Function:
    """A local function: a body that nodes call as the operator `domain::name`."""

    domain: str
    name: str
    graph: Graph
    attributes: tuple[str, ...] = ()
    """Names of attributes without a default."""
    defaults: Mapping[str, Any] = field(default_factory=_nothing)
    """Attributes that a call may leave out."""
    kinds: Mapping[str, int] = field(default_factory=_nothing)
    """The kinds of all attributes, as far as they are known."""
    overload: str | None = None
    """Tells functions of one name apart; None where the emitter numbers them."""
    opset_imports: Mapping[str, int] = field(default_factory=_nothing)
    """Its own opset imports; empty where it takes those of the model."""
    origin: object = None
    """What it was traced from: functions of one name and one origin are overloads, of two a conflict."""
    doc: str = ""
    extras: bytes = b""
    """What else a file says (`FunctionProto`)."""


def clash(one: Function, other: Function) -> bool:
    """Whether two functions of one name cannot be in one model: they are no overloads, or the same one."""
    if None in (one.overload, other.overload):
        return one.origin is not other.origin
    return one.overload == other.overload


@dataclass(frozen=True, eq=False)
class ModelData:
    """A model: the graph, its functions and what the file says about it. `models.Model` adds what users call."""

    graph: Graph
    opset_imports: Mapping[str, int]
    ir_version: int
    functions: tuple[Function, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=_nothing)
    doc: str = ""
    producer: str = ""
    producer_version: str = ""
    domain: str = ""
    model_version: int = 0
    extras: bytes = b""
    """What else a file says (`ModelProto`): training, device configurations, unknown fields."""


def constant_array(value: Value | None) -> np.ndarray | None:
    """The data of a value that is known now: a constant, or the output of a Constant node."""
    if value is None:
        return None
    if value.array is not None or value.node is None or value.node.schema.name != "Constant" or value.node.domain:
        return value.array
    for name, found in value.node.attributes.items():
        if name == "value":
            return found if isinstance(found, np.ndarray) else None
        if name in _PLAIN_VALUES and not isinstance(found, (Reference, Opaque)):
            return np.asarray(found, _PLAIN_VALUES[name])
    return None


_PLAIN_VALUES: Mapping[str, Any] = {
    "value_int": np.int64,
    "value_ints": np.int64,
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_string": object,
    "value_strings": object,
}
"""The attributes of a Constant node that are no arrays, and the dtypes of what they make."""
