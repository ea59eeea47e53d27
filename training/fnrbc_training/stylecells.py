"""From unlabelled pictures of a laboratory to its styles: every nucleated cell that segmentation finds in them."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from fnrbc_device.camera.pictures import PictureReader
from fnrbc_device.errors import UsageError
from fnrbc_device.records import Image
from fnrbc_device.vision.preprocessing import crop
from fnrbc_device.vision.segmentation import Segmenter
from fnrbc_training.labelled import SUFFIXES
from fnrbc_training.styles import Laboratory, measure_styles

LEAST_UM: Final = 5.0
"""Diameter of a nucleus from which a detection is no platelet."""

Progress = Callable[[str, int, int], None]
"""Called with what is done, how many, of how many."""


def measured_in(folder: Path, pixel_size_um: float, source: str, most: int, progress: Progress) -> Laboratory:
    """Measure the styles of one laboratory.

    Parameters
    ----------
    folder
        Pictures of fields or of single cells; its name becomes the laboratory's.
    pixel_size_um
        Of the pictures, um.
    source
        Who made them, under which licence.
    most
        Cells that are kept, evenly chosen.
    progress
        Told about every picture.

    Raises
    ------
    UsageError
        There is no picture, or no cell in them.
    UnreadablePictureError
        A file is no picture, or was cut off.
    """
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES) if folder.is_dir() else []
    if not paths:
        raise UsageError(f"{folder} is no folder with pictures; give one folder a laboratory")
    reader, segmenter = PictureReader(), Segmenter(pixel_size_um)
    crops: list[Image] = []
    for done, path in enumerate(paths, 1):
        image = reader.read(path)
        field = segmenter.segment(image)
        whole = [d for d in field.detections if d.nucleus_diameter_um >= LEAST_UM and d.whole]
        crops += [crop(image, detection, pixel_size_um, field.background_rgb) for detection in whole]
        progress(f"measuring {folder.name}", done, len(paths))
    return measure_styles(folder.name, source, crops, most)
