"""Looks into an ONNX model before any runtime opens it, without the package onnx, which no device has.

Reads the wire format of protocol buffers, as far as it takes to find what no bundle may hold: weights that lie in other
files (what was proved would not be what is used), and control flow (a loop need not end).

References
----------
.. [1] Protocol Buffers, "Encoding": https://protobuf.dev/programming-guides/encoding/
.. [2] ONNX, ``onnx.proto``: numbers of the fields below.
"""

from collections.abc import Iterator
from typing import Final

_GRAPH, _FUNCTIONS = 7, 25
"""Of a model."""
_NODE, _INITIALIZER, _SPARSE_INITIALIZER = 1, 5, 15
"""Of a graph."""
_FUNCTION_NODE: Final = 7
_ATTRIBUTE: Final = 5
"""Of a node."""
_TENSOR, _SUBGRAPH, _TENSORS, _SUBGRAPHS, _SPARSE, _SPARSES = 5, 6, 10, 11, 22, 23
"""Of an attribute."""
_VALUES, _INDICES = 1, 2
"""Of a sparse tensor."""
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
"""Of a tensor."""

MAX_FIELDS: Final = 2_000_000
"""That are looked at: a model of ours has some thousands."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def fault_of(model: bytes) -> str:
    """Say what of a model no bundle may hold; empty where there is nothing.

    Raises
    ------
    ValueError
        It is no ONNX model.
    """
    walk = _Walk()
    parts = list(walk.messages(memoryview(model), _GRAPH, _FUNCTIONS))
    graphs = [part for number, part in parts if number == _GRAPH]
    if len(graphs) != 1:
        raise ValueError(f"it holds {len(graphs)} graphs")
    nodes = [(_NODE, node) for number, one in parts if number == _FUNCTIONS
             for _, node in walk.messages(one, _FUNCTION_NODE)]  # fmt: skip
    look = {_NODE: _fault_of_node, _INITIALIZER: _fault_of_tensor, _SPARSE_INITIALIZER: _fault_of_sparse}
    found = (look[number](walk, part) for number, part in (*nodes, *walk.messages(graphs[0], *look)))
    return next((fault for fault in found if fault), "")


def _fault_of_node(walk: "_Walk", node: memoryview) -> str:
    look = dict.fromkeys((_TENSOR, _TENSORS), _fault_of_tensor) | dict.fromkeys((_SPARSE, _SPARSES), _fault_of_sparse)
    for _, attribute in walk.messages(node, _ATTRIBUTE):
        for number, part in walk.messages(attribute, *look, _SUBGRAPH, _SUBGRAPHS):
            if number in (_SUBGRAPH, _SUBGRAPHS):
                return "control flow (a loop or a branch)"
            if fault := look[number](walk, part):
                return fault
    return ""


def _fault_of_sparse(walk: "_Walk", sparse: memoryview) -> str:
    faults = (_fault_of_tensor(walk, part) for _, part in walk.messages(sparse, _VALUES, _INDICES))
    return next((fault for fault in faults if fault), "")


def _fault_of_tensor(walk: "_Walk", tensor: memoryview) -> str:
    outside = any(
        number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0) for number, value in walk.fields(tensor)
    )
    return "weights in other files" if outside else ""


class _Walk:
    """Reads messages field by field, and counts what it reads."""

    def __init__(self) -> None:
        self._left = MAX_FIELDS

    def messages(self, message: memoryview, *numbers: int) -> Iterator[tuple[int, memoryview]]:
        """The parts of a message under some numbers."""
        for number, part in self.fields(message):
            if number in numbers:
                if isinstance(part, int):
                    raise ValueError(f"its field {number} is a number")
                yield number, part

    def fields(self, message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
        """Number of each field, and its bytes; or its value where it is a whole number."""
        place, size = 0, len(message)
        while place < size:
            self._left -= 1
            if self._left < 0:
                raise ValueError(f"it has more than {MAX_FIELDS} fields")
            key, place = _varint(message, place)
            kind = key & 7
            if kind == _VARINT:
                value, place = _varint(message, place)
                yield key >> 3, value
                continue
            if kind == _BYTES:
                length, place = _varint(message, place)
            elif kind in (_FIXED64, _FIXED32):
                length = 8 if kind == _FIXED64 else 4
            else:
                raise ValueError(f"it has a field of kind {kind}")
            if length > size - place:
                raise ValueError("it is cut short")
            yield key >> 3, message[place : place + length]
            place += length


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:
        if place >= len(message):
            raise ValueError("it is cut short")
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
        shift += 7
    raise ValueError("it has a number of more than 70 bits")
