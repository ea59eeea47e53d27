"""What lies round a cell is cut at one scale, kept with its session, bounded, and as tamper-evident as the rest."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np
import pytest

from fnrbc_device.counting.cell import View
from fnrbc_device.counting.slidemap import Mosaic
from fnrbc_device.host.clock import SystemClock
from fnrbc_device.journal.journal import Journal
from fnrbc_device.journal.proof import prove
from fnrbc_device.journal.queries import Kept
from fnrbc_device.journal.read_only import reading
from fnrbc_device.records import CountEvent, Frame, Image, Pose, SessionMeta, Step, Tally, Verdict
from fnrbc_device.sessions import reviews
from fnrbc_device.sessions.decisions import Decisions
from fnrbc_device.sessions.disagreements import SETTLED, disagreements
from fnrbc_device.sessions.verified_count import agreement, verified_tally
from fnrbc_device.vision.surroundings import KEPT_PX, MOST_PX, OUTSIDE, SIDE_UM, surroundings

BEGUN = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


def dotted(shape: tuple[int, int] = (400, 600), at: tuple[int, int] = (200, 300)) -> Image:
    """A dark dot on glass."""
    image: Image = np.full((*shape, 3), 235, np.uint8)
    cv2.circle(image, at[::-1], 5, (60, 30, 110), -1)
    return image


@pytest.mark.parametrize("pixel_um", [0.06, 0.125, 0.25])
def test_the_cell_lies_in_the_middle_of_forty_micrometres_whatever_the_camera(pixel_um: float) -> None:
    cut = surroundings(dotted((900, 1300), (450, 650)), (450, 650), pixel_um)
    picture = cut.picture()

    assert cut.side_um == pytest.approx(SIDE_UM, rel=0.03)
    assert picture.shape[0] == picture.shape[1] <= MOST_PX
    dark = np.argwhere(picture[..., 1] < 120)
    assert np.abs(dark.mean(axis=0) - picture.shape[0] / 2).max() < 1.5


@pytest.mark.parametrize("at", [(3, 300), (396, 596), (200, 2)])
def test_beyond_the_frames_border_nothing_is_made_up(at: tuple[int, int]) -> None:
    picture = surroundings(dotted(at=at), at, 0.125).picture()

    middle = picture.shape[0] // 2
    assert picture[middle, middle, 1] < 120
    assert (picture == OUTSIDE).all(axis=2).mean() > 0.3


def test_the_picture_is_a_copy_and_no_window_on_the_frame() -> None:
    image = dotted()
    cut = surroundings(image, (200, 300), 0.125)
    image[...] = 0

    assert cut.picture().max() == 235


@pytest.mark.parametrize("pixel_um", [0.03, 0.062, 0.0631, 0.099, 0.105])
def test_what_waits_to_be_asked_for_is_bounded_whatever_the_camera_and_gives_the_same_picture(pixel_um: float) -> None:
    image = dotted((1400, 1400), (700, 700))
    cut = surroundings(image, (700, 700), pixel_um)

    assert cut.seen.nbytes <= 3 * KEPT_PX**2
    assert (cut.picture() == shrunk_at_once(image, pixel_um)).all()


def shrunk_at_once(image: Image, pixel_um: float) -> Image:
    """The middle of a picture by averages of whole pixels, then by interpolation."""
    half = round(SIDE_UM / 2 / pixel_um)
    square = image[700 - half : 700 + half, 700 - half : 700 + half]
    factor = len(square) // MOST_PX
    side = len(square) // factor
    averaged = cv2.resize(square[: side * factor, : side * factor], (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(averaged, (MOST_PX, MOST_PX), interpolation=cv2.INTER_LINEAR), np.uint8)


def counted(cell: int, class_name: str = "fnrbc") -> CountEvent:
    role = "target" if class_name == "fnrbc" else "denominator"
    verdict = Verdict(class_name, role, 0.9, 0.9 if role == "target" else 0.02)  # type: ignore[arg-type]
    return CountEvent("counted", cell, verdict, 0, 80.0, 90.0, 11.0, 10.0, 10.4, 0.41, 3, 0, "evidence complete")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An ended session of three candidates and a leukocyte, one without surroundings; its slide's mosaic."""
    around = surroundings(dotted(), (200, 300), 0.125)
    views = {cell: [View(1.0, 0, around.seen[:120, :120], around)] for cell in (1, 2)}
    views[3] = [replace(views[1][0], around=None)]
    step = Step(Frame(0, 0.0, dotted()), Pose(0, 0.0, 0.0), None, [], [], Tally(), 0.0, 1.0, {})
    events = [counted(1), counted(2), counted(3), counted(4, "leukocyte")]
    mosaic = Mosaic(0, dotted(), np.full((400, 600), 255, np.uint8), (-5.0, 7.5), 2.0)
    with Journal.open(tmp_path / "journal.sqlite", "bench") as journal:
        journal.begin("s1", BEGUN, SessionMeta("fnrbc", "b" * 64, "simulation", 0.125))
        journal.record(replace(step, events=events), Kept(views))
        journal.end(BEGUN, journal.tally("s1"), complete=True, kept=Kept(mosaics=[mosaic]))
    return tmp_path / "journal.sqlite"


