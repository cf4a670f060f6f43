"""The super-resolution example: one model for every size and factor, equal to torch's, better than bicubic."""

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
import super_resolution
import torch
import torch_srcnn
import train_srcnn
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio
from super_resolution import HELD_OUT, PHOTOGRAPHS, SCALES, WEIGHTS, enlarge, same_picture, shrink, to_bytes

import graphdsl as gd


def trained() -> dict[str, np.ndarray]:
    with np.load(WEIGHTS) as weights:
        return dict(weights)


@pytest.fixture(scope="module")
def model() -> gd.Model:
    return enlarge(trained())


def photograph(name: str) -> Image.Image:
    return Image.open(PHOTOGRAPHS / name).convert("RGB")


def crop(width: int, height: int) -> np.ndarray:
    """A piece of a photograph with strong edges."""
    return np.asarray(photograph("astronaut.png").crop((180, 60, 180 + width, 60 + height)))


def test_the_network_is_srcnn() -> None:
    weights = trained()
    assert {name: array.shape for name, array in weights.items()} == {
        "conv1.weight": (64, 3, 9, 9),
        "conv1.bias": (64,),
        "conv2.weight": (32, 64, 1, 1),
        "conv2.bias": (32,),
        "conv3.weight": (3, 32, 5, 5),
        "conv3.bias": (3,),
    }
    kinds = [node.op_type for node in enlarge(weights).nodes]
    assert [kind for kind in kinds if kind in ("Resize", "Pad", "Conv", "Relu")] == [
        *("Resize", "Pad", "Conv", "Relu", "Conv", "Relu", "Conv")
    ]


@pytest.mark.parametrize("scale", [1, 2, 2.5, 3, 3.7])
@pytest.mark.parametrize(("width", "height"), [(1, 1), (5, 8), (23, 17)])
def test_one_model_takes_every_size_and_factor(model: gd.Model, width: int, height: int, scale: float) -> None:
    for picture in model(crop(width, height), scale):
        assert picture.dtype == np.uint8
        assert picture.shape == (int(height * scale), int(width * scale), 3)


# Both compute the place of a pixel in float32, off by up to some 4e-6 on a side of 64 pixels, and an edge between black
# and white rises by more than 1 per pixel once sharpened.
PIXEL_TOLERANCE = 2e-5


@pytest.mark.parametrize("scale", SCALES)
def test_torch_computes_the_same_pixels(model: gd.Model, scale: float) -> None:
    photo = crop(64, 49)
    inside = gd.build({name: model[name] for name in ("resized", "sharp")}, inputs=model.inputs)
    resized, sharp = inside(photo, scale)
    twin = torch_srcnn.SRCNN.load()
    image = torch_srcnn.pixels(photo)[None]
    with torch.no_grad():
        np.testing.assert_allclose(resized, torch_srcnn.bicubic(image, scale), rtol=0, atol=PIXEL_TOLERANCE)
        np.testing.assert_allclose(sharp, twin(image, scale), rtol=0, atol=PIXEL_TOLERANCE)
    assert same_picture(model(photo, scale)[1], twin.enlarge(photo, scale))


def test_the_judge_of_pictures_rejects_other_pictures() -> None:
    picture = crop(64, 64)
    one_byte, two_levels, many = picture.copy(), picture.copy(), picture.copy()
    one_byte[10, 10, 0] -= 1
    two_levels[10, 10, 0] -= 2
    many[:10] -= 1
    assert same_picture(picture, picture) and same_picture(picture, one_byte)
    assert not same_picture(picture, two_levels) and not same_picture(picture, many)


def test_the_weights_better_bicubic_on_a_photograph_they_have_not_seen(model: gd.Model) -> None:
    for scale in SCALES:
        original, small = shrink(photograph("chelsea.png"), scale)
        bicubic, enlarged = model(np.asarray(small), scale)
        before = peak_signal_noise_ratio(np.asarray(original), bicubic)
        pillow = small.resize(original.size, Image.Resampling.BICUBIC)
        assert before > peak_signal_noise_ratio(np.asarray(original), np.asarray(pillow))  # no weak opponent
        assert peak_signal_noise_ratio(np.asarray(original), enlarged) > before + 0.25


def test_training_has_not_seen_the_photographs_that_are_measured() -> None:
    assert set(HELD_OUT).isdisjoint(train_srcnn.TRAINING)
    assert train_srcnn.VALIDATION in HELD_OUT
    seen = [np.asarray(photograph(name).resize((16, 16))) for name in train_srcnn.TRAINING]
    for name in HELD_OUT:  # nor under another name
        thumbnail = np.asarray(photograph(name).resize((16, 16)), int)
        assert all(np.abs(thumbnail - other).mean() > 20 for other in seen)


