"""SRCNN three ways: the factor fixed, an integer input, and a tensor of scales; then finished by composition.

    pip install "onnx-graphdsl[torch]" scikit-image
    python examples/srcnn_three_ways.py

Tracing freezes a factor that is a Python number: the exported model has no such input, and says nothing. Written in
the language the factor is an input. What the module should not do, such as clipping and conversion to bytes only while
it is exported, is appended to the exported model instead.
"""

import numpy as np
import torch
from PIL import Image
from super_resolution import MARGIN, PHOTOGRAPHS, to_bytes
from torch import nn
from torch_srcnn import SRCNN, pixels

import graphdsl as gd
from graphdsl import debug, op


def enlarge(image, scales, weights):
    """Bicubic interpolation and three convolutions: pixels (n, 3, h, w) from 0 to 1, by the scales of all four axes."""
    resized = op.Resize(
        image,
        None,
        scales,
        mode="cubic",
        cubic_coeff_a=-0.75,
        coordinate_transformation_mode="pytorch_half_pixel",
    )
    h = op.Pad(resized, [0, 0, MARGIN, MARGIN] * 2, mode="edge")
    for layer in ("conv1", "conv2"):
        h = op.Relu(op.Conv(h, weights[f"{layer}.weight"], weights[f"{layer}.bias"]))
    return op.Conv(h, weights["conv3.weight"], weights["conv3.bias"])


@gd.model
def fixed(weights, image: gd.float32["n", 3, "h", "w"]):
    return enlarge(image, np.float32([1, 1, 3, 3]), weights)


@gd.model
def by_factor(weights, image: gd.float32["n", 3, "h", "w"], factor: gd.int64[()]):
    side = factor.astype(gd.float32).reshape(1)
    return enlarge(image, op.Concat([1, 1], side, side, axis=0), weights)


@gd.model
def by_scales(weights, image: gd.float32["n", 3, "h", "w"], scales: gd.float32[4]):
    return enlarge(image, scales, weights)


class WithFactor(nn.Module):
    """The network as a tutorial would write it: the factor is a tensor, and `.item()` makes a number of it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image, factor):
        return self.network(image, factor.item())


def main() -> int:
    photo = np.asarray(Image.open(PHOTOGRAPHS / "astronaut.png").convert("RGB").crop((180, 60, 244, 108)))
    network = SRCNN.load()
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    image = pixels(photo)[None]
    array = image.numpy()

    right = True
    with torch.no_grad():
        for label, found, scale in (
            ("fixed at 3", fixed(weights)(array), 3),
            ("factor 2, an input", by_factor(weights)(array, 2), 2),
            ("factor 3, an input", by_factor(weights)(array, 3), 3),
            ("scales of 2.5, an input", by_scales(weights)(array, np.float32([1, 1, 2.5, 2.5])), 2.5),
        ):
            error = np.abs(found - network(image, scale).numpy()).max()
            right &= error < 2e-5
            print(f"{label:<26}{found.shape[3]} x {found.shape[2]}, at most {error:.1e} from torch")

    sizes = {"image": {0: "n", 2: "h", 3: "w"}}
    arguments = {"input_names": ["image", "factor"], "dynamic_axes": sizes, "dynamo": False}
    try:
        debug.from_torch(WithFactor(network), (image, torch.tensor(3)), **arguments)
        right = False
    except gd.ExportError as refusal:
        print(f"\nExported from torch with a factor: {str(refusal).splitlines()[0]}")
    export = debug.from_torch(WithFactor(network), (image, torch.tensor(3)), check=False, **arguments)
    names = [value.name for value in export.inputs]
    right &= names == ["image"]
    print(f"Unchecked, the export has the inputs {names}: the factor is frozen.")

    @gd.model(opset=export.opset)
    def finished(photo: gd.uint8["h", "w", 3]):
        return to_bytes(export(photo.astype(gd.float32).transpose(2, 0, 1)[None] / 255))

    picture = finished(photo)
    difference = np.abs(picture.astype(int) - network.enlarge(photo, 3).astype(int)).max()
    right &= difference <= 1
    print(f"With pixels and bytes appended: {finished.inputs[0].type} to {finished.outputs[0].type},")
    print(f"{picture.shape[1]} x {picture.shape[0]} {picture.dtype}, at most {difference} from torch's picture")
    return 0 if right else 1


if __name__ == "__main__":
    raise SystemExit(main())
