"""`import graphdsl` loads numpy, ml_dtypes and onnx, with what these need, and nothing heavier."""

import subprocess
import sys

import pytest

import graphdsl

ALLOWED = {"graphdsl", "numpy", "ml_dtypes", "onnx", "google", "typing_extensions"}
"""Beside the standard library; `google.protobuf` and `typing_extensions` are what onnx itself imports."""

_LIST_LOADED = """
import sys
started = set(sys.modules)
{statement}
print(*sorted({{name.partition('.')[0] for name in set(sys.modules) - started}}))
"""


def foreign_packages(statement: str) -> set[str]:
    """The top-level packages that a statement loads in a new interpreter, without those that are allowed."""
    program = _LIST_LOADED.format(statement=statement)
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return {name for name in run.stdout.split() if name not in ALLOWED and name not in sys.stdlib_module_names}


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert foreign_packages("import graphdsl") == set()


def test_debugging_loads_torch_only_when_it_is_used() -> None:
    assert foreign_packages("from graphdsl import debug") == set()


def test_the_check_sees_a_heavy_import() -> None:
    assert "hypothesis" in foreign_packages("import graphdsl, hypothesis")
    assert "onnxruntime" in foreign_packages("import graphdsl, onnxruntime")


def test_tools_are_loaded_on_use() -> None:
    program = """
import sys, graphdsl as gd
parts = [f"graphdsl.{part}" for part in ("passes", "rewriting", "extraction", "source", "verify", "debug")]
print([part in sys.modules for part in parts])
print(gd.extract.__name__, gd.passes.__name__, gd.compose.__name__, "diff" in dir(gd))
print([part in sys.modules for part in parts])
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == [
        "[False, False, False, False, False, False]",
        "extract graphdsl.passes compose True",
        "[True, True, True, False, False, False]",
    ]


def test_a_name_that_the_package_lacks_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'graphdsl' has no attribute 'pases'"):
        _ = graphdsl.pases
