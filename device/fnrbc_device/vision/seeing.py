"""Where the cells of a frame are: by the paper's threshold, by the centre network, or by both together."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.records import Detection, Field, Image, SeeingMethod
from fnrbc_device.vision.agreeing import AGREED_UM, agreed_on
from fnrbc_device.vision.centre_picture import STRIDE, at_centre_scale, centre_picture
from fnrbc_device.vision.centres import Centre, centres_of, outlines_of
from fnrbc_device.vision.platelets import is_dense_chromatin, may_be_a_platelet
from fnrbc_device.vision.reduction import Reduced
from fnrbc_device.vision.segmentation import Level, Segmenter, detection_of
from fnrbc_device.vision.stain import StainMap


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
    agreed_heat: float
    """0..1, of a peak that agrees to a candidate of the threshold."""


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

    @property
    def knows(self) -> bool:
        """Whether it is known what is dark enough for a nucleus, or need not be."""
        return self.method == "network" or self._segmenter.knows

    def see(self, image: Image, reduced: Reduced, stain_map: StainMap, frames: int = 1) -> Field:
        """Find the cells of one frame.

        Parameters
        ----------
        image
            (H, W, 3) uint8 RGB, as the camera gave it.
        reduced
            Its working pictures, the light evened out, in the session's stain.
        stain_map
            Of the session.
        frames
            How many went by since one was looked at, this one included.
        """
        if self.method == "threshold":
            return self._segmenter.segment_reduced(reduced, frames)
        picture, factor = self._picture(image, reduced, stain_map)
        maps = self._known.network.maps(picture)
        centres = self._centres(maps, factor, image)
        if self.method == "network":
            cells = self._outlined(centres, reduced, range(len(centres)))
            return Field(cells, reduced.glass_rgb, 0.0, reduced.green, reduced.pixel_um)
        found = self._segmenter.segment_reduced(reduced, frames)
        cells = agreed_on(
            found.detections,
            centres,
            self._pixel_size_um,
            heat_at=lambda one: self._hottest(maps[0], factor, one),
            like_a_platelet=lambda one: may_be_a_platelet(one, picture, factor),
            like_chromatin=lambda one: is_dense_chromatin(one, picture, factor),
            agreed_heat=self._known.agreed_heat,
            least_heat=self._known.least_heat,
            outlined=lambda places: self._outlined(centres, reduced, places),
        )
        return replace(found, detections=cells)

    def _picture(self, image: Image, reduced: Reduced, stain_map: StainMap) -> tuple[NDArray[np.float32], float]:
        """What the network looks at, and frame pixels a pixel of it."""
        shown, shrunk = (image, 1.0) if reduced.colours is None else (reduced.colours, reduced.factor)
        scaled, factor = at_centre_scale(shown, self._pixel_size_um * shrunk)
        return centre_picture(scaled, reduced.glass_rgb, stain_map), factor * shrunk

    def _centres(self, maps: NDArray[np.float32], factor: float, image: Image) -> list[Centre]:
        height, width = image.shape[:2]
        found = centres_of(maps, factor, self._pixel_size_um, self._known.least_heat)
        return [one for one in found if 0 <= one.row < height and 0 <= one.col < width]

    def _outlined(self, centres: list[Centre], reduced: Reduced, places: Iterable[int]) -> list[Detection]:
        outlines = outlines_of(centres, reduced, places)
        return [detection_of(outline, reduced, reduced.green.shape) for outline in outlines]

    def _hottest(self, heat: NDArray[np.float32], factor: float, candidate: Detection) -> float:
        """The highest heat within a candidate's nucleus or ``AGREED_UM``, 0..1."""
        stride = STRIDE * factor
        row, col = ((at + 0.5) / stride - 0.5 for at in candidate.centre_rc)
        near = max(AGREED_UM, candidate.nucleus_diameter_um / 2) / self._pixel_size_um / stride
        top, left = max(int(np.ceil(row - near)), 0), max(int(np.ceil(col - near)), 0)
        window = heat[top : int(row + near) + 1, left : int(col + near) + 1]
        rows, cols = np.ogrid[top : top + window.shape[0], left : left + window.shape[1]]
        within = np.hypot(rows - row, cols - col) <= near
        return 1 / (1 + float(np.exp(-window.max(where=within, initial=-50.0))))

    @property
    def _known(self) -> CentreModel:
        assert self._model is not None
        return self._model
