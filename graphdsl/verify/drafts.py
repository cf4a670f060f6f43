"""Drafts of calls: what a recipe asks for while it decides on the inputs and attributes of one operator.

A draft hands out tensors that the program has already, or new inputs and constants, so that the type variables of the
schema are bound consistently and inputs that not all values fit get values that do.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np
from hypothesis import strategies as st

from ..allowed import objection
from ..dims import Dim
from ..ir import Constant, Input
from ..schemas import Parameter, Schema, in_force
from ..tensor import Tensor
from ..types import DTYPES, DType, TensorType, float32, from_text, tensor_type, type_text
from .arrays import ANY, Range, array, pool
from .choices import Choices, Drawn
from .ranges import Use, demand_of
from .scopes import Scope

Shape = tuple[Any, ...]

_RECENT = 4
"""How many of the values that fit are offered, the last ones first."""

_USED, _ALL = 8, 10
"""How often of all times one of them is taken, where some fit."""

ORDER = (
    "float32",
    "int64",
    "float64",
    "int32",
    "bool",
    "float16",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "uint32",
    "uint64",
)
"""The dtypes that are tried first, the simplest first."""

BY_SIMPLICITY = sorted(DTYPES, key=lambda d: (ORDER.index(d.name) if d.name in ORDER else len(ORDER), d.code))


@cache
def dtypes_of(texts: frozenset[str]) -> list[DType]:
    """The dtypes of the tensor types that a schema writes, the simplest first."""
    kinds = {kind.dtype for kind in map(from_text, texts) if isinstance(kind, TensorType)}
    return [dtype for dtype in BY_SIMPLICITY if dtype in kinds]


class Unfit(Exception):
    """An operator cannot be called here: no dtype that is asked for fits it."""


class Draft:
    """One call of an operator while it is being made up. Inputs are handed out in the order of the schema."""

    def __init__(
        self, draw: st.DrawFn, choices: Choices, scope: Scope, schema: Schema, dtypes: frozenset[DType]
    ) -> None:
        self.source = Drawn(draw)
        self.choices = choices
        self.scope = scope
        self.schema = schema
        self.inputs: list[Any] = []
        self.attributes: dict[str, Any] = {}
        self.bound: dict[str, DType] = {}
        """The dtypes of the schema's type variables, as far as they are decided."""
        self._dtypes = dtypes

    # Decisions

    def number(self, low: int, high: int) -> int:
        """A number, the least one being the simplest."""
        return self.choices.between(low, high)

    def pick(self, items: Sequence[Any]) -> Any:
        """One of some items, the first one being the simplest."""
        return items[self.number(0, len(items) - 1)]

    def flag(self) -> bool:
        """Yes or no; no is simpler."""
        return self.choices.flag()

    def attribute(self, name: str, values: Sequence[Any]) -> Any:
        """Leave an attribute out, or give it one of some values that the opset allows; what it was given."""
        schema = self.schema
        if name in schema.attributes and self.flag():
            known = [v for v in values if objection(schema.domain, schema.name, name, schema.since, v) is None]
            self.attributes[name] = self.pick(known)
        return self.attributes.get(name)

    def axis(self, rank: int, name: str = "axis", *, beyond: int = 0) -> int:
        """Give an attribute an axis of a tensor, which may count from the end; the axis counted from the front."""
        found = self.number(0, rank - 1 + beyond)
        self.attributes[name] = found - rank if beyond == 0 and self.flag() else found
        return found

    def axes(self, rank: int, *, least: int = 1) -> list[int]:
        """Some axes, each once, in order."""
        return [axis for axis in range(rank) if self.flag()] or list(range(least))

    # Dtypes

    @property
    def place(self) -> int:
        """Which input comes next."""
        return len(self.inputs)

    @property
    def formal(self) -> Parameter:
        """The schema's words on the input that comes next."""
        return self.schema.input(self.place)

    def allowed(self, among: Iterable[DType] | None = None) -> list[DType]:
        """The dtypes that the next input may have, of these if some are given.

        Raises:
            Unfit: there are none.
        """
        formal = self.formal
        if formal.type_str in self.bound and (formal.homogeneous or not formal.variadic):
            found = [self.bound[formal.type_str]]
        else:
            kinds = dtypes_of(formal.types)
            # where there are but two, as for indices, they are not for the user to leave out
            found = kinds if len(kinds) <= 2 else [dtype for dtype in kinds if dtype in self._dtypes]
        if among is not None:
            chosen = frozenset(among)
            found = [dtype for dtype in found if dtype in chosen]
        if not found:
            raise Unfit(f"{self.schema.label}: {formal.name}")
        return found

    def bind(self, *, among: Iterable[DType] | None = None) -> DType:
        """Decide on the dtype of the next input.

        Raises:
            Unfit: there is none that fits.
        """
        allowed = self.allowed(among)
        dtype: DType = self.pick(allowed)
        self.bound[self.formal.type_str] = dtype
        return dtype

    def knows(self, dtype: DType) -> bool:
        """Whether a dtype is one of those that the program may use."""
        return dtype in self._dtypes

    # Inputs

    def any(
        self,
        low: int = 0,
        high: int = 3,
        *,
        known: bool = False,
        ok: Callable[[Shape], bool] | None = None,
        among: Iterable[DType] | None = None,
        sizes: tuple[int, int] = (1, 3),
    ) -> Any:
        """The next input: a tensor that there is, or a new one, with a rank from `low` to `high`.

        Args:
            known: Whether its sizes must be known.
            ok: What its shape must satisfy; new ones are assumed to, so `sizes` bounds them.
        """
        allowed = self.allowed(among)

        def fits(tensor: Tensor) -> bool:
            kind = tensor.type
            assert isinstance(kind, TensorType) and kind.shape is not None
            return (
                kind.dtype in allowed
                and low <= len(kind.shape) <= high
                and (not known or all(isinstance(dim, int) and dim > 0 for dim in kind.shape))
                and (ok is None or ok(kind.shape))
            )

        found = self._existing(fits) if self._demand() is None else []
        tensor, simply = self._choice(found)
        if tensor is not None:
            self.bound[self.formal.type_str] = tensor.dtype
            return self.give(tensor)
        dtype = allowed[0] if simply else self.pick(allowed)
        rank = low if simply or low == high else self.source.between(low, high)
        shape = tuple(sizes[0] if simply else self.size(known, *sizes) for _ in range(rank))
        self.bound[self.formal.type_str] = dtype
        return self._new(dtype, shape, simply)

    def size(self, known: bool = True, low: int = 1, high: int = 3) -> Any:
        """The size of a new dimension: a number, or a name unless it must be known.

        Ranks and sizes are drawn one by one: where one gets less, Hypothesis takes away what no longer follows from it.
        """
        found = self.source.between(low, high) if high > low else low
        return found if known or self.number(0, 4) < 4 else Dim(self.pick("nm"))

    def like(self, shape: Shape, within: Range | None = None) -> Any:
        """The next input: a tensor of a shape, of the values that the operator demands or that are said here."""
        dtype = self.bound.get(self.formal.type_str)
        if dtype is None or (self.formal.variadic and not self.formal.homogeneous):
            dtype = self.bind()
        if within is not None:
            return self._leaf(dtype, shape, within)
        wanted = tensor_type(dtype, shape)
        found = self._existing(lambda tensor: tensor.type is wanted) if self._demand(wanted) is None else []
        tensor, simply = self._choice(found)
        return self._new(dtype, shape, simply) if tensor is None else self.give(tensor)

    def _choice(self, found: list[Tensor]) -> tuple[Tensor | None, bool]:
        """One of the tensors that fit, or none for a new one; and whether that is to be the simplest one.

        The least number is the last tensor, and where there is none a new one that is not drawn any further. So when
        Hypothesis takes the step away that made the last one, the choices that follow keep their meaning.
        """
        place = self.number(0, _ALL - 1)
        return (found[place % len(found)], False) if found and place < _USED else (None, not place)

    def broadcast(self, shape: Shape) -> Any:
        """The next input: a tensor that broadcasts to a shape without changing it; most often one of that shape."""
        kept = shape[self.number(0, len(shape)) :] if self.number(0, 3) == 3 else shape
        if self.number(0, 3) == 3:
            kept = tuple(1 if self.flag() else dim for dim in kept)
        return self.like(kept)

    def constant(self, values: Any) -> np.ndarray:
        """The next input: a constant of these values."""
        (dtype, *_) = [self.bound[self.formal.type_str]] if self.formal.type_str in self.bound else self.allowed()
        found: np.ndarray = np.asarray(values).astype(dtype.numpy)
        self.inputs.append(found)
        return found

    def array(self, dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
        """An array of any values."""
        return array(self.source, dtype, shape, self.scope.without)

    def anything(self, operator: str) -> Tensor:
        """A tensor that an operator takes as its first input: one that there is, or a new one of float32."""
        texts = in_force(operator).inputs[0].types
        for tensor in self.scope.tensors():
            if tensor.type is not None and type_text(tensor.type) in texts and self.flag():
                return tensor
        shape = tuple(self.number(1, 3) for _ in range(self.number(0, 2)))
        if self.scope.takes_inputs:
            return self.scope.input(tensor_type(float32, shape))
        made: Tensor = self.scope.constant(self.array(float32, shape))
        return made

    def give(self, tensor: Any) -> Any:
        """The next input: this tensor."""
        self.inputs.append(tensor)
        return tensor

    def skip(self, count: int = 1) -> None:
        """Leave out optional inputs."""
        self.inputs += [None] * count

    def _existing(self, fits: Callable[[Tensor], bool]) -> list[Tensor]:
        """The tensors that fit: those that are computed before inputs, so that more of them have several users."""
        computed: list[Tensor] = []
        leaves: list[Tensor] = []
        for tensor in self.scope.tensors():
            if fits(tensor):
                (leaves if is_leaf(tensor) else computed).append(tensor)
                if len(computed) == _RECENT:
                    break
        return (computed + leaves)[:_RECENT]

    def _demand(self, kind: TensorType | None = None) -> Range | None:
        """What the operator demands of the values of the next input, if it is a tensor of this type."""
        demand = demand_of(self.schema.name, self.formal.name) if not self.schema.domain else None
        if demand is None:
            return None
        kind = kind or tensor_type(self.bound.get(self.formal.type_str) or self.allowed()[0], ())
        types = [_type(item) for item in self.inputs]
        return demand(Use(self.schema.name, (*types, kind), self.attributes, {}, self.place))

    def _new(self, dtype: DType, shape: Shape, simply: bool = False) -> Any:
        return self._leaf(dtype, shape, self._demand(tensor_type(dtype, shape)) or ANY, simply)

    def _leaf(self, dtype: DType, shape: Shape, within: Range, simply: bool = False) -> Any:
        """A new input or constant. What the model's feeds could not know to respect is a constant."""
        demanded = self._demand(tensor_type(dtype, shape))
        known = all(isinstance(dim, int) for dim in shape)
        if not self.scope.takes_inputs:
            if not known:
                raise Unfit(f"{self.schema.label}: no constant has the shape {shape}")
        elif not (known and self._fixed(within, demanded, simply)):
            return self.give(self.scope.input(tensor_type(dtype, shape)))
        if simply and dtype.kind != "complex" and not within.apart:
            values = np.full(shape, pool(dtype, self.scope.without, within).values[0])
        else:
            values = array(self.source, dtype, shape, self.scope.without, within)
        return self.give(self.scope.constant(values))

    def _fixed(self, within: Range, demanded: Range | None, simply: bool) -> bool:
        """Whether what is new is a constant, though it could be an input."""
        if within is not ANY and within != demanded:
            return True
        return not simply and (self.number(0, 5) == 5 or (within is not ANY and self.flag()))


def _type(item: Any) -> Any:
    if isinstance(item, Tensor):
        return item.type
    return None if item is None else tensor_type(item.dtype, item.shape)


def is_leaf(tensor: Any) -> bool:
    """Whether a tensor is an input or a constant, whose values are not computed."""
    return not isinstance(tensor, Tensor) or isinstance(tensor._v, (Input, Constant))
