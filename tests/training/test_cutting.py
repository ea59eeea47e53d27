import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from fnrbc_device.camera.headers import UnreadablePictureError
from fnrbc_device.camera.pictures import PictureReader
from fnrbc_device.errors import FnrbcError, UsageError
from fnrbc_device.model.bundle import digest_of
from fnrbc_device.vision.segmentation import Segmenter
from fnrbc_training import dataset
from fnrbc_training.cutting import central, cut, middle_of
from fnrbc_training.description import describe


def silent(what, done, total):
    pass


def test_every_picture_becomes_a_crop_with_its_label_and_its_origin(make_folder):
    found = cut([make_folder(each=3)], [], silent)

    assert found.crops.shape == (9, 120, 120, 3)
    assert Counter(found.originals.tolist()) == {"red": 3, "white": 3, "crumb": 3}
    assert {(o, dataset.CLASSES[label]) for o, label in zip(found.originals, found.labels, strict=True)} == {
        ("red", "fnrbc"),
        ("white", "leukocyte"),
        ("crumb", "other"),
    }
    assert "painted/red/red_2.png" in found.names
    assert sum(found.sources[0].missed.values()) == 0


def test_the_cell_lies_in_the_middle_of_its_crop(make_folder):
    found = cut([make_folder(each=2)], [], silent)
    for crop in found.crops:
        rows, cols = np.nonzero(crop[..., 1] < 100)
        assert abs(rows.mean() - 59.5) < 1
        assert abs(cols.mean() - 59.5) < 1


def test_blocks_follow_the_file_numbers_not_the_letters(make_folder):
    found = cut([make_folder(each=20)], [], silent)
    blocks = {str(n).split("/")[2]: str(g).split("/")[2] for n, g in zip(found.names, found.groups, strict=True)}
    assert [blocks[f"red_{number}.png"] for number in (0, 2, 9, 10, 19)] == ["00", "02", "09", "10", "19"]


def test_no_group_is_on_two_sides_of_the_split(make_folder):
    found = cut([make_folder(each=45)], [], silent)
    sides = {group: set(found.parts[found.groups == group]) for group in set(found.groups)}
    assert all(len(side) == 1 for side in sides.values())
    assert {part for side in sides.values() for part in side} == {"training", "tuning", "heldout"}


def test_simulated_cells_are_never_held_out(make_folder):
    found = cut([make_folder(each=20)], [make_folder("computed", each=20, first=100)], silent)
    assert found.simulated.sum() == 60
    assert "heldout" not in found.parts[found.simulated]
    assert "heldout" in found.parts[~found.simulated]


def test_the_same_pixels_count_once_whatever_the_file_is_called(make_folder):
    folder = make_folder(each=3)
    shutil.copy(folder / "red" / "red_1.png", folder / "red" / "red_77.png")

    found = cut([folder], [], silent)

    assert len(found) == 9
    assert found.sources[0].duplicates == 1


def test_one_picture_under_two_labels_is_refused_with_both_names(make_folder):
    folder = make_folder(each=3)
    shutil.copy(folder / "red" / "red_1.png", folder / "white" / "white_9.png")
    with pytest.raises(UsageError, match=r"white_9\.png.*red_1\.png|red_1\.png.*white_9\.png"):
        cut([folder], [], silent)


def test_a_cell_far_off_the_middle_is_not_the_labelled_one(make_folder):
    folder = make_folder(each=3)
    path = folder / "red" / "red_0.png"
    cv2.imwrite(str(path), np.roll(cv2.imread(str(path)), 90, axis=1))

    found = cut([folder], [], silent)

    assert found.sources[0].missed == {"red": 1, "white": 0, "crumb": 0}
    assert len(found) == 8


