"""Real single-cell crops: is the cell in the middle found, and as one."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from fnrbc_device.records import Image
from seeing_pictures import Result, Wanted, annotated, contact_sheet, field_of, pictures_in, read, share

PIXEL_UM: Final = 0.105
"""Of the crops: a red cell is 71 px = 7.5 um."""

NEAR_UM: Final = 4.5
"""The centre cell is found where a candidate's centre lies this near to the crop's: half of an fNRBC."""

FAR_UM: Final = 7.0
"""The same for the crops whose cell lies off the centre."""

LEAST_FOUND: Final = 0.995
NO_NUCLEUS: Final = "platelet"
"""Not to be found: reported, in no sum."""


@dataclass(slots=True)
class _Class:
    crops: int = 0
    near: int = 0
    far: int = 0
    one: int = 0
    parts: Counter[int] = field(default_factory=Counter)
    sizes_um: list[float] = field(default_factory=list)


def measure(data: Path, limit: int | None, sheet: Path | None = None) -> Result:
    """Look at the crops of each class; each crop is a field of its own, without a session's memory."""
    classes: dict[str, _Class] = {}
    wrong: list[Image] = []
    folders = sorted(folder for folder in (data / "pbc").glob("*") if folder.is_dir())
    if not folders:
        raise FileNotFoundError(f"{data / 'pbc'} holds no folder; give the folder of the data with --data")
    for folder in folders:
        classes[folder.name] = counts = _Class()
        for path in pictures_in(folder, limit):
            seen = _look(read(path), counts, path)
            if seen is not None and folder.name != NO_NUCLEUS:
                wrong.append(seen)
    if sheet is not None:
        contact_sheet(wrong, sheet)
    return _result(classes)


def _look(image: Image, counts: _Class, path: Path) -> Image | None:
    """Count one crop; its picture where the centre cell was missed or torn."""
    detections = field_of(image, PIXEL_UM).detections
    middle = np.array(image.shape[:2]) / 2 - 0.5
    apart_um = np.array([np.hypot(*(np.array(d.centre_rc) - middle)) for d in detections]) * PIXEL_UM
    near, far = int((apart_um <= NEAR_UM).sum()), int((apart_um <= FAR_UM).sum())
    counts.crops += 1
    counts.near += near > 0
    counts.far += far > 0
    counts.one += near == 1 or (near == 0 and far == 1)
    counts.parts[near] += 1
    if near:
        counts.sizes_um.append(detections[int(apart_um.argmin())].nucleus_diameter_um)
    if near == 1:
        return None
    return annotated(image, detections, f"{path.parent.name[:5]} {path.stem[-6:]} n{near} f{far}")


def _result(classes: dict[str, _Class]) -> Result:
    rows = {name: _row(counts) for name, counts in classes.items()}
    nucleated = [counts for name, counts in classes.items() if name != NO_NUCLEUS]
    crops = sum(counts.crops for counts in nucleated)
    overall = {
        "near_share": round(share(sum(counts.near for counts in nucleated), crops), 4),
        "far_share": round(share(sum(counts.far for counts in nucleated), crops), 4),
        "one_share": round(share(sum(counts.one for counts in nucleated), crops), 4),
    }
    table = [f"{'class':14}{'crops':>7}{'in 4.5 um':>11}{'in 7 um':>9}{'as one':>8}{'nucleus um':>12}"]
    for name, row in rows.items():
        table.append(
            f"{name:14}{row['crops']:7}{row['near_share']:11.4f}{row['far_share']:9.4f}{row['one_share']:8.4f}"
            f"{row['median_nucleus_um']:12.2f}"
        )
    table.append(f"{'nucleated':14}{crops:7}{overall['near_share']:11.4f}{overall['far_share']:9.4f}"
                 f"{overall['one_share']:8.4f}")  # fmt: skip
    wanted = [
        Wanted("centre cell found within 4.5 um", overall["near_share"], at_least=LEAST_FOUND),
        Wanted("centre cell found, as one", overall["one_share"], at_least=LEAST_FOUND),
    ]
    return Result("pbc", {"classes": rows, "nucleated": overall, "crops": crops}, table, wanted)


def _row(counts: _Class) -> dict[str, Any]:
    return {
        "crops": counts.crops,
        "near_share": round(share(counts.near, counts.crops), 4),
        "far_share": round(share(counts.far, counts.crops), 4),
        "one_share": round(share(counts.one, counts.crops), 4),
        "candidates_near": dict(sorted(counts.parts.items())),
        "median_nucleus_um": round(float(np.median(counts.sizes_um)), 2) if counts.sizes_um else 0.0,
    }
