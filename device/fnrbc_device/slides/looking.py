"""One tile's way from the picture to its cells, whoever looks at it: nothing of another tile is needed.

The same seeing, crop and network as in a pan; a place is known, so nothing is registered, and a tile is one look.
"""

from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.counting.cell import View
from fnrbc_device.counting.counter import fuse
from fnrbc_device.counting.ledger import MARGIN_UM, SAME_CELL_UM
from fnrbc_device.inference.classifier import Classifier
from fnrbc_device.model.manifest import Manifest
from fnrbc_device.records import Detection, Field, Image, Rejection, Verdict
from fnrbc_device.slides.learning import Learned
from fnrbc_device.slides.overview import shrunk
from fnrbc_device.slides.plan import Tile
from fnrbc_device.slides.slide import Box, Patch
from fnrbc_device.vision.frame_quality import BRIGHT_MEAN, LEAST_SHARPNESS, fine_to_coarse
from fnrbc_device.vision.measuring import measure
from fnrbc_device.vision.preprocessing import crop
from fnrbc_device.vision.reduction import Reduced, reduce
from fnrbc_device.vision.seeing import CentreModel, Seeing

WITNESS_UM: Final = 12.0
"""How far beyond its own ground a tile says where it saw cells: half of the largest cell and a step more."""

OUTLINE_UM: Final = 0.15
"""How far an outline may be simplified: half of what the optics blur."""

OTHERS_A_TILE: Final = 4
"""Cells that nobody is asked about whose picture is kept: what a network is taught by not to count."""

@dataclass(frozen=True, slots=True, eq=False)
class FoundCell:
    """One nucleated cell that a tile shows."""

    row_px: float
    col_px: float
    """Centre of the nucleus on the slide."""
    owned: bool
    """Whether its centre lies on the tile's own ground; else just beyond, and another tile's to count."""
    verdict: Verdict
    diameter_um: float
    nucleus_ratio: float
    outline_xy: NDArray[np.int32]
    """(N, 2) px of the slide: the nucleus."""
    picture: View | None
    """Of those that people are shown, and of a few others."""


@dataclass(frozen=True, slots=True, eq=False)
class TileCount:
    """What one tile came to."""

    tile: Tile
    reason: Rejection | None
    """Why it was not used; None if it was."""
    holes: tuple[Box, ...]
    """Parts of its own ground that the file holds and nobody can read."""
    sharpness: float
    """0..1 against the slide's sharpest field; 1 where not measured."""
    cells: tuple[FoundCell, ...] = ()
    """Those on its own ground and just beyond, from top to bottom."""
    small: Image = field(default_factory=lambda: np.zeros((0, 0, 3), np.uint8))
    """Its own ground at the scale of the slide's map."""
    witnessed_rc: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    """(N, 2) px of the slide: centres of all cells on its ground and up to ``WITNESS_UM`` beyond."""


