"""Super-resolution: photographs enlarged by any factor, by a network written in graphdsl.

    pip install "onnx-graphdsl[run]" scikit-image
    python examples/super_resolution.py

SRCNN (Dong et al., 2014) enlarges a picture with bicubic interpolation and sharpens the result with three convolutions.
One model does all of it, from the bytes of a photograph to the bytes of the larger one, and takes the factor when it
runs. The weights come from train_srcnn.py, which never saw the photographs measured here.
"""

import argparse
import importlib.util
from fractions import Fraction
from pathlib import Path

import numpy as np
import skimage
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

import graphdsl as gd
from graphdsl import op

WEIGHTS = Path(__file__).parent / "data" / "srcnn.npz"
PHOTOGRAPHS = Path(skimage.data_dir)  # scikit-image's wheel holds them
HELD_OUT = ["astronaut.png", "chelsea.png", "coffee.png"]
SCALES = [2, 2.5, 3]
MARGIN = 6  # pixels that the 9 x 9 and the 5 x 5 convolution eat at each edge


@gd.model
def enlarge(weights, photo: gd.uint8["h", "w", 3], scale: gd.float32[()]):
    """The photograph `scale` times as large, by bicubic interpolation and by SRCNN."""
    w = {name: gd.constant(array, name) for name, array in weights.items()}

    image = photo.astype(gd.float32).transpose(2, 0, 1)[None] / 255
    sides = scale.reshape(1)
    scales = op.Concat([1, 1], sides, sides, axis=0)
    resized = op.Resize(
        image,
        None,
        scales,
        mode="cubic",
        cubic_coeff_a=-0.75,
        coordinate_transformation_mode="pytorch_half_pixel",
    ).named("resized")
    padded = op.Pad(resized, [0, 0, MARGIN, MARGIN] * 2, mode="edge")
    patches = op.Relu(op.Conv(padded, w["conv1.weight"], w["conv1.bias"]))
    mapped = op.Relu(op.Conv(patches, w["conv2.weight"], w["conv2.bias"]))
    sharp = op.Conv(mapped, w["conv3.weight"], w["conv3.bias"]).named("sharp")
    return {"bicubic": to_bytes(resized), "enlarged": to_bytes(sharp)}


def to_bytes(image):
    """The pixels (1, 3, h, w) from 0 to 1 as the bytes (h, w, 3) of a picture; what lies outside is clipped."""
    return (image[0].transpose(1, 2, 0) * 255).round().clip(0, 255).astype(gd.uint8)


def shrink(photo, scale):
    """A photograph cropped to a size that `scale` divides, and its copy `scale` times as small.

    Pillow's bicubic filter, which averages over the pixels that become one; training uses the same.
    """
    unit = Fraction(scale).numerator  # at 2.5, five pixels become two
    width, height = (side // unit * unit for side in photo.size)
    original = photo.crop((0, 0, width, height))
    return original, original.resize((round(width / scale), round(height / scale)), Image.Resampling.BICUBIC)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--out", type=Path, default=Path("super_resolution"), help="folder for the pictures and the model"
    )
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    with np.load(WEIGHTS) as weights:
        model = enlarge(dict(weights))
    model.save(out / "srcnn.onnx")
    print(model)

    twin = None
    if importlib.util.find_spec("torch"):
        from torch_srcnn import SRCNN

        twin = SRCNN.load()

    print("\nPSNR in dB on photographs that the network was not trained on, shrunk and enlarged again:")
    print(f"{'photograph':<12}{'scale':>7}{'from':>11}{'to':>11}{'bicubic':>10}{'SRCNN':>8}{'gain':>8}")
    failures = []
    for name in HELD_OUT:
        photo = Image.open(PHOTOGRAPHS / name).convert("RGB")
        for scale in SCALES:
            original, small = map(np.asarray, shrink(photo, scale))
            bicubic, enlarged = model(small, scale)

            before, after = (peak_signal_noise_ratio(original, picture) for picture in (bicubic, enlarged))
            sizes = "".join(f"{f'{width} x {height}':>11}" for height, width, _ in (small.shape, enlarged.shape))
            stem = name.partition(".")[0]
            print(f"{stem:<12}{scale:>7}{sizes}{before:>10.2f}{after:>8.2f}{after - before:>+8.2f}")
            if after <= before:
                failures.append(f"{name} at {scale}: no better than bicubic interpolation")
            if twin and not same_picture(enlarged, twin.enlarge(small, scale)):
                failures.append(f"{name} at {scale}: torch computes another picture")

            Image.fromarray(bicubic).save(out / f"{stem}_x{scale}_bicubic.png")
            Image.fromarray(enlarged).save(out / f"{stem}_x{scale}.png")

    print(f"\nThe pictures and the model are in {out}.")
    verdict = "torch computes the same pictures." if twin else "torch is not installed, so it was not compared."
    print("\n".join(failures) or verdict)
    return 1 if failures else 0


def same_picture(a, b):
    """Whether two pictures are equal, but for the rare byte that two orders of summation round differently."""
    difference = np.abs(a.astype(int) - b.astype(int))
    return difference.max() <= 1 and np.mean(difference) < 1e-3


if __name__ == "__main__":
    raise SystemExit(main())
