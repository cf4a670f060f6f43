"""The programs of control_flow.py in torch, exported to ONNX in the three ways that there are."""

import torch
from torch import Tensor, nn

import graphdsl as gd
from graphdsl import debug


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
    traced = debug.from_torch(Repeated(), (a, b, 3), dynamo=False)
    scripted = debug.from_torch(torch.jit.script(Repeated()), (a, b, torch.tensor(3)), dynamo=False)
    size = {0: torch.export.Dim("n")}
    conditional = debug.from_torch(Branched(), (torch.ones(2),), dynamo=True, dynamic_shapes=(size,))
    return traced, scripted, conditional
