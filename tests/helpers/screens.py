"""What a page must not show on any screen: what is cut, and sentences of another language than the reader's."""

import re
from collections.abc import Iterator
from functools import cache
from html import unescape
from pathlib import Path
from typing import Final

from babel.messages.pofile import read_po

import fnrbc_device

CUT = """(() => {
    const unseen = node => getComputedStyle(node).clipPath !== 'none' || node.closest('.spoken, .unseen, svg');
    const scrolls = node => node.closest('.wide-table, .wide, .others');
    const cut = node => {
        const box = node.getBoundingClientRect();
        const hides = getComputedStyle(node).overflowX !== 'visible' && !['INPUT', 'SELECT'].includes(node.tagName);
        return box.width && (box.right > innerWidth + 1 || box.left < -1
            || hides && node.scrollWidth > node.clientWidth + 1);
    };
    return [...document.querySelectorAll('body *')]
        .filter(node => node.checkVisibility() && !unseen(node) && !scrolls(node) && cut(node))
        .map(node => `${node.tagName} ${node.id || node.className}: ${node.textContent.trim().slice(0, 60)}`);
})()"""
"""What sticks out of the screen or of its own box."""

TEXTS: Final = """(() => {
    const found = [];
    for (const node of document.querySelectorAll('body *')) {
        if (node.closest('script, style, noscript, code, kbd')) continue;
        for (const name of ['aria-label', 'placeholder', 'title', 'alt']) found.push(node.getAttribute(name) ?? '');
        for (const child of node.childNodes) if (child.nodeType === 3) found.push(child.textContent);
    }
    return [...new Set([document.title, ...found].map(one => one.replace(/\\s+/g, ' ').trim()).filter(Boolean))];
})()"""
"""All that a page says, also what is folded away or only spoken."""

def texts_of(page: str) -> list[str]:
    """The same of a page's HTML, without a browser: its text nodes, outside of what is code."""
    bare = re.sub(r"<(style|script|code)\b.*?</\1>|<!--.*?-->", "<b>", page, flags=re.DOTALL)
    found = [unescape(" ".join(one.split())) for one in re.split(r"<[^>]*>", bare)]
    return [one for one in dict.fromkeys(found) if one]


ENGLISH: Final = re.compile(r"\b(the|is|are|of|and|with|this|has|been|from|that|which|by)\b", re.IGNORECASE)
"""Words that German has not, and Chinese even less."""


@cache
def english(language: str) -> dict[str, str]:
    """What fnrbc says, and how the language says it, where that is another text."""
    path = Path(fnrbc_device.__file__).with_name("languages") / f"{language}.po"
    with path.open("rb") as file:
        said = [one for one in read_po(file) if isinstance(one.id, str) and one.id and one.string != one.id]
    return {one.id: str(one.string) for one in said}


def left_in_english(texts: list[str], language: str, names: tuple[str, ...] = ()) -> Iterator[str]:
    """Sentences that a reader of another language is told in English.

    Parameters
    ----------
    texts
        Of a page.
    language
        The reader's.
    names
        What people, files and machines are called: it is said as it is in every language.
    """
    for text in texts:
        bare = re.sub("|".join(map(re.escape, names)), "", text)
        if text in english(language) or ENGLISH.search(bare):
            yield text
