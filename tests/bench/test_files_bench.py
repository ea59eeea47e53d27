"""The bench of damaged files tells a fault where there is one."""

import numpy as np
import pytest

import files_fuzz


@pytest.fixture(scope="module")
def seeds():
    return files_fuzz.seeds()


def test_whole_files_are_the_same_to_both_decoders(seeds, tmp_path):
    outcomes = {}
    for name, data in seeds.items():
        (tmp_path / name).write_bytes(data)
        outcomes[name] = files_fuzz.look_at(tmp_path / name)
    assert set(outcomes.values()) == {"same", "unconfirmed"}
    assert [name for name, outcome in outcomes.items() if outcome == "unconfirmed"] == [
        "deep.tif", "jpeg2000.tif", "deep.png",  # Pillow makes 8 bits by a rule of its own, or cannot read it
    ]  # fmt: skip


@pytest.mark.parametrize("number", range(20))
def test_damaged_pictures_are_refused_or_the_same(seeds, tmp_path, capfd, number):
    pictures = sorted(name for name in seeds if name.endswith((".tif", ".png", ".jpg")))
    for name in pictures[number % 4 :: 4]:
        (tmp_path / name).write_bytes(files_fuzz.mutated(seeds[name], np.random.default_rng([99, number])))
        assert files_fuzz.look_at(tmp_path / name) in ("refused", "same", "unconfirmed"), name


def test_another_picture_than_the_second_decoders_is_told(seeds, tmp_path, monkeypatch):
    (tmp_path / "rgb.png").write_bytes(seeds["rgb.png"])
    monkeypatch.setattr(files_fuzz, "_by_pillow", lambda path: [np.zeros((72, 96, 3), np.int16)])
    assert files_fuzz.look_at(tmp_path / "rgb.png").startswith("differs: by ")
