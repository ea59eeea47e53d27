"""What share of good slides is called provisional, and what share of strange ones is not.

``python tests/bench/border.py [--data ../shared/data] [--slides 6] [--grid 9] [--seed 51]`` composes slides of real
cells of the laboratory that the bundle was measured in (``pbc``) and counts each whole picture as it is and with one
thing made strange at a time: another laboratory's cells, a stain or a light shifted, focus lost, another pixel size.
Good slides differ in light, noise and focus as slides of one laboratory do.
"""

import argparse
import importlib.util
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from fnrbc_device.camera.pixel_size import ScaleWatch
from fnrbc_device.counting.analyser import Analyser
from fnrbc_device.inference.onnx_classifier import OnnxClassifier
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.records import Frame, Image

PBC_UM: Final = 0.105
MUNICH_UM: Final = 0.086
def hue(degrees: float) -> Callable[[Image], Image]:
    """Turn all colours."""

    def turned(image: Image) -> Image:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(np.int16)
        hsv[..., 0] = (hsv[..., 0] + round(degrees / 2)) % 180
        return np.asarray(cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB), np.uint8)

    return turned


def density(gain: float) -> Callable[[Image], Image]:
    """Stain everything deeper or paler."""
    levels = 251.0 * (np.arange(256) / 251.0) ** gain
    return lambda image: cv2.LUT(image, np.clip(levels, 0, 255).astype(np.uint8)).astype(np.uint8)


def light(gain: float) -> Callable[[Image], Image]:
    """Turn the lamp up or down."""
    return lambda image: np.clip(image.astype(np.float32) * gain, 0, 255).astype(np.uint8)


def blur(sigma: float) -> Callable[[Image], Image]:
    """Lose focus, px."""
    return lambda image: cv2.GaussianBlur(image, (0, 0), sigma).astype(np.uint8)


STRANGE: Final[dict[str, Callable[[Image], Image]]] = {
    "stain 1.5 times as deep": density(1.5),
    "stain 0.6 times as deep": density(0.6),
    "hue turned by 15 degrees": hue(15),
    "hue turned by -20 degrees": hue(-20),
    "out of focus, 3 px": blur(3),
    "lamp up: glass clipped": light(1.35),
    "lamp down to a quarter": light(0.25),
}


def noise(sigma: float) -> Callable[[Image], Image]:
    """A noisier camera."""
    rng = np.random.default_rng(3)
    return lambda image: np.clip(image + rng.normal(0, sigma, image.shape), 0, 255).astype(np.uint8)


GOOD: Final[dict[str, Callable[[Image], Image]]] = {
    "as composed": lambda image: image,
    "lamp a tenth lower": light(0.9),
    "lamp a twentieth lower, noise": lambda image: noise(3)(light(0.95)(image)),
    "slightly out of focus, 0.7 px": blur(0.7),
    "stain a tenth deeper": density(1.1),
    "stain a tenth paler": density(0.9),
}


def reasons(slide: Image, stated_um: float) -> tuple[str, ...]:
    """Count a whole slide in one picture; say what makes the count provisional."""
    bundle = load_bundle(None)
    with closing(OnnxClassifier(bundle)) as classifier:
        analyser = Analyser(stated_um, classifier, bundle.manifest, usual_looks=bundle.appearance, still=True)
        scale, frame = ScaleWatch(), Frame(0, 0.0, slide)
        scale.see(frame, analyser.analyse(frame).reason)
        scale.finish()
        analyser.finish()
        analyser.border.note("pixel_size_out_of_domain", holds=bool(scale.doubt(stated_um, "pixel size")))
    return analyser.border.reasons


def composer(data: Path) -> Any:
    """The tool that composes slides, as a module."""
    spec = importlib.util.spec_from_file_location("compose_slide", data.parent / "tools" / "compose_slide.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--slides", type=int, default=6)
    parser.add_argument("--grid", type=int, default=9)
    parser.add_argument("--seed", type=int, default=51)
    asked = parser.parse_args()
    called: dict[str, list[bool]] = {}

    def say(kind: str, found: tuple[str, ...]) -> None:
        called.setdefault(kind, []).append(bool(found))
        print(f"{kind:34s} {', '.join(found) or 'none'}", flush=True)

    tool = composer(asked.data)
    for number in range(asked.slides):
        rng = np.random.default_rng(asked.seed + number)
        ours = tool.compose(asked.data / "pbc", asked.grid, rng, "erythroblast", 0.05)[0]
        ours = np.ascontiguousarray(ours[..., ::-1])
        for name, changed in GOOD.items():
            say(f"good: {name}", reasons(changed(ours), PBC_UM))
        for name, changed in STRANGE.items():
            say(f"strange: {name}", reasons(changed(ours), PBC_UM))
        say("strange: pixel size a third too large", reasons(ours, PBC_UM * 1.33))
        theirs = tool.compose(asked.data / "munich", asked.grid, rng, "erythroblast", 0.0)[0][..., ::-1]
        say("strange: another laboratory", reasons(np.ascontiguousarray(theirs), MUNICH_UM))
    good = [one for kind, all_ in called.items() if kind.startswith("good") for one in all_]
    strange_ = [one for kind, all_ in called.items() if kind.startswith("strange") for one in all_]
    print(f"good slides called provisional: {sum(good)} of {len(good)}")
    print(f"strange slides not called provisional: {len(strange_) - sum(strange_)} of {len(strange_)}")


if __name__ == "__main__":
    main()
