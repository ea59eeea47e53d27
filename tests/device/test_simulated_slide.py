"""The simulated smear: the paper's cytology, and a truth that the pixels bear out."""

import time
from collections import Counter

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from fnrbc_device.camera.simulated.cell import Painting, Textures, paint_nucleated
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.camera.simulated.smear import TrueCell, multiply_light
from fnrbc_device.camera.simulated.stain import LOOKS, SPECIES, LookName
from fnrbc_device.errors import UsageError

PIXEL_SIZE_UM = 0.125
BOTH_LOOKS = pytest.mark.parametrize("look", ["giemsa", "he"])


@pytest.fixture(scope="module")
def slide() -> SimulatedSlide:
    return SimulatedSlide.make(5, cells=300)


@pytest.fixture(scope="module", params=["giemsa", "he"])
def bare(request: pytest.FixtureRequest) -> SimulatedSlide:
    """Nucleated cells alone, so that every dark pixel is a nucleus."""
    return SimulatedSlide.make(11, request.param, 150, red_cells_per_mm2=0, platelets_per_mm2=0, debris_per_mm2=0)


def paint(name: str, seed: int, look: LookName = "giemsa") -> Painting:
    rng = np.random.default_rng(seed)
    textures = Textures(rng, PIXEL_SIZE_UM)
    return paint_nucleated(SPECIES[name], LOOKS[look], textures, rng, PIXEL_SIZE_UM)


