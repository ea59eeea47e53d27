"""Fields of a motorised stage lie where it stood: no registration, each cell once, and contradictions are refused."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile

from fnrbc_device.camera.replay import ReplaySource, open_source
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.camera.stage_places import place_by_stage
from fnrbc_device.camera.stage_positions import Axes
from fnrbc_device.commands.count import count
from fnrbc_device.errors import SourceError, UsageError
from fnrbc_device.model.bundle import load_bundle
from truth import held_against

UM = 0.25
FIELD = (420, 560)
OVERLAP = 60


@dataclass(frozen=True, eq=False)
class Fields:
    """Fields of a slide in the order of a raster, and where the stage stood: its x runs to the left."""

    slide: SimulatedSlide
    corners: list[tuple[int, int]]
    stage_um: list[tuple[float, float]]

    def picture(self, number: int) -> np.ndarray:
        top, left = self.corners[number]
        return np.asarray(self.slide.image[top : top + FIELD[0], left : left + FIELD[1]])


@pytest.fixture(scope="module")
def fields() -> Fields:
    slide = SimulatedSlide.make(5, "giemsa", 40, UM, nucleated_per_mm2=330.0)
    rows, cols = slide.image.shape[:2]
    corners = [
        (top, left)
        for top in range(0, rows - FIELD[0], FIELD[0] - OVERLAP)
        for left in range(0, cols - FIELD[1], FIELD[1] - OVERLAP)
    ]
    rng = np.random.default_rng(3)
    off = rng.uniform(-1.0, 1.0, (len(corners), 2))
    stage = [(1000.0 - left * UM + x, 500.0 + top * UM + y) for (top, left), (x, y) in zip(corners, off, strict=True)]
    return Fields(slide, corners, stage)


@pytest.fixture
def folder(fields: Fields, tmp_path: Path) -> Path:
    noted: dict[str, Any] = {"Summary": {"PixelSize_um": UM}}
    for number, (x, y) in enumerate(fields.stage_um):
        name = f"img_channel000_position{number:03d}_time000000000_z000.png"
        cv2.imwrite(str(tmp_path / name), fields.picture(number)[..., ::-1])
        noted[f"Metadata-Default/{name}"] = {"FileName": f"Default/{name}", "XPositionUm": x, "YPositionUm": y}
    (tmp_path / "metadata.txt").write_text(json.dumps(noted))
    return tmp_path


def placed(path: Path, axes: str = "-x,y") -> ReplaySource:
    source = open_source(path, UM)
    place_by_stage(source, UM, axes)
    return source


def test_cells_of_a_stage_s_fields_are_counted_once_at_their_places(fields: Fields, folder: Path):
    counted = count(placed(folder), load_bundle(None), UM, still=False, progress=lambda done: None)
    truth = np.array([(cell.row_px, cell.col_px) for cell in fields.slide.truth])
    far = np.array(fields.corners).max(axis=0) + FIELD
    inside = ((truth > 50) & (truth < far - 50)).all(axis=1)
    places = np.array([(row["y_px"], row["x_px"]) for row in counted.rows])
    held = held_against(truth, inside, places, UM)
    assert (held.found, held.twice) == (held.wanted, [])
    assert counted.summary["islands"] == 1
    assert counted.summary["complete"]
    assert "places are the stage's (metadata.txt), with its axes as -x,y" in counted.summary["notes"][-1]


@pytest.mark.parametrize("stated", ["", "-x,-y", "y,x"])
def test_directions_that_overlapping_fields_contradict_are_refused_with_those_that_fit(folder: Path, stated: str):
    with pytest.raises(UsageError, match=r"taken as .* fit only as -x,y .* give --stage-axes=-x,y"):
        placed(folder, stated)


def test_the_stage_is_left_aside_where_somebody_says_so(folder: Path):
    assert placed(folder, "none").poses == ()


def test_a_hand_pan_with_one_noted_place_is_registered_as_ever(folder: Path):
    noted = json.loads((folder / "metadata.txt").read_text())
    for entry in list(noted.values())[1:]:
        entry |= {"XPositionUm": 10.0, "YPositionUm": 20.0}
    (folder / "metadata.txt").write_text(json.dumps(noted))
    assert placed(folder).poses == ()


def as_ome(path: Path, fields: Fields, unit: str) -> None:
    planes = {
        "PositionX": [x / 1000 if unit == "mm" else x for x, _ in fields.stage_um],
        "PositionY": [y / 1000 if unit == "mm" else y for _, y in fields.stage_um],
        "PositionXUnit": [unit] * len(fields.stage_um), "PositionYUnit": [unit] * len(fields.stage_um),
    }  # fmt: skip
    stack = np.stack([fields.picture(number) for number in range(len(fields.corners))])
    about = {"axes": "TYXS", "PhysicalSizeX": UM, "PhysicalSizeXUnit": "um", "Plane": planes}
    with tifffile.TiffWriter(path, ome=True) as out:
        out.write(stack, photometric="rgb", metadata=about)


@pytest.mark.parametrize("unit", ["um", "mm"])
def test_ome_s_positions_are_read_in_their_units(fields: Fields, tmp_path: Path, unit: str):
    as_ome(tmp_path / "fields.ome.tif", fields, unit)
    poses = placed(tmp_path / "fields.ome.tif").poses
    wanted = np.array(fields.corners) - fields.corners[0]
    assert np.abs(np.array([(pose.row_px, pose.col_px) for pose in poses]) - wanted).max() < 2.5 / UM


def test_ome_s_positions_without_a_length_as_unit_are_none(fields: Fields, tmp_path: Path):
    as_ome(tmp_path / "fields.ome.tif", fields, "reference frame")
    assert placed(tmp_path / "fields.ome.tif").poses == ()


def test_two_notes_of_one_position_that_contradict_are_refused_with_both(fields: Fields, tmp_path: Path):
    for number in range(2):
        x, y = fields.stage_um[number]
        tag = (51123, "s", 0, json.dumps({"XPositionUm": x, "YPositionUm": y}), True)
        tifffile.imwrite(tmp_path / f"{number}.tif", fields.picture(number), photometric="rgb", extratags=[tag])
    noted = {f"{n}": {"FileName": f"{n}.tif", "XPositionUm": 0.0, "YPositionUm": 500.0 * n} for n in range(2)}
    (tmp_path / "metadata.txt").write_text(json.dumps(noted))
    with pytest.raises(SourceError, match=r"metadata.txt says that the stage stood at x 0, y 0 um for 0.tif, and the"):
        placed(tmp_path)


@pytest.mark.parametrize("words", ["x", "x,x", "x,z", "up,down", "--x,y"])
def test_words_that_are_no_axes_are_refused(words: str):
    with pytest.raises(UsageError, match="--stage-axes"):
        Axes.of(words)

