"""The centre network's training: what is known of pictures, tiles, targets, and one seed one result."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from fnrbc_device.errors import BundleError, UsageError
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.vision.centre_picture import CENTRE_UM, centre_picture
from fnrbc_device.vision.reduction import reduce
from fnrbc_device.vision.segmentation import Segmenter
from fnrbc_device.vision.stain import IDENTITY
from fnrbc_training import see_checkpoint, see_pictures, see_train
from fnrbc_training.see_command import compare_with, save_measured, train_and_save
from fnrbc_training.see_doubts import doubt_batches, learn_doubts
from fnrbc_training.see_network import NO_DOUBT, CentreNet
from fnrbc_training.see_page import UNKNOWN, Page, Shown
from fnrbc_training.see_pictures import gather
from fnrbc_training.see_score import score
from fnrbc_training.see_targets import SIDE, loss_of, targets_of
from fnrbc_training.see_tiles import TILE, Mix, Tile, TileMaker
from fnrbc_training.see_train import train
from fnrbc_training.single_cells import seen_alone
from painted import paint, write

GLASS = (250.0, 235.0, 220.0)


@pytest.fixture(autouse=True)
def _few_painted_slides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Painting a slide takes a second, and each set has twelve."""
    monkeypatch.setattr(see_pictures, "SLIDES", ())


def silent(*_: object) -> None:
    pass


