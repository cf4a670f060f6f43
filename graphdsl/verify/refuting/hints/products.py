"""Hints for products: of matrices, of whatever an equation says, and attention."""

from collections.abc import Sequence

from ..calls import Call, Hint, Shape, broadcastable, size


def _factors(call: Call, left: int, right: int) -> None:
    """The shapes of two factors of MatMul, whichever of them is open."""
    choices = call.choices
    one, other = call.shapes[left], call.shapes[right]
    if one is None:
        if other is None:
            one = call.shapes[left] = call.base if len(call.base) >= 1 else (2,)
        else:
            inner = other[-2] if len(other) > 1 else other[0] if other else 1
            one = call.shapes[left] = (
                *other[:-2][: choices.below(3)],
                *([size(choices)] if choices.below(4) else []),
                inner,
            )
    if other is None:
        inner = one[-1] if one else 1
        kind = choices.below(6)
        outer = size(choices)
        batch = one[:-2] if kind in (2, 3) else (outer,) if kind == 4 and choices.one_in(2) else ()
        call.shapes[right] = (
            (inner,) if kind == 5 else (*batch, inner, one[-2] if len(one) > 1 and kind in (0, 2) else outer)
        )


def _matmul(call: Call) -> None:
    _factors(call, 0, 1)
    call.form((), "a_zero_point", "b_zero_point")


def _qlinear_matmul(call: Call) -> None:
    _factors(call, 0, 3)
    right = call.shapes[3] or ()
    if call.choices.one_in(3) and len(right) == 2:  # a scale for each column
        call.form(right[-1:], "b_scale", "b_zero_point")
    for index in range(len(call.shapes)):
        call.shape(index, ())


def _gemm(call: Call) -> None:
    choices = call.choices
    flips = [bool(call.attribute(name, lambda: choices.below(2))) for name in ("transA", "transB")]
    for name in ("alpha", "beta"):
        call.attribute(name, lambda: choices.pick([1.0, 0.5, 2.0, -1.0, 0.0]))
    inner, rows, columns = size(choices), size(choices), size(choices)
    for index, flip in enumerate(flips):
        shape = call.shapes[index]
        if shape is not None and len(shape) == 2:
            one, other = reversed(shape) if flip else shape
            rows, inner, columns = (one, other, columns) if index == 0 else (rows, one, other)
    for index, (flip, plain) in enumerate(zip(flips, ((rows, inner), (inner, columns)), strict=True)):
        call.shape(index, (plain[1], plain[0]) if flip else plain)
    if call.place("C") is not None and call.shapes[2] is None:
        call.shapes[2] = choices.pick([(rows, columns), (columns,), (1, columns), (rows, 1), (), (1,)])


_EQUATIONS = {
    1: ("ij->ji", "ij->i", "ii->i", "ijk->kij", "...i->i..."),
    2: ("ij,jk->ik", "i,j->ij", "bij,bjk->bik", "ij,ij->", "bhid,bhjd->bhij"),
    3: ("ij,jk,kl->il", "i,i,i->i"),
}
"""Equations of as many operands."""


def _einsum(call: Call) -> None:
    count = sum(dtype is not None for dtype in call.dtypes)
    equation = call.attribute("equation", lambda: call.choices.pick(_EQUATIONS.get(count, _EQUATIONS[1])))
    letters: dict[str, int] = {}
    terms = str(equation or "").replace(" ", "").partition("->")[0].replace("...", "").split(",")
    for term, shape in zip(terms, call.shapes, strict=False):
        if shape is not None and len(shape) == len(term):
            letters.update(zip(term, shape, strict=True))
    for term, index in zip(terms, range(len(call.shapes)), strict=False):
        if call.shapes[index] is None:
            call.shapes[index] = tuple(letters.setdefault(letter, size(call.choices)) for letter in term)


def _det(call: Call) -> None:
    base = call.base if len(call.base) > 1 else (2, 2)
    call.shape(0, (*base[:-1], base[-2]))


