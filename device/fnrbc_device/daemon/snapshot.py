"""Every value of an analyser that a snapshot holds, by name.

To keep a new attribute, add one line to the part of its object below; to leave it out, name it among those that are
made again. A test holds each object against its part, so that none is forgotten. A snapshot with other names than
these is left aside, and the record is replayed.
"""

from collections import Counter as Counts
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import Any, Final, get_args

import numpy as np

from fnrbc_device.counting.analyser import Analyser
from fnrbc_device.counting.counter import Counter
from fnrbc_device.counting.recount import Column
from fnrbc_device.counting.tally import TallyKeeper
from fnrbc_device.daemon.codecs import (
    MOST,
    Array,
    Codec,
    Fixed,
    Flag,
    Maybe,
    Number,
    OwnWay,
    Part,
    Record,
    Room,
    Row,
    UnfitError,
    Whole,
    Word,
    require_names,
)
from fnrbc_device.daemon.snapshot_cells import fill_cells, pack_cells, read_rows, rows_of
from fnrbc_device.records import Join, Pose, ProvisionalReason
from fnrbc_device.vision.dust import Spot
from fnrbc_device.vision.keyframes import Keyframe, Keyframes
from fnrbc_device.vision.objective import LEARNED
from fnrbc_device.vision.pan_speed import INTERVALS
from fnrbc_device.vision.registration import Placed, Registration
from fnrbc_device.vision.relocation import PROBES, Probe, Proof, Proposal
from fnrbc_device.vision.session_stain import MEMORY, StainState
from fnrbc_device.vision.shift import ShiftPicture
from fnrbc_device.vision.stain import Anchors

COLUMNS: Final[tuple[Column, ...]] = ("fnrbc", "leukocytes", "other", "indeterminate")
"""Of the tally, by their number in a snapshot: new ones are added at the end."""

NUMBER: Final = Number()
COUNT: Final = Whole()
GREY: Final = Array(np.uint8, (None, None))
PLACE: Final = Record(Pose, island=COUNT, row_px=NUMBER, col_px=NUMBER)
JOIN: Final = Record(Join, island=COUNT, into=COUNT, row_px=NUMBER, col_px=NUMBER)


def deque_of(most: int) -> Callable[[Iterable[Any]], "deque[Any]"]:
    """Make deques that keep so many values."""
    return lambda values: deque(values, maxlen=most)


QUALITY: Final = Part(_sharpest=NUMBER, _darkest_glass=NUMBER, _before=Maybe(GREY))

LIGHT: Final = Part(
    _light=Maybe(Array(np.float32, (None, None), writable=True)),
    _gain=Maybe(GREY),
    _scale=Fixed((NUMBER, NUMBER)),
    fields=COUNT,
    _learned=Maybe(PLACE),
)

SEGMENTER: Final = Part(
    "_pixel_size_um",
    "_level",
    _histogram=Array(np.float64, (256,), writable=True),
    _darkest=Maybe(NUMBER),
)

DENSITIES: Final = Fixed((NUMBER,) * 3)
ANCHORS: Final = Record(Anchors, nucleus=DENSITIES, rest=DENSITIES, nuclei=COUNT)
STAIN_STATE: Final = Word(get_args(StainState))
STAIN: Final = Part(
    _votes=Row(ANCHORS, deque_of(MEMORY)),
    _taken=COUNT,
    _place=Maybe(PLACE),
    anchors=Maybe(ANCHORS),
    state=STAIN_STATE,
    doubt=Maybe(Word(("no_nuclei", "no_glass", "no_colours", "clipped_glass"))),
)

SEEING: Final = Part("_pixel_size_um", "_model", _segmenter=SEGMENTER)

GROUND: Final = Part("_um", _looks=Array(np.float64, (None, 4)))

LOOKOUT: Final = Part(
    "_um",
    "_everything",
    _ground=GROUND,
    _looked=Maybe(PLACE),
    _sharpness=NUMBER,
    _way_um=Fixed((NUMBER, NUMBER)),
    _moved_um=Fixed((NUMBER, NUMBER)),
    _looks=COUNT,
    _first=COUNT,
    _due=Whole(-MOST),
    frames_since_look=COUNT,
)

