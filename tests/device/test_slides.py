"""Slide files are counted from known places: the same cells however they are cut, and damage costs what is damaged."""

import json
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile

from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.commands.count_slide import count_job, counted_of
from fnrbc_device.commands.counted import Counted
from fnrbc_device.commands.counted_files import write
from fnrbc_device.commands.record_slide import count_into_record
from fnrbc_device.config import load_config
from fnrbc_device.errors import FnrbcError, SourceError, UsageError
from fnrbc_device.journal.proof import prove
from fnrbc_device.journal.read_only import reading
from fnrbc_device.journal.schema import JOURNAL_NAME
from fnrbc_device.model.bundle import Bundle, load_bundle
from fnrbc_device.reporting import session_report
from fnrbc_device.sessions import archive
from fnrbc_device.slides.job import RegionCount, RegionCounter, SlideJob, prepare
from fnrbc_device.slides.opening import is_slide, open_slide, openslide_is_here
from fnrbc_device.slides.plan import lay_out
from fnrbc_device.slides.slide import Box
from fnrbc_device.slides.tiff_reader import TiffSlide
from slide_files import cut_off, spoil_tile, unlike, write_slide
from truth import held_against

UM = 0.2
GLASS = (250, 240, 225)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(None)


@pytest.fixture(scope="module")
def made() -> SimulatedSlide:
    return SimulatedSlide.make(7, "giemsa", 90, UM, nucleated_per_mm2=400.0, touching=0.3)


