"""Quantization: a network in fixed point, and in int8 by rules, calibrated on photographs, beside ONNX Runtime's own.

    pip install "onnx-graphdsl[run]" scikit-image
    python examples/quantize.py

Both are rules on convolutions. In power-of-two fixed point a number is an integer of 8 or 16 bits times a power of two;
the network still computes in floats, on numbers that such an integer can hold. For int8, QuantizeLinear and
DequantizeLinear stand around each convolution, which ONNX Runtime then computes in integers.
"""

import argparse
import time
from pathlib import Path

import espcn
import numpy as np
from espcn import SCALE, luma
from onnxruntime.quantization import CalibrationDataReader, quantize_static
from PIL import Image
from super_resolution import HELD_OUT, PHOTOGRAPHS, shrink

import graphdsl as gd
from graphdsl import debug, op

CALIBRATION = ["rocket.jpg", "motorcycle_left.png", "camera.png"]  # photographs that the network was trained on


def fixed_point(reach, bits):
    """How a tensor whose values reach so far from zero is rounded: to multiples of a power of two, `bits` wide."""
    fraction = bits - 1 - int(np.ceil(np.log2(reach)))
    step, most = np.float32(2.0**-fraction), 2 ** (bits - 1)
    return lambda x: (x / step).round().clip(-most, most - 1) * step


def to_fixed_point(reaches, bits):
    """A rule that rounds the input and the weights of each convolution."""

    @gd.rule(lambda x, w, b, **attributes: op.Conv(x, w, b, **attributes))
    def rounded(x, w, b, **attributes):
        weights = fixed_point(np.abs(w.value).max(), bits)(w.value)
        return op.Conv(fixed_point(reaches[x.name], bits)(x), weights, b, **attributes)

    return rounded


def to_int8(reaches):
    """A rule that quantizes each convolution: its input by the calibrated reach, its weights channel by channel."""

    @gd.rule(lambda x, w, b, **attributes: op.Conv(x, w, b, **attributes))
    def quantized(x, w, b, **attributes):
        scale, zero = np.float32(reaches[x.name] / 255), np.uint8(0)  # luma and what Relu makes is never negative
        scales = np.float32(np.abs(w.value).max(axis=(1, 2, 3)) / 127)
        weights = np.int8((w.value / scales[:, None, None, None]).round())
        bias = np.int32((b.value / (scale * scales)).round())
        return op.Conv(
            op.DequantizeLinear(op.QuantizeLinear(x, scale, zero), scale, zero),
            op.DequantizeLinear(weights, scales, np.zeros(len(scales), np.int8), axis=0),
            op.DequantizeLinear(bias, scale * scales, axis=0),
            **attributes,
        )

    return quantized


class Photographs(CalibrationDataReader):
    """The photographs as ONNX Runtime's quantizer wants them."""

    def __init__(self, feeds):
        self._feeds = iter(feeds)

    def get_next(self):
        return next(self._feeds, None)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("quantized"), help="folder for the models")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    with np.load(espcn.WEIGHTS) as weights:
        model = espcn.network(dict(weights))
    feeds = [
        {"y": luma(Image.open(PHOTOGRAPHS / name).convert("RGB").resize((160, 120)))[None, None]}
        for name in CALIBRATION
    ]
    reaches = {"y": 1.0}
    for feed in feeds:
        for name, value in gd.run_intermediates(model, feed):
            reaches[name] = max(reaches.get(name, 0.0), float(np.abs(value).max()))

    float32 = out / "float32.onnx"
    model.save(float32)
    theirs = out / "onnxruntime.onnx"
    quantize_static(float32, theirs, Photographs(feeds), per_channel=True)

    models = {
        "float32": model,
        "fixed point, 16 bits": gd.rewrite(model, to_fixed_point(reaches, 16)).model,
        "fixed point, 8 bits": gd.rewrite(model, to_fixed_point(reaches, 8)).model,
        "int8, by a rule": gd.rewrite(model, to_int8(reaches)).model,
        "int8, by ONNX Runtime": gd.load(theirs),
    }
    pairs = [shrink(Image.open(PHOTOGRAPHS / name).convert("RGB"), SCALE) for name in HELD_OUT]
    truth = [luma(large) for large, _ in pairs]
    bicubic = psnr([luma(small.resize(large.size, Image.Resampling.BICUBIC)) for large, small in pairs], truth)
    print(f"{'model':<24}{'KiB':>6}{'ms':>8}{'PSNR':>8}{'error':>9}\n{'bicubic interpolation':<38}{bicubic:>8.2f}")
    qualities = {}
    for label, candidate in models.items():
        path = out / f"{label.replace(', ', '_').replace(' ', '_')}.onnx"
        candidate.save(path)
        candidate(luma(pairs[0][1])[None, None])  # the first run plans the others
        started = time.perf_counter()
        found = [candidate(luma(small)[None, None])[0, 0].clip(0, 1) for _, small in pairs]
        taken = time.perf_counter() - started
        expected = found if label == "float32" else expected
        error = np.sqrt(np.mean([np.mean((a - b) ** 2) for a, b in zip(found, expected, strict=True)]))
        qualities[label] = psnr(found, truth)
        print(f"{label:<24}{path.stat().st_size / 1024:>6.0f}{1000 * taken:>8.0f}{qualities[label]:>8.2f}{error:>9.5f}")
    print("\nLayer by layer, the error of int8, and what of it each layer makes, of the largest element:")
    for row in debug.compare(model, models["int8, by a rule"], feeds[0]).rows:
        print(f"{row.name:<16}{row.accumulated.relative:>8.4f}{row.local.relative:>8.4f}")
    right = qualities["float32"] > bicubic and min(qualities.values()) > qualities["float32"] - 0.5
    return 0 if right else 1


def psnr(pictures, truth):
    """The peak signal-to-noise ratio in dB over several pictures."""
    return -10 * np.log10(np.mean([np.mean((a - b) ** 2) for a, b in zip(pictures, truth, strict=True)]))


if __name__ == "__main__":
    raise SystemExit(main())
