"""Sessions of real cells in other stains, light, focus and sizes: what each loses, and whether that is said."""

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from border import blur, hue, light
from fnrbc_device.inference.centre_network import open_centres
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.records import USUAL_SEEING, Image, SeeingMethod
from fnrbc_device.vision.reduction import glass_colour, reduce
from fnrbc_device.vision.seeing import Seeing
from fnrbc_device.vision.session_stain import SessionStain
from fnrbc_device.vision.stain import densities
from seeing_methods import CELLS, ONE_UM, WITHOUT_NUCLEUS
from seeing_pictures import Result, Wanted, pictures_in, read, spread

EACH: Final = 12
"""Pictures of each class where nobody says how many."""

BLUR_UM: Final = 1.2
SIZE_OFF: Final = 0.25
STAINS: Final = 6
"""Stain matrices drawn at random."""

MOST_LOST: Final = 0.01

Change = Callable[[Image], Image]


def measure(data: Path, limit: int | None, method: SeeingMethod = USUAL_SEEING, cells: str = "pbc") -> Result:
    """Look at the same cells as sessions of other laboratories; a session is all pictures in one look."""
    um = CELLS[cells]
    folders = [one for one in sorted((data / cells).glob("*/")) if one.name not in WITHOUT_NUCLEUS]
    pictures = [read(path) for folder in folders for path in spread(pictures_in(folder, None), limit or EACH)]
    table, figures = [], dict[str, Any]()
    with closing(open_centres(load_bundle(None), method)) as centres:
        for name, (change, stated_um) in _changes(um).items():
            seen = [change(picture) for picture in pictures]
            stain = SessionStain()
            doubts: Counter[str] = Counter()
            for image in seen:
                stain.learn(image, stated_um, glass_colour(image))
                doubts[stain.doubt or "none"] += 1
            hits = []
            for image in seen:
                seeing = Seeing(stated_um, centres.model)
                field = seeing.see(image, reduce(image, stated_um, stain.map), stain.map)
                hits.append(_found(field.detections, image.shape, um))
            found = float(np.mean(hits))
            figures[name] = {"found": found, "stain": stain.state, "doubt": doubts.most_common(1)[0][0]}
            table.append(f"{name:22}{found:8.3f}  stain {stain.state}, most pictures: {figures[name]['doubt']}")
    plain = figures["plain"]["found"]
    wanted = [
        Wanted(f"lost by {name}", plain - one["found"], at_most=MOST_LOST)
        for name, one in figures.items()
        if name not in ("plain", "grey") and "pixels" not in name
    ]
    return Result("perturbed", {"pictures": len(pictures), "by_change": figures}, table, wanted)


def _changes(um: float) -> dict[str, tuple[Change, float]]:
    """By name: what is done to a picture, and the pixel size that is stated, um."""
    changes: dict[str, Change] = {f"hue {degrees:+d}": hue(degrees) for degrees in (-40, 40)}
    changes |= {f"saturation {times}": partial(_saturated, times=times) for times in (0.5, 1.6)}
    changes |= {f"light {gain}": light(gain) for gain in (0.7, 1.3)}
    changes |= {"grey": partial(_saturated, times=0.0), "blur 1.2 um": blur(BLUR_UM / um)}
    changes |= {f"stain {seed}": partial(_stained, seed=seed) for seed in range(STAINS)}
    sizes = {f"pixels {off:+.0%}": (_as_it_is, um * (1 + off)) for off in (-SIZE_OFF, SIZE_OFF)}
    return {"plain": (_as_it_is, um)} | {name: (change, um) for name, change in changes.items()} | sizes


def _as_it_is(image: Image) -> Image:
    return image


def _found(detections: list[Any], shape: tuple[int, ...], um: float) -> bool:
    middle = np.array(shape[:2]) / 2 - 0.5
    return any(float(np.hypot(*(np.array(one.centre_rc) - middle))) * um <= ONE_UM for one in detections)


def _saturated(image: Image, times: float) -> Image:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
    return np.asarray(np.clip(np.rint(grey + times * (image - grey)), 0, 255), np.uint8)


def _stained(image: Image, seed: int) -> Image:
    """Stained by another laboratory: each channel stronger or weaker, and something of the others in it."""
    rng = np.random.default_rng(seed)
    matrix = np.diag(np.exp(rng.uniform(-0.35, 0.35, 3))) + rng.normal(0, 0.1, (3, 3)) * (1 - np.eye(3))
    glass = np.asarray(glass_colour(image))
    density = cv2.transform(densities(image, tuple(glass)), matrix.astype(np.float32))  # type: ignore[arg-type]
    return np.asarray(np.clip(np.rint(np.exp(-density) * glass), 0, 255), np.uint8)
