"""Tells whether a source is the one that was counted, without reading it: names, sizes and times of its files."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MISSING: Final = "missing"

_BESIDE: Final = {".mrxs": "{}", ".vms": "{}", ".vsi": "_{}_"}
"""Slides whose pixels lie in a folder beside the file that names them, by suffix."""

_IN_PARTS: Final = (".dcm",)
"""Slides of many files in one folder."""

_US: Final = 1000
"""Times are compared to the microsecond: not every shared disk keeps them finer."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a source's files look like from outside."""

    digest: str
    """16 hexadecimal digits, or ``missing``."""
    size: int
    """Bytes of all of them."""


def fingerprint(path: Path) -> Fingerprint:
    """Look at a source's files.

    Notes
    -----
    A file whose content was changed in place and whose time was then set back is taken for the same.
    """
    digest, size = hashlib.sha256(), 0
    try:
        for name, found in sorted(_files_of(path)):
            digest.update(f"{name}\0{found.st_size}\0{found.st_mtime_ns // _US}\0".encode(errors="surrogateescape"))
            size += found.st_size
    except OSError:
        return Fingerprint(MISSING, 0)
    return Fingerprint(digest.hexdigest()[:16], size)


def _files_of(path: Path) -> Iterator[tuple[str, os.stat_result]]:
    if path.is_dir():
        yield from _below(path)
        return
    yield path.name, path.stat()
    suffix = path.suffix.lower()
    if suffix in _BESIDE:
        yield from _below(path.with_name(_BESIDE[suffix].format(path.stem)))
    if suffix in _IN_PARTS:
        yield from ((one.name, one.stat()) for one in path.parent.glob(f"*{path.suffix}") if one != path)


def _below(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    for where, _, names in os.walk(folder):
        for name in names:
            file = Path(where, name)
            yield str(file.relative_to(folder)), file.lstat()
