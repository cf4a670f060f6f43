"""How one node is written: the shortest spelling that was tried and found to make this very node.

Nothing here repeats the rules of the language. A spelling is run as its reader would run it, on the node's own inputs
in a trace that is thrown away, and the node that comes out is compared with the one to write.
"""

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import AttributeProto

from ..attributes import kind_of, to_attribute
from ..errors import GraphError
from ..ir import Graph, Node, Opaque, Reference, Value
from ..operators import operator as operator_function
from ..schemas import FOREVER, Parameter, Schema
from ..sites import Site
from ..tensor import Tensor
from ..tensor.calling import Trace, tracing
from ..tensor.keys import BEFORE_START, PAST_END
from ..types import DTYPES, TensorType, as_dtype, without_sizes
from .literals import array_text, attribute_text, is_empty, is_python_name, items, plain, same_array, unlisted_text

ATOM, POWER, UNARY, PRODUCT, SUM, BITS_AND, BITS_XOR, BITS_OR, COMPARISON = range(20, 11, -1)
"""How tightly expressions bind, as Python has it."""

_BINARY: dict[str, tuple[str, int, Callable[[Any, Any], Any]]] = {
    "Add": ("+", SUM, operator.add),
    "StringConcat": ("+", SUM, operator.add),
    "Sub": ("-", SUM, operator.sub),
    "Mul": ("*", PRODUCT, operator.mul),
    "Div": ("/", PRODUCT, operator.truediv),
    "Mod": ("%", PRODUCT, operator.mod),
    "MatMul": ("@", PRODUCT, operator.matmul),
    "Pow": ("**", POWER, operator.pow),
    "And": ("&", BITS_AND, operator.and_),
    "Or": ("|", BITS_OR, operator.or_),
    "Xor": ("^", BITS_XOR, operator.xor),
    "BitwiseAnd": ("&", BITS_AND, operator.and_),
    "BitwiseOr": ("|", BITS_OR, operator.or_),
    "BitwiseXor": ("^", BITS_XOR, operator.xor),
    "Equal": ("==", COMPARISON, operator.eq),
    "Less": ("<", COMPARISON, operator.lt),
    "LessOrEqual": ("<=", COMPARISON, operator.le),
    "Greater": (">", COMPARISON, operator.gt),
    "GreaterOrEqual": (">=", COMPARISON, operator.ge),
}
_UNARY: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "Neg": ("-", operator.neg),
    "Not": ("~", operator.invert),
    "BitwiseNot": ("~", operator.invert),
}
_WHATEVER_THE_TYPES = frozenset(
    ("Add", "Sub", "Mul", "MatMul", "Neg", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual")
)
"""Operators that Python's symbol gives for every type that ONNX allows: those that functions may be written with."""


class Piece(NamedTuple):
    """A piece of a spelling: text, or the input of an index."""

    text: str = ""
    input: int = -1
    least: int = 0
    """What the input must bind like, not to need parentheses."""


class Spelling(NamedTuple):
    """A way to write a node."""

    pieces: tuple[Piece, ...]
    """Text and inputs, in the order in which Python evaluates them."""
    binds: int
    """How tightly the whole binds."""
    callee: str = ""
    """What is called, where the whole is a call; the pieces are its arguments then."""


class Scratch(Trace):
    """A trace whose nodes nobody keeps; it uses values of any other."""

    __slots__ = ()

    def admit(self, value: Value, site: Site | None) -> None:
        """Every value may be used."""


class Literal(NamedTuple):
    """A constant that may be written where it is used."""

    value: Any
    """What stands there: a Python number, a list or an array."""
    text: str


def literals_of(value: Value | None, formal: Parameter) -> tuple[Literal, ...]:
    """The ways to write a constant where it is used, plainest first; none where it should have a name of its own.

    Scalars are, and short lists for inputs that are settings rather than data: their dtype is fixed by the operator.
    """
    array = None if value is None else value.array
    if array is None or array.ndim > 1 or array.size > 8:
        return ()
    if array.ndim and not (_is_setting(formal) and array.dtype.kind in "iufb"):
        return ()
    shown = array_text(array)
    found = [Literal(plain(array), items(array))]
    return (
        (*found, Literal(array if array.ndim or array.dtype == object else array[()], shown))
        if shown is not None
        else tuple(found)
    )


def _is_setting(formal: Parameter) -> bool:
    """Whether an input is a setting such as a shape, by the types that the operator allows."""
    allowed = {text for text in formal.types if text.startswith("tensor(")}
    return not formal.variadic and (len(allowed) == 1 or allowed == {"tensor(int32)", "tensor(int64)"})


def _is_natural(value: Value | None) -> bool:
    """Whether a constant has the dtype that Python numbers take where nothing else says."""
    return value is not None and value.array is not None and value.array.dtype in (np.float32, np.int64)


class Call(NamedTuple):
    """A node to write, and what is decided of it already."""

    node: Node
    texts: Mapping[str, str]
    """Attributes that are written as these texts: bodies, references to a function's attributes, large arrays."""
    literals: Mapping[int, tuple[Literal, ...]]
    """The ways to write inputs that are constants, where they may stand in the call."""


class Speller:
    """Finds the spellings of nodes; `namespace` says what operators of a schema are called through."""

    def __init__(self, namespace: Callable[[Schema], str]) -> None:
        self._namespace = namespace
        self._trace = Scratch("the source", None)

    def tried(self, call: Call) -> Spelling:
        """The shortest spelling that makes the node.

        Raises:
            GraphError: the language refuses the call.
        """
        problem: GraphError | None = None
        with tracing(self._trace):
            for spelling, made in self._candidates(call):
                try:
                    if self._makes(made, call.node):
                        return spelling
                except GraphError as error:
                    problem = error
                except (TypeError, ValueError, OverflowError):  # of NumPy's scalars as operands
                    continue
        raise problem or GraphError("a call makes another node than this one")

    def untried(self, call: Call) -> Spelling:
        """A spelling that makes the node whatever the types are, which a function's body does not know."""
        node = call.node
        # a number takes the dtype of the other side, which is its own; where that is not known, the dtype it has anyway
        natural = all(_is_natural(node.inputs[i]) for i in call.literals)
        if node.op_type in _WHATEVER_THE_TYPES and not node.domain and natural:
            for spelling, _ in _expressions(call):
                return spelling
        exact = {i: found[0 if _is_setting(node.schema.input(i)) else -1] for i, found in call.literals.items()}
        return written(f"{self._namespace(node.schema)}.{node.op_type}", call, exact, _asked(node))

    def _makes(self, made: Callable[..., Any], node: Node) -> bool:
        found = made(*map(_handle, node.inputs))
        items = found if isinstance(found, tuple) else (found,)
        root = items[0]._v.node
        return root is not None and len(root.outputs) == len(node.outputs) == len(items) and is_same(root, node)

    def _candidates(self, call: Call) -> Iterator[tuple[Spelling, Callable[..., Any]]]:
        if not call.node.domain:
            yield from _expressions(call)
            yield from _indexed(call)
        yield from self._calls(call)

    def _calls(self, call: Call) -> Iterator[tuple[Spelling, Callable[..., Any]]]:
        node, schema = call.node, call.node.schema
        function = operator_function(schema.domain, schema.name, schema.version if schema.domain else None)
        callee = f"{self._namespace(schema)}.{schema.name}"
        plainest = {i: found[0] for i, found in call.literals.items()}
        exact = {i: found[-1] for i, found in call.literals.items()}
        for literals in [plainest, exact] if exact else [plainest]:
            for count in (None, len(node.outputs)):

                def made(*inputs: Any, literals: Mapping[int, Literal] = literals, count: int | None = count) -> Any:
                    given = [literals[i].value if i in literals else item for i, item in enumerate(inputs)]
                    return function(*given, outputs=count, **node.attributes)

                yield written(callee, call, literals, count), made


def _asked(node: Node) -> int | None:
    """How many outputs a call asks for, where its types are not known."""
    schema = node.schema
    if schema.rule is not None or node.bodies:
        return None
    count, usual = len(node.outputs), schema.least_outputs or schema.most_outputs
    return None if count == usual and schema.most_outputs != FOREVER else count


def _handle(value: Value | None) -> Tensor | None:
    return None if value is None else Tensor(value)


def _expressions(call: Call) -> Iterator[tuple[Spelling, Callable[..., Any]]]:
    """The node as Python's own operator, or as `x.astype(...)`."""
    node = call.node
    if node.op_type in _BINARY and len(node.inputs) == 2:
        symbol, binds, function = _BINARY[node.op_type]
        literals = {i: found[0] for i, found in call.literals.items()}
        numbers = all(isinstance(item.value, (bool, int, float)) for item in literals.values())
        if len(literals) < 2 and numbers:

            def made(*sides: Any) -> Any:
                return function(*[literals[i].value if i in literals else side for i, side in enumerate(sides)])

            yield _operation(symbol, binds, literals), made
    elif node.op_type in _UNARY and len(node.inputs) == 1 and not call.literals:
        sign, function_of_one = _UNARY[node.op_type]
        yield Spelling((Piece(sign), Piece(input=0, least=UNARY)), UNARY), function_of_one
    elif node.op_type == "Cast" and node.attributes.get("to") in _DTYPES and not call.literals:
        dtype = _DTYPES[node.attributes["to"]]
        pieces = (Piece(input=0, least=ATOM), Piece(f".astype(gd.{dtype.name})"))
        yield Spelling(pieces, ATOM), lambda x: x.astype(dtype)


def _indexed(call: Call) -> Iterator[tuple[Spelling, Callable[..., Any]]]:
    """`x[:, 1:3]` of a Slice, `x[0]` of a Gather, where they give the node for known and for unknown sizes."""
    node = call.node
    value = node.inputs[0] if node.inputs and node.op_type in ("Slice", "Gather") else None
    kind = None if value is None else value.type
    if not isinstance(kind, TensorType) or kind.shape is None or 0 in call.literals:
        return
    if call.literals.keys() != {i for i, v in enumerate(node.inputs) if i and v is not None}:
        return
    key = _key_of_gather(node) if node.op_type == "Gather" else _key_of_slice(node, len(kind.shape))
    if key is None:
        return
    unsized = Value(without_sizes(kind), None, 0, None)

    def made(x: Any, *_: Any) -> Any:
        other = Tensor(unsized)[key]._v.node
        if other is None or not is_same(other, node, {unsized: value}):
            raise ValueError("the sizes matter")
        return x[key]

    pieces = (Piece(input=0, least=ATOM), Piece(f"[{', '.join(map(_entry_text, key))}]"))
    yield Spelling(pieces, ATOM), made


_DTYPES = {dtype.code: dtype for dtype in DTYPES}


def _operation(symbol: str, binds: int, literals: Mapping[int, Literal]) -> Spelling:
    """`left symbol right`, with parentheses where Python needs them."""
    # a comparison does not chain, a power binds its right side first: both sides bind more tightly
    alone = binds in (COMPARISON, POWER)
    least = (binds + alone, binds + 1)
    sides = [_side(i, least[i], literals) for i in (0, 1)]
    return Spelling((sides[0], Piece(f" {symbol} "), sides[1]), binds)


def _side(index: int, least: int, literals: Mapping[int, Literal]) -> Piece:
    if index not in literals:
        return Piece(input=index, least=least)
    text = literals[index].text
    return Piece(f"({text})" if text.startswith("-") and least > UNARY else text)


def written(callee: str, call: Call, literals: Mapping[int, Literal], count: int | None = None) -> Spelling:
    """`callee(inputs, attributes)`."""
    node = call.node
    pieces: list[Piece] = []
    for index, value in enumerate(trimmed(node.inputs)):
        if value is None:
            pieces.append(Piece("None"))
        else:
            pieces.append(Piece(literals[index].text) if index in literals else Piece(input=index))
    odd: dict[str, str] = {}
    for name, value in in_reading_order(node):
        shown = call.texts.get(name) or _attribute(node, name, value)
        if is_python_name(name) and name != "outputs":
            pieces.append(Piece(f"{name}={shown}"))
        else:
            odd[name] = shown
    if count is not None:
        pieces.append(Piece(f"outputs={count}"))
    if odd:
        pieces.append(Piece(f"**{{{', '.join(f'{name!r}: {shown}' for name, shown in odd.items())}}}"))
    return Spelling(tuple(pieces), ATOM, callee)


def in_reading_order(node: Node) -> Sequence[tuple[str, Any]]:
    """The attributes, with the branch that is taken before the other."""
    return sorted(node.attributes.items(), key=lambda item: item[0] == "else_branch")


def _attribute(node: Node, name: str, value: Any) -> str:
    """The text of a plain attribute.

    Raises:
        GraphError: Python has no expression for it.
    """
    spec = node.schema.attributes.get(name)
    shown = None
    if not isinstance(value, Graph):
        if isinstance(value, Opaque) and not (spec and is_empty(value.proto)) and value.proto.type not in _SPARSE:
            shown = f"onnx.AttributeProto.FromString({value.proto.SerializeToString()!r})" if spec is None else None
        else:
            kind = _kind(spec, value)
            shown = unlisted_text(value, kind) if spec is None else attribute_text(name, value, kind)
    if shown is None:
        raise GraphError(f"{node.schema.label}: the attribute {name!r} has no form in Python")
    return shown


_SPARSE = (AttributeProto.SPARSE_TENSOR, AttributeProto.SPARSE_TENSORS)


def _kind(spec: Any, value: Any) -> int:
    if spec is not None:
        return int(spec.kind)
    return value.proto.type if isinstance(value, Opaque) else kind_of(value)


# Indices

Key = tuple[Any, ...]


def _key_of_gather(node: Node) -> Key | None:
    """The key of a Gather of one known index."""
    place = node.inputs[1] if len(node.inputs) == 2 else None
    axis = node.attributes.get("axis", 0)
    if place is None or place.array is None or place.array.shape != () or not isinstance(axis, int) or axis < 0:
        return None
    return (*[slice(None)] * axis, int(place.array))


def _key_of_slice(node: Node, rank: int) -> Key | None:
    """The key of a Slice with known bounds."""
    arrays = [None if value is None else value.array for value in node.inputs[1:]]
    if len(arrays) < 2 or any(value is not None and value.array is None for value in node.inputs[1:]):
        return None
    starts, ends = (list(map(int, array.ravel())) for array in arrays[:2] if array is not None)
    given = arrays[2] if len(arrays) > 2 else None
    axes = list(range(len(starts))) if given is None else list(map(int, given.ravel()))
    given = arrays[3] if len(arrays) > 3 else None
    steps = [1] * len(starts) if given is None else list(map(int, given.ravel()))
    if not (len(starts) == len(ends) == len(axes) == len(steps)) or not all(0 <= axis < rank for axis in axes):
        return None
    if axes != sorted(set(axes)) or 0 in steps:
        return None
    key = [slice(None)] * (max(axes, default=-1) + 1)
    for start, stop, axis, step in zip(starts, ends, axes, steps, strict=True):
        key[axis] = slice(
            None if start == (0 if step > 0 else PAST_END) else start,
            None if stop == (PAST_END if step > 0 else BEFORE_START) else stop,
            None if step == 1 else step,
        )
    return tuple(key)


def _entry_text(entry: Any) -> str:
    if not isinstance(entry, slice):
        return repr(entry)
    start, stop, step = ("" if side is None else repr(side) for side in (entry.start, entry.stop, entry.step))
    return f"{start}:{stop}" + (f":{step}" if step else "")


# Comparing


def is_same(one: Node, other: Node, stand_ins: Mapping[Value, Value | None] | None = None) -> bool:
    """Whether two nodes call one operator on the same inputs with equal attributes; bodies must be the same."""
    if (one.domain, one.op_type, one.schema.since) != (other.domain, other.op_type, other.schema.since):
        return False
    inputs, wanted = trimmed(one.inputs), trimmed(other.inputs)
    if len(inputs) != len(wanted) or one.attributes.keys() != other.attributes.keys():
        return False
    known = stand_ins or {}
    return all(same_value(a if a is None else known.get(a, a), b) for a, b in zip(inputs, wanted, strict=True)) and all(
        same_attribute(one, name, other) for name in one.attributes
    )


def trimmed(inputs: Sequence[Value | None]) -> Sequence[Value | None]:
    """Inputs without absent ones at the end."""
    end = len(inputs)
    while end and inputs[end - 1] is None:
        end -= 1
    return inputs[:end]


def same_value(one: Value | None, other: Value | None) -> bool:
    """Whether two inputs are one value, or constants of equal contents."""
    if one is other:
        return True
    if one is None or other is None or one.array is None or other.array is None:
        return False
    return as_dtype(one.array.dtype) is as_dtype(other.array.dtype) and same_array(one.array, other.array)


def same_attribute(one: Node, name: str, other: Node) -> bool:
    """Whether an attribute of two nodes has one value."""
    a, b = one.attributes[name], other.attributes[name]
    if a is b:
        return True
    if isinstance(a, Graph) or isinstance(b, Graph) or isinstance(a, Reference) or isinstance(b, Reference):
        return bool(a == b)
    spec = one.schema.attributes.get(name)
    written = [v.proto if isinstance(v, Opaque) else to_attribute(name, v, spec.kind if spec else None) for v in (a, b)]
    return _bare(written[0]) == _bare(written[1])


def _bare(proto: onnx.AttributeProto) -> bytes:
    """An attribute without what does not change it: documentation, the name and form of its tensor."""
    found = onnx.AttributeProto()
    found.CopyFrom(proto)
    found.ClearField("doc_string")
    return bytes(found.SerializeToString(deterministic=True))
