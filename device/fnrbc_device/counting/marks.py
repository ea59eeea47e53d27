"""What the live page draws of a detection: the class and the certainty of the cell that it stands for."""

from fnrbc_device.counting.cell import Cell
from fnrbc_device.counting.ledger import Entry, Ledger
from fnrbc_device.records import INDETERMINATE, Mark, Pose


def marks_of(entry: Entry, ledger: Ledger, pose: Pose, pixel_size_um: float, *, looked: bool) -> list[Mark]:
    """Make the marks of a frame: of what it showed, or of the cells known there where it was not looked at.

    Parameters
    ----------
    entry
        What the frame told the ledger.
    ledger
        With the cells known so far.
    pose
        Of the frame.
    pixel_size_um
        Size of the frame's pixels on the slide, um, > 0.
    looked
        Whether the frame was looked at.
    """
    if looked:
        return [mark_at(one.cell, one.detection.centre_rc, pixel_size_um) for one in entry.sightings]
    return [
        mark_at(cell, (cell.row_px - pose.row_px, cell.col_px - pose.col_px), pixel_size_um)
        for cell in ledger.in_view(pose)
    ]


def mark_at(cell: Cell, centre_rc: tuple[float, float], pixel_size_um: float) -> Mark:
    """Make the mark of one cell; ``open`` while it is not settled.

    Parameters
    ----------
    cell
        The cell.
    centre_rc
        Where the frame shows it, px.
    pixel_size_um
        Size of the frame's pixels on the slide, um, > 0.
    """
    row, col = centre_rc
    radius = cell.diameter_um / 2 / pixel_size_um
    counted = cell.settled
    if counted is None:
        return Mark(cell.number, "", "open", row, col, radius, 0.0)
    verdict = counted.verdict
    role = "indeterminate" if verdict.class_name == INDETERMINATE else verdict.role
    return Mark(cell.number, verdict.class_name, role, row, col, radius, verdict.probability)
