"""Nuclei of stained tissue against expert outlines, beside a scikit-image pipeline tuned on the same pictures."""

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from scipy import ndimage  # type: ignore[import-untyped]  # scipy ships no types
from skimage.color import rgb2gray
from skimage.feature import peak_local_max
from skimage.filters import gaussian, threshold_otsu
from skimage.morphology import remove_small_objects
from skimage.segmentation import watershed

from fnrbc_device.inference.centre_network import open_centres
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.records import USUAL_SEEING, Field, Image, SeeingMethod
from fnrbc_device.vision.reduction import reduce
from fnrbc_device.vision.seeing import Seeing
from fnrbc_device.vision.stain import IDENTITY
from seeing_pictures import (
    Labels,
    Result,
    Wanted,
    field_of,
    label_image,
    matches,
    pictures_in,
    read,
    share,
    things_in,
)

NUCLEUS_UM: Final = 7.0
"""What the median nucleus of a picture is taken for: nobody wrote down these pictures' pixel sizes."""

FIRST_GUESS_UM: Final = 0.3
"""Pixel size of the first pass. Nuclei of these pictures measure 12-43 px: 4-13 um at this guess."""

PASSES: Final = 2
"""Passes that set the pixel size before the one that counts."""

SIGMAS: Final = (0.5, 1.0, 2.0, 3.0)
MIN_DISTANCES: Final = (4, 7, 10)
MIN_SIZES: Final = (30, 60, 120)
LEAST_SPEEDUP: Final = 20.0
LEAST_F1: Final = 0.70


@dataclass(frozen=True, slots=True)
class Tuning:
    """The knobs of the scikit-image pipeline."""

    sigma: float
    min_distance: int
    min_size: int


BEST: Final = Tuning(0.5, 7, 60)
"""Best of all combinations of the above by pooled F1 on the 55 pictures (``--search``)."""


@dataclass(frozen=True, slots=True)
class Score:
    """Pooled over pictures."""

    true: int = 0
    found: int = 0
    hits: int = 0
    seconds: float = 0.0

    def plus(self, other: "Score") -> "Score":
        """The sum of two."""
        return Score(
            self.true + other.true, self.found + other.found, self.hits + other.hits, self.seconds + other.seconds
        )

    @property
    def precision(self) -> float:
        """Share of what was found that is a nucleus."""
        return share(self.hits, self.found)

    @property
    def recall(self) -> float:
        """Share of the nuclei that were found."""
        return share(self.hits, self.true)

    @property
    def f1(self) -> float:
        """Harmonic mean of both."""
        return share(2 * self.hits, self.true + self.found)


def measure(
    data: Path,
    limit: int | None,
    search: bool = False,
    pixel_um: float | None = None,
    method: SeeingMethod = USUAL_SEEING,
) -> Result:
    """Hold both against the outlines in ``data/nuclei``; everything on one thread.

    Parameters
    ----------
    search
        Tune the scikit-image pipeline anew, on these pictures.
    pixel_um
        One pixel size for all pictures; None for each picture's own.
    method
        Who of ours finds the nuclei; looked at without a map, since a picture that is a session settles none.
    """
    cv2.setNumThreads(1)
    pairs = list(labelled_pictures(data / "nuclei", limit))
    tuning = _best_tuning(pairs) if search else BEST
    ours = theirs = Score()
    by_picture = []
    with closing(open_centres(load_bundle(None), method)) as centres:
        for name, image, truth in pairs:
            scale = pixel_um or own_pixel_um(image)
            mine = score_ours(image, truth, Seeing(scale, centres.model), scale)
            ours, theirs = ours.plus(mine), theirs.plus(_theirs(image, truth, tuning))
            by_picture.append({"name": name, "f1": round(mine.f1, 4), "pixel_um": round(scale, 4), "true": mine.true})
    return _result(ours, theirs, tuning, by_picture)


def own_pixel_um(image: Image) -> float:
    """Pixel size at which the picture's median nucleus measures ``NUCLEUS_UM``, found by passes of the segmenter."""
    scale = FIRST_GUESS_UM
    for _ in range(PASSES):
        sizes = [d.nucleus_diameter_um / scale for d in field_of(image, scale).detections if d.whole]
        if sizes:
            scale = float(np.clip(NUCLEUS_UM / np.median(sizes), 0.05, 1.0))
    return scale


def scikit_image_labels(image: Image, tuning: Tuning) -> Labels:
    """Label the nuclei as a competent user of scikit-image would: Otsu, distance transform, watershed."""
    mask, depth = _mask_and_depth(image, tuning.sigma, tuning.min_size)
    return _split(mask, depth, tuning.min_distance)