@pytest.fixture(scope="module")
def file(made: SimulatedSlide, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_slide(tmp_path_factory.mktemp("slides") / "smear.tif", np.asarray(made.image), UM)


@pytest.fixture(scope="module")
def job(file: Path) -> SlideJob:
    return prepare(file)


@pytest.fixture(scope="module")
def regions(job: SlideJob, bundle: Bundle) -> list[RegionCount]:
    with RegionCounter(job, bundle) as counter:
        return [counter.count(region) for region in range(job.regions)]


@pytest.fixture(scope="module")
def counted(job: SlideJob, bundle: Bundle, regions: list[RegionCount]) -> Counted:
    return counted_of(job, bundle, regions)


@pytest.fixture
def cells(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small picture of painted cells as a slide."""

    def written(places: list[tuple[int, int]], side: int = 640, **how: Any) -> Path:
        return write_slide(tmp_path / how.pop("name", "cells.tif"), painted(places, side), UM, levels=2, **how)

    return written


def painted(places: list[tuple[int, int]], side: int) -> np.ndarray:
    """Round cells of 11 um with nuclei of 7 um on glass."""
    picture = np.full((side, side, 3), GLASS, np.uint8)
    for row, col in places:
        cv2.circle(picture, (col, row), 28, (215, 190, 215), -1, cv2.LINE_AA)
    for row, col in places:
        cv2.circle(picture, (col, row), 18, (90, 40, 140), -1, cv2.LINE_AA)
    noise = np.random.default_rng(1).normal(0, 2, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def cut_otherwise(job: SlideJob, tile_px: int, offset_rc: tuple[int, int]) -> SlideJob:
    slide = open_slide(job.path)
    try:
        return replace(job, plan=lay_out(slide, job.pixel_um, tile_px, offset_rc)[0])
    finally:
        slide.close()


def test_a_slide_file_gives_the_cells_that_are_on_it_each_once(made: SimulatedSlide, counted: Counted):
    truth = np.array([(cell.row_px, cell.col_px) for cell in made.truth])
    places = np.array([(row["y_px"], row["x_px"]) for row in counted.rows])
    inside = ((truth > 60) & (truth < np.array(made.image.shape[:2]) - 60)).all(axis=1)
    held = held_against(truth, inside, places, UM)
    assert held.twice == []
    assert held.found >= 0.99 * held.wanted
    assert counted.summary["complete"]
    assert counted.summary["pixel_size_um"] == pytest.approx(UM)


@pytest.mark.parametrize(
    ("tile_px", "offset_rc"), [(512, (0, 0)), (512, (37, 211)), (1024, (500, 13)), (2048, (1001, 777))]
)
def test_the_cells_and_their_classes_are_the_same_however_a_slide_is_cut(
    job: SlideJob, bundle: Bundle, counted: Counted, tile_px: int, offset_rc: tuple[int, int]
):
    assert unlike(count_job(cut_otherwise(job, tile_px, offset_rc), bundle).rows, counted.rows) == []


@pytest.mark.parametrize("format_name", ["ome.tif", "svs"])
def test_a_slide_is_the_same_in_other_formats(
    format_name: str, made: SimulatedSlide, counted: Counted, bundle: Bundle, tmp_path: Path
):
    saying: Any = "ome" if format_name == "ome.tif" else "aperio"
    if saying == "aperio" and not openslide_is_here():
        pytest.skip("OpenSlide is not installed")
    path = write_slide(tmp_path / f"smear.{format_name}", np.asarray(made.image), UM, saying=saying)
    other = prepare(path)
    assert other.about.kind == ("OME-TIFF" if saying == "ome" else "aperio")
    assert other.pixel_um == pytest.approx(UM)
    assert unlike(count_job(other, bundle).rows, counted.rows) == []


def test_the_count_is_the_same_bit_for_bit_whoever_counts_the_regions_in_whatever_order(
    job: SlideJob, bundle: Bundle
):
    small = cut_otherwise(job, 512, (0, 0))
    assert small.regions > 1
    sent: SlideJob = pickle.loads(pickle.dumps(small))
    with RegionCounter(small, bundle) as one, RegionCounter(sent, bundle) as other:
        forward = [one.count(region) for region in range(small.regions)]
        backward = [other.count(region) for region in reversed(range(small.regions))]
    brought: list[RegionCount] = pickle.loads(pickle.dumps(backward[::-1]))
    first, second = counted_of(small, bundle, forward), counted_of(sent, bundle, brought)
    assert first.rows == second.rows
    assert first.steps == second.steps
    assert [cell.settled for cell in first.cells] == [cell.settled for cell in second.cells]


def test_regions_out_of_order_or_missing_are_refused(job: SlideJob, bundle: Bundle, regions: list[RegionCount]):
    with pytest.raises(ValueError, match="is the next"):
        counted_of(job, bundle, [replace(regions[0], region=1)])
    with pytest.raises(ValueError, match="give them all"):
        counted_of(job, bundle, [])


def test_a_cell_is_counted_once_at_every_offset_of_a_seam(bundle: Bundle, cells: Callable[..., Path]):
    places = [(100 + 150 * row, 100 + 150 * col) for row in range(4) for col in range(4)]
    places += [(row, col + 60) for row, col in places[:3]]  # their cytoplasm touches
    whole = prepare(cells(places))
    wanted = count_job(whole, bundle).rows
    assert len(wanted) == len(places)
    for offset in range(0, 60, 5):
        rows = count_job(cut_otherwise(whole, 256, (offset, 2 * offset)), bundle).rows
        assert (offset, unlike(rows, wanted)) == (offset, [])


def test_every_pixel_of_a_slide_belongs_to_one_tile_or_is_empty_glass(file: Path):
    slide = open_slide(file)
    plan, _ = lay_out(slide, UM, 512, (100, 300))
    slide.close()
    owned = np.zeros(plan.shape, np.uint8)
    for tile in plan.tiles:
        owned[tile.own.top : tile.own.bottom, tile.own.left : tile.own.right] += 1
        assert tile.seen.within(Box(0, 0, *plan.shape)) == tile.seen
    assert owned.max() == 1
    assert int((owned == 0).sum()) == plan.empty_px


def test_empty_glass_is_passed_over_and_said(cells: Callable[..., Path], bundle: Bundle):
    job = prepare(cells([(200, 200), (260, 300)], side=1600), tile_px=512)
    assert job.tiles == 1
    counted = count_job(job, bundle)
    assert counted.summary["cells"] == 2
    assert "is empty glass and was passed over" in counted.summary["notes"][0]
    assert counted.summary["slide"]["empty_glass_share"] > 0.5


def test_a_slide_of_nothing_but_glass_holds_no_cell_and_is_no_fault(cells: Callable[..., Path], bundle: Bundle):
    counted = count_job(prepare(cells([])), bundle)
    assert counted.summary["cells"] == 0
    assert counted.rows == []


def test_a_corrupt_tile_costs_that_tile_and_is_named(bundle: Bundle, cells: Callable[..., Path]):
    places = [(60, 60), (60, 380), (380, 60), (380, 380)]
    job = prepare(cells(places, side=512, packing="deflate"))
    spoil_tile(job.path, 0)
    counted = count_job(job, bundle)
    assert {(round(row["y_px"], -1), round(row["x_px"], -1)) for row in counted.rows} == {
        (60, 380), (380, 60), (380, 380),
    }  # fmt: skip
    assert not counted.summary["complete"]
    (lost,) = counted.summary["left_out"]
    assert lost["reason"] == "unreadable"
    assert "x 0 to 255, y 0 to 255 px" in lost["detail"]
    assert counted.summary["left_out_share"]["value"] == pytest.approx(0.25)


def test_a_corrupt_tile_of_a_scanner_s_file_costs_that_tile(bundle: Bundle, cells: Callable[..., Path]):
    if not openslide_is_here():
        pytest.skip("OpenSlide is not installed")
    places = [(60, 60), (60, 380), (380, 60), (380, 380)]
    job = prepare(cells(places, side=512, saying="aperio", name="cells.svs"))
    assert job.about.kind == "aperio"
    spoil_tile(job.path, 3)
    counted = count_job(job, bundle)
    assert counted.summary["cells"] == 3
    assert "x 256 to 511, y 256 to 511 px" in counted.summary["left_out"][0]["detail"]


def test_pixel_sizes_that_contradict_are_refused_with_both(file: Path):
    with pytest.raises(UsageError, match=r"--pixel-size-um is 0\.25 um, but the file says 0\.2 um .*more than 3%"):
        prepare(file, 0.25)
    assert prepare(file, 0.203).pixel_um == 0.203


def test_a_file_without_a_pixel_size_is_asked_for_it(cells: Callable[..., Path]):
    path = cells([(100, 100)], saying="nothing")
    with pytest.raises(UsageError, match="does not say the size of a pixel on the slide; give --pixel-size-um"):
        prepare(path)
    assert prepare(path, UM).pixel_um == UM


def refused() -> Iterator[tuple[str, Callable[[Path], None], str]]:
    def sixteen_bits(path: Path) -> None:
        tifffile.imwrite(path, np.zeros((512, 512, 3), np.uint16), tile=(256, 256), photometric="rgb")

    def channels(path: Path) -> None:
        about = {"axes": "CYX", "Channel": {"Name": ["DAPI", "FITC", "TRITC"]}}
        with tifffile.TiffWriter(path, ome=True) as out:
            out.write(np.zeros((3, 512, 512), np.uint8), tile=(256, 256), subifds=1, metadata=about)
            out.write(np.zeros((3, 256, 256), np.uint8), tile=(256, 256), subfiletype=1)

    def emitting(path: Path) -> None:
        about = {"axes": "YXS", "Channel": {"EmissionWavelength": 520.0}}
        with tifffile.TiffWriter(path, ome=True) as out:
            out.write(painted([], 512), tile=(256, 256), subifds=1, photometric="rgb", metadata=about)
            out.write(painted([], 256), tile=(256, 256), subfiletype=1, photometric="rgb")

    def dark(path: Path) -> None:
        write_slide(path, (255 - painted([(100, 100)], 512)) // 3, UM)

    def cut(path: Path) -> None:
        write_slide(path, painted([(100, 100)], 512), UM, packing="none")
        cut_off(path, 0.5)

    def other_colours(path: Path) -> None:
        with tifffile.TiffWriter(path) as out:
            for kind, side in ((0, 512), (1, 256)):
                how: Any = {"tile": (256, 256), "photometric": "ycbcr", "compression": "deflate", "subfiletype": kind}
                out.write(painted([], side), metadata=None, **how)

    yield "ycbcr.tif", other_colours, r"ycbcr.tif holds YCBCR packed by \w*DEFLATE, which is not read"
    yield "bits.svs", sixteen_bits, r"bits.svs holds 16 bits a sample; .*save it as 8-bit RGB"
    yield "channels.ome.tif", channels, r"channels.ome.tif holds 3 channels that are no red, green and blue"
    yield "emitting.ome.tif", emitting, r"emitting.ome.tif was made with fluorescence"
    yield "dark.tif", dark, r"dark.tif is dark where nothing is .* fluorescence"
    yield "cut.tif", cut, r"cut.tif is (cut short after \d+ bytes|a damaged TIFF)"
    yield "empty.svs", lambda path: path.write_bytes(b""), r"empty.svs is empty \(0 bytes\)"
    yield "scan.vsi", lambda path: path.write_bytes(b"II*\0" + bytes(64)), r"scan.vsi is Olympus VSI"


@pytest.mark.parametrize(("name", "make", "words"), list(refused()), ids=[name for name, _, _ in refused()])
def test_what_is_no_stained_slide_is_refused_in_one_sentence(
    name: str, make: Callable[[Path], None], words: str, tmp_path: Path
):
    make(tmp_path / name)
    with pytest.raises(SourceError, match=words) as refusal:
        prepare(tmp_path / name, UM)
    assert "\n" not in str(refusal.value)


def test_a_mirax_slide_without_its_data_is_refused_in_one_sentence(tmp_path: Path):
    if not openslide_is_here():
        pytest.skip("OpenSlide is not installed")
    (tmp_path / "scan.mrxs").write_bytes(cv2.imencode(".jpg", painted([], 64))[1].tobytes())
    with pytest.raises(FnrbcError, match=r"scan\.mrxs") as refusal:
        open_slide(tmp_path / "scan.mrxs")
    assert "\n" not in str(refusal.value)


def test_a_single_picture_is_no_slide(tmp_path: Path, file: Path):
    plain = tmp_path / "field.tif"
    tifffile.imwrite(plain, painted([], 512), tile=(256, 256), photometric="rgb")
    assert is_slide(file)
    assert not is_slide(plain)
    assert not is_slide(tmp_path)


def test_a_grey_slide_and_one_of_separate_colours_are_read(tmp_path: Path):
    picture = painted([(100, 100)], 512)
    path = tmp_path / "planes.tif"
    with tifffile.TiffWriter(path) as out:
        for level, kind in ((picture, 0), (picture[::2, ::2], 1)):
            planes = np.ascontiguousarray(np.moveaxis(level, -1, 0))
            out.write(
                planes, tile=(128, 128), photometric="rgb", planarconfig="separate", subfiletype=kind, metadata=None
            )
    slide = TiffSlide(path)
    box = Box(37, 90, 200, 300)
    assert np.array_equal(slide.read(box).image, picture[37:237, 90:390])
    slide.close()
    grey = TiffSlide(write_slide(tmp_path / "grey.tif", picture[..., 1], UM, packing="none"))
    assert np.array_equal(grey.read(box).image, np.repeat(picture[37:237, 90:390, 1:2], 3, axis=2))
    grey.close()


def test_cells_are_written_as_geojson_at_their_places(counted: Counted, bundle: Bundle, tmp_path: Path):
    write(counted, tmp_path, "smear", bundle)
    features = json.loads((tmp_path / "cells.geojson").read_text())["features"]
    assert len(features) == counted.summary["cells"]
    for feature, row in zip(features, counted.rows, strict=True):
        ring = np.array(feature["geometry"]["coordinates"][0], np.float32)
        assert (ring[0] == ring[-1]).all()
        assert cv2.pointPolygonTest(ring, (row["x_px"], row["y_px"]), False) >= 0
        assert feature["properties"]["classification"]["name"] == row["class"]
        assert len(feature["properties"]["classification"]["color"]) == 3
    assert "data:image" in (tmp_path / "report.html").read_text()


def test_a_slide_is_a_session_of_the_record_and_waits_for_review(
    bundle: Bundle, cells: Callable[..., Path], tmp_path: Path
):
    (tmp_path / "fnrbc.toml").write_text(
        f'state_dir = "{tmp_path / "state"}"\n[camera]\nkind = "simulated"\n[mqtt]\nenabled = false\n'
    )
    job = prepare(cells([(100, 100), (300, 400)]))
    config = load_config(tmp_path / "fnrbc.toml")
    counted = count_into_record(config, job, bundle, kind="sample", specimen="S 17")
    journal = tmp_path / "state" / JOURNAL_NAME
    assert prove(journal).sessions == 1
    with reading(journal) as connection:
        entry = archive.read(connection, counted.summary["session"])
        assert entry is not None
        assert (entry.tally.cells, entry.meta.specimen, entry.meta.source) == (2, "S 17", "slide cells.tif")
        assert entry.verified.candidates == counted.summary["fnrbc"] + counted.summary["indeterminate"] > 0
        told = session_report.report(connection, journal, entry)
    assert len(told.gallery) == entry.verified.candidates
    assert [mosaic.um_per_px for mosaic in told.mosaics] != []
    with pytest.raises(UsageError, match="--specimen"):
        count_into_record(config, job, bundle, kind="sample", specimen="S\n17")
