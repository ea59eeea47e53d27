"""Finds nucleated cells in a frame: the paper's extraction of regions of interest, made automatic.

Gaussian low-pass, histogram, first extreme, threshold, morphology against debris; then, on the few pieces that
need it, lobes are joined to one nucleus and clumps are cut at their bottleneck by a gradient-aware watershed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.records import Detection, Field, Image
from fnrbc_device.vision.clumps import Outline, cut_clump, join_lobes
from fnrbc_device.vision.reduction import Reduced, reduce

GLASS: Final = 240.0
"""Grey of empty glass on the flattened scale, on which thresholds are comparable between lights and cameras."""

LOW_PASS_UM: Final = 0.2
"""Sigma of the low-pass. The paper's 2 px at about 0.1 um/px."""

DARKEST_MODE_LIMIT: Final = 130.0
"""A mode brighter than this is no nuclear stain: red cells lie at 102-215 (5th percentile 111), the nuclei of
stained fields at 14-110 (``smear_fields``, flattened green)."""

MODE_SHARE: Final = 0.0004
"""Least share of the picture that a mode must hold: a third of one 5 um nucleus in 134 x 100 um."""

DENOMINATOR: Final = 3.06
"""Of the paper's threshold, T = locs(x) + (256 - locs(x)) / 3.06."""

MEMORY_FRAMES: Final = 30.0
"""The histogram is averaged over about this many frames, so that the threshold drifts but never jumps."""

SMALLEST_PIECE_UM: Final = 1.2
"""Diameter below which a piece is dirt, not even a lobe."""

SMALLEST_NUCLEUS_UM: Final = 2.5
"""Diameter below which a nucleus is no candidate. Platelets measure 2-3 um, the paper's small lymphocyte 5-8 um."""

LARGEST_NUCLEUS_UM: Final = 22.0
"""Diameter above which a dark area is no cell (smudges, ink, a clot). Neutrophils reach 20 um as whole cells."""

BORDER_UM: Final = 0.7
"""A cell counts as whole from this distance of its nucleus to the frame's border on."""


class Segmenter:
    """Finds cells frame by frame; keeps the session's histogram, so that the threshold is steady.

    Parameters
    ----------
    pixel_size_um
        Size of the frames' pixels on the slide, um, > 0.
    """

    def __init__(self, pixel_size_um: float) -> None:
        self._pixel_size_um = pixel_size_um
        self._histogram = np.zeros(256, np.float64)

    def segment(self, image: Image) -> Field:
        """Find the cells of one frame.

        Parameters
        ----------
        image
            (H, W, 3) uint8 RGB.

        Returns
        -------
        Field
            No detections, and a threshold of 0, where nothing as dark as a nucleus was ever seen.
        """
        return self.segment_reduced(reduce(image, self._pixel_size_um))

    def segment_reduced(self, reduced: Reduced) -> Field:
        """Find the cells of one frame, whose working picture exists already."""
        low = low_pass(reduced)
        to_flat = GLASS / max(reduced.glass_rgb[1], 1.0)
        self._remember(flattened_histogram(low, to_flat))
        darkest = first_extreme(self._histogram)
        if darkest is None:
            return Field([], reduced.glass_rgb, 0.0)
        limit = threshold(darkest)
        nuclei = _nuclei(low, limit / to_flat, reduced)
        detections = [_measured(nucleus, low, reduced) for nucleus in nuclei]
        return Field(detections, reduced.glass_rgb, limit)

    def _remember(self, histogram: NDArray[np.float64]) -> None:
        if not self._histogram.any():
            self._histogram = histogram
        else:
            self._histogram += (histogram - self._histogram) / MEMORY_FRAMES


def low_pass(reduced: Reduced) -> NDArray[np.uint8]:
    """Gaussian low-pass of the working picture, sigma ``LOW_PASS_UM``; (h, w) uint8."""
    sigma_px = LOW_PASS_UM / reduced.pixel_um
    side = 3 if sigma_px < 1.2 else 2 * int(np.ceil(2 * sigma_px)) + 1
    return np.asarray(cv2.GaussianBlur(reduced.green, (side, side), sigma_px), np.uint8)


def flattened_histogram(low: NDArray[np.uint8], to_flat: float) -> NDArray[np.float64]:
    """Share of the picture at each grey of the flattened scale (glass at 240); (256,), sums to 1."""
    counts = np.bincount(low[::2, ::2].ravel(), minlength=256)
    greys = np.minimum(np.rint(np.arange(256) * to_flat), 255).astype(np.intp)
    return np.bincount(greys, counts / counts.sum(), minlength=256).astype(np.float64)


def first_extreme(histogram: NDArray[np.float64]) -> float | None:
    """Grey of the darkest mode, which is the stain of the nuclei; the paper's locs(x).

    Parameters
    ----------
    histogram
        (256,) share of the picture at each flattened grey.

    Returns
    -------
    float or None
        0..``DARKEST_MODE_LIMIT``; None in a field without anything so dark.
    """
    smooth = np.convolve(np.pad(histogram, 12, mode="reflect"), _SMOOTHING, mode="valid")
    dark = smooth[: int(DARKEST_MODE_LIMIT) + 1]
    rises = dark[1:-1] >= dark[:-2]
    falls = dark[1:-1] > dark[2:]
    for peak in np.flatnonzero(rises & falls) + 1:
        if histogram[max(0, peak - 12) : peak + 13].sum() >= MODE_SHARE:
            return float(peak)
    return None


