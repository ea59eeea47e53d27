"""Pictures of places on a source, for people: read again once it is known which cells they should look at."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from fnrbc_device.batch.sources import Source
from fnrbc_device.camera.replay import open_source
from fnrbc_device.records import Frame, Image
from fnrbc_device.slides.opening import is_slide, open_slide
from fnrbc_device.slides.slide import Box

SHOWN_UM: Final = 24.0
"""Side of a picture: as much as the network's crop shows, with its surroundings."""

SIDE_PX: Final = 120


@dataclass(frozen=True, slots=True)
class Place:
    """Where a cell lies in the frame that shows it best."""

    key: int
    """Its number among those asked for."""
    frame: int
    row_px: float
    col_px: float
    """In the frame."""
    slide_row_px: float
    slide_col_px: float
    """On the slide, of which a slide file has each place once."""


def pictures(source: Source, places: Iterable[Place], pixel_size_um: float) -> Iterator[tuple[int, Image]]:
    """Cut out places of a source, in the order of its frames.

    Parameters
    ----------
    source
        Read up to the last frame that is asked for.
    places
        A frame that cannot be shown any more gives no picture.
    pixel_size_um
        um, > 0.

    Yields
    ------
    tuple
        The place's key, and (120, 120, 3) uint8 RGB.

    Raises
    ------
    FnrbcError
        The source cannot be read.
    """
    if is_slide(source.path):
        yield from _of_slide(source, places, pixel_size_um)
        return
    of_frame: dict[int, list[Place]] = {}
    for place in places:
        of_frame.setdefault(place.frame, []).append(place)
    yield from _of_frames(source, of_frame, pixel_size_um)


def square(image: Image, row_px: float, col_px: float, pixel_size_um: float) -> Image:
    """Cut a square of ``SHOWN_UM`` round a place; beyond the picture's border its outermost pixels go on."""
    side = max(round(SHOWN_UM / pixel_size_um), 1)
    cut = cv2.getRectSubPix(np.ascontiguousarray(image), (side, side), (col_px, row_px))
    shrink = cv2.INTER_AREA if side > SIDE_PX else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(cut, (SIDE_PX, SIDE_PX), interpolation=shrink), np.uint8)


def _of_frames(source: Source, of_frame: Mapping[int, list[Place]], um: float) -> Iterator[tuple[int, Image]]:
    if not of_frame:
        return
    asked, last = source.settings, max(of_frame)
    with closing(open_source(source.path, um, exchange_red_blue=asked.exchange_red_blue)) as frames:
        while (frame := frames.read()) is not None and frame.index <= last:
            if not isinstance(frame, Frame):
                continue
            for place in of_frame.get(frame.index, ()):
                yield place.key, square(frame.image, place.row_px, place.col_px, um)


def _of_slide(source: Source, places: Iterable[Place], um: float) -> Iterator[tuple[int, Image]]:
    with closing(open_slide(source.path, exchange_red_blue=source.settings.exchange_red_blue)) as slide:
        whole = Box(0, 0, *slide.about.shape)
        for place in places:
            row, col = place.slide_row_px, place.slide_col_px
            box = Box(int(row), int(col), 1, 1).grown(round(SHOWN_UM / um / 2) + 2).within(whole)
            yield place.key, square(slide.read(box).image, row - box.top, col - box.left, um)
