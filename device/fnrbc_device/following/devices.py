"""What a follower knows of each device: whether it is there, how far its log reaches, and the copy of it."""

import json
import logging
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from fnrbc_device.errors import PublishError
from fnrbc_device.following.gaps import Gaps
from fnrbc_device.following.log_copy import LogCopy
from fnrbc_device.host.clock import iso_utc

MAX_COPIES: Final = 4
"""Journals of one device kept open at once; an older one is closed, and opened again if records of it come."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Journal:
    copy: LogCopy
    gaps: Gaps = field(default_factory=Gaps)
    known_seq: int = 0


class FollowedDevice:
    """One device, as its messages tell. Used by one thread."""

    def __init__(self, folder: Path, device: str) -> None:
        self._folder = folder
        self._device = device
        self._online = False
        self._epoch = ""
        self._journals: dict[str, _Journal] = {}
        self.lost = 0
        """Records that the device no longer keeps and that never came."""

    def hear(self, suffix: str, payload: bytes) -> None:
        """Take a message of the device in. What is none of the contract is left out.

        Raises
        ------
        PublishError
            The copy cannot be written.
        """
        if suffix == "availability":
            self._be_online(payload == b"online")
            return
        fields = _fields(payload)
        if suffix.startswith("log/"):
            self._take(suffix, fields)
        elif suffix.startswith("reply/"):
            self._hear_reply(fields)
        elif suffix == "status" and isinstance(fields.get("epoch"), str):
            self._epoch = fields["epoch"]
            self._learn(self._epoch, fields.get("log_seq"))
        else:
            self._learn(self._epoch, fields.get("log_seq"))

    def request(self, now_s: float, now: datetime) -> str | None:
        """Payload of the ``replay`` to ask for now; None where nothing is wanted, or nobody is there to ask."""
        journal = self._journals.get(self._epoch)
        if journal is None or not self._online:
            return None
        known = max(journal.known_seq, journal.copy.newest_seen)
        wanted = journal.gaps.wanted(journal.copy.last_seq, known, now_s)
        if wanted is None:
            return None
        _log.info("%s: asking for records %d to %d", self._device, wanted.from_seq, wanted.to_seq)
        asked = {"id": uuid.uuid4().hex, "ts": iso_utc(now), "epoch": self._epoch}
        return json.dumps({**asked, "from_seq": wanted.from_seq, "to_seq": wanted.to_seq})

    def sync(self) -> None:
        """Bring all copies to the disk."""
        for journal in self._journals.values():
            journal.copy.sync()

    def close(self) -> list[Path]:
        """Close the copies; returns their files."""
        paths = [journal.copy.path for journal in self._journals.values()]
        for journal in self._journals.values():
            journal.copy.close()
        return paths

    def _be_online(self, online: bool) -> None:
        if online and not self._online and self._epoch in self._journals:
            self._journals[self._epoch].gaps.soon()
        self._online = online

    def _take(self, suffix: str, fields: dict[str, Any]) -> None:
        epoch, seq = fields.get("epoch"), fields.get("seq")
        if fields.get("device") != self._device or not isinstance(epoch, str) or not _is_seq(seq):
            _log.warning("%s: a message on %s is no record; it is left out", self._device, suffix)
            return
        if journal := self._journal(epoch):
            journal.copy.take(suffix, fields)
            self._epoch = epoch

    def _hear_reply(self, fields: dict[str, Any]) -> None:
        if fields.get("verb") != "replay" or not _is_seq(fields.get("log_seq")):
            return
        journal = self._journal(str(fields.get("epoch")))
        if journal is None:
            return
        self._epoch = journal.copy.epoch
        # A retained state may be older than the journal; the reply is what the journal says now.
        journal.known_seq = fields["log_seq"]
        oldest = fields.get("oldest_seq", 0)
        if fields.get("code") == "not_kept" and _is_seq(oldest) and oldest > journal.copy.last_seq + 1:
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
        if epoch and _is_seq(log_seq) and (journal := self._journal(epoch)):
            journal.known_seq = max(journal.known_seq, log_seq)

    def _journal(self, epoch: str) -> _Journal | None:
        if epoch not in self._journals:
            try:
                self._journals[epoch] = _Journal(LogCopy(self._folder, self._device, epoch))
            except PublishError as error:
                _log.error("%s", error)
                return None
            if len(self._journals) > MAX_COPIES:
                self._journals.pop(next(iter(self._journals))).copy.close()
        return self._journals[epoch]


def _fields(payload: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(payload)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _is_seq(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53
