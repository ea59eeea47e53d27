"""The map of the slide as the page draws it: ground seen, the path, gaps left out, islands whose place is unknown."""

from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.counting.slidemap import Mosaic, SlideMap
from fnrbc_device.records import Image, Pose
from fnrbc_device.web.events import base64_of, event

MAP_PX: Final = 512
"""Longest side of the map that is sent; its place on the page is about 360 px wide."""

ISLAND_PX: Final = 128
"""Longest side of the small picture of an island that is not in view."""

MAX_ISLANDS: Final = 6
"""Small pictures sent at most, of the newest islands; how many more there are is said in a figure."""

MAX_PATH_POINTS: Final = 400
"""Bound on the path that is sent with each map."""

SMALLEST_GAP_UM2: Final = 400.0
"""A hole in the ground seen smaller than this, 20 um square, holds hardly a whole cell and is not told of."""

STRIPE_PX: Final = 3
"""Width of the stripes that gaps are hatched with, map px."""

STRIPES_RGB: Final = ((255, 200, 87), (20, 25, 30))


@dataclass(frozen=True, slots=True, eq=False)
class UnseenGround:
    """Ground never seen that seen ground encloses."""

    count: int
    area_mm2: float
    mask: NDArray[np.bool_]
    """(H, W) px of the mosaic."""


def map_event(slide_map: SlideMap | None, pose: Pose | None) -> bytes | None:
    """Map of the island that the field is on, and the others small; the newest where the field's place is not known.

    Parameters
    ----------
    slide_map
        None before the first good frame.
    pose
        Of the field in view; None where it is not known.

    Returns
    -------
    bytes or None
        The event; None while nothing was seen.
    """
    islands = slide_map.islands if slide_map else ()
    if slide_map is None or not islands:
        return None
    island = pose.island if pose and pose.island in islands else islands[-1]
    mosaic = slide_map.mosaic(island, MAP_PX)
    if mosaic is None:
        return None
    gaps = gaps_in(mosaic)
    return event(
        "map",
        {
            "png": _png(mosaic, gaps),
            "island": island,
            "islands": len(islands),
            "others": _others(slide_map, [one for one in islands if one != island]),
            "gaps": gaps.count,
            "gaps_mm2": round(gaps.area_mm2, 4),
            "width": mosaic.image.shape[1],
            "height": mosaic.image.shape[0],
            "um_per_px": mosaic.um_per_px,
            "origin_rc_um": mosaic.origin_rc_um,
            **_path(slide_map, island),
            "full": slide_map.full,
        },
    )


def gaps_in(mosaic: Mosaic) -> UnseenGround:
    """Find the holes: unseen ground that cannot be reached from outside without crossing seen ground."""
    unseen = np.pad((mosaic.coverage == 0).astype(np.uint8), 1, constant_values=1)
    count, labels, figures, _ = cv2.connectedComponentsWithStats(unseen, connectivity=4)
    um2 = mosaic.um_per_px**2
    areas = figures[:, cv2.CC_STAT_AREA] * um2
    # The frame of ones laid round the picture belongs to what lies outside.
    outside = labels[0, 0]
    holes = [one for one in range(1, count) if one != outside and areas[one] >= SMALLEST_GAP_UM2]
    mask = np.isin(labels, holes)[1:-1, 1:-1]
    return UnseenGround(len(holes), float(areas[holes].sum()) * 1e-6, mask)


def _others(slide_map: SlideMap, islands: list[int]) -> list[dict[str, Any]]:
    found = [slide_map.mosaic(island, ISLAND_PX) for island in islands[-MAX_ISLANDS:]]
    return [{"island": one.island, "png": _png(one, gaps_in(one))} for one in found if one is not None]


def _path(slide_map: SlideMap, island: int) -> dict[str, list[Any]]:
    """The path, thinned, and the points of it after which fields do not overlap: the way between was not seen."""
    path = slide_map.path(island)
    broken = np.flatnonzero((np.abs(np.diff(path, axis=0)) > slide_map.frame_um).any(axis=1))
    kept = np.zeros(len(path), bool)
    kept[:: max(1, -(-len(path) // MAX_PATH_POINTS))] = True
    kept[broken] = kept[broken + 1] = True
    places = np.cumsum(kept) - 1
    return {"path_rc_um": np.rint(path[kept]).astype(int).tolist(), "broken_after": places[broken].tolist()}


def _png(mosaic: Mosaic, gaps: UnseenGround) -> str:
    """See-through where nothing was seen; hatched where that is a gap."""
    bgra = np.dstack([_hatched(mosaic.image, gaps.mask)[..., ::-1], np.maximum(mosaic.coverage, 255 * gaps.mask)])
    encoded = cv2.imencode(".png", bgra.astype(np.uint8), [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
    return base64_of(encoded.tobytes())


def _hatched(image: Image, mask: NDArray[np.bool_]) -> Image:
    if not mask.any():
        return image
    rows, cols = np.nonzero(mask)
    hatched = image.copy()
    hatched[rows, cols] = np.array(STRIPES_RGB, np.uint8)[(rows + cols) // STRIPE_PX % 2]
    return hatched
