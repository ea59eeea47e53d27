"""Where the cells of a frame are: by the paper's threshold, by the centre network, or by both together."""

from dataclasses import dataclass
from typing import Final, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.records import Detection, Field, Image, SeeingMethod
from fnrbc_device.vision.centre_picture import CENTRE_UM, STRIDE, at_centre_scale, centre_picture
from fnrbc_device.vision.centres import Centre, centres_of, outlines_of
from fnrbc_device.vision.reduction import Reduced
from fnrbc_device.vision.segmentation import Level, Segmenter, detection_of
from fnrbc_device.vision.stain import StainMap

AGREED_UM: Final = 3.0
"""A candidate and a centre this near are one, or within the nucleus' radius: a lobed nucleus' middle lies off its
lobes."""

WINDOW: Final = 48
"""Side of what the network is shown round a candidate, px of its picture: 17 um. Of thirteen cells a fifth of a frame.
With 64 px a fifth fewer false ones stay on ``anaemia_fields``, and the network takes a third longer."""

TOGETHER: Final = 40
"""Windows shown at once, side by side: as much as a frame."""


class CentreNetwork(Protocol):
    """Looks at a picture and says where centres are. Bound to one thread: the one that made it."""

    def maps(self, picture: NDArray[np.float32]) -> NDArray[np.float32]:
        """(1, 3, h, w) float32 as ``centre_picture`` makes it, to maps (5, h / 4, w / 4)."""

    def close(self) -> None:
        """Give back what the network holds."""


@dataclass(frozen=True, slots=True, eq=False)
class CentreModel:
    """A network that proved itself, and what it is used for."""

    network: CentreNetwork
    method: SeeingMethod
    least_heat: float
    """0..1, of a peak that is a cell; the bundle says it."""


class Seeing:
    """Finds the cells of one session's frames.

    Parameters
    ----------
    pixel_size_um
        Size of the frames' pixels, um, > 0.
    model
        None for the paper's threshold alone.
    level
        How dark nuclei are, where that is known beforehand.
    """

    def __init__(self, pixel_size_um: float, model: CentreModel | None = None, level: Level | None = None) -> None:
        self._pixel_size_um = pixel_size_um
        self._model = model
        self._segmenter = Segmenter(pixel_size_um, level)

    @property
    def method(self) -> SeeingMethod:
        """Who says where cells are."""
        return "threshold" if self._model is None else self._model.method

    def see(self, image: Image, reduced: Reduced, stain_map: StainMap) -> Field:
        """Find the cells of one frame.

        Parameters
        ----------
        image
            (H, W, 3) uint8 RGB, as the camera gave it.
        reduced
            Its working pictures, the light evened out, in the session's stain.
        stain_map
            Of the session.
        """
        if self.method == "network":
            return self._by_network(self.centres(image, reduced, stain_map), reduced)
        found = self._segmenter.segment_reduced(reduced)
        if self.method == "threshold" or not found.detections:
            return found
        agreed = self._agreed(found.detections, image, reduced, stain_map)
        return Field(agreed, found.background_rgb, found.threshold, found.low, found.pixel_um)

    def centres(self, image: Image, reduced: Reduced, stain_map: StainMap) -> list[Centre]:
        """What the network says of a frame; frame pixels."""
        assert self._model is not None
        scaled, factor = at_centre_scale(image, self._pixel_size_um)
        maps = self._maps(scaled, reduced.glass_rgb, stain_map)
        height, width = image.shape[:2]
        found = centres_of(maps, factor, self._pixel_size_um, self._model.least_heat)
        return [one for one in found if 0 <= one.row < height and 0 <= one.col < width]

    def _by_network(self, centres: list[Centre], reduced: Reduced) -> Field:
        outlines = outlines_of(centres, reduced)
        detections = [detection_of(outline, reduced, reduced.green.shape) for outline in outlines]
        return Field(detections, reduced.glass_rgb, 0.0, reduced.green, reduced.pixel_um)

    def _agreed(
        self, candidates: list[Detection], image: Image, reduced: Reduced, stain_map: StainMap
    ) -> list[Detection]:
        """Those that the network, shown a window round each, takes for cells, too."""
        kept: list[Detection] = []
        for start in range(0, len(candidates), TOGETHER):
            some = candidates[start : start + TOGETHER]
            windows = [self._window(one, image, reduced.glass_rgb) for one in some]
            heat = self._maps(np.hstack(windows), reduced.glass_rgb, stain_map)[0]
            hottest = [self._hottest(heat, place, one) for place, one in enumerate(some)]
            kept += [one for one, value in zip(some, hottest, strict=True) if value >= self._least_logit]
        return kept

    def _window(self, candidate: Detection, image: Image, glass_rgb: tuple[float, float, float]) -> Image:
        """(``WINDOW``, ``WINDOW``, 3) at the network's scale, the candidate in its middle; glass beyond the frame."""
        half = WINDOW / 2 * CENTRE_UM / self._pixel_size_um
        reach = int(half) + 2
        row, col = (round(at) for at in candidate.centre_rc)
        top, left = max(row - reach, 0), max(col - reach, 0)
        patch, factor = at_centre_scale(image[top : row + reach, left : col + reach], self._pixel_size_um)
        own = candidate.centre_rc[0] - top, candidate.centre_rc[1] - left
        down, right = (round(WINDOW / 2 - 0.5 - ((at + 0.5) / factor - 0.5)) for at in own)
        move = np.array([[1.0, 0, right], [0, 1, down]])
        size = (WINDOW, WINDOW)
        return np.asarray(cv2.warpAffine(patch, move, size, flags=cv2.INTER_NEAREST, borderValue=glass_rgb), np.uint8)

    def _hottest(self, heat: NDArray[np.float32], place: int, candidate: Detection) -> float:
        """The highest heat near the middle of a window, within the nucleus or ``AGREED_UM``."""
        side = WINDOW // STRIDE
        near = max(AGREED_UM, candidate.nucleus_diameter_um / 2) / CENTRE_UM / STRIDE
        at = np.arange(side) - (side / 2 - 0.5)
        within = np.hypot(at[:, None], at) <= near
        return float(heat[:side, place * side : (place + 1) * side][within].max())

    def _maps(
        self, scaled: Image, glass_rgb: tuple[float, float, float], stain_map: StainMap
    ) -> NDArray[np.float32]:
        assert self._model is not None
        return self._model.network.maps(centre_picture(scaled, glass_rgb, stain_map))

    @property
    def _least_logit(self) -> float:
        assert self._model is not None
        return float(np.log(self._model.least_heat / (1 - self._model.least_heat)))