SPOT: Final = Record(Spot, row_px=NUMBER, col_px=NUMBER, seen=COUNT, fields=COUNT)
DUST: Final = Part("_moved_px", "_same_px", _spots=Row(SPOT), _learned=Maybe(PLACE))

SPEED: Final = Part(
    "_um",
    _before_s=Maybe(NUMBER),
    _intervals_s=Row(NUMBER, deque_of(INTERVALS)),
    _last=Maybe(Fixed((PLACE, NUMBER))),
    _calm_sharpness=NUMBER,
)

OBJECTIVE: Final = Part(_learned=Row(NUMBER, deque_of(LEARNED)))

PROBE: Final = Record(Probe, number=COUNT, before=COUNT, first=Flag())
PROPOSAL: Final = Record(Proposal, join=JOIN, shared_px=Fixed((NUMBER,) * 4))
PROOF: Final = Record(Proof, frame=COUNT, proposal=PROPOSAL, sigma=NUMBER, still=Flag())
RELOCATION: Final = Part(
    "_keyframes",
    "_coarse",  # pictures that are only kept ready
    _listed=COUNT,
    _firsts=Row(PROBE, deque_of(PROBES)),
    _others=Row(PROBE, deque_of(PROBES)),
    _proposals=Row(PROOF),
    _fresh=COUNT,
    _newest_island=COUNT,
    comparisons=COUNT,
)

KEYFRAME_WHOLE: Final = ("number", "frame", "pose.island", "leads")
KEYFRAME_REAL: Final = ("pose.row_px", "pose.col_px", "factor", "pixel_um")
"""Their pictures are the journal's."""

PLACED: Final[dict[str, Codec]] = {"grey": GREY, "pose": PLACE, "number": COUNT, "sharp": Flag(), "pixel_um": NUMBER}
"""The picture is made again from its greys; ``pixel_um`` is the picture's."""


def _pack_rows(keyframes: Iterable[Keyframe], room: Room, path: str) -> None:
    kept = list(keyframes)
    room.arrays[f"{path}.whole"] = rows_of(map(attrgetter(*KEYFRAME_WHOLE), kept), 4, np.int64)
    room.arrays[f"{path}.real"] = rows_of(map(attrgetter(*KEYFRAME_REAL), kept), 4, np.float64)


def _rows(room: Room, path: str) -> Iterator[Keyframe]:
    whole, real = read_rows(room, f"{path}.whole", 4, np.int64), read_rows(room, f"{path}.real", 4, np.float64)
    if len(whole) != len(real) or (whole < 0).any() or (real[:, 2:] <= 0).any():
        raise UnfitError(f"{path} cannot be keyframes")
    for (number, frame, island, leads), (row, col, factor, pixel_um) in zip(whole.tolist(), real.tolist(), strict=True):
        grey = room.keyframes.get(number)
        if grey is None:
            raise UnfitError(f"{path}: keyframe {number} is not in the journal")
        yield Keyframe(number, frame, Pose(island, row, col), grey, factor, pixel_um, bool(leads))


def _pack_keyframes(keyframes: Keyframes, room: Room, path: str) -> dict[str, Any]:
    _pack_rows(keyframes, room, path)
    return {"added": keyframes.added}


def _fill_keyframes(keyframes: Keyframes, said: Any, room: Room, path: str) -> None:
    require_names(said, dict.fromkeys(("added",)), path)
    for keyframe in _rows(room, path):
        if keyframe.number < keyframes.added:
            raise UnfitError(f"{path}: keyframe {keyframe.number} comes after its time")
        keyframes.recall(keyframe)
    most = max(room.keyframes, default=-1) + 1
    keyframes.added = Whole(keyframes.added, most).unpack(said["added"], room, f"{path}.added")


