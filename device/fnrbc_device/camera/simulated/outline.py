"""Outlines of cells and nuclei: irregular, with exactly the area that was asked for."""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from fnrbc_device.camera.simulated.stain import Species

Points = NDArray[np.float64]
"""(N, 2) row, col in px of the painting."""
Plane = NDArray[np.float32]
"""(H, W)."""

OUTLINE_POINTS: Final = 72
SUBPIXEL_BITS: Final = 4
"""OpenCV draws polygons on a grid of 1/16 px."""


def nucleus_coverage(species: Species, rng: np.random.Generator, radius_px: float, centre: Points, side: int) -> Plane:
    """(side, side) coverage 0..1 of the nucleus, with all its lobes."""
    ratio = rng.uniform(*species.nucleus_ratio)
    if species.nucleus == "round":
        nucleus_px = radius_px * float(np.sqrt(ratio))
        room = radius_px - nucleus_px
        offset = _direction(rng.uniform(0, 2 * np.pi)) * room * rng.uniform(*species.off_centre)
        return coverage([blob(rng, nucleus_px, 0.015) + centre + offset], side)
    if species.nucleus == "kidney":
        return _lobes(species, rng, radius_px, ratio, centre, side, spread=0.62, bridge=(1.3, 1.6))
    thin = (0.25, 0.6) if rng.random() < 0.75 else (0.0, 0.0)
    return _lobes(species, rng, radius_px, ratio, centre, side, spread=1.06, bridge=thin)


def blob(rng: np.random.Generator, radius_px: float, wobble: float) -> Points:
    """Give a slightly irregular round outline about (0, 0), with exactly the area of the circle."""
    angle = np.linspace(0, 2 * np.pi, OUTLINE_POINTS, endpoint=False)
    radius = np.ones(OUTLINE_POINTS)
    for order in (2, 3, 4, 5):
        amplitude = wobble * rng.normal(0.0, 1.0) * 2.0 / order
        radius += np.clip(amplitude, -0.15, 0.15) * np.cos(order * angle + rng.uniform(0, 2 * np.pi))
    points = radius[:, None] * np.stack([np.sin(angle), np.cos(angle)], 1)
    area, centroid = _area_and_centroid(points)
    scaled: Points = (points - centroid) * (radius_px * np.sqrt(np.pi / area))
    return scaled


def centred(outline: Points) -> tuple[Points, int]:
    """Move an outline to the middle of a square patch that holds it; give the patch's side too."""
    half = int(np.ceil(np.abs(outline).max())) + 5
    return outline + half, 2 * half + 1


def coverage(polygons: list[Points], side: int) -> Plane:
    """(side, side): how much of each pixel the union of the polygons covers, 0..1."""
    canvas = np.zeros((side, side), np.uint8)
    for points in polygons:
        middle = points.mean(0)
        spokes = points - middle
        # OpenCV fills the outline's own pixels too, half a pixel more all round than the polygon holds.
        shrunk = middle + spokes * (1.0 - 0.5 / np.linalg.norm(spokes, axis=1, keepdims=True).clip(1.0))
        grid = np.rint(shrunk[:, ::-1] * 2**SUBPIXEL_BITS).astype(np.int32)
        cv2.fillPoly(canvas, [grid], 255, cv2.LINE_AA, SUBPIXEL_BITS)
    return canvas.astype(np.float32) / 255.0


def hull_centroid(nucleus: Plane) -> tuple[float, float]:
    """Find the centroid (row, col) of the convex hull of what is at least half nucleus."""
    points = cv2.findNonZero((nucleus >= 0.5).astype(np.uint8))
    moments = cv2.moments(cv2.convexHull(points))
    return moments["m01"] / moments["m00"], moments["m10"] / moments["m00"]


def _lobes(
    species: Species,
    rng: np.random.Generator,
    radius_px: float,
    ratio: float,
    centre: Points,
    side: int,
    *,
    spread: float,
    bridge: tuple[float, float],
) -> Plane:
    """Lobes strung on a horseshoe about the cell's centre.

    ``spread`` is the distance of neighbours in units of the sum of their radii; ``bridge`` the width of what
    joins them in units of the smallest lobe's radius.
    """
    count = int(rng.integers(species.lobes[0], species.lobes[1] + 1))
    radii = rng.uniform(0.8, 1.2, count)
    radii *= radius_px * np.sqrt(ratio / float((radii**2).sum()))
    bow = min(0.52 * radius_px, 0.90 * radius_px - float(radii.max()))
    chords = (radii[1:] + radii[:-1]) * spread * rng.uniform(0.96, 1.04, count - 1)
    turns = 2.0 * np.arcsin(np.minimum(chords / (2.0 * bow), 1.0))
    angles = rng.uniform(0, 2 * np.pi) + np.concatenate([[0.0], np.cumsum(turns)])
    centres = centre + bow * np.stack([np.sin(angles), np.cos(angles)], 1)
    blobs = [blob(rng, float(r), 0.09) + place for r, place in zip(radii, centres, strict=True)]
    nucleus = coverage(blobs, side)
    width = round(rng.uniform(*bridge) * float(radii.min()))
    if width >= 1:
        places = np.rint(centres[:, ::-1] * 2**SUBPIXEL_BITS).astype(np.int32)
        bridges = np.zeros((side, side), np.uint8)
        cv2.polylines(bridges, [places], False, 255, width, cv2.LINE_AA, SUBPIXEL_BITS)
        nucleus = np.maximum(nucleus, bridges.astype(np.float32) / 255.0)
    return nucleus


def _area_and_centroid(points: Points) -> tuple[float, Points]:
    following = np.roll(points, -1, 0)
    cross = points[:, 1] * following[:, 0] - following[:, 1] * points[:, 0]
    area = 0.5 * float(cross.sum())
    centroid = ((points + following) * cross[:, None]).sum(0) / (6.0 * area)
    return abs(area), centroid


def _direction(angle: float) -> Points:
    return np.array([np.sin(angle), np.cos(angle)])
