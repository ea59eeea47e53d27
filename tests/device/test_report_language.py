"""Reports of commands in the language that is asked for; what programs read stays English, to the last byte."""

import json
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.commands.count import count
from fnrbc_device.commands.counted import Counted
from fnrbc_device.commands.counted_files import write
from fnrbc_device.commands.report_language import report_language
from fnrbc_device.errors import ConfigError, UsageError
from fnrbc_device.language import ENGLISH, speaking
from fnrbc_device.model.bundle import Bundle, load_bundle
from fnrbc_device.reporting.comparison_report import ChangedCell, ComparedSlide, Comparison, comparison_html
from fnrbc_device.reporting.counts import retold
from screens import left_in_english, texts_of

OTHERS = ("de", "zh")


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(None)


@pytest.fixture(scope="module")
def counted(bundle: Bundle) -> Counted:
    slide = SimulatedSlide.make(31, "giemsa", 12)
    source = SimulatedMicroscope(slide, SimulatedMicroscope(slide, seed=31).path[:12], seed=31)
    return count(source, bundle, slide.pixel_size_um, still=False, progress=lambda done: None)


def test_the_language_asked_for_goes_before_the_configured_one_and_english_comes_last(tmp_path: Path) -> None:
    config = tmp_path / "fnrbc.toml"
    config.write_text('[web]\nlanguage = "zh"\n', encoding="utf-8")

    assert report_language("de", config) == "de"
    assert report_language(None, config) == "zh"
    config.write_text("", encoding="utf-8")  # each browser its own: a command has none
    assert report_language(None, config) == ENGLISH


def test_a_language_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(UsageError, match="--language 'fr' is not there; choose one of en, de, zh"):
        report_language("fr")


def test_a_damaged_configuration_is_a_fault_where_it_was_given_and_else_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "fnrbc.toml"
    config.write_text("[web", encoding="utf-8")

    with pytest.raises(ConfigError):
        report_language(None, config)
    monkeypatch.setattr("fnrbc_device.config.DEFAULT_PATH", config)
    assert report_language(None) == ENGLISH
    assert "note: the report is in English, for" in capsys.readouterr().err


@pytest.mark.parametrize("language", OTHERS)
def test_a_count_is_reported_in_the_language_and_its_tables_stay_as_they_are(
    counted: Counted, bundle: Bundle, tmp_path: Path, language: str
) -> None:
    write(counted, tmp_path / "en", "pan", bundle)
    write(counted, tmp_path / language, "pan", bundle, language)

    for name in ("summary.json", "cells.csv", "poses.csv", "counts.csv"):
        assert (tmp_path / language / name).read_bytes() == (tmp_path / "en" / name).read_bytes()
    page = (tmp_path / language / "report.html").read_text(encoding="utf-8")
    assert f'<html lang="{language}">' in page
    assert list(left_in_english(texts_of(page), language)) == []
    in_english = unescape((tmp_path / "en" / "report.html").read_text(encoding="utf-8"))
    assert counted.summary["claim"]["words"] in in_english
    assert counted.summary["claim"]["words"] not in unescape(page)


def test_a_summary_said_again_in_english_is_the_same(counted: Counted) -> None:
    assert retold(counted.summary) == counted.summary
    beyond = {"code": "light_out_of_domain", "words": "empty glass is too bright or too dark to show pale cells"}
    doubtful: dict[str, Any] = json.loads(json.dumps(counted.summary)) | {"provisional": [beyond]}
    assert retold(doubtful)["provisional"] == [beyond]
    with speaking("de"):
        assert retold(counted.summary)["claim"]["words"] != counted.summary["claim"]["words"]


def cells() -> Iterator[ChangedCell]:
    for before, now in (("fnrbc", "leukocyte"), ("", "indeterminate")):
        fields = {"cell": "1", "cell_before": "1", "class_before": before, "class": now, "x_um": "3", "y_um": "4",
                  "probability_before": "0.9", "probability": "0.2"}  # fmt: skip
        yield ChangedCell("slide.svs", "", fields, None)


@pytest.mark.parametrize("language", OTHERS)
def test_what_another_network_changes_is_reported_in_the_language(language: str) -> None:
    rate = {"value": 2.5, "low": 1.25, "high": None}
    one = {"fnrbc": 3, "leukocytes": 120, "indeterminate": 1, "fnrbc_per_100_leukocytes": rate,
           "claim": {"state": "above_blank"}}  # fmt: skip
    summary = {
        "bundle_before": "a" * 64, "bundle": "b" * 64, "versions_before": ["0.1.0"], "version": "0.2.0", "cells": 124,
        "changed": 2, "slides_changed": 1, "slides_compared": 1, "slides_whose_claim_changed": 1, "only_before": 0,
        "only_now": 1, "changes": [{"from": "fnrbc", "to": "leukocyte", "cells": 1}],
    }  # fmt: skip
    found = {"changed": 2, "cells": 124, "before": one, "now": one | {"claim": None}}
    slides = [ComparedSlide("slide.svs", "S 1", "", found)]
    with speaking(language):
        page = comparison_html(Comparison(summary, slides, list(cells()), 3))
    assert list(left_in_english(texts_of(page), language)) == []
    assert ("2,5" in page) == (language == "de")
