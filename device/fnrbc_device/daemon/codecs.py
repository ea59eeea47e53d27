"""How values stand in a snapshot: numbers and words as JSON, pictures and long rows as arrays, nothing as code.

Each codec writes a value and reads it again, and refuses on reading what cannot be such a value. No name of a class or
module is written: what a row becomes is for this software to say.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

MOST: Final = 2**40
"""Largest whole number of a snapshot: what counts frames or cells stays far below it."""

MAX_WORD: Final = 400
MAX_ROW: Final = 100_000


class UnfitError(ValueError):
    """A snapshot says what cannot be."""


@dataclass(slots=True)
class Room:
    """What of a snapshot is not JSON."""

    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    """By the path of the value that they are."""
    keyframes: Mapping[int, NDArray[np.uint8]] = field(default_factory=dict)
    """Pictures that the journal keeps, by the number of the keyframe; only read."""


class Codec(Protocol):
    """Writes a value, and makes it again."""

    def pack(self, value: Any, room: Room, path: str) -> Any:
        """Give what of the value is JSON; put the rest into the room under its path."""

    def unpack(self, said: Any, room: Room, path: str) -> Any:
        """Make the value again.

        Raises
        ------
        UnfitError
            It is no such value.
        """


@dataclass(frozen=True, slots=True)
class Number:
    """A finite number."""

    def pack(self, value: Any, _room: Room, _path: str) -> float:
        """As Python's float, which JSON keeps to the last bit."""
        return float(value)

    def unpack(self, said: Any, _room: Room, path: str) -> float:
        """Refuse what is none."""
        if isinstance(said, bool) or not isinstance(said, (int, float)) or not math.isfinite(said):
            raise UnfitError(f"{path} is {said!r:.40}, not a number")
        return float(said)


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number within bounds."""

    least: int = 0
    most: int = MOST

    def pack(self, value: Any, _room: Room, _path: str) -> int:
        """As Python's int."""
        return int(value)

    def unpack(self, said: Any, _room: Room, path: str) -> int:
        """Refuse what is none."""
        if isinstance(said, bool) or not isinstance(said, int) or not self.least <= said <= self.most:
            raise UnfitError(f"{path} is {said!r:.40}, not {self.least}..{self.most}")
        return said


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""

    def pack(self, value: Any, _room: Room, _path: str) -> bool:
        """As Python's bool."""
        return bool(value)

    def unpack(self, said: Any, _room: Room, path: str) -> bool:
        """Refuse what is none."""
        if not isinstance(said, bool):
            raise UnfitError(f"{path} is {said!r:.40}, not true or false")
        return said


@dataclass(frozen=True, slots=True)
class Word:
    """A short text, one of a closed list where there is one."""

    choices: tuple[str, ...] = ()

    def pack(self, value: Any, _room: Room, _path: str) -> str:
        """As it is."""
        return str(value)

    def unpack(self, said: Any, _room: Room, path: str) -> str:
        """Refuse what is none."""
        if not isinstance(said, str) or len(said) > MAX_WORD or (self.choices and said not in self.choices):
            raise UnfitError(f"{path} is {said!r:.40}, no such word")
        return said


@dataclass(frozen=True, slots=True)
class Maybe:
    """A value, or None."""

    codec: Codec

    def pack(self, value: Any, room: Room, path: str) -> Any:
        """None as null."""
        return None if value is None else self.codec.pack(value, room, path)

    def unpack(self, said: Any, room: Room, path: str) -> Any:
        """As it was written."""
        return None if said is None else self.codec.unpack(said, room, path)


@dataclass(frozen=True, slots=True)
class Row:
    """Values of one kind, in their order."""

    codec: Codec
    of: Callable[[Iterable[Any]], Any] = list
    """Makes what they stand in."""

    def pack(self, values: Any, room: Room, path: str) -> list[Any]:
        """As a list."""
        return [self.codec.pack(value, room, f"{path}.{index}") for index, value in enumerate(values)]

    def unpack(self, said: Any, room: Room, path: str) -> Any:
        """Refuse what is no list, or too long."""
        if not isinstance(said, list) or len(said) > MAX_ROW:
            raise UnfitError(f"{path} is no row of values")
        return self.of([self.codec.unpack(one, room, f"{path}.{index}") for index, one in enumerate(said)])


