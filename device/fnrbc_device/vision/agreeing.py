"""The threshold's candidates and the network's centres, made into one list of cells.

The threshold's outlines stay: they follow the picture pixel by pixel. Where the network is sure of a place beside an
outline's middle, that holds something else as well, and the nucleus is outlined round the place. Where the network
knows several cells in one outline, nuclei that touch, they are parted as it says; where it knows one wide nucleus in
several outlines, and no other cell in any of them, they are its lobes, and it is outlined once. What only one of them
sees is a cell if the network is sure, or does not contradict; what looks like a platelet is one only if the network
itself calls it a cell, and a nucleus grown dense is one unless the network denies it outright. In crowds, in tissue
and in clots, and wherever the threshold misses much of what the network is sure of, one threshold suits no two nuclei:
there the network's centres are the cells, and of the rest what it nearly calls one.
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

SAME_PLACE_UM: Final = 2.0
"""Further from a candidate's middle a sure centre says that its outline is wrong: of 48 such in ``munich`` and ``pbc``
all but two had taken a neighbour's nucleus or the cytoplasm with them, and the centre lay in the nucleus' middle."""

TOUCHING_RADII: Final = 0.8
"""Nuclei that touch lie at least so far apart, in the sum of their radii; lobes of one nucleus lie nearer."""

LOBED_UM: Final = 10.0
"""Diameter of a nucleus from which on its pieces are lobes. Of 720 painted pairs that touch the network took 28 for one
nucleus, at most so wide (27 of them 8.8 um at most); of 14 real nuclei in pieces twelve were 10.1 um and wider."""

FEWEST_SURE: Final = CROWD_PIECES
"""Sure centres below which nothing is said of a whole frame: stripes have one at most."""

LEAST_SEEN: Final = 0.7
"""Share of the sure centres that the threshold sees as well: below it, it does not suit the frame. F1 of tissue
(``nuclei``) is .704 without and .711 with it; on single cells and in smears nothing changes."""

CROWD_HEAT: Final = 0.35
"""0..1, of what no centre lies in, in such frames. Of the nuclei of ``he_fields`` .945 are found without these, .968
with them; at .3 sixty more come along, of which fifteen were marked."""

DENIED_HEAT: Final = 0.05
"""0..1, from which on a nucleus grown dense counts though the network contradicts: late erythroblasts of ``pbc`` have
.09 to .20, in other stains .06 to .20."""

ALONE_UM: Final = 1.0
"""A platelet lies this far from any nucleus, edge to edge, or is taken for one: of painted pairs, before their stain is
known, 3 in 100 are of a nucleus as small and as pale, and lie nearer."""

Outlined = Callable[[list[int]], list[Detection]]


def agreed_on(
    candidates: list[Detection],
    centres: list[Centre],
    pixel_um: float,
    heat_at: Callable[[Detection], float],
    like_a_platelet: Callable[[Detection], bool],
    like_chromatin: Callable[[Detection], bool],
    agreed_heat: float,
    least_heat: float,
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
    like_a_platelet
        Whether a candidate may be one by its size, colour and surroundings; see ``may_be_a_platelet``.
    like_chromatin
        Whether it absorbs what only a nucleus does; see ``is_dense_chromatin``.
    agreed_heat
        0..1, from which on it does not contradict.
    least_heat
        0..1, from which on it calls something a cell.
    outlined
        Outlines the centres of those places in the list.
    """
    near = _near(candidates, centres, pixel_um)
    seen = np.asarray(near.any(axis=1), np.bool_)
    sure = np.array([one.heat >= SURE_HEAT for one in centres], np.bool_)
    if sure.sum() >= FEWEST_SURE and (seen[sure].mean() < LEAST_SEEN or _are_crowded(centres, pixel_um)):
        reached = _reached(candidates, centres)
        rest = [one for one, known in zip(candidates, reached, strict=True) if not known and heat_at(one) >= CROWD_HEAT]
        return outlined(list(range(len(centres)))) + rest

    def agrees(candidate: Detection, lone: bool) -> bool:
        """Whether the network does not contradict where it knows no centre."""
        heat = heat_at(candidate)
        if DENIED_HEAT <= heat < agreed_heat:
            return like_chromatin(candidate)
        doubtful = agreed_heat <= heat < least_heat and lone and like_a_platelet(candidate)
        return heat >= agreed_heat and not doubtful

    alone = near.sum(axis=1) == 1
    lobes = _lobes(near, centres, pixel_um)
    places = np.flatnonzero(sure & ~seen | lobes.any(axis=1)).tolist()
    kept: list[Detection] = []
    for candidate, own, is_lobe, lone in zip(
        candidates, near.T, np.asarray(lobes.any(axis=0)), _lone(candidates, pixel_um), strict=True
    ):
        if is_lobe:
            continue
        claimed = np.flatnonzero(own).tolist()
        if claimed and alone[claimed].all() and _know_better([centres[at] for at in claimed], candidate, pixel_um):
            places += claimed
            continue
        if claimed or agrees(candidate, lone):
            kept.append(candidate)
    return kept + outlined(places)


def _lone(candidates: list[Detection], pixel_um: float) -> NDArray[np.bool_]:
    """Which of them touch no other."""
    rows, cols, diameters = np.array([(*one.centre_rc, one.nucleus_diameter_um) for one in candidates]).reshape(-1, 3).T
    gaps = np.hypot(rows[:, None] - rows, cols[:, None] - cols) * pixel_um - (diameters[:, None] + diameters) / 2
    np.fill_diagonal(gaps, np.inf)
    return np.asarray(gaps.min(axis=1, initial=np.inf) >= ALONE_UM, np.bool_)


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


def _reached(candidates: list[Detection], centres: list[Centre]) -> NDArray[np.bool_]:
    """Which candidates a centre lies in, or between what they are made of."""
    ours = np.array([(*one.centre_rc, one.reach_px) for one in candidates]).reshape(-1, 3)
    theirs = np.array([(one.row, one.col, one.radius) for one in centres]).reshape(-1, 3)
    apart = np.hypot(*(theirs[None, :, :2] - ours[:, None, :2]).transpose(2, 0, 1))
    return np.asarray((apart <= np.maximum(ours[:, None, 2], theirs[None, :, 2])).any(axis=1), np.bool_)


def _know_better(centres: list[Centre], candidate: Detection, pixel_um: float) -> bool:
    """Whether these, which lie in no other candidate, are outlined anew instead of it."""
    if len(centres) > 1:
        return _only_touch(centres)
    (one,) = centres
    apart = np.hypot(one.row - candidate.centre_rc[0], one.col - candidate.centre_rc[1])
    return one.heat >= SURE_HEAT and bool(apart * pixel_um > SAME_PLACE_UM)


def _lobes(near: NDArray[np.bool_], centres: list[Centre], pixel_um: float) -> NDArray[np.bool_]:
    """(centres, candidates): where several candidates have one and the same wide nucleus, and no other."""
    wide = np.array([2 * one.radius * pixel_um > LOBED_UM for one in centres], np.bool_).reshape(-1, 1)
    only = near & wide & (near.sum(axis=0) == 1)
    return np.asarray(only & (only.sum(axis=1, keepdims=True) > 1), np.bool_)


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
