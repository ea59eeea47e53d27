"""The first extreme of the histogram, whatever the stain, the glass, the light and the field; truth is simulated."""

from functools import lru_cache

import numpy as np
import pytest

from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.optics import Optics
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.camera.simulated.stain import LOOKS, LookName
from fnrbc_device.records import Field, Image, Pose
from fnrbc_device.vision.flatfield import FlatField
from fnrbc_device.vision.reduction import reduce
from fnrbc_device.vision.segmentation import Segmenter

UM = 0.125
STAINS: tuple[LookName, LookName] = ("giemsa", "he")
SHAPE = (480, 640)
WHITE, CREAM, GREY_BLUE = (246.0, 244.0, 243.0), (248.0, 226.0, 201.0), (196.0, 205.0, 214.0)

LARGEST_STEP = 3.0
"""Grey levels that the threshold may move from one frame to the next: a tenth of a strong stain's way from a weak."""

LENS_UM = 3.2
"""Widest nucleus that the overlap of red cells may pass for while a session has seen no nucleus yet."""


@lru_cache(maxsize=12)
def slide(seed: int, look: LookName, cells: int = 40, stain: float = 1.0) -> SimulatedSlide:
    return SimulatedSlide.make(seed, look, cells, UM, touching=0.0, stain=(stain,) * 3)


def on_glass(image: Image, look: LookName, glass_rgb: tuple[float, float, float]) -> Image:
    """The same cells on glass of another colour."""
    tint = np.array(glass_rgb) / np.array(LOOKS[look].glass_rgb)
    return np.clip(np.rint(image * tint), 0, 255).astype(np.uint8)


def found_share(field: Field, smear: SimulatedSlide, corner: tuple[float, float] = (0.0, 0.0)) -> float:
    """Share of the true cells, well within the field, that have a detection within 3 um."""
    truth = np.array([(cell.row_px, cell.col_px) for cell in smear.truth]) - corner
    size = np.array(field.low.shape) * (field.detections[0].factor if field.detections else 1)
    truth = truth[((truth > 80) & (truth < size - 80)).all(axis=1)]
    found = np.array([detection.centre_rc for detection in field.detections]).reshape(-1, 2)
    if not len(found):
        return 0.0
    apart_um = UM * np.hypot(*(truth[:, None] - found[None]).transpose(2, 0, 1)).min(axis=1)
    return float((apart_um <= 3.0).mean())


def thresholds(images: list[Image], segmenter: Segmenter | None = None) -> np.ndarray:
    segmenter = segmenter or Segmenter(UM)
    return np.array([segmenter.segment(image).threshold for image in images])


@pytest.mark.parametrize("look", STAINS)
@pytest.mark.parametrize("glass_rgb", [WHITE, CREAM, GREY_BLUE])
@pytest.mark.parametrize("stain", [0.7, 1.0, 1.3])
def test_nuclei_are_found_in_either_stain_on_any_glass_weakly_or_strongly_stained(look, glass_rgb, stain):
    smear = slide(3, look, stain=stain)

    field = Segmenter(UM).segment(on_glass(smear.image, look, glass_rgb))

    assert field.background_rgb == pytest.approx(glass_rgb, abs=6)
    assert found_share(field, smear) >= 0.97
    assert len(field.detections) <= 1.1 * len(smear.truth)


@pytest.mark.parametrize("look", STAINS)
def test_the_threshold_lies_between_the_nuclei_and_the_red_cells(look):
    smear = slide(3, look)
    field = Segmenter(UM).segment(smear.image)
    glass = field.background_rgb[1]
    light = np.array(
        [
            field.low[_working(cell.row_px, field), _working(cell.col_px, field)]
            for cell in smear.bystanders
            if cell.class_name == "red_cell" and _inside(cell, smear)
        ]
    )

    assert field.threshold < 240 / glass * np.percentile(light, 5)
    darkest = min(240 * 10.0 ** -LOOKS[look].stains[name].nucleus[1] for name in ("fnrbc", "lymphocyte"))
    assert field.threshold > darkest


def _working(place_px: float, field: Field) -> int:
    return int(place_px / (field.pixel_um / UM))