class TileLooker:
    """Looks at tiles of one slide, in any order. Bound to the thread that made the networks.

    Parameters
    ----------
    pixel_um
        Size of the slide's pixels.
    learned
        What holds for the whole slide.
    classifier, manifest
        The network as the bundle wants cells counted, and its description.
    centres
        The network that says where cells are; None for the paper's threshold.
    map_factor
        Pixels of the slide a pixel of its map.
    """

    def __init__(
        self,
        pixel_um: float,
        learned: Learned,
        classifier: Classifier,
        manifest: Manifest,
        centres: CentreModel | None,
        map_factor: float,
    ) -> None:
        self._map_factor = map_factor
        self._um = pixel_um
        self._learned = learned
        self._map = learned.stain.map
        self._classifier = classifier
        self._manifest = manifest
        self._seeing = Seeing(pixel_um, centres, learned.level)

    def look(self, tile: Tile, patch: Patch) -> TileCount:
        """Find and classify the cells of one tile.

        Parameters
        ----------
        tile
            Of the plan.
        patch
            Its pixels, with the halo.
        """
        holes = tuple(part for hole in patch.holes if (part := hole.within(tile.own)).height and part.width)
        reduced = reduce(patch.image, self._um, self._map, self._learned.glass_rgb)
        sharpness, reason = self._judged(reduced)
        if holes and sum(hole.height * hole.width for hole in holes) == tile.own.height * tile.own.width:
            return TileCount(tile, "unreadable", holes, 1.0)
        if reason is not None:
            return TileCount(tile, reason, holes, sharpness)
        found = self._seeing.see(patch.image, reduced, self._map)
        near = [one for one in found.detections if self._counts(one, tile, patch)]
        witnessed = np.array([self._place(one, tile) for one in near], np.float32).reshape(-1, 2)
        ours = [one for one in near if _reaches(tile.own, self._place(one, tile), SAME_CELL_UM / self._um)]
        ours.sort(key=lambda one: one.centre_rc)
        cells = self._classified(ours, tile, patch, found, sharpness)
        return TileCount(tile, None, holes, sharpness, cells, self._small(tile, patch), witnessed)

    def _small(self, tile: Tile, patch: Patch) -> Image:
        top, left = tile.own.top - tile.seen.top, tile.own.left - tile.seen.left
        own = patch.image[top : top + tile.own.height, left : left + tile.own.width]
        return shrunk(own, tile.own, self._map_factor)

    def _judged(self, reduced: Reduced) -> tuple[float, Rejection | None]:
        measured = fine_to_coarse(reduced.green)
        sharpness = 1.0
        if measured is not None and self._learned.sharpness > 0:
            sharpness = min(measured / self._learned.sharpness, 1.0)
        mean = float(cv2.mean(reduced.green)[0])
        if mean > BRIGHT_MEAN and self._learned.glass_rgb[1] > BRIGHT_MEAN and measured is not None:
            return sharpness, "too_bright"
        return sharpness, "blurred" if sharpness < LEAST_SHARPNESS else None

    def _counts(self, detection: Detection, tile: Tile, patch: Patch) -> bool:
        """Whether a detection is seen whole, touches nothing that could not be read, and lies near the own ground."""
        place = self._place(detection, tile)
        if not (detection.whole and _reaches(tile.own, place, WITNESS_UM / self._um)):
            return False
        border = detection.reach_px + MARGIN_UM / self._um
        row, col = detection.centre_rc
        if not (border <= row <= tile.seen.height - border and border <= col <= tile.seen.width - border):
            return False
        return not any(_reaches(hole, place, border) for hole in patch.holes)

    def _place(self, detection: Detection, tile: Tile) -> tuple[float, float]:
        return detection.centre_rc[0] + tile.seen.top, detection.centre_rc[1] + tile.seen.left

    def _classified(
        self, detections: list[Detection], tile: Tile, patch: Patch, found: Field, sharpness: float
    ) -> tuple[FoundCell, ...]:
        if not detections:
            return ()
        crops = np.stack([crop(patch.image, one, self._um, found.background_rgb) for one in detections])
        probabilities = self._classifier.probabilities(crops)
        cells, others = [], 0
        for one, picture, chances in zip(detections, crops, probabilities, strict=True):
            verdict, _ = fuse(chances[None], self._manifest)
            shown = verdict.is_candidate or verdict.is_near_miss(self._manifest.threshold)
            others += not shown
            view = View(sharpness, tile.number, picture.copy()) if shown or others <= OTHERS_A_TILE else None
            cells.append(self._cell(one, tile, found, verdict, view))
        return tuple(cells)

    def _cell(
        self, detection: Detection, tile: Tile, found: Field, verdict: Verdict, view: View | None
    ) -> FoundCell:
        body = measure(detection, found)
        row, col = self._place(detection, tile)
        owned = tile.own.holds(row, col)
        outline = detection.outline_xy + np.array([tile.seen.left, tile.seen.top])
        return FoundCell(row, col, owned, verdict, body.diameter_um, body.nucleus_ratio, self._simple(outline), view)

    def _simple(self, outline_xy: NDArray[np.float64]) -> NDArray[np.int32]:
        """The hull of an outline, in as few points as show it."""
        hull = cv2.convexHull(outline_xy.astype(np.float32))
        simple = cv2.approxPolyDP(hull, OUTLINE_UM / self._um, True)
        return np.rint(simple[:, 0]).astype(np.int32)


def _reaches(box: Box, place_rc: tuple[float, float], by: float) -> bool:
    """Whether a place lies in a box or so near to it."""
    row, col = place_rc
    return box.top - by <= row < box.bottom + by and box.left - by <= col < box.right + by
