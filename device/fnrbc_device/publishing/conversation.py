"""What is said over one connection: the states, then ``online``, then the log in order, within a window."""

import time

from fnrbc_device.clock import Clock
from fnrbc_device.publishing.connection import Answer, Connection
from fnrbc_device.publishing.outbox import Letter, Outbox, Settlement
from fnrbc_device.publishing.states import DueState, StateBoard
from fnrbc_device.publishing.topics import AVAILABILITY, LOG, PRESENCE


class Conversation:
    """Sends over one open connection and keeps account of the answers. Used by one thread."""

    def __init__(self, connection: Connection, outbox: Outbox, states: StateBoard, clock: Clock) -> None:
        self._connection = connection
        self._outbox = outbox
        self._states = states
        self._clock = clock
        self._letters: dict[int, Letter] = {}
        self._sent_states: dict[int, DueState] = {}
        self._last_seq = 0
        self._online = False
        self._refused = 0
        self._counted = 0
        self._trouble = ""
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
            True where nothing waits and nothing is unanswered.
        """
        states_out = self._send_states(urgent)
        if states_out and not self._online and self._connection.room:
            self._connection.publish(AVAILABILITY, "online", PRESENCE)
            self._online = True
        log_out = self._online and self._send_log()
        idle = states_out and log_out and not self._connection.in_flight
        if idle and urgent:
            return True  # someone waits to hear just this
        self._settle(self._connection.poll(self._states.wait_s(time.monotonic(), wait_s)))
        return idle

    def say_goodbye(self, timeout_s: float) -> None:
        """Send the newest states and ``offline``, and wait for the answers, at most ``timeout_s``."""
        deadline_s = time.monotonic() + timeout_s
        said = False
        while time.monotonic() < deadline_s and not (said and not self._connection.in_flight):
            if not said and self._send_states(urgent=True) and self._connection.room:
                self._connection.publish(AVAILABILITY, "offline", PRESENCE)
                said = True
            self._settle(self._connection.poll(0.1))

    def backlog(self) -> int:
        """Count the records that nobody has settled."""
        return self._outbox.backlog()

    def take_account(self) -> tuple[int, int, str]:
        """Tell the records acknowledged, the messages refused and the last refusal since the last call."""
        account = (self._counted, self._refused, self._trouble)
        self._counted, self._refused, self._trouble = 0, 0, ""
        return account

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

    def _send_log(self) -> bool:
        """Send letters as far as there is room; True where none is left."""
        room = self._connection.room
        letters = self._outbox.pending(self._last_seq, room) if room else []
        for letter in letters:
            self._letters[self._connection.publish(letter.topic, letter.payload, LOG)] = letter
            self._last_seq = letter.seq
        return room > len(letters)

    def _settle(self, answers: list[Answer]) -> None:
        """Write down what the broker took and what it refused."""
        settlements = [
            Settlement(letter.seq, "refused" if answer.refused else "acked", answer.reason)
            for answer in answers
            if (letter := self._letters.pop(answer.message_id, None))
        ]
        if settlements:
            self._outbox.settle(settlements, self._clock.utc())
            self.settled += len(settlements)
        for answer in answers:
            self._account(answer, self._sent_states.pop(answer.message_id, None))
        self._counted += sum(one.state == "acked" for one in settlements)

    def _account(self, answer: Answer, state: DueState | None) -> None:
        if not answer.refused:
            return
        self._refused += 1
        if state:
            self._states.park(state.suffix)
        what = f"the state {state.suffix}" if state else "a record of the log"
        self._trouble = (
            f"the broker refused {what} ({answer.reason}); "
            "it is kept: let this device write there in the broker's access list, then start again"
        )
