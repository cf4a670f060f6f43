"""Train the weights of espcn.py with torch, on photographs that scikit-image's wheel holds.

    pip install "onnx-graphdsl[torch]" scikit-image
    python examples/train_espcn.py

The luma of each photograph is shrunk to a third; the network learns to make the original of that. Writes
examples/data/espcn.npz; that took four minutes on one busy core.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from espcn import SCALE, WEIGHTS, luma
from PIL import Image
from super_resolution import PHOTOGRAPHS, shrink
from torch import Tensor, nn
from torch.nn import functional
from train_srcnn import TRAINING

PATCH, BATCH, LEARNING_RATE = 20, 16, 2e-3
REPORT = 500


class ESPCN(nn.Module):
    """The network of espcn.py, in torch: luma (n, 1, h, w) from 0 to 1, three times as high and wide."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 64, 5, padding=2)
        self.conv2 = nn.Conv2d(64, 64, 3, padding=1)
        self.conv3 = nn.Conv2d(64, 32, 3, padding=1)
        self.conv4 = nn.Conv2d(32, SCALE**2, 3, padding=1)
        self.shuffle = nn.PixelShuffle(SCALE)

    def forward(self, y: Tensor) -> Tensor:
        h = torch.relu(self.conv1(y))
        h = torch.relu(self.conv2(h))
        h = torch.relu(self.conv3(h))
        return self.shuffle(self.conv4(h))

    @classmethod
    def load(cls) -> "ESPCN":
        """The network with the weights that espcn.py uses."""
        network = cls().eval()
        with np.load(WEIGHTS) as weights:
            network.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
        return network


def pairs() -> list[tuple[Tensor, Tensor]]:
    """For each photograph: its luma at a third of the size, and at full size."""
    found = []
    for name in TRAINING:
        original, small = shrink(Image.open(PHOTOGRAPHS / name).convert("RGB"), SCALE)
        found.append((torch.from_numpy(luma(small))[None], torch.from_numpy(luma(original))[None]))
    return found


def random_patch(pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """A square of a pair, turned and mirrored by chance."""
    small, large = pair
    top, left = (int(torch.randint(side - PATCH + 1, ())) for side in small.shape[1:])
    inner = small[:, top : top + PATCH, left : left + PATCH]
    outer = large[:, SCALE * top : SCALE * (top + PATCH), SCALE * left : SCALE * (left + PATCH)]
    turns, mirrored = divmod(int(torch.randint(8, ())), 2)
    both = [torch.rot90(patch, turns, (1, 2)) for patch in (inner, outer)]
    return tuple(patch.flip(2) if mirrored else patch for patch in both)


def train(steps: int, seed: int) -> ESPCN:
    torch.manual_seed(seed)
    known, network = pairs(), ESPCN()
    optimizer = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    total = 0.0
    for step in range(1, steps + 1):
        chosen = [random_patch(known[int(torch.randint(len(known), ()))]) for _ in range(BATCH)]
        small, large = (torch.stack(patches) for patches in zip(*chosen, strict=True))
        loss = functional.mse_loss(network(small), large)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        total += loss.item()
        if step % REPORT == 0:
            print(f"step {step}: loss {total / REPORT:.6f}", flush=True)
            total = 0.0
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=6_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    network = train(arguments.steps, arguments.seed)
    np.savez(arguments.out, **{name: weight.numpy() for name, weight in network.state_dict().items()})
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
