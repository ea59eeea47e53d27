"""Where on the slide a frame lies: phase correlation finds the shift, the overlap itself proves and refines it.

Frames are compared with a *keyframe*, not each with the one before it, so a resting hand adds no drift. They come with
their light evened out: dust and vignetting stand still while cells move, and would hold the picture.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.errors import RegistrationError
from fnrbc_device.records import Pose
from fnrbc_device.vision.reduction import Reduced

LONG_SIDE_PX: Final = 360
"""Longest side of the picture that is correlated."""

MIN_CORRELATION: Final = 0.6
"""Least correlation of a large overlap. Over 500 random pairs of frames of a composed slide (real cells, dust, drift,
defocus) right shifts reach 0.80 and more, the best wrong ones 0.43 at most."""

DENSEST: Final = 0.3
"""Optical density is clipped here, between red cells and nuclei: a few dark nuclei, laid on each other, would otherwise
make wrong shifts correlate at up to 0.70. At 0.15 the red cells' own pattern goes as well."""

CHANCE: Final = 3.5
FEATURE_UM2: Final = 50.0
"""The best of all chance shifts correlates at up to ``CHANCE / sqrt(overlap / FEATURE_UM2)``: an overlap holds as many
independent values as red cells would fit into it."""

MIN_OVERLAP: Final = 0.12
"""Least share of the frame that must overlap: below it a chance alignment correlates as well as the right one."""

KEYFRAME_SHIFT: Final = 0.22
"""A frame this share of a side away from the keyframe becomes the next one."""

MIN_CONTRAST: Final = 0.008
"""Least standard deviation of the optical density: empty glass and noise stay below 0.005."""

LEAST_REFINED_PX: Final = 8
"""An overlap narrower than this keeps its whole-pixel shift: gradients lose 2 px on each side of it."""

STEPS: Final = 3
"""Gauss-Newton steps of the refinement: two leave up to 0.1 of a correlated pixel where the shift lies half-way."""

OUTLIER: Final = 3.0
"""Pixels that differ by more than this many times the mean are left out of the refinement: dust not yet learned stands
still and would draw the shift to 0, by up to 1.7 px a frame under 40 specks."""

CANDIDATES: Final = 4
"""Peaks of the correlation that are looked at."""

@dataclass(frozen=True, slots=True)
class Placement:
    """Where a frame lies, and how well that is known."""

    pose: Pose
    correlation: float
    """Of the overlap with the frame it was registered to, -1..1; 1 for the first of an island."""
    moved_px: float
    """Distance to the previous frame, frame pixels; 0 for the first of an island."""
    lost: bool
    """The frame fits nothing before it: a new island begins here."""


@dataclass(frozen=True, slots=True, eq=False)
class _Plate:
    """One placed picture that later ones are registered to."""

    density: NDArray[np.float32]
    spectrum: NDArray[np.float32]
    pose: Pose


