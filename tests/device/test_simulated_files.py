"""Simulated pictures on disk: a dataset to train on, and a pan to count."""

import csv
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from fnrbc_device.camera.replay import open_source
from fnrbc_device.camera.simulated.files import write_dataset, write_frames
from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.optics import Optics
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.errors import UsageError
from fnrbc_device.records import Frame

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("simulated") / "cells"
    write_dataset(out, 150, seed=3)
    return out


def test_the_dataset_says_what_its_folders_mean(dataset: Path) -> None:
    meaning = tomllib.loads((dataset / "dataset.toml").read_text())
    assert meaning["pixel_size_um"] == 0.125
    assert {"stain", "source"} <= set(meaning)
    folders = {folder.name for folder in dataset.iterdir() if folder.is_dir()}
    assert folders == set(meaning["classes"])
    assert meaning["classes"]["fnrbc"] == "fnrbc"
    assert meaning["classes"]["neutrophil"] == "leukocyte"
    assert meaning["classes"]["platelet"] == "other"


def test_the_dataset_holds_as_many_nucleated_cells_as_asked_in_both_looks(dataset: Path) -> None:
    meaning = tomllib.loads((dataset / "dataset.toml").read_text())["classes"]
    nucleated = [path for name, group in meaning.items() if group != "other" for path in (dataset / name).iterdir()]
    assert len(nucleated) == 150
    looks = [path.stem.split("_")[1] for path in nucleated]
    assert looks.count("giemsa") == looks.count("he") == 75


def test_every_crop_shows_its_cell_in_the_middle(dataset: Path) -> None:
    for path in sorted((dataset / "fnrbc").iterdir()):
        grey = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_GRAYSCALE)
        assert grey.shape == (240, 240)
        assert grey[110:130, 110:130].mean() < 0.6 * np.quantile(grey, 0.9)


def test_the_same_seed_writes_the_same_files(tmp_path: Path) -> None:
    for name in ("one", "other"):
        write_dataset(tmp_path / name, 5, seed=9)
    for path in (tmp_path / "one").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "other" / path.relative_to(tmp_path / "one")).read_bytes()


def test_progress_ends_with_all_that_was_written(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    written = write_dataset(tmp_path / "cells", 4, 1, progress=lambda done, left: seen.append((done, left)))
    assert seen[-1] == (sum(written.values()), 0)


@pytest.mark.parametrize("cells", [0, -3])
def test_a_dataset_of_no_cells_is_refused(tmp_path: Path, cells: int) -> None:
    with pytest.raises(UsageError, match="below the limit of 1"):
        write_dataset(tmp_path / "cells", cells, 0)


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        write_dataset(tmp_path, 5, 0)
    with pytest.raises(UsageError, match="cannot be written"):
        write_dataset(tmp_path / "precious.txt", 5, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


@pytest.fixture(scope="module")
def pan(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SimulatedMicroscope]:
    out = tmp_path_factory.mktemp("simulated") / "pan"
    microscope = SimulatedMicroscope(
        SimulatedSlide.make(2, cells=20), seed=1, frame_shape=(480, 640), optics=Optics(dust=0)
    )
    assert write_frames(out, microscope, frames=40) == 40
    return out, microscope


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_written_pan_is_read_back_in_order(pan: tuple[Path, SimulatedMicroscope]) -> None:
    out, microscope = pan
    source = open_source(out / "frames", 0.125)
    try:
        frames = list(iter(source.read, None))
    finally:
        source.close()
    assert len(frames) == 40
    for index in (0, 39):
        frame = frames[index]
        assert isinstance(frame, Frame)
        assert np.abs(frame.image.astype(int) - microscope.image(index)).mean() < 5


def test_poses_and_truth_are_the_microscopes(pan: tuple[Path, SimulatedMicroscope]) -> None:
    out, microscope = pan
    poses, truth = rows(out / "poses.csv"), rows(out / "truth.csv")
    assert list(poses[0]) == ["frame", "x_px", "y_px", "blur_px", "defocus_px"]
    assert list(truth[0]) == ["cell", "class", "x_px", "y_px", "times_seen", "times_sharp"]
    assert len(poses) == 40
    assert float(poses[20]["x_px"]) == pytest.approx(microscope.pose(20).col_px, abs=1e-3)
    assert float(poses[20]["y_px"]) == pytest.approx(microscope.pose(20).row_px, abs=1e-3)
    assert [row["class"] for row in truth] == [cell.class_name for cell in microscope.slide.truth]
    assert [int(row["times_sharp"]) for row in truth] == microscope.times_sharp(40).tolist()
    assert [int(row["times_seen"]) for row in truth] == microscope.times_seen(40).tolist()
