"""What every record of the log carries beside its own fields: who speaks, which number it has, and when it was made."""

from dataclasses import dataclass
from typing import Any

from fnrbc_device.host.clock import Clock, iso_utc


@dataclass(frozen=True, slots=True)
class Envelope:
    """Makes the envelopes of one device's records."""

    device: str
    clock: Clock

    def of(self, epoch: str, seq: int, session: str) -> dict[str, Any]:
        """Fields of the record ``seq`` of a journal, about a session; the session is empty where there is none."""
        return {
            "device": self.device,
            "epoch": epoch,
            "seq": seq,
            "ts": iso_utc(self.clock.utc()),
            "ts_sync": self.clock.synchronised(),
            "mono_ms": int(1000 * self.clock.monotonic_s()),
            "session": session,
        }
