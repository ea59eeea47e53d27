"""What nuclei and all else that is stained absorb, and the way from there to the reference stain.

Laboratories stain alike things in unlike colours. What each colour takes from the light adds up as optical density
(Beer and Lambert), so that one 3 x 3 matrix brings one laboratory's stain to another's: the one that takes the
session's nuclei to the reference's nuclei, and the rest of what is stained (red cells, cytoplasm) to the reference's.
What one picture shows of both is measured here; what a session's pictures agree on, in ``session_stain``.

References
----------
.. [1] A. C. Ruifrok, D. A. Johnston, "Quantification of histochemical staining by color deconvolution", Anal. Quant.
   Cytol. Histol. 23 (2001) 291-299.
.. [2] N. Otsu, "A threshold selection method from gray-level histograms", IEEE Trans. Syst. Man Cybern. 9 (1979)
   62-66, doi:10.1109/TSMC.1979.4310076.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from fnrbc_device.records import Image

REFERENCE_NUCLEUS: Final = (1.02, 1.52, 0.39)
REFERENCE_REST: Final = (0.18, 0.26, 0.16)
"""Optical densities (natural logarithm; red, green, blue) of nuclei and of the rest of what is stained, as
``anchors_of`` measures them: medians of May-Gruenwald-Giemsa (211 pictures of ``pbc``)."""

COARSE_UM: Final = 0.5
"""Pixel at which the stain is measured: a nucleus of 5 um keeps 80 pixels, and noise is averaged away."""

STAINED: Final = 0.08
"""Optical density of the strongest channel from which on something is stained: glass varies by 3 %."""

LEAST_NUCLEUS_UM: Final = 4.0
MOST_NUCLEUS_UM: Final = 16.0
"""Diameter of a compact piece that stands for a nucleus: platelets are smaller (2-3 um), clots larger."""

LEAST_FILL: Final = 0.5
"""Share of its upright box that a compact piece covers: a disc covers 0.79, an ellipse across its corner 0.6."""

LEAST_CONTRAST: Final = 2.5
"""Nuclei over the rest, in density of all channels together."""

DENSE: Final = 2.2
"""Density of all channels together from which on a compact piece is a nucleus whatever its colour. Nuclei have 2.4 to
4.8 on all pictures at hand but one camera's (1.1); red cells, two upon each other included, at most 1.9."""

OTHER_COLOUR_DEGREES: Final = 26.0
"""Angle between both, as colours, from which on paler pieces are nuclei too: in fields without nuclei thick and thin
red cells differ by 1-10 degrees, with a pale camera by 12-23 (``anaemia_fields``, ``smear_fields``); that camera's
nuclei by 30-38."""

PALEST: Final = 0.75
"""Density of all channels together below which nothing is a nucleus: the pale camera's red cells have 0.50-0.72, its
nuclei 0.80-1.61. Colours of anything paler are noise."""

GLASS_WITHIN: Final = 0.06
LEAST_GLASS: Final = 0.01
"""A field shows glass if this share of it lies within that share of the brightest mode in all channels at once."""

CLIPPED: Final = 254.0
"""Glass of this level or more in green is saturated: pale things look like glass, all densities are too low."""

StainDoubt = Literal["no_nuclei", "no_glass", "no_colours", "clipped_glass"]
"""Why a picture says nothing of its stain."""


@dataclass(frozen=True, slots=True)
class Anchors:
    """What one picture, or a session, says of its stain; optical densities (natural logarithm) in red, green, blue."""

    nucleus: tuple[float, float, float]
    rest: tuple[float, float, float]
    """Of all that is stained and no nucleus."""
    nuclei: int
    """How many it was read from."""


@dataclass(frozen=True, slots=True, eq=False)
class StainMap:
    """The way from a session's stain to the reference."""

    matrix: NDArray[np.float32]
    """(3, 3): a pixel's optical densities (red, green, blue) times it are those in the reference stain."""

    @property
    def is_identity(self) -> bool:
        """Whether it leaves pictures as they are."""
        return bool(np.array_equal(self.matrix, np.eye(3)))

    @property
    def nuclear_weights(self) -> tuple[float, float, float]:
        """What green minus blue of the reference is, in densities (red, green, blue) of the session."""
        red, green, blue = (float(weight) for weight in self.matrix[1] - self.matrix[2])
        return red, green, blue

    def apply(self, image: Image, glass_rgb: tuple[float, float, float]) -> Image:
        """Bring a picture to the reference stain; glass keeps its colour.

        Parameters
        ----------
        image
            (H, W, 3) uint8 RGB.
        glass_rgb
            Colour of empty glass in it, 0..255.

        Returns
        -------
        Image
            (H, W, 3) uint8 RGB; the picture itself where the map is the identity.
        """
        if self.is_identity:
            return image
        density = cv2.transform(densities(image, glass_rgb), self.matrix)
        light = cv2.exp(-density) * (np.asarray(glass_rgb, np.float32) + DARK_LEVELS) - DARK_LEVELS
        return np.asarray(np.clip(np.rint(light), 0, 255), np.uint8)


