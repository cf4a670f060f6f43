"""The network of super_resolution.py in torch: SRCNN, for train_srcnn.py, and to compare with."""

import numpy as np
import torch
from super_resolution import MARGIN, WEIGHTS
from torch import Tensor, nn
from torch.nn import functional


class SRCNN(nn.Module):
    """The network of super_resolution.py, in torch: images (n, 3, h, w) from 0 to 1."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 9)
        self.conv2 = nn.Conv2d(64, 32, 1)
        self.conv3 = nn.Conv2d(32, 3, 5)

    def forward(self, image: Tensor, scale: float) -> Tensor:
        return self.sharpen(functional.pad(bicubic(image, scale), [MARGIN] * 4, mode="replicate"))

    def sharpen(self, image: Tensor) -> Tensor:
        """The convolutions alone, which eat MARGIN pixels at each edge."""
        patches = functional.relu(self.conv1(image))
        return self.conv3(functional.relu(self.conv2(patches)))

    @torch.no_grad()
    def enlarge(self, photo: np.ndarray, scale: float) -> np.ndarray:
        """The bytes (h, w, 3) of a picture, `scale` times as large."""
        return to_bytes(self(pixels(photo)[None], scale))

    @classmethod
    def load(cls) -> "SRCNN":
        """The network with the weights that super_resolution.py uses."""
        network = cls()
        with np.load(WEIGHTS) as weights:
            network.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
        return network


def pixels(photo: np.ndarray) -> Tensor:
    """The bytes (h, w, 3) of a picture as floats (3, h, w) from 0 to 1."""
    return torch.tensor(np.asarray(photo)).permute(2, 0, 1) / 255


def to_bytes(image: Tensor) -> np.ndarray:
    """The pixels (1, 3, h, w) from 0 to 1 as the bytes (h, w, 3) of a picture."""
    return (image[0] * 255).round().clip(0, 255).byte().permute(1, 2, 0).numpy()


def bicubic(image: Tensor, scale: float) -> Tensor:
    """Bicubic interpolation; torch computes it with a = -0.75, at the centres of pixels."""
    return functional.interpolate(image, scale_factor=scale, mode="bicubic", align_corners=False)