@pytest.mark.parametrize(
    ("scale", "original", "small"),
    [(2, (450, 300), (225, 150)), (2.5, (450, 300), (180, 120)), (3, (450, 300), (150, 100))],
)
def test_a_photograph_is_cropped_to_what_the_factor_divides(
    scale: float, original: tuple[int, int], small: tuple[int, int]
) -> None:
    photo = photograph("chelsea.png")
    assert photo.size == (451, 300)
    assert tuple(picture.size for picture in shrink(photo, scale)) == (original, small)


def test_bytes_are_rounded_and_clipped() -> None:
    levels = np.array([-1e9, -1, -0.5, 0, 0.49, 0.5, 1.5, 2.51, 254.5, 255, 255.49, 256, 1e9], np.float64)
    wanted = [0, 0, 0, 0, 0, 0, 2, 3, 254, 255, 255, 255, 255]
    image = gd.input("image", gd.float64[1, 3, "h", "w"])
    convert = gd.build({"picture": to_bytes(image)})
    rows = np.broadcast_to((levels / 255)[:, None], (1, 3, len(levels), 2))
    np.testing.assert_array_equal(convert(rows), np.broadcast_to(np.array(wanted)[:, None, None], (len(levels), 2, 3)))


def test_plain_colours_stay_up_to_the_edges(model: gd.Model) -> None:
    for colour in itertools.product([0, 128, 255], repeat=3):
        enlarged = model(np.full((5, 4, 3), colour, np.uint8), 2.5)[1]
        assert np.ptp(enlarged, axis=(0, 1)).max() == 0, colour
        assert np.abs(enlarged[0, 0].astype(int) - colour).max() <= 4, colour


def run_main(monkeypatch: pytest.MonkeyPatch, out: Path) -> int:
    """The program on the smallest photograph at one scale."""
    monkeypatch.setattr(sys, "argv", ["super_resolution.py", "--out", str(out)])
    monkeypatch.setattr(super_resolution, "HELD_OUT", ["chelsea.png"])
    monkeypatch.setattr(super_resolution, "SCALES", [2.5])
    return super_resolution.main()


def test_the_program_writes_the_pictures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], model: gd.Model
) -> None:
    assert run_main(monkeypatch, tmp_path) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("chelsea"))
    assert row.split()[:8] == ["chelsea", "2.5", "180", "x", "120", "450", "x", "300"]
    _, small = shrink(photograph("chelsea.png"), 2.5)
    for name, picture in zip(("chelsea_x2.5_bicubic", "chelsea_x2.5"), model(np.asarray(small), 2.5), strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / f"{name}.png")), picture)
    assert (tmp_path / "srcnn.onnx").read_bytes() == model.to_proto().SerializeToString()


def test_the_program_fails_on_weights_that_are_no_better(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    worse = trained()
    worse["conv3.bias"] = worse["conv3.bias"] + np.float32(0.1)
    np.savez(tmp_path / "worse.npz", **worse)
    monkeypatch.setattr(super_resolution, "WEIGHTS", tmp_path / "worse.npz")
    assert run_main(monkeypatch, tmp_path) == 1
    printed = capsys.readouterr().out
    assert "chelsea.png at 2.5: no better than bicubic interpolation" in printed
    assert "chelsea.png at 2.5: torch computes another picture" in printed  # its weights are the trained ones


def test_training_pairs_are_turned_together() -> None:
    torch.manual_seed(1)
    picture = torch.rand(3, 60, 50)
    for _ in range(20):
        patch = train_srcnn.random_patch([torch.cat([picture, picture])])
        torch.testing.assert_close(patch[:3], patch[3:])
        assert patch.shape == (6, train_srcnn.PATCH, train_srcnn.PATCH)


def test_training_starts_closer_to_bicubic_quality_than_torch_would() -> None:
    torch.manual_seed(0)
    network = torch_srcnn.SRCNN()
    before = train_srcnn.gain(network, 2)
    train_srcnn.start_as_identity(network)
    assert before < -20 and -10 < train_srcnn.gain(network, 2) < 0  # dB


def test_training_makes_weights_that_the_example_takes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(train_srcnn, "TRAINING", ["coins.png"])
    monkeypatch.setattr(sys, "argv", ["train_srcnn.py", "--steps", "3", "--out", str(tmp_path / "new.npz")])
    train_srcnn.main()
    with np.load(tmp_path / "new.npz") as weights:
        assert {n: (a.shape, a.dtype) for n, a in weights.items()} == {
            n: (a.shape, a.dtype) for n, a in trained().items()
        }
        enlarge(dict(weights))
