"""Loop, Scan and SequenceMap for ONNX's reference evaluator, whose own leave the standard; see docs/upstream.md.

ONNX specification, Operators.md: the sections of these operators.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from onnx import helper

Values = Sequence[Any]


@cache
def implementations() -> tuple[type, ...]:
    """The classes that take the place of the evaluator's own."""
    from onnx.reference.op_run import OpRun

    parts = {"op_domain": "", "need_context": lambda self: True}
    return tuple(type(run.__name__, (OpRun,), {**parts, "_run": run}) for run in (Loop, Scan, SequenceMap))


def Loop(self: Any, trips: Any, going: Any, *states: Any, context: Any = None, **given: Any) -> tuple[Any, ...]:
    """Without a condition it goes on; what is collected gets a new first axis."""
    most = None if trips is None else int(np.asarray(trips).item())
    going = True if going is None else bool(going)
    collected: list[Values] = []
    while going and (most is None or len(collected) < most):
        values = [np.array(len(collected), np.int64), np.array(going), *states]
        returned = _turn(self, context, values, given)
        going, states = bool(returned[0]), tuple(returned[1 : len(states) + 1])
        collected.append(returned[len(states) + 1 :])
    outputs = self.body.onnx_graph_.output[len(states) + 1 :]
    return (*states, *[_stacked(arrays, info) for arrays, info in _by_output(collected, outputs)])


def Scan(self: Any, *values: Any, context: Any = None, **given: Any) -> tuple[Any, ...]:
    """Along any axis, in both directions."""
    if self.run_params["opsets"][""] < 9:
        raise NotImplementedError("Scan of opset 8, which goes through batches")
    first = len(values) - self.num_scan_inputs
    states, scanned = values[:first], values[first:]
    axes = self.scan_input_axes or [0] * len(scanned)
    backwards = self.scan_input_directions or [0] * len(scanned)
    ways = [np.flip(array, axis) if back else array for array, axis, back in zip(scanned, axes, backwards, strict=True)]
    collected: list[Values] = []
    for index in range(scanned[0].shape[axes[0]]):
        slices = [np.take(array, index, axis) for array, axis in zip(ways, axes, strict=True)]
        returned = _turn(self, context, [*states, *slices], given)
        states = tuple(returned[:first])
        collected.append(returned[first:])
    outputs = self.body.onnx_graph_.output[first:]
    axes = self.scan_output_axes or [0] * len(outputs)
    backwards = self.scan_output_directions or [0] * len(outputs)
    results = []
    for (arrays, info), axis, back in zip(_by_output(collected, outputs), axes, backwards, strict=True):
        results.append(_stacked(arrays[::-1] if back else arrays, info, axis))
    return (*states, *results)


def SequenceMap(self: Any, *values: Any, context: Any = None, **given: Any) -> tuple[Any, ...]:
    """Bodies see what is around them, and as many sequences as there are."""
    collected = []
    for index in range(len(values[0])):
        elements = [value[index] if isinstance(value, list) else value for value in values]
        collected.append(_turn(self, context, elements, given))
    return tuple([list(arrays) for arrays, _ in _by_output(collected, self.body.onnx_graph_.output)])


def _turn(self: Any, context: Any, values: Values, given: Mapping[str, Any]) -> Values:
    """What the body returns."""
    feeds = {**(context or {}), **dict(zip(self.body.input_names, values, strict=True))}
    returned: Values = self.body.run(None, feeds, attributes=given.get("attributes"))
    return returned


def _by_output(collected: Sequence[Values], outputs: Sequence[Any]) -> list[tuple[Values, Any]]:
    """What the rounds collected of each output, with what the body declares of it."""
    return [([values[index] for values in collected], info) for index, info in enumerate(outputs)]


def _stacked(arrays: Values, info: Any, axis: int = 0) -> np.ndarray:
    """Arrays along a new axis; of none, an empty array of the declared type, unknown sizes being 0."""
    if arrays:
        return np.stack(arrays, axis)
    tensor = info.type.tensor_type
    shape = [dim.dim_value for dim in tensor.shape.dim]
    shape.insert(axis if axis >= 0 else len(shape) + 1 + axis, 0)
    return np.zeros(shape, helper.tensor_dtype_to_np_dtype(tensor.elem_type))
