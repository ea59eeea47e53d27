"""Writes simulated pictures to disk: single cells to train on, and frames of a pan to count."""

import csv
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.camera.simulated.smear import TrueCell
from fnrbc_device.camera.simulated.stain import SPECIES, LookName
from fnrbc_device.errors import UsageError
from fnrbc_device.records import Image

CROP_PX: Final = 240
"""30 um at 0.125 um a pixel: the largest leukocyte and its surroundings."""
DATASET_PIXEL_SIZE_UM: Final = 0.125
CELLS_A_SLIDE: Final = 120
"""Looks and slides take turns along the file numbers, so that blocks of numbers split them evenly."""
LOOKS_IN_TURN: Final[tuple[LookName, LookName]] = ("giemsa", "he")
DATASET_SHARES: Final = {
    "fnrbc": 0.4,
    "neutrophil": 0.2,
    "lymphocyte": 0.2,
    "monocyte": 0.1,
    "eosinophil": 0.1,
}
BYSTANDER_SHARE: Final = 0.08
"""Platelets, red cells and debris: this many of each for one nucleated cell."""
BYSTANDERS: Final = ("platelet", "red_cell", "debris")
HEAPED: Final = 6
"""Red cells from heaps, for each of the other bystanders: about one in ten is dark enough to be taken for a cell."""
STAIN_SPREAD: Final = 0.12
"""Slides differ by this share of stain. The nuclei of 28 to 79 real crops a class spread by 5 to 10 %."""
NOISE: Final = 2.0
"""Standard deviation of the sensor's noise, grey levels."""
MOST_DEFOCUS_PX: Final = 0.8
JPEG_QUALITY: Final = 95
POSES_COLUMNS: Final = ("frame", "x_px", "y_px", "blur_px", "defocus_px")
TRUTH_COLUMNS: Final = ("cell", "class", "x_px", "y_px", "times_seen", "times_sharp")


