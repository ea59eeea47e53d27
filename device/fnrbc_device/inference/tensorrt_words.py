"""What TensorRT says, kept: it returns None for a failure, and tells the reason only to its logger."""

import logging
from collections import deque
from typing import Any, Final

_KEPT: Final = 20
_SAID: Final = 600
"""Characters of them that a sentence bears."""

_log = logging.getLogger(__name__)


class Words:
    """The last complaints, oldest first: the first is the cause, the rest follow from it."""

    def __init__(self) -> None:
        self._complaints: deque[str] = deque(maxlen=_KEPT)

    def add(self, complaint: str) -> None:
        """Keep one."""
        self._complaints.append(" ".join(complaint.split()))

    def take(self) -> str:
        """Give them for an error's sentence, and forget them."""
        said = "; ".join(dict.fromkeys(self._complaints)) or "it says no reason"
        self._complaints.clear()
        return said if len(said) <= _SAID else said[:_SAID] + " ..."


def make_logger(trt: Any) -> tuple[Any, Words]:
    """Make a logger for TensorRT.

    Parameters
    ----------
    trt
        The module; its ``ILogger`` must be inherited from, so that the class can only be made here.

    Returns
    -------
    tuple
        The logger, which must live as long as what TensorRT makes with it, and the complaints it hears.
    """
    words = Words()
    bad = (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR)

    class Logger(trt.ILogger):  # type: ignore[misc]  # the module comes with the hardware
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, level: Any, message: str) -> None:
            if level in bad:
                words.add(message)
            # Its errors are said by whoever asked, in one sentence; here they are for the journal of a developer.
            _log.debug("TensorRT: %s", message)

    return Logger(), words
