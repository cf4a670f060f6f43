"""Recipes of quantized operators, of text, and of sequences and optionals."""

from ... import op
from ...types import OptionalType, SequenceType, TensorType, int8, int32, int64, string, tensor_type, uint8
from ..arrays import Range
from ..drafts import Draft
from .elementwise import FLOATS, Recipe, unary

_SCALES = Range(2.0**-4, 8)
_BYTES = (int8, uint8)
_WORDS = (string, int64, int32)


def quantize(d: Draft) -> None:
    shape = d.any(known=True, among=FLOATS).shape
    d.bind(among=[d.inputs[0].dtype])
    per_axis = _scale(d, shape)
    if d.flag():
        d.bind()
        d.like(per_axis)


def dequantize(d: Draft) -> None:
    shape = d.any(known=True).shape
    d.bind(among=[dtype for dtype in FLOATS if dtype.bits > 8])
    per_axis = _scale(d, shape)
    if d.flag() and d.inputs[0].dtype.name != "int32":
        d.like(per_axis)


def _scale(d: Draft, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The next input: a scale for the whole tensor or for each slice of an axis."""
    if not shape or d.flag() or "axis" not in d.schema.attributes:
        d.like((), _SCALES)
        return ()
    axis = d.axis(len(shape))
    d.like((shape[axis],), _SCALES)
    return (shape[axis],)


def qlinear_matmul(d: Draft) -> None:
    rows, inner, columns = (d.number(1, 3) for _ in range(3))
    for shape in ((rows, inner), (inner, columns)):
        d.bind(among=_BYTES)
        d.like(shape)
        d.like((), _SCALES)
        d.like(())
    d.like((), _SCALES)
    d.bind(among=_BYTES)
    d.like(())


def qlinear_conv(d: Draft) -> None:
    n, channels, size, filters = d.number(1, 2), d.number(1, 2), d.number(1, 3), d.number(1, 2)
    for shape in ((n, channels, size, size), (filters, channels, 1, 1)):
        d.like(shape)
        d.like((), _SCALES)
        d.like(())
    d.like((), _SCALES)
    d.like(())
    if d.flag():
        d.like((filters,))


def string_normalizer(d: Draft) -> None:
    d.any(1, 1, known=True)
    d.attribute("case_change_action", ("NONE", "LOWER", "UPPER"))
    d.attribute("is_case_sensitive", (0, 1))
    if d.flag():
        d.attributes["stopwords"] = ["a", "b"]


def string_split(d: Draft) -> int:
    d.any(known=True)
    d.attribute("delimiter", (" ", "a", ""))
    d.attribute("maxsplit", (1, 2))
    return 2


def tfidf(d: Draft) -> None:
    d.any(1, 2, known=True, among=_WORDS)
    pool = "pool_strings" if d.inputs[0].dtype is string else "pool_int64s"
    words = ["a", "b", "ab", "a"] if pool == "pool_strings" else [1, 2, 0, 1]
    d.attributes.update(
        mode=d.pick(("TF", "IDF", "TFIDF")), min_gram_length=1, max_gram_length=2, max_skip_count=d.number(0, 1)
    )
    d.attributes.update({pool: words, "ngram_counts": [0, 2], "ngram_indexes": [0, 1, 2]})
    d.attribute("weights", ([0.5, 1.0, 2.0],))


# Sequences and optionals


def sequence_construct(d: Draft) -> None:
    shape = d.any().shape
    for _ in range(d.number(0, 2)):
        d.like(shape)


def _sequence(d: Draft) -> TensorType:
    """The next input: a sequence that there is, or a new one; the type of its elements."""
    for tensor in d.scope.sequences():
        kind = tensor.type
        element = kind.element if isinstance(kind, SequenceType) else None
        if isinstance(element, TensorType) and element.shape is not None and d.flag():
            d.give(tensor)
            return element
    tensor = d.anything("SequenceConstruct")
    d.give(op.SequenceConstruct(*[tensor] * d.number(1, 3)))
    return tensor_type(tensor.dtype, tensor.shape)


def sequence_at(d: Draft) -> None:
    _sequence(d)
    d.constant(0)


def sequence_insert(d: Draft) -> None:
    element = _sequence(d)
    d.bound[d.formal.type_str] = element.dtype
    d.like(element.shape or ())
    if d.flag():
        d.constant(d.number(0, 1))


def sequence_erase(d: Draft) -> None:
    _sequence(d)
    if d.flag():
        d.constant(0)


def sequence_length(d: Draft) -> None:
    _sequence(d)


def sequence_empty(d: Draft) -> None:
    d.attribute("dtype", (1, 7, 11))


def split_to_sequence(d: Draft) -> None:
    shape = d.any(low=1, known=True).shape
    size = shape[d.axis(len(shape))]
    if d.flag():
        d.constant(d.number(1, size))
    else:
        d.attribute("keepdims", (0, 1))


def concat_from_sequence(d: Draft) -> None:
    element = _sequence(d)
    rank = len(element.shape or ())
    new = d.attribute("new_axis", (1, 0)) if rank else 1
    if not rank:
        d.attributes["new_axis"] = 1
    d.axis(rank + (new or 0))


def some(d: Draft) -> None:
    d.give(d.anything("Optional"))


def optional(d: Draft) -> None:
    """The next input: an optional that there is, or a new one that holds a tensor or a sequence."""
    for tensor in d.scope.sequences():
        if isinstance(tensor.type, OptionalType) and d.flag():
            d.give(tensor)
            return
    d.give(op.Optional(d.anything("Optional")))


RECIPES: dict[str, Recipe] = {
    "QuantizeLinear": quantize,
    "DequantizeLinear": dequantize,
    "DynamicQuantizeLinear": unary,
    "QLinearMatMul": qlinear_matmul,
    "QLinearConv": qlinear_conv,
    "StringNormalizer": string_normalizer,
    "StringSplit": string_split,
    "TfIdfVectorizer": tfidf,
    "Optional": some,
    "OptionalGetElement": optional,
    "OptionalHasElement": optional,
    "SequenceConstruct": sequence_construct,
    "SequenceAt": sequence_at,
    "SequenceInsert": sequence_insert,
    "SequenceErase": sequence_erase,
    "SequenceLength": sequence_length,
    "SequenceEmpty": sequence_empty,
    "SplitToSequence": split_to_sequence,
    "ConcatFromSequence": concat_from_sequence,
}
