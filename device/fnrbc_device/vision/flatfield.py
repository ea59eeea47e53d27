"""Evens out the light: vignetting and dust stand still in the camera, so they can be learned and divided out.

At each place of the camera's field the light of empty glass is a high quantile of what passes there while the hand
moves. A resting hand teaches nothing: what rests would be learned as if it belonged to the camera.
"""

from dataclasses import replace
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.records import Pose
from fnrbc_device.vision.reduction import Reduced, halved

SHRINK: Final = 2
"""Working pixels a pixel of the field, as halving makes them."""

QUANTILE: Final = 0.75
"""Of what passes at a place: glass covers a third and more of it in all but the thickest smears."""

FIRST_STEP: Final = 0.08
LAST_STEP: Final = 0.01
"""Share of the light by which an estimate moves with one field: dust of half the light is learned after 25."""

STEP_FIELDS: Final = 40.0
"""Fields over which the step falls from the first to the last."""

MOVED_UM: Final = 4.0
"""A field teaches when it lies this far from the last that did: half a red cell."""

DARKEST: Final = 0.3
"""Least share of the light that is divided out: behind darker dust nothing can be seen."""

BLOCKS: Final = (9, 12)
"""Rows and columns of blocks whose brightest pixels make the first guess: each is wider than a red cell."""

GUESS_ROUNDS: Final = 3
"""Fits of the first guess, each without the blocks that lie darker than the one before says: they hold no glass."""

DARKER: Final = 0.03
"""A block this share darker than the fit holds no glass: glass varies by 3 %."""

SPECK_UM: Final = 2.5
ROUND_UM: Final = 12.0
"""A speck's darkest tenth within the first distance is held against the median within the second."""

SPECK_DARKER: Final = 0.1
"""A place whose light lies this share below that round it has dust. After 15 fields specks of a composed dirty slide
lay 20 to 29 % below, places where cells had passed 2 to 7 % (median), 5 % of them more than 11 %."""

REFRESH_FIELDS: Final = 8
"""Fields learned between two refreshes of the gain, which cost as much as ten frames' use of it."""

GAIN_ONE: Final = 64.0
"""What stands for a gain of 1 in eight bits: gains up to 4."""