def nucleus_of(light: NDArray[np.uint8], name: str, look: LookName) -> NDArray[np.bool_]:
    """Pixels of the nucleus, gaps in its chromatin included: red is nearer to its density than to others."""
    stain = LOOKS[look].stains[name]
    between = 0.5 * (stain.nucleus[0] + max(colour[0] for colour in stain.cytoplasm) + stain.granules[0])
    density = -np.log10(np.maximum(cv2.GaussianBlur(light[..., 0], (0, 0), 0.7), 1) / 255.0)
    contours = cv2.findContours((density > between).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    mask = np.zeros(light.shape[:2], np.uint8)
    # Specks smaller than 1 um2 are granules that happened to meet.
    lobes = [contour for contour in contours if cv2.contourArea(contour) * PIXEL_SIZE_UM**2 > 1.0]
    return cv2.drawContours(mask, lobes, -1, 1, cv2.FILLED).astype(bool)


def hull_centroid(mask: NDArray[np.bool_]) -> tuple[float, float]:
    moments = cv2.moments(cv2.convexHull(cv2.findNonZero(mask.astype(np.uint8))))
    return moments["m01"] / moments["m00"], moments["m10"] / moments["m00"]


def solidity(mask: NDArray[np.bool_]) -> float:
    """Area over area of the convex hull: 1 for a disc, less for lobes."""
    hull = np.zeros(mask.shape, np.uint8)
    cv2.fillConvexPoly(hull, cv2.convexHull(cv2.findNonZero(mask.astype(np.uint8))), 1)
    return float(mask.sum() / hull.sum())


def darkness(painting: Painting, name: str) -> float:
    """Mean light of the nucleus, 0..255."""
    return float(painting.light[nucleus_of(painting.light, name, "giemsa")].mean())


def of(slide: SimulatedSlide, name: str) -> list[TrueCell]:
    return [cell for cell in (*slide.truth, *slide.bystanders) if cell.class_name == name]


def test_the_same_seed_makes_the_same_slide_and_another_seed_another() -> None:
    first, again, other = (SimulatedSlide.make(seed, cells=10) for seed in (3, 3, 4))
    assert np.array_equal(first.image, again.image)
    assert first.truth == again.truth
    assert first.truth != other.truth


def test_it_holds_as_many_nucleated_cells_as_asked_and_is_read_only(slide: SimulatedSlide) -> None:
    assert len(slide.truth) == 300
    assert not slide.image.flags.writeable


def test_sizes_are_the_papers_cytology(slide: SimulatedSlide) -> None:
    ranges = {
        "fnrbc": (9.0, 12.0),
        "lymphocyte": (5.0, 8.0),
        "neutrophil": (10.0, 20.0),
        "red_cell": (6.9, 8.1),
        "platelet": (2.0, 3.0),
    }
    for name, (low, high) in ranges.items():
        diameters = [cell.diameter_um for cell in of(slide, name)]
        assert len(diameters) >= 20
        assert low <= min(diameters), name
        assert max(diameters) <= high, name


def test_the_nucleus_of_an_fnrbc_is_under_half_of_the_cell_and_a_lymphocytes_nearly_fills_it(
    slide: SimulatedSlide,
) -> None:
    fnrbc = [cell.nucleus_ratio for cell in of(slide, "fnrbc")]
    lymphocytes = [cell.nucleus_ratio for cell in of(slide, "lymphocyte")]
    assert 0.25 < min(fnrbc) < max(fnrbc) < 0.5
    assert 0.70 < min(lymphocytes) < max(lymphocytes) < 0.95


def test_the_nucleus_of_an_fnrbc_lies_off_the_centre(slide: SimulatedSlide) -> None:
    away = []
    for cell in of(slide, "fnrbc"):
        top, left, bottom, right = cell.box_rc
        away.append(np.hypot(cell.row_px - (top + bottom) / 2, cell.col_px - (left + right) / 2))
    assert np.median(away) * PIXEL_SIZE_UM > 0.5


@pytest.mark.parametrize("seed", range(8))
def test_neutrophils_are_lobed_and_fnrbc_round(seed: int) -> None:
    lobed, round_ = (nucleus_of(paint(name, seed).light, name, "giemsa") for name in ("neutrophil", "fnrbc"))
    assert solidity(lobed) < 0.9
    assert solidity(round_) > 0.93


@BOTH_LOOKS
@pytest.mark.parametrize("name", sorted(SPECIES))
@pytest.mark.parametrize("seed", range(3))
def test_the_dark_pixels_of_one_cell_lie_where_the_truth_says(name: str, look: LookName, seed: int) -> None:
    painting = paint(name, seed, look)
    assert hull_centroid(nucleus_of(painting.light, name, look)) == pytest.approx(painting.nucleus_rc, abs=0.5)


@BOTH_LOOKS
@pytest.mark.parametrize("seed", range(6))
def test_area_and_ratio_measured_on_the_pixels_are_the_truths(look: LookName, seed: int) -> None:
    painting = paint("fnrbc", seed, look)
    nucleus = nucleus_of(painting.light, "fnrbc", look).sum()
    # Half of the cytoplasm's density of green.
    cell = (painting.light[..., 1] < 205).sum()
    assert 2 * np.sqrt(cell / np.pi) * PIXEL_SIZE_UM == pytest.approx(painting.diameter_um, abs=0.2)
    assert nucleus / cell == pytest.approx(painting.nucleus_ratio, abs=0.05)


def test_the_nucleus_is_the_darkest_part_and_densest_in_fnrbc() -> None:
    means = {name: np.mean([darkness(paint(name, seed), name) for seed in range(6)]) for name in SPECIES}
    assert means["fnrbc"] == min(means.values())


def test_every_centre_on_a_slide_is_exact(bare: SimulatedSlide) -> None:
    glass = np.median(bare.image[:40, :40].reshape(-1, 3), 0)
    errors: dict[str, list[float]] = {name: [] for name in SPECIES}
    for cell in bare.truth:
        if cell.partner is None:
            top, left, bottom, right = (round(edge) for edge in cell.box_rc)
            patch = np.minimum(bare.image[top : bottom + 1, left : right + 1] / glass * 255, 255)
            row, col = hull_centroid(nucleus_of(patch.astype(np.uint8), cell.class_name, bare.look))
            errors[cell.class_name].append(float(np.hypot(row + top - cell.row_px, col + left - cell.col_px)))
    assert max(errors["fnrbc"]) < 0.5
    # In others the eye, too, takes a dark patch of cytoplasm for nucleus here and there.
    everything = np.concatenate(list(errors.values()))
    assert np.quantile(everything, 0.9) < 0.5
    assert everything.max() < 2.5


def test_the_box_holds_the_whole_cell_and_nothing_more(bare: SimulatedSlide) -> None:
    glass = np.median(bare.image[:40, :40].reshape(-1, 3), 0)
    for cell in bare.truth[-30:]:
        top, left, bottom, right = (round(edge) for edge in cell.box_rc)
        patch = bare.image[top - 6 : bottom + 7, left - 6 : right + 7]
        # Its neighbours may reach into the patch, but do not touch it.
        clumps = cv2.connectedComponents((patch < glass - 20).any(2).astype(np.uint8))[1]
        rows, cols = np.nonzero(clumps == clumps[clumps.shape[0] // 2, clumps.shape[1] // 2])
        found = rows.min() + top - 6, cols.min() + left - 6, rows.max() + top - 6, cols.max() + left - 6
        assert found == pytest.approx(cell.box_rc, abs=2.5)


def test_touching_cells_are_as_many_as_asked_and_know_each_other() -> None:
    slide = SimulatedSlide.make(2, cells=100, touching=0.3)
    paired = [index for index, cell in enumerate(slide.truth) if cell.partner is not None]
    assert len(paired) == 30
    for index in paired:
        cell = slide.truth[index]
        assert cell.partner is not None
        partner = slide.truth[cell.partner]
        assert partner.partner == index
        apart_um = np.hypot(cell.row_px - partner.row_px, cell.col_px - partner.col_px) * PIXEL_SIZE_UM
        assert apart_um < 0.75 * (cell.diameter_um + partner.diameter_um)


def test_the_outlines_of_a_pair_meet() -> None:
    slide = SimulatedSlide.make(6, cells=40, touching=1.0, red_cells_per_mm2=0, platelets_per_mm2=0, debris_per_mm2=0)
    glass = np.median(slide.image[:40, :40].reshape(-1, 3), 0)
    clumps = cv2.connectedComponents((slide.image < glass - 12).any(2).astype(np.uint8))[1]
    for cell in slide.truth:
        assert cell.partner is not None
        partner = slide.truth[cell.partner]
        assert in_clump(clumps, cell) == in_clump(clumps, partner) > 0


def in_clump(clumps: NDArray[np.int32], cell: TrueCell) -> int:
    """Which patch of stained pixels holds most of the cell's box."""
    top, left, bottom, right = (round(edge) for edge in cell.box_rc)
    labels = clumps[top:bottom, left:right]
    return int(np.bincount(labels[labels > 0]).argmax())


def test_cells_that_are_no_pair_do_not_touch_and_lie_within_the_slide(slide: SimulatedSlide) -> None:
    height, width = slide.image.shape[:2]
    boxes = np.array([cell.box_rc for cell in slide.truth])
    assert boxes.min() >= 20
    assert (boxes[:, 2] <= height - 21).all()
    assert (boxes[:, 3] <= width - 21).all()
    centres, reach = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).min(1) / 2
    for index, cell in enumerate(slide.truth):
        if cell.partner is None:
            apart = np.hypot(*(centres - centres[index]).T) - reach - reach[index]
            apart[index] = np.inf
            assert apart.min() > 0


def test_a_field_holds_as_many_cells_as_a_readable_smear(slide: SimulatedSlide) -> None:
    fields = slide.image.shape[0] * slide.image.shape[1] / (960 * 1280)
    assert 15 < len(slide.truth) / fields < 25
    assert 60 < len(of(slide, "red_cell")) / fields < 120


def test_every_species_appears_about_as_often_as_its_share() -> None:
    shares = {"fnrbc": 3.0, "neutrophil": 1.0}
    slide = SimulatedSlide.make(8, cells=200, shares=shares, red_cells_per_mm2=0)
    counts = Counter(cell.class_name for cell in slide.truth)
    assert set(counts) == {"fnrbc", "neutrophil"}
    assert 125 < counts["fnrbc"] < 175


def test_what_counts_as_what_follows_the_class(slide: SimulatedSlide) -> None:
    groups = {cell.class_name: cell.group for cell in (*slide.truth, *slide.bystanders)}
    assert groups == {
        "fnrbc": "fnrbc",
        "lymphocyte": "leukocyte",
        "neutrophil": "leukocyte",
        "monocyte": "leukocyte",
        "eosinophil": "leukocyte",
        "platelet": "other",
        "red_cell": "other",
        "debris": "other",
    }


def test_light_passes_two_layers_as_the_product_of_both() -> None:
    image = np.full((40, 40, 3), 200, np.uint8)
    half = np.full((11, 11, 3), 128, np.uint8)
    multiply_light(image, half, 10, 10)
    multiply_light(image, half, 15, 10)
    assert image[0, 0, 0] == 200
    assert image[11, 12, 0] == pytest.approx(200 / 2, abs=1)
    assert image[18, 12, 0] == pytest.approx(200 / 4, abs=1)


@pytest.mark.parametrize("corner", [(-6, -6), (36, 36), (-6, 36)])
def test_what_hangs_over_the_edge_is_cut_off(corner: tuple[int, int]) -> None:
    image = np.full((40, 40, 3), 200, np.uint8)
    multiply_light(image, np.zeros((10, 10, 3), np.uint8), *corner)
    assert (image == 0).all(2).sum() == 16


def test_more_stain_is_darker_and_changes_nothing_else() -> None:
    pale, dark = (SimulatedSlide.make(3, cells=5, stain=(part,) * 3) for part in (0.8, 1.2))
    assert pale.truth == dark.truth
    cell = pale.truth[0]
    centre = np.s_[round(cell.row_px) - 4 : round(cell.row_px) + 5, round(cell.col_px) - 4 : round(cell.col_px) + 5]
    assert dark.image[centre].mean() < 0.8 * pale.image[centre].mean()


@pytest.mark.parametrize("pixel_size_um", [0.08, 0.25])
def test_sizes_in_um_do_not_depend_on_the_pixel(pixel_size_um: float) -> None:
    slide = SimulatedSlide.make(1, cells=20, pixel_size_um=pixel_size_um, shares={"fnrbc": 1.0})
    assert all(8.9 < cell.diameter_um < 12.1 for cell in slide.truth)


def test_a_slide_of_500_cells_takes_seconds() -> None:
    start_s = time.process_time()
    SimulatedSlide.make(0, cells=500)
    assert time.process_time() - start_s < 5.0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"look": "sepia"}, "look 'sepia' is unknown"),
        ({"cells": -1}, "below the limit of 0"),
        ({"pixel_size_um": 0.0}, r"outside 0\.05\.\.0\.5"),
        ({"touching": 1.5}, r"outside 0\.\.1"),
        ({"shares": {"unicorn": 1.0}}, "unicorn"),
        ({"shares": {}}, "not all 0"),
        ({"nucleated_per_mm2": 0.0}, "must be above 0"),
        ({"stain": (1.0, 2.0, 1.0)}, r"outside 0\.5\.\.1\.5"),
        ({"cells": 400, "nucleated_per_mm2": 9000.0}, "do not fit"),
        ({"cells": 100_000_000}, "ask for 10513 or fewer"),
    ],
)
def test_impossible_slides_are_refused_in_one_sentence(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        SimulatedSlide.make(0, **wrong)  # type: ignore[arg-type]  # a wrong one, on purpose
