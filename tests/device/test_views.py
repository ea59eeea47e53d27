"""Views are cut from the frame of a look before the next frame, or at once for whoever asks."""

import numpy as np
import pytest

from fnrbc_device.counting.cell import BEST_VIEWS
from fnrbc_device.counting.ledger import Ledger, Sighting
from fnrbc_device.counting.views import Views
from fnrbc_device.records import Body, Detection, Field, Frame, Pose
from fnrbc_device.vision.flatfield import FlatField
from fnrbc_device.vision.measuring import measure

UM, SHAPE = 0.2, (240, 320)
GLASS = (230.0, 230.0, 230.0)


def smear(cols: list[int]) -> np.ndarray:
    image = np.full((*SHAPE, 3), 230, np.uint8)
    for col in cols:
        image[108:132, col - 12 : col + 12] = (90, 40, 120)
    return image


def nucleus(col: int) -> Detection:
    outline = np.array([[col - 12, 108], [col + 12, 108], [col + 12, 132], [col - 12, 132]], np.int32)
    return Detection((120.0, float(col)), outline, 1, 5.0, 17.0, True)


class Bench:
    def __init__(self) -> None:
        self.views, self.ledger = Views(UM, FlatField()), Ledger(UM, SHAPE)

    def look(self, cols: list[int], index: int = 0, sharpness: float = 1.0) -> list[Sighting]:
        image, seen = smear(cols), [nucleus(col) for col in cols]
        entry = self.ledger.enter(seen, Pose(0, 0.0, 0.0), index)
        field = Field(seen, GLASS, 120.0, image[:, :, 1].copy(), UM)
        self.views.wait(entry.sightings, field, Frame(index, 0.0, image), sharpness)
        return entry.sightings


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_the_views_of_a_look_wait_until_they_are_cut(bench: Bench) -> None:
    sightings = bench.look([80, 160])
    waiting = [len(one.cell.best) for one in sightings]
    bench.views.cut()

    assert waiting == [0, 0]
    assert [[view.frame for view in one.cell.best] for one in sightings] == [[0], [0]]
    assert all(one.cell.best[0].crop[60, 60, 1] < 100 < 200 < one.cell.best[0].crop[0, 0, 1] for one in sightings)
    assert [one.cell.measured for one in sightings] == [1, 1]


def test_they_are_cut_once(bench: Bench) -> None:
    (sighting,) = bench.look([160])
    bench.views.cut()
    bench.views.cut()

    assert len(sighting.cell.best) == 1


def test_the_next_look_cuts_those_of_the_one_before(bench: Bench) -> None:
    sightings = [bench.look([160], index)[0] for index in range(BEST_VIEWS + 1)]

    assert len({id(one.cell) for one in sightings}) == 1
    assert [view.frame for view in sightings[0].cell.best] == list(range(BEST_VIEWS))


def test_a_picture_of_which_no_view_can_be_cut_costs_its_views_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("no crop")

    (sighting,) = bench.look([160])
    with monkeypatch.context() as patch:
        patch.setattr("fnrbc_device.counting.views.crop", broken)
        bench.views.cut()
    bench.look([160], 1)
    bench.views.cut()

    assert f"no view of cell {sighting.cell.number} in frame 0" in caplog.text
    assert [view.frame for view in sighting.cell.best] == [1]


def test_a_cell_of_which_no_view_can_be_cut_costs_the_others_none(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(found: Detection, *_: object) -> Body:
        if found.centre_rc[1] < 100:
            raise ValueError("no measures")
        return measure(found, *_)  # type: ignore[arg-type]

    monkeypatch.setattr("fnrbc_device.counting.views.measure", broken)
    sightings = bench.look([80, 160, 240])
    bench.views.cut()

    assert [len(one.cell.best) for one in sightings] == [0, 1, 1]
