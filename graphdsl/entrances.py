"""Tools that lower layers have for models alone, for whatever `gd.load` takes as well."""

import os

from . import inlining, saving
from .loading import Source, opened
from .models import Model


def inline(model: Model | Source) -> Model:
    """The model with every call of a local function, in bodies and other functions too, replaced by its body.

    >>> import graphdsl as gd
    >>> @gd.function(domain="my")
    ... def my_add(a, b):
    ...     return 2 * a + b
    >>> x = gd.input("x", gd.float32[3])
    >>> [node.op_type for node in gd.inline(gd.build(my_add(x, x))).nodes]
    ['Mul', 'Add']

    Args:
        model: A model, which is not changed, or what `gd.load` takes.

    ONNX specification: IR.md, "Functions".
    """
    return inlining.inline(opened(model))


def save(
    model: Model | Source,
    path: str | os.PathLike[str],
    *,
    locations: bool = False,
    external_data: bool | None = None,
    size_threshold: int = 1024,
) -> None:
    """Write a model to a file, which appears there when it is complete; a long write shows a bar where tqdm is.

    >>> import graphdsl as gd, tempfile
    >>> x = gd.input("x", gd.float32["n"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     gd.save(gd.build({"y": x + 1}), f"{folder}/model.onnx")
    ...     sorted(os.listdir(folder))
    ['model.onnx']

    Args:
        model: A model, or what `gd.load` takes.
        path: The file. One that is there is replaced.
        locations: Keep in each node's metadata where it was written.
        external_data: Whether weights go to the file `<name>.data` beside it; by default only those of a model that
            would be larger than 2 GB.
        size_threshold: Weights of fewer bytes than this stay in the model (ONNX specification, ExternalData.md).

    Raises:
        SaveError: it cannot be written; what was at the path before is still there.
        BuildError: the model has no valid names.
    """
    saving.save(opened(model), path, locations=locations, external_data=external_data, size_threshold=size_threshold)