def test_the_record_gives_back_what_lay_round_a_view_and_says_where_nothing_was_kept(path: Path) -> None:
    with reading(path) as connection:
        sides = {one.cell: one.around_um for one in reviews.everything(connection, "s1")}
        kept, none = (reviews.around(connection, "s1", cell) for cell in (1, 3))
        (mosaic,) = reviews.mosaics(connection, "s1")
        slide = reviews.mosaic(connection, "s1", 0)

    assert sides == {1: pytest.approx(40.0), 2: pytest.approx(40.0), 3: 0.0, 4: 0.0}
    assert none is None
    assert kept is not None
    assert cv2.imdecode(np.frombuffer(kept, np.uint8), cv2.IMREAD_COLOR).shape == (320, 320, 3)
    assert (mosaic.top_um, mosaic.left_um, mosaic.um_per_px) == (-5.0, 7.5, 2.0)
    assert slide is not None


@pytest.mark.parametrize(
    "forgery",
    [
        "UPDATE surroundings SET picture = x'00' WHERE view = 0",
        "UPDATE surroundings SET side_um = 20.0",
        "DELETE FROM surroundings",
        "UPDATE mosaics SET left_um = 0.0",
        "DELETE FROM mosaics",
    ],
)
def test_whoever_exchanges_a_picture_breaks_the_chain(path: Path, forgery: str) -> None:
    assert prove(path).fault == ""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(forgery)

    assert prove(path).fault != ""


def test_the_pictures_go_with_their_session(path: Path) -> None:
    with Journal.open(path, "bench") as journal:
        journal._connection.execute("UPDATE outbox SET state = 'acked'")
        journal.begin("s2", BEGUN, SessionMeta("fnrbc", "b" * 64, "simulation", 0.125))
        journal.let_go("s1")
        left = [journal._connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in TABLES]

    assert left == [0, 0, 0]
    assert prove(path).fault == ""


TABLES = ("crops", "surroundings", "mosaics")


def test_what_readers_settle_counts_and_leaves_their_agreement_as_it_was(path: Path) -> None:
    with Decisions(path, "bench", SystemClock()) as handler:
        for reviewer, reader, said in (("anna", 1, "ccr"), ("ben", 2, "crr")):
            for cell, letter in enumerate(said, 1):
                decision = {"c": "confirmed", "r": "rejected"}[letter]
                handler.decide("s1", cell, decision, reviewer, reader=reader)  # type: ignore[arg-type]
        with reading(path) as connection:
            (open_one,), agreed = disagreements(connection, "s1"), agreement(connection, "s1")
        handler.decide("s1", 2, "rejected", "anna", note=SETTLED)
        with reading(path) as connection:
            (settled,), agreed_after = disagreements(connection, "s1"), agreement(connection, "s1")
            tally = verified_tally(connection, "s1")

    assert (open_one.cell, open_one.settled) == (2, None)
    assert (open_one.first.decision, open_one.second.decision) == ("confirmed", "rejected")
    assert settled.settled is not None
    assert settled.settled.decision == "rejected"
    assert agreed_after == agreed
    assert tally.fnrbc == 1
