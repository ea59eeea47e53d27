"""The centre network: where one nucleated cell is, and how large its nucleus.

A convolution and three stages that halve the picture each time, and two that bring it back to a quarter of its size;
five maps there. Sees densities, so that what glass lets through is 0, and padding looks like glass. At half the size,
where most of the time would go, there is one convolution only.
"""

from typing import Final

import torch
from torch import Tensor, nn

from fnrbc_device.vision.centre_picture import MAPS

WIDTHS: Final = (16, 16, 32, 48)
"""Channels of the stages, at a half, a quarter, an eighth and a sixteenth of the picture. Multiples of 16, without
which onnxruntime leaves its blocked layout."""

HEAD: Final = 32
"""Channels that the maps are read from."""

PRIOR: Final = 0.01
"""Share of the map's pixels that are centres: what the heat begins at."""


class Stage(nn.Module):
    """Two convolutions; the first halves the picture."""

    def __init__(self, taken: int, given: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_convolution(taken, given, 3, 2), *_convolution(given, given, 3, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, taken, H, W) to (N, given, H / 2, W / 2)."""
        halved: Tensor = self.layers(x)
        return halved


class Joining(nn.Module):
    """Brings the coarser stage to the finer one's size and adds the two."""

    def __init__(self, coarse: int, fine: int, given: int) -> None:
        super().__init__()
        self.coarse = nn.Conv2d(coarse, given, 1)
        self.fine = nn.Conv2d(fine, given, 1)
        self.larger = nn.Upsample(scale_factor=2, mode="nearest")
        self.layers = nn.Sequential(*_convolution(given, given, 3, 1))

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """Give (N, given, H, W) of (N, coarse, H / 2, W / 2) and (N, fine, H, W)."""
        joined: Tensor = self.layers(self.larger(self.coarse(coarse)) + self.fine(fine))
        return joined


class CentreNet(nn.Module):
    """Takes densities (N, 3, H, W), sides multiples of 16; gives maps (N, 5, H / 4, W / 4)."""

    def __init__(self) -> None:
        super().__init__()
        second, fourth, eighth, sixteenth = WIDTHS
        self.second = nn.Sequential(*_convolution(3, second, 3, 2))
        self.fourth = Stage(second, fourth)
        self.eighth = Stage(fourth, eighth)
        self.sixteenth = Stage(eighth, sixteenth)
        self.to_eighth = Joining(sixteenth, eighth, eighth)
        self.to_fourth = Joining(eighth, fourth, HEAD)
        self.maps = nn.Conv2d(HEAD, MAPS, 1)
        nn.init.constant_(self.maps.bias, 0.0)  # type: ignore[arg-type]  # there is a bias
        with torch.no_grad():
            self.maps.bias[0] = -float(torch.logit(torch.tensor(1 - PRIOR)))  # type: ignore[index]  # as above

    def forward(self, densities: Tensor) -> Tensor:
        """Maps as logits and as they are; see ``centre_picture.MAPS``."""
        fourth = self.fourth(self.second(densities))
        eighth = self.eighth(fourth)
        eighth = self.to_eighth(self.sixteenth(eighth), eighth)
        maps: Tensor = self.maps(self.to_fourth(eighth, fourth))
        return maps


def _convolution(taken: int, given: int, side: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(taken, given, side, stride, padding=side // 2, bias=False)
    return [convolution, nn.BatchNorm2d(given), nn.ReLU()]
