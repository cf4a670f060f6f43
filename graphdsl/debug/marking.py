"""Markers in a torch module: the tensors that pass them, compared by name with those of the exported model."""

import json
import os
import sys
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from types import CodeType, FrameType
from typing import Any

import numpy as np

from .. import op
from ..errors import ExportError, GraphError
from ..extraction import expose
from ..ir import Node
from ..loading import load
from ..models import Model
from ..sites import at, caller
from ..tensor import Tensor
from ..transforming import transform
from .calling import as_array, torch
from .measures import distance, statistics, tolerance
from .reports import Report
from .rows import Row

_METADATA = "graphdsl.debug.markers"
"""The entry of a model's metadata that lists the markers of its outputs, as JSON from output to label."""

_DOMAINS = ("my", "graphdsl")
"""Where the operator Debug of markers lives: what `Debugger.debug` exports, and what `gd.marker` makes."""


class Debugger:
    """Compares tensors of a torch module with those of its exported model, at places marked by name.

    >>> import torch
    >>> from graphdsl import debug
    >>> debugger = debug.Debugger()
    >>> class Net(torch.nn.Module):
    ...     def forward(self, x):
    ...         return debugger.debug(x * 2, "twice") + 1
    >>> net, x = Net(), torch.ones(3)
    >>> model = debugger.extract_debug_model(debug.from_torch(net, x))
    >>> y = net(x)  # torch's side
    >>> debugger.run_debug_model({"x": x}, model)
    <Report 'markers': 1 of 1 rows aligned, no culprit>
    """

    def __init__(self) -> None:
        self._eager: list[tuple[str, np.ndarray]] = []
        self._traced: list[tuple[str, np.ndarray]] = []
        self._exported: dict[str, None] = {}
        self._run: FrameType | None = None
        self._report: Report | None = None

    def debug(self, x: Any, name: str) -> Any:
        """`x` again; the model has a node `my::Debug` with this name there.

        Outside an export, the value is kept for the comparison; the values of the last run of the module count. Several
        markers of one name are told apart by their order: `"x"`, `"x (2)"`.
        """
        api = torch()
        if not isinstance(x, api.Tensor):
            raise ExportError(
                f"debugger.debug({name!r}): a marker takes a tensor, got {type(x).__name__}" + at(caller())
            )
        if api.jit.is_tracing():
            self._record(self._traced, x, name)
            self._exported[name] = None
            return _traced_marker(x, name)
        if api.compiler.is_exporting() or api.onnx.is_in_onnx_export():
            self._exported[name] = None
            return api.onnx.ops.symbolic("my::Debug", (x,), {"name": name}, dtype=x.dtype, shape=x.shape, version=1)
        self._record(self._eager, x, name)
        return x

    def _record(self, log: list[tuple[str, np.ndarray]], x: Any, name: str) -> None:
        run = _outermost_module_call()
        if run is not self._run:  # a new run of the module: what the last one left does not count
            log.clear()
            self._run = run
        with warnings.catch_warnings():  # a trace warns of values that leave it, which is what is wanted here
            warnings.simplefilter("ignore")
            log.append((name, as_array(x)))

    def extract_debug_model(self, model: Any, path: str | os.PathLike[str] | None = None) -> Model:
        """The model with markers as Identity nodes, and what passes them as further outputs.

        Args:
            model: An exported model: a path, a proto or a `gd.Model`.
            path: Where to save the result, if anywhere.

        Raises:
            GraphError: the model has no markers.
        """
        whole = model if isinstance(model, Model) else load(model)
        found: list[tuple[str, Tensor]] = []

        def visit(node: Node, inputs: tuple[Tensor | None, ...]) -> Any:
            if node.op_type != "Debug" or node.domain not in _DOMAINS or inputs[0] is None:
                return None
            passed = op.Identity(inputs[0])
            found.append((_text(node.attributes.get("name", "")), passed))
            return passed

        changed = transform(whole, visit)
        if not found:
            seen = ", ".join(map(repr, self._exported))
            why = f"it was exported with markers {seen}, whose outputs nothing uses" if seen else _HOW
            raise GraphError(f"model {whole.name!r} has no markers (my::Debug nodes); {why}" + at(caller()))
        labels = labelled(name for name, _ in found)
        exposed = expose(changed, *[tensor for _, tensor in found])
        names = {value: name for name, (_, value) in zip(exposed.output_names, exposed.graph.outputs, strict=True)}
        marks = json.dumps({names[tensor._v]: label for (_, tensor), label in zip(found, labels, strict=True)})
        exposed = replace(exposed, metadata={**exposed.metadata, _METADATA: marks})
        if path is not None:
            exposed.save(path)
        return exposed

    def run_debug_model(self, feeds: Mapping[str, Any], model: Any) -> Report:
        """Run a model that `extract_debug_model` made, and compare what passes its markers with torch's values.

        Args:
            feeds: Arrays or torch tensors by input name: what the module was run on.
            model: A path, or the model itself.

        Raises:
            GraphError: the model was not made by `extract_debug_model`, or torch has not run yet.
        """
        whole = model if isinstance(model, Model) else load(model)
        marks = json.loads(whole.metadata.get(_METADATA, "{}"))
        if not marks:
            raise GraphError(
                f"model {whole.name!r} lists no markers; give what debugger.extract_debug_model returns" + at(caller())
            )
        values = self._eager or self._traced
        if not values:
            raise GraphError(
                "torch's side has no values yet, since an export with dynamo=True computes none; call the module once, "
                "outside the export, on the same inputs" + at(caller())
            )
        given = {name: as_array(v) if isinstance(v, torch().Tensor) else v for name, v in feeds.items()}
        got = whole.run(given, outputs=list(marks))
        self._report = _compared(values, {label: (name, got[name]) for name, label in marks.items()}, self._exported)
        return self._report

    @property
    def report(self) -> Report:
        """What the last comparison found, one row for each marker.

        Raises:
            GraphError: nothing was compared yet.
        """
        if self._report is None:
            raise GraphError("nothing was compared yet; call debugger.run_debug_model first" + at(caller()))
        return self._report

    def print_debug_result(self) -> None:
        """Print the report as a table: the largest absolute and relative difference, MSE and cosine by marker."""
        print(self.report)