@pytest.fixture
def fields(tmp_path: Path) -> Path:
    """Three fields with boxes: a white cell and red cells in each."""
    folder = tmp_path / "fields"
    rows = ["image,class,left_px,top_px,width_px,height_px"]
    for number in range(3):
        picture = paint("white", number)
        write(folder / "images" / f"{number}.png", picture)
        rows.append(f"{number}.png,wbc,90,90,120,120")
        rows += [f"{number}.png,rbc,{10 * place},10,70,70" for place in range(6)]
    (folder / "boxes.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture
def outlined(tmp_path: Path) -> Path:
    """Three fields of outlined nuclei, two that touch in each."""
    folder = tmp_path / "tissue"
    for number in range(3):
        labels = np.zeros((200, 200), np.uint16)
        cv2.circle(labels, (80, 100), 18, 1, -1)
        cv2.circle(labels, (117, 100), 18, 2, -1)
        picture = np.full((200, 200, 3), (240, 220, 235), np.uint8)
        picture[labels > 0] = (90, 60, 140)
        write(folder / "images" / f"{number}.png", picture)
        (folder / "labels").mkdir(exist_ok=True)
        cv2.imwrite(str(folder / "labels" / f"{number}.png"), labels)
    return folder


def shown_cell(kind: str = "cell") -> Shown:
    image = np.empty((100, 100, 3), np.uint8)
    image[...] = np.rint(GLASS)
    mask = np.zeros((100, 100), np.uint8)
    cv2.circle(image, (55, 48), 9, (70, 40, 130), -1)
    cv2.circle(mask, (55, 48), 9, 1, -1)
    return Shown(image, GLASS, IDENTITY, np.array([[48, 55, 9]], np.float32), mask, kind)


def test_the_middle_cell_of_a_picture_is_known_and_a_crumb_is_none(make_folder):
    shown = gather([make_folder(each=6)], 1, silent)
    with_cells = [one for one in shown if len(one.cells)]
    assert {one.kind for one in with_cells} == {"cell"}
    assert [one for one in shown if one.kind == "bare"]  # crumbs count as other
    assert not any(len(one.cells) for one in shown if one.kind == "bare")
    for one in with_cells:
        assert one.cells[0, :2] * CENTRE_UM == pytest.approx(np.array([15, 15]), abs=1.0)  # um; pictures of 30 um


def test_a_neighbour_at_the_pictures_border_is_no_lobe_of_the_labelled_cell():
    picture = np.full((240, 240, 3), GLASS, np.uint8)
    picture[50:190, 60:] = (190, 150, 200)  # what lies between both looks like one body
    for col in (120, 214):
        cv2.circle(picture, (col, 120), 36, (70, 40, 130), -1, cv2.LINE_AA)
    joined = Segmenter(0.1).segment(picture).detections
    assert [one.whole for one in joined] == [False]
    page = Page.of(picture, 0.1, IDENTITY, "cell", "")
    see_pictures._enter_middle(page, seen_alone(reduce(picture, 0.1), 0.1).detections, 0.1)
    (cell,) = page.shown().cells
    assert cell == pytest.approx((120 * 0.1 / CENTRE_UM, 120 * 0.1 / CENTRE_UM, 3.6 / CENTRE_UM), abs=2)
    assert page.shown().mask[34, 62] == UNKNOWN


def test_what_is_held_out_is_not_learned_from(make_folder):
    folder = make_folder(each=20)
    learned = {one.image.tobytes() for one in gather([folder], 1, silent)}
    held = {one.image.tobytes() for one in gather([folder], 1, silent, held_out=True)}
    assert held
    assert not learned & held


def test_boxes_give_places_and_only_white_cells_count(fields):
    shown = [one for one in gather([fields], 1, silent) if one.kind == "field"]
    assert len(shown) == 2  # the third is held out
    assert all(len(one.cells) == 1 for one in shown)


def test_outlines_give_places_sizes_and_masks(outlined):
    shown = [one for one in gather([outlined], 1, silent) if one.kind == "outlined"]
    for one in shown:
        assert len(one.cells) == 2
        # The middle nucleus is taken for 7 um.
        assert one.cells[:, 2] * CENTRE_UM == pytest.approx(3.5, abs=0.2)
        assert (one.mask == 1).sum() * CENTRE_UM**2 == pytest.approx(2 * np.pi * 3.5**2, rel=0.1)


def test_pictures_alone_are_fields_without_a_cell(tmp_path):
    for number in range(3):
        write(tmp_path / "empty" / f"{number}.png", paint("crumb", number))
    shown = [one for one in gather([tmp_path / "empty"], 1, silent) if one.kind == "empty"]
    assert len(shown) == 2
    assert not any(len(one.cells) for one in shown)


def test_of_painted_slides_all_is_known(tmp_path, monkeypatch):
    monkeypatch.setattr(see_pictures, "SLIDES", (("giemsa", 0.6),))
    monkeypatch.setattr(see_pictures, "STAINS", (1.0,))
    write(tmp_path / "empty" / "0.png", paint("crumb", 0))
    (slide,) = [one for one in gather([tmp_path / "empty"], 1, silent) if one.kind == "painted"]
    assert len(slide.cells) == 150
    assert 1.5 < np.median(slide.cells[:, 2]) * CENTRE_UM < 6


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(UsageError, match="holds no pictures"):
        gather([tmp_path], 1, silent)


def test_a_tile_depends_on_its_number_and_the_seed_alone():
    shown = [shown_cell() for _ in range(4)]
    first, again, other = (TileMaker(shown, seed).make(7) for seed in (3, 3, 4))
    assert np.array_equal(first.density, again.density)
    assert np.array_equal(first.cells, again.cells)
    assert not np.array_equal(first.density, other.density)


def test_a_tiles_cells_lie_where_the_tile_shows_them():
    maker = TileMaker([shown_cell("field")], 1)
    tiles = [maker.make(number) for number in range(60)]
    for tile in (tile for tile in tiles if len(tile.cells)):
        row, col, _ = tile.cells[0]
        assert tile.mask[int(np.clip(row, 0, TILE - 1)), int(np.clip(col, 0, TILE - 1))] == 1


def test_single_cells_are_laid_together_as_crowds():
    maker = TileMaker([shown_cell() for _ in range(3)], 5)
    counts = [len(maker.make(number).cells) for number in range(60)]
    assert max(counts) >= 2
    assert min(counts) >= 0


def test_targets_say_where_a_cell_is_and_how_large():
    mask = np.zeros((TILE, TILE), np.uint8)
    mask[60:70, 20:30] = UNKNOWN
    cells = np.array([[40.5, 81.0, 8.0]], np.float32)
    wanted = targets_of([Tile(np.zeros((3, TILE, TILE), np.float32), cells, mask)])
    ((_, row, col),) = np.argwhere(wanted.centre.numpy() > 0)
    assert 4 * (row + float(wanted.down[0, row, col]) + 0.5) - 0.5 == pytest.approx(40.5, abs=1e-4)
    assert 4 * (col + float(wanted.right[0, row, col]) + 0.5) - 0.5 == pytest.approx(81.0, abs=1e-4)
    assert float(wanted.size[0, row, col]) == pytest.approx(np.log(8.0), abs=1e-5)
    assert wanted.heat[0, row, col] == 1
    assert wanted.weight[0, 16, 6] == 0
    assert wanted.weight[0, 2, 2] == 1


def test_the_loss_is_least_where_the_maps_are_right():
    glass, known = np.zeros((3, TILE, TILE), np.float32), np.zeros((TILE, TILE), np.uint8)
    tile = Tile(glass, np.array([[64, 64, 8]], np.float32), known)
    wanted = targets_of([tile])
    right = torch.zeros(1, 5, SIDE, SIDE)
    right[:, 0] = torch.where(wanted.centre > 0, 8.0, -8.0)
    right[:, 1], right[:, 2], right[:, 3] = wanted.down, wanted.right, wanted.size
    right[:, 4] = -8
    shifted = right.clone()
    shifted[:, 0] = torch.roll(right[:, 0], 6, 2)
    assert float(loss_of(right, wanted)) < 0.05 * float(loss_of(shifted, wanted))


def test_one_seed_trains_one_network(monkeypatch):
    monkeypatch.setattr(see_train, "SETTLING_STEPS", 3)
    shown = [shown_cell() for _ in range(3)]
    first, again = (train(shown, 5, 2, silent).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.fixture(scope="module")
def trained() -> CentreNet:
    """A network that finds the one cell that it was shown."""
    return train([shown_cell("field")], 1, 60, silent)


def test_training_learns_to_find_painted_cells(trained):
    shown = [shown_cell("field")]
    networks = CentreNet().eval(), trained
    before, after = (score(network, shown, 0.3)[": field"] for network in networks)
    assert before.found == 0
    assert (after.found, after.false) == (1, 0)


def shown_platelet() -> Shown:
    """As large and dark as the cell, but it passes red light."""
    cell = shown_cell("bare")
    image = cell.image.copy()
    image[cell.mask > 0] = (215, 60, 110)
    return replace(cell, image=image, cells=np.zeros((0, 3), np.float32), mask=np.zeros_like(cell.mask))


def heat_of(network: CentreNet, shown: Shown) -> float:
    picture = centre_picture(shown.image, shown.glass_rgb, shown.stain_map)
    with torch.no_grad():
        return float(torch.sigmoid(network(torch.from_numpy(picture))[0, 0]).max())


def test_before_platelets_are_learned_nothing_is_doubted():
    torch.manual_seed(1)
    network, picture = CentreNet().eval(), torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        assert torch.allclose(network(picture), network.undoubted(picture), atol=1e-6)


def test_a_platelet_that_passes_for_a_cell_is_doubted_for_its_colour_and_the_cell_is_not(trained):
    cell, platelet = shown_cell(), shown_platelet()
    network = deepcopy(trained)
    before, found = heat_of(network, platelet), heat_of(network, cell)
    picture = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        known = network.undoubted(picture)
    learn_doubts(network, [cell, platelet], 1, 6, silent)
    assert heat_of(network, platelet) < 0.2 < before
    assert heat_of(network, cell) > 0.9 * found
    with torch.no_grad():
        assert torch.equal(network.undoubted(picture), known)


def test_one_seed_doubts_the_same():
    learned = []
    for _ in range(2):
        torch.manual_seed(1)
        network = CentreNet().eval()
        torch.nn.init.zeros_(network.maps.bias)  # takes everything for a cell, half and half
        learn_doubts(network, [shown_cell(), shown_platelet()], 3, 1, silent)
        learned.append(network.state_dict())
    assert float(learned[0]["doubts.doubt.bias"]) > NO_DOUBT
    assert all(torch.equal(learned[0][name], learned[1][name]) for name in learned[0])


def test_pictures_without_a_cell_teach_no_doubt():
    network = CentreNet().eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    learn_doubts(network, [shown_platelet()], 1, 1, silent)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_platelets_are_learned_after_every_training():
    assert [doubt_batches(steps) for steps in (1, 24, 12000)] == [1, 1, 500]


def test_a_tile_says_its_kind_and_in_a_settled_stain_keeps_its_colour():
    mixes = Mix({"cell": 1.0}), Mix({"cell": 1.0}, settled={"cell": 1.0})
    any_stain, settled = ([TileMaker([shown_cell()], 1, mix).make(number) for number in range(40)] for mix in mixes)
    assert {tile.kind for tile in settled} == {"cell"}
    assert _spread_of_colour(settled) < 0.5 * _spread_of_colour(any_stain)


def _spread_of_colour(tiles: list[Tile]) -> float:
    dark = [tile.density[:, tile.mask == 1].mean(axis=1) for tile in tiles if (tile.mask == 1).any()]
    return float(np.std([red / green for red, green, _ in dark]))


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    shown = [shown_cell("field")]
    network = CentreNet().eval()
    save_measured(network, shown, shown, [], "not at all", tmp_path / "see.pt")
    again = see_checkpoint.load(tmp_path / "see.pt")
    picture = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        assert torch.equal(network(picture), again.network()(picture))
    assert again.about["pictures"] == 1
    assert again.frames.shape[1:] == (96, 96, 3)


def test_a_training_by_another_version_is_named_as_that(tmp_path, monkeypatch):
    shown, path = [shown_cell("field")], tmp_path / "see.pt"
    with monkeypatch.context() as earlier:
        earlier.setattr(see_checkpoint, "FORMAT", 1)
        save_measured(CentreNet().eval(), shown, shown, [], "not at all", path)
    with pytest.raises(UsageError, match=r"trained by another version \(format 1, 2 is needed\); train it anew"):
        see_checkpoint.load(path)


def test_a_bundle_says_whether_its_network_learned_from_just_this(fields, tmp_path):
    shown = gather([fields], 1, silent)
    entry = load_bundle(None).manifest.seeing
    assert entry is not None
    same = entry.model_copy(update={"sha256": see_checkpoint.sha256_of(shown), "pictures": len(shown)})
    assert f"learned from just these {len(shown)}" in compare_with([fields], 1, same, silent)
    with pytest.raises(BundleError, match=f"from {entry.pictures} pictures, SHA-256 {entry.sha256}; here are 2"):
        compare_with([fields], 1, entry, silent)
    with pytest.raises(BundleError, match="has no network that sees"):
        compare_with([fields], 1, None, silent)


@pytest.mark.parametrize(
    "change",
    [{"kind": "bare"}, {"source": "elsewhere"}, {"glass_rgb": (250.0, 235.0, 221.0)}],
    ids=["kind", "source", "glass"],
)
def test_all_that_a_training_depends_on_is_in_the_digest_of_its_pictures(change):
    shown = shown_cell()
    assert see_checkpoint.sha256_of([replace(shown, **change)]) != see_checkpoint.sha256_of([shown])


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UsageError, match="is no folder"):
        train_and_save([tmp_path / "nowhere"], tmp_path / "see.pt", 1, 1, silent)


def test_another_file_is_no_checkpoint(tmp_path):
    (tmp_path / "see.pt").write_bytes(b"not a training")
    with pytest.raises(UsageError, match="no finished training of the centre network"):
        see_checkpoint.load(tmp_path / "see.pt")
