"""The report of a count: what it says, in which order, and that nothing in it can run."""

import base64
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fnrbc_device.counting.slidemap import SlideMap
from fnrbc_device.records import Pose
from fnrbc_device.reporting.report import GalleryItem, Report, report_html, write_report
from fnrbc_device.reporting.report_map import MAX_MOSAICS, MOSAIC_PX, round_length
from fnrbc_device.texts import RESEARCH_USE_ONLY, UNVERIFIED, to_go

CROP = np.full((120, 120, 3), 128, np.uint8)


def summary(**changes: Any) -> dict[str, Any]:
    return {
        "frames": 1250, "frames_used": 1200, "frames_rejected": {"blurred": 12, "too_fast": 38}, "islands": 1,
        "cells": 1310, "fnrbc": 42, "leukocytes": 1003, "other": 258, "indeterminate": 7,
        "fnrbc_per_100_leukocytes": {"value": 4.187, "low": 3.01, "high": 5.68},
        "leukocytes_to_go": {"value": 1289, "within_percent": 20}, "revisit_share": 0.25, "cells_open": 0,
        "unique_area_mm2": 0.4567, "complete": True, "bundle": "b", "version": "0.1.0", "seconds": 41.7,
        "fps": 30.0, **changes,
    }  # fmt: skip


def cell(number: int, class_name: str, x_um: float = 10, y_um: float = 10, island: int = 0) -> dict[str, Any]:
    return {
        "cell": number,
        "island": island,
        "x_um": x_um,
        "y_um": y_um,
        "class": class_name,
        "probability": 0.9,
    }


def item(number: int, class_name: str, probability: float) -> GalleryItem:
    return GalleryItem(number, 0, class_name, probability, [CROP], 1.0, 2.0, 3, 10.0)


def report(**changes: Any) -> Report:
    fields: dict[str, Any] = {
        "title": "slide 17",
        "summary": summary(),
        "cells": [],
        "mosaics": [],
        "gallery": [],
        "threshold": 0.5,
        "provenance": {"Software": "fnrbc 0.1.0"},
    }
    return Report(**{**fields, **changes})


def words(html: str) -> str:
    text = re.sub(r"<style>.*?</style>|<[^>]+>", " ", html, flags=re.S)
    return re.sub(r"[ \n]+", " ", text).strip()


def painted(*cols: float, shape: tuple[int, int] = (960, 1280)) -> SlideMap:
    seen = SlideMap(0.125, shape)
    for col in cols:
        seen.paint(Pose(0, 0.0, col), np.full((*shape, 3), 150, np.uint8))
    return seen


def test_it_tells_the_counts_and_what_they_rest_on() -> None:
    text = words(report_html(report()))
    assert "42 fNRBC" in text
    assert "4.2 fNRBC per 100 leukocytes (95 % interval 3.0\u20135.7)" in text
    assert "1\u202f200 of 1\u202f250" in text
    assert "38 too fast; 12 blurred" in text
    assert "0.457 mm\u00b2" in text
    assert "nothing is left open" in text


def test_research_use_stands_at_the_top_and_at_the_bottom_and_the_count_is_unverified() -> None:
    text = words(report_html(report()))
    assert text.index(RESEARCH_USE_ONLY) < text.index("42 fNRBC")
    assert text.endswith(RESEARCH_USE_ONLY)
    assert text.count(RESEARCH_USE_ONLY) == 2
    assert UNVERIFIED in text


def test_without_a_leukocyte_there_is_no_rate_and_none_is_made_up() -> None:
    none = {"value": None, "low": None, "high": None}
    text = words(report_html(report(summary=summary(fnrbc_per_100_leukocytes=none, leukocytes=0))))
    assert "no leukocyte was counted" in text
    assert "95 % interval" not in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"islands": 3}, "3 islands that are not joined"),
        ({"frames_used": 0}, "No frame could be used"),
        ({"cells_open": 4}, "4 cells were seen and not settled"),
    ],
)
def test_what_is_open_is_said(changes: dict[str, Any], said: str) -> None:
    text = words(report_html(report(summary=summary(complete=False, **changes))))
    assert "Not complete." in text
    assert said in text


def test_candidates_stand_nearest_to_the_threshold_first_and_indeterminate_apart() -> None:
    gallery = [
        item(1, "fnrbc", 0.99),
        item(2, "fnrbc", 0.55),
        item(3, "indeterminate", 0.5),
        item(4, "other", 0.4),
    ]
    text = words(report_html(report(gallery=gallery)))
    order = [
        text.index(f" {n} {name}")  # not the 2 of 42 fNRBC
        for n, name in ((3, "indeterminate"), (2, "fNRBC"), (1, "fNRBC"), (4, "other"))
    ]
    assert order == sorted(order)
    assert text.index("a person decides") < order[0]


