"""What stands in the publisher's place on a device without MQTT: it takes the same calls, and says nothing."""

from collections.abc import Mapping
from typing import Final

from fnrbc_device.contract.payloads import State
from fnrbc_device.mqtt.publisher import Publisher
from fnrbc_device.mqtt.retained_states import Late
from fnrbc_device.mqtt.status import PublisherStatus
from fnrbc_device.records import Image


class SilentPublisher:
    """Publishes nothing."""

    status: Final = PublisherStatus(publishes=False)

    def start(self) -> None:
        """Do nothing."""

    def set_state(self, topic_suffix: str, payload: State | Late) -> None:
        """Leave a state unsaid."""

    def show(self, cell: int, crop: Image) -> None:
        """Leave a picture unsent."""

    def report(self, alarms: Mapping[str, str]) -> None:
        """Leave alarms unsaid; the page tells of them."""

    def cert_days_left(self) -> int | None:
        """None: no certificate is used."""
        return None

    def flush(self, timeout_s: float) -> bool:
        """Nothing waits."""
        return True

    def stop(self, timeout_s: float) -> None:
        """Nothing runs."""


AnyPublisher = Publisher | SilentPublisher
