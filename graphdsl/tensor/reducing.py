"""NumPy's methods along axes: sums and other reductions, running sums, sorting."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from ..dims import Axis
from ..schemas import lookup, opset_in_force
from ..types import string, tensor_type, type_text
from .calling import emit
from .elementwise import refuse
from .shaping import Shaping
from .sizes import axis_size, scalar_of

_KEYWORDS = {
    "out": "a tensor never changes; use the result",
    "where": "write op.Where(mask, t, neutral) first, with the neutral element of the reduction, such as 0 for sum",
    "initial": "join it to the result, as in t.sum() + initial",
    "mean": "the mean is computed where it is needed",
    "order": "a tensor has no fields to sort by",
}


class Reducing(Shaping):
    """Reductions and other methods along axes."""

    __slots__ = ()

    def sum(self, axis: Any = None, *, dtype: Any = None, keepdims: bool = False, **numpy: Any) -> Self:
        """The sum along axes, in the tensor's own dtype unless `dtype` says otherwise (ONNX ReduceSum).

        >>> import graphdsl as gd
        >>> x = gd.input("x", gd.float32["n", 3])
        >>> x.sum(axis=-1), x.sum(0, keepdims=True)
        (<Tensor float32['n']>, <Tensor float32[1, 3]>)
        """
        no_keywords("sum", numpy)
        return self._in(dtype)._reduce("ReduceSum", "sum", axis, keepdims, "int64")

    def prod(self, axis: Any = None, *, dtype: Any = None, keepdims: bool = False, **numpy: Any) -> Self:
        """The product along axes, in the tensor's own dtype unless `dtype` says otherwise (ONNX ReduceProd)."""
        no_keywords("prod", numpy)
        return self._in(dtype)._reduce("ReduceProd", "prod", axis, keepdims, "int64")

    def mean(self, axis: Any = None, *, dtype: Any = None, keepdims: bool = False, **numpy: Any) -> Self:
        """The mean along axes of a float tensor (ONNX ReduceMean).

        Raises:
            UnsupportedError: the elements are integers or bool; the message says what to write.
        """
        no_keywords("mean", numpy)
        return self._in(dtype)._floats("mean")._reduce("ReduceMean", "mean", axis, keepdims, "float32")

    def max(self, axis: Any = None, *, keepdims: bool = False, **numpy: Any) -> Self:
        """The largest element along axes (ONNX ReduceMax). Where there are NaN, the result depends on the runtime."""
        no_keywords("max", numpy)
        if self.dtype.kind == "bool":
            return self.any(axis, keepdims=keepdims)
        return self._reduce("ReduceMax", "max", axis, keepdims, "int32")

    def min(self, axis: Any = None, *, keepdims: bool = False, **numpy: Any) -> Self:
        """The smallest element along axes (ONNX ReduceMin). Where there are NaN, the result depends on the runtime."""
        no_keywords("min", numpy)
        if self.dtype.kind == "bool":
            return self.all(axis, keepdims=keepdims)
        return self._reduce("ReduceMin", "min", axis, keepdims, "int32")

    def any(self, axis: Any = None, *, keepdims: bool = False, **numpy: Any) -> Self:
        """Whether some element along axes is true, or not zero."""
        no_keywords("any", numpy)
        return self._truth("ReduceMax", "any", axis, keepdims)

    def all(self, axis: Any = None, *, keepdims: bool = False, **numpy: Any) -> Self:
        """Whether every element along axes is true, or not zero."""
        no_keywords("all", numpy)
        return self._truth("ReduceMin", "all", axis, keepdims)

    def _truth(self, operator: str, what: str, axis: Any, keepdims: bool) -> Self:
        truth = self.astype(np.bool_)
        if axis == ():
            return truth
        # by integers, because before opset 20 no reduction takes bool, and because the largest of no integers is
        # their minimum, the smallest their maximum: an empty axis gives what NumPy gives
        return truth.astype(np.int32)._reduce(operator, what, axis, keepdims, "int32") > 0

    def var(
        self,
        axis: Any = None,
        *,
        dtype: Any = None,
        ddof: int = 0,
        correction: int | None = None,
        keepdims: bool = False,
        **numpy: Any,
    ) -> Self:
        """The variance along axes of a float tensor: the sum of squared distances to the mean, by `n - ddof`."""
        no_keywords("var", numpy)
        values = self._in(dtype)._floats("var")
        if axis == ():
            refuse("var(axis=())", "the variance of single elements is zero")
        delta = ddof if correction is None else correction
        distance = values - values.mean(axis, keepdims=True)
        if delta == 0:
            return (distance * distance).mean(axis, keepdims=keepdims)
        squares = distance._reduce("ReduceSumSquare", "var", axis, keepdims, "float32")
        result: Self = squares / values._count(axis, delta)
        return result

    def std(
        self,
        axis: Any = None,
        *,
        dtype: Any = None,
        ddof: int = 0,
        correction: int | None = None,
        keepdims: bool = False,
        **numpy: Any,
    ) -> Self:
        """The standard deviation along axes of a float tensor: the root of `var`."""
        no_keywords("std", numpy)
        values = self._in(dtype)._floats("std")
        spread = values.var(axis, ddof=ddof, correction=correction, keepdims=keepdims)
        return spread._emit("Sqrt", spread)

    def _count(self, axis: Any, less: float) -> Any:
        """How many elements a reduction joins, less a number and at least 0, in this tensor's dtype."""
        self._known_rank("var and std with ddof")
        shape = self.shape or ()
        axes = range(len(shape)) if axis is None else self._axes(axis, "var")
        known = 1
        count: Any = None
        for i in axes:
            size: Axis = shape[i]
            if isinstance(size, int):
                known *= size
            else:
                part = axis_size(self._v, i)
                count = part if count is None else count * part
        if count is None:
            return self._constant(max(known - less, 0))
        count = scalar_of(count).astype(self.dtype) * self._constant(known) - self._constant(less)
        return count._emit("Max", count, self._constant(0))

    def _in(self, dtype: Any) -> Self:
        return self if dtype is None else self.astype(dtype)

    def _floats(self, what: str) -> Self:
        if self.dtype.kind not in ("float", "complex"):
            refuse(
                f"{what}() of {self.dtype} tensors would give floats in NumPy and integers in ONNX",
                f"write t.astype(gd.float32).{what}()",
            )
        return self

    def _taken(self, operator: str, what: str, instead: str) -> None:
        """Check that an operator takes this tensor's dtype.

        Raises:
            UnsupportedError: it does not; the message names a dtype that it takes.
        """
        schema = lookup("", operator, opset_in_force())
        dtype = self.dtype
        if dtype is not string and type_text(tensor_type(dtype)) not in schema.inputs[0].types:
            cast = f"t.astype(gd.{instead if dtype.kind in ('int', 'uint', 'bool') else 'float32'}).{what}()"
            refuse(
                f"{what}() of {dtype} tensors", f"{operator} does not take them at opset {schema.version}: write {cast}"
            )

    def _reduce(self, operator: str, what: str, axis: Any, keepdims: bool, instead: str) -> Self:
        self._taken(operator, what, instead)
        if axis is None:
            return self._emit(operator, self, keepdims=int(keepdims))
        axes = sorted(self._axes(axis, what))
        if not axes:  # NumPy reduces nothing then, ONNX everything
            return self
        return self._emit(operator, self, axes=axes, keepdims=int(keepdims))

    def argmax(self, axis: int | None = None, *, keepdims: bool = False, out: None = None) -> Self:
        """The int64 index of the first largest element along an axis, or in `ravel()` (ONNX ArgMax)."""
        no_keywords("argmax", {"out": out})
        return self._extreme("ArgMax", "argmax", axis, keepdims)

    def argmin(self, axis: int | None = None, *, keepdims: bool = False, out: None = None) -> Self:
        """The int64 index of the first smallest element along an axis, or in `ravel()` (ONNX ArgMin)."""
        no_keywords("argmin", {"out": out})
        return self._extreme("ArgMin", "argmin", axis, keepdims)

    def _extreme(self, operator: str, what: str, axis: int | None, keepdims: bool) -> Self:
        values = self.astype(np.int32) if self.dtype.kind == "bool" else self
        if axis is not None:
            return values._emit(operator, values, axis=self._axis(axis, what), keepdims=int(keepdims))
        found = values.ravel()._emit(operator, values.ravel(), axis=0, keepdims=0)
        return found.reshape([1] * self._known_rank(f"{what}(keepdims=True)")) if keepdims else found

    def cumsum(self, axis: int | None = None, *, dtype: Any = None, out: None = None) -> Self:
        """The running sum along an axis, or of `ravel()`, in the tensor's own dtype (ONNX CumSum)."""
        no_keywords("cumsum", {"out": out})
        return self._in(dtype)._running("CumSum", "cumsum", axis)

    def cumprod(self, axis: int | None = None, *, dtype: Any = None, out: None = None) -> Self:
        """The running product along an axis, or of `ravel()` (ONNX CumProd, from opset 26 on)."""
        no_keywords("cumprod", {"out": out})
        if opset_in_force() < 26:
            refuse("cumprod() below opset 26", "ONNX has CumProd since then: with gd.opset(26): ...")
        return self._in(dtype)._running("CumProd", "cumprod", axis)

    def _running(self, operator: str, what: str, axis: int | None) -> Self:
        self._taken(operator, what, "int64")
        values = self.ravel() if axis is None else self
        return values._emit(operator, values, np.int64(0 if axis is None else self._axis(axis, what)))

    def sort(self, axis: int | None = -1, *, kind: str | None = None, stable: bool | None = None, **numpy: Any) -> Self:
        """The elements along an axis in ascending order, as a new tensor (ONNX TopK).

        >>> import graphdsl as gd
        >>> gd.input("x", gd.float32[3, "n"]).sort()
        <Tensor float32[3, 'n']>
        """
        no_keywords("sort", numpy)
        return self._sorted("sort", axis)[0]

    def argsort(
        self, axis: int | None = -1, *, kind: str | None = None, stable: bool | None = None, **numpy: Any
    ) -> Self:
        """The int64 indices that sort along an axis; equal elements keep their order (ONNX TopK)."""
        no_keywords("argsort", numpy)
        return self._sorted("argsort", axis)[1]

    def _sorted(self, what: str, axis: int | None) -> tuple[Self, Self]:
        self._taken("TopK", what, "int32")
        if axis is None:
            return self.ravel()._sorted(what, 0)
        if opset_in_force() < 11:
            refuse(f"{what}() below opset 11", "ONNX sorts in ascending order since then: with gd.opset(11): ...")
        rank = self._known_rank(what)
        along = self._axis(axis, what)
        size = (self.shape or (None,) * rank)[along]
        count = [size] if isinstance(size, int) else axis_size(self._v, along)
        values, indices = emit("TopK", self, axis=along, K=count, largest=0)
        return type(self)(values), type(self)(indices)


def no_keywords(what: str, given: Mapping[str, Any]) -> None:
    """Refuse NumPy's keywords that have no meaning here, unless they say what holds anyway."""
    for name, value in given.items():
        if name not in _KEYWORDS:
            refuse(f"{what}() has no keyword {name!r}", "it takes those that its signature shows")
        if value is not None and not (name == "where" and value is True):
            refuse(f"{what}({name}=...)", _KEYWORDS[name])
