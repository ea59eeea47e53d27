"""Lays the styles of laboratories on a training's crops: on all classes alike, so that no style tells a class.

A laboratory is every real source of the training, by its own leukocytes, and every one in the file of styles. Pictures
of a second laboratory that shows leukocytes alone would teach that its style is no fNRBC; with the styles laid on, the
fNRBC of the first come in it too.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

import numpy as np

from fnrbc_device.records import Image
from fnrbc_training.dataset import DENOMINATOR, CropSet
from fnrbc_training.styles import Laboratory, Style, lay_on, style_of

STYLED: Final = 0.7
"""Share of the varied crops that another style is laid on."""

WAY: Final = (0.6, 1.0)
"""How far the way to the other style is gone."""

SPREAD: Final = 0.5
"""How far from its laboratory's mean a style may be drawn, of the way to one of its cells', where the map is that from
laboratory to laboratory: so drawn, the differences between the classes stay."""

MOST_CELLS: Final = 200
"""Of each source, measured at the start: evenly chosen."""

FEWEST_CELLS: Final = 10
"""With fewer a source is no laboratory that could be learned from: its cells are varied, nothing more."""


@dataclass(frozen=True, slots=True, eq=False)
class Styling:
    """What is needed to lay a style on any crop of a training."""

    targets: tuple[Laboratory, ...]
    """Styles to lay on."""
    wholes: dict[str, Style]
    """By source: the mean of its own leukocytes."""
    sources: tuple[str, ...]
    """By row of the training part."""

    @classmethod
    def of(cls, training: CropSet, shipped: tuple[Laboratory, ...]) -> "Styling":
        """Measure the styles of a training's sources, and add those from elsewhere."""
        sources = training.laboratories()
        own = [_measured(training, sources, str(source)) for source in np.unique(sources)]
        known = [lab for lab in own if len(lab.cells) >= FEWEST_CELLS]
        simulated = set(sources[training.simulated])
        real = [lab for lab in known if lab.name not in simulated]
        return cls((*real, *shipped), {lab.name: lab.whole for lab in known}, tuple(map(str, sources)))

    def sha256(self) -> str:
        """Hash the styles: with the crops it names what a network learned from."""
        digest = hashlib.sha256()
        for lab in self.targets:
            for cell in lab.cells:
                digest.update(np.round(np.append(cell.means, cell.covariances), 6).tobytes())
        return digest.hexdigest()

    def lay(self, crop: Image, row: int, rng: np.random.Generator) -> Image:
        """Lay a style drawn at random on one crop of the training part; where none is known, it stays as it is."""
        if not self.targets:
            return crop
        target = self.targets[int(rng.integers(len(self.targets)))]
        return self.laid(crop, self.sources[row], target, rng)

    def laid(self, crop: Image, source: str, target: Laboratory, rng: np.random.Generator) -> Image:
        """Lay a style of one laboratory on a crop of a source."""
        cell = target.cells[int(rng.integers(len(target.cells)))]
        share = float(rng.uniform(*WAY))
        own = style_of(crop) if rng.random() < 0.5 else None
        if own is not None:
            return lay_on(crop, own, cell, share)
        whole = self.wholes.get(source)
        if whole is None:
            return crop
        return lay_on(crop, whole, _between(target.whole, cell, float(rng.uniform(0, SPREAD))), share)


def _measured(training: CropSet, sources: np.ndarray, source: str) -> Laboratory:
    rows = np.flatnonzero((sources == source) & (training.labels == DENOMINATOR))
    chosen = rows[np.unique(np.linspace(0, max(len(rows) - 1, 0), MOST_CELLS).astype(int))] if len(rows) else rows
    styles = tuple(style for style in (style_of(training.crops[row]) for row in chosen) if style is not None)
    return Laboratory(source, source, styles)


def _between(first: Style, second: Style, way: float) -> Style:
    return Style(
        first.means + way * (second.means - first.means),
        first.covariances + way * (second.covariances - first.covariances),
    )
