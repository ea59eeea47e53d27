"""The stain of a session: the majority of its pictures says it, and pictures are brought to the reference."""

import cv2
import numpy as np
import pytest

from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.records import Image, Pose
from fnrbc_device.vision.reduction import reduce
from fnrbc_device.vision.session_stain import (
    BUSY_MOVED_UM,
    FEWEST_VOTES,
    MEMORY,
    MOVED_UM,
    RECENT,
    SessionStain,
)
from fnrbc_device.vision.stain import (
    IDENTITY,
    REFERENCE_NUCLEUS,
    REFERENCE_REST,
    Anchors,
    anchors_of,
    densities,
    map_of,
    medians,
)

PIXEL_UM = 0.25
GLASS = (240.0, 228.0, 210.0)
H_AND_E = Anchors((1.3, 1.7, 0.9), (0.15, 0.45, 0.18), 100)
GIEMSA = Anchors(REFERENCE_NUCLEUS, REFERENCE_REST, 100)


def field(stain: Anchors, nuclei: int, red_cells: int, seed: int, glass: tuple[float, ...] = GLASS) -> Image:
    """A field of 120 x 120 um: discs of the stain's densities on glass."""
    rng = np.random.default_rng(seed)
    density = np.zeros((480, 480, 3), np.float32)
    places = rng.permutation([(row, col) for row in range(30, 480, 60) for col in range(30, 480, 60)])
    for number, (row, col) in enumerate(places[: nuclei + red_cells]):
        cv2.circle(density, (int(col), int(row)), 15, [float(part) for part in stain.rest], -1)
        if number < nuclei:
            cv2.circle(density, (int(col), int(row)), 12, [float(part) for part in stain.nucleus], -1)
    light = np.asarray(glass) * np.exp(-density) + rng.normal(0, 2, density.shape)
    return np.clip(np.rint(light), 0, 255).astype(np.uint8)


def crowd(stain: Anchors, apart: int, seed: int) -> Image:
    """Nothing but 49 nuclei of 6 um side by side in their cytoplasm, so many pixels of 0.25 um apart."""
    rng = np.random.default_rng(seed)
    density = np.zeros((480, 480, 3), np.float32)
    grid = [(80 + apart * row, 80 + apart * col) for row in range(7) for col in range(7)]
    places = [(int(row), int(col)) for row, col in np.array(grid) + rng.integers(-2, 3, (len(grid), 2))]
    for radius, absorbed in ((16, stain.rest), (12, stain.nucleus)):
        for row, col in places:
            cv2.circle(density, (col, row), radius, [float(part) for part in absorbed], -1)
    light = np.asarray(GLASS) * np.exp(-density) + rng.normal(0, 2, density.shape)
    return np.clip(np.rint(light), 0, 255).astype(np.uint8)


def learned(*fields: Image) -> SessionStain:
    stain = SessionStain()
    for picture in fields:
        stain.learn(picture, PIXEL_UM, GLASS)
    return stain


def fields_of(stain: Anchors, number: int, seed: int = 0) -> list[Image]:
    return [field(stain, 8, 30, seed + step) for step in range(number)]


@pytest.mark.parametrize("stain", [GIEMSA, H_AND_E], ids=["giemsa", "h and e"])
def test_a_picture_tells_what_its_nuclei_and_the_rest_absorb(stain):
    found = anchors_of(field(stain, 8, 30, seed=1), PIXEL_UM, GLASS)
    assert isinstance(found, Anchors)
    assert found.nuclei == 8
    assert found.nucleus == pytest.approx(stain.nucleus, abs=0.12)
    assert found.rest == pytest.approx(stain.rest, abs=0.05)


def test_a_pale_cameras_thick_red_cells_are_no_nuclei_and_its_nuclei_are():
    red_cells = Anchors((0.13, 0.29, 0.20), (0.04, 0.14, 0.05), 100)
    assert anchors_of(field(red_cells, 8, 30, seed=1), PIXEL_UM, GLASS) == "no_nuclei"
    nuclei = Anchors((0.57, 1.05, 0.0), (0.07, 0.19, 0.15), 100)
    assert isinstance(anchors_of(field(nuclei, 8, 30, seed=1), PIXEL_UM, GLASS), Anchors)


def test_a_map_brings_nuclei_and_the_rest_to_the_reference():
    image = field(H_AND_E, 8, 30, seed=2)
    mapped = anchors_of(map_of(H_AND_E).apply(image, GLASS), PIXEL_UM, GLASS)
    assert isinstance(mapped, Anchors)
    assert mapped.nucleus == pytest.approx(REFERENCE_NUCLEUS, abs=0.12)
    assert mapped.rest == pytest.approx(REFERENCE_REST, abs=0.05)


