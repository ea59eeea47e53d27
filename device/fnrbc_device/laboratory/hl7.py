"""A result as HL7 v2.5, ORU^R01: the message that most laboratory systems read."""

from typing import Final

from fnrbc_device.host.clock import moment_of
from fnrbc_device.laboratory.letter import Letter, Measure
from fnrbc_device.laboratory.settings import Code

SEPARATORS: Final = {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\"}
"""What separates fields, components, subcomponents and repetitions, and how it is written within a text."""

STATUS: Final = {"final": ("F", "F"), "amended": ("C", "C"), "withdrawn": ("X", "D")}
"""Of the order (table 0123) and of each observation (table 0085): final, corrected, withdrawn and to be deleted."""

NOT_THERE: Final = "X"
"""Of an observation without a value: it cannot be obtained."""


def message(letter: Letter) -> str:
    """Write a letter as one message: segments that end with a carriage return.

    Times carry their offset from UTC, which is none. The character set is said in MSH-18: UTF-8.

    Parameters
    ----------
    letter
        With the research-use sentence as the first of its notes, which becomes the first NTE segment.

    Returns
    -------
    str
        Text to be written in UTF-8.
    """
    measures = [letter.main, *letter.others]
    segments = [
        _head(letter),
        _order(letter),
        *(f"NTE|{number}|L|{escaped(words)}" for number, words in enumerate(letter.notes, 1)),
        *(_observation(letter, number, one) for number, one in enumerate(measures, 1)),
        *_specimen(letter),
    ]
    return "".join(f"{segment}\r" for segment in segments)


def escaped(text: str) -> str:
    """Write a text so that nothing in it separates anything; control characters by their number."""
    return "".join(SEPARATORS.get(letter) or _written(letter) for letter in text)


def _written(letter: str) -> str:
    return f"\\X{ord(letter):02X}\\" if ord(letter) < 32 or ord(letter) == 127 else letter


def _head(letter: Letter) -> str:
    settings = letter.settings
    sender = f"fnrbc|{escaped(settings.facility or letter.site)}"
    receiver = f"{escaped(settings.receiver)}|{escaped(settings.receiving_facility)}"
    kind = f"ORU^R01^ORU_R01|{letter.identity}|{settings.processing}|2.5"
    return f"MSH|^~\\&|{sender}|{receiver}|{_time(letter.record.ts)}||{kind}||||||UNICODE UTF-8"


def _order(letter: Letter) -> str:
    record = letter.record
    fields = {
        1: "1",
        3: f"{escaped(record.session)}^fnrbc",
        4: _coded(letter.settings.codes.report),
        7: _time(record.started),
        8: _time(record.finished),
        22: _time(record.ts),
        25: STATUS[letter.state][0],
        32: f"&{escaped(record.signed_by)}",
    }
    return _segment("OBR", fields)


def _observation(letter: Letter, number: int, one: Measure) -> str:
    record, status = letter.record, STATUS[letter.state][1]
    value = "" if one.value is None else escaped(str(one.value))
    fields = {
        1: str(number),
        2: "NM" if one.unit else "ST",
        3: _coded(one.code),
        5: value,
        6: f"{escaped(one.unit)}^^UCUM" if one.unit else "",
        11: NOT_THERE if one.value is None and letter.state != "withdrawn" else status,
        14: _time(record.finished),
        16: f"^{escaped(record.signed_by)}",
        18: f"{escaped(record.device)}^fnrbc",
    }
    return _segment("OBX", fields)


def _specimen(letter: Letter) -> list[str]:
    """The specimen by its id: the laboratory's own, or the device's hash in its place."""
    if not letter.specimen:
        return []
    known = escaped(letter.specimen)
    identifier = f"^{known}&fnrbc" if letter.hashed else known
    return [_segment("SPM", {1: "1", 2: identifier, 4: _coded(letter.settings.codes.specimen)})]


def _segment(name: str, fields: dict[int, str]) -> str:
    return "|".join([name, *(fields.get(number, "") for number in range(1, max(fields) + 1))])


def _coded(code: Code) -> str:
    return f"{escaped(code.code)}^{escaped(code.text)}^{escaped(code.table)}"


def _time(moment: str) -> str:
    at = moment_of(moment)
    return f"{at:%Y%m%d%H%M%S}.{at.microsecond // 1000:03d}+0000"
