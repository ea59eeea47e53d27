"""The three ways to find cells, on every set: single cells as one, fields, H&E, tissue, with and without a stain map.

Each folder is a session: its stain is learned from its pictures as the device learns it, or not at all.
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.inference.centre_network import open_centres
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.records import Field, Image
from fnrbc_device.vision.reduction import glass_colour, reduce
from fnrbc_device.vision.seeing import Seeing
from fnrbc_device.vision.session_stain import SessionStain
from seeing_fields import FALLBACK_PX, Box, boxes_and_scales
from seeing_nuclei import labelled_pictures, own_pixel_um, score_field
from seeing_pictures import RED_CELL_UM, Result, Wanted, pictures_in, read, red_cell_px, rows_of, share, spread

CELLS: Final = {"pbc": 0.105, "munich": 0.086, "atlas": 0.126}
"""Folders of single cells, and um a pixel."""

WITHOUT_NUCLEUS: Final = ("platelet", "erythrocyte")
H_AND_E_UM: Final = 0.25
NEAR_UM: Final = 3.0
ONE_UM: Final = 4.5
FAR_UM: Final = 7.0
WAYS: Final = (("threshold", False), ("threshold", True), ("both", True), ("network", True))

Picture = tuple[Image, float]


@dataclass(frozen=True, slots=True)
class Way:
    """One way to find cells."""

    make: Callable[[float], Seeing]
    mapped: bool

    def stain(self, pictures: list[Picture]) -> SessionStain:
        """The stain of a session of these pictures."""
        stain = SessionStain()
        for image, um in pictures if self.mapped else ():
            stain.learn(image, um, glass_colour(image))
        return stain

    def field(self, picture: Picture, stain: SessionStain) -> Field:
        """What is found in one picture of the session."""
        image, um = picture
        return self.make(um).see(image, reduce(image, um, stain.map), stain.map)

    def centres(self, picture: Picture, stain: SessionStain) -> NDArray[np.float64]:
        """(N, 2) row, col."""
        return np.array([one.centre_rc for one in self.field(picture, stain).detections]).reshape(-1, 2)


def measure(data: Path, limit: int | None, bundle: Path | None = None) -> Result:
    """Measure each way on each set; a bundle without a network gives the threshold's figures for all."""
    figures: dict[str, Any] = {}
    table = []
    for method, mapped in WAYS:
        with closing(open_centres(load_bundle(bundle), method)) as centres:  # type: ignore[arg-type]  # one of three
            way = Way(lambda um, model=centres.model: Seeing(um, model), mapped)  # type: ignore[misc]  # bound now
            name = f"{method}{'' if mapped else ', no map'}"
            figures[name] = {**_cells(way, data, limit), **_fields(way, data, limit), **_tissue(way, data, limit)}
            table.append(f"{name}: " + ", ".join(f"{key} {value:.4g}" for key, value in figures[name].items()))
    usual = figures["both"]
    wanted = [
        Wanted("H&E recall", usual["he recall"], at_least=0.95),
        Wanted("H&E precision", usual["he precision"], at_least=0.75),
        Wanted("PBC as one", usual["pbc as one"], at_least=0.995),
        Wanted("Munich as one", usual["munich as one"], at_least=0.94),
        Wanted("white cells of smears", usual["smear found"], at_least=0.98),
        Wanted("false a smear field", usual["smear false a field"], at_most=0.03),
        Wanted("platelets of PBC taken for cells", usual["pbc without a nucleus taken for cells"], at_most=0.05),
        Wanted("false an anaemia field", usual["anaemia false a field"], at_most=2.0),
        Wanted("tissue F1", usual["tissue f1"], at_least=0.70),
    ]
    return Result("methods", {"ways": figures}, table, wanted)


