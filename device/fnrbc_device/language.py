"""The language in which people are spoken to: English in the code, others from one file each in ``languages``.

Each thread and each web request has a language of its own, English unless ``speaking`` says otherwise; files for
programs, messages and the log stay English. A message is written in English where it is said, as ``_("...")``, with
``%(name)s`` for what is laid in and ``%%`` for a percent sign. The files are gettext catalogues (``.po``), read as they
are: nothing is compiled, and another language is another file.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timezone
from functools import cache
from gettext import GNUTranslations, NullTranslations
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from babel.messages.catalog import Catalog

ENGLISH: Final = "en"

FOLDER: Final = Path(__file__).with_name("languages")

MOST_READ: Final = 1000
"""Letters of an ``Accept-Language`` header that are looked at; browsers send less than a hundred."""

_SPOKEN: Final[ContextVar[str]] = ContextVar("language", default=ENGLISH)
_log = logging.getLogger(__name__)
_Key = TypeVar("_Key")


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Speak a language of ``languages()`` in what follows, in this thread or request alone."""
    before = _SPOKEN.set(language)
    try:
        yield
    finally:
        _SPOKEN.reset(before)


def spoken() -> str:
    """The code of the language that is spoken now, as HTML writes it, e.g. ``de``."""
    return _SPOKEN.get()


def languages() -> Mapping[str, str]:
    """All languages that there are: their code, and their name in themselves."""
    return {ENGLISH: "English"} | {path.stem: _own_name(path.stem) for path in sorted(FOLDER.glob("*.po"))}


def _(message: str, **values: object) -> str:
    """Say a message in the language that is spoken; one that its file lacks is said in English."""
    return gettext(message) % values


def gettext(message: str) -> str:
    """As ``_``, before anything is laid in."""
    return message and _catalogue(spoken()).gettext(message)  # the empty one is a catalogue's head


def ngettext(one: str, several: str, count: int, **values: object) -> str:
    """Say a message in the form that its language has for a number, which stands in it as ``%(count)s``."""
    return plural(one, several, count) % {"count": number(count), **values}


def plural(one: str, several: str, count: int) -> str:
    """As ``ngettext``, before anything is laid in."""
    return _catalogue(spoken()).ngettext(one, several, count)


def N_(message: str) -> str:
    """Mark a message that is said later."""
    return message


class English(str):
    """A sentence in English that can be said again in a reader's language.

    Where the record is written English is spoken, and so are errors; their reader is told of them afterwards.
    """

    message: str
    values: Mapping[str, object]


def english(message: str, **values: object) -> English:
    """Say a message in English, whatever language is spoken; ``resay`` says it to a reader."""
    made = English(message % values)
    made.message, made.values = message, values
    return made


def joined(sentences: Iterable[str]) -> str:
    """Write sentences in a row; those that can be said again stay so."""
    found = list(sentences)
    row = "; ".join(f"%({place})s" for place in range(len(found)))
    return english(row, **{str(place): one for place, one in enumerate(found)})


def resay(said: str | Exception) -> str:
    """Say in the language that is spoken what was said in English: a sentence, or an error's."""
    words = said.args[0] if isinstance(said, Exception) and said.args else said
    if not isinstance(words, English):
        return gettext(str(words))
    values = {name: resay(one) if isinstance(one, English) else one for name, one in words.values.items()}
    return _(words.message, **values)


class Said(Mapping[_Key, str]):
    """Messages by a key, marked with ``N_``; whoever reads one gets it in the language that is spoken then."""

    def __init__(self, messages: Mapping[_Key, str]) -> None:
        self._messages = messages

    def __getitem__(self, key: _Key) -> str:
        return _(self._messages[key])

    def __iter__(self) -> Iterator[_Key]:
        return iter(self._messages)

    def __len__(self) -> int:
        return len(self._messages)


def number(count: int) -> str:
    """Write a count with thin spaces between thousands, as ISO 80000-1 does in every language, e.g. ``12 345``."""
    return f"{count:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def decimal(value: float, places: int = 1) -> str:
    """Write a figure with the decimal sign of the language, e.g. ``2.1`` or ``2,1``."""
    return as_decimal(f"{value:.{places}f}")


