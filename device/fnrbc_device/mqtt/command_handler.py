"""Where commands over MQTT are received: checked, written down, followed or refused, and answered."""

from collections import OrderedDict
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, cast

from fnrbc_device.contract.commands import (
    MAX_AGE_S,
    Incoming,
    MarkRequest,
    ReplayRequest,
    Request,
    StartRequest,
    Verb,
    read_request,
    require_fresh,
)
from fnrbc_device.contract.names import is_segment
from fnrbc_device.contract.replies import AuditRecord, RefusalCode, Reply
from fnrbc_device.contract.topics import Topics
from fnrbc_device.errors import CommandError
from fnrbc_device.host.clock import Clock, iso_utc
from fnrbc_device.host.rate_limit import RateLimit
from fnrbc_device.journal.command_log import CommandLog
from fnrbc_device.journal.outbox import Outbox
from fnrbc_device.session_state import SessionControl, SessionPlan

RECORD_BURST: Final = 50
RECORDS_PER_S: Final = 0.2
"""Refusals with a record each; a flood of more shares records, so that nobody can fill the disk. A day of flooding
makes 17,280 records, some 8 MB."""

FOLLOW_BURST: Final = 50
FOLLOWED_PER_S: Final = 2.0
"""Commands followed. A person gives one in seconds; a consumer that catches up, one for 10,000 records."""

REPLIES_PER_S: Final = 20.0
"""Refusals answered, after a first hundred. More is a flood, and answers to it would be one too."""

REMEMBERED: Final = 1024
"""Answers kept for repeated ids: all that can be followed in the time for which a repeated command is still fresh."""

FINAL: Final = ("wrong_state", "not_kept")
"""Refusals that a repeated id gets again. The others judge the message alone, or tell to come again."""