def test_the_map_leaves_glass_as_it_is():
    glass = np.full((20, 20, 3), np.rint(GLASS), np.uint8)
    assert np.abs(map_of(H_AND_E).apply(glass, GLASS).astype(int) - glass).max() <= 1


def test_the_reference_stain_needs_no_map():
    image = field(GIEMSA, 8, 30, seed=3)
    assert IDENTITY.apply(image, GLASS) is image
    assert np.abs(map_of(GIEMSA).apply(image, GLASS).astype(int) - image).max() <= 1


def test_the_nuclear_picture_in_the_reference_is_that_of_the_mapped_picture():
    image = field(H_AND_E, 8, 30, seed=4)
    stain_map = map_of(H_AND_E)
    direct = reduce(image, PIXEL_UM, stain_map).nuclear
    around = reduce(stain_map.apply(image, GLASS), PIXEL_UM).nuclear
    # Rounded to whole levels on the way round, and channels that would leave 0..255 are cut there.
    assert np.median(np.abs(direct.astype(int) - around)) <= 4


def test_densities_do_not_depend_on_the_lamp():
    image = np.array([[[120, 60, 100]]], np.uint8)
    bright = np.array([[[244, 124, 204]]], np.uint8)
    darker, brighter = densities(image, (200, 200, 200)), densities(bright, (404, 404, 404))
    assert darker == pytest.approx(brighter, abs=1e-5)


def test_no_single_picture_decides_the_stain():
    stain = learned(field(H_AND_E, 30, 20, seed=5))
    assert stain.state == "unsettled"
    assert stain.map.is_identity


def test_a_session_settles_on_what_its_pictures_agree_on():
    stain = learned(*fields_of(H_AND_E, FEWEST_VOTES))
    assert stain.state == "settled"
    assert stain.anchors is not None
    assert stain.anchors.nucleus == pytest.approx(H_AND_E.nucleus, abs=0.12)


def test_a_session_that_begins_on_empty_glass_settles_when_cells_come():
    stain = learned(*(field(GIEMSA, 0, 0, seed) for seed in range(20)))
    assert (stain.state, stain.doubt) == ("unsettled", "no_nuclei")
    for picture in fields_of(H_AND_E, FEWEST_VOTES):
        stain.learn(picture, PIXEL_UM, GLASS)
    assert (stain.state, stain.doubt) == ("settled", None)


@pytest.mark.parametrize("stain", [GIEMSA, H_AND_E], ids=["giemsa", "h and e"])
def test_a_crowd_alone_settles_the_stain_by_the_nuclei_that_stand_out_of_it(stain):
    session = learned(*(crowd(stain, 24, seed) for seed in range(FEWEST_VOTES)))
    assert session.state == "settled"
    assert session.anchors is not None
    assert session.anchors.nucleus == pytest.approx(stain.nucleus, abs=0.12)
    assert session.anchors.rest == pytest.approx(stain.rest, abs=0.05)


@pytest.mark.parametrize("stain", [GIEMSA, H_AND_E], ids=["giemsa", "h and e"])
def test_a_clot_in_which_no_nucleus_stands_out_settles_nothing_until_others_come(stain):
    session = learned(*(crowd(stain, 18, seed) for seed in range(20)))
    assert (session.state, session.doubt) == ("unsettled", "no_nuclei")
    for picture in fields_of(stain, FEWEST_VOTES):
        session.learn(picture, PIXEL_UM, GLASS)
    assert (session.state, session.doubt) == ("settled", None)


def test_a_session_that_rests_on_one_cell_learns_nothing_from_it_again():
    stain = SessionStain()
    for seed in range(40):
        stain.learn(field(H_AND_E, 30, 10, seed), PIXEL_UM, GLASS, Pose(0, 10.0, 10.0 + seed % 3))
    assert stain.state == "unsettled"


def test_a_moving_session_learns_from_every_new_field():
    stain = SessionStain()
    for seed in range(FEWEST_VOTES):
        stain.learn(field(H_AND_E, 8, 30, seed), PIXEL_UM, GLASS, Pose(0, 10.0, 400.0 * seed))
    assert stain.state == "settled"


@pytest.mark.parametrize(("pictures", "way_um", "votes"), [
    (MEMORY - 1, 1.5 * MOVED_UM, 1),
    (MEMORY, 1.5 * MOVED_UM, 0),  # it stands still: the vote waits for a frame that has the time
    (MEMORY, BUSY_MOVED_UM + 1.0, 1),
])  # fmt: skip
def test_beside_a_look_a_stain_that_stands_still_asks_half_as_often(pictures, way_um, votes):
    stain = learned(*fields_of(H_AND_E, pictures - 1))
    (picture,) = fields_of(H_AND_E, 1, seed=300)
    stain.learn(picture, PIXEL_UM, GLASS, Pose(0, 0.0, 0.0))
    before = stain.votes
    stain.learn(picture, PIXEL_UM, GLASS, Pose(0, 0.0, way_um / PIXEL_UM), busy=True)
    assert stain.votes == before + votes


