"""Hints for the rest: scalars, spectra, text, sequences and optionals."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..calls import Call, Hint, axis_of, elementwise


def _scalars(*names: str, numbers: Sequence[Any] | None = None) -> Hint:
    """Scalars, beside a tensor if one comes first: any, or of some numbers."""

    def hint(call: Call) -> None:
        if call.schema.inputs[0].name not in names:
            call.shape()
        for name in names:
            if numbers is None:
                call.form((), name)
            else:
                call.content(name, call.choices.pick(list(numbers)))

    return hint


def _dropout(call: Call) -> None:
    call.shape()
    call.content("ratio", call.choices.pick([0.5, 0.0, 0.1]))
    call.content("training_mode", call.choices.favouring([False, True], 2))
    call.attribute("ratio", lambda: call.choices.pick([0.5, 0.0]))
    call.attribute("seed", lambda: 0)


def _range(call: Call) -> None:
    for name, numbers in (("start", [0, 1]), ("limit", [5, 3]), ("delta", [1, 2])):
        call.content(name, call.choices.pick(numbers))


def _shift(call: Call) -> None:
    elementwise(call)
    call.attribute("direction", lambda: call.choices.pick(["LEFT", "RIGHT"]))


def _constant(call: Call) -> None:
    """A constant has one of several attributes."""
    wanted = [name for name in call.schema.attributes if name in call.wanted]
    call.wanted.intersection_update(wanted[:1] if not call.attributes.keys() & call.schema.attributes.keys() else ())


# Spectra


def _dft(call: Call) -> None:
    choices = call.choices
    one_sided = call.attribute("onesided", lambda: choices.below(2))
    inverse = call.attribute("inverse", lambda: choices.below(2) if not one_sided else 0)
    base = tuple(max(dim, 1) for dim in call.base) or (2,)
    complex_ = inverse or (not one_sided and choices.one_in(2))
    shape = call.shape(0, (*base[:2], 4 + choices.below(3), 2 if complex_ else 1))
    axis = choices.pick(range(max(len(shape) - 1, 1)))
    call.setting("axis", lambda: axis)
    call.content("dft_length", choices.pick([4, 3, 5]))


def _stft(call: Call) -> None:
    choices = call.choices
    call.attribute("onesided", lambda: choices.below(2))
    frame = 2 + choices.below(3)
    window = call.place("window")
    known = call.shapes[window] if window is not None else None
    frame = known[0] if known else frame
    call.shape(0, (1 + choices.below(2), frame + choices.below(5), 1))
    call.content("frame_step", 1 + choices.below(2))
    call.form((frame,), "window")
    call.content("frame_length", frame)


def _mel(call: Call) -> None:
    numbers = {"num_mel_bins": (2, 3), "dft_length": (16,), "sample_rate": (64,)}
    for name, options in numbers.items():
        call.content(name, call.choices.pick(options))
    call.content("lower_edge_hertz", 0.0)
    call.content("upper_edge_hertz", 16.0)


# Text


def _normalizer(call: Call) -> None:
    call.shape(0, (1 + call.choices.below(3),))
    call.attribute("stopwords", lambda: ("a", "b"))
    call.wanted.discard("locale")  # which ones there are, the machine says


def _ngrams(call: Call) -> None:
    choices, dtype = call.choices, call.dtypes[0]
    call.shape(0, (1 + choices.below(4),) if choices.below(2) else (2, 1 + choices.below(3)))
    call.attribute("min_gram_length", lambda: 1)
    call.attribute("max_gram_length", lambda: 2)
    call.attribute("max_skip_count", lambda: choices.below(2))
    call.attribute("ngram_counts", lambda: (0, 2))
    call.attribute("ngram_indexes", lambda: (0, 1, 2))
    call.attribute("weights", lambda: (0.5, 1.0, 2.0))
    text = dtype is not None and dtype.kind == "string"
    for name, words in (("pool_strings", ("a", "b", "a", "b")), ("pool_int64s", (1, 2, 1, 2))):
        if (name == "pool_strings") == text:
            call.attribute(name, lambda words=words: words)  # type: ignore[misc]
        call.wanted.discard(name)


def _regex(call: Call) -> None:
    call.attribute("pattern", lambda: call.choices.pick(["a", "[ab]*", ".+"]))


def _pieces(call: Call) -> None:
    call.attribute("delimiter", lambda: call.choices.pick([" ", "a", ""]))
    call.attribute("maxsplit", lambda: 1 + call.choices.below(2))


def _same(call: Call) -> None:
    """Tensors of one shape."""
    first = next((shape for shape in call.shapes if shape is not None), call.base)
    for index, dtype in enumerate(call.dtypes):
        if dtype is not None:
            call.shape(index, first)


# Sequences and optionals: the shape of one is that of its elements


def _place(call: Call) -> None:
    """A sequence, and a place in it, before a tensor if one comes."""
    shape = call.shape()
    call.form(shape, "tensor")
    call.content("position", call.choices.favouring([0, -1, 1], 4))


def _join(call: Call) -> None:
    rank = len(call.shape(0, call.base or (2,)))
    new = call.attribute("new_axis", lambda: call.choices.below(2))
    call.attribute("axis", lambda: axis_of(call, rank + (new or 0)))


def _pull_apart(call: Call) -> None:
    choices = call.choices
    shape = call.shape(0, tuple(max(dim, 1) for dim in call.base) or (3,))
    axis = call.attribute("axis", lambda: axis_of(call, len(shape))) or 0
    length = shape[axis] if -len(shape) <= axis < len(shape) else 1
    call.attribute("keepdims", lambda: choices.below(2))
    first = choices.below(length + 1)
    call.content("split", choices.pick([np.array(1 + choices.below(max(length, 1))), [first, length - first]]))


def _empty(call: Call) -> None:
    call.attribute("dtype", lambda: call.choices.pick([1, 7, 11]))


HINTS: dict[str, Hint] = {
    "Clip": _scalars("min", "max"),
    **dict.fromkeys(("BlackmanWindow", "HammingWindow", "HannWindow"), _scalars("size", numbers=(4, 1, 3))),
    "Dropout": _dropout,
    "Range": _range,
    "BitShift": _shift,
    "Constant": _constant,
    "DFT": _dft,
    "STFT": _stft,
    "MelWeightMatrix": _mel,
    "StringNormalizer": _normalizer,
    "TfIdfVectorizer": _ngrams,
    "RegexFullMatch": _regex,
    "StringSplit": _pieces,
    **dict.fromkeys(("SequenceConstruct", "SwiGLU"), _same),
    **dict.fromkeys(("SequenceAt", "SequenceErase", "SequenceInsert"), _place),
    "ConcatFromSequence": _join,
    "SplitToSequence": _pull_apart,
    "SequenceEmpty": _empty,
}
