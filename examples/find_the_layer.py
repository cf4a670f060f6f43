"""Find the layer where an exported model parts from torch: not where the error shows, but where it is made.

    pip install "onnx-graphdsl[torch,report]"
    python examples/find_the_layer.py

A residual network is exported, and one weight of the export is spoiled, as a faulty converter might. Every tensor after
it is then wrong, so the first tensor over a tolerance says little: each part is run on torch's own tensors instead.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import nn

import graphdsl as gd
from graphdsl import debug


class Block(nn.Module):
    """Two convolutions, and the input added to what they make."""

    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return torch.relu(x + self.conv2(torch.relu(self.norm(self.conv1(x)))))


class Network(nn.Module):
    """A stem, four blocks and a classifier."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.Sequential(*[Block(8) for _ in range(4)])
        self.classifier = nn.Linear(8, 10)

    def forward(self, image):
        return self.classifier(self.blocks(self.stem(image)).mean((2, 3)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("alignment"), help="folder for the reports and the repro")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    torch.manual_seed(0)
    network, image = Network().eval(), torch.randn(1, 3, 16, 16)
    exported = debug.from_torch(network, (image,), optimize=False)
    clean = debug.align(network, (image,), model=exported)
    print(f"The export as it came: culprit {clean.culprit}\n")

    name = "blocks.2.conv1.weight"
    spoiled = gd.with_weights(exported, {name: gd.weights_of(exported)[name] * np.float32(1.01)})
    report = debug.align(network, (image,), model=spoiled)
    print(f"With {name} scaled by 1.01:\n{report}\n")
    culprit = report.culprit
    print(f"Error is made in {culprit.module}, which makes {culprit.tensor!r}")
    report.save_repro(out / "repro")
    report.plot(out / "errors.png")
    report.save_html(out / "report.html")
    print(
        f"In {out}: errors.png, report.html, and in repro a script with the part, its input and what torch makes of it"
    )
    return 0 if clean.culprit is None and culprit.module == "blocks.2.conv1" else 1


if __name__ == "__main__":
    raise SystemExit(main())