_HOW = 'export a module that calls x = debugger.debug(x, "name") and uses the result'


def labelled(names: Any) -> list[str]:
    """Names told apart: the second `x` is `x (2)`."""
    seen: Counter[str] = Counter()
    labels = []
    for name in names:
        seen[name] += 1
        labels.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return labels


def _compared(
    values: list[tuple[str, np.ndarray]], got: dict[str, tuple[str, np.ndarray]], exported: Mapping[str, None]
) -> Report:
    rows = []
    expected = dict(zip(labelled(name for name, _ in values), (array for _, array in values), strict=True))
    for label, array in expected.items():
        if label not in got:
            rows.append(Row(label, reason="the exporter dropped the marker: nothing uses what debug(...) returned"))
            continue
        tensor, value = got[label]
        seen = statistics(array)
        rows.append(
            Row(
                label,
                tensor=tensor,
                accumulated=distance(value, array),
                tolerance=tolerance(array.dtype),
                expected=seen,
                got=statistics(value, seen.low, seen.high),
            )
        )
    rows += [Row(label, reason="torch's last run did not pass this marker") for label in got if label not in expected]
    lost = [name for name in exported if name not in expected and name not in got]
    rows += [Row(name, reason="the exporter dropped the marker, and torch's last run did not pass it") for name in lost]
    return Report("markers", tuple(rows))


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _traced_marker(x: Any, name: str) -> Any:
    """A marker as the older exporter takes it: a function whose symbolic form is the operator."""
    api = torch()

    class Marker(api.autograd.Function):  # type: ignore[misc, name-defined]
        @staticmethod
        def forward(context: Any, x: Any) -> Any:
            return x.view_as(x)

        @staticmethod
        def symbolic(graph: Any, x: Any) -> Any:
            return graph.op("my::Debug", x, name_s=name).setType(x.type())

    return Marker.apply(x)


def _outermost_module_call() -> FrameType | None:
    """The frame of the outermost call of a module; where there is none, of whoever calls `debug`."""
    call: CodeType = torch().nn.Module._wrapped_call_impl.__code__
    frame: FrameType | None = sys._getframe(3)
    found = frame
    while frame is not None:
        if frame.f_code is call:
            found = frame
        frame = frame.f_back
    return found
