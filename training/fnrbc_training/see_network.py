"""The centre network: where one nucleated cell is, and how large its nucleus, and whether it is a platelet after all.

A convolution and three stages that halve the picture each time, and two that bring it back to a quarter of its size;
five maps there. Sees densities, so that what glass lets through is 0, and padding looks like glass. At half the size,
where most of the time would go, there is one convolution only.
"""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from fnrbc_device.vision.centre_picture import MAPS, STRIDE

WIDTHS: Final = (16, 16, 32, 48)
"""Channels of the stages, at a half, a quarter, an eighth and a sixteenth of the picture. Multiples of 16, without
which onnxruntime leaves its blocked layout."""

HEAD: Final = 32
"""Channels that the maps are read from."""

PRIOR: Final = 0.01
"""Share of the map's pixels that are centres: what the heat begins at."""

DOUBTS: Final = 16
"""Channels that doubt is read from; 32 doubt hardly better and cost three times as much."""

NO_DOUBT: Final = -20.0
"""A doubt, as a logit, that takes nothing from any heat."""

SURE_LOGIT: Final = -0.405
"""Of a heat of 0.4, from which on a centre counts by itself."""

MARGIN: Final = 2.0
UNSURE_MARGIN: Final = 5.0
MARGIN_RISE: Final = 4.0
"""What a doubt must exceed to count where the heat is 0.4 or more, and where it is less than 0.24; a ramp between. Of
709 erythroblasts of ``pbc`` one is lost so, none of the 236 held out, for 46 of 71 platelets; by 1.5 and 4.5 four are,
for 50. With 1 throughout eight of 710 painted nuclei are lost."""


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


class Doubts(nn.Module):
    """How likely what looks like a cell is a platelet, by its colour as well: logits, learned when all else is."""

    def __init__(self) -> None:
        super().__init__()
        self.colour = nn.Conv2d(3, DOUBTS, STRIDE, STRIDE, bias=False)
        self.fourth = nn.Conv2d(WIDTHS[1], DOUBTS, 1, bias=False)
        self.head = nn.Conv2d(HEAD, DOUBTS, 1)
        self.mixed = nn.Conv2d(DOUBTS, DOUBTS, 3, padding=1)
        self.doubt = nn.Conv2d(DOUBTS, 1, 3, padding=1)

    def silenced(self) -> "Doubts":
        """The same, in doubt of nothing."""
        nn.init.zeros_(self.doubt.weight)
        nn.init.constant_(self.doubt.bias, NO_DOUBT)  # type: ignore[arg-type]  # there is a bias
        return self

    def forward(self, densities: Tensor, fourth: Tensor, head: Tensor) -> Tensor:
        """Give (N, 1, H / 4, W / 4)."""
        seen = functional.relu(self.colour(densities) + self.fourth(fourth) + self.head(head))
        doubt: Tensor = self.doubt(functional.relu(self.mixed(seen)))
        return doubt


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

        # The last, so that what is drawn at random before stays as it was without it.
        self.doubts = Doubts().silenced()

    def features(self, densities: Tensor) -> tuple[Tensor, Tensor]:
        """What the first stage sees (N, 16, H / 4, W / 4), and what the maps are read from (N, 32, H / 4, W / 4)."""
        fourth = self.fourth(self.second(densities))
        eighth = self.eighth(fourth)
        eighth = self.to_eighth(self.sixteenth(eighth), eighth)
        return fourth, self.to_fourth(eighth, fourth)

    def undoubted(self, densities: Tensor) -> Tensor:
        """The maps before anything is doubted."""
        maps: Tensor = self.maps(self.features(densities)[1])
        return maps

    def forward(self, densities: Tensor) -> Tensor:
        """Maps as logits and as they are; see ``centre_picture.MAPS``.

        The heat's odds are those of a cell, times those that it is no platelet.
        """
        fourth, head = self.features(densities)
        maps = self.maps(head)
        heat = maps[:, :1]
        margin = (MARGIN + MARGIN_RISE * (SURE_LOGIT - heat)).clamp(MARGIN, UNSURE_MARGIN)
        heat = heat - functional.softplus(self.doubts(densities, fourth, head) - margin)
        return torch.cat([heat, maps[:, 1:]], 1)


def _convolution(taken: int, given: int, side: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(taken, given, side, stride, padding=side // 2, bias=False)
    return [convolution, nn.BatchNorm2d(given), nn.ReLU()]
