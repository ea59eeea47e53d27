"""A blood smear made from nothing but a seed, with the exact truth about every nucleated cell on it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from fnrbc_device.camera.simulated.cell import paint_debris, paint_platelet
from fnrbc_device.camera.simulated.smear import Smear, TrueCell
from fnrbc_device.camera.simulated.stain import LOOKS, SHARES, SPECIES, Density, LookName, stronger
from fnrbc_device.errors import UsageError
from fnrbc_device.records import Image

SMALLEST_SLIDE_PX: Final = (1200, 1600)
"""Room to pan a 1280x960 window, even over a slide of one cell."""
MOST_SLIDE_PX: Final = 2**31 // 3
"""A picture of more than 2 GiB is beyond what OpenCV counts its bytes by; one so large takes five minutes."""
NUCLEATED_PER_MM2: Final = 940.0
"""18 in a field of 160x120 um, a dense but readable smear."""
RED_CELLS_PER_MM2: Final = 4700.0
"""90 in a field of 160x120 um."""
PLATELETS_PER_MM2: Final = 260.0
DEBRIS_PER_MM2: Final = 150.0
EVEN_STAIN: Final[Density] = (1.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedSlide:
    """A smear and the truth about it."""

    image: Image
    """(H, W, 3) uint8 RGB, read-only."""
    truth: tuple[TrueCell, ...]
    """Every nucleated cell."""
    bystanders: tuple[TrueCell, ...]
    """Red cells, platelets and debris: all in ``other``."""
    pixel_size_um: float
    look: LookName
    seed: int

    @classmethod
    def make(
        cls,
        seed: int,
        look: LookName = "giemsa",
        cells: int = 500,
        pixel_size_um: float = 0.125,
        *,
        shares: Mapping[str, float] = SHARES,
        touching: float = 0.06,
        nucleated_per_mm2: float = NUCLEATED_PER_MM2,
        red_cells_per_mm2: float = RED_CELLS_PER_MM2,
        platelets_per_mm2: float = PLATELETS_PER_MM2,
        debris_per_mm2: float = DEBRIS_PER_MM2,
        stain: Density = EVEN_STAIN,
    ) -> "SimulatedSlide":
        """Make a slide. The same arguments make the same slide.

        Parameters
        ----------
        seed
            Of the random numbers, >= 0.
        look
            ``giemsa`` (cream glass) or ``he`` (white glass).
        cells
            Number of nucleated cells, >= 0.
        pixel_size_um
            um, 0.05..0.5.
        shares
            Share of each species; they are normalised.
        touching
            Share of the nucleated cells that touch a partner, 0..1.
        nucleated_per_mm2
            Density, > 0: how large the slide becomes.
        red_cells_per_mm2, platelets_per_mm2, debris_per_mm2
            Densities, >= 0.
        stain
            How much of the look's stain the slide took, in red, green and blue, 0.5..1.5.

        Raises
        ------
        UsageError
            An argument is out of its range, or so many cells do not fit at this density.
        """
        _check(look, cells, pixel_size_um, shares, touching, nucleated_per_mm2, stain)
        smear = Smear(
            seed,
            stronger(LOOKS[look], stain),
            pixel_size_um,
            _slide_shape(cells / nucleated_per_mm2, pixel_size_um),
        )
        smear.add_nucleated(cells, shares, touching)
        smear.add_red_cells(red_cells_per_mm2)
        smear.add_scattered("platelet", paint_platelet, platelets_per_mm2)
        smear.add_scattered("debris", paint_debris, debris_per_mm2)
        smear.image.setflags(write=False)
        return cls(smear.image, tuple(smear.truth), tuple(smear.bystanders), pixel_size_um, look, seed)


def _slide_shape(area_mm2: float, pixel_size_um: float) -> tuple[int, int]:
    """(rows, cols), 3 to 4, of at least the smallest slide."""
    area_px = area_mm2 * 1e6 / pixel_size_um**2
    rows, cols = np.sqrt(area_px * 3 / 4), np.sqrt(area_px * 4 / 3)
    return max(int(rows), SMALLEST_SLIDE_PX[0]), max(int(cols), SMALLEST_SLIDE_PX[1])


def _check(
    look: str,
    cells: int,
    pixel_size_um: float,
    shares: Mapping[str, float],
    touching: float,
    nucleated_per_mm2: float,
    stain: Density,
) -> None:
    if look not in LOOKS:
        raise UsageError(f"look {look!r} is unknown; use one of {', '.join(LOOKS)}")
    if cells < 0:
        raise UsageError(f"{cells} cells is below the limit of 0; ask for 0 or more")
    if not 0.05 <= pixel_size_um <= 0.5:
        raise UsageError(f"pixel size {pixel_size_um} um is outside 0.05..0.5; give one within")
    unknown = sorted(set(shares) - set(SPECIES))
    if unknown or not shares or min(shares.values()) < 0 or sum(shares.values()) <= 0:
        raise UsageError(f"shares {dict(shares)} must be >= 0, of {', '.join(SPECIES)}, and not all 0")
    if not 0.0 <= touching <= 1.0:
        raise UsageError(f"share of touching cells {touching} is outside 0..1; give one within")
    if nucleated_per_mm2 <= 0:
        raise UsageError(f"density {nucleated_per_mm2} per mm2 must be above 0; the usual is {NUCLEATED_PER_MM2}")
    if not all(0.5 <= part <= 1.5 for part in stain):
        raise UsageError(f"stain {stain} is outside 0.5..1.5; give one within")
    most = int(MOST_SLIDE_PX * pixel_size_um**2 / 1e6 * nucleated_per_mm2)
    if cells > most:
        raise UsageError(f"a slide of {cells} cells is too large for one picture; ask for {most} or fewer")
