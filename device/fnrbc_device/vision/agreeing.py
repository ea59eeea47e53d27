"""The threshold's candidates and the network's centres, made into one list of cells.

The threshold's outlines stay: they follow the picture pixel by pixel. Where the network knows several cells in one of
them, nuclei that touch, they are parted as it says; pieces that the threshold parted are not joined again. What only
one of them sees is a cell if the network is sure, or does not contradict. In crowds, in tissue and in clots, one
threshold suits no two nuclei: there the network is believed alone.
"""

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.records import Detection
from fnrbc_device.vision.centres import Centre
from fnrbc_device.vision.crowding import COARSE_UM, CROWD_PIECES, is_crowded

AGREED_UM: Final = 3.0
"""A candidate and a centre this near are one, or within either's radius: a lobed nucleus' middle lies off its lobes."""

CORE_RADII: Final = 0.7
"""Radii of the discs that stand for nuclei where it is asked whether they are a crowd: those that touch stay apart."""

SURE_HEAT: Final = 0.55
"""0..1, of centres that count where the threshold sees nothing, and that make a crowd. Stripes of a camera's test
picture reach .55, six of them a frame .4; of single cells as many are found at .55 as at .4."""

TOUCHING_RADII: Final = 0.8
"""Nuclei that touch lie at least so far apart, in the sum of their radii; lobes of one nucleus lie nearer."""

Outlined = Callable[[list[int]], list[Detection]]


def agreed_on(
    candidates: list[Detection],
    centres: list[Centre],
    pixel_um: float,
    heat_at: Callable[[Detection], float],
    agreed_heat: float,
    outlined: Outlined,
) -> list[Detection]:
    """Give the cells of a frame, each once.

    Parameters
    ----------
    candidates
        Of the threshold.
    centres
        Of the network, sure ones.
    pixel_um
        Size of a frame pixel, um.
    heat_at
        0..1, what the network makes of a candidate that none of its centres lies in.
    agreed_heat
        0..1, from which on it does not contradict.
    outlined
        Outlines the centres of those places in the list.
    """
    if _are_crowded([one for one in centres if one.heat >= SURE_HEAT], pixel_um):
        return outlined(list(range(len(centres))))
    near = _near(candidates, centres, pixel_um)
    alone = near.sum(axis=1) == 1
    places = [int(own) for own in np.flatnonzero(~near.any(axis=1)) if centres[own].heat >= SURE_HEAT]
    kept: list[Detection] = []
    for candidate, own in zip(candidates, near.T, strict=True):
        if own.sum() >= 2 and alone[own].all() and _only_touch([centres[place] for place in np.flatnonzero(own)]):
            places += np.flatnonzero(own).tolist()
        elif own.any() or heat_at(candidate) >= agreed_heat:
            kept.append(candidate)
    return kept + outlined(places)


def _are_crowded(centres: list[Centre], pixel_um: float) -> bool:
    """Whether most of the network's nuclei lie in crowds; looked at in pixels of ``COARSE_UM``."""
    if len(centres) < CROWD_PIECES:
        return False
    discs = np.array([(one.col, one.row, CORE_RADII * one.radius) for one in centres]) * pixel_um / COARSE_UM
    places = np.rint(discs[:, :2] - (discs[:, :2] - discs[:, 2:]).min(axis=0)).astype(int)
    width, height = (places + np.ceil(discs[:, 2:]).astype(int)).max(axis=0) + 1
    dark = np.zeros((height, width), np.uint8)
    for (col, row), radius in zip(places.tolist(), discs[:, 2].tolist(), strict=True):
        cv2.circle(dark, (col, row), int(radius), 255, -1)
    return is_crowded(dark, COARSE_UM)


def _only_touch(centres: list[Centre]) -> bool:
    """Whether these can be nuclei of their own, side by side."""
    row, col, radius = np.array([(one.row, one.col, one.radius) for one in centres]).T
    apart = np.hypot(row[:, None] - row, col[:, None] - col)
    np.fill_diagonal(apart, np.inf)
    return bool((apart >= TOUCHING_RADII * (radius[:, None] + radius)).all())


def _near(candidates: list[Detection], centres: list[Centre], pixel_um: float) -> NDArray[np.bool_]:
    """(centres, candidates): whether one lies within the other, or as near as is still one."""
    ours = np.array([(*one.centre_rc, one.nucleus_diameter_um / 2 / pixel_um) for one in candidates]).reshape(-1, 3)
    theirs = np.array([(one.row, one.col, one.radius) for one in centres]).reshape(-1, 3)
    apart = np.hypot(*(theirs[:, None, :2] - ours[None, :, :2]).transpose(2, 0, 1))
    reach = np.maximum(AGREED_UM / pixel_um, np.maximum(theirs[:, None, 2], ours[None, :, 2]))
    return np.asarray(apart <= reach, np.bool_)