REGISTRATION: Final = Part(
    "_keyframe",
    "_last",
    "_clear",
    keyframes=OwnWay(_pack_keyframes, _fill_keyframes),
    _relocation=RELOCATION,
    _objective=OBJECTIVE,
    _islands=COUNT,
    _frames=COUNT,
    _factor=NUMBER,
    _moved=Fixed((NUMBER, NUMBER)),
)
"""Keyframe, last frame and last sharp frame hang together, and are written beside it."""


def _pack_registration(registration: Registration, room: Room, path: str) -> dict[str, Any]:
    keyframe, last, clear = registration._keyframe, registration._last, registration._clear
    _pack_rows([keyframe[0]] if keyframe else [], room, f"{path}.keyframe")
    return {
        "part": REGISTRATION.pack(registration, room, path),
        "last": last and _pack_placed(last, room, f"{path}.last"),
        "clear": clear and _pack_placed(clear, room, f"{path}.clear"),
        "last_is_keyframe": keyframe is not None and last is not None and keyframe[1] is last.picture,
    }


def _fill_registration(registration: Registration, said: Any, room: Room, path: str) -> None:
    require_names(said, dict.fromkeys(("part", "last", "clear", "last_is_keyframe")), path)
    REGISTRATION.fill(registration, said["part"], room, path)
    if registration._relocation._listed > registration.keyframes.added:
        raise UnfitError(f"{path}: keyframes are listed that are not there")
    last = None if said["last"] is None else _placed(said["last"], room, f"{path}.last")
    registration._last = last
    registration._clear = None if said["clear"] is None else _placed(said["clear"], room, f"{path}.clear")
    for keyframe in _rows(room, f"{path}.keyframe"):
        kept = registration.keyframes.get(keyframe.number) or keyframe  # it may have gone to make room
        same = last is not None and said["last_is_keyframe"] is True
        registration._keyframe = (kept, last.picture if last and same else kept.picture())


def _pack_placed(placed: Placed, room: Room, path: str) -> dict[str, Any]:
    values = {"pixel_um": placed.picture.pixel_um}
    return {
        name: codec.pack(values.get(name, getattr(placed, name, None)), room, f"{path}.{name}")
        for name, codec in PLACED.items()
    }


def _placed(said: Any, room: Room, path: str) -> Placed:
    require_names(said, PLACED, path)
    values = {name: codec.unpack(said[name], room, f"{path}.{name}") for name, codec in PLACED.items()}
    pixel_um = values.pop("pixel_um")
    if not values["grey"].size or pixel_um <= 0:
        raise UnfitError(f"{path} is no picture")
    return Placed(picture=ShiftPicture.of(values["grey"], pixel_um), **values)


def _pack_tally(keeper: TallyKeeper, room: Room, path: str) -> dict[str, Any]:
    places = {column: number for number, column in enumerate(COLUMNS)}
    cells = [(cell, places[column]) for cell, column in keeper._standing.items()]
    room.arrays[f"{path}.standing"] = np.array(cells, np.int64).reshape(-1, 2)
    return {"rejected": dict(keeper._rejected), "frames": keeper._frames, "dropped": keeper.dropped}


def _fill_tally(keeper: TallyKeeper, said: Any, room: Room, path: str) -> None:
    require_names(said, dict.fromkeys(("rejected", "frames", "dropped")), path)
    standing = Array(np.int64, (None, 2)).unpack(True, room, f"{path}.standing")
    if not ((standing[:, 1] >= 0) & (standing[:, 1] < len(COLUMNS))).all() or not isinstance(said["rejected"], dict):
        raise UnfitError(f"{path}: columns of the tally")
    keeper._standing = {int(cell): COLUMNS[column] for cell, column in standing}
    keeper._cells = Counts(keeper._standing.values())
    for reason, frames in said["rejected"].items():
        keeper._rejected[Word().unpack(reason, room, path)] = COUNT.unpack(frames, room, f"{path}.{reason:.40}")
    keeper._frames = COUNT.unpack(said["frames"], room, f"{path}.frames")
    keeper.dropped = COUNT.unpack(said["dropped"], room, f"{path}.dropped")


