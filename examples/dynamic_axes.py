"""Dynamic axes: one convolution for every size, and what a fixed size refuses.

    pip install "onnx-graphdsl[run]" scikit-image
    python examples/dynamic_axes.py

A dimension is a number or a name. A name stands for any size, the same wherever it is written; sizes that the network
computes are expressions over names, and every run is held to them.
"""

from pathlib import Path

import numpy as np
import skimage
from PIL import Image

import graphdsl as gd
from graphdsl import op

PHOTOGRAPH = Path(skimage.data_dir) / "coffee.png"
SOBEL = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float32)
KERNELS = np.stack([SOBEL, SOBEL.T])[:, None]


def edges(image):
    """How strong the edges of a grey picture are: (n, 1, h, w) to (n, 1, h - 2, w - 2)."""
    slopes = op.Conv(image, KERNELS)
    return (slopes**2.0).sum(axis=1, keepdims=True) ** 0.5


@gd.model
def of_any_size(image: gd.float32["n", 1, "h", "w"]):
    return edges(image)


@gd.model
def of_one_size(image: gd.float32[1, 1, 96, 128]):
    return edges(image)


def main() -> int:
    print(f"{of_any_size.inputs[0].type} becomes {of_any_size.outputs[0].type}\n")
    photo = Image.open(PHOTOGRAPH).convert("L")
    right = True
    for width, height, batch in ((600, 400, 1), (128, 96, 2), (31, 17, 3), (3, 3, 1)):
        grey = np.asarray(photo.resize((width, height)), np.float32)[None, None] / 255
        found = of_any_size(np.repeat(grey, batch, axis=0))
        windows = np.lib.stride_tricks.sliding_window_view(grey[0, 0], (3, 3))
        slopes = np.einsum("hwij,kij->khw", windows, KERNELS[:, 0])
        expected = np.sqrt((slopes**2).sum(axis=0))
        right &= found.shape == (batch, 1, *expected.shape) and np.allclose(found, expected, rtol=0, atol=1e-5)
        print(f"{batch} of {width} x {height}: {found.shape[-1]} x {found.shape[-2]}, strongest edge {found.max():.2f}")

    two = np.zeros((2, 1, 96, 128), np.float32)
    print("\nThe model of one size, given a batch of two:")
    try:
        of_one_size(two)
        right = False
    except gd.FeedError as refusal:
        print(f"  {str(refusal).splitlines()[0]}")
        right &= "'image'" in str(refusal)
    assert of_any_size(two).shape[0] == 2

    print("\nTwo inputs that share a name must share the size:")
    x, y = gd.input("x", gd.float32["n"]), gd.input("y", gd.float32["n"])
    try:
        gd.build(x + y)(np.zeros(3, np.float32), np.zeros(1, np.float32))
        right = False
    except gd.FeedError as refusal:
        print(f"  {str(refusal).splitlines()[0]}")
    return 0 if right else 1


if __name__ == "__main__":
    raise SystemExit(main())
