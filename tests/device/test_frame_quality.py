"""The gate: fresh, exposed and sharp frames pass, and each other has its reason."""

import cv2
import numpy as np
import pytest

from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.records import Image
from fnrbc_device.vision.frame_quality import LEAST_SHARPNESS, FrameQuality, Judgement, fineness
from fnrbc_device.vision.reduction import reduce

UM = 0.125
SHAPE = (480, 640)


@pytest.fixture(scope="module", params=["giemsa", "he"])
def slide(request: pytest.FixtureRequest) -> Image:
    return SimulatedSlide.make(6, request.param, 60, UM).image


def seen(slide: Image, row: int = 300, col: int = 400, noise_seed: int = 0) -> Image:
    """A field of the slide through a sensor."""
    return with_noise(slide[row : row + SHAPE[0], col : col + SHAPE[1]], noise_seed)


def with_noise(field: Image, seed: int = 0) -> Image:
    noise = np.random.default_rng(seed).normal(0, 2.0, field.shape)
    return np.clip(np.rint(field + noise), 0, 255).astype(np.uint8)


def judge(frame_quality: FrameQuality, image: Image) -> Judgement:
    return frame_quality.judge(reduce(image, UM))


def blurred(slide: Image, kernel: np.ndarray, noise_seed: int = 1) -> Image:
    return with_noise(cv2.filter2D(slide[300 : 300 + SHAPE[0], 400 : 400 + SHAPE[1]], -1, kernel), noise_seed)


def out_of_focus(sigma_px: float) -> np.ndarray:
    line = cv2.getGaussianKernel(2 * int(4 * sigma_px) + 1, sigma_px)
    return line @ line.T


def smear(length_px: int, down: bool) -> np.ndarray:
    line = np.full((length_px, 1), 1 / length_px)
    return line if down else line.T


def smear_along(length_px: int, degrees: float) -> np.ndarray:
    """What motion through so many pixels in a direction leaves of a point."""
    kernel = np.zeros((length_px + 4, length_px + 4), np.float32)
    middle = length_px / 2 + 1.5
    for step in np.linspace(-length_px / 2, length_px / 2, 8 * length_px):
        row, col = middle + step * np.sin(np.radians(degrees)), middle + step * np.cos(np.radians(degrees))
        for down in (0, 1):
            for right in (0, 1):
                weight = (1 - abs(int(row) + down - row)) * (1 - abs(int(col) + right - col))
                kernel[int(row) + down, int(col) + right] += weight
    return kernel / kernel.sum()


def test_a_sharp_fresh_exposed_frame_passes(slide: Image) -> None:
    judged = judge(FrameQuality(), seen(slide))

    assert judged.reason is None
    assert judged.sharpness == 1.0


def test_the_same_picture_again_is_repeated_and_a_new_one_of_the_same_place_is_not(slide: Image) -> None:
    frame_quality, image = FrameQuality(), seen(slide)

    reasons = [judge(frame_quality, frame).reason for frame in (image, image.copy(), seen(slide, noise_seed=1), image)]

    assert reasons == [None, "repeated", None, None]


@pytest.mark.parametrize(("light", "reason"), [(0.1, "too_dark"), (0.14, "too_dark"), (0.4, None), (1.0, None)])
def test_glass_too_dark_for_nuclei_to_stand_out_is_too_dark(slide: Image, light: float, reason: str | None) -> None:
    assert judge(FrameQuality(), np.rint(seen(slide) * light).astype(np.uint8)).reason == reason


def test_a_saturated_field_is_too_bright(slide: Image) -> None:
    flooded = np.clip(seen(slide) * 3.0, 0, 255).astype(np.uint8)
    flooded[:, :-20] = 255

    assert judge(FrameQuality(), flooded).reason == "too_bright"


@pytest.mark.parametrize(("light", "flooded"), [(1.1, False), (5.0, True)])
def test_a_light_that_grew_until_red_cells_are_white_is_noticed(slide: Image, light: float, flooded: bool) -> None:
    frame_quality = FrameQuality()
    judge(frame_quality, seen(slide))

    assert judge(frame_quality, np.clip(seen(slide, noise_seed=1) * light, 0, 255).astype(np.uint8)).flooded == flooded


def test_a_camera_that_always_shows_glass_white_is_not_told_that_it_is_flooded(slide: Image) -> None:
    frame_quality = FrameQuality()
    for seed in range(3):
        white = np.clip(seen(slide, noise_seed=seed) * 2.5, 0, 255).astype(np.uint8)
        assert not judge(frame_quality, white).flooded


@pytest.mark.parametrize("level", [0, 20])
def test_the_lamp_is_off(level: int) -> None:
    assert judge(FrameQuality(), np.full((*SHAPE, 3), level, np.uint8)).reason == "too_dark"


