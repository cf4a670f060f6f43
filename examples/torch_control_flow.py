"""The programs of control_flow.py in torch, exported to ONNX in the three ways that there are."""

import io
import warnings

import torch
from torch import Tensor, nn

import graphdsl as gd


class Repeated(nn.Module):
    """`a = a + b`, n times; traced with an int, it is unrolled."""

    def forward(self, a: Tensor, b: Tensor, n: int) -> Tensor:
        for _ in range(n):
            a = a + b
        return a


class Branched(nn.Module):
    """A branch on the data, which `torch.export` sees through `torch.cond` alone."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cond(x.sum() > 0, lambda x: x * 2, lambda x: x - 1, (x,))


def exported() -> tuple[gd.Model, gd.Model, gd.Model]:
    """The loop traced for three rounds, the loop scripted, and the branch."""
    a, b = torch.ones(2, 2, 3)
    n = torch.tensor(3)
    traced = through_memory(Repeated(), (a, b, 3), dynamo=False)
    scripted = through_memory(torch.jit.script(Repeated()), (a, b, n), dynamo=False)
    size = {0: torch.export.Dim("n")}
    conditional = through_memory(Branched(), (torch.ones(2),), dynamo=True, dynamic_shapes=(size,), verbose=False)
    return traced, scripted, conditional


def through_memory(module, arguments, *, dynamo, **options) -> gd.Model:
    """What `torch.onnx.export` makes of a module, without the warnings that it prints."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            return gd.load(torch.onnx.export(module, arguments, dynamo=True, **options).model_proto)
        file = io.BytesIO()
        torch.onnx.export(module, arguments, file, dynamo=False, **options)
        return gd.load(file.getvalue())
