"""P-net: the network that tells fetal nucleated red blood cells; the P is for the patch that it looks at.

Net2 of the paper is P-net: three convolution blocks, each with a ReLU and a max-pooling, a fully connected
head, and the input image brought back to the later blocks ("we combined the data of the input image to
generate more features"). Net1 is the plain network that the paper compares it with: the same without the
input image brought back.

Made for one CPU thread. The first block strides, since a network's time goes into its largest pictures; and
all widths are multiples of 16, without which onnxruntime leaves its blocked layout: 24 channels, or the bare
3 of the input image concatenated, cost 40 % of the patches/s (measured on x86-64 with AVX-512).
"""

from collections.abc import Mapping
from typing import Final, Literal

import torch
from torch import Tensor, nn

NetName = Literal["pnet", "net1"]

WIDTHS: Final = (16, 48, 96)
"""Channels that the three blocks give. With (16, 32, 64), 1.5 times as fast, 821 real cells held back from the training
part were told apart worse: the mean surprise was 0.032 instead of 0.027."""

INPUT_FEATURES: Final = 16
"""Channels that the input image is brought back as."""

HIDDEN: Final = 64
"""Width of the fully connected head."""

DROPOUT: Final = 0.3
"""Share of the head's input left out while training."""

WHITE: Final = 255.0
"""Pixels become absorption, 0 for white to 1 for black, so that the zero padding looks like empty glass."""


class Block(nn.Module):
    """Convolution, batch normalisation, ReLU and max-pooling."""

    def __init__(self, taken: int, given: int, stride: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(taken, given, 3, stride, padding=1, bias=False)
        self.normalisation = nn.BatchNorm2d(given)
        self.pooling = nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        """Halve the picture, twice where the convolution strides: (N, given, H / 2, W / 2)."""
        pooled: Tensor = self.pooling(torch.relu(self.normalisation(self.convolution(x))))
        return pooled


class BroughtBack(nn.Module):
    """Appends features of the input image to those of a block; appends nothing for Net1."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, features, 1) if features else None

    def forward(self, y: Tensor, image: Tensor) -> Tensor:
        """Concatenate (N, C, H, W) with what is made of (N, 3, H, W)."""
        if self.convolution is None:
            return y
        return torch.cat((y, torch.relu(self.convolution(image))), dim=1)


class PNet(nn.Module):
    """P-net (Net2), or Net1 where the input image is not brought back.

    Parameters
    ----------
    classes
        Number of columns of the logits.
    input_features
        Channels that the input image is brought back as; 0 makes it Net1.
    widths
        Channels that the three blocks give.
    """

    def __init__(
        self, classes: int, input_features: int = INPUT_FEATURES, widths: tuple[int, int, int] = WIDTHS
    ) -> None:
        super().__init__()
        first, second, third = widths
        self.block1 = Block(3, first, stride=2)
        self.block2 = Block(first + input_features, second, stride=1)
        self.block3 = Block(second + input_features, third, stride=1)
        self.back2 = BroughtBack(input_features)
        self.back3 = BroughtBack(input_features)
        self.to_30 = nn.AvgPool2d(4)
        self.to_15 = nn.AvgPool2d(2)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(DROPOUT),
            nn.Linear(third * 7 * 7, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, classes),
        )

    @property
    def hidden_features(self) -> int:
        """Width of what ``hidden`` gives."""
        return HIDDEN

    def forward(self, crops: Tensor) -> Tensor:
        """Logits (N, classes) of crops (N, 120, 120, 3) uint8 RGB."""
        return self.decided(self.hidden(crops))

    def decided(self, hidden: Tensor) -> Tensor:
        """Logits (N, classes) of hidden features (N, 64)."""
        logits: Tensor = self.head[-1](hidden)
        return logits

    def hidden(self, crops: Tensor) -> Tensor:
        """Hidden features (N, 64) of crops (N, 120, 120, 3) uint8 RGB."""
        x = (WHITE - crops.to(torch.float32).permute(0, 3, 1, 2)) * (1 / WHITE)  # (N, 3, 120, 120)
        x30 = self.to_30(x)  # (N, 3, 30, 30)
        x15 = self.to_15(x30)  # (N, 3, 15, 15)
        y = self.block1(x)  # (N, 16, 30, 30)
        y = self.block2(self.back2(y, x30))  # (N, 48, 15, 15)
        y = self.block3(self.back3(y, x15))  # (N, 96, 7, 7)
        hidden: Tensor = self.head[:-1](y)  # (N, 64)
        return hidden


class Calibrated(nn.Module):
    """What is exported: crops in, calibrated probabilities out, nothing left to do outside."""

    def __init__(self, network: nn.Module, temperature: float) -> None:
        super().__init__()
        self.network = network
        self.temperature = temperature

    def forward(self, crops: Tensor) -> Tensor:
        """Probabilities (N, classes), each row sums to 1, of crops (N, 120, 120, 3) uint8 RGB."""
        return torch.softmax(self.network(crops) / self.temperature, dim=1)


def build(net: NetName, classes: int, widths: tuple[int, int, int] = WIDTHS) -> PNet:
    """Make an untrained network by its name."""
    return PNet(classes, INPUT_FEATURES if net == "pnet" else 0, widths)


def widths_of(state: Mapping[str, Tensor]) -> tuple[int, int, int]:
    """Read from a network's weights how wide it was, so that older trainings can be exported."""
    first, second, third = (len(state[f"block{block}.convolution.weight"]) for block in (1, 2, 3))
    return first, second, third


def parameters(network: nn.Module) -> int:
    """Count what is trained."""
    return sum(p.numel() for p in network.parameters())
