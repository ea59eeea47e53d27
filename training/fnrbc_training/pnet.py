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
from torch.nn import functional

NetName = Literal["pnet", "net1"]

Normalisation = Literal["none", "group", "batch"]
"""``none``: the weights are standardised while training, and nothing is normalised afterwards. ``batch`` carries the
styles that it was trained on, in its running means [1]_.

.. [1] Y. Li et al., "Adaptive batch normalization for practical domain adaptation", Pattern Recognition 80, 2018,
   109-117, doi:10.1016/j.patcog.2018.03.005: the statistics hold what is special to a domain."""

GROUPS: Final = 4
"""Of group normalisation, in every block."""

RELU_GAIN: Final = 1.7139
"""Brings what a ReLU leaves of a standard normal variable back to variance 1."""

WIDTHS: Final = (16, 64, 128)
"""Channels that the three blocks give. With (16, 48, 96), 1.4 times as fast, networks that learned from a third of the
training part told the rest of it apart worse: the area was .992 and .994 by two seeds, with these .994 and .995, and of
225 leukocytes of a second laboratory 138 and 124 of a thousand passed instead of 111 and 58."""

LAST: Final = 160
"""Channels of the last convolution, whose mean and maximum over the picture the head sees. Where a feature stands is
left out: a cell is the same wherever its parts lie, and 301 thousand weights of a head that saw places are not there
to learn a laboratory by."""

INPUT_FEATURES: Final = 16
"""Channels that the input image is brought back as."""

HIDDEN: Final = 64
"""Width of the fully connected head."""

DROPOUT: Final = 0.2
"""Share of the head's input left out while training."""

WHITE: Final = 255.0
"""Pixels become absorption, 0 for white to 1 for black, so that the zero padding looks like empty glass."""


class StandardisedConvolution(nn.Conv2d):
    """A convolution whose filters have mean 0 and one length while they are trained [1]_.

    It keeps the activations' size in bounds without looking at any batch or picture, and costs nothing afterwards:
    ``settle`` makes the filters what they are used as.

    References
    ----------
    .. [1] A. Brock et al., "Characterizing signal propagation to close the performance gap in unnormalized ResNets",
       ICLR 2021, arXiv:2101.08692.
    """

    def __init__(self, taken: int, given: int, stride: int) -> None:
        super().__init__(taken, given, 3, stride, padding=1)
        self.gain = nn.Parameter(torch.ones(given, 1, 1, 1))
        nn.init.zeros_(self.bias if self.bias is not None else torch.empty(0))

    def standardised(self) -> Tensor:
        """The filters as they are used: (given, taken, 3, 3)."""
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True, unbiased=False)
        inputs = self.weight[0].numel()
        used: Tensor = (self.weight - mean) * torch.rsqrt(variance * inputs + 1e-6) * (self.gain * RELU_GAIN)
        return used

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (N, taken, H, W)."""
        return functional.conv2d(x, self.standardised(), self.bias, self.stride, padding=1)


class Block(nn.Module):
    """Convolution, normalisation where there is one, ReLU and max-pooling."""

    def __init__(
        self, taken: int, given: int, stride: int, normalisation: Normalisation, pooling: bool = True
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(taken, given, 3, stride, padding=1, bias=normalisation == "none")
        self.normalisation: nn.Module = nn.Identity()
        if normalisation == "batch":
            self.normalisation = nn.BatchNorm2d(given)
        elif normalisation == "group":
            self.normalisation = nn.GroupNorm(GROUPS, given)
        self.pooling: nn.Module = nn.MaxPool2d(2) if pooling else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Halve the picture where it pools and once more where the convolution strides: (N, given, H / 2, W / 2)."""
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


