"""Tensors: the handle (handle.py), the primitive that makes nodes (calling.py) and NumPy's manners on top."""

from .array_functions import ArrayFunctions


class Tensor(ArrayFunctions):
    """A tensor in a graph that is being written. It has NumPy's operators and methods, and no value until it runs."""

    __slots__ = ()


__all__ = ["Tensor"]
