"""A model as graphdsl source: a module that rebuilds it, and that a person can read and change."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SaveError, SourceError
from ..ir import ModelData
from ..loading import load
from ..saving import write_together
from ..sites import at, caller
from .modules import Module
from .vetting import vet


def to_source(model: Any, path: str | os.PathLike[str] | None = None, *, names: bool = False) -> str:
    """Python source that rebuilds a model with this library; in it, the model is called `model`.

    >>> import graphdsl as gd
    >>> @gd.model
    ... def linear(a: gd.float32[3], x: gd.float32[3]):
    ...     return {"y": a * x + 1.0}
    >>> print(gd.to_source(linear))
    import graphdsl as gd
    <BLANKLINE>
    <BLANKLINE>
    @gd.model(opset=21, name="linear")
    def model(a: gd.float32[3], x: gd.float32[3]):
        return {"y": a * x + 1.0}
    <BLANKLINE>

    Args:
        model: A model, a `ModelProto`, the bytes of one, or a path to one.
        path: Where to write the source. Weights of more than 16 elements go into a file `.npz` beside it, which the
            source finds by its own place; without a path they become text, up to 64 KiB in all.
        names: Keep the names of all tensors (`t.named("conv1")`), not only those of inputs, outputs and weights.

    Returns:
        The source, which is also what is written.

    Raises:
        SourceError: something of the model has no form in the language; or the weights are too large for a text.
        SaveError: the files cannot be written; what was there before still is.
        LoadError: it is no model.
    """
    site = caller()
    data = model if isinstance(model, ModelData) else load(model)
    try:
        if not data.graph.outputs:
            raise SourceError("it has no outputs, and a function of the language returns some")
        module = Module(data, named=names, beside=path is not None)
        source = module.text()
        vet(source)
    except SourceError as error:
        raise SourceError(f"model {data.graph.name!r}: {error}" + at(site)) from error
    if path is not None:
        if Path(path).suffix == ".npz":
            raise SaveError(f"{os.fspath(path)!r} would be the file of its own weights; write a path that ends in .py")
        writers: dict[str, Any] = {".py": lambda stream: stream.write(source.encode())}
        if module.arrays:
            arrays: dict[str, Any] = module.arrays
            writers[".npz"] = lambda stream: np.savez(stream, **arrays)
        write_together(path, writers)
    return source
