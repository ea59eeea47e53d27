"""What a follower knows of each device: whether it is there, how far its log reaches, and the copy of it."""

import contextlib
import json
import logging
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from fnrbc_device.errors import PublishError
from fnrbc_device.following.gaps import Gaps, Wanted
from fnrbc_device.following.log_copy import LogCopy
from fnrbc_device.host.clock import iso_utc

MAX_COPIES: Final = 4
"""Journals of one device kept open at once; an older one is closed, and opened again if records of it come."""

MAX_JOURNALS: Final = 32
"""Journals of one device that have a copy in the folder: a device begins a new one with a new state folder, or where a
backup was restored. What names more of them is no device."""

FURTHEST: Final = 100_000_000
"""Records that a device can be ahead of its copy: ten years of a busy one. A number beyond is no device's."""

AGAIN_S: Final = 60.0
"""After this a device is tried again whose copy could not be written, and a journal whose copy could not be opened."""

MAX_REFUSED: Final = 64

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Journal:
    copy: LogCopy
    gaps: Gaps = field(default_factory=Gaps)
    known_seq: int = 0
    differing: int = 0


class FollowedDevice:
    """One device, as its messages tell. Used by one thread."""

    def __init__(self, folder: Path, device: str, now_s: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._device = device
        self._now_s = now_s
        self._online = False
        self._epoch = ""
        self._asked = ""
        """Id of the last request."""
        self._asked_of = ""
        """The epoch that it was about."""
        self._journals: dict[str, _Journal] = {}
        self._refused: dict[str, float] = {}
        """By epoch: when its copy is tried again."""
        self._aside_until_s = float("-inf")
        self._troubled = False
        self._before = ""
        """The device's epoch before this one, whose last records it may still hold."""
        self.differing = 0
        """Records that were refused: another is held under their number."""
        self.lost = 0
        """Records that the device no longer keeps and that never came."""

    @property
    def troubled(self) -> bool:
        """Whether its copy could not be written when it was tried last."""
        return self._troubled

    def hear(self, suffix: str, payload: bytes) -> None:
        """Take a message of the device in. What is none of the contract is left out.

        Where the copy cannot be written, that is said, and the device is left aside for a minute: what it tells in the
        meantime is asked for again. Others go on.
        """
        if self._now_s() < self._aside_until_s:
            return
        try:
            self._hear(suffix, payload)
        except (PublishError, ValueError, ArithmeticError, RecursionError) as error:
            self._set_aside(error)

    def _hear(self, suffix: str, payload: bytes) -> None:
        if suffix == "availability":
            self._be_online(payload == b"online")
            return
        fields = _fields(payload)
        if suffix.startswith("log/"):
            self._take(suffix, fields)
        elif suffix.startswith("reply/"):
            self._hear_reply(fields)
        elif suffix == "status" and isinstance(fields.get("epoch"), str):
            self._hear_status(fields)
        else:
            self._learn(self._epoch, fields.get("log_seq"))

    def _hear_status(self, fields: dict[str, Any]) -> None:
        self._epoch = fields["epoch"]
        first, before = fields.get("epoch_first_seq", 1), fields.get("epoch_before", "")
        self._begin_at(self._journal(self._epoch) if self._epoch else None, first)
        self._learn(self._epoch, fields.get("log_seq"))
        if isinstance(before, str) and before not in ("", self._epoch) and _is_seq(first) and 1 < first <= FURTHEST:
            self._before = before
            if journal := self._journal(before):
                journal.known_seq = first - 1  # what was told beyond that was lost, and a backup took its place

    def _begin_at(self, journal: _Journal | None, first: Any) -> None:
        """Let a new copy begin where its epoch begins: nothing lies before that."""
        if journal and _is_seq(first) and journal.copy.last_seq == 0 and 1 < first <= FURTHEST:
            journal.copy.skip_to(first)

    def _set_aside(self, error: Exception) -> None:
        _log.error("%s: %s; the device is left aside for %.0f s", self._device, error, AGAIN_S)
        self._aside_until_s, self._troubled = self._now_s() + AGAIN_S, True
        self._close()

    def _close(self) -> None:
        for journal in self._journals.values():
            with contextlib.suppress(PublishError):  # what is not on the disk is asked for again
                journal.copy.close()
        self._journals.clear()

    def request(self, now_s: float, now: datetime) -> str | None:
        """Payload of the ``replay`` to ask for now; None where nothing is wanted, or nobody is there to ask."""
        if not self._online:
            return None
        for epoch in (self._epoch, self._before):
            journal = self._journals.get(epoch)
            if journal is None:
                continue
            known = max(journal.known_seq, journal.copy.newest_seen) if epoch == self._epoch else journal.known_seq
            wanted = journal.gaps.wanted(journal.copy.last_seq, known, now_s)
            if wanted is not None:
                return self._request(epoch, wanted, now)
        return None

    def _request(self, epoch: str, wanted: Wanted, now: datetime) -> str:
        _log.info("%s: asking for records %d to %d", self._device, wanted.from_seq, wanted.to_seq)
        self._asked, self._asked_of = uuid.uuid4().hex, epoch
        asked = {"id": self._asked, "ts": iso_utc(now), "epoch": epoch}
        return json.dumps({**asked, "from_seq": wanted.from_seq, "to_seq": wanted.to_seq})

    def sync(self) -> None:
        """Bring all copies to the disk."""
        try:
            for journal in self._journals.values():
                journal.copy.sync()
        except PublishError as error:
            self._set_aside(error)

    def close(self) -> list[Path]:
        """Close the copies; returns their files."""
        self.sync()
        paths = [journal.copy.path for journal in self._journals.values()]
        self._close()
        return paths

    def _be_online(self, online: bool) -> None:
        if online and not self._online and self._epoch in self._journals:
            self._journals[self._epoch].gaps.soon()
        self._online = online

    def _take(self, suffix: str, fields: dict[str, Any]) -> None:
        epoch, seq = fields.get("epoch"), fields.get("seq")
        if fields.get("device") != self._device or not isinstance(epoch, str) or seq is None or not _is_seq(seq):
            _log.warning("%s: a message on %s is no record; it is left out", self._device, suffix)
            return
        journal = self._journal(epoch)
        if journal is None:
            return
        if not _can_be(seq, journal):
            _log.warning("%s: a record with the number %d cannot be of its log; it is left out", self._device, seq)
            return
        if not journal.copy.take(suffix, fields) and journal.copy.differs(suffix, fields):
            self._refuse_differing(journal, seq)
        self._troubled = False
        if epoch != self._before:
            self._epoch = epoch

    def _refuse_differing(self, journal: _Journal, seq: int) -> None:
        self.differing += 1
        if not journal.differing:  # of many, the first is said
            _log.error(
                "%s: its record %d is not the one that %s holds under that number, and is refused; was an older "
                "journal put back there? hold the two together: fnrbc verify STATE_FOLDER --against %s",
                self._device, seq, journal.copy.path, journal.copy.path,
            )  # fmt: skip
        journal.differing += 1

    def _hear_reply(self, fields: dict[str, Any]) -> None:
        if fields.get("verb") != "replay" or not _is_seq(fields.get("log_seq")):
            return
        journal = self._journal(str(fields.get("epoch")))
        if journal is None:
            return
        if not _can_be(fields["log_seq"], journal):
            _log.warning("%s: a log of %d records cannot be; the reply is left out", self._device, fields["log_seq"])
            return
        self._epoch = journal.copy.epoch
        self._begin_at(journal, fields.get("epoch_first_seq", 1))
        # A retained state may be older than the journal; the reply is what the journal says now.
        journal.known_seq = fields["log_seq"]
        oldest = fields.get("oldest_seq", 0)
        ours = self._asked != "" and fields.get("request") == self._asked
        if not ours or fields.get("code") != "not_kept" or not _is_seq(oldest):
            return
        if self._asked_of == self._before and (before := self._journals.get(self._before)):
            journal, oldest = before, min(oldest, before.known_seq + 1)
        if journal.copy.last_seq + 1 < oldest <= journal.known_seq + 1:
            self._skip(journal, oldest)

    def _skip(self, journal: _Journal, oldest: int) -> None:
        first = journal.copy.last_seq + 1
        self.lost += oldest - first
        _log.error(
            "%s: records %d to %d are no longer kept there and are missing in %s; "
            "follow without longer breaks, or let the device keep more",
            self._device, first, oldest - 1, journal.copy.path,
        )  # fmt: skip
        journal.copy.skip_to(oldest)
        journal.gaps.soon()

    def _learn(self, epoch: str, log_seq: Any) -> None:
        if epoch and _is_seq(log_seq) and (journal := self._journal(epoch)) and _can_be(log_seq, journal):
            journal.known_seq = max(journal.known_seq, log_seq)

    def _journal(self, epoch: str) -> _Journal | None:
        if epoch not in self._journals:
            if self._now_s() < self._refused.get(epoch, float("-inf")):
                return None
            try:
                self._require_few(epoch)
                self._journals[epoch] = _Journal(LogCopy(self._folder, self._device, epoch))
            except PublishError as error:
                self._refuse(epoch, error)
                return None
            if len(self._journals) > MAX_COPIES:
                self._journals.pop(next(iter(self._journals))).copy.close()
        return self._journals[epoch]

    def _require_few(self, epoch: str) -> None:
        """Refuse a journal too many."""
        name = re.compile(rf"{re.escape(self._device)}-[0-9a-f]{{1,64}}\.csv")
        kept = [path.name for path in self._folder.glob(f"{self._device}-*.csv") if name.fullmatch(path.name)]
        if len(kept) >= MAX_JOURNALS and f"{self._device}-{epoch}.csv" not in kept:
            raise PublishError(
                f"{len(kept)} journals of {self._device} are in {self._folder}, the limit is {MAX_JOURNALS}, and "
                f"{epoch[:64]!a} is one more; see what sends it, or move older copies away"
            )

    def _refuse(self, epoch: str, error: PublishError) -> None:
        if len(self._refused) >= MAX_REFUSED:
            self._refused.pop(next(iter(self._refused)))
        else:  # of a flood the first are said
            _log.error("%s", error)
        self._refused[epoch] = self._now_s() + AGAIN_S


def _can_be(seq: int, journal: _Journal) -> bool:
    """Whether a device can have written so many records since its copy ends."""
    return seq <= journal.copy.last_seq + FURTHEST


def _fields(payload: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(payload)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _is_seq(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53