def as_decimal(text: str) -> str:
    """Put the decimal sign of the language in a figure that is written already."""
    return text.replace(".", decimal_sign())


def decimal_sign() -> str:
    """``.`` or ``,``."""
    return _decimal_sign(spoken())


def local(moment: str | datetime, seconds: bool = False) -> str:
    """Write a moment by this machine's clock on the wall, with how far that is from UTC.

    Parameters
    ----------
    moment
        As files have it, in UTC and ISO 8601; what is no moment is given back as it is.
    seconds
        Whether to write them.
    """
    try:
        told = datetime.fromisoformat(moment.replace("Z", "+00:00")) if isinstance(moment, str) else moment
    except ValueError:
        return str(moment)
    at = (told if told.tzinfo else told.replace(tzinfo=timezone.utc)).astimezone()
    # A pattern for a date, as the language writes it: %Y year, %m month, %d day.
    day = at.strftime(gettext("%Y-%m-%d"))
    return f"{day} {at:%H:%M:%S} {_zone(at)}" if seconds else f"{day} {at:%H:%M} {_zone(at)}"


def preferred(header: str) -> str | None:
    """Choose among ``languages()`` by what a browser prefers (RFC 9110, 12.5.4); None where it names none of them."""
    wanted: list[tuple[float, int, str]] = []
    for part in header[:MOST_READ].split(","):
        tag, _sep, weight = part.partition(";q=")
        with_weight = _weight(weight)
        if with_weight > 0:
            wanted.append((-with_weight, len(wanted), tag.strip().lower()))
    there = {code.lower(): code for code in languages()}
    for _minus, _order, tag in sorted(wanted):
        found = there.get(tag) or there.get(tag.partition("-")[0])
        if found:
            return found
    return None


def script_words(language: str) -> Mapping[str, str | list[str]]:
    """The messages of the page's scripts, by their English: one text, or one for each form of the number."""
    return _script_words(language)


def _zone(at: datetime) -> str:
    minutes = round((at.utcoffset() or at - at).total_seconds() / 60)
    if not minutes:
        return "UTC"
    sign = "+" if minutes > 0 else "\N{MINUS SIGN}"
    hours, rest = divmod(abs(minutes), 60)
    return f"UTC{sign}{hours}:{rest:02}" if rest else f"UTC{sign}{hours}"


def _weight(text: str) -> float:
    try:
        return float(text) if text else 1.0
    except ValueError:
        return 0.0


@cache
def _catalogue(language: str) -> NullTranslations:
    if language == ENGLISH:
        return NullTranslations()
    from babel.messages.mofile import write_mo

    compiled = BytesIO()
    write_mo(compiled, _read(language))
    compiled.seek(0)
    return GNUTranslations(compiled)


@cache
def _script_words(language: str) -> Mapping[str, str | list[str]]:
    if language == ENGLISH:
        return {}
    words: dict[str, str | list[str]] = {}
    for message in _read(language):
        if any(place.endswith(".js") for place, _line in message.locations) and message.string and not message.fuzzy:
            name = message.id if isinstance(message.id, str) else message.id[0]
            words[name] = message.string if isinstance(message.string, str) else list(message.string)
    return words


@cache
def _read(language: str) -> "Catalog":
    """A language's file; a damaged one is said in the log, and English is spoken in its place."""
    from babel.messages.catalog import Catalog
    from babel.messages.pofile import PoFileError, read_po

    path = FOLDER / f"{language}.po"
    try:
        with path.open("rb") as file:
            return read_po(file, locale=language, abort_invalid=True)
    except (OSError, ValueError, PoFileError) as error:
        _log.error("the words of %s cannot be read and English stands for them: %s", path, error)
        return Catalog()


@cache
def _own_name(language: str) -> str:
    from babel import Locale

    return Locale.parse(language, sep="-").get_display_name() or language


@cache
def _decimal_sign(language: str) -> str:
    if language == ENGLISH:
        return "."
    from babel.numbers import get_decimal_symbol

    return get_decimal_symbol(language.replace("-", "_"))
