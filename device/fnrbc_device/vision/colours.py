"""Tells by glass and nuclei whether a picture's colours can be those of a stained slide.

Every nuclear stain, Giemsa's azures like haematoxylin, takes more red than blue out of the light; where nuclei lack
blue, the camera's red and blue were exchanged. Glass is nearly the colour of the lamp; where it is far from white, the
white balance is wrong.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.records import Image
from fnrbc_device.vision.reduction import glass_colour, is_coloured, sampled

ColourFault = Literal["camera_without_colours", "red_and_blue_exchanged", "colour_cast"]

NUCLEAR_DENSITY: Final = 0.45
"""-log10(light / glass) in green of pixels that are nuclei: red cells end at 0.37 (``smear_fields``)."""

FEWEST_PIXELS: Final = 20
"""Of the sample's 19,000 or so that must be nuclei before their colour is judged: one lymphocyte in a wide field."""

EXCHANGED: Final = -0.1
"""(red density - blue density) / green density of nuclei, below which red and blue are exchanged. Its middle is
0.15..0.6 in the pictures of seven laboratories (``pbc``, ``munich``, ``atlas``, ``smear_fields``, ``he_fields``,
``nuclei``, ``hand_pan``); a single picture of red cells alone went down to -0.05 (``anaemia_fields``)."""

STRONG_CAST: Final = 1.5
"""Brightest over darkest colour of glass from which on a cast is stronger than any of those pictures of whole fields
has: 1.41 at most (``smear_fields``)."""


@dataclass(frozen=True, slots=True)
class Colours:
    """What one picture tells."""

    grey: bool
    """Something is in it, and nothing of that has a colour."""
    cast: float
    """Brightest over darkest colour of glass, 1 or more."""
    nuclear: float
    """(red - blue) / green density of what is dense as nuclei."""
    glass_rgb: tuple[float, float, float]


def colours_of(image: Image) -> Colours | None:
    """Judge a picture's colours; None for one without a nucleus to judge them by.

    Parameters
    ----------
    image
        (H, W, 3) uint8 RGB.
    """
    sample = sampled(image)
    glass_rgb = glass_colour(sample)
    # Of each level, and so of all pixels that have it: a sixth of the time of a logarithm a pixel.
    density: NDArray[np.float64] = np.log10((np.asarray(glass_rgb) + 1) / (np.arange(256.0)[:, None] + 1))
    pixels = sample.reshape(-1, 3)
    nuclei = pixels[(density[:, 1] > NUCLEAR_DENSITY)[pixels[:, 1]]]
    if len(nuclei) < FEWEST_PIXELS:
        return None
    red, green, blue = (density[nuclei[:, channel], channel] for channel in range(3))
    cast = max(glass_rgb) / max(min(glass_rgb), 1.0)
    return Colours(not is_coloured(sample), cast, float(np.median((red - blue) / green)), glass_rgb)


def fault_of(seen: list[Colours]) -> ColourFault | None:
    """What is wrong with the colours of a session by the majority of its pictures; None where nothing is."""
    if not seen:
        return None
    if np.median([one.grey for one in seen]) > 0.5:
        return "camera_without_colours"
    if np.median([one.nuclear for one in seen]) < EXCHANGED:
        return "red_and_blue_exchanged"
    return "colour_cast" if np.median([one.cast for one in seen]) > STRONG_CAST else None
