"""Models from torch modules, by either exporter.

The module is exported in eval mode, every tensor argument gets a tensor of its own, and the model is checked for what
exporters get wrong without a word (`faithfulness.py`).
"""

import inspect
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

from ..errors import ExportError, LoadError
from ..loading import load
from ..models import Model
from ..sites import at, caller
from .calling import Argument, arguments_of, as_call, copied, evaluating, label_of, torch
from .faithfulness import unfaithful


def from_torch(
    module: Any,
    args: Any = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    dynamo: bool = True,
    optimize: bool = True,
    opset: int | None = None,
    check: bool = True,
    **options: Any,
) -> Model:
    """Export a torch module and load the model, for cross-checking; what exporters get wrong silently is an error.

    The module is exported in eval mode, and left in the mode that it was in. No tensor is given to the exporter twice.

    >>> import torch
    >>> from graphdsl import debug
    >>> debug.from_torch(torch.nn.Linear(3, 2), torch.ones(1, 3), dynamo=False)
    <Model 'main_graph'(input: float32[1, 3]), 1 nodes, opset 20>

    Args:
        module: A `torch.nn.Module`, or a scripted one (with `dynamo=False`).
        args: What it is called with: a tuple, or one tensor.
        kwargs: What it is called with by name.
        dynamo: Which of torch's exporters: the one that traces with `torch.export`, or the older TorchScript one.
        optimize: Let the exporter fold constants and fuse operators; without, more modules can be aligned.
        opset: The opset version; by default the exporter's choice.
        check: Compare with torch on inputs of which one at a time is varied. This runs both once for each input.
        options: Handed on to `torch.onnx.export`: `dynamic_shapes`, `input_names` and so on.

    Raises:
        ExportError: the exporter fails, or the model takes an argument for a constant.
        MissingRuntime: torch is not installed.
    """
    site = caller()
    args, kwargs = as_call(args, kwargs)
    arguments = arguments_of(module, args, kwargs)
    with evaluating(module):
        model, branches = _exported(module, args, dict(kwargs), arguments, dynamo, optimize, opset, options, at(site))
        if check:
            problems = unfaithful(module, args, kwargs, arguments, model, branches=branches)
            if problems:
                raise ExportError("\n".join(problems) + at(site))
    return model


def _exported(
    module: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    arguments: Sequence[Argument],
    dynamo: bool,
    optimize: bool,
    opset: int | None,
    options: dict[str, Any],
    where: str,
) -> tuple[Model, bool]:
    """The model, and whether the exporter took a tensor for a Python truth value."""
    scripted = isinstance(module, torch().jit.ScriptModule)
    if scripted and dynamo:
        raise ExportError(
            f"{label_of(module)} is scripted, and only the older exporter takes such modules; "
            "write from_torch(..., dynamo=False)" + where
        )
    if opset is not None:
        options["opset_version"] = opset
    if not dynamo and not scripted:  # the newer exporter names inputs so by itself
        options.setdefault("input_names", [argument.name for argument in arguments])
    options.setdefault("verbose", False)
    if dynamo:
        options.setdefault("optimize", optimize)
    elif not optimize:
        options.setdefault("do_constant_folding", False)
        options.setdefault("training", torch().onnx.TrainingMode.PRESERVE)  # else convolutions take normalisations in
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder, "exported.onnx")
        given, named = copied(args), copied(_in_order(module, kwargs))
        try:
            with _quiet() as warned:
                torch().onnx.export(module, given, str(path), kwargs=named, dynamo=dynamo, **options)
        except Exception as error:
            other = f"; try dynamo={not dynamo}" if not scripted else ""
            said = str(error).strip().partition("\n")[0] or type(error).__name__
            raise ExportError(
                f"torch.onnx.export(..., dynamo={dynamo}) fails on {label_of(module)}: {said}{other}" + where
            ) from error
        try:
            return load(path), any("to a Python boolean" in str(warning.message) for warning in warned)
        except LoadError as error:
            raise ExportError(
                f"torch.onnx.export(..., dynamo={dynamo}) writes an invalid model of {label_of(module)}: "
                f"{str(error).partition(': ')[2]}" + where
            ) from error


def _in_order(module: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments in the order of the parameters, in which the inputs are named."""
    try:
        order = list(inspect.signature(getattr(module, "forward", module)).parameters)
    except ValueError:
        return kwargs
    return {name: kwargs[name] for name in sorted(kwargs, key=lambda n: order.index(n) if n in order else len(order))}


@contextmanager
def _quiet() -> Iterator[list[warnings.WarningMessage]]:
    """Without what the exporters print and log, and with what they warn of in a list: what matters of it is checked, or
    comes as an exception."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        # the older exporter writes the graph on which it fails to the standard output, past Python
        unlogged = patch.object(torch()._C, "_jit_onnx_log", lambda *_: None, create=True)
        with warnings.catch_warnings(record=True) as warned, redirect_stdout(io.StringIO()), unlogged:
            warnings.simplefilter("always")
            yield warned
    finally:
        logger.setLevel(level)
