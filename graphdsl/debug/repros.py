"""A repro: the segment where error is made, its inputs, what should come out, and a script to run it."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import GraphError
from ..extraction import extract
from ..ir import Input, Value
from ..runtime import UNOPTIMISED
from ..sites import at, caller
from ..tensor import Tensor
from .segments import Segments

_SCRIPT = '''"""Runs segment.onnx on inputs.npz, and compares its output with expected.npz.

Needs numpy and {package}. Ends with status 1 if the error is above the tolerance.
"""

import sys
from pathlib import Path

import numpy as np
{imports}

NAME = {name}
TOLERANCE = {tolerance!r}  # of the largest element

folder = Path(__file__).parent
with np.load(folder / "inputs.npz") as saved:
    inputs = [saved[key] for key in saved.files]
with np.load(folder / "expected.npz") as saved:
    expected = saved["expected"]
{run}
print("segment that makes", NAME)
if got.shape != expected.shape:
    sys.exit(f"shape {{list(got.shape)}}, expected {{list(expected.shape)}}")
a, b = got.astype(np.float64), expected.astype(np.float64)
alike = (a == b) | (np.isnan(a) & np.isnan(b))
error = float(np.where(alike, 0.0, np.nan_to_num(np.abs(a - b), nan=np.inf)).max(initial=0.0))
largest = float(np.abs(b[np.isfinite(b)]).max(initial=0.0)) or 1.0
print(f"largest difference {{error:.3g}}, of the largest element {{error / largest:.3g}}")
sys.exit(int(error / largest > TOLERANCE))
'''

_RUNTIME = """options = onnxruntime.SessionOptions()
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.{level}
session = onnxruntime.InferenceSession(str(folder / "segment.onnx"), options, providers={providers!r})
names = [info.name for info in session.get_inputs()]
(got,) = session.run(None, dict(zip(names, inputs, strict=True)))"""

_REFERENCE = """session = ReferenceEvaluator(str(folder / "segment.onnx"))
(got,) = session.run(None, dict(zip(session.input_names, inputs, strict=True)))"""


def save_repro(segments: Segments, value: Value, name: str, tolerance: float, folder: str | os.PathLike[str]) -> Path:
    """Write `segment.onnx`, `inputs.npz`, `expected.npz` and `repro.py` to a folder; the path of the script.

    Raises:
        GraphError: an array has a dtype that NumPy's files do not hold, or the segment cannot be cut out.
        SaveError: the model could not be written.
    """
    _, starts = segments.nodes(value)
    arrays = [_array(segments, start) for start in starts]
    expected = segments.expected[value]
    for array in (*arrays, expected):
        if array.dtype.kind == "V" or array.dtype.isbuiltin != 1:
            raise GraphError(
                f"NumPy's files hold no {array.dtype} arrays, so there is no repro of {name!r}" + at(caller())
            )
    part = extract(segments.model, [Tensor(start) for start in starts], [Tensor(value)])
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    part.save(target / "segment.onnx")
    # keys, not names: those of tensors may be paths
    np.savez(target / "inputs.npz", allow_pickle=False, **{f"input_{i}": array for i, array in enumerate(arrays)})
    np.savez(target / "expected.npz", allow_pickle=False, expected=expected)
    script = target / "repro.py"
    script.write_text(_script(segments, name, tolerance), encoding="utf-8")
    return script


def _array(segments: Segments, start: Value) -> np.ndarray:
    found: Any = segments.expected.get(start)
    if found is None:
        assert isinstance(start, Input)
        found = segments.setting.feeds.get(start.name or "", start.default)
    return np.asarray(found)


def _script(segments: Segments, name: str, tolerance: float) -> str:
    providers = segments.setting.providers
    chosen = ["CPUExecutionProvider"] if providers is None else list(providers)
    if chosen == ["reference"]:
        run, imports, package = _REFERENCE, "from onnx.reference import ReferenceEvaluator", "onnx"
    else:
        level = str({**UNOPTIMISED, **(segments.setting.options or {})}["graph_optimization_level"])
        run = _RUNTIME.format(level=level if level.isidentifier() else "ORT_DISABLE_ALL", providers=chosen)
        imports, package = "import onnxruntime", "onnxruntime"
    return _SCRIPT.format(package=package, imports=imports, run=run, name=ascii(name), tolerance=tolerance)