class MeanAndMaximum(nn.Module):
    """What a picture's features are on the whole: (N, 2 C, 1, 1) of (N, C, 7, 7)."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.AvgPool2d(7)
        self.maximum = nn.MaxPool2d(7)

    def forward(self, y: Tensor) -> Tensor:
        """Concatenate the two."""
        return torch.cat((self.mean(y), self.maximum(y)), dim=1)


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
    normalisation
        Within the blocks.
    pooled
        The head sees a last convolution's mean and maximum; else, as in networks of fnrbc 0.1, every place.
    """

    def __init__(
        self,
        classes: int,
        input_features: int = INPUT_FEATURES,
        widths: tuple[int, int, int] = WIDTHS,
        normalisation: Normalisation = "none",
        pooled: bool = True,
    ) -> None:
        super().__init__()
        first, second, third = widths
        self.block1 = Block(3, first, stride=2, normalisation=normalisation)
        self.block2 = Block(first + input_features, second, stride=1, normalisation=normalisation)
        self.block3 = Block(second + input_features, third, stride=1, normalisation=normalisation)
        self.block4 = Block(third, LAST, stride=1, normalisation=normalisation, pooling=False) if pooled else None
        self.back2 = BroughtBack(input_features)
        self.back3 = BroughtBack(input_features)
        self.to_30 = nn.AvgPool2d(4)
        self.to_15 = nn.AvgPool2d(2)
        self.to_one = MeanAndMaximum()
        seen = 2 * LAST if pooled else third * 7 * 7
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(DROPOUT),
            nn.Linear(seen, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, classes),
        )

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks, in the order of the data."""
        return (self.block1, self.block2, self.block3) + (() if self.block4 is None else (self.block4,))

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
        if self.block4 is not None:
            y = self.to_one(self.block4(y))  # (N, 320, 1, 1)
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


def build(
    net: NetName,
    classes: int,
    widths: tuple[int, int, int] = WIDTHS,
    normalisation: Normalisation = "none",
    pooled: bool = True,
) -> PNet:
    """Make an untrained network by its name."""
    return PNet(classes, INPUT_FEATURES if net == "pnet" else 0, widths, normalisation, pooled)


def standardise(network: PNet) -> None:
    """Make a network without normalisation ready to be trained: its blocks' filters standardised."""
    for block in network.blocks:
        plain = block.convolution
        if plain.bias is not None:
            block.convolution = StandardisedConvolution(plain.in_channels, plain.out_channels, plain.stride[0])


def fold(network: PNet) -> None:
    """Make the filters of a trained network what they are used as: plain convolutions."""
    for block in network.blocks:
        trained = block.convolution
        if isinstance(trained, StandardisedConvolution):
            plain = nn.Conv2d(trained.in_channels, trained.out_channels, 3, trained.stride[0], padding=1)
            with torch.no_grad():
                plain.weight.copy_(trained.standardised())
                assert plain.bias is not None
                assert trained.bias is not None
                plain.bias.copy_(trained.bias)
            block.convolution = plain


def widths_of(state: Mapping[str, Tensor]) -> tuple[int, int, int]:
    """Read from a network's weights how wide it was, so that older trainings can be exported."""
    first, second, third = (len(state[f"block{block}.convolution.weight"]) for block in (1, 2, 3))
    return first, second, third


def is_pooled(state: Mapping[str, Tensor]) -> bool:
    """Read from a network's weights whether its head sees a last convolution's mean and maximum."""
    return "block4.convolution.weight" in state


def head_weights(state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Give the two fully connected layers: weight and bias of the first, weight and bias of the second."""
    first, second = "head.2", "head.4"
    return state[f"{first}.weight"], state[f"{first}.bias"], state[f"{second}.weight"], state[f"{second}.bias"]


def normalisation_of(state: Mapping[str, Tensor]) -> Normalisation:
    """Read from a network's weights how it was normalised."""
    if "block1.normalisation.running_mean" in state:
        return "batch"
    return "group" if "block1.normalisation.weight" in state else "none"


def parameters(network: nn.Module) -> int:
    """Count what is trained."""
    return sum(p.numel() for p in network.parameters())
