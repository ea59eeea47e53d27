"""What is said over one connection: the states, then ``online``, then answers, the log in order, and replays."""

import time
from collections import deque
from dataclasses import dataclass, replace
from typing import Final

from fnrbc_device.contract.replies import Reply
from fnrbc_device.contract.thumbnails import THUMBNAIL, Waiting
from fnrbc_device.contract.topics import ANSWER, AVAILABILITY, LOG, PRESENCE, REPLY, THUMB
from fnrbc_device.host.clock import Clock
from fnrbc_device.journal.outbox import Acknowledgement, Outbox, OutboxMessage
from fnrbc_device.mqtt.command_handler import CommandHandler, Range
from fnrbc_device.mqtt.connection import Answer, Connection
from fnrbc_device.mqtt.retained_states import DueState, RetainedStates

MAX_REPLAYS: Final = 8
"""Replays that wait their turn: of as many consumers, or of one that asked for as many pieces."""

MAX_REPLIES: Final = 64
"""Replies that wait for room. The command handler gives out no more than 20 a second; older ones are past use."""

PROBES: Final = 1
"""Refused records tried again at first. Mosquitto 2.0 ends the connection after each refusal, so the others wait
until this one is taken."""


@dataclass(frozen=True, slots=True)
class SendReport:
    """What happened since the last account."""

    acked: int
    """Records that the broker took."""
    refused: int
    """Messages that it refused."""
    trouble: str
    """The last refusal, in one sentence."""


class Sender:
    """Sends over one open connection and keeps account of the answers. Used by one thread."""

    def __init__(
        self,
        connection: Connection,
        outbox: Outbox,
        states: RetainedStates,
        handler: CommandHandler,
        clock: Clock,
        thumbnails: Waiting,
    ) -> None:
        self._connection = connection
        self._outbox = outbox
        self._states = states
        self._handler = handler
        self._clock = clock
        self._thumbnails = thumbnails
        self._messages: dict[int, OutboxMessage] = {}
        self._sent_states: dict[int, DueState] = {}
        self._replies: deque[tuple[str, Reply]] = deque(maxlen=MAX_REPLIES)
        self._replays: deque[Range] = deque()
        self._online = False
        self._account = SendReport(0, 0, "")
        self._probes: set[int] = set()
        self.settled = 0
        """Records that the broker took or refused: whether the log gets on."""
        states.forget_sent()

    def turn(self, wait_s: float, urgent: bool) -> bool:
        """Send what may be sent now, then wait for answers.

        Parameters
        ----------
        wait_s
            At most; less where answers come, where the wake is touched or where a state falls due.
        urgent
            Send new states without their interval.

        Returns
        -------
        bool
            True where no state and no record of the log waits or is unanswered. Replays may go on.
        """
        states_out = self._send_states(urgent)
        if states_out and not self._online and self._connection.room:
            self._connection.publish(AVAILABILITY, "online", PRESENCE)
            self._online = True
        log_out = self._online and self._send_replies() and self._send_log()
        if log_out:
            self._send_thumbnails()
            self._send_replays()
        idle = states_out and log_out and not (self._messages or self._sent_states)
        if idle and urgent:
            return True  # someone waits to hear just this
        self._acknowledge(self._connection.poll(self._states.wait_s(time.monotonic(), wait_s)))
        self._receive()
        return idle

    def say_goodbye(self, timeout_s: float) -> None:
        """Send the newest states, what is left of replies, and ``offline``; wait at most ``timeout_s`` for answers."""
        deadline_s = time.monotonic() + timeout_s
        said = False
        while time.monotonic() < deadline_s and not (said and not self._connection.in_flight):
            if not said and self._send_states(urgent=True) and self._send_replies() and self._connection.room:
                self._connection.publish(AVAILABILITY, "offline", PRESENCE)
                said = True
            self._acknowledge(self._connection.poll(0.1))

    def try_refused_again(self) -> None:
        """Send one of the parked records again, and all of them once that one is taken."""
        self._states.retry()
        self._probes = set(self._outbox.retry(PROBES))

    def take_account(self) -> SendReport:
        """Tell what happened since the last call."""
        account, self._account = self._account, SendReport(0, 0, "")
        return account

    def _receive(self) -> None:
        for incoming in self._connection.received():
            outcome = self._handler.receive(incoming, may_replay=len(self._replays) < MAX_REPLAYS)
            if outcome.reply is not None:
                self._replies.append((outcome.user, outcome.reply))
            if outcome.replay is not None:
                self._replays.append(outcome.replay)
        self._handler.account()

    def _send_states(self, urgent: bool) -> bool:
        """Send states as far as there is room; True where none is left to send now."""
        now_s = time.monotonic()
        for due in self._states.due(now_s, urgent):
            if not self._connection.room:
                return False
            message_id = self._connection.publish(due.suffix, due.payload, due.delivery)
            self._states.sent(due, now_s)
            if due.delivery.qos:
                self._sent_states[message_id] = due
        return True

    def _send_replies(self) -> bool:
        while self._replies and self._connection.room:
            user, reply = self._replies.popleft()
            self._connection.publish(f"{REPLY}/{user}", reply.to_json(), ANSWER)
        return not self._replies

    def _send_log(self) -> bool:
        """Send messages of the outbox as far as there is room; True where none is left."""
        room = self._connection.room
        on_their_way = {message.seq for message in self._messages.values()}
        waiting = self._outbox.pending(0, room + len(on_their_way)) if room else []
        messages = [message for message in waiting if message.seq not in on_their_way][:room]
        for message in messages:
            self._messages[self._connection.publish(message.topic, message.payload, LOG)] = message
        return room > len(messages)

    def _send_thumbnails(self) -> None:
        while self._thumbnails and self._connection.room:
            one = self._thumbnails.popleft()
            self._connection.publish(f"{THUMB}/{one.cell}", one.jpeg, THUMBNAIL)

    def _send_replays(self) -> None:
        """Send again what was asked for, as far as the log leaves room."""
        while self._replays and (room := self._connection.room):
            asked = self._replays[0]
            messages = self._outbox.again(asked.from_seq, asked.to_seq, room)
            for message in messages:
                self._connection.publish(message.topic, message.payload, LOG)
            if len(messages) < room:
                self._replays.popleft()
            else:
                self._replays[0] = Range(messages[-1].seq + 1, asked.to_seq)

    def _acknowledge(self, answers: list[Answer]) -> None:
        """Write down what the broker took and what it refused."""
        acknowledgements = [
            Acknowledgement(message.seq, "refused" if answer.refused else "acked", answer.reason)
            for answer in answers
            if (message := self._messages.pop(answer.message_id, None))
        ]
        if acknowledgements:
            self._outbox.acknowledge(acknowledgements, self._clock.utc())
            self.settled += len(acknowledgements)
        acked = [one.seq for one in acknowledgements if one.state == "acked"]
        self._account = replace(self._account, acked=self._account.acked + len(acked))
        if self._probes.intersection(acked):
            self._probes.clear()
            self._outbox.retry()
        for answer in answers:
            self._note_refusal(answer, self._sent_states.pop(answer.message_id, None))

    def _note_refusal(self, answer: Answer, state: DueState | None) -> None:
        if not answer.refused:
            return
        if state:
            self._states.park(state.suffix)
        what = f"the state {state.suffix}" if state else "a message"
        # A reason of our own names its cure itself.
        cure = "" if "; " in answer.reason else ": let this device write there in the broker's access list"
        trouble = f"the broker refused {what} ({answer.reason}); it is kept and tried again in an hour{cure}"
        self._account = replace(self._account, refused=self._account.refused + 1, trouble=trouble)