def _pack_counter(counter: Counter, room: Room, path: str) -> dict[str, Any]:
    numbers, suspected = [int(number) for number in counter._open], list(map(list, counter._suspected.items()))
    return {"open": numbers, "suspected": suspected, "looks": counter._in_a_row}


def _fill_counter(counter: Counter, said: Any, room: Room, path: str) -> None:
    require_names(said, dict.fromkeys(("open", "suspected", "looks")), path)
    cells = {cell.number: cell for cell in counter._ledger.cells() if cell.settled is None}
    numbers = Row(COUNT).unpack(said["open"], room, f"{path}.open")
    if not set(numbers) <= set(cells):
        raise UnfitError(f"{path}: cells are open that are not in the ledger, or counted")
    classes = (len(counter._manifest.classes),)
    if any(view.said is not None and view.said.shape != classes for cell in cells.values() for view in cell.best):
        raise UnfitError(f"{path}: P-net knows other classes")
    counter._open = {number: cells[number] for number in numbers}
    counter._in_a_row = COUNT.unpack(said["looks"], room, f"{path}.looks")
    counter._suspected = dict(Row(Fixed((COUNT, COUNT))).unpack(said["suspected"], room, f"{path}.suspected"))


BORDER: Final = Part(
    "_columns",
    "_usual",
    "_coarse",
    "_strange",
    _crops=Array(np.int64, (None,), writable=True),
    _beyond=Array(np.int64, (None, None), writable=True),
    _fields=COUNT,
    _badly_lit=COUNT,
    _noted=Row(Word(get_args(ProvisionalReason)), set),
)

SHAPE: Final = Maybe(Fixed((Whole(1, 100_000), Whole(1, 100_000))))

PLACING: Final = Part(
    "_um",
    "_still",
    _frame_quality=QUALITY,
    _pan_speed=SPEED,
    registration=OwnWay(_pack_registration, _fill_registration),
    light=LIGHT,
)

ANALYSER: Final = Part(
    "pixel_size_um",
    "classifier",
    "manifest",
    "clock",
    "_still",
    "slide_map",  # the journal says which ground was seen
    "_views",  # those that wait are cut before
    "_untold",  # told with each frame, as are those that follow
    "_made",
    "_passed",  # a picture of the camera's; the frames that come next take its place
    frame_shape=SHAPE,
    placing=PLACING,
    seeing=SEEING,
    stain=STAIN,
    _lookout=LOOKOUT,
    _known=Fixed((STAIN_STATE, Flag())),
    _dust=DUST,
    tally_keeper=OwnWay(
        _pack_tally, _fill_tally, ("_standing", "_rejected", "_frames", "dropped", "_cells", "_counted")
    ),
    ledger=OwnWay(pack_cells, fill_cells, ("_islands", "next_number", "_um", "_shape", "_bucket_px", "_last_around")),
    counter=OwnWay(
        _pack_counter,
        _fill_counter,
        ("_open", "_suspected", "_in_a_row", "pictures", "_ledger", "_classifier", "_manifest", "_um", "_light"),
    ),
    border=BORDER,
    islands=Row(COUNT, set),
)


def pack_analyser(analyser: Analyser, room: Room) -> dict[str, Any]:
    """Write what an analyser has learned: JSON, and arrays in the room."""
    analyser.cut_views()
    return ANALYSER.pack(analyser, room, "analyser")


def fill_analyser(fresh: Analyser, said: Any, room: Room) -> None:
    """Give an analyser that has seen nothing what another had learned.

    Raises
    ------
    UnfitError
        This cannot be what an analyser of this software had learned.
    """
    shape = SHAPE.unpack(said.get("frame_shape") if isinstance(said, dict) else None, room, "analyser.frame_shape")
    if shape is not None:
        fresh.set_frame_shape(shape)
    ANALYSER.fill(fresh, said, room, "analyser")
