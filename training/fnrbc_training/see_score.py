"""How well the centre network sees pictures that it did not learn from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from fnrbc_device.vision.centre_picture import CENTRE_UM, centre_picture
from fnrbc_device.vision.centres import centres_of
from fnrbc_training.see_network import CentreNet
from fnrbc_training.see_page import UNKNOWN, Shown

NEAR_PX: Final = 3.0 / CENTRE_UM
"""A centre within 3 um of a labelled one is that cell's."""


@dataclass(slots=True)
class Score:
    """Of the pictures of one source and kind."""

    pictures: int = 0
    cells: int = 0
    found: int = 0
    false: int = 0
    """Centres where somebody says that no cell is."""

    @property
    def share(self) -> float:
        """Of the cells that was found; above 1 where there are none."""
        return self.found / self.cells if self.cells else 2.0


def score(network: CentreNet, held_out: Sequence[Shown], least_heat: float) -> dict[str, Score]:
    """Look at pictures, and count by where they come from and their kind."""
    scores: dict[str, Score] = {}
    for shown in held_out:
        picture = torch.from_numpy(centre_picture(shown.image, shown.glass_rgb, shown.stain_map))
        with torch.no_grad():
            maps = network(picture)[0].numpy()
        centres = np.array([(one.row, one.col) for one in centres_of(maps, 1.0, CENTRE_UM, least_heat)]).reshape(-1, 2)
        _add(scores.setdefault(f"{shown.source}: {shown.kind}", Score()), shown, centres)
    return scores


def as_table(scores: dict[str, Score]) -> str:
    """The scores as a Markdown table, the worst source first."""
    rows = ["| held out | pictures | cells | found | false a picture |", "|---|---|---|---|---|"]
    for kind, one in sorted(scores.items(), key=lambda row: (row[1].share, row[0])):
        found = f"{100 * one.found / one.cells:.1f} %" if one.cells else "-"
        rows.append(f"| {kind} | {one.pictures} | {one.cells} | {found} | {one.false / one.pictures:.3f} |")
    return "\n".join(rows)


def _add(score: Score, shown: Shown, centres: "np.ndarray[tuple[int, int], np.dtype[np.float64]]") -> None:
    score.pictures += 1
    score.cells += len(shown.cells)
    apart = np.hypot(*(shown.cells[:, None, :2] - centres[None]).transpose(2, 0, 1))
    taken = np.zeros(len(centres), bool)
    for cell in range(len(shown.cells)):
        near = np.where(taken, np.inf, apart[cell]) if len(centres) else np.zeros(0)
        if len(near) and near.min() <= NEAR_PX:
            taken[int(near.argmin())] = True
            score.found += 1
    height, width = shown.mask.shape
    for row, col in centres[~taken]:
        inside = 0 <= row < height and 0 <= col < width
        score.false += bool(inside and shown.mask[int(row), int(col)] != UNKNOWN)
