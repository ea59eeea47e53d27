"""``fnrbc bench`` tells what a frame costs by what it shows, and holds two ways of counting side by side."""

from pathlib import Path
from typing import Any

import pytest

from fnrbc_device.commands.bench import EVERYTHING, as_table, bench
from fnrbc_device.errors import FnrbcError, UsageError

FRAMES = 14


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    return bench(None, None, None, FRAMES, 1, EVERYTHING)


def test_every_frame_is_of_one_kind(result: dict[str, Any]) -> None:
    kinds = {name: found["frames"] for name, found in result["frames_by_kind"].items()}

    assert kinds["all"] == result["frames"] == sum(kinds.values()) - kinds["all"]
    assert kinds["new_ground"] >= 1  # the first


def test_a_kind_without_frames_has_no_figures(result: dict[str, Any]) -> None:
    for found in result["frames_by_kind"].values():
        assert (found["median"] is None) == (found["frames"] == 0)


def test_what_it_is_held_against_is_measured_on_the_same_frames(result: dict[str, Any]) -> None:
    other = result["against"]

    assert other["name"] == EVERYTHING
    assert other["frames_by_kind"]["all"]["frames"] == result["frames"]
    assert 0 < other["quotient"]["low"] <= other["quotient"]["value"] <= other["quotient"]["high"]
    assert "against everything" in as_table(result)


def test_a_bundle_that_is_not_there_is_refused() -> None:
    with pytest.raises(FnrbcError, match="nowhere"):
        bench(None, None, None, 2, 1, "nowhere")


def test_more_threads_than_cores_are_refused() -> None:
    with pytest.raises(UsageError, match="--threads 100000 is more than"):
        bench(None, None, None, 2, 100_000)


@pytest.mark.parametrize("pixel_size_um", [0.0, 125.0, float("nan")])
def test_a_pixel_size_that_cannot_be_is_refused_in_the_words_of_count(pixel_size_um: float) -> None:
    with pytest.raises(UsageError, match=r"outside 0\.01\.\.1\.0; divide the camera's pixel"):
        bench(Path("frames"), pixel_size_um, None, 2, 1)
