"""ESPCN: the luma of a photograph enlarged by three, recombined with bicubic chroma, in one model with a dynamic batch.

    pip install "onnx-graphdsl[run]" scikit-image
    python examples/espcn.py

ESPCN (Shi et al., 2016) convolves the small picture and turns nine channels into three by three pixels at the end: a
pixel shuffle, which is ONNX's DepthToSpace in its CRD mode. The weights come from train_espcn.py, which never saw the
photographs measured here.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio
from super_resolution import HELD_OUT, PHOTOGRAPHS, shrink

import graphdsl as gd
from graphdsl import op

WEIGHTS = Path(__file__).parent / "data" / "espcn.npz"
SCALE = 3


def upscaled(y, weights):
    """Luma (n, 1, h, w) from 0 to 1, three times as high and wide."""
    w = {name: gd.constant(array, name) for name, array in weights.items()}
    h = y
    for layer, pad in (("conv1", 2), ("conv2", 1), ("conv3", 1)):
        h = op.Relu(op.Conv(h, w[f"{layer}.weight"], w[f"{layer}.bias"], pads=[pad] * 4)).named(layer)
    h = op.Conv(h, w["conv4.weight"], w["conv4.bias"], pads=[1] * 4)
    return op.DepthToSpace(h, blocksize=SCALE, mode="CRD")


@gd.model
def network(weights, y: gd.float32["n", 1, "h", "w"]):
    return upscaled(y, weights)


@gd.model
def enlarge(weights, photos: gd.uint8["n", "h", "w", 3]):
    """Photographs as luma and chroma (ITU-R BT.601), each enlarged in its way, and as bytes again."""
    planes = photos.astype(gd.float32) @ np.float32(TO_YCC).T / 255
    planes = planes.transpose(0, 3, 1, 2)
    sizes = np.float32([1, 1, SCALE, SCALE])
    chroma = op.Resize(
        planes[:, 1:],
        None,
        sizes,
        mode="cubic",
        cubic_coeff_a=-0.5,
        coordinate_transformation_mode="half_pixel",
    )
    together = op.Concat(upscaled(planes[:, :1], weights), chroma, axis=1).transpose(0, 2, 3, 1)
    rgb = together @ np.float32(np.linalg.inv(TO_YCC)).T
    return (rgb * 255).round().clip(0, 255).astype(gd.uint8)


TO_YCC = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])


def luma(photo):
    """The luma of a picture, from 0 to 1."""
    return np.float32(np.asarray(photo) @ TO_YCC[0] / 255)


def side_by_side(*pictures):
    """The middle of several pictures, next to each other."""
    middles = [np.asarray(picture)[40:200, 150:310] for picture in pictures]
    return Image.fromarray(np.concatenate(middles, axis=1))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("espcn"), help="folder for the pictures and the model")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    with np.load(WEIGHTS) as weights:
        model = enlarge(dict(weights))
    model.save(out / "espcn.onnx")
    print(model)

    print(f"\nPSNR in dB of the luma, enlarged by {SCALE}:")
    print(f"{'photograph':<12}{'bicubic':>9}{'ESPCN':>8}{'gain':>8}")
    right = True
    for name in HELD_OUT:
        original, small = shrink(Image.open(PHOTOGRAPHS / name).convert("RGB"), SCALE)
        (large,) = model(np.asarray(small)[None])
        simple = small.resize(original.size, Image.Resampling.BICUBIC)
        before, after = (peak_signal_noise_ratio(luma(original), luma(picture)) for picture in (simple, large))
        right &= after > before
        print(f"{name.partition('.')[0]:<12}{before:>9.2f}{after:>8.2f}{after - before:>+8.2f}")
        side_by_side(simple, large, original).save(out / name)

    batch = np.stack([np.asarray(small)[:40, :50], np.asarray(small)[40:80, :50]])
    alone = np.concatenate([model(photo[None]) for photo in batch])
    right &= np.abs(model(batch).astype(int) - alone).max() <= 1
    print(f"\nA batch of two: {model(batch).shape}. The model is in {out}, with pictures: bicubic, ESPCN, original.")
    return 0 if right else 1


if __name__ == "__main__":
    raise SystemExit(main())