def test_one_odd_cell_at_the_start_is_outvoted():
    odd = Anchors((1.9, 1.5, 0.3), (0.18, 0.26, 0.16), 1)
    stain = learned(field(odd, 1, 30, seed=1), *fields_of(GIEMSA, FEWEST_VOTES + 1))
    assert stain.anchors is not None
    assert stain.anchors.nucleus == pytest.approx(GIEMSA.nucleus, abs=0.12)


def test_too_few_nuclei_settle_nothing():
    stain = learned(*(field(H_AND_E, 1, 30, seed) for seed in range(8)))
    assert stain.state == "unsettled"


def test_a_field_of_red_cells_alone_is_never_taken_for_nuclei():
    thick = Anchors((0.4, 0.7, 0.4), (0.15, 0.26, 0.15), 1)
    stain = learned(*(field(thick, 20, 20, seed) for seed in range(8)))
    assert (stain.state, stain.doubt) == ("unsettled", "no_nuclei")


def test_a_settled_stain_stands_still():
    stain = learned(*fields_of(H_AND_E, MEMORY + 2))
    before = stain.anchors
    for picture in fields_of(H_AND_E, 10, seed=200):
        stain.learn(picture, PIXEL_UM, GLASS)
    assert stain.anchors is before


def test_a_few_other_fields_do_not_move_a_settled_stain():
    stain = learned(*fields_of(GIEMSA, 10))
    for picture in fields_of(H_AND_E, RECENT - 3, seed=100):
        stain.learn(picture, PIXEL_UM, GLASS)
    assert stain.state == "settled"


def test_a_slide_that_was_changed_is_noticed_and_learned():
    stain = learned(*fields_of(GIEMSA, 10), *fields_of(H_AND_E, RECENT, seed=100))
    assert stain.state == "changed"
    assert stain.anchors is not None
    assert stain.anchors.nucleus == pytest.approx(H_AND_E.nucleus, abs=0.12)


def test_a_camera_without_colours_is_said():
    image = field(GIEMSA, 8, 30, seed=1)
    grey = np.repeat(image[..., 1:2], 3, axis=2)
    assert anchors_of(grey, PIXEL_UM, (228.0, 228.0, 228.0)) == "no_colours"


def test_saturated_glass_is_said():
    image = field(GIEMSA, 8, 30, seed=1, glass=(255.0, 255.0, 255.0))
    assert anchors_of(image, PIXEL_UM, (255.0, 255.0, 255.0)) == "clipped_glass"


def test_a_field_without_glass_is_said():
    density = cv2.GaussianBlur(np.random.default_rng(1).normal(0, 6, (480, 480, 3)).astype(np.float32), (0, 0), 3)
    tissue = np.clip(np.asarray(GLASS) * np.exp(-0.5 - np.abs(density)), 0, 255).astype(np.uint8)
    assert anchors_of(tissue, PIXEL_UM, GLASS) == "no_glass"


def test_a_still_picture_votes_field_by_field():
    large = np.vstack([np.hstack([field(H_AND_E, 8, 30, 10 * row + col) for col in range(2)]) for row in range(2)])
    stain = SessionStain()
    stain.learn_still(large, PIXEL_UM, GLASS)
    assert stain.state == "settled"


def test_a_small_still_picture_settles_nothing():
    stain = SessionStain()
    stain.learn_still(field(H_AND_E, 20, 20, seed=1), PIXEL_UM, GLASS)
    assert stain.state == "unsettled"


def test_a_simulated_slide_of_the_papers_stain_is_learned_within_a_few_fields():
    slide = SimulatedSlide.make(3, "he", 300)
    microscope = SimulatedMicroscope(slide, seed=3)
    stain = SessionStain()
    for step in range(60):
        frame = microscope.read()
        assert frame is not None
        reduced = reduce(frame.image, slide.pixel_size_um)
        row, col = microscope.path[step]
        stain.learn(frame.image, slide.pixel_size_um, reduced.glass_rgb, Pose(0, float(row), float(col)))
    assert stain.state == "settled"


def test_a_pictures_medians_are_those_of_its_pixels():
    image = field(GIEMSA, 8, 30, seed=3)
    those = np.random.default_rng(7).random(image.shape[:2]) < 0.1
    for count in (1, 2, 3, 100, 1001):
        few = np.zeros_like(those)
        few.ravel()[np.flatnonzero(those)[:count]] = True
        assert medians(image, few, GLASS).tolist() == np.median(densities(image, GLASS)[few], axis=0).tolist()
