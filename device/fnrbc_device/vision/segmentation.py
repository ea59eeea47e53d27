"""Finds nucleated cells in a frame: the paper's extraction of regions of interest, made automatic.

Gaussian low-pass, histogram, first extreme, threshold, morphology against debris; then, on the few pieces that
need it, clumps are cut at their bottleneck by a gradient-aware watershed and lobes are joined to one nucleus.
"""

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.records import Detection, Field, Image
from fnrbc_device.vision.clumps import cut_clumps
from fnrbc_device.vision.crowding import is_crowded
from fnrbc_device.vision.lobes import join_lobes
from fnrbc_device.vision.measuring import BODY_LEVEL
from fnrbc_device.vision.outline import Outline
from fnrbc_device.vision.reduction import GLASS, Reduced, reduce
from fnrbc_device.vision.stain import REFERENCE_NUCLEUS

DARKEST_MODE_LIMIT: Final = 170.0
"""A mode brighter than this is no nuclear stain. In the nuclear picture the white cells of ``smear_fields`` lie at
29-132 (5th and 95th percentile of the fields' darkest modes), red cells of ``anaemia_fields`` above 200."""

DARKEST_GREY_LIMIT: Final = 130.0
"""The same without colours: red cells lie at 102-215 (5th percentile 111), the nuclei of stained fields at 14-110
(``smear_fields``, green)."""

OUTERMOST: Final = 165.0
"""Brightest level at which a nucleus' outline is drawn: 1 % of the red cells in thick smears (``smear_fields``) are
darker than 154, and would be drawn into the nuclei that they touch."""

CORE_SHARE: Final = 0.1
"""Of a piece inside that outline, the least share that must be darker than the paper's threshold: else it is a thick
red cell. With a single pixel 0.19 false candidates a field of ``smear_fields``, with a tenth 0.05, and none lost."""

REFERENCE_LEVEL: Final = GLASS * math.exp(REFERENCE_NUCLEUS[2] - REFERENCE_NUCLEUS[1])
"""Nuclei of the reference stain in the nuclear picture. In tissue they spread over so many levels that they make no
mode; where the session's stain is known, they are looked for there (``he_fields``)."""

MODE_SHARE: Final = 0.0004
"""Least share of the picture that a mode must hold: a third of one 5 um nucleus in 134 x 100 um."""

DENOMINATOR: Final = 3.06
"""Of the paper's threshold, T = locs(x) + (256 - locs(x)) / 3.06."""

CROWD_RADIUS_UM: Final = 1.8
"""Least inner radius of the parts of a cut clump in a crowd, where no lobe can be torn off: at 2.1 um F1 on stained
tissue (``nuclei``) is 0.01 less."""

MEMORY_FRAMES: Final = 30.0
"""The histogram is averaged over about this many frames, so that the threshold drifts with the field."""

MOST_STEP: Final = 2.0
"""Grey levels that the first extreme moves from one frame to the next at most, so that the threshold never jumps: from
the weakest of the stains at hand to the strongest in two seconds."""

SMALLEST_PIECE_UM: Final = 1.2
"""Diameter below which a piece is dirt, not even a lobe."""

MOST_PIECES_A_UM2: Final = 0.04
"""Dark pieces a um2 of field from which on it is no field of cells but a pattern or noise: red cells, packed without a
gap, would be 0.02."""

SMALLEST_NUCLEUS_UM: Final = 2.5
"""Diameter below which a nucleus is no candidate. Platelets measure 2-3 um, the paper's small lymphocyte 5-8 um."""

LARGEST_NUCLEUS_UM: Final = 22.0
"""Diameter above which a dark area is no cell (smudges, ink, a clot). Neutrophils reach 20 um as whole cells."""

BORDER_UM: Final = 0.7
"""A cell counts as whole from this distance of its nucleus to the frame's border on."""


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """How dark nuclei are in a session whose pictures were looked at before."""

    histogram: NDArray[np.float64]
    """(256,) share of the nuclear picture at each grey."""
    darkest: float | None
    """Grey of the nuclei; None where there are none."""


