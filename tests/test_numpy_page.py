"""docs/numpy.md: its rows say what NumPy and tensors do, and are evaluated; its lists are those of the code."""

import re
from pathlib import Path
from typing import Any

import kernels
import numpy as np
import pytest
from test_array_functions import every_function
from test_ufuncs import UFUNCS

import graphdsl as gd
from graphdsl.tensor import ufuncs

PAGE = (Path(__file__).parent.parent / "docs" / "numpy.md").read_text(encoding="utf-8")

ARRAYS = {
    "x": np.array([1.5, -2, 0.5], np.float32),
    "d": np.array([1.5, -2, 0.5]),
    "i": np.array([7, -2, 3]),
    "u": np.array([1, 2, 200], np.uint8),
    "b": np.array([True, False, True]),
    "s": np.array(["a", "b", "c"]),
}


def table(text: str, header: str) -> list[list[str]]:
    """The rows of the tables with a header, as cells; what is in backticks keeps them."""
    rows: list[list[str]] = []
    inside = False
    for line in text.splitlines():
        if line.replace(" ", "") == header.replace(" ", ""):
            inside = True
        elif inside and line.startswith("|"):
            cells = re.split(r"(?<!\\)\|", line.strip().strip("|"))
            rows.append([cell.strip().replace("\\|", "|") for cell in cells])
        else:
            inside = False
    return [row for row in rows if not set("".join(row)) <= set("-")]


def quoted(cell: str) -> str:
    """What stands between a cell's first and last backtick."""
    return cell[cell.index("`") + 1 : cell.rindex("`")]


def shown(result: Any) -> str:
    """A result as the page writes it."""
    array = np.asarray(result)
    return f"{array.dtype} {array.tolist()}"


def on_arrays(expression: str) -> str:
    with np.errstate(all="ignore"):
        try:
            return shown(eval(expression, {"np": np} | {name: array.copy() for name, array in ARRAYS.items()}))
        except (TypeError, ValueError) as error:
            return type(error).__name__


def on_tensors(expression: str) -> str:
    """The result when the model runs, or the text of the error."""
    inputs = {name: gd.input(name, gd.constant(array).type) for name, array in ARRAYS.items()}
    try:
        result = eval(expression, {"np": np} | inputs)
    except gd.GraphError as error:
        return str(error)
    used = [name for name in inputs if re.search(rf"\b{name}\b", expression)]
    return shown(gd.build(result, inputs=[inputs[name] for name in used])(*[ARRAYS[name] for name in used]))


ROWS = table(PAGE, "| you write | NumPy | tensors | because |")


def check_row(expression: str, numpy: str, tensors: str) -> None:
    assert on_arrays(quoted(expression)) == quoted(numpy)
    if tensors.startswith("refused"):
        assert quoted(tensors) in on_tensors(quoted(expression))
    else:
        assert on_tensors(quoted(expression)) == quoted(tensors)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_each_row_says_what_happens(row: list[str]) -> None:
    check_row(*row[:3])


def test_the_table_is_found() -> None:
    assert len(ROWS) > 20


@pytest.mark.parametrize(
    ("expression", "numpy", "tensors"),
    [
        ("`x + x`", "`float32 [3.0, -4.0, 2.0]`", "`float32 [3.0, -4.0, 1.0]`"),
        ("`x + x`", "`float32 [3.0, -4.0, 1.0]`", "`float32 [3.0, -4.0, 2.0]`"),
        ("`x + x`", "`float32 [3.0, -4.0, 1.0]`", "refused: `cast`"),
        ("`i / i`", "`float64 [1.0, 1.0, 1.0]`", "refused: `write nothing of the kind`"),
    ],
)
def test_a_row_that_is_wrong_fails(expression: str, numpy: str, tensors: str) -> None:
    with pytest.raises(AssertionError):
        check_row(expression, numpy, tensors)


def test_the_kernels_that_are_missing_are_those_of_kernels_py() -> None:
    said = {
        operator: {getattr(gd, name) for name in dtypes.split()}
        for operators, dtypes in table(PAGE, "| operator | no kernel for |")
        for operator in operators.replace("`", "").split()
    }
    assert said == kernels.MISSING
    assert sorted(kernels.BFLOAT16) == ["Cast", "Identity", "IsInf", "IsNaN", "Sign"]
    assert "bfloat16 has kernels for Cast, Identity, IsInf, IsNaN and Sign only" in " ".join(PAGE.split())


def test_every_ufunc_stands_in_the_list() -> None:
    lists = dict(table(PAGE, "| | ufuncs |"))
    names = {kind: set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]*)`", cell)))) for kind, cell in lists.items()}
    assert names["refused"] & set(UFUNCS) == set(ufuncs._REFUSED)
    functions = {ufunc.__name__ for ufunc in ufuncs._FUNCTIONS}
    listed = (names["one node"] | names["composed"]) & set(UFUNCS)
    short = {"conjugate", "degrees", "radians", "logical_and", "logical_or", "logical_xor", "logical_not"}
    assert functions - listed == short and listed <= functions
    assert {name for name in names["one node"] & set(UFUNCS) if not is_one_node(name)} == set()
    assert {name for name in names["composed"] & set(UFUNCS) if is_one_node(name)} == set()


def is_one_node(name: str) -> bool:
    result = UFUNCS[name](*[gd.input(n, gd.float32[2, 2]) for n in "xy"[: UFUNCS[name].nin]])
    tensors = list(result) if isinstance(result, tuple) else [result]
    return len(gd.build(tensors).nodes) == 1


def test_the_functions_named_are_functions_of_numpy() -> None:
    named = set(re.findall(r"`np\.(\w+)", PAGE)) - {"add", "ndarray", "array", "asarray", *dir(np)}
    assert named == set() and len(every_function()) > 200