IDENTITY: Final = StainMap(np.eye(3, dtype=np.float32))

DARK_LEVELS: Final = 4.0
"""Added to a pixel and to glass before their ratio is taken: in the dark noise (2-4 of 255 levels) would decide."""


def densities(image: Image, glass_rgb: tuple[float, float, float]) -> NDArray[np.float32]:
    """Optical density of each pixel and channel against glass, natural logarithm; (H, W, 3), glass at 0."""
    levels = np.log(np.arange(256) + DARK_LEVELS)
    table = np.log(np.maximum(glass_rgb, 1.0) + DARK_LEVELS) - levels[:, None]
    return np.asarray(cv2.LUT(image, table.astype(np.float32)[None]), np.float32)


@lru_cache(maxsize=8)  # asked for twice a frame, and another after some forty um of the hand's way at most
def map_of(anchors: Anchors) -> StainMap:
    """Build the matrix that takes a session's nuclei and rest to the reference's.

    A third pair of directions is needed: what lies across both, as long as they are in the mean.
    """
    ours = _frame(anchors.nucleus, anchors.rest)
    reference = _frame(REFERENCE_NUCLEUS, REFERENCE_REST)
    matrix = np.asarray(reference @ np.linalg.inv(ours), np.float32)
    matrix.flags.writeable = False
    return StainMap(matrix)


def anchors_of(image: Image, pixel_um: float, glass_rgb: tuple[float, float, float]) -> Anchors | StainDoubt:
    """Measure the stain of one picture.

    Parameters
    ----------
    image
        (H, W, 3) uint8 RGB.
    pixel_um
        Size of its pixels, um, > 0.
    glass_rgb
        Colour of empty glass, 0..255.

    Returns
    -------
    Anchors or str
        Why the picture says nothing, where it does not.

    Notes
    -----
    Otsu's threshold [2]_ on the density of all channels together, among what is stained; compact pieces of a nucleus'
    size above it are nuclei, what lies below it the rest.
    """
    small, um = _coarse(image, pixel_um)
    if _is_grey(small):
        return "no_colours"
    if glass_rgb[1] >= CLIPPED:
        return "clipped_glass"
    if not _shows_glass(small, glass_rgb):
        return "no_glass"
    # Plane by plane: over the three numbers of a pixel, sums and medians take three times as long.
    red, green, blue = cv2.split(densities(small, glass_rgb))
    stained = cv2.max(cv2.max(red, green), blue) > STAINED
    if np.count_nonzero(stained) < _LEAST_PIXELS:
        return "no_nuclei"
    total = np.asarray(red + green + blue, np.float32)
    dark = total > _otsu(total[stained])
    inside, count = _compact(dark, um)
    rest = stained & (cv2.dilate(dark.view(np.uint8), _SQUARE) == 0)
    if min(np.count_nonzero(inside), np.count_nonzero(rest)) < _LEAST_PIXELS:
        return "no_nuclei"
    nucleus, beside = (medians(small, those, glass_rgb) for those in (inside, rest))
    if not _told_apart(nucleus, beside):
        return "no_nuclei"
    return Anchors(three(nucleus), three(beside), count)


