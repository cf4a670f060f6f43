"""Dimension expressions: their arithmetic against Python's integers, their canonical form, and what is read as one."""

import operator
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import graphdsl as gd
from graphdsl.dims import Dim, as_axis, ceil_div, is_never_negative, maximum, minimum, parse

NAMES = ("n", "m", "h", "batch-size", "lambda", "my dim", "")
FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "%": operator.mod,
    "max": maximum,
    "min": minimum,
    "ceil_div": ceil_div,
}
Tree = Any
"""A number, a name, or `(function, left, right)`."""

LEAVES = st.integers(-7, 7) | st.sampled_from(NAMES[:3])
TREES = st.recursive(LEAVES, lambda inner: st.tuples(st.sampled_from([*FUNCTIONS]), inner, inner), max_leaves=8)
SIZES = st.fixed_dictionaries({name: st.integers(0, 12) for name in NAMES})


def compute(tree: Tree, sizes: dict[str, Any]) -> Any:
    """What a tree comes to, its names replaced by sizes or dimensions."""
    if isinstance(tree, tuple):
        function, left, right = tree
        return FUNCTIONS[function](compute(left, sizes), compute(right, sizes))
    return sizes[tree] if isinstance(tree, str) else tree


def plainly(tree: Tree, sizes: dict[str, int]) -> int:
    """The same by Python's integers alone."""
    if not isinstance(tree, tuple):
        return sizes[tree] if isinstance(tree, str) else tree
    function, left, right = tree
    a, b = plainly(left, sizes), plainly(right, sizes)
    own = {"max": max, "min": min, "ceil_div": lambda a, b: -(-a // b)}
    return int((own.get(function) or FUNCTIONS[function])(a, b))


SYMBOLS = {name: Dim(name) for name in NAMES if name}


def symbolic(tree: Tree) -> Any:
    """A tree as a dimension; None where it cannot be made: a division by 0, or too long an expression."""
    try:
        return compute(tree, SYMBOLS)
    except (ZeroDivisionError, gd.TypeSpecError):
        return None


def value(dim: Any, sizes: dict[str, int]) -> int:
    """What a dimension comes to for sizes of its names."""
    found = dim.substitute(sizes) if isinstance(dim, Dim) else dim
    assert isinstance(found, int)
    return found


@given(TREES, SIZES)
def test_expressions_compute_what_python_computes(tree: Tree, sizes: dict[str, int]) -> None:
    dim = symbolic(tree)
    if dim is None:
        return
    try:
        expected = plainly(tree, sizes)
    except ZeroDivisionError:
        return
    assert value(dim, sizes) == expected


@given(TREES)
def test_the_text_of_an_expression_is_read_back_as_it(tree: Tree) -> None:
    dim = symbolic(tree)
    if isinstance(dim, Dim):
        assert parse(dim.text) == dim and parse(dim.text).text == dim.text  # type: ignore[union-attr]


@given(TREES, SIZES)
def test_the_text_of_an_expression_means_it_in_python(tree: Tree, sizes: dict[str, int]) -> None:
    dim = symbolic(tree)
    if dim is None:
        return
    try:
        expected = value(dim, sizes)
    except ZeroDivisionError:
        return
    assert eval(str(dim), {"max": max, "min": min, **sizes}) == expected


@given(TREES, SIZES)
def test_what_is_never_negative_is_not(tree: Tree, sizes: dict[str, int]) -> None:
    dim = symbolic(tree)
    if dim is None or not is_never_negative(dim):
        return
    try:
        assert value(dim, sizes) >= 0
    except ZeroDivisionError:
        return


@given(TREES, TREES, TREES)
def test_equal_polynomials_have_one_form(a: Tree, b: Tree, c: Tree) -> None:
    x, y, z = map(symbolic, (a, b, c))
    if None in (x, y, z):
        return
    try:
        pairs = [
            (x + y, y + x),
            (x * y, y * x),
            ((x + y) + z, x + (y + z)),
            ((x * y) * z, x * (y * z)),
            (x * (y + z), x * y + x * z),
            (x - x, 0),
            ((x - y) + y, x),
        ]
    except gd.TypeSpecError:  # too long
        return
    for left, right in pairs:
        assert left == right and str(left) == str(right) and hash(left) == hash(right)


@given(TREES, TREES, st.integers(1, 6))
def test_quotients_and_remainders_fit_together(a: Tree, b: Tree, number: int) -> None:
    x, y = symbolic(a), symbolic(b)
    if x is None or y is None or y == 0:
        return
    try:
        assert (x // number) * number + x % number == x
        assert (x * y) // y == x
        assert (x * number + y) // number == x + y // number
        assert "(" in str(x) or "//" in str(x) or (x // number) // 3 == x // (number * 3)
        assert (x * n * m) // (number * n * m) == x // number
    except gd.TypeSpecError:
        return


n, m, h = Dim("n"), Dim("m"), Dim("h")


@pytest.mark.parametrize(
    ("dim", "text"),
    [
        (n + m, "m + n"),
        (m + n - m, "n"),
        (2 * n + n, "3*n"),
        (n * (m + 1), "m*n + n"),
        ((h - 1) // 2 + 1, "(h + 1)//2"),
        ((h - 1) // 4, "(h + 3)//4 - 1"),
        ((h // 2) // 2, "h//4"),
        ((((h + 1) // 2) + 1) // 2, "(h + 3)//4"),
        ((4 * n + 3) // 6, "(2*n + 1)//3"),
        ((3 * n) // 2, "n + n//2"),
        (n * m * h // (n * m), "h"),
        ((n * h + m * h) // (n + m), "h"),
        (n * m * h // (2 * n * m), "h//2"),
        ((n * m) // (-2 * n), "m//2 - m"),
        (n % 2, "n - 2*(n//2)"),
        (-(n // 2), "-(n//2)"),
        (m - n // 2, "m - n//2"),
        (3 - n, "3 - n"),
        (maximum(0, n), "n"),
        (maximum(0, n - 1), "max(0, n - 1)"),
        (minimum(n, n // 2), "n//2"),
        (maximum(n, n + 1, m), "max(m, n + 1)"),
        (maximum(maximum(n, m), 3), "max(3, m, n)"),
        (minimum(n, maximum(n, m)), "n"),
        (maximum(0, maximum(0, n - 1) - 1), "max(0, n - 2)"),
        (maximum(0, 2 * maximum(0, n - 2) - 2), "max(0, 2*n - 6)"),
        (maximum(0, n - minimum(n, 3)), "max(0, n - 3)"),
        (minimum(n, m) // 2, "min(m//2, n//2)"),
        (Dim("batch-size") * 2, "2*'batch-size'"),
        (ceil_div(n, 3), "(n + 2)//3"),
    ],
)
def test_the_canonical_form(dim: Any, text: str) -> None:
    assert str(dim) == text and dim == parse(text)


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("height - 2", Dim("height") - 2),
        ("height-2", Dim("height") - 2),
        ("((h - 1)//2) + 1", (h - 1) // 2 + 1),
        ("floor(n/2)", n // 2),
        ("floor(h/2 - 1/2) + 1", (h - 1) // 2 + 1),
        ("floor(0.5*h)", h // 2),
        ("ceiling(n/2)", (n + 1) // 2),
        ("CeilDiv(n, 2)", (n + 1) // 2),
        ("Max(1, n)", maximum(1, n)),
        ("Min(n, m, 3)", minimum(3, n, m)),
        ("s0*s1", Dim("s0") * Dim("s1")),
        ("s0**2", Dim("s0") * Dim("s0")),
        ("FloorDiv(s0 + 1, 2)", (Dim("s0") + 1) // 2),
        ("Mod(n, 2)", n % 2),
        ("s0//2", Dim("s0") // 2),
        ("2*n/2", n),
        ("-n + 3", 3 - n),
        ("3", 3),
        ("n - n", 0),
    ],
)
def test_what_exporters_write_is_read(text: str, means: Any) -> None:
    assert parse(text) == means


HOSTILE = [
    "",
    " ",
    "-1",
    "n/2",
    "n +",
    "n; m",
    "n # m",
    "n\n+ m",
    "n + 'm'.x",
    "n if m else h",
    "lambda: n",
    "__import__('os')",
    "n.real",
    "f(n)",
    "max()",
    "max(n, key=m)",
    "n//0",
    "n % 0",
    "2.5*n",
    "1e400",
    "1E100",
    "n**9",
    "n**m",
    "True + n",
    "9" * 400,
    "(" * 300 + "n" + ")" * 300,
    "(" * 90 + "n" + ")" * 90 + "//0",
    "n" + "+n.x" * 100,
    "9**8**8**8",
    "((((((9**8)**8)**8)**8)**8)**8)*n",
    "*".join(f"(a{i}+b{i})" for i in range(40)),
    "max(" + ",".join(f"a{i}//2" for i in range(60)) + ")",
    "//".join(f"({c} + 1)" for c in "abcdefghijklmnopqrstuvwxyz") + "//" + "(z//y)" * 30,
    "n" * 100_000,
    "n + " * 100_000 + "n",
    "\u202en",
    "n\x00m",
    "é + ﬁ",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_any_other_text_is_one_name(text: str) -> None:
    dim = parse(text)
    if text == "é + ﬁ":  # Python reads ﬁ as fi
        assert dim == parse("é + fi")
        return
    assert isinstance(dim, Dim) and dim.is_symbol and dim.text == text and dim.symbols == {text}


@given(st.text(max_size=20), st.integers(2, 9))
def test_every_name_survives_in_an_expression(name: str, number: int) -> None:
    dim = parse(name)
    for made in (dim * number, dim + n, (dim + 1) // number):
        assert parse(str(made)) == made


@given(st.text("nm+-*/%() 0123456789.,maxfloor'", max_size=40))
def test_any_text_of_an_expression_s_signs_is_read_as_itself(text: str) -> None:
    dim = parse(text)
    assert parse(str(dim)) == dim


def test_dimensions_compare_with_text_and_numbers() -> None:
    assert n == "n" and n + m == "m + n" and n + m == "n + m" and n != "m"
    assert n != 3 and n - n == 0 and {n: 1}[Dim("n")] == 1
    assert (2, n) == (2, "n")


def test_numpy_integers_are_integers() -> None:
    assert np.int64(3) * n == 3 * n and n - np.int32(1) == n - 1 and as_axis(np.int64(4)) == 4


def test_dimensions_are_pickled_by_their_text() -> None:
    assert pickle.loads(pickle.dumps((h + 1) // 2)) == (h + 1) // 2


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (lambda: n / 2, "the dimension 'n' is divided by //, not by /\n"),
        (lambda: n < 3, "the dimension 'n' has a size only when the model runs, so that no order is known; compare "),
        (lambda: n * 0.5, "the dimension 'n' is computed with in integers, as in n * 3 // 2, got 0.5; for fractions "),
        (lambda: 2.0 - n, "the dimension 'n' is computed with in integers, as in n * 3 // 2, got 2.0; for fractions "),
        (lambda: n**2, "the dimension 'n' has a size only when the model runs, so that it is no Python number"),
        (lambda: range(n), "the dimension 'n' has a size only when the model runs, so that it is no Python number"),
        (lambda: int(n), "the dimension 'n' has a size only when the model runs, so that it is no Python number"),
        (lambda: float(n), "the dimension 'n' has a size only when the model runs, so that it is no Python number"),
        (lambda: np.zeros((n, 3)), "the dimension 'n' has a size only when the model runs, so that it is no Python"),
        (lambda: n + 1 >= 3, "the dimension 'n + 1' has a size only when the model runs"),
    ],
)
def test_what_needs_a_size_now_is_refused(expression: Callable[[], Any], message: str) -> None:
    with pytest.raises(gd.FrozenValueError) as caught:
        expression()
    assert str(caught.value).startswith(message) and "test_dims.py" in str(caught.value)


@pytest.mark.parametrize("other", ["m", None, True, object()])
def test_only_integers_and_dimensions_are_computed_with(other: Any) -> None:
    with pytest.raises(TypeError, match="unsupported operand"):
        n + other


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-1, "a dimension is not negative, got -1; write None for an unknown dimension"),
        (1.5, "a dimension is an int, a name or None, not 1.5 (float)"),
        (" ", "a dimension's name is empty; write None for an unknown dimension"),
    ],
)
def test_what_is_no_dimension_is_refused(value: Any, message: str) -> None:
    with pytest.raises(gd.TypeSpecError) as caught:
        as_axis(value)
    assert str(caught.value) == message


def test_an_expression_does_not_grow_without_end() -> None:
    dim = n + m
    with pytest.raises(gd.TypeSpecError, match="too long an expression; compute with tensors, as in"):
        for name in "abcdefghijklmnopqrstuvwxyz" * 2:
            dim = dim * (Dim(name) + 1)


def test_the_judge_of_computed_values_sees_a_wrong_one() -> None:
    assert value(n // 2, {"n": 5}) == 2 != plainly(("ceil_div", "n", 2), {"n": 5})


def test_an_underscore_between_digits_makes_a_name() -> None:
    assert gd.float32["0_1", "n_0_1"].shape == ("0_1", "n_0_1")
    assert gd.float32["10", "2*n_1"].shape == (10, "2*n_1")
