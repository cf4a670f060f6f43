"""Train the weights of super_resolution.py with torch, on photographs that scikit-image's wheel holds.

    pip install "onnx-graphdsl[torch]" scikit-image
    python examples/train_srcnn.py

Each photograph is shrunk by every factor and enlarged again by bicubic interpolation; the network learns to make the
original of that. Training took half an hour on one busy core; it writes examples/data/srcnn.npz.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio
from super_resolution import MARGIN, PHOTOGRAPHS, SCALES, WEIGHTS, shrink
from torch import Tensor, nn
from torch.nn import functional
from torch_srcnn import SRCNN, bicubic, pixels, to_bytes

TRAINING = [
    "motorcycle_left.png",
    "motorcycle_right.png",
    "rocket.jpg",
    "camera.png",
    "brick.png",
    "grass.png",
    "gravel.png",
    "coins.png",
]
VALIDATION = "coffee.png"  # chose the settings below; docs/super_resolution.md says what else was seen by then
PATCH = 44
BATCH = 16
LEARNING_RATE = 1e-3
RECOLOURED = 0.25  # of the patches; else colours that the few photographs lack, such as a plain green, would shift
REPORT = 1000


def start_as_identity(network: SRCNN) -> None:
    """Begin with a network that would change nothing but for some noise, which training loses soon."""
    for convolution in network.children():
        noise = 0.01 * torch.randn_like(convolution.weight)
        nn.init.dirac_(convolution.weight).data.add_(noise)
        nn.init.zeros_(convolution.bias)


def training_pairs() -> list[Tensor]:
    """For each photograph and scale: what bicubic interpolation makes of the small copy, and the original (6, h, w)."""
    pairs = []
    for name in TRAINING:
        photo = Image.open(PHOTOGRAPHS / name).convert("RGB")
        for scale in SCALES:
            original, small = map(pixels, shrink(photo, scale))
            pairs.append(torch.cat([bicubic(small[None], scale)[0], original]))
    return pairs


def random_patch(pairs: list[Tensor]) -> Tensor:
    """A square (6, PATCH, PATCH) of one of the pairs, turned and mirrored by chance."""
    pair = pairs[torch.randint(len(pairs), ())]
    top, left = (torch.randint(side - PATCH + 1, ()) for side in pair.shape[1:])
    patch = pair[:, top : top + PATCH, left : left + PATCH]
    turns, mirrored = divmod(int(torch.randint(8, ())), 2)
    patch = torch.rot90(patch, turns, (1, 2))
    if mirrored:
        patch = patch.flip(2)
    return recolour(patch) if torch.rand(()) < RECOLOURED else patch


def recolour(patch: Tensor) -> Tensor:
    """A patch with less contrast, often nearly none, at another brightness or as a negative, in each channel by chance.

    Interpolation commutes with that, so both halves of the patch still belong together.
    """
    contrast = (torch.rand(3, 1, 1) * 2 - 1) ** 3
    level = (torch.rand(3, 1, 1) * 1.2 - 0.1).clamp(0, 1)  # black and white themselves are not rare
    brightness = (1 - contrast.abs()) * level + (-contrast).clamp(min=0)
    return patch * contrast.repeat(2, 1, 1) + brightness.repeat(2, 1, 1)


def gain(network: SRCNN, scale: float) -> float:
    """By how many dB the network betters bicubic interpolation on the validation photograph."""
    original, small = map(np.asarray, shrink(Image.open(PHOTOGRAPHS / VALIDATION).convert("RGB"), scale))
    before = to_bytes(bicubic(pixels(small)[None], scale))
    return peak_signal_noise_ratio(original, network.enlarge(small, scale)) - peak_signal_noise_ratio(original, before)


def train(steps: int, seed: int) -> SRCNN:
    torch.manual_seed(seed)
    pairs = training_pairs()
    network = SRCNN()
    start_as_identity(network)
    optimizer = torch.optim.Adam(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.05)
    started, total = time.monotonic(), 0.0
    for step in range(1, steps + 1):
        batch = torch.stack([random_patch(pairs) for _ in range(BATCH)])
        loss = functional.mse_loss(network.sharpen(batch[:, :3]), batch[:, 3:, MARGIN:-MARGIN, MARGIN:-MARGIN])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()

        total += loss.item()
        if step % REPORT == 0:
            gains = ", ".join(f"{gain(network, scale):+.2f} dB at {scale}" for scale in SCALES)
            seconds = time.monotonic() - started
            print(f"step {step}, {seconds:.0f} s: loss {total / REPORT:.6f}; {VALIDATION}: {gains}", flush=True)
            total = 0.0
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    network = train(arguments.steps, arguments.seed)
    np.savez(arguments.out, **{name: weight.numpy() for name, weight in network.state_dict().items()})
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