@dataclass(frozen=True, slots=True)
class Fixed:
    """A tuple of so many values."""

    codecs: tuple[Codec, ...]

    def pack(self, values: Any, room: Room, path: str) -> list[Any]:
        """As a list."""
        pairs = zip(self.codecs, values, strict=True)
        return [codec.pack(value, room, f"{path}.{index}") for index, (codec, value) in enumerate(pairs)]

    def unpack(self, said: Any, room: Room, path: str) -> tuple[Any, ...]:
        """Refuse another number of values."""
        if not isinstance(said, list) or len(said) != len(self.codecs):
            raise UnfitError(f"{path} is not {len(self.codecs)} values")
        pairs = zip(self.codecs, said, strict=True)
        return tuple(codec.unpack(one, room, f"{path}.{index}") for index, (codec, one) in enumerate(pairs))


@dataclass(frozen=True, slots=True)
class Array:
    """Numbers of one type."""

    dtype: DTypeLike
    shape: tuple[int | None, ...]
    """None for a side of any length."""
    writable: bool = False
    """Whether it is changed where it lies."""

    def pack(self, value: Any, room: Room, path: str) -> bool:
        """Into the room."""
        room.arrays[path] = np.asarray(value, self.dtype)
        return True

    def unpack(self, _said: Any, room: Room, path: str) -> NDArray[Any]:
        """Refuse one that is missing, or of another type or shape."""
        array = room.arrays.get(path)
        if array is None or array.dtype != self.dtype or not self._fits(array.shape):
            raise UnfitError(f"{path} is not an array of {np.dtype(self.dtype)} {self.shape}")
        return array.copy() if self.writable else array

    def _fits(self, shape: tuple[int, ...]) -> bool:
        return len(shape) == len(self.shape) and all(
            wanted in (None, side) for wanted, side in zip(self.shape, shape, strict=True)
        )


class Record:
    """A record that is made whole: all its values by name, none missing and none unknown.

    Parameters
    ----------
    make
        Its class.
    codecs
        Of each value, by its name.
    """

    def __init__(self, make: Callable[..., Any], **codecs: Codec) -> None:
        self.make = make
        self.codecs = codecs

    def pack(self, value: Any, room: Room, path: str) -> dict[str, Any]:
        """By name."""
        return {name: codec.pack(getattr(value, name), room, f"{path}.{name}") for name, codec in self.codecs.items()}

    def unpack(self, said: Any, room: Room, path: str) -> Any:
        """Make it."""
        require_names(said, self.codecs, path)
        return self.make(
            **{name: codec.unpack(said[name], room, f"{path}.{name}") for name, codec in self.codecs.items()}
        )


class Part:
    """An object that exists already and is given its values back.

    Parameters
    ----------
    made_again
        Attributes that are left out: they follow from the others, or from what the session rests on.
    parts
        By the name of the attribute: its codec, or its own part.
    """

    def __init__(self, *made_again: str, **parts: "Codec | Part | OwnWay") -> None:
        self.made_again = made_again
        self.parts = parts

    def pack(self, thing: Any, room: Room, path: str) -> dict[str, Any]:
        """By name, without the underscore of what is private."""
        return {
            _name(attribute): codec.pack(getattr(thing, attribute), room, f"{path}.{_name(attribute)}")
            for attribute, codec in self.parts.items()
        }

    def fill(self, thing: Any, said: Any, room: Room, path: str) -> None:
        """Give the object its values.

        Raises
        ------
        UnfitError
            One is missing, unknown, or no such value.
        """
        require_names(said, {_name(attribute): None for attribute in self.parts}, path)
        for attribute, codec in self.parts.items():
            name = _name(attribute)
            if isinstance(codec, (Part, OwnWay)):
                codec.fill(getattr(thing, attribute), said[name], room, f"{path}.{name}")
            else:
                setattr(thing, attribute, codec.unpack(said[name], room, f"{path}.{name}"))


@dataclass(frozen=True, slots=True)
class OwnWay:
    """An object that exists already, written and filled by functions of its own."""

    pack: Callable[[Any, Room, str], Any]
    fill: Callable[[Any, Any, Room, str], None]
    attributes: tuple[str, ...] = ()
    """Of the object: those that these functions see to, and those that are made again."""


def require_names(said: Any, names: Mapping[str, Any], path: str) -> None:
    """Refuse what has not exactly these names.

    Raises
    ------
    UnfitError
        It has others.
    """
    if not isinstance(said, dict) or set(said) != set(names):
        found = sorted(said) if isinstance(said, dict) else type(said).__name__
        raise UnfitError(f"{path} holds {found!r:.200}, not {sorted(names)}")


def _name(attribute: str) -> str:
    return attribute.lstrip("_")
