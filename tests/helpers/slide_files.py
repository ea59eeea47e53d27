"""Writes pictures as slide files: pyramids with the metadata that scanners write, whole or damaged."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Packing = Literal["jpeg", "deflate", "none"]
Saying = Literal["resolution", "ome", "aperio", "nothing"]

JPEG_QUALITY = 95


def write_slide(
    path: Path,
    picture: Picture,
    um: float,
    *,
    saying: Saying = "resolution",
    tile_px: int = 256,
    packing: Packing = "jpeg",
    levels: int = 3,
    step: int = 4,
) -> Path:
    """A tiled pyramid of a picture, (H, W, 3) RGB or (H, W), each level a quarter of the last one's sides.

    ``saying`` is how it states its pixel size.
    """
    pyramid = shrunk(picture, levels, step)
    about: dict[str, Any] = {
        "tile": (tile_px, tile_px),
        "compression": None if packing == "none" else packing,
        "compressionargs": {"level": JPEG_QUALITY} if packing == "jpeg" else None,
        "photometric": "rgb" if picture.ndim == 3 else "minisblack",
    }
    if saying == "resolution":
        about |= {"resolution": (1e4 / um, 1e4 / um), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path, ome=saying == "ome", bigtiff=picture.nbytes > 2**31) as file:
        first: dict[str, Any] = {}
        if saying == "ome":
            axes = "YXS" if picture.ndim == 3 else "YX"
            first["metadata"] = {
                "axes": axes, "PhysicalSizeX": um, "PhysicalSizeXUnit": "um",
                "PhysicalSizeY": um, "PhysicalSizeYUnit": "um",
            }  # fmt: skip
        elif saying == "aperio":
            height, width = picture.shape[:2]
            said = f"Aperio Image Library v11.2.1 \r\n{width}x{height} [0,0 {width}x{height}] ({tile_px}x{tile_px})"
            first |= {"description": f"{said} JPEG/RGB Q=95|AppMag = 40|MPP = {um:.4f}", "metadata": None}
        else:
            first["metadata"] = None
        if saying == "aperio":  # its levels are pages one after the other, a thumbnail behind the first
            file.write(pyramid[0], **about, **first)
            file.write(np.ascontiguousarray(pyramid[-1]), photometric="rgb", metadata=None)
            for level in pyramid[1:]:
                file.write(level, **about, description=first["description"], metadata=None)
        else:
            file.write(pyramid[0], subifds=len(pyramid) - 1, **about, **first)
            for level in pyramid[1:]:
                file.write(level, subfiletype=1, **about, metadata=None)
    return path


def shrunk(picture: Picture, levels: int, step: int) -> list[Picture]:
    """A picture and its coarser levels."""
    pyramid = [picture]
    for _ in range(levels - 1):
        height, width = (max(1, side // step) for side in pyramid[-1].shape[:2])
        pyramid.append(np.asarray(cv2.resize(pyramid[-1], (width, height), interpolation=cv2.INTER_AREA), np.uint8))
    return pyramid


def spoil_tile(path: Path, number: int) -> None:
    """Overwrite the bytes of one tile of the finest level."""
    with tifffile.TiffFile(path) as file:
        page: Any = file.pages[0]
        offset, count = page.dataoffsets[number], page.databytecounts[number]
    with path.open("r+b") as raw:
        raw.seek(offset)
        raw.write(b"\x5a" * count)


def cut_off(path: Path, share: float) -> None:
    """Keep the first part of a file."""
    with path.open("r+b") as raw:
        raw.truncate(int(path.stat().st_size * share))


def unlike(
    rows: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]], near_px: float = 2.5
) -> list[tuple[float, float, str]]:
    """Cells of either count that the other has not at the same place in the same class."""
    both = ((rows, others), (others, rows))
    return [_told(row) for one, other in both for row in one if not _held(row, other, near_px)]


def _held(row: dict[str, Any], others: Sequence[dict[str, Any]], near_px: float) -> bool:
    near = [o for o in others if abs(o["x_px"] - row["x_px"]) <= near_px and abs(o["y_px"] - row["y_px"]) <= near_px]
    return len(near) == 1 and near[0]["class"] == row["class"]


def _told(row: dict[str, Any]) -> tuple[float, float, str]:
    return row["x_px"], row["y_px"], row["class"]