def _inside(cell, smear: SimulatedSlide) -> bool:
    return 8 < cell.row_px < smear.image.shape[0] - 8 and 8 < cell.col_px < smear.image.shape[1] - 8


@pytest.mark.parametrize("glass_rgb", [WHITE, CREAM, GREY_BLUE])
@pytest.mark.parametrize("light", [0.5, 1.0])
def test_an_empty_field_says_so_and_finds_nothing(glass_rgb, light):
    rng = np.random.default_rng(6)
    row, col = np.indices(SHAPE)
    shade = 1 - 0.3 * ((row - 240) ** 2 + (col - 320) ** 2) / 320**2
    glass = np.array(glass_rgb) * light * shade[..., None] + rng.normal(0, 2, (*SHAPE, 3))

    field = Segmenter(UM).segment_reduced(FlatField().flatten(reduce(np.clip(glass, 0, 255).astype(np.uint8), UM)))

    assert field.detections == []
    assert field.threshold == 0.0


def test_an_empty_field_after_cells_finds_nothing_and_the_next_cells_are_found_as_before():
    smear = slide(3, "giemsa")
    segmenter = Segmenter(UM)
    before = segmenter.segment(smear.image[:480, :640])
    empty = np.full((*SHAPE, 3), CREAM, np.uint8)

    assert [len(segmenter.segment(empty).detections) for _ in range(100)] == [0] * 100
    after = segmenter.segment(smear.image[:480, :640])

    assert len(after.detections) == len(before.detections)