def _mask_and_depth(image: Image, sigma: float, min_size: int) -> tuple[Labels, np.ndarray]:
    smooth = gaussian(rgb2gray(image), sigma)  # type: ignore[no-untyped-call]  # scikit-image is untyped
    limit = threshold_otsu(smooth)  # type: ignore[no-untyped-call]  # scikit-image is untyped
    mask = remove_small_objects(smooth < limit, max_size=min_size)
    return mask, ndimage.distance_transform_edt(mask)


def _split(mask: np.ndarray, depth: np.ndarray, min_distance: int) -> Labels:
    pieces, _ = ndimage.label(mask)
    peaks = peak_local_max(depth, min_distance=min_distance, labels=pieces)  # type: ignore[no-untyped-call]  # scikit-image is untyped
    markers = np.zeros(depth.shape, np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    flooded = watershed(-depth, markers, mask=mask)  # type: ignore[no-untyped-call]  # scikit-image is untyped
    return np.asarray(flooded, np.int32)


def _best_tuning(pairs: list[tuple[str, Image, Labels]]) -> Tuning:
    hits: dict[Tuning, Score] = {}
    for (_, image, truth), sigma, min_size in product(pairs, SIGMAS, MIN_SIZES):
        mask, depth = _mask_and_depth(image, sigma, min_size)
        for min_distance in MIN_DISTANCES:
            tuning = Tuning(sigma, min_distance, min_size)
            hits[tuning] = hits.get(tuning, Score()).plus(_score(truth, _split(mask, depth, min_distance), 0.0))
    return max(hits, key=lambda tuning: hits[tuning].f1)


def labelled_pictures(folder: Path, limit: int | None) -> Iterator[tuple[str, Image, Labels]]:
    """Name, picture and expert's labels of every picture."""
    for path in pictures_in(folder / "images", limit):
        truth = cv2.imread(str(folder / "labels" / path.name), cv2.IMREAD_UNCHANGED)
        if truth is None:
            raise FileNotFoundError(f"{folder / 'labels' / path.name} is missing; every picture needs its labels")
        yield path.stem, read(path), truth.astype(np.int32)


def score_ours(image: Image, truth: Labels, seeing: Seeing, pixel_um: float) -> Score:
    """What is found in one picture, against its labels."""
    start = time.process_time()
    field = seeing.see(image, reduce(image, pixel_um), IDENTITY)
    seconds = time.process_time() - start
    return _score(truth, label_image(field, truth.shape), seconds)


def score_field(field: Field, truth: Labels) -> Score:
    """What was found in one picture, against its labels; its time is not taken."""
    return _score(truth, label_image(field, truth.shape), 0.0)


def _theirs(image: Image, truth: Labels, tuning: Tuning) -> Score:
    start = time.process_time()
    labels = scikit_image_labels(image, tuning)
    return _score(truth, labels, time.process_time() - start)


def _score(truth: Labels, found: Labels, seconds: float) -> Score:
    return Score(things_in(truth), things_in(found), len(matches(truth, found)), seconds)


def _result(ours: Score, theirs: Score, tuning: Tuning, by_picture: list[dict[str, object]]) -> Result:
    speedup = share(theirs.seconds, ours.seconds)
    pictures = len(by_picture)
    figures = {
        "pictures": pictures,
        "nuclei": ours.true,
        "ours": _figures(ours, pictures),
        "scikit_image": {
            **_figures(theirs, pictures),
            "sigma": tuning.sigma,
            "min_distance": tuning.min_distance,
            "min_size": tuning.min_size,
        },
        "speedup": round(speedup, 1),
        "by_picture": by_picture,
    }
    table = [f"{'':14}{'F1':>8}{'precision':>11}{'recall':>8}{'ms/picture':>12}"]
    for name, score in (("fnrbc", ours), ("scikit-image", theirs)):
        table.append(
            f"{name:14}{score.f1:8.4f}{score.precision:11.4f}{score.recall:8.4f}{1e3 * score.seconds / pictures:12.2f}"
        )
    table.append(f"{ours.true} nuclei in {pictures} pictures, IoU >= 0.5, one to one; {speedup:.0f} times faster")
    table.append(f"scikit-image: sigma {tuning.sigma}, min_distance {tuning.min_distance}, min_size {tuning.min_size}")
    wanted = [
        Wanted("F1", ours.f1, at_least=LEAST_F1),
        Wanted("F1 beyond scikit-image's", ours.f1 - theirs.f1, at_least=0.0),
        Wanted("times faster", speedup, at_least=LEAST_SPEEDUP),
    ]
    return Result("nuclei", figures, table, wanted)


def _figures(score: Score, pictures: int) -> dict[str, float]:
    return {
        "f1": round(score.f1, 4),
        "precision": round(score.precision, 4),
        "recall": round(score.recall, 4),
        "ms_per_picture": round(1e3 * score.seconds / pictures, 2),
    }
