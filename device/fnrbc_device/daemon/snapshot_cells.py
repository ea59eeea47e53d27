"""The cells of a session as rows of numbers: a slide holds thousands, and the counting waits while they are written."""

from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any, Final, get_args

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.counting.cell import BEST_VIEWS, Cell, View
from fnrbc_device.counting.ledger import Ledger
from fnrbc_device.daemon.codecs import Array, Room, Row, UnfitError, Whole, Word, require_names
from fnrbc_device.records import CountEvent, EventName, Role, Verdict
from fnrbc_device.vision.preprocessing import CROP_PX

CELL_WHOLE: Final = ("number", "island", "views", "agreed", "misses", "measured", "last_index")
CELL_REAL: Final = ("row_px", "col_px", "diameter_um", "nucleus_ratio", "reach_px", "span_px")
CELL_OTHER: Final = ("first_rc", "best", "settled")
"""What of a cell is written as whole numbers, as real ones, and in ways of its own."""

EVENT_WHOLE: Final = ("cell", "island", "views", "best_frame")
EVENT_REAL: Final = ("row_px", "col_px", "x_um", "y_um", "diameter_um", "nucleus_ratio")
EVENT_WORDS: Final = ("event", "reason")
VERDICT_REAL: Final = ("probability", "target_probability")
VERDICT_WORDS: Final = ("class_name", "role")
"""The same of the event that counted it; the verdict's follow the event's."""

_EVENT: Final = attrgetter(*EVENT_WHOLE)
_EVENT_REAL: Final = attrgetter(*EVENT_REAL, *(f"verdict.{name}" for name in VERDICT_REAL))
_EVENT_WORDS: Final = attrgetter(*EVENT_WORDS, *(f"verdict.{name}" for name in VERDICT_WORDS))

_WORDS: Final = Row(Word())
_NEXT: Final = Whole(least=1)


def pack_cells(ledger: Ledger, room: Room, path: str) -> dict[str, Any]:
    """Write all cells of a ledger, in the order of their numbers."""
    cells = list(ledger.cells())
    settled = [index for index, cell in enumerate(cells) if cell.settled is not None]
    events = [cells[index].settled for index in settled]
    views = [(index, view) for index, cell in enumerate(cells) for view in cell.best]
    asked = {number: view.said for number, (_, view) in enumerate(views) if view.said is not None}
    words: dict[str, int] = {}
    arrays = {
        "whole": rows_of(map(attrgetter(*CELL_WHOLE), cells), len(CELL_WHOLE), np.int64),
        "real": rows_of(map(attrgetter(*CELL_REAL), cells), len(CELL_REAL), np.float64),
        "first_rc": rows_of((cell.first_rc for cell in cells), 2, np.float64),
        "settled": np.array(settled, np.int64),
        "events": rows_of(map(_EVENT, events), len(EVENT_WHOLE), np.int64),
        "verdicts": rows_of(map(_EVENT_REAL, events), len(EVENT_REAL) + len(VERDICT_REAL), np.float64),
        "words": rows_of(
            ([words.setdefault(word, len(words)) for word in _EVENT_WORDS(event)] for event in events), 4, np.int32
        ),
        "views": rows_of(((index, view.frame) for index, view in views), 2, np.int64),
        "qualities": np.array([view.quality for _, view in views], np.float64),
        "crops": np.stack([view.crop for _, view in views]) if views else np.zeros((0, CROP_PX, CROP_PX, 3), np.uint8),
        "asked": np.array(list(asked), np.int64),
        "said": np.stack(list(asked.values())) if asked else np.zeros((0, 0), np.float32),
    }
    room.arrays.update({f"{path}.{name}": array for name, array in arrays.items()})
    return {"next": ledger.next_number, "words": list(words)}


def fill_cells(ledger: Ledger, said: Any, room: Room, path: str) -> None:
    """Enter the cells into an empty ledger.

    Raises
    ------
    UnfitError
        They cannot be the cells of a session.
    """
    require_names(said, dict.fromkeys(("next", "words")), path)
    cells = list(_cells(room, path))
    numbers = [cell.number for cell in cells]
    _require(numbers == sorted(set(numbers)) and min(numbers, default=1) >= 1, f"{path}: numbers of cells")
    _settle(cells, _WORDS.unpack(said["words"], room, f"{path}.words"), room, path)
    _show(cells, room, path)
    for cell in cells:
        ledger.recall(cell)
    following = _NEXT.unpack(said["next"], room, f"{path}.next")
    _require(following > max(numbers, default=0), f"{path}: the next number")
    ledger.next_number = following


