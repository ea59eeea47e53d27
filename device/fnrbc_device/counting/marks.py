"""What the live page draws of a detection: the class and the certainty of the cell that it stands for."""

from fnrbc_device.counting.ledger import Cell
from fnrbc_device.records import INDETERMINATE, Detection, Mark


def mark_of(cell: Cell, detection: Detection, pixel_size_um: float) -> Mark:
    """Make the mark of one detection; ``open`` while its cell is not settled.

    Parameters
    ----------
    cell, detection
        The cell and how this frame shows it.
    pixel_size_um
        Size of the frame's pixels on the slide, um, > 0.
    """
    row, col = detection.centre_rc
    radius = cell.diameter_um / 2 / pixel_size_um
    counted = cell.settled
    if counted is None:
        return Mark(cell.number, "", "open", row, col, radius, 0.0)
    verdict = counted.verdict
    role = "indeterminate" if verdict.class_name == INDETERMINATE else verdict.role
    return Mark(cell.number, verdict.class_name, role, row, col, radius, verdict.probability)