def threshold(darkest: float) -> float:
    """Grey below which a pixel is nucleus, from the grey of the darkest mode (both 0..255).

    The paper prints ``T = (locs(x) + (256 - locs(x))) / 3.06``, which is 83.7 whatever the picture; what its text
    describes, a threshold that adapts to the first extreme, is the formula without the outer bracket.
    """
    return darkest + (256.0 - darkest) / DENOMINATOR


def literal_threshold() -> float:
    """Threshold by the formula as printed: the constant 83.7. Kept for comparison."""
    return 256.0 / DENOMINATOR


def _nuclei(low: NDArray[np.uint8], limit: float, reduced: Reduced) -> Iterator[Outline]:
    """Outlines of whole nuclei: pieces under the threshold, cut where clumped, joined where lobed."""
    um = reduced.pixel_um
    _, dark = cv2.threshold(low, limit, 255, cv2.THRESH_BINARY_INV)
    cleaned = cv2.morphologyEx(dark, cv2.MORPH_OPEN, _CROSS)
    contours, _ = cv2.findContours(cleaned, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    smallest_px2 = _circle_area(SMALLEST_PIECE_UM / um)
    pieces: list[Outline] = []
    for contour in contours:
        if len(contour) < 5:
            continue
        piece = Outline.of(np.asarray(contour, np.int32)[:, 0, :])
        if piece.area_px2 >= smallest_px2:
            pieces += cut_clump(piece, low, um)
    body_level = CYTOPLASM_LEVEL * reduced.glass_rgb[1]
    for nucleus in join_lobes(pieces, low, um, body_level):
        if _circle_area(SMALLEST_NUCLEUS_UM / um) <= nucleus.area_px2 <= _circle_area(LARGEST_NUCLEUS_UM / um):
            yield nucleus


@dataclass(frozen=True, slots=True)
class _Cell:
    """The whole cell round a nucleus, in working pixels."""

    area_px2: float
    centre_xy: tuple[float, float]


CYTOPLASM_UM: Final = 3.0
"""How far from the nucleus' hull cytoplasm is looked for: fNRBC of 9-12 um with nuclei of 5-7 um."""

CYTOPLASM_LEVEL: Final = 0.95
"""Share of the glass' light below which a pixel is cell. Glass varies by 3 % (``pbc``)."""


def _measured(nucleus: Outline, low: NDArray[np.uint8], reduced: Reduced) -> Detection:
    um, glass = reduced.pixel_um, max(reduced.glass_rgb[1], 1.0)
    cell, mean = _cell_round(nucleus, low, um, CYTOPLASM_LEVEL * glass)
    x, y = nucleus.centre_xy
    points = (nucleus.points_xy.astype(np.float64) + 0.5) * reduced.factor - 0.5
    return Detection(
        centre_rc=(reduced.to_frame(y), reduced.to_frame(x)),
        outline_xy=np.rint(points).astype(np.int32),
        diameter_um=2 * float(np.sqrt(cell.area_px2 / np.pi)) * um,
        nucleus_diameter_um=2 * float(np.sqrt(nucleus.area_px2 / np.pi)) * um,
        nucleus_ratio=min(1.0, nucleus.area_px2 / cell.area_px2),
        off_centre_um=float(np.hypot(cell.centre_xy[0] - x, cell.centre_xy[1] - y)) * um,
        density=float(-np.log10(max(mean, 1.0) / glass)),
        whole=_inside(nucleus, low.shape, BORDER_UM / um),
    )


def _cell_round(nucleus: Outline, low: NDArray[np.uint8], um: float, level: float) -> tuple[_Cell, float]:
    """The cell that holds the nucleus, and the mean grey of the nucleus."""
    reach = round(CYTOPLASM_UM / um)
    left, top, width, height = nucleus.box
    x0, y0 = max(left - reach, 0), max(top - reach, 0)
    patch = low[y0 : top + height + reach, x0 : left + width + reach]
    mask = np.zeros(patch.shape, np.uint8)
    cv2.fillConvexPoly(mask, nucleus.hull_xy - (x0, y0), 255)
    mean = float(cv2.mean(patch, mask)[0])
    # A thick outline round the hull grows it by a disc, at a fiftieth of a dilation's cost.
    cv2.polylines(mask, [nucleus.hull_xy - (x0, y0)], True, 255, thickness=2 * reach + 1)
    cell = cv2.bitwise_and(mask, (patch < level).view(np.uint8) * np.uint8(255))
    moments = cv2.moments(cell, binaryImage=True)
    if moments["m00"] < nucleus.area_px2:
        return _Cell(nucleus.area_px2, nucleus.centre_xy), mean
    area = moments["m00"]
    return _Cell(area, (x0 + moments["m10"] / area, y0 + moments["m01"] / area)), mean


def _inside(nucleus: Outline, shape: tuple[int, ...], border_px: float) -> bool:
    left, top, width, height = nucleus.box
    return (
        left >= border_px
        and top >= border_px
        and left + width <= shape[1] - border_px
        and top + height <= shape[0] - border_px
    )


def _circle_area(diameter: float) -> float:
    return float(np.pi) * diameter**2 / 4


_CROSS: Final = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
_KERNEL: Final = np.exp(-0.5 * (np.arange(-12, 13) / 5.0) ** 2)
_SMOOTHING: Final = _KERNEL / _KERNEL.sum()
