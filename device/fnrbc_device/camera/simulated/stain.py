"""How stained blood looks: which cells there are, how large, and what each part of them takes from the light.

Sizes are the cytology of the paper that fnrbc follows; colours of the ``giemsa`` look were read from 360 px
crops of real May-Gruenwald-Giemsa cells (median optical density of nucleus and of the ring round it).
"""

from dataclasses import dataclass, replace
from typing import Final, Literal

LookName = Literal["giemsa", "he"]
Group = Literal["fnrbc", "leukocyte", "other"]
"""What a class counts as, in the words of ``dataset.toml``."""
NucleusShape = Literal["round", "lobed", "kidney"]

Density = tuple[float, float, float]
"""Optical density of red, green and blue, -log10(light / glass). Densities of overlapping cells add up."""


@dataclass(frozen=True, slots=True)
class Species:
    """One kind of nucleated cell, as drawn: ranges are what a cell is drawn from."""

    name: str
    group: Group
    diameter_um: tuple[float, float, float]
    """Smallest, most frequent, largest diameter of the circle with the whole cell's area."""
    nucleus_ratio: tuple[float, float]
    """Area of the nucleus over area of the whole cell."""
    nucleus: NucleusShape
    lobes: tuple[int, int]
    """Fewest and most lobes of the nucleus."""
    off_centre: tuple[float, float]
    """Offset of the nucleus, as a share of the room it has within the cell."""
    wobble: float
    """How far the outline strays from a circle, as a share of the radius."""


SPECIES: Final[dict[str, Species]] = {
    species.name: species
    for species in (
        Species("fnrbc", "fnrbc", (9.0, 10.2, 12.0), (0.28, 0.46), "round", (1, 1), (0.3, 0.85), 0.025),
        Species("lymphocyte", "leukocyte", (5.0, 7.0, 8.0), (0.74, 0.9), "round", (1, 1), (0.0, 0.7), 0.03),
        Species("neutrophil", "leukocyte", (10.0, 13.0, 20.0), (0.28, 0.4), "lobed", (2, 5), (0.0, 0.3), 0.03),
        Species("monocyte", "leukocyte", (13.0, 16.0, 20.0), (0.4, 0.52), "kidney", (3, 3), (0.0, 0.4), 0.06),
        Species("eosinophil", "leukocyte", (11.0, 13.5, 17.0), (0.26, 0.36), "lobed", (2, 2), (0.0, 0.3), 0.03),
    )
}

SHARES: Final[dict[str, float]] = {
    "fnrbc": 0.25,
    "neutrophil": 0.40,
    "lymphocyte": 0.23,
    "monocyte": 0.06,
    "eosinophil": 0.06,
}
"""Share of each species among nucleated cells. Far more fNRBC than blood of mothers holds."""


@dataclass(frozen=True, slots=True)
class Stain:
    """What the parts of one species take from the light."""

    nucleus: Density
    cytoplasm: tuple[Density, Density]
    """A cell lies somewhere between the two."""
    granules: Density = (0.0, 0.0, 0.0)
    granule_share: float = 0.0
    """Share of the cytoplasm that granules cover."""
    granules_coarse: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """One stain on one glass."""

    glass_rgb: tuple[float, float, float]
    stains: dict[str, Stain]
    red_cell: Density
    platelet: Density
    precipitate: Density
    smudge: Density


def stronger(look: Look, strength: Density) -> Look:
    """Give the look of a slide that took more (> 1) or less (< 1) of the stain, in red, green and blue."""

    def scaled(density: Density) -> Density:
        red, green, blue = (part * times for part, times in zip(density, strength, strict=True))
        return red, green, blue

    stains = {
        name: replace(
            stain,
            nucleus=scaled(stain.nucleus),
            cytoplasm=(scaled(stain.cytoplasm[0]), scaled(stain.cytoplasm[1])),
            granules=scaled(stain.granules),
        )
        for name, stain in look.stains.items()
    }
    return replace(
        look,
        stains=stains,
        red_cell=scaled(look.red_cell),
        platelet=scaled(look.platelet),
        precipitate=scaled(look.precipitate),
        smudge=scaled(look.smudge),
    )


LOOKS: Final[dict[LookName, Look]] = {
    "giemsa": Look(
        glass_rgb=(248.0, 226.0, 201.0),
        stains={
            "fnrbc": Stain((0.62, 0.90, 0.23), ((0.25, 0.25, 0.06), (0.12, 0.17, 0.09))),
            "lymphocyte": Stain((0.55, 0.84, 0.19), ((0.34, 0.31, 0.07), (0.22, 0.20, 0.04))),
            "neutrophil": Stain((0.55, 0.88, 0.18), ((0.03, 0.07, 0.02), (0.07, 0.10, 0.03)), (0.11, 0.18, 0.04), 0.22),
            "monocyte": Stain((0.42, 0.72, 0.14), ((0.15, 0.14, 0.03), (0.21, 0.19, 0.05)), (0.08, 0.12, 0.03), 0.10),
            "eosinophil": Stain(
                (0.48, 0.80, 0.16), ((0.07, 0.12, 0.07), (0.09, 0.15, 0.09)), (0.06, 0.18, 0.17), 0.6, True
            ),
        },
        red_cell=(0.085, 0.135, 0.115),
        platelet=(0.26, 0.42, 0.08),
        precipitate=(0.75, 0.85, 0.40),
        smudge=(0.06, 0.08, 0.03),
    ),
    "he": Look(
        glass_rgb=(246.0, 244.0, 243.0),
        stains={
            "fnrbc": Stain((0.66, 0.80, 0.36), ((0.04, 0.20, 0.08), (0.07, 0.25, 0.11))),
            "lymphocyte": Stain((0.55, 0.70, 0.31), ((0.18, 0.22, 0.09), (0.12, 0.18, 0.08))),
            "neutrophil": Stain((0.53, 0.69, 0.30), ((0.02, 0.08, 0.04), (0.04, 0.12, 0.05)), (0.04, 0.11, 0.05), 0.25),
            "monocyte": Stain((0.42, 0.57, 0.24), ((0.07, 0.13, 0.05), (0.10, 0.16, 0.07)), (0.04, 0.06, 0.03), 0.10),
            "eosinophil": Stain(
                (0.48, 0.64, 0.28), ((0.03, 0.13, 0.08), (0.04, 0.16, 0.10)), (0.03, 0.21, 0.15), 0.6, True
            ),
        },
        red_cell=(0.02, 0.125, 0.05),
        platelet=(0.12, 0.22, 0.09),
        precipitate=(0.70, 0.75, 0.45),
        smudge=(0.03, 0.07, 0.04),
    ),
}