def _attention(call: Call) -> None:
    choices = call.choices
    known = next((shape for shape in call.shapes[:3] if shape is not None), None)
    flat = len(known) == 3 if known is not None else "q_num_heads" in call.wanted and choices.one_in(2)
    batch, heads, queries, keys, width = (1 + choices.below(2) for _ in range(5))
    if known is not None and known:
        batch = known[0]
    if flat:
        heads = call.attribute("q_num_heads", lambda: heads) or 1
        call.attribute("kv_num_heads", lambda: heads)
        width = known[2] // heads if known is not None else width
        forms: Sequence[Shape] = [(batch, queries, heads * width)] + [(batch, keys, heads * width)] * 2
    else:
        call.wanted -= {"q_num_heads", "kv_num_heads"}
        heads, width = (known[1], known[3]) if known is not None and len(known) == 4 else (heads, width)
        forms = [(batch, heads, queries, width)] + [(batch, heads, keys, width)] * 2
    for index, form in enumerate(forms):
        call.shape(index, form)
    past = 1 + choices.below(2)
    call.form((batch, heads, past, width), "past_key", "past_value")
    total = keys + (past if call.place("past_key") is not None else 0)
    call.form(broadcastable(choices, (batch, heads, queries, total))[-4:], "attn_mask")
    call.form((batch,), "nonpad_kv_seqlen")
    call.attribute("is_causal", lambda: choices.below(2))
    call.attribute("softcap", lambda: choices.pick([0.0, 2.0]))
    call.attribute("scale", lambda: choices.pick([1.0, 0.5]))
    call.wanted -= {"softmax_precision"}  # a dtype that the default depends on
    for name in ("left_window_size", "right_window_size"):
        call.attribute(name, lambda: choices.pick([-1, 1, 0]))


_RULES = {(False, False): "linear", (True, False): "gated", (False, True): "delta", (True, True): "gated_delta"}
"""The update rules of LinearAttention, by whether they take a decay, and a rate."""


def _linear_attention(call: Call) -> None:
    choices = call.choices
    batch, length, heads, shared, keys, values = (1 + choices.below(2) for _ in range(6))
    heads = call.attribute("kv_num_heads", lambda: heads) or 1
    queries = call.attribute("q_num_heads", lambda: heads * shared) or heads
    known = next(((i, shape) for i, shape in enumerate(call.shapes[:3]) if shape is not None and len(shape) == 3), None)
    if known is not None:
        place, (batch, length, size) = known
        keys, values = ((size // queries, values), (size // heads, values), (keys, size // heads))[place]
    call.form((batch, length, queries * keys), "query")
    call.form((batch, length, heads * keys), "key")
    call.form((batch, length, heads * values), "value")
    call.form((batch, heads, keys, values), "past_state")
    call.form((batch, length, choices.pick([heads, heads * keys])), "decay")
    call.form((batch, length, choices.pick([heads, 1])), "beta")
    call.attribute("update_rule", lambda: _RULES[call.place("decay") is not None, call.place("beta") is not None])
    call.attribute("scale", lambda: choices.pick([0.0, 0.5, 1.0]))
    call.attribute("chunk_size", lambda: choices.pick([64, 1]))


def _rotary(call: Call) -> None:
    choices = call.choices
    flat = "num_heads" in call.wanted or call.attributes.get("num_heads")
    batch, heads, length, half = (1 + choices.below(2) for _ in range(4))
    shape = call.shape(0, (batch, length, heads * 2 * half) if flat else (batch, heads, length, 2 * half))
    call.attribute("num_heads", lambda: heads)
    call.attribute("rotary_embedding_dim", lambda: choices.pick([0, 2]))
    call.attribute("interleaved", lambda: choices.below(2))
    if len(shape) not in (3, 4):
        return
    width = shape[-1] if len(shape) == 4 else shape[-1] // (call.attributes.get("num_heads") or 1)
    batch, length = shape[0], shape[-2]
    half = (call.attributes.get("rotary_embedding_dim") or width) // 2
    if call.place("position_ids") is not None:
        call.content("position_ids", [[choices.below(length) for _ in range(length)] for _ in range(batch)])
        call.form((length, half), "cos_cache", "sin_cache")
    else:
        call.form((batch, length, half), "cos_cache", "sin_cache")


HINTS: dict[str, Hint] = {
    **dict.fromkeys(("MatMul", "MatMulInteger"), _matmul),
    "QLinearMatMul": _qlinear_matmul,
    "Gemm": _gemm,
    "Einsum": _einsum,
    "Det": _det,
    "Attention": _attention,
    "LinearAttention": _linear_attention,
    "RotaryEmbedding": _rotary,
}
