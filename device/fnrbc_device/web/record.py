"""The record as pages read it: where it is, and what is answered where it cannot be read."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from starlette.exceptions import HTTPException

from fnrbc_device.errors import JournalError, ReviewError
from fnrbc_device.language import _, resay
from fnrbc_device.web.context import WebContext

BEYOND: Final = 2**53
"""No number of a cell or a record is as large, and none larger can be asked of the database."""


def journal_of(context: WebContext) -> Path:
    """The record; it is not made by who looks for it."""
    if context.journal_path is None or not context.journal_path.is_file():
        raise HTTPException(404, _("nothing was counted here yet; start a session first"))
    return context.journal_path


@contextmanager
def refusals(status: int) -> Iterator[None]:
    """Answer what is refused with a status, and trouble with the disk as such."""
    try:
        yield
    except ReviewError as error:
        raise HTTPException(status, resay(error)) from error
    except JournalError as error:
        raise HTTPException(503, str(error)) from error