def _cells(room: Room, path: str) -> Iterator[Cell]:
    whole = read_rows(room, f"{path}.whole", len(CELL_WHOLE), np.int64)
    real = read_rows(room, f"{path}.real", len(CELL_REAL), np.float64)
    first_rc = read_rows(room, f"{path}.first_rc", 2, np.float64)
    _require(len(whole) == len(real) == len(first_rc), f"{path}: rows of cells")
    _require(bool((whole >= -1).all()), f"{path}: whole numbers of cells")
    for wholes, reals, (row, col) in zip(whole.tolist(), real.tolist(), first_rc.tolist(), strict=True):
        values = zip((*CELL_WHOLE, *CELL_REAL), (*wholes, *reals), strict=True)
        yield Cell(**dict(values), first_rc=(row, col))


def _settle(cells: Sequence[Cell], words: list[str], room: Room, path: str) -> None:
    settled = _indices(room, f"{path}.settled", len(cells))
    whole = read_rows(room, f"{path}.events", len(EVENT_WHOLE), np.int64)
    real = read_rows(room, f"{path}.verdicts", len(EVENT_REAL) + len(VERDICT_REAL), np.float64)
    said = read_rows(room, f"{path}.words", len(EVENT_WORDS) + len(VERDICT_WORDS), np.int32)
    _require(len(settled) == len(whole) == len(real) == len(said), f"{path}: rows of events")
    _require(bool(((said >= 0) & (said < len(words))).all()), f"{path}: words of events")
    _require(len(set(settled)) == len(settled), f"{path}: cells that were counted")
    for index, wholes, reals, numbers in zip(settled, whole.tolist(), real.tolist(), said.tolist(), strict=True):
        event, reason, class_name, role = (words[number] for number in numbers)
        _require(event in get_args(EventName) and role in get_args(Role), f"{path}: an event")
        _require(wholes[0] == cells[index].number, f"{path}: an event's cell")
        values = zip((*EVENT_WHOLE, *EVENT_REAL), (*wholes, *reals[: len(EVENT_REAL)]), strict=True)
        verdict = Verdict(class_name, role, *reals[len(EVENT_REAL) :])
        cells[index].settled = CountEvent(event=event, reason=reason, verdict=verdict, **dict(values))


def _show(cells: Sequence[Cell], room: Room, path: str) -> None:
    views = read_rows(room, f"{path}.views", 2, np.int64)
    qualities = Array(np.float64, (len(views),)).unpack(True, room, f"{path}.qualities")
    crops = Array(np.uint8, (len(views), CROP_PX, CROP_PX, 3)).unpack(True, room, f"{path}.crops")
    _require(bool(((views[:, 0] >= 0) & (views[:, 0] < len(cells))).all()), f"{path}: the cell of a view")
    said = _said(room, path, len(views))
    for number, (index, frame) in enumerate(views.tolist()):
        cells[index].best.append(View(float(qualities[number]), frame, crops[number], said=said.get(number)))
        _require(len(cells[index].best) <= BEST_VIEWS, f"{path}: views of a cell")


def _said(room: Room, path: str, views: int) -> dict[int, NDArray[np.float32]]:
    """What P-net said of views, by their number."""
    asked = _indices(room, f"{path}.asked", views)
    said: NDArray[np.float32] = Array(np.float32, (len(asked), None)).unpack(True, room, f"{path}.said")
    _require(bool(((said >= 0) & (said <= 1)).all()), f"{path}: probabilities")
    return dict(zip(asked, said, strict=True))


def rows_of(values: Iterable[Any], width: int, dtype: type) -> NDArray[Any]:
    """Write tuples of so many numbers as an array."""
    return np.array(list(values), dtype).reshape(-1, width)


def read_rows(room: Room, path: str, width: int, dtype: type) -> NDArray[Any]:
    """Read what ``rows_of`` wrote.

    Raises
    ------
    UnfitError
        It is missing, of another type or width, or holds what is no number.
    """
    found = Array(dtype, (None, width)).unpack(True, room, path)
    _require(bool(np.isfinite(found).all()), f"{path}: numbers")
    return found


def _indices(room: Room, path: str, below: int) -> list[int]:
    found = Array(np.int64, (None,)).unpack(True, room, path)
    _require(bool(((found >= 0) & (found < below)).all()), f"{path}: numbers of rows")
    return [int(one) for one in found]


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise UnfitError(f"{what} cannot be")
