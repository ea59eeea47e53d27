"""Every sentence that people read is in every language's file, whole, with the same things laid in."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.pofile import read_po

ROOT = Path(__file__).parents[1]
LANGUAGES = sorted(path.stem for path in (ROOT / "device/fnrbc_device/languages").glob("*.po"))
LAID_IN = re.compile(r"%\((\w+)\)s|(%%)")
TAGS = re.compile(r"</?[a-z]+[^>]*>")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("words", ROOT / "deploy" / "words.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules["words"] = found
    spec.loader.exec_module(found)
    return found


@pytest.fixture(scope="module")
def said(script: ModuleType) -> Catalog:
    found: Catalog = script.said()
    return found


@pytest.fixture(params=LANGUAGES)
def catalogue(request: pytest.FixtureRequest) -> Catalog:
    with (ROOT / f"device/fnrbc_device/languages/{request.param}.po").open("rb") as file:
        return read_po(file, locale=request.param, abort_invalid=True)


def forms(texts: object) -> tuple[str, ...]:
    return (texts,) if isinstance(texts, str) else tuple(texts or ())  # type: ignore[arg-type]


def parts(text: str, pattern: re.Pattern[str]) -> set[str]:
    return {found[0] for found in pattern.finditer(text)}


def messages(catalogue: Catalog) -> list[Message]:
    return [message for message in catalogue if message.id]


def test_german_and_chinese_are_there():
    assert {"de", "zh"} <= set(LANGUAGES)


def test_every_sentence_that_is_said_is_translated_and_none_that_is_not(catalogue: Catalog, said: Catalog):
    wanted = {forms(message.id)[0] for message in messages(said)}
    there = {forms(message.id)[0] for message in messages(catalogue) if all(forms(message.string)) and message.string}

    assert wanted - there == set(), "run make words, and translate what is new"
    assert there - wanted == set(), "run make words"


def test_no_translation_is_a_guess(catalogue: Catalog):
    assert [message.id for message in messages(catalogue) if message.fuzzy] == []


def test_a_translation_lays_in_the_same_and_keeps_the_tags(catalogue: Catalog):
    wrong = []
    for message in messages(catalogue):
        english = forms(message.id)[-1]
        for text in forms(message.string):
            same = parts(text, LAID_IN) == parts(english, LAID_IN)
            if not same or parts(text, TAGS) - {"</i>"} != parts(english, TAGS) - {"</i>"}:
                wrong.append((english, text))
            assert "%" not in LAID_IN.sub("", text) or english == "%Y-%m-%d", text
    assert wrong == []


def test_a_number_has_as_many_forms_as_the_language(catalogue: Catalog):
    for message in messages(catalogue):
        if message.pluralizable:
            assert len(forms(message.string)) == catalogue.num_plurals