@pytest.mark.parametrize("look", STAINS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_field_without_nuclei_has_none_but_for_a_lens_or_two_where_red_cells_overlap(look, seed):
    bare = SimulatedSlide.make(seed, look, 0, UM, debris_per_mm2=0)

    field = Segmenter(UM).segment(bare.image[:960, :1280])

    assert len(field.detections) <= 3  # of about 100 red cells
    assert all(detection.nucleus_diameter_um < LENS_UM for detection in field.detections)


@pytest.mark.parametrize("look", STAINS)
def test_what_was_learned_on_cells_makes_none_of_a_field_without_nuclei(look):
    cells, bare = slide(3, look), SimulatedSlide.make(4, look, 0, UM, debris_per_mm2=0)
    segmenter = Segmenter(UM)
    for _ in range(5):
        segmenter.segment(cells.image[:960, :1280])

    assert [len(segmenter.segment(bare.image[:960, :1280]).detections) for _ in range(30)] == [0] * 30


def clump(look: LookName, pitch_um: float, nucleus_um: float, covered_um: float, shape=(960, 1280)) -> Image:
    """Nucleated cells side by side in a disc, their cytoplasm one sheet; the rest is glass."""
    stain = LOOKS[look].stains["fnrbc"]
    row, col = np.indices(shape) * UM
    middle = np.array(shape) * UM / 2
    sheet = np.hypot(row - middle[0], col - middle[1]) <= covered_um / 2
    from_grid = [(um - centre) % pitch_um - pitch_um / 2 for um, centre in zip((row, col), middle, strict=True)]
    beside = np.hypot(*from_grid)
    nuclei = sheet & (beside <= nucleus_um / 2)
    density = sheet[..., None] * np.array(stain.cytoplasm[0]) + nuclei[..., None] * np.array(stain.nucleus)
    return np.rint(np.array(LOOKS[look].glass_rgb) * 10.0**-density).astype(np.uint8)


@pytest.mark.parametrize("look", STAINS)
def test_a_clump_of_cells_with_glass_beside_it_is_its_cells(look):
    field = Segmenter(UM).segment(clump(look, 9.0, 6.0, covered_um=80.0))

    within = np.pi / 4 * (80.0 / 9.0) ** 2
    assert len(field.detections) == pytest.approx(within, rel=0.25)  # those at its rim are cut


@pytest.mark.parametrize("look", STAINS)
@pytest.mark.parametrize("pitch_um", [7.0, 9.0])
def test_a_field_that_is_one_clump_without_any_glass_is_its_cells(look, pitch_um):
    picture = clump(look, pitch_um, 5.6, covered_um=400.0)
    nuclei = (960 * UM / pitch_um) * (1280 * UM / pitch_um)

    field = Segmenter(UM).segment(picture)

    assert len(field.detections) == pytest.approx(nuclei, rel=0.2)


@pytest.mark.parametrize("look", STAINS)
def test_a_field_of_nothing_but_nuclear_stain_is_no_cell(look):
    picture = clump(look, 9.0, 30.0, covered_um=400.0)

    assert Segmenter(UM).segment(picture).detections == []


@pytest.mark.parametrize("look", STAINS)
def test_the_threshold_follows_a_slow_drift_of_the_light_without_a_jump(look):
    picture = slide(3, look).image[:480, :640]
    drifting = [np.rint(picture * light).astype(np.uint8) for light in np.linspace(1.0, 0.6, 40)]

    seen = thresholds(drifting)

    assert (seen > 0).all()
    assert np.abs(np.diff(seen)).max() <= LARGEST_STEP
    assert np.ptp(seen) <= 2 * LARGEST_STEP  # light alone changes no stain


@pytest.mark.parametrize("look", STAINS)
@pytest.mark.parametrize("step", [0.6, 1 / 0.6])
def test_a_sudden_step_of_the_lamp_moves_the_threshold_no_further_than_a_drift(look, step):
    smear = slide(3, look)
    bright = smear.image[:480, :640]
    dim = np.rint(bright * 0.6).astype(np.uint8)
    before, after = (bright, dim) if step < 1 else (dim, bright)
    segmenter = Segmenter(UM)

    seen = thresholds([before] * 12 + [after] * 12, segmenter)
    at_once = segmenter.segment(after)

    assert np.abs(np.diff(seen)).max() <= LARGEST_STEP
    assert found_share(at_once, smear) >= 0.97


@pytest.mark.parametrize("look", STAINS)
def test_from_a_weakly_to_a_strongly_stained_part_the_threshold_moves_in_small_steps(look):
    weak, strong = (slide(3, look, stain=stain).image[:480, :640] for stain in (0.7, 1.3))
    segmenter = Segmenter(UM)

    seen = thresholds([weak] * 5 + [strong] * 90, segmenter)
    alone = Segmenter(UM).segment(strong).threshold

    assert abs(alone - seen[0]) > 2 * LARGEST_STEP  # there is something to follow
    assert np.abs(np.diff(seen)).max() <= LARGEST_STEP
    assert seen[-1] == pytest.approx(alone, abs=LARGEST_STEP)


@pytest.mark.parametrize("look", STAINS)
def test_from_field_to_field_of_a_vignetted_dusty_drifting_pan_the_threshold_never_jumps(look):
    smear = slide(7, look, 60)
    optics = Optics(vignette=0.3, dust=12, light_drift=0.15)
    path = np.array([(150 + 2.0 * step, 20 + 30.0 * step) for step in range(30)])
    microscope = SimulatedMicroscope(smear, path, frame_shape=SHAPE, optics=optics, seed=2)
    light, segmenter, seen, shares = FlatField(), Segmenter(UM), [], []

    for index, corner in enumerate(path):
        reduced = reduce(microscope.image(index), UM)
        field = segmenter.segment_reduced(light.flatten(reduced))
        light.learn(reduced, Pose(0, *corner))
        seen.append(field.threshold)
        shares.append(found_share(field, smear, tuple(corner)))

    steady = np.array(seen[8:])
    assert (steady > 0).all()
    assert np.abs(np.diff(steady)).max() <= LARGEST_STEP
    assert np.nanmean(shares[8:]) >= 0.97


@pytest.mark.parametrize("look", STAINS)
def test_vignetting_hides_no_cell_of_the_first_frame(look):
    smear = slide(7, look, 60)
    path = np.zeros((1, 2))
    shaded = SimulatedMicroscope(smear, path, optics=Optics(vignette=0.3, dust=0, exposure=0.0), seed=2)
    clear = SimulatedMicroscope(smear, path, optics=Optics.perfect(), seed=2)

    dim, bright = (
        Segmenter(UM).segment_reduced(FlatField().flatten(reduce(microscope.image(0), UM)))
        for microscope in (shaded, clear)
    )

    assert found_share(dim, smear) >= found_share(bright, smear) - 0.01
    assert dim.threshold == pytest.approx(bright.threshold, abs=6.0)  # glass brightens towards the middle
