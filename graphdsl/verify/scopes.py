"""Scopes of a random program: the tensors that can be used in a body, and where new inputs come from."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..building import constant, input
from ..tensor import Tensor
from ..types import TensorType, Type


class Scope:
    """What a body can use: its own tensors, then those around it."""

    def __init__(
        self, outer: "Scope | None" = None, *, closed: bool = False, without: frozenset[str] = frozenset()
    ) -> None:
        self.outer = outer
        self.closed = closed
        """Whether it sees nothing around it, as a function does."""
        self.without: frozenset[str] = without if outer is None else outer.without
        self.values: list[Tensor] = []
        """Tensors made here, in order; those of unknown rank and what is no tensor are not among them."""
        self.others: list[Tensor] = []
        """Sequences and optionals made here."""
        self.inputs: list[Tensor] = []

    @property
    def takes_inputs(self) -> bool:
        """Whether there can be new inputs: in the model itself."""
        return self.outer is None

    def tensors(self) -> Iterator[Tensor]:
        """The tensors that can be used, last ones first."""
        scope: Scope | None = self
        while scope is not None:
            yield from reversed(scope.values)
            scope = None if scope.closed else scope.outer

    def sequences(self) -> Iterator[Tensor]:
        """The same of what is no tensor."""
        scope: Scope | None = self
        while scope is not None:
            yield from reversed(scope.others)
            scope = None if scope.closed else scope.outer

    def add(self, made: Tensor) -> None:
        """Make a value known."""
        kind = made.type
        if isinstance(kind, TensorType):
            if kind.shape is not None and None not in kind.shape:
                self.values.append(made)
        elif kind is not None:
            self.others.append(made)

    def input(self, kind: Type) -> Tensor:
        """A new input of the model."""
        made = input(f"x{len(self.inputs)}", kind)
        self.inputs.append(made)
        self.add(made)
        return made

    def constant(self, array: np.ndarray) -> Any:
        """A new constant."""
        return constant(array)