def write_dataset(
    out: Path, cells: int, seed: int, *, progress: Callable[[int, int], None] | None = None
) -> dict[str, int]:
    """Write single-cell crops in class folders, with a ``dataset.toml`` that says what the folders mean.

    Parameters
    ----------
    out
        Folder, made where absent; it must be empty.
    cells
        Number of nucleated cells, >= 1, in both looks by turns. Platelets, red cells and debris come on top,
        8 % each.
    seed
        Of the random numbers, >= 0.
    progress
        Called with crops written and slides still to come, after each slide.

    Returns
    -------
    dict[str, int]
        Number of crops by class.

    Raises
    ------
    UsageError
        ``cells`` is below 1, or the folder is not empty.
    """
    if cells < 1:
        raise UsageError(f"{cells} cells is below the limit of 1; ask for 1 or more")
    _start_empty(out)
    written: Counter[str] = Counter()
    slides = -(-cells // CELLS_A_SLIDE)
    for number in range(slides):
        share = cells * (number + 1) // slides - cells * number // slides
        look = LOOKS_IN_TURN[number % 2]
        rng = np.random.default_rng((seed, number))
        slide = _slide(look, share, rng)
        for cell in (*slide.truth, *_some_bystanders(slide, round(share * BYSTANDER_SHARE), rng)):
            name = f"{written[cell.class_name]:06d}_{look}.png"
            _write_crop(out / cell.class_name / name, slide, cell, rng)
            written[cell.class_name] += 1
        if progress is not None:
            progress(sum(written.values()), slides - number - 1)
    (out / "dataset.toml").write_text(_dataset_toml(written, seed), encoding="utf-8")
    return dict(written)


def write_frames(
    out: Path,
    microscope: SimulatedMicroscope,
    *,
    frames: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write the frames of a pan, and the truth about them.

    Writes ``frames/000000.jpg`` and on; ``poses.csv`` (frame, x_px, y_px, blur_px, defocus_px: the window's
    top-left corner on the slide); and ``truth.csv`` (cell, class, x_px, y_px, times_seen, times_sharp: the
    nucleated cells; times_sharp counts frames that show a cell whole with <= 3 px of blur and <= 1 px of
    defocus).

    Parameters
    ----------
    out
        Folder, made where absent; it must be empty.
    microscope
        Unpaced, and not read from yet.
    frames
        How many to write; None for the whole path.
    progress
        Called with frames written and frames in all, after each.

    Returns
    -------
    int
        Number of frames written.

    Raises
    ------
    UsageError
        The folder is not empty.
    """
    _start_empty(out)
    (out / "frames").mkdir()
    count = len(microscope) if frames is None else min(frames, len(microscope))
    for index in range(count):
        _write_picture(out / "frames" / f"{index:06d}.jpg", microscope.image(index))
        if progress is not None:
            progress(index + 1, count)
    _write_csv(out / "poses.csv", POSES_COLUMNS, _poses(microscope, count))
    _write_csv(out / "truth.csv", TRUTH_COLUMNS, _truth(microscope, count))
    return count


def _slide(look: LookName, cells: int, rng: np.random.Generator) -> SimulatedSlide:
    """Make a slide with more or less stain than the look's, as no two real ones are stained alike."""
    strength = rng.uniform(1.0 - STAIN_SPREAD, 1.0 + STAIN_SPREAD)
    red, green, blue = (float(strength * tint) for tint in rng.uniform(0.95, 1.05, 3))
    return SimulatedSlide.make(
        int(rng.integers(2**31)),
        look,
        cells,
        DATASET_PIXEL_SIZE_UM,
        shares=DATASET_SHARES,
        stain=(red, green, blue),
    )


def _poses(microscope: SimulatedMicroscope, count: int) -> Iterable[tuple[object, ...]]:
    for index in range(count):
        pose = microscope.pose(index)
        blur, defocus = microscope.blur_px(index), microscope.defocus_px(index)
        yield index, round(pose.col_px, 3), round(pose.row_px, 3), round(blur, 2), round(defocus, 2)


def _truth(microscope: SimulatedMicroscope, count: int) -> Iterable[tuple[object, ...]]:
    seen, sharp = microscope.times_seen(count), microscope.times_sharp(count)
    for index, cell in enumerate(microscope.slide.truth):
        place = round(cell.col_px, 1), round(cell.row_px, 1)
        yield index, cell.class_name, *place, int(seen[index]), int(sharp[index])


def _some_bystanders(slide: SimulatedSlide, each: int, rng: np.random.Generator) -> list[TrueCell]:
    """Up to ``each`` of every kind, from all over the slide; and red cells from the densest heaps.

    Where red cells lie on each other they are as dark as a nucleus; a single one is taken for a cell by nobody.
    """
    chosen: list[TrueCell] = []
    for name in BYSTANDERS:
        kind = [cell for cell in slide.bystanders if cell.class_name == name]
        chosen += [kind[index] for index in rng.permutation(len(kind))[:each]]
    return chosen + _most_heaped(slide, HEAPED * each)


def _most_heaped(slide: SimulatedSlide, number: int) -> list[TrueCell]:
    """Red cells with the most of others within their own radius."""
    red = [cell for cell in slide.bystanders if cell.class_name == "red_cell"]
    places = np.array([(cell.row_px, cell.col_px) for cell in red]).reshape(-1, 2)
    radius_px = np.array([cell.diameter_um for cell in red]) / 2 / slide.pixel_size_um
    apart = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
    heaped = np.clip(1 - apart / (2 * radius_px[:, None]), 0, None).sum(axis=1)
    return [red[index] for index in np.argsort(-heaped, kind="stable")[:number]]


def _write_crop(path: Path, slide: SimulatedSlide, cell: TrueCell, rng: np.random.Generator) -> None:
    """Cut the square round a cell, as a camera would show it: a little defocus, noise, a tinted lamp."""
    height, width = slide.image.shape[:2]
    rows, cols = _mirrored(round(cell.row_px), height), _mirrored(round(cell.col_px), width)
    crop = slide.image[rows[:, None], cols[None, :]].astype(np.float32)
    defocus = rng.uniform(0.0, MOST_DEFOCUS_PX)
    if defocus > 0.2:
        crop = cv2.GaussianBlur(crop, (0, 0), defocus).astype(np.float32, copy=False)
    crop *= rng.uniform(0.9, 1.03) * rng.uniform(0.97, 1.0, 3).astype(np.float32)
    crop += rng.normal(0.0, NOISE, crop.shape).astype(np.float32)
    path.parent.mkdir(exist_ok=True)
    _write_picture(path, np.clip(np.rint(crop), 0, 255).astype(np.uint8))


def _mirrored(centre: int, length: int) -> NDArray[np.int_]:
    """Give the crop's rows (or columns) round a centre; beyond the slide's edge the slide is mirrored."""
    places = np.abs(np.arange(CROP_PX) - CROP_PX // 2 + centre)
    mirrored: NDArray[np.int_] = np.minimum(places, 2 * (length - 1) - places)
    return mirrored


def _write_picture(path: Path, image: Image) -> None:
    # imencode and a plain write rather than imwrite: names with any letters work, a full disk is an error.
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if path.suffix == ".jpg" else []
    _, encoded = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    path.write_bytes(encoded.tobytes())


def _dataset_toml(written: Counter[str], seed: int) -> str:
    groups = {name: species.group for name, species in SPECIES.items()} | dict.fromkeys(BYSTANDERS, "other")
    classes = "\n".join(f'{name} = "{groups[name]}"' for name in groups if written[name])
    return (
        "# What the folders beside this file mean.\n"
        f"pixel_size_um = {DATASET_PIXEL_SIZE_UM}\n"
        'stain = "simulated Giemsa and H&E"\n'
        f'source = "simulated by fnrbc from seed {seed}"\n'
        f"\n[classes]\n{classes}\n"
    )


def _start_empty(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        used = any(out.iterdir())
    except OSError as error:
        raise UsageError(f"{out} cannot be written ({error.strerror}); give another folder") from error
    if used:
        raise UsageError(f"{out} is not empty; give a new folder, or empty this one")


def _write_csv(path: Path, columns: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
