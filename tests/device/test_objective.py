"""A changed objective is told from a lost place, and the same objective is not."""

import cv2
import numpy as np
import pytest

from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.counting.analyser import Analyser
from fnrbc_device.inference.onnx_classifier import OnnxClassifier
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.records import Frame, Image
from fnrbc_device.vision.objective import LEAST_LEARNED, Objective, texture_px
from fnrbc_device.vision.reduction import reduce
from fnrbc_device.vision.shift import density_of

UM = 0.125


@pytest.fixture(scope="module", params=["giemsa", "he"])
def slide(request: pytest.FixtureRequest) -> SimulatedSlide:
    return SimulatedSlide.make(17, request.param, 400, UM)


def field(slide: SimulatedSlide, rng: np.random.Generator, magnified: float = 1.0) -> Image:
    height, width = int(960 / magnified), int(1280 / magnified)
    row, col = rng.integers(slide.image.shape[0] - height), rng.integers(slide.image.shape[1] - width)
    seen = cv2.resize(slide.image[row : row + height, col : col + width], (1280, 960), interpolation=cv2.INTER_AREA)
    return (seen + rng.normal(0, 2, seen.shape)).clip(0, 255).astype(np.uint8)


def density(image: Image) -> np.ndarray:
    return density_of(cv2.resize(reduce(image, UM).green, (320, 240), interpolation=cv2.INTER_AREA))


@pytest.fixture(scope="module")
def learned(slide: SimulatedSlide) -> Objective:
    rng = np.random.default_rng(0)
    objective = Objective()
    for _ in range(5):
        objective.learn(density(field(slide, rng)))
    return objective


@pytest.mark.parametrize("magnified", [0.4, 0.5, 2.5])
def test_another_objective_is_noticed_in_one_field(slide, learned, magnified) -> None:
    rng = np.random.default_rng(1)

    assert all(learned.has_changed(density(field(slide, rng, magnified))) for _ in range(5))


def test_other_fields_of_the_same_slide_are_of_the_same_objective(slide, learned) -> None:
    rng = np.random.default_rng(2)

    assert not any(learned.has_changed(density(field(slide, rng))) for _ in range(30))


def test_nothing_is_said_before_enough_was_seen(slide) -> None:
    rng = np.random.default_rng(3)
    objective = Objective()
    for _ in range(LEAST_LEARNED - 1):
        objective.learn(density(field(slide, rng)))

    assert not objective.has_changed(density(field(slide, rng, 2.5)))


def test_the_texture_of_nothing_is_nothing() -> None:
    assert texture_px(np.zeros((240, 320), np.float32)) == 0.0
    assert texture_px(np.zeros((1, 1), np.float32)) == 0.0


def test_frames_of_another_objective_are_not_counted_and_the_old_one_goes_on(slide) -> None:
    rng = np.random.default_rng(4)
    analyser = Analyser(UM, OnnxClassifier(load_bundle(None)), load_bundle(None).manifest)
    pan = [slide.image[100:1060, col : col + 1280] for col in range(0, 1600, 100)]
    other = [field(slide, rng, 0.5) for _ in range(3)]
    images = [*pan, *other, pan[-1]]
    frames = [Frame(index, index / 30, np.ascontiguousarray(image)) for index, image in enumerate(images)]
    steps = [analyser.analyse(frame) for frame in frames]

    assert [step.reason for step in steps[16:19]] == ["objective_changed"] * 3
    assert steps[19].reason is None
    assert steps[19].pose.island == 0
