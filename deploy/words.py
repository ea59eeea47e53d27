"""Takes what fnrbc says into the catalogues of all languages: device/fnrbc_device/languages.

.venv/bin/python deploy/words.py        # after a sentence was changed; then translate what is new
.venv/bin/python deploy/words.py fr     # begins another language

Sentences are found where they are said (``_``, ``ngettext`` and ``N_`` in Python, templates and scripts). One that is
not said any more is dropped; no translation is guessed for one that is new. A language's file is its only source.
"""

import sys
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

ROOT: Final = Path(__file__).resolve().parents[1]
DEVICE: Final = ROOT / "device" / "fnrbc_device"
FOLDER: Final = DEVICE / "languages"

METHODS: Final = [
    ("**/templates/**.html", "jinja2"),
    ("**/static/**.js", "javascript"),
    ("**.py", "python"),
]
OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "**/templates/**.html": {
        "newstyle_gettext": "true",
        "trimmed": "true",
        "trim_blocks": "true",
        "lstrip_blocks": "true",
        "silent": "false",
        "encoding": "utf-8",
    },
    "**/static/**.js": {"parse_template_string": True, "encoding": "utf-8"},
    "**.py": {"encoding": "utf-8"},
}
KEYWORDS: Final = {"_": None, "N_": None, "english": None, "gettext": None, "ngettext": (1, 2), "plural": (1, 2)}

HEAD: Final = """msgid ""
msgstr ""
"Language: {language}\\n"
"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=utf-8\\n"
"Content-Transfer-Encoding: 8bit\\n"
"Plural-Forms: {plurals}\\n"

"""


def said() -> Catalog:
    """All that is said, where it is said, and what translators are told about it."""
    found = Catalog(project="fnrbc", charset="utf-8", fuzzy=False)
    for file, _line, message, comments, context in extract_from_dir(
        DEVICE, METHODS, OPTIONS, keywords=KEYWORDS, comment_tags=("NOTE:",), strip_comment_tags=True
    ):
        found.add(message, locations=[(file, 0)], auto_comments=comments, context=context)
    return found


def taken_over(language: str, found: Catalog) -> Catalog:
    """The catalogue of a language with what is said now, in the order in which it is said."""
    path = FOLDER / f"{language}.po"
    before = Catalog(locale=language, fuzzy=False)
    if path.exists():
        with path.open("rb") as file:
            before = read_po(file, locale=language)
    after = Catalog(locale=language, project="fnrbc", charset="utf-8", fuzzy=False, header_comment="")
    for message in found:
        if not message.id:
            continue
        known = before.get(message.id)
        after.add(
            message.id,
            known.string if known else None,
            locations=sorted(set(message.locations)),
            flags=message.flags,
            auto_comments=message.auto_comments,
            user_comments=known.user_comments if known else (),
        )
    return after


def written(catalogue: Catalog) -> bytes:
    """As it lies in the folder: without dates and line numbers, so that a change shows what was changed."""
    file = BytesIO()
    write_po(file, catalogue, width=120, include_lineno=False, omit_header=True)
    return HEAD.format(language=catalogue.locale, plurals=catalogue.plural_forms).encode() + file.getvalue()


def main() -> None:
    """Bring all catalogues up to date; a language that is named is begun."""
    found = said()
    for language in sorted({path.stem for path in FOLDER.glob("*.po")} | set(sys.argv[1:])):
        catalogue = taken_over(language, found)
        (FOLDER / f"{language}.po").write_bytes(written(catalogue))
        lacking = sum(not message.string or not all(message.string) for message in catalogue if message.id)
        print(f"{language}: {len(catalogue)} messages, {lacking} of them not translated yet")


if __name__ == "__main__":
    main()
