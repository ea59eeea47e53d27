"""The row of a counted cell in ``cells.csv``, for recordings and sessions alike."""

from typing import Any, Final

from fnrbc_device.records import CountEvent, Pose

CELL_COLUMNS: Final = (
    "cell", "island", "x_px", "y_px", "x_um", "y_um", "class", "probability", "views", "diameter_um",
    "nucleus_ratio", "best_frame",
)  # fmt: skip


def cell_row(event: CountEvent, place: Pose, views: int, pixel_size_um: float) -> dict[str, Any]:
    """A counted cell's row of ``cells.csv``, by column name.

    Parameters
    ----------
    event
        That entered it into the count.
    place
        Its own, on the island that it belongs to in the end.
    views
        How many there were.
    pixel_size_um
        Size of a pixel on the slide, um.
    """
    row = (
        event.cell,
        place.island,
        round(place.col_px, 2),
        round(place.row_px, 2),
        round(place.col_px * pixel_size_um, 3),
        round(place.row_px * pixel_size_um, 3),
        event.verdict.class_name,
        round(event.verdict.probability, 4),
        views,
        round(event.diameter_um, 2),
        round(event.nucleus_ratio, 3),
        event.best_frame,
    )
    return dict(zip(CELL_COLUMNS, row, strict=True))
