"""Both readings of the paper's threshold on real fields: what each finds, misses and tears."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from unittest import mock

import numpy as np

from fnrbc_device.vision import segmentation
from fnrbc_device.vision.seeing import Seeing
from seeing_cells import NO_NUCLEUS
from seeing_cells import measure as measure_pbc
from seeing_fields import measure_anaemia, measure_smear
from seeing_nuclei import Score, labelled_pictures, own_pixel_um, score_ours
from seeing_pictures import Result

Reading = Callable[[float], float]
"""Threshold from the darkest mode's grey."""

ADAPTED: Final = segmentation.threshold


def printed(darkest: float) -> float:
    """The formula as it is printed: the same whatever the picture."""
    del darkest
    return segmentation.literal_threshold()


READINGS: Final[dict[str, Reading]] = {"adapted": ADAPTED, "printed": printed}

Figures = dict[str, float]


def measure(data: Path, limit: int | None) -> Result:
    """Run the benches of real pictures once with each reading; no figure is wanted, the page decides on them.

    Both readings leave a picture alone in which no mode is dark enough to be a nuclear stain: the printed one by
    itself knows no empty field.
    """
    columns = {name: _figures(data, limit, reading) for name, reading in READINGS.items()}
    rows = list(columns["adapted"])
    table = [f"{'':44}" + "".join(f"{name:>10}" for name in columns)]
    table += [f"{row:44}" + "".join(f"{column[row]:10.4g}" for column in columns.values()) for row in rows]
    return Result("threshold", columns, table, [])


def _figures(data: Path, limit: int | None, reading: Reading) -> Figures:
    figures: Figures = {}
    with read_as(reading) as used:
        smear = measure_smear(data, limit).figures
    figures |= _in_use("smear", used)
    figures["smear: white cells found"] = smear["found_share"]
    figures["smear: white cells found as several"] = smear["several_share"]
    figures["smear: candidates elsewhere, a field"] = smear["false_a_field"]
    with read_as(reading) as used:
        anaemia = measure_anaemia(data, limit).figures["a_field"]
    figures |= _in_use("anaemia", used)
    figures["anaemia: candidates a field"] = anaemia["candidates"]
    figures["anaemia: fNRBC a field"] = anaemia["fnrbc"]
    figures |= _of_nuclei(data, limit, reading)
    with read_as(reading) as used:
        pbc = measure_pbc(data, limit).figures
    figures |= _in_use("pbc", used)
    figures["pbc: centre cell found"] = pbc["nucleated"]["near_share"]
    figures["pbc: centre cell found, as one"] = pbc["nucleated"]["one_share"]
    nucleated = {name: row for name, row in pbc["classes"].items() if name != NO_NUCLEUS}
    figures |= {f"pbc: {name} found, as one": row["one_share"] for name, row in nucleated.items()}
    return figures


def _of_nuclei(data: Path, limit: int | None, reading: Reading) -> Figures:
    pictures = list(labelled_pictures(data / "nuclei", limit))
    # One scale for both readings: nobody wrote down these pictures' own, and it is taken from the default's nuclei.
    scales = [own_pixel_um(image) for _, image, _ in pictures]
    score = Score()
    with read_as(reading) as used:
        for (_, image, truth), pixel_um in zip(pictures, scales, strict=True):
            score = score.plus(score_ours(image, truth, Seeing(pixel_um), pixel_um))
    return _in_use("nuclei", used) | {
        "nuclei: F1": score.f1,
        "nuclei: precision": score.precision,
        "nuclei: recall": score.recall,
    }


@contextmanager
def read_as(reading: Reading) -> Iterator[list[float]]:
    """Let the segmenter read the threshold so; gives the thresholds that it used.

    Raises
    ------
    RuntimeError
        It asked for none: then both columns would be the same.
    """
    used: list[float] = []

    def noted(darkest: float) -> float:
        used.append(reading(darkest))
        return used[-1]

    with mock.patch.object(segmentation, "threshold", noted):
        yield used
    if not used:
        raise RuntimeError("the segmenter asked for no threshold; it is not read from segmentation.threshold any more")


def _in_use(bench: str, used: list[float]) -> Figures:
    low, middle, high = np.quantile(used, (0.05, 0.5, 0.95))
    return {f"{bench}: threshold, 5th percentile": low, f"{bench}: median": middle, f"{bench}: 95th": high}