class Registration:
    """Places the frames of one session, in their order."""

    def __init__(self) -> None:
        self._keyframe: _Plate | None = None
        self._last: _Plate | None = None
        self._island = -1
        self._window: NDArray[np.float32] = np.zeros((0, 0), np.float32)
        self._factor = 1.0
        self._pixel_um = 1.0

    def place(self, reduced: Reduced, *, sharp: bool = True) -> Placement:
        """Place the next frame.

        Parameters
        ----------
        reduced
            Working picture of the frame, its light evened out; every frame of a session has the same size.
        sharp
            False: the frame is placed if it fits, and the next may be laid on it where the keyframe is out of reach;
            but it founds no island and becomes no keyframe: sharp frames would lie wrong by the length of its smear.

        Raises
        ------
        RegistrationError
            The frame shows nothing to hold on to (empty glass), or is blurred and fits nothing. Its place is unknown.
        """
        density = self._density(reduced)
        contrast = float(density.std())
        if contrast < MIN_CONTRAST:
            raise RegistrationError(
                f"the field's contrast {contrast:.4f} is below {MIN_CONTRAST}: nothing to hold on to; "
                "pan to where cells are"
            )
        spectrum = np.asarray(cv2.dft(density * self._window), np.float32)
        placement = self._against_known(density, spectrum)
        if placement is None and not sharp:
            raise RegistrationError("the blurred frame fits none before it; pan more slowly")
        if placement is None:
            self._island += 1
            placement = Placement(Pose(self._island, 0.0, 0.0), 1.0, 0.0, lost=self._island > 0)
            self._keyframe = None
        self._remember(density, spectrum, placement.pose, sharp)
        return placement

    def correct(self, row_px: float, col_px: float) -> None:
        """Move the last frame's place by what its landmarks say, frame pixels; later frames build on it."""
        last, keyframe = self._last, self._keyframe
        if last is None:
            return
        moved = Pose(last.pose.island, last.pose.row_px + row_px, last.pose.col_px + col_px)
        self._last = _Plate(last.density, last.spectrum, moved)
        if keyframe is not None and keyframe.density is last.density:
            self._keyframe = self._last

    def _against_known(self, density: NDArray[np.float32], spectrum: NDArray[np.float32]) -> Placement | None:
        """The placement against the keyframe or else the last frame; None if it fits neither."""
        for plate in (self._keyframe, self._last):
            if plate is None or self._last is None:
                continue
            found = _shift(plate, density, spectrum, self._pixel_um)
            if found is not None:
                row, col, correlation = found
                pose = Pose(
                    self._island, plate.pose.row_px - row * self._factor, plate.pose.col_px - col * self._factor
                )
                last = self._last.pose
                moved = float(np.hypot(pose.row_px - last.row_px, pose.col_px - last.col_px))
                return Placement(pose, correlation, moved, lost=False)
            if plate is self._last:
                break
        return None

    def _remember(
        self, density: NDArray[np.float32], spectrum: NDArray[np.float32], pose: Pose, sharp: bool
    ) -> None:
        plate = _Plate(density, spectrum, pose)
        self._last = plate
        if sharp and (self._keyframe is None or self._far(pose, self._keyframe.pose)):
            self._keyframe = plate

    def _far(self, pose: Pose, key: Pose) -> bool:
        height, width = (side * self._factor for side in self._window.shape)
        down, right = abs(pose.row_px - key.row_px), abs(pose.col_px - key.col_px)
        return bool(down > KEYFRAME_SHIFT * height or right > KEYFRAME_SHIFT * width)

    def _density(self, reduced: Reduced) -> NDArray[np.float32]:
        """Optical density at the correlated scale, its mean taken out."""
        green = reduced.green
        shrink = min(max(1, -(-max(green.shape) // LONG_SIDE_PX)), *green.shape)
        size = (green.shape[1] // shrink, green.shape[0] // shrink)
        small = np.asarray(
            cv2.resize(green[: size[1] * shrink, : size[0] * shrink], size, interpolation=cv2.INTER_AREA)
        )
        if self._window.shape != small.shape:
            self._window = _window(small.shape[0], small.shape[1])
        self._factor = reduced.factor * shrink
        self._pixel_um = reduced.pixel_um * shrink
        density = _DENSITY[small]
        return np.asarray(density - np.float32(density.mean()), np.float32)


def _shift(
    plate: _Plate, density: NDArray[np.float32], spectrum: NDArray[np.float32], pixel_um: float
) -> tuple[float, float, float] | None:
    """How far content moved since the plate (row, col, correlated pixels) and the overlap's correlation."""
    best: tuple[float, int, int, float] | None = None
    for row, col in _candidates(plate.spectrum, spectrum):
        correlation = _overlap_correlation(plate.density, density, row, col)
        certain = correlation - least_correlation(_overlap_px2(density.shape, row, col) * pixel_um**2)
        if certain >= 0 and (best is None or certain > best[0]):
            best = (certain, row, col, correlation)
    if best is None:
        return None
    row_px, col_px = _refined(plate.density, density, best[1], best[2])
    return row_px, col_px, best[3]


def least_correlation(overlap_um2: float) -> float:
    """Correlation that an overlap must reach to be no chance; above 1 where it is too small to prove anything.

    Parameters
    ----------
    overlap_um2
        Its area on the slide, um2, > 0.
    """
    return float(max(MIN_CORRELATION, CHANCE / np.sqrt(overlap_um2 / FEATURE_UM2)))


def _overlap_px2(shape: tuple[int, ...], row: int, col: int) -> int:
    return (shape[0] - abs(row)) * (shape[1] - abs(col))


def _candidates(reference: NDArray[np.float32], moving: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Shifts at the highest peaks of the phase correlation.

    A peak is known only modulo the picture's size, so each stands for up to four shifts; those that leave too
    little overlap are left out.

    References
    ----------
    .. [1] C. D. Kuglin and D. C. Hines, "The phase correlation image alignment method", Proc. IEEE Int. Conf.
       Cybernetics and Society, 1975, 163-165.
    """
    cross = np.asarray(cv2.mulSpectrums(moving, reference, 0, conjB=True), np.float32)
    # Half whitened: a full normalisation lifts the frequencies that motion blur has emptied of all but noise.
    surface = np.asarray(cv2.idft(_whitened(cross), flags=cv2.DFT_SCALE), np.float32)
    height, width = surface.shape
    surface = np.asarray(cv2.GaussianBlur(surface, (3, 3), 0.7, borderType=cv2.BORDER_DEFAULT))
    found: list[tuple[int, int]] = []
    for _ in range(CANDIDATES):
        _, _, _, (col, row) = cv2.minMaxLoc(surface)
        surface[max(0, row - 4) : row + 5, max(0, col - 4) : col + 5] = -np.inf
        for shift in ((row, col), (row - height, col), (row, col - width), (row - height, col - width)):
            overlap = (1 - abs(shift[0]) / height) * (1 - abs(shift[1]) / width)
            if overlap >= MIN_OVERLAP:
                found.append(shift)
    return found


def _whitened(cross: NDArray[np.float32]) -> NDArray[np.float32]:
    """Divide a packed (CCS) spectrum by the square root of its magnitude.

    The packed layout holds real and imaginary parts in neighbouring columns; the first and, for an even width,
    the last column hold real parts of purely vertical frequencies, whose exact magnitude does not matter here.
    """
    squared = cross * cross
    power = squared.copy()
    width = cross.shape[1]
    pairs = (width - 1) // 2
    both = squared[:, 1 : 1 + 2 * pairs : 2] + squared[:, 2 : 2 + 2 * pairs : 2]
    power[:, 1 : 1 + 2 * pairs : 2] = both
    power[:, 2 : 2 + 2 * pairs : 2] = both
    return np.asarray(cross / (np.sqrt(np.sqrt(power)) + np.float32(1e-6)), np.float32)


def _overlap(
    reference: NDArray[np.float32], moving: NDArray[np.float32], row: int, col: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The parts of both pictures that show the same place if content moved by (row, col)."""
    height, width = reference.shape
    return (
        reference[max(0, -row) : height - max(0, row), max(0, -col) : width - max(0, col)],
        moving[max(0, row) : height - max(0, -row), max(0, col) : width - max(0, -col)],
    )


def _overlap_correlation(reference: NDArray[np.float32], moving: NDArray[np.float32], row: int, col: int) -> float:
    """Pearson's correlation over the overlap, -1..1; every other pixel each way tells as much."""
    first, second = _overlap(reference, moving, row, col)
    a, b = first[::2, ::2] - first[::2, ::2].mean(), second[::2, ::2] - second[::2, ::2].mean()
    norm = float(np.sqrt(np.vdot(a, a) * np.vdot(b, b)))
    return float(np.vdot(a, b)) / norm if norm > 0 else 0.0


def _refined(
    reference: NDArray[np.float32], moving: NDArray[np.float32], row: int, col: int
) -> tuple[float, float]:
    """Sub-pixel shift by Gauss-Newton steps on the overlap's squared difference, gain and offset free.

    References
    ----------
    .. [1] B. D. Lucas and T. Kanade, "An iterative image registration technique with an application to stereo
       vision", Proc. IJCAI, 1981, 674-679.
    """
    first, second = _overlap(reference, moving, row, col)
    if min(second.shape) < LEAST_REFINED_PX:
        return float(row), float(col)
    # Both gradients, averaged: where one picture is blurred by motion, either alone is biased.
    total_row = total_col = 0.0
    shifted = second
    for step in range(STEPS):
        mean = (first + shifted) * np.float32(0.5)
        down = np.asarray(cv2.Sobel(mean, cv2.CV_32F, 0, 1, ksize=3, scale=0.125), np.float32)[2:-2, 2:-2]
        right = np.asarray(cv2.Sobel(mean, cv2.CV_32F, 1, 0, ksize=3, scale=0.125), np.float32)[2:-2, 2:-2]
        # Content moved by (dr, dc) beyond the overlap's: shifted(x) = first(x - d), so first - shifted = d . grad.
        difference = (first - shifted)[2:-2, 2:-2]
        difference = difference - difference.mean()
        if step > 0:  # before, what does not fit yet would be taken for an outlier
            alike = np.abs(difference) < OUTLIER * np.abs(difference).mean()
            down, right = down * alike, right * alike
        a, b, c = float(np.vdot(down, down)), float(np.vdot(down, right)), float(np.vdot(right, right))
        p, q = float(np.vdot(down, difference)), float(np.vdot(right, difference))
        determinant = a * c - b * b
        if determinant <= 1e-9 * (a + c) ** 2:
            break
        total_row += (c * p - b * q) / determinant
        total_col += (a * q - b * p) / determinant
        if max(abs(total_row), abs(total_col)) > 2.0:
            return float(row), float(col)
        back = np.array([[1.0, 0.0, total_col], [0.0, 1.0, total_row]])
        if step == STEPS - 1:
            break  # the last step's result is not looked at again
        size = (second.shape[1], second.shape[0])
        shifted = np.asarray(
            cv2.warpAffine(
                second, back, size, flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
            ),
            np.float32,
        )
    return row + total_row, col + total_col


def _window(height: int, width: int) -> NDArray[np.float32]:
    """Falls to 0 over the outer eighth, so that the borders do not correlate with each other."""
    return np.outer(_taper(height), _taper(width)).astype(np.float32)


def _taper(length: int) -> NDArray[np.float64]:
    distance = np.minimum(np.arange(length), np.arange(length)[::-1]) / (length / 8)
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * np.clip(distance, 0, 1)))


_DENSITY: Final = np.minimum(-np.log10((np.arange(256) + 4) / 260), DENSEST).astype(np.float32)
"""Optical density of a grey. A product of light and cell becomes a sum."""