@pytest.mark.parametrize("sigma_px", [8.0, 12.0])
def test_a_field_out_of_focus_is_blurred(slide: Image, sigma_px: float) -> None:
    frame_quality = FrameQuality()
    judge(frame_quality, seen(slide))

    judged = judge(frame_quality, blurred(slide, out_of_focus(sigma_px)))

    assert judged.reason == "blurred"
    assert judged.sharpness < LEAST_SHARPNESS


@pytest.mark.parametrize("length_px", [25, 40])
@pytest.mark.parametrize("degrees", [0, 30, 45, 90, 120, 135])
def test_motion_is_told_from_focus_by_its_direction_whatever_that_is(
    slide: Image, length_px: int, degrees: int
) -> None:
    frame_quality = FrameQuality()
    judge(frame_quality, seen(slide))

    judged = judge(frame_quality, blurred(slide, smear_along(length_px, degrees)))

    assert (judged.reason, judged.smeared) == ("too_fast", True)


@pytest.mark.parametrize("sigma_px", [2.0, 4.0, 6.0, 8.0, 12.0, 20.0])
def test_what_is_out_of_focus_has_no_direction(slide: Image, sigma_px: float) -> None:
    frame_quality = FrameQuality()
    judge(frame_quality, seen(slide))

    judged = judge(frame_quality, blurred(slide, out_of_focus(sigma_px)))

    assert not judged.smeared
    assert judged.reason in (None, "blurred")


@pytest.mark.parametrize(("light", "share"), [(1.0, 0.91), (0.4, 0.36), (0.1, 0.09)])
def test_the_light_is_that_of_empty_glass(slide: Image, light: float, share: float) -> None:
    judged = judge(FrameQuality(), np.rint(seen(slide) * light).astype(np.uint8))

    assert judged.glass == pytest.approx(share, abs=0.05)


@pytest.mark.parametrize("kernel", [out_of_focus(1.0), smear(3, False), smear(3, True)])
def test_the_blur_that_cells_can_still_be_told_by_passes(slide: Image, kernel: np.ndarray) -> None:
    frame_quality = FrameQuality()
    judge(frame_quality, seen(slide))

    assert judge(frame_quality, blurred(slide, kernel)).reason is None


def test_more_blur_is_less_sharp(slide: Image) -> None:
    frame_quality = FrameQuality()
    judge(frame_quality, seen(slide))

    for kernels in ([out_of_focus(sigma) for sigma in (1, 2, 4, 8)], [smear(n, True) for n in (3, 9, 17, 33)]):
        sharpness = [judge(frame_quality, blurred(slide, kernel)).sharpness for kernel in kernels]
        assert (np.diff(sharpness) < 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_a_crowded_field_is_no_sharper_than_a_sparse_one(seed: int) -> None:
    measured = []
    for red_cells in (300.0, 1500.0, 4700.0, 9000.0):
        field = SimulatedSlide.make(seed, "giemsa", 12, UM, red_cells_per_mm2=red_cells).image[: 2 * SHAPE[0]]
        measured.append(fineness(reduce(with_noise(field), UM).green).share)

    assert min(measured) > 0.72 * max(measured)  # or the crowded one would make the sparse one blurred


@pytest.mark.parametrize("noise", [0.0, 2.0])
def test_a_field_too_empty_to_judge_is_not_called_blurred(slide: Image, noise: float) -> None:
    frame_quality = FrameQuality()
    judge(frame_quality, seen(slide))
    empty = np.random.default_rng(0).normal(235, noise, (*SHAPE, 3)).astype(np.uint8)

    judged = judge(frame_quality, empty)

    assert judged.reason is None
    assert judged.sharpness == 1.0


@pytest.mark.parametrize("down", [False, True])
def test_a_field_of_stripes_has_no_fine_gradients_one_way_and_ends_nothing(down: bool) -> None:
    stripes = np.full((*SHAPE, 3), 230, np.uint8)
    stripes[np.arange(SHAPE[0]) % 24 < 12] = 60

    judged = judge(FrameQuality(), stripes if down else np.ascontiguousarray(stripes.transpose(1, 0, 2)))

    assert judged.sharpness == 1.0


def test_a_lasting_loss_of_focus_is_accepted_after_minutes_not_seconds(slide: Image) -> None:
    frame_quality = FrameQuality()
    judge(frame_quality, seen(slide))
    pictures = [reduce(blurred(slide, out_of_focus(6.0), seed), UM) for seed in (1, 2)]

    reasons = [frame_quality.judge(pictures[index % 2]).reason for index in range(3600)]

    assert set(reasons[:150]) == {"blurred"}  # five seconds at 30 frames/s
    assert reasons[-1] is None


@pytest.mark.parametrize("shape", [(1, 1), (3, 700), (15, 15), (33, 40)])
def test_a_picture_too_small_to_judge_ends_nothing(shape: tuple[int, int]) -> None:
    stamp = np.random.default_rng(0).integers(100, 200, (*shape, 3), dtype=np.uint8)

    assert judge(FrameQuality(), stamp).reason is None
