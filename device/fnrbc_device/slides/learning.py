"""What is learned of a slide before a cell is counted, and holds for every tile: glass, stain, how dark nuclei are.

It is learned on fields of the size that a camera shows, chosen by where the slide is dark and by where it is not, in
an order that the file alone decides. So no tile depends on another, and a slide can be counted by many at once.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.camera.colours import ColourWatch
from fnrbc_device.camera.pixel_size import ScaleWatch
from fnrbc_device.errors import SourceError
from fnrbc_device.records import Frame, Image
from fnrbc_device.slides.slide import Box, Slide
from fnrbc_device.slides.smear import Smear
from fnrbc_device.vision.colours import ColourFault
from fnrbc_device.vision.frame_quality import fine_to_coarse
from fnrbc_device.vision.pixelsize import PixelSizeEstimate
from fnrbc_device.vision.reduction import Reduced, glass_colour, reduce
from fnrbc_device.vision.segmentation import Level, grey_of_nuclei, histogram_of, mode_of_nuclei
from fnrbc_device.vision.session_stain import MEMORY, STILL_FIELD_UM, SessionStain

MOST_FIELDS: Final = 96
"""Fields that are looked at: four times as many as votes are remembered, about ten seconds' work."""

GLASS_FIELDS: Final = 24
"""Fields whose glass is asked; the colour is the brightest quarter's, since in some there is none."""

GLASS_QUANTILE: Final = 0.75

SCALE_STEP: Final = 1000
"""Numbers between two fields that the red cells are measured on: each is looked at."""

FLUORESCENT: Final = 60.0
"""Glass darker than this (of 255) in every colour is the ground of a fluorescence picture, or no slide at all."""

GOLDEN: Final = 0.6180339887498949
"""Steps of this share of a list visit it evenly, however many of them are taken."""


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What holds for the whole slide."""

    glass_rgb: tuple[float, float, float]
    stain: SessionStain
    level: Level
    estimate: PixelSizeEstimate | None
    """Of the pixel size, by the red cells."""
    colour_fault: ColourFault | None
    colour_doubt: str
    sharpness: float
    """Energy of fine gradients over coarse ones of the sharpest field (see ``frame_quality``); 0: not known."""
    fields: int
    """How many were looked at."""


def learn(slide: Slide, pixel_um: float, smear: Smear | None) -> Learned:
    """Learn a slide.

    Parameters
    ----------
    slide
        Open.
    pixel_um
        Size of its finest pixels.
    smear
        Where something lies; None: anywhere.

    Raises
    ------
    SourceError
        It is dark where nothing is: no stained slide in bright field.
    """
    boxes = _chosen(slide, pixel_um, smear)
    glass = _glass(slide, boxes)
    stain, scale, colours = SessionStain(), ScaleWatch(), ColourWatch("--exchange-red-blue")
    looked: list[Box] = []
    sharpest = 0.0
    for number, (box, image) in enumerate(_images(slide, boxes)):
        looked.append(box)
        stain.learn(image, pixel_um, glass)
        frame = Frame(SCALE_STEP * number, 0.0, image)
        scale.see(frame, None)
        scale.finish()
        colours.see(frame, None)
        sharpest = max(sharpest, fine_to_coarse(reduce(image, pixel_um, glass_rgb=glass).green) or 0.0)
        if stain.votes >= MEMORY:
            break
    colours.finish()
    level = _level(slide, pixel_um, looked, stain, glass)
    return Learned(glass, stain, level, scale.estimate, colours.fault, colours.doubt, sharpest, len(looked))


def _chosen(slide: Slide, pixel_um: float, smear: Smear | None) -> list[Box]:
    """Fields to look at, in their order: by turns where it is darkest, and spread over all that is not empty."""
    rows, cols = slide.about.shape
    side = max(1, round(STILL_FIELD_UM / pixel_um))
    whole = Box(0, 0, rows, cols)
    boxes = [
        Box(top, left, side, side).within(whole)
        for top in range(0, max(rows - side // 2, 1), side)
        for left in range(0, max(cols - side // 2, 1), side)
    ]
    if smear is not None:
        boxes = [box for box in boxes if smear.any_in(box)] or boxes
    spread = [int(((number + 1) * GOLDEN) % 1 * len(boxes)) for number in range(len(boxes))]
    darkest = sorted(range(len(boxes)), key=lambda at: (-smear.darkness(boxes[at]), at)) if smear else spread
    order = dict.fromkeys(at for pair in zip(darkest, spread, strict=True) for at in pair)
    return [boxes[at] for at in list(order)[:MOST_FIELDS]]


def _images(slide: Slide, boxes: list[Box]) -> Iterator[tuple[Box, Image]]:
    """Those of the fields that can be read whole."""
    for box in boxes:
        patch = slide.read(box)
        if not patch.holes:
            yield box, patch.image


def _glass(slide: Slide, boxes: list[Box]) -> tuple[float, float, float]:
    found = [glass_colour(image) for _, image in _images(slide, boxes[:GLASS_FIELDS])]
    if not found:
        raise SourceError(f"{slide.name}: none of its {len(boxes)} fields can be read; copy it again")
    red, green, blue = (float(level) for level in np.quantile(found, GLASS_QUANTILE, axis=0))
    if max(red, green, blue) < FLUORESCENT:
        raise SourceError(
            f"{slide.name} is dark where nothing is (red {red:.0f}, green {green:.0f}, blue {blue:.0f} of 255), as "
            "slides are that were made with fluorescence; cells are counted on stained slides in bright field alone"
        )
    return red, green, blue


def _level(
    slide: Slide, pixel_um: float, boxes: list[Box], stain: SessionStain, glass: tuple[float, float, float]
) -> Level:
    """How dark nuclei are, in the stain as it is known in the end; fields that show none say nothing."""
    told: list[NDArray[np.float64]] = []
    silent: list[NDArray[np.float64]] = []
    last: Reduced | None = None
    for _, image in _images(slide, boxes):
        last = reduce(image, pixel_um, stain.map, glass)
        histogram = histogram_of(last.nuclear)
        (silent if mode_of_nuclei(histogram, last) is None else told).append(histogram)
    if last is None:
        return Level(np.zeros(256, np.float64), None)
    mean = np.asarray(np.mean(told or silent, axis=0), np.float64)
    return Level(mean, grey_of_nuclei(mean, last))
