"""What a user holds: a handle on one value of a graph, with its type and the traps that refuse to freeze it."""

from typing import Any, NoReturn

import numpy as np

from ..dims import Dim, from_origin
from ..errors import FrozenValueError, UnsupportedError
from ..ir import Value, constant_array, give_name
from ..sites import at, caller
from ..types import DType, Shape, TensorType, Type


def _frozen(what: str, instead: str) -> NoReturn:
    raise FrozenValueError(f"{what}; a tensor has a value only when the model runs; {instead}" + at(caller()))


class Handle:
    """A tensor while a graph is written: data access only; `Tensor` adds the operators."""

    __slots__ = ("__weakref__", "_v")

    _v: Value

    def __init__(self, value: Value) -> None:
        self._v = value

    @property
    def type(self) -> Type | None:
        """The type, or None where it cannot be known."""
        return self._v.type

    @property
    def dtype(self) -> DType:
        """The element type.

        Raises:
            UnsupportedError: it is not known, or this is a sequence, optional or map.
        """
        kind = self._v.type
        if isinstance(kind, TensorType):
            return kind.dtype
        raise UnsupportedError(_no_tensor("dtype", kind))

    @property
    def shape(self) -> Shape | None:
        """The shape: an int, a `Dim` or None for each dimension; None when even the rank is unknown.

        A `Dim` of a tensor's shape remembers the tensor, so `x.reshape(x.shape[0], -1)` is computed at run time.
        """
        kind = self._v.type
        if not isinstance(kind, TensorType):
            raise UnsupportedError(_no_tensor("shape", kind))
        if kind.shape is None:
            return None
        value = self._v
        return tuple([from_origin(d, (value, i)) if isinstance(d, Dim) else d for i, d in enumerate(kind.shape)])

    @property
    def rank(self) -> int | None:
        """The number of dimensions, or None when unknown."""
        shape = self.shape
        return None if shape is None else len(shape)

    @property
    def name(self) -> str | None:
        """The name it was given, or None; `model.name_of(tensor)` is the one that a model writes."""
        return self._v.name or None

    @property
    def value(self) -> np.ndarray | None:
        """The array, for a constant; None for what is known only when the model runs."""
        return constant_array(self._v)

    def is_same(self, other: "Handle") -> bool:
        """Whether two handles stand for one value of the graph (`==` compares elements when the model runs)."""
        return isinstance(other, Handle) and self._v is other._v

    def named(self, name: str) -> Any:
        """This tensor, now carrying a name that the model keeps.

        Raises:
            NameConflict: it has another name already, or a model holds it.
        """
        if not isinstance(name, str) or not name:
            raise UnsupportedError(f"a tensor's name is a non-empty str, not {name!r}" + at(caller()))
        give_name(self._v, name)
        return self

    def __repr__(self) -> str:
        name = f" {self._v.name!r}" if self._v.name else ""
        return f"<Tensor{name} {self._v.type if self._v.type is not None else 'of unknown type'!s}>"

    # Python asks for a value now: refused, because tracing would freeze it without a word.

    def __bool__(self) -> bool:
        _frozen(
            "bool(tensor), as in 'if', 'and' or 'not'", "write op.If, op.Where, & | ~, or t.is_same(u) for identity"
        )

    def __int__(self) -> int:
        _frozen("int(tensor)", "write t.astype(gd.int64) to convert it in the graph")

    def __float__(self) -> float:
        _frozen("float(tensor)", "write t.astype(gd.float32) to convert it in the graph")

    def __complex__(self) -> complex:
        _frozen("complex(tensor)", "write t.astype(gd.complex64) to convert it in the graph")

    def __index__(self) -> int:
        _frozen("a tensor as a Python index or count", "index with t[i], loop with op.Loop, or use t.shape[axis]")

    def __len__(self) -> int:
        _frozen("len(tensor)", "write t.shape[0], which is an int where the size is known")

    def __iter__(self) -> Any:
        _frozen("iterating over a tensor", "index it, split it with op.Split(t, outputs=n), or loop with op.Scan")

    def __contains__(self, _: object) -> bool:
        _frozen("'in' on a tensor", "write (t == value).any()")

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        _frozen("np.array(tensor)", "build a model and call it, or read t.value of a constant")

    def __format__(self, spec: str) -> str:
        if spec:
            _frozen(f"formatting a tensor with {spec!r}", "format what the model returns")
        return repr(self)

    def __hash__(self) -> int:
        _frozen("hash(tensor), as in a set or a dict's key", "use a list, and tell them apart by t.is_same(u)")

    def item(self, *_: Any) -> NoReturn:
        """Refused: a tensor has a value only when the model runs."""
        _frozen(".item()", "keep the tensor, or read t.value of a constant")

    def tolist(self) -> NoReturn:
        """Refused: a tensor has a value only when the model runs."""
        _frozen(".tolist()", "keep the tensor, or read t.value of a constant")


def _no_tensor(what: str, kind: Type | None) -> str:
    if kind is None:
        return f"the {what} is not known, because the type of this tensor is not" + at(caller())
    return f"{kind!r} has no {what}; it is not a tensor" + at(caller())
