"""graphdsl: a pure-Python language for ONNX graphs.

>>> import graphdsl as gd
>>> @gd.model
... def linear_func(a: gd.float32[10, 10], x: gd.float32[10, 10], b: gd.float32[10, 10]):
...     return a * x + b
>>> linear_func
<Model 'linear_func'(a: float32[10, 10], x: float32[10, 10], b: float32[10, 10]), 2 nodes, opset 21>
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from . import op
from .building import build, constant, input, model
from .custom import custom_op
from .dims import Dim
from .errors import (
    BuildError,
    CheckError,
    ExportError,
    FeedError,
    FrozenValueError,
    GraphError,
    IndexingError,
    InferenceError,
    LoadError,
    MissingInputs,
    MissingRuntime,
    NameConflict,
    OpsetError,
    RuleError,
    RunError,
    SaveError,
    ScopeError,
    SignatureError,
    SourceError,
    TypeSpecError,
    UnknownOperator,
    UnsupportedAttribute,
    UnsupportedError,
    WeightError,
)
from .functions import function, marker
from .models import Model
from .op import domain, opset
from .sharpening import strict_shapes
from .tensor import Tensor
from .types import (
    DType,
    MapType,
    OptionalType,
    SequenceType,
    SparseTensorType,
    TensorType,
    Type,
    bfloat16,
    bool,
    complex64,
    complex128,
    double,
    float,
    float4e2m1,
    float6e2m3,
    float6e3m2,
    float8e4m3fn,
    float8e4m3fnuz,
    float8e5m2,
    float8e5m2fnuz,
    float8e8m0,
    float16,
    float32,
    float64,
    int2,
    int4,
    int8,
    int16,
    int32,
    int64,
    map_of,
    optional,
    sequence,
    sparse,
    string,
    uint2,
    uint4,
    uint8,
    uint16,
    uint32,
    uint64,
)

if _TYPE_CHECKING:  # what `_TOOLS` imports later
    from . import passes
    from .checking import check
    from .conversion import convert_opset
    from .differences import Differences, diff
    from .entrances import inline, save
    from .extraction import expose, extract, run_intermediates, split
    from .loading import load
    from .passes.pipeline import compose
    from .renaming import rename
    from .rewriting import Match, RewriteResult, Rule, any_of, find, rewrite, rule
    from .source import to_source
    from .transforming import transform
    from .weights import weights_of, with_weights

__version__ = "0.1.0"

__all__ = [
    "BuildError",
    "CheckError",
    "DType",
    "Differences",
    "Dim",
    "ExportError",
    "FeedError",
    "FrozenValueError",
    "GraphError",
    "IndexingError",
    "InferenceError",
    "LoadError",
    "MapType",
    "Match",
    "MissingInputs",
    "MissingRuntime",
    "Model",
    "NameConflict",
    "OpsetError",
    "OptionalType",
    "RewriteResult",
    "Rule",
    "RuleError",
    "RunError",
    "SaveError",
    "ScopeError",
    "SequenceType",
    "SignatureError",
    "SourceError",
    "SparseTensorType",
    "Tensor",
    "TensorType",
    "Type",
    "TypeSpecError",
    "UnknownOperator",
    "UnsupportedAttribute",
    "UnsupportedError",
    "WeightError",
    "any_of",
    "bfloat16",
    "bool",
    "build",
    "check",
    "complex64",
    "complex128",
    "compose",
    "constant",
    "convert_opset",
    "custom_op",
    "diff",
    "domain",
    "double",
    "expose",
    "extract",
    "find",
    "float",
    "float4e2m1",
    "float6e2m3",
    "float6e3m2",
    "float8e4m3fn",
    "float8e4m3fnuz",
    "float8e5m2",
    "float8e5m2fnuz",
    "float8e8m0",
    "float16",
    "float32",
    "float64",
    "function",
    "inline",
    "input",
    "int2",
    "int4",
    "int8",
    "int16",
    "int32",
    "int64",
    "load",
    "map_of",
    "marker",
    "model",
    "op",
    "opset",
    "optional",
    "passes",
    "rename",
    "rewrite",
    "rule",
    "run_intermediates",
    "save",
    "sequence",
    "sparse",
    "split",
    "strict_shapes",
    "string",
    "to_source",
    "transform",
    "uint2",
    "uint4",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "weights_of",
    "with_weights",
]


_TOOLS = {
    "Differences": ".differences",
    "Match": ".rewriting",
    "RewriteResult": ".rewriting",
    "Rule": ".rewriting",
    "any_of": ".rewriting",
    "check": ".checking",
    "compose": ".passes.pipeline",
    "convert_opset": ".conversion",
    "diff": ".differences",
    "expose": ".extraction",
    "extract": ".extraction",
    "find": ".rewriting",
    "inline": ".entrances",
    "load": ".loading",
    "rename": ".renaming",
    "rewrite": ".rewriting",
    "rule": ".rewriting",
    "run_intermediates": ".extraction",
    "save": ".entrances",
    "split": ".extraction",
    "to_source": ".source",
    "transform": ".transforming",
    "weights_of": ".weights",
    "with_weights": ".weights",
}
"""What is imported when it is first asked for, and from where: who only builds models needs none of it."""


def __getattr__(name: str) -> _Any:
    if name == "passes":
        return _import_module(".passes", __name__)
    if name not in _TOOLS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(_import_module(_TOOLS[name], __name__), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
