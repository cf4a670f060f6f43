"""graphdsl: a pure-Python language for ONNX graphs."""

from . import op
from .building import build, constant, input, model
from .errors import *  # noqa: F403
from .models import Model
from .op import domain, opset
from .tensor import Tensor
from .types import (
    bfloat16,
    bool,
    complex64,
    complex128,
    double,
    float,
    float4e2m1,
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

__version__ = "0.1.0"