def medians(
    image: Image, those: NDArray[np.bool_], glass_rgb: tuple[float, float, float]
) -> NDArray[np.float32]:
    """Median density of some pixels in each channel: by counting grey levels, a tenth of what sorting costs.

    Parameters
    ----------
    image
        (H, W, 3) uint8 RGB.
    those
        (H, W), which pixels; one at least.
    glass_rgb
        Colour of empty glass, 0..255.
    """
    mask = those.view(np.uint8)
    levels = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(1, 256, 3)
    count, table = cv2.countNonZero(mask), densities(levels, glass_rgb)[0]
    below = (np.cumsum(cv2.calcHist([image], [channel], mask, [256], [0, 256])) for channel in range(3))
    middle = np.array([np.searchsorted(each, ((count + 1) // 2, count // 2 + 1)) for each in below])
    return np.asarray(table[middle, [[0], [1], [2]]].mean(axis=1), np.float32)


def three(values: NDArray[np.floating[Any]]) -> tuple[float, float, float]:
    """Red, green, blue as plain numbers."""
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _frame(nucleus: tuple[float, float, float], rest: tuple[float, float, float]) -> NDArray[np.float64]:
    """(3, 3) columns: both directions and the one across, as long as they are in the geometric mean."""
    first, second = np.asarray(nucleus), np.asarray(rest)
    across = np.cross(first, second)
    length = np.sqrt(np.linalg.norm(first) * np.linalg.norm(second))
    return np.stack([first, second, across / np.linalg.norm(across) * length], axis=1)


def degrees(one: ArrayLike, other: ArrayLike) -> float:
    """Angle between two colours, given as densities: 0 for one stain, thick and thin."""
    first, second = np.asarray(one, np.float64), np.asarray(other, np.float64)
    cosine = first @ second / max(float(np.linalg.norm(first) * np.linalg.norm(second)), 1e-9)
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def _told_apart(nucleus: NDArray[np.floating[Any]], rest: NDArray[np.floating[Any]]) -> bool:
    """Whether these are nuclei and something else, not one thing, thick and thin."""
    if nucleus.sum() < LEAST_CONTRAST * rest.sum():
        return False
    pale_nuclei = nucleus.sum() >= PALEST and degrees(nucleus, rest) >= OTHER_COLOUR_DEGREES
    return bool(nucleus.sum() >= DENSE) or bool(pale_nuclei)


def _coarse(image: Image, pixel_um: float) -> tuple[Image, float]:
    """The picture at about ``COARSE_UM``, and its pixel size."""
    shrink = max(1, round(COARSE_UM / pixel_um))
    height, width = (max(1, side // shrink) for side in image.shape[:2])
    whole = image[: height * shrink, : width * shrink]
    small = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA) if shrink > 1 else whole
    return np.asarray(small, np.uint8), pixel_um * shrink


def _is_grey(image: Image) -> bool:
    red, green, blue = cv2.split(image)
    return max(int(cv2.absdiff(green, other).max()) for other in (red, blue)) <= 3


def _shows_glass(image: Image, glass_rgb: tuple[float, float, float]) -> bool:
    glass = np.asarray(glass_rgb)
    near = cv2.inRange(image, (1 - GLASS_WITHIN) * glass, (1 + GLASS_WITHIN) * glass)
    return cv2.countNonZero(near) >= LEAST_GLASS * near.size


def _otsu(values: NDArray[np.float32]) -> float:
    """Threshold that separates both sides best [2]_; densities of 0..6.4 in 256 steps."""
    steps = np.clip(values * 40, 0, 255).astype(np.uint8)
    threshold, _ = cv2.threshold(steps[None], 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return float(threshold) / 40


def _compact(dark: NDArray[np.bool_], um: float) -> tuple[NDArray[np.bool_], int]:
    """The inner pixels of compact pieces of a nucleus' size, and the number of such pieces."""
    opened = cv2.morphologyEx(dark.view(np.uint8), cv2.MORPH_OPEN, _SQUARE)
    # Measures the pieces at half of the usual algorithm's cost.
    _, labels, stats, _ = cv2.connectedComponentsWithStatsWithAlgorithm(opened, 8, cv2.CV_32S, cv2.CCL_GRANA)
    area = stats[:, cv2.CC_STAT_AREA]
    diameter_um = 2 * np.sqrt(area / np.pi) * um
    fill = area / (stats[:, cv2.CC_STAT_WIDTH] * stats[:, cv2.CC_STAT_HEIGHT])
    kept = (diameter_um >= LEAST_NUCLEUS_UM) & (diameter_um <= MOST_NUCLEUS_UM) & (fill >= LEAST_FILL)
    kept[0] = False
    inner = cv2.erode(kept[labels].view(np.uint8), _SQUARE)
    return np.asarray(inner, np.uint8).view(np.bool_), int(np.count_nonzero(kept))


_LEAST_PIXELS: Final = 30
_SQUARE: Final = np.ones((3, 3), np.uint8)