@dataclass(frozen=True, slots=True)
class Range:
    """Records of the log to be sent again, both ends included."""

    from_seq: int
    to_seq: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the publisher has to do about a command."""

    user: str
    reply: Reply | None
    """None where it is not known to whom, or too many came."""
    replay: Range | None = None


class CommandHandler:
    """Receives the commands of a device. Used by the thread that speaks MQTT."""

    def __init__(
        self, topics: Topics, control: SessionControl, command_log: CommandLog, outbox: Outbox, clock: Clock
    ) -> None:
        self._topics = topics
        self._control = control
        self._command_log = command_log
        self._outbox = outbox
        self._clock = clock
        self._recording = RateLimit(RECORD_BURST, RECORDS_PER_S, clock.monotonic_s)
        self._following = RateLimit(FOLLOW_BURST, FOLLOWED_PER_S, clock.monotonic_s)
        self._replying = RateLimit(100, REPLIES_PER_S, clock.monotonic_s)
        self._untold = 0
        self._answers: OrderedDict[tuple[str, str], Reply] = OrderedDict()
        self._remember_earlier()

    def receive(self, incoming: Incoming, may_replay: bool = True) -> Outcome:
        """Follow a command or refuse it; either is on record before this returns.

        Parameters
        ----------
        incoming
            The message. Whatever it holds, nothing but ``JournalError`` is raised.
        may_replay
            Whether there is room for another replay.

        Raises
        ------
        JournalError
            It cannot be written down. Nothing was done.
        """
        user, verb = self._topics.user_and_verb(incoming.topic)
        request_id = ""
        try:
            known, request = self._admit(incoming, user, verb)
            request_id = request.id
            if earlier := self._answers.get((user, request_id)):
                return self._repeated(user, verb, earlier)
            require_fresh(request.ts, self._clock.utc())
            return self._follow(user, known, request, may_replay)
        except CommandError as error:
            return self._refuse(user, verb, request_id, error)

    def account(self, at_last: bool = False) -> None:
        """Write down how many refusals had no record of their own, when there is room for one again, or at last.

        Raises
        ------
        JournalError
            It cannot be written down.
        """
        if self._untold and (self._recording.take() or at_last):
            words = "commands were refused in such numbers that they share this record"
            self._command_log.audit("", "", "", words, "busy", self._untold)
            self._untold = 0

    def _admit(self, incoming: Incoming, user: str, verb: str) -> tuple[Verb, Request]:
        if incoming.retained:
            raise CommandError(
                "retained", "the command is retained and would come again at every connect; send it without retain"
            )
        if not is_segment(user):
            raise CommandError(
                "malformed", f"the user {user[:32]!a} is not 1 to 32 of a-z, 0-9, '_' and '-'; choose such a name"
            )
        return read_request(verb, incoming.payload)

    def _repeated(self, user: str, verb: str, earlier: Reply) -> Outcome:
        """Answer as before, and do nothing: the same id means the same command."""
        self._write_refusal(user, verb, earlier.request, "repeated", "the id came before; the answer is as it was")
        if not self._replying.take():
            return Outcome(user, None)
        return Outcome(user, earlier.model_copy(update={"repeated": True, "ts": iso_utc(self._clock.utc())}))

    def _follow(self, user: str, verb: Verb, request: Request, may_replay: bool) -> Outcome:
        if not self._following.take():
            raise CommandError(
                "busy", f"more than {FOLLOWED_PER_S:.0f} commands a second; wait and send it with another id"
            )
        replay = None
        if isinstance(request, ReplayRequest):
            replay = self._replay(user, request, may_replay)
        elif verb != "ping":
            detail = request.note if isinstance(request, MarkRequest) else ""
            plan = None
            if isinstance(request, StartRequest):
                detail, plan = request.kind or "", SessionPlan(kind=request.kind)
            self._control.ask(verb, lambda: self._write(user, verb, request.id, detail), plan)
        reply = self._reply(verb, request.id)
        self._remember(user, reply)
        return Outcome(user, reply, replay)

    def _replay(self, user: str, request: ReplayRequest, may_replay: bool) -> Range:
        if not may_replay:
            raise CommandError("busy", "other replays are waiting already; ask again in ten seconds")
        log = self._command_log.log_state()
        if request.epoch == log.epoch:
            first, last_seq = log.first_seq, log.last_seq
        elif request.epoch == log.epoch_before:
            first, last_seq = 1, log.first_seq - 1
        else:
            raise CommandError(
                "not_kept",
                f"this journal has epoch {log.epoch}, not {request.epoch[:64]!a}; ask for records of this one",
            )
        oldest = max(first, self._outbox.oldest_seq())
        if not oldest <= request.from_seq <= last_seq:
            raise CommandError(
                "not_kept",
                f"records are kept from {oldest} on, the last is {last_seq}; {request.from_seq} is not among them",
            )
        self._write(user, "replay", request.id, f"{request.from_seq} to {request.to_seq}")
        return Range(request.from_seq, min(request.to_seq, last_seq))

    def _refuse(self, user: str, verb: str, request_id: str, error: CommandError) -> Outcome:
        code, words = cast(RefusalCode, error.code), str(error)
        self._write_refusal(user, verb, request_id, code, words)
        if not (is_segment(user) and self._replying.take()):
            return Outcome(user, None)
        reply = self._reply(_shown(verb), request_id, code, words)
        if code in FINAL:
            self._remember(user, reply)
        return Outcome(user, reply)

    def _write(self, user: str, verb: str, request_id: str, detail: str) -> None:
        self._command_log.audit(user, verb, request_id, detail)

    def _write_refusal(self, user: str, verb: str, request_id: str, code: RefusalCode, words: str) -> None:
        if self._recording.take():
            self._command_log.audit(_shown(user), _shown(verb), request_id, words, code)
        else:
            self._untold += 1

    def _reply(self, verb: str, request_id: str, code: RefusalCode = "", words: str = "") -> Reply:
        log = self._command_log.log_state()
        return Reply(
            device=self._topics.device,
            ts=iso_utc(self._clock.utc()),
            request=request_id,
            verb=verb,
            accepted=not code,
            code=code,
            reason=words[:256],
            state=self._control.state,
            epoch=log.epoch,
            epoch_first_seq=log.first_seq,
            log_seq=log.last_seq,
            oldest_seq=self._outbox.oldest_seq(),
        )

    def _remember(self, user: str, reply: Reply) -> None:
        self._answers[(user, reply.request)] = reply
        while len(self._answers) > REMEMBERED:
            self._answers.popitem(last=False)

    def _remember_earlier(self) -> None:
        """Know the ids that came before a restart: a broker may hand a command over twice."""
        since = self._clock.utc() - timedelta(seconds=2 * MAX_AGE_S)
        for record in self._command_log.recent_requests(since):
            if not record.code or record.code in FINAL:
                self._remember(record.user, self._earlier(record))

    def _earlier(self, record: AuditRecord) -> Reply:
        reply = self._reply(record.verb, record.request, record.code, record.detail if record.code else "")
        return reply.model_copy(update={"log_seq": record.seq})


def _shown(text: str) -> str:
    """What a stranger wrote, fit for logs and pages."""
    return text if is_segment(text) else ascii(text)[:64]
