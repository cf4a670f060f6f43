"""Sizes that must agree: refused where they never can, and under `gd.strict_shapes` where they are not known to."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import graphdsl as gd
from graphdsl import op


def t(*shape: Any) -> Any:
    """A float32 input of this shape."""
    return gd.input("t", gd.float32[shape])


def i8(*shape: Any) -> Any:
    """An int8 input of this shape."""
    return gd.input("t", gd.int8[shape])


Call = Callable[[], Any]

DOUBTFUL: list[tuple[Call, str]] = [
    (lambda: t("n") + t("m"), "Add: A has size n on axis 0 and B has size m on axis 0"),
    (lambda: t(2, "n") * t("m"), "Mul: A has size n on axis 1 and B has size m on axis 0"),
    (lambda: t("n") - t(5), "Sub: A has size n on axis 0 and B has size 5 on axis 0"),
    (lambda: op.Max(t("n"), t("n"), t("m")), "Max: data_0[0] has size n on axis 0 and data_0[2] has size m on axis 0"),
    (lambda: op.Where(t("n") > 0, t("n"), t("m")), "Where: condition has size n on axis 0 and Y has size m on axis 0"),
    (lambda: t(4, "n") @ t("m", 3), "MatMul: A has size n on axis 1 and B has size m on axis 0"),
    (lambda: t("a", 4, 5) @ t("b", 5, 3), "MatMul: A has size a on axis 0 and B has size b on axis 0"),
    (lambda: t("n") @ t("m"), "MatMul: A has size n on axis 0 and B has size m on axis 0"),
    (lambda: op.Gemm(t("n", 3), t("m", 4), transA=1), "Gemm: A has size n on axis 0 and B has size m on axis 0"),
    (
        lambda: op.MatMulInteger(i8(2, "n"), i8("m", 3)),
        "MatMulInteger: A has size n on axis 1 and B has size m ",
    ),
    (
        lambda: op.Concat(t("n", 2), t("m", 2), axis=1),
        "Concat: inputs[0] has size n on axis 0 and inputs[1] has ",
    ),
]


@pytest.mark.parametrize(("call", "message"), DOUBTFUL)
def test_sizes_not_known_to_agree_are_refused_on_demand(call: Call, message: str) -> None:
    assert None in call().shape or call().shape is not None
    for _ in range(2):  # neither answer is remembered for the other
        with pytest.raises(gd.InferenceError) as caught, gd.strict_shapes():
            call()
        text = str(caught.value)
        assert text.startswith(message)
        assert "; they are not known to be equal, and gd.strict_shapes is in force\n  inputs: " in text
        assert "test_agreement.py" in text
        call()


@pytest.mark.parametrize(
    ("call", "shape"),
    [
        (lambda: t("n") + t("n"), ("n",)),
        (lambda: t("n + 1") + t("1 + n"), ("n + 1",)),
        (lambda: t("n", 3) + t(1, 3), ("n", 3)),
        (lambda: t("n") + t(), ("n",)),
        (lambda: t("n") + t(None), (None,)),
        (lambda: t(4, "n") @ t("n", "m"), (4, "m")),
        (lambda: t(1, 4, "n") @ t("b", "n", 3), ("b", 4, 3)),
        (lambda: op.Concat(t("n", 2), t("m", 2), axis=0), ("m + n", 2)),
        (lambda: gd.opset(6).Add(t("n", 2), t("m"), broadcast=1, axis=0), ("n", 2)),
    ],
)
def test_sizes_that_agree_pass_on_demand_too(call: Call, shape: Any) -> None:
    with gd.strict_shapes():
        assert call().shape == shape


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: t("n + 2") + t("n + 3"),
            "Add: A has size n + 2 on axis 0 and B has size n + 3 on axis 0; they must",
        ),
        (
            lambda: t("n + 5") + t(4),
            "Add: A has size n + 5 on axis 0 and B has size 4 on axis 0; they must be",
        ),
        (
            lambda: t(4, "n") @ t("n + 1", 3),
            "MatMul: A has size n on axis 1 and B has size n + 1 on axis 0; they mu",
        ),
        (
            lambda: op.Concat(t(3, "n"), t(3, "n + 1"), axis=0),
            "Concat: inputs[0] has size n on axis 1 and inputs[1] ",
        ),
        (lambda: op.Conv(t(1, "c", 5, 5), t(4, "c + 1", 3, 3)), "Conv: X has c channels, but W expects c + 1\n"),
        (
            lambda: op.Conv(t(1, 6, 5, 5), t(4, 2, 3, 3), group=2),
            "Conv: X has 6 channels, but W expects 2 in each of 2 groups\n",
        ),
    ],
)
def test_sizes_that_never_agree_are_refused(call: Call, message: str) -> None:
    with pytest.raises(gd.InferenceError) as caught:
        call()
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("call", "shape"),
    [
        (lambda: t("n") + t("n + 1"), (None,)),  # n may be 0 or 1
        (lambda: t("n + 1") + t(4), (4,)),
        (lambda: op.Conv(t(1, "c", 5, 5), t(4, 2, 3, 3), group=2), (1, 4, 3, 3)),
    ],
)
def test_sizes_that_may_agree_pass(call: Call, shape: Any) -> None:
    assert call().shape == shape


def test_strict_shapes_holds_in_its_thread_alone() -> None:
    with gd.strict_shapes(), ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: (t("n") + t("m")).shape).result() == (None,)
    assert (t("n") + t("m")).shape == (None,)
