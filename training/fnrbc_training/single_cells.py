"""Which of the nuclei in a picture of one cell is the labelled cell's.

Such pictures are cut from larger fields, so that neighbours stand at their borders.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from fnrbc_device.records import Detection, Field
from fnrbc_device.vision.outline import Outline, joined
from fnrbc_device.vision.reduction import Reduced
from fnrbc_device.vision.segmentation import SMALLEST_NUCLEUS_UM, Segmenter, detection_of
from fnrbc_training.see_page import lobes_of

NEAR_UM: Final = 4.5
"""A nucleus no further from the middle of a single-cell picture is the labelled cell's."""

FAR_UM: Final = 7.0
"""If none is as near, a single one within this is: a tenth of one laboratory's cells are not in the middle of their
pictures."""

WHOLE_UM: Final = 7.0
"""What is smaller and cut may be a lobe alone, of a nucleus of which the rest is another cell's."""

NEXT: Final = 1.5
"""Times as far from the middle a second nucleus lies, of ``pbc``'s pictures of an erythroblast off the middle. In two
with a neutrophil 1.1 and 1.2 times as near as it, which of both is the labelled one only its class says."""

Place = tuple[float, float]


def seen_alone(reduced: Reduced, pixel_size_um: float) -> Field:
    """Find the nuclei in a picture of one cell, none joined to what the picture's border cuts.

    A fifth of one laboratory's cells (``munich``) had been joined to a neighbour at the border, as if it were a lobe of
    theirs: the label then stood for a place between the two. What stays of such a nucleus counts as cut.
    """
    field = Segmenter(pixel_size_um).segment_reduced(reduced)
    parted = [part for one in field.detections for part in _parted(one, reduced)]
    return replace(field, detections=[one for one in parted if one.nucleus_diameter_um >= SMALLEST_NUCLEUS_UM])


def _parted(one: Detection, reduced: Reduced) -> list[Detection]:
    lobes = [Outline.of(points) for points in lobes_of(one)]
    parts = [detection_of(lobe, reduced, reduced.green.shape) for lobe in lobes]
    within = [lobe for lobe, part in zip(lobes, parts, strict=True) if part.whole]
    if len(within) == len(lobes):
        return [one]
    cut = [part for part in parts if not part.whole]
    if within:
        cut.append(replace(detection_of(joined(within), reduced, reduced.green.shape), whole=False))
    return cut


def labelled_one(detections: Sequence[Detection], middle_rc: Place, pixel_size_um: float) -> Detection | None:
    """Choose a nucleus that a picture of one cell may have been made for; None where that is not clear.

    Parameters
    ----------
    detections
        As ``seen_alone`` gives them.
    middle_rc
        Of the picture, px.
    pixel_size_um
        Of the picture.
    """
    own = _own(_apart_um(detections, middle_rc, pixel_size_um))
    if own is None:
        return None
    one = detections[own]
    return one if one.whole or one.nucleus_diameter_um >= WHOLE_UM else None


def surely_labelled(detections: Sequence[Detection], middle_rc: Place, pixel_size_um: float) -> Detection | None:
    """The same where the picture's label is to be learned, and not only that there is a cell.

    What lies off the middle has to be whole, and no other nucleus nearly as near: of two cells side by side the label
    means one, and it need not be the nearer one.
    """
    one = labelled_one(detections, middle_rc, pixel_size_um)
    nearest, *others = sorted(_apart_um(detections, middle_rc, pixel_size_um)) or [0.0]
    if one is None or nearest <= NEAR_UM:
        return one
    return one if one.whole and all(other >= NEXT * nearest for other in others) else None


def _apart_um(detections: Sequence[Detection], middle_rc: Place, pixel_size_um: float) -> list[float]:
    return [pixel_size_um * float(np.hypot(*np.subtract(one.centre_rc, middle_rc))) for one in detections]


def _own(apart_um: list[float]) -> int | None:
    if apart_um and min(apart_um) <= NEAR_UM:
        return apart_um.index(min(apart_um))
    far = [index for index, value in enumerate(apart_um) if value <= FAR_UM]
    return far[0] if len(far) == 1 else None