def _cells(way: Way, data: Path, limit: int | None) -> dict[str, float]:
    found = {}
    for name, um in CELLS.items():
        classes = {folder.name: pictures_in(folder, limit) for folder in sorted((data / name).glob("*/"))}
        stain = way.stain([(read(path), um) for paths in classes.values() for path in spread(paths, 30)])
        ones, alone, near = [], [], []
        for label, paths in classes.items():
            for path in paths:
                image = read(path)
                middle = np.array(image.shape[:2]) / 2 - 0.5
                apart = np.hypot(*(way.centres((image, um), stain) - middle).T) * um
                close = int((apart <= ONE_UM).sum())
                if label in WITHOUT_NUCLEUS:
                    near.append(close > 0)
                else:
                    ones.append(close == 1)
                    alone.append(close == 1 or (close == 0 and int((apart <= FAR_UM).sum()) == 1))
        found[f"{name} as one"] = float(np.mean(ones))
        found[f"{name} as one or alone within 7 um"] = float(np.mean(alone))
        if near:
            found[f"{name} without a nucleus taken for cells"] = float(np.mean(near))
    return found


def _fields(way: Way, data: Path, limit: int | None) -> dict[str, float]:
    labelled = boxes_and_scales(data / "smear_fields")
    sessions: dict[tuple[int, ...], list[tuple[Picture, list[Box]]]] = {}
    for path, (boxes, um) in spread(list(labelled.items()), limit):
        image = read(path)
        sessions.setdefault(image.shape, []).append(((image, um), boxes))
    white = hit = false = fields = 0
    for session in sessions.values():
        stain = way.stain([picture for picture, _ in session])
        for picture, boxes in session:
            centres = [(float(row), float(col)) for row, col in way.centres(picture, stain)]
            cells = [box for box in boxes if box.name == "wbc"]
            white += len(cells)
            hit += sum(any(box.holds(one) for one in centres) for box in cells)
            false += sum(not any(box.holds(one) for box in cells) for one in centres)
            fields += 1
    empty = [read(path) for path in pictures_in(data / "anaemia_fields", limit)]
    pictures = [(image, RED_CELL_UM / (red_cell_px(image) or FALLBACK_PX)) for image in empty]
    stain = way.stain(pictures)
    wrong = [len(way.centres(picture, stain)) for picture in pictures]
    return {
        "smear found": share(hit, white),
        "smear false a field": share(false, fields),
        "anaemia false a field": float(np.mean(wrong)),
    }


def _tissue(way: Way, data: Path, limit: int | None) -> dict[str, float]:
    true: dict[str, list[tuple[float, float]]] = {}
    for row in rows_of(data / "he_fields" / "centres.csv"):
        true.setdefault(row["image"], []).append((float(row["y_px"]), float(row["x_px"])))
    pictures = {name: (read(data / "he_fields" / name), H_AND_E_UM) for name in true}
    stain = way.stain(list(pictures.values()))
    hits = found = 0
    for name, picture in pictures.items():
        centres = way.centres(picture, stain)
        hits += _one_to_one(centres, np.array(true[name]), NEAR_UM / H_AND_E_UM)
        found += len(centres)
    scores = [
        score_field(way.field((image, um), SessionStain()), truth)
        for _, image, truth in labelled_pictures(data / "nuclei", limit)
        for um in (own_pixel_um(image),)
    ]
    pooled = scores[0]
    for one in scores[1:]:
        pooled = pooled.plus(one)
    wanted = sum(map(len, true.values()))
    return {"he recall": share(hits, wanted), "he precision": share(hits, found), "tissue f1": pooled.f1}


def _one_to_one(found: NDArray[np.float64], true: NDArray[np.float64], near_px: float) -> int:
    """Pairs within a distance, the nearest first, each place once."""
    if not len(found):
        return 0
    apart = np.hypot(*(found[:, None] - true[None]).transpose(2, 0, 1))
    rows, cols = np.nonzero(apart <= near_px)
    taken_found: set[int] = set()
    taken_true: set[int] = set()
    for place in np.argsort(apart[rows, cols], kind="stable"):
        one, other = int(rows[place]), int(cols[place])
        if one not in taken_found and other not in taken_true:
            taken_found.add(one)
            taken_true.add(other)
    return len(taken_found)