def test_a_gallery_that_shows_a_part_says_of_how_many() -> None:
    cells = [cell(n, "fnrbc") for n in range(40)]
    assert "(1 of 40)" in words(report_html(report(cells=cells, gallery=[item(1, "fnrbc", 0.9)])))


def test_counted_and_indeterminate_cells_are_marked_at_their_place_on_the_map() -> None:
    cells = [
        cell(1, "fnrbc", 100, 60),
        cell(2, "indeterminate", 20, 30),
        cell(3, "other"),
        cell(4, "fnrbc", island=1),
    ]
    html = report_html(report(cells=cells, mosaics=[painted(0.0, 1280.0).mosaic(0)]))
    marks = re.findall(r'<use href="#(\w+)" transform="translate\(([\d.]+) ([\d.]+)\)', html)
    assert marks == [("target", "50.0", "30.0"), ("indeterminate", "10.0", "15.0")]  # 2 um a pixel


def test_the_largest_islands_are_drawn_and_the_others_are_counted() -> None:
    mosaics = [painted(0.0).mosaic(0) for _ in range(MAX_MOSAICS + 3)]
    html = report_html(report(mosaics=mosaics))
    assert html.count("<figure") == MAX_MOSAICS
    assert "3 smaller islands are not drawn" in html


def test_a_large_mosaic_is_shrunk_and_its_marks_with_it() -> None:
    mosaic = painted(*range(0, 60_000, 1000)).mosaic(0)
    html = report_html(report(cells=[cell(1, "fnrbc", 4000, 60)], mosaics=[mosaic]))
    width = int(re.search(r'viewBox="0 0 (\d+)', html)[1])
    assert width <= MOSAIC_PX
    x = float(re.search(r"translate\(([\d.]+)", html)[1])
    assert x / width == pytest.approx(4000 / (mosaic.image.shape[1] * mosaic.um_per_px), rel=0.01)


def test_the_crops_in_it_are_the_crops_given() -> None:
    crop = np.full((120, 120, 3), (200, 40, 40), np.uint8)
    one = GalleryItem(1, 0, "fnrbc", 0.9, [crop, crop[::-1]], 0, 0, 1, 9)
    html = report_html(report(gallery=[one]))
    data = base64.b64decode(re.search(r"data:image/jpeg;base64,([^\"]+)", html)[1])
    assert len(re.findall('alt="cell 1, fNRBC(, another view)?"', html)) == 2
    seen = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert seen.shape == (120, 120, 3)
    assert np.abs(seen.astype(int) - (200, 40, 40)).max() < 8


def test_every_text_from_outside_is_escaped_and_nothing_loads_or_runs() -> None:
    evil = '"><script>alert(1)</script><img src=x onerror=alert(1)>'
    html = report_html(
        report(
            title=evil,
            provenance={evil: evil},
            cells=[cell(1, "indeterminate")],
            gallery=[item(1, evil, 0.5)],
            mosaics=[painted(0.0).mosaic(0)],
            summary=summary(frames_rejected={evil: 3}),
        )
    )
    assert "<script" not in html
    assert "<img src=x" not in html
    assert "default-src 'none'" in html
    assert not re.search(r'(?:src|href)="(?!data:|#)', html)


def test_an_empty_count_is_a_report_too() -> None:
    none = {"value": None, "low": None, "high": None}
    empty = summary(
        frames=1, frames_used=0, frames_rejected={"too_dark": 1}, cells=0, fnrbc=0, leukocytes=0, other=0,
        indeterminate=0, islands=0, complete=False, unique_area_mm2=0.0, fnrbc_per_100_leukocytes=none,
    )  # fmt: skip
    text = words(report_html(report(summary=empty)))
    assert "No frame could be placed" in text
    assert "No cell came near the threshold" in text
    assert "1 too dark" in text


def test_an_earlier_report_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    write_report(path, report())
    assert path.read_text("utf-8").startswith("<!doctype html>")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("um", "rounded"), [(1, 1), (199, 100), (230, 200), (999, 500), (5200, 5000), (0.3, 0.2)]
)
def test_a_scale_bar_has_a_round_length(um: float, rounded: float) -> None:
    assert round_length(um) == pytest.approx(rounded)


@pytest.mark.parametrize(
    ("leukocytes", "words"),
    [
        (1289, "1\u202f289 more leukocytes for \u00b120\u00a0%"),
        (0, "leukocytes enough for \u00b120\u00a0%"),
        (None, "no ratio yet to plan \u00b120\u00a0% with"),
    ],
)
def test_the_report_says_how_many_more_leukocytes_to_count(leukocytes: int | None, words: str) -> None:
    text = report_html(report(summary=summary(leukocytes_to_go={"value": leukocytes, "within_percent": 20})))

    assert to_go(leukocytes) == words
    assert words in text


def test_the_report_says_what_was_seen_before() -> None:
    assert "25 %" in words(report_html(report(summary=summary(revisit_share=0.25))))
