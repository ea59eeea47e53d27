"""The page's text and its static files: all come with the package, so that it works without a network."""

from importlib.resources import files
from string import Template
from typing import Final

from fnrbc_device import __version__
from fnrbc_device.wording import RESEARCH_USE_ONLY, UNVERIFIED

STATIC: Final = {
    "page.css": "text/css; charset=utf-8",
    "glyphs.js": "text/javascript; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
"""What may be asked for, by name: a closed list, so that no path leads elsewhere."""


def live_page() -> str:
    """HTML of the live page."""
    return Template(static_file("live.html").decode("utf-8")).substitute(
        research_use_only=RESEARCH_USE_ONLY, unverified=UNVERIFIED, version=__version__
    )


def static_file(name: str) -> bytes:
    """Content of a file that comes with the page."""
    return (files("fnrbc_device.web") / "static" / name).read_bytes()
