"""How a server-sent event is written, and a picture in one."""

import base64
import json
from typing import Any


def event(name: str, fields: dict[str, Any]) -> bytes:
    """Write one server-sent event."""
    return f"event: {name}\ndata: {json.dumps(fields, separators=(',', ':'))}\n\n".encode()


def base64_of(data: bytes) -> str:
    """Bytes as text that JSON can hold."""
    return base64.b64encode(data).decode("ascii")