class FlatField:
    """The light of the camera's field, learned over a session."""

    def __init__(self) -> None:
        self._light: NDArray[np.float32] | None = None
        self._gain: NDArray[np.uint8] | None = None
        self._scale = (1.0, 1.0)
        """Frame pixels, and um, a pixel of the light."""
        self.fields = 0
        """Moved fields that it was learned from."""
        self._learned: Pose | None = None

    def begin(self, reduced: Reduced) -> NDArray[np.float32]:
        """The light, guessed by the first working picture and as learned from then on."""
        if self._light is None:
            self._light = _first_guess(_relative(reduced))
            self._scale = (SHRINK * reduced.factor, SHRINK * reduced.pixel_um)
        return self._light

    def flatten(self, reduced: Reduced) -> Reduced:
        """Divide the learned light out of a working picture; the first one of a session teaches at once.

        Returns
        -------
        Reduced
            Its glass has one brightness all over the field.
        """
        light = self.begin(reduced)
        if self._gain is None:
            self._gain = _gain(light, reduced.green.shape)
        flat = cv2.multiply(reduced.green, self._gain, scale=1.0 / GAIN_ONE)
        return self.flatten_stain(replace(reduced, green=np.asarray(flat, np.uint8)))

    def flatten_stain(self, reduced: Reduced) -> Reduced:
        """Divide out of the nuclear picture what the light does to it, which in some stains is not nothing."""
        if self._gain is None or reduced.stain is None or not reduced.light_power:
            return reduced
        powers = GAIN_ONE * (np.maximum(np.arange(256), 1) / GAIN_ONE) ** reduced.light_power
        gain = cv2.LUT(self._gain, np.clip(np.rint(powers), 0, 255).astype(np.uint8))
        flat = cv2.multiply(reduced.stain, gain, scale=1.0 / GAIN_ONE)
        return replace(reduced, stain=np.asarray(flat, np.uint8), light_power=0.0)

    def learn(self, reduced: Reduced, pose: Pose) -> None:
        """Learn from a used frame if the hand has moved.

        Parameters
        ----------
        reduced
            The working picture as the camera gave it, not flattened.
        pose
            Where the frame lies.
        """
        if self._light is None or not self._moved(pose, reduced):
            return
        self._learned = pose
        self.fields += 1
        step = max(LAST_STEP, FIRST_STEP * (1 - self.fields / STEP_FIELDS))
        # Stochastic approximation of a quantile: up by its share where it is brighter, down by the rest where darker.
        steps = np.full(256, -step * (1 - QUANTILE), np.float32)
        steps[255] = step * QUANTILE
        self._light += cv2.LUT(cv2.compare(_relative(reduced), self._light, cv2.CMP_GT), steps)
        if self.fields % REFRESH_FIELDS == 0:
            self._gain = None

    def light_at(self, centre_rc: tuple[float, float], frame_shape: tuple[int, ...]) -> float:
        """Light at a place of the frame, as a share of the field's; 1 before the first frame."""
        if self._light is None:
            return 1.0
        height, width = self._light.shape
        row = min(int(centre_rc[0] * height / frame_shape[0]), height - 1)
        col = min(int(centre_rc[1] * width / frame_shape[1]), width - 1)
        # As numpy's median and clip have it, which take ten times as long over so few numbers.
        near = np.sort(self._light[max(0, row - 2) : row + 3, max(0, col - 2) : col + 3], axis=None)
        middle = (near[(len(near) - 1) // 2] + near[len(near) // 2]) / 2
        return float(min(max(middle, np.float32(DARKEST)), np.float32(1.2)))

    def is_dusty(self, centre_rc: tuple[float, float]) -> bool:
        """Whether a speck keeps the light off a place of the frame, (row, col) px; False before one was learned."""
        if self._light is None:
            return False
        speck, surroundings = (self._window(centre_rc, reach_um) for reach_um in (SPECK_UM, ROUND_UM))
        return bool(np.percentile(speck, 10) < (1 - SPECK_DARKER) * np.median(surroundings))

    def _window(self, centre_rc: tuple[float, float], reach_um: float) -> NDArray[np.float32]:
        """The light within a distance of a place of the frame."""
        assert self._light is not None
        frame_px, um = self._scale
        reach = max(1, round(reach_um / um))
        row, col = (min(int(at / frame_px), side - 1) for at, side in zip(centre_rc, self._light.shape, strict=True))
        return self._light[max(0, row - reach) : row + reach + 1, max(0, col - reach) : col + reach + 1]

    def _moved(self, pose: Pose, reduced: Reduced) -> bool:
        before = self._learned
        if before is None or before.island != pose.island:
            return True
        apart_px = np.hypot(pose.row_px - before.row_px, pose.col_px - before.col_px)
        return bool(apart_px / reduced.factor * reduced.pixel_um > MOVED_UM)


def _relative(reduced: Reduced) -> NDArray[np.float32]:
    """Light as a share of the glass' at half the scale: about 0.4 um, finer than dust that could pass for a nucleus."""
    shares = np.arange(256, dtype=np.float32) / np.float32(max(reduced.glass_rgb[1], 1.0))
    return np.asarray(cv2.LUT(halved(reduced.green), shares), np.float32)


def _first_guess(relative: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vignetting from one field: a paraboloid through the blocks' brightest pixels.

    Six numbers for a whole field: anything finer would be drawn after the cells of the first frame, and stand still.
    """
    height, width = relative.shape
    brightest = cv2.dilate(cv2.blur(relative, (3, 3)), np.ones((height // BLOCKS[0] + 1, width // BLOCKS[1] + 1)))
    rows = np.linspace(0, height - 1, 2 * BLOCKS[0] + 1)[1::2].astype(np.intp)
    cols = np.linspace(0, width - 1, 2 * BLOCKS[1] + 1)[1::2].astype(np.intp)
    row, col = (grid.ravel() for grid in np.meshgrid(rows / height - 0.5, cols / width - 0.5, indexing="ij"))
    terms, values = _paraboloid(row, col), np.asarray(brightest)[np.ix_(rows, cols)].ravel()
    with_glass = np.ones(len(values), np.bool_)
    for _ in range(GUESS_ROUNDS):
        numbers = np.linalg.lstsq(terms[with_glass], values[with_glass], rcond=None)[0]
        kept = values >= (1 - DARKER) * (terms @ numbers)
        if np.count_nonzero(kept) < 2 * len(numbers):
            break
        with_glass = kept
    down, right = np.arange(height)[:, None] / height - 0.5, np.arange(width)[None, :] / width - 0.5
    flat, by_row, by_col, bent_row, twist, bent_col = numbers
    at_row, at_col = flat + (by_row + bent_row * down) * down, (by_col + bent_col * right) * right
    light = at_row.astype(np.float32) + at_col.astype(np.float32)
    light += (twist * down).astype(np.float32) * right.astype(np.float32)
    return np.asarray(light / np.float32(max(float(np.median(light)), 1e-3)))


def _paraboloid(row: NDArray[np.floating[Any]], col: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """(N, 6) terms of second order in place."""
    return np.stack([np.ones_like(row), row, col, row * row, row * col, col * col], axis=1)


def _gain(light: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    # The gain is as fine as what was learned: a pixel's noise is 1 %, a red cell's rim must not show in it.
    calm = cv2.blur(np.clip(light, DARKEST, 4.0), (3, 3))
    gain = np.asarray(GAIN_ONE / calm, np.float32)
    full = cv2.resize(gain, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.convertScaleAbs(full), np.uint8)
