"""Torch networks of the kinds that people export, with weights of their own, and inputs for them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


class Plain(nn.Module):
    """Convolutions in a row, one activation used twice and one in place."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3, padding=1))
        self.act = nn.ReLU()
        self.flat = nn.Flatten()
        self.fc = nn.Linear(256, 3)

    def forward(self, x: Any) -> Any:
        return self.act(self.fc(self.flat(self.act(self.convs(x)))))


class Block(nn.Module):
    """A residual block."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Any) -> Any:
        return torch.relu(x + self.conv2(torch.relu(self.conv1(x))))


class Residual(nn.Module):
    """Residual blocks, pooling by a function, and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.blocks = nn.ModuleList([Block(4), Block(4)])
        self.drop = nn.Dropout()
        self.head = nn.Linear(4, 5)

    def forward(self, x: Any) -> Any:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.drop(x.mean((2, 3))))


class Normalised(nn.Module):
    """Batch normalisation behind convolutions and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc, self.bn3 = nn.Linear(4, 6), nn.BatchNorm1d(6)

    def forward(self, x: Any) -> Any:
        x = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.sigmoid(self.bn3(self.fc(self.pool(x).flatten(1))))


class Recurrent(nn.Module):
    """Two bidirectional LSTM layers between linear ones."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 8)
        self.lstm = nn.LSTM(8, 6, num_layers=2, bidirectional=True, batch_first=True)
        self.fc = nn.Linear(12, 3)

    def forward(self, x: Any) -> Any:
        y, _ = self.lstm(self.embed(x))
        return self.fc(y[:, -1])


class Transformer(nn.Module):
    """A transformer encoder on tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.fc = nn.Linear(16, 3)

    def forward(self, tokens: Any) -> Any:
        return self.fc(self.encoder(self.embed(tokens)))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Any]]] = {
    "plain": (Plain, lambda: torch.randn(2, 3, 8, 8)),
    "residual": (Residual, lambda: torch.randn(2, 3, 8, 8)),
    "normalised": (Normalised, lambda: torch.randn(2, 3, 8, 8)),
    "recurrent": (Recurrent, lambda: torch.randn(2, 5, 4)),
    "transformer": (Transformer, lambda: torch.randint(0, 20, (2, 7))),
}


def network(name: str, seed: int = 0) -> tuple[nn.Module, Any]:
    """A network in eval mode, with every weight and statistic drawn anew, and an input."""
    torch.manual_seed(seed)
    make, draw = NETWORKS[name]
    net = make().eval()
    with torch.no_grad():
        for tensor in [*net.parameters(), *net.buffers()]:
            if tensor.dtype.is_floating_point:
                tensor += 0.2 * torch.rand_like(tensor)
    return net, draw()


def deep(modules: int, width: int = 16) -> tuple[nn.Module, Any]:
    """Convolutions and activations in turn, so many modules in all, and an input."""
    torch.manual_seed(0)
    parts = [nn.ReLU() if place % 2 else nn.Conv2d(width, width, 3, padding=1) for place in range(modules)]
    return nn.Sequential(*parts).eval(), torch.randn(1, width, 32, 32)