class Segmenter:
    """Finds cells frame by frame; keeps the session's histogram, so that the threshold is steady.

    Parameters
    ----------
    pixel_size_um
        Size of the frames' pixels on the slide, um, > 0.
    level
        What is known beforehand and holds for every frame; None: it is learned from frame to frame.
    """

    def __init__(self, pixel_size_um: float, level: Level | None = None) -> None:
        self._pixel_size_um = pixel_size_um
        self._level = level
        self._histogram = np.zeros(256, np.float64) if level is None else level.histogram
        self._darkest: float | None = None if level is None else level.darkest

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

    @property
    def knows(self) -> bool:
        """Whether something as dark as a nucleus was seen, so that there is a threshold."""
        return self._darkest is not None

    def segment_reduced(self, reduced: Reduced, frames: int = 1) -> Field:
        """Find the cells of one frame, whose working pictures exist already.

        Parameters
        ----------
        reduced
            Its working pictures.
        frames
            How many went by since one was looked at, this one included: so many does it stand for.
        """
        nuclear = reduced.nuclear
        coloured = reduced.stain is not None
        if self._level is None:
            self._remember(histogram_of(nuclear), frames)
            self._follow(grey_of_nuclei(self._histogram, reduced), frames)
        if self._darkest is None:
            return Field([], reduced.glass_rgb, 0.0, reduced.green, reduced.pixel_um)
        core = threshold(self._darkest)
        # Without colours cytoplasm and red cells lie between the core and half-way to glass.
        outer = outer_limit(self._histogram, core) if coloured else core
        nuclei = _nuclei(nuclear, core, outer, reduced)
        detections = [detection_of(nucleus, reduced, nuclear.shape) for nucleus in nuclei]
        return Field(detections, reduced.glass_rgb, core, reduced.green, reduced.pixel_um)

    def _remember(self, histogram: NDArray[np.float64], frames: int) -> None:
        if not self._histogram.any():
            self._histogram = histogram
        else:
            self._histogram += (histogram - self._histogram) * (1 - (1 - 1 / MEMORY_FRAMES) ** frames)

    def _follow(self, darkest: float | None, frames: int) -> None:
        if darkest is not None and self._darkest is not None:
            most = MOST_STEP * frames
            darkest = float(np.clip(darkest, self._darkest - most, self._darkest + most))
        self._darkest = darkest


def grey_of_nuclei(histogram: NDArray[np.float64], reduced: Reduced) -> float | None:
    """Grey of the nuclei by the histogram of pictures like this one; None where they show none.

    Where the session's stain is known, they are looked for at the reference's grey when no mode stands out.
    """
    found = mode_of_nuclei(histogram, reduced)
    return REFERENCE_LEVEL if found is None and reduced.in_reference else found


def mode_of_nuclei(histogram: NDArray[np.float64], reduced: Reduced) -> float | None:
    """Grey of the darkest mode that may be nuclei in pictures like this one; None where there is none."""
    return first_extreme(histogram, DARKEST_GREY_LIMIT if reduced.stain is None else DARKEST_MODE_LIMIT)


