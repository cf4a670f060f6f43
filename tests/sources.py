"""The law of `gd.to_source`: running the source rebuilds the model, equal up to names and bit-equal in outputs."""

import runpy
import tempfile
import warnings
from pathlib import Path
from typing import Any

import backend
from backend import Case, differences
from equality import unequal

import graphdsl as gd


def rebuilt(model: Any, **options: Any) -> gd.Model:
    """The model that the source of a model makes, written to a folder and run there."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rebuilt.py"
        gd.to_source(model, path, **options)
        found: gd.Model = runpy.run_path(str(path))["model"]
        return found


def judge(case: Case) -> list[str]:
    """What is wrong with the source of a case; whether it runs, and how, is another suite's business."""
    model = gd.load(case.model)
    try:
        other = rebuilt(model)
    except gd.GraphError as error:
        return [f"{type(error).__name__}: {error}"]
    problems = unequal(model, other)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            expected = backend.on_runtime(case.model, case.feeds)
        except Exception:
            return problems
        if backend._draws_numbers(case.model):
            return problems
        try:
            found = backend.on_runtime(other.to_proto(), case.feeds)
        except Exception as error:
            return [*problems, f"the runtime runs the original only: {error}"]
    return problems + differences(expected, found)