def nuclei_at(path, *places_um):
    """A picture of 30 um with a nucleus at each (right, down) of the middle."""
    picture = np.full((300, 300, 3), (220, 235, 250), np.uint8)
    for right, down in places_um:
        at = (round(150 + 10 * right), round(150 + 10 * down))
        cv2.circle(picture, at, 30, (110, 20, 60), -1, cv2.LINE_AA)
    cv2.imwrite(str(path), picture)


@pytest.mark.parametrize(
    ("places_um", "is_found"),
    [
        ([(5.5, 0)], True),
        ([(5.5, 0), (0, -10)], True),
        ([(6, 0), (-7.5, 0)], False),  # of two side by side nobody knows which
        ([(2, 0), (-8, 0)], True),
    ],
)
def test_off_the_middle_a_cell_is_the_labelled_one_where_no_other_may_be(make_folder, places_um, is_found):
    folder = make_folder(each=3)
    nuclei_at(folder / "red" / "red_0.png", *places_um)

    found = cut([folder], [], silent)

    assert (found.sources[0].missed["red"] == 0) == is_found
    if is_found:  # and the crop's middle is in that nucleus, whole in it
        crop = found.crops[found.names == "painted/red/red_0.png"][0].astype(int)
        rows, cols = np.nonzero(crop.sum(axis=2) < 400)
        assert rows.mean() == pytest.approx(59.5, abs=1.5)
        assert cols.mean() == pytest.approx(59.5, abs=1.5)
        assert len(rows) * 0.2**2 == pytest.approx(np.pi * 3**2, rel=0.15)


def test_a_label_means_its_cell_where_a_neighbour_at_the_border_touches_it(make_folder):
    folder = make_folder(each=3)
    picture = np.full((240, 240, 3), 240, np.uint8)
    picture[50:190, 60:] = (200, 150, 190)  # what lies between both looks like one body
    for col in (120, 214):
        cv2.circle(picture, (col, 120), 36, (130, 40, 70), -1, cv2.LINE_AA)
    cv2.imwrite(str(folder / "white" / "white_0.png"), picture)

    found = cut([folder], [], silent)

    crop = found.crops[found.names == "painted/white/white_0.png"][0].astype(int)
    nucleus = crop.sum(axis=2) < 330
    assert nucleus[60, 60]
    rows, cols = np.nonzero(nucleus[:, :85])  # 18 px, 3.6 um, is its radius
    assert (rows.mean(), cols.mean()) == pytest.approx((59.5, 59.5), abs=1.5)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('stain = "s"\nsource = "x"\n[classes]\nred = "fnrbc"', "pixel_size_um: Field required"),
        (
            'pixel_size_um = 0\nstain = "s"\nsource = "x"\n[classes]\nred = "fnrbc"',
            "pixel_size_um: Input should be",
        ),
        ('pixel_size_um = 0.1\nstain = "s"\nsource = "x"\n[classes]\nred = "fetal"', "classes.red"),
        ('pixel_size_um = 0.1\nstain = "s"\nsource = "x"\n[classes]', "classes: "),
        ("pixel_size_um = ", "no TOML"),
    ],
)
def test_a_description_that_lacks_something_is_refused(make_folder, text, says):
    folder = make_folder()
    (folder / "dataset.toml").write_text(text)
    with pytest.raises(UsageError, match=says):
        cut([folder], [], silent)


def test_a_folder_without_description_is_refused(make_folder):
    folder = make_folder()
    (folder / "dataset.toml").unlink()
    with pytest.raises(UsageError, match="pixel_size_um"):
        cut([folder], [], silent)


@pytest.mark.parametrize("left", [0, 1])
def test_a_class_of_one_picture_or_none_is_refused(make_folder, left):
    folder = make_folder(each=3)
    for path in sorted((folder / "white").iterdir())[left:]:
        path.unlink()
    with pytest.raises(UsageError, match=f"holds {('no pictures', '1 picture')[left]}; 2 are needed"):
        cut([folder], [], silent)