def histogram_of(nuclear: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Share of the nuclear picture at each grey; (256,), sums to 1. Every other pixel each way tells as much."""
    rows, pairs = nuclear[::2], nuclear.shape[1] // 2
    # As the first of two channels, so that a histogram reads every other pixel without a copy.
    pixels = rows[:, : 2 * pairs].reshape(len(rows), pairs, 2) if pairs else rows
    counts = cv2.calcHist([pixels], [0], None, [256], [0, 256])[:, 0]
    return np.asarray(counts / counts.sum(), np.float64)


def first_extreme(histogram: NDArray[np.float64], brightest: float = DARKEST_MODE_LIMIT) -> float | None:
    """Grey of the darkest mode, which is the stain of the nuclei; the paper's locs(x).

    Parameters
    ----------
    histogram
        (256,) share of the picture at each grey.
    brightest
        Grey up to which a mode may be nuclear stain.

    Returns
    -------
    float or None
        0..``brightest``; None in a field without anything so dark.
    """
    smooth = np.convolve(np.pad(histogram, 12, mode="reflect"), _SMOOTHING, mode="valid")
    dark = smooth[: int(brightest) + 1]
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


def outer_limit(histogram: NDArray[np.float64], core: float) -> float:
    """Grey at which a nucleus' outline is drawn: half-way between what is stained and glass, no darker than its core.

    The paper's threshold lies in the dark third of a nucleus' blurred edge. It decides what is a nucleus; where its
    outline runs is decided as in Canny's double threshold, at the limit that separates both sides best.

    Parameters
    ----------
    histogram
        (256,) share of the picture at each grey.
    core
        The paper's threshold, 0..255.

    References
    ----------
    .. [1] N. Otsu, "A threshold selection method from gray-level histograms", IEEE Trans. Syst. Man Cybern. 9 (1979)
       62-66, doi:10.1109/TSMC.1979.4310076.
    """
    below = np.cumsum(histogram)
    first_moment = np.cumsum(histogram * np.arange(256))
    spread = (first_moment[-1] * below - first_moment * below[-1]) ** 2 / np.maximum(below * (below[-1] - below), 1e-9)
    return max(core, min(float(spread.argmax()), OUTERMOST))


def _nuclei(nuclear: NDArray[np.uint8], core: float, outer: float, reduced: Reduced) -> list[Outline]:
    """Outlines of whole nuclei."""
    um = reduced.pixel_um
    cores = _darker(nuclear, core)
    if outer > core and is_crowded(cores, um):
        found = _crowd(nuclear, cores, outer, um)
    else:
        pieces = cut_clumps(_pieces(cores, um), nuclear, um)
        found = join_lobes(pieces, reduced.green, um, BODY_LEVEL * reduced.glass_rgb[1])
    return [nucleus for nucleus in found if SMALLEST_NUCLEUS_UM <= nucleus.diameter_px * um <= LARGEST_NUCLEUS_UM]


def _crowd(nuclear: NDArray[np.uint8], cores: NDArray[np.uint8], outer: float, um: float) -> list[Outline]:
    """Outlines of nuclei among others: at the outer limit, and where that runs together, at the core's."""
    inside = _darker(nuclear, outer)
    pieces = cut_clumps(_pieces(inside, um), nuclear, um, CROWD_RADIUS_UM)
    blurred = [piece.points_xy for piece in pieces if _too_wide(piece, um)]
    kept = [piece for piece in pieces if not _too_wide(piece, um) and _holds_core(piece, cores)]
    if not blurred:
        return kept
    within = np.asarray(cv2.fillPoly(np.zeros_like(cores), blurred, 255), np.uint8) & cores
    return kept + cut_clumps(_pieces(within, um), nuclear, um, CROWD_RADIUS_UM)


def _darker(nuclear: NDArray[np.uint8], limit: float) -> NDArray[np.uint8]:
    return np.asarray(cv2.threshold(nuclear, limit, 255, cv2.THRESH_BINARY_INV)[1], np.uint8)


def _pieces(dark: NDArray[np.uint8], um: float) -> list[Outline]:
    """Connected pieces, debris left out; none where there are too many for a field of cells."""
    cleaned = cv2.morphologyEx(dark, cv2.MORPH_OPEN, _CROSS)
    contours, _ = cv2.findContours(cleaned, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if len(contours) > MOST_PIECES_A_UM2 * dark.size * um**2:
        return []
    shortest = 2.0 * SMALLEST_PIECE_UM / um  # points: less than a disc's perimeter, and cheap to ask
    return [Outline.of(np.asarray(contour, np.int32)[:, 0]) for contour in contours if len(contour) >= shortest]


def _too_wide(piece: Outline, um: float) -> bool:
    return piece.diameter_px > LARGEST_NUCLEUS_UM / um


def _holds_core(piece: Outline, cores: NDArray[np.uint8]) -> bool:
    """Whether enough of a piece is as dark as a nucleus; its upright box stands for it."""
    left, top, width, height = piece.box
    inside = cores[top : top + height, left : left + width]
    return cv2.countNonZero(inside) >= CORE_SHARE * piece.area_px2


def detection_of(nucleus: Outline, reduced: Reduced, shape: tuple[int, ...]) -> Detection:
    """Turn an outline in a working picture of that shape into a detection of its frame."""
    x, y = nucleus.centre_xy
    left, top, width, height = nucleus.box
    reach = max(x - left, left + width - x, y - top, top + height - y)
    border = BORDER_UM / reduced.pixel_um
    whole = (
        min(left, top) >= border and left + width <= shape[1] - border and top + height <= shape[0] - border
    )
    return Detection(
        centre_rc=(reduced.to_frame(y), reduced.to_frame(x)),
        contour_xy=nucleus.points_xy,
        factor=reduced.factor,
        nucleus_diameter_um=nucleus.diameter_px * reduced.pixel_um,
        reach_px=reach * reduced.factor,
        whole=whole,
    )


_CROSS: Final = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
_KERNEL: Final = np.exp(-0.5 * (np.arange(-12, 13) / 5.0) ** 2)
_SMOOTHING: Final = _KERNEL / _KERNEL.sum()
