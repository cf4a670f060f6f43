"""Recipes of operators that work element by element, on tensors that broadcast."""

from collections.abc import Callable, Sequence
from typing import Any

from ...types import DType, string
from ..arrays import Range
from ..drafts import BY_SIMPLICITY, Draft, Unfit, dtypes_of, is_leaf
from ..ranges import holds

Recipe = Callable[[Draft], "int | None"]
"""Gives a draft its inputs and attributes, and answers with the number of outputs where the schema leaves it open."""

FACTORS = (0.5, 1.0, 2.0, 0.1)
FLOATS = [dtype for dtype in BY_SIMPLICITY if dtype.kind == "float"]
INTEGERS = [dtype for dtype in BY_SIMPLICITY if dtype.kind in ("int", "uint")]
NUMBERS = [dtype for dtype in BY_SIMPLICITY if dtype.kind in ("float", "int", "uint")]
_CASTABLE = [dtype for dtype in BY_SIMPLICITY if dtype.kind != "complex"]


def unary(d: Draft) -> None:
    d.any()


def with_factors(*names: str) -> Recipe:
    """One input, and attributes that are any number."""

    def recipe(d: Draft) -> None:
        d.any()
        for name in names:
            d.attribute(name, FACTORS)

    return recipe


def with_choices(name: str, values: Sequence[Any]) -> Recipe:
    def recipe(d: Draft) -> None:
        d.any()
        d.attribute(name, values)

    return recipe


def is_inf(d: Draft) -> None:
    d.any()
    d.attribute("detect_negative", (0, 1))
    d.attribute("detect_positive", (0, 1))


def binary(d: Draft) -> None:
    """Two inputs, either of which may be the smaller one."""
    shape = d.any().shape
    d.broadcast(shape)
    if d.flag() and d.schema.inputs[0].type_str == d.schema.inputs[1].type_str:
        d.inputs.reverse()


def prelu(d: Draft) -> None:
    d.broadcast(d.any().shape)


def shift(d: Draft) -> None:
    d.broadcast(d.any().shape)
    d.attributes["direction"] = d.pick(("LEFT", "RIGHT"))


def power(d: Draft) -> None:
    base = d.any()
    d.bind(among=INTEGERS if base.dtype.kind != "float" else NUMBERS)
    d.broadcast(base.shape)


def division(d: Draft) -> None:
    """Of integers, no divisor is 0; nor is it -1 where the dividend is computed and might be the least integer."""
    a = d.any()
    shape = a.shape
    if a.dtype.kind in ("int", "uint") and not is_leaf(a):
        if any(not isinstance(size, int) for size in shape):
            shape = ()
        d.like(shape, Range(1, None))
    else:
        d.broadcast(shape)


def modulo(d: Draft) -> None:
    division(d)
    if d.inputs[0].dtype.kind == "float":
        d.attributes["fmod"] = 1
    else:
        d.attribute("fmod", (0, 1))


def variadic(d: Draft) -> None:
    shape = d.any().shape
    for _ in range(d.number(0, 2)):
        d.broadcast(shape)


def where(d: Draft) -> None:
    shape = d.any().shape
    d.bind()
    d.broadcast(shape)
    d.broadcast(shape)


def clip(d: Draft) -> None:
    d.any()
    if d.flag():
        d.like((), Range(-2, 0) if d.inputs[0].dtype.kind != "uint" else Range(0, 1))
    elif d.flag():
        d.skip()
    if len(d.inputs) == 2:
        d.like((), Range(1, 4))


def target(d: Draft, name: str = "to") -> DType:
    """Give an attribute the dtype of the output."""
    found = [dtype for dtype in dtypes_of(d.schema.outputs[0].types) if dtype.kind != "complex" and d.knows(dtype)]
    if not found:
        raise Unfit(d.schema.label)
    dtype: DType = d.pick(found)
    d.attributes[name] = dtype
    return dtype


def cast(d: Draft) -> None:
    to = target(d)
    sources = [dtype for dtype in _CASTABLE if (dtype is string) == (to is string)]  # texts are no numbers in general
    d.any(among=sources)


def cast_like(d: Draft) -> None:
    """To a dtype that holds all values of the other: the target's own values do not matter."""
    source = d.any(among=NUMBERS).dtype
    d.bind(among=[dtype for dtype in NUMBERS if holds(dtype, source) is None])
    d.like(())


def bit_cast(d: Draft) -> None:
    source = d.any(among=[dtype for dtype in NUMBERS if dtype.bits >= 8])
    d.attributes["to"] = d.pick([dtype for dtype in NUMBERS if dtype.bits == source.dtype.bits and d.knows(dtype)])


def regex(d: Draft) -> None:
    d.any()
    d.attributes["pattern"] = d.pick(("a", "[ab]*", ".+"))


def swiglu(d: Draft) -> None:
    d.like(d.any().shape)
    d.attribute("alpha", FACTORS)


_UNARY = (
    *("Identity", "Neg", "Abs", "Relu", "Exp", "Sqrt", "Log", "Not", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh"),
    *("BitwiseNot", "Ceil", "Cos", "Cosh", "Erf", "Floor", "HardSwish", "IsNaN", "Mish", "Reciprocal", "Round"),
    *("Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Tan", "Tanh"),
)
_BINARY = (
    *("Add", "Mul", "Sub", "And", "Or", "Xor", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Equal", "Greater"),
    *("GreaterOrEqual", "Less", "LessOrEqual", "StringConcat"),
)

RECIPES: dict[str, Recipe] = {
    **dict.fromkeys(_UNARY, unary),
    **dict.fromkeys(_BINARY, binary),
    **dict.fromkeys(("Max", "Min", "Mean", "Sum"), variadic),
    "Celu": with_factors("alpha"),
    "Elu": with_factors("alpha"),
    "HardSigmoid": with_factors("alpha", "beta"),
    "LeakyRelu": with_factors("alpha"),
    "Selu": with_factors("alpha", "gamma"),
    "Shrink": with_factors("lambd", "bias"),
    "Swish": with_factors("alpha"),
    "ThresholdedRelu": with_factors("alpha"),
    "Gelu": with_choices("approximate", ("none", "tanh")),
    "RegexFullMatch": regex,
    "IsInf": is_inf,
    "PRelu": prelu,
    "BitShift": shift,
    "Pow": power,
    "Div": division,
    "Mod": modulo,
    "Where": where,
    "Clip": clip,
    "Cast": cast,
    "CastLike": cast_like,
    "BitCast": bit_cast,
    "SwiGLU": swiglu,
}