def test_a_class_without_its_folder_is_refused(make_folder):
    folder = make_folder()
    shutil.rmtree(folder / "crumb")
    with pytest.raises(UsageError, match="there is no folder"):
        cut([folder], [], silent)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_picture_that_was_cut_off_is_named(make_folder, share):
    folder = make_folder()
    path = folder / "red" / "red_1.png"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(UnreadablePictureError, match=r"red_1\.png"):
        cut([folder], [], silent)


def test_a_text_file_called_png_is_named(make_folder):
    folder = make_folder()
    (folder / "red" / "red_1.png").write_text("this is text")
    with pytest.raises(UnreadablePictureError, match=r"in .*red: red_1\.png"):
        cut([folder], [], silent)


def test_a_set_comes_back_from_disk_as_it_was(make_folder, tmp_path):
    found = cut([make_folder(each=2)], [], silent)
    dataset.save(found, tmp_path / "set.npz")
    again = dataset.load(tmp_path / "set.npz")

    assert again.sha256() == found.sha256()
    assert again.sources == found.sources
    assert all(np.array_equal(getattr(again, name), getattr(found, name)) for name in dataset.COLUMNS)
    assert not list(tmp_path.glob("*.partial*"))


def test_a_set_that_cannot_be_written_is_one_sentence_and_leaves_no_half(make_folder, tmp_path):
    (tmp_path / "taken").write_text("a file where a folder should be")
    with pytest.raises(FnrbcError, match=r"set\.npz cannot be written.*choose another place"):
        dataset.save(cut([make_folder(each=2)], [], silent), tmp_path / "taken" / "set.npz")


@pytest.mark.parametrize("made", ["text", "one array", "other arrays", "half", "a folder", "nothing"])
def test_a_set_that_is_none_is_refused(make_folder, tmp_path, made):
    path = tmp_path / "set.npz"
    match made:
        case "text":
            path.write_text("nothing of the kind")
        case "one array":
            with path.open("wb") as file:
                np.save(file, np.zeros(3))
        case "other arrays":
            np.savez(path, about=np.array("{}"), crops=np.zeros(3))
        case "half":
            dataset.save(cut([make_folder(each=2)], [], silent), path)
            path.write_bytes(path.read_bytes()[:9000])
        case "a folder":
            path.mkdir()
    with pytest.raises(UsageError, match="make it with fnrbc-train cut") as refused:
        dataset.load(path)
    assert "pickle" not in str(refused.value)  # no advice to run code out of a file


def test_a_set_cut_by_another_recipe_is_refused(make_folder, tmp_path, monkeypatch):
    dataset.save(cut([make_folder(each=2)], [], silent), tmp_path / "set.npz")
    monkeypatch.setattr(dataset, "PREPROCESSING_ID", "another-1")
    with pytest.raises(UsageError, match="run fnrbc-train cut again"):
        dataset.load(tmp_path / "set.npz")


def test_too_few_pictures_for_an_honest_split_are_refused(make_folder):
    with pytest.raises(UsageError, match="at least 20 pictures"):
        dataset.require_learnable(cut([make_folder(each=4)], [], silent))


def test_names_with_blanks_and_umlauts_are_read(make_folder):
    folder = make_folder(each=2)
    odd = folder / "red" / "größe 1 µm 5.png"
    shutil.move(folder / "red" / "red_0.png", odd)
    assert digest_of(PictureReader().read(odd)) in cut([folder], [], silent).digests


@pytest.mark.real_data
def test_the_centre_cell_of_real_pictures_is_found():
    folder = Path(__file__).parents[3] / "shared" / "data" / "pbc"
    if not folder.is_dir():
        pytest.skip("the real cells of ../shared/data/pbc are absent")
    size_um = describe(folder).pixel_size_um
    paths = sorted(folder.glob("*/*.jpg"))[::40]
    found = 0
    for path in paths:
        image = PictureReader().read(path)
        found += central(Segmenter(size_um).segment(image).detections, middle_of(image), size_um) is not None
    assert found >= 0.96 * len(paths)
