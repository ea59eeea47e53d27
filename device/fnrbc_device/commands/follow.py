"""The command ``fnrbc follow``."""

import logging
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from fnrbc_device.errors import PublishError, UsageError


def follow(
    out: Annotated[Path, typer.Option("--out", help="Folder for the copies: DEVICE-EPOCH.csv.")],
    host: Annotated[str, typer.Option(help="Of the broker.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 1883,
    site: Annotated[str, typer.Option(help="The site to follow.")] = "lab",
    device: Annotated[str | None, typer.Option(help="One device. [default: all of the site]")] = None,
    user: Annotated[str | None, typer.Option(help="At the broker; replays are asked for under this name.")] = None,
    password_file: Annotated[Path | None, typer.Option(help="Holds the password alone.")] = None,
    ca: Annotated[Path | None, typer.Option(help="Certificate of the broker's authority: speaks TLS.")] = None,
    cert: Annotated[Path | None, typer.Option(help="Our certificate, where the broker wants one.")] = None,
    key: Annotated[Path | None, typer.Option(help="Its key.")] = None,
    parquet: Annotated[bool, typer.Option("--parquet", help="Write DEVICE-EPOCH.parquet as well, at the end.")] = False,
) -> None:
    """Keep a copy of the log without a gap, until stopped: asks the devices for what is missing."""
    from pydantic import ValidationError

    from fnrbc_device.following.follower import Follower
    from fnrbc_device.following.log_copy import require_parquet, write_parquet
    from fnrbc_device.host.signals import stopped_by_signal
    from fnrbc_device.mqtt.settings import MqttSettings

    if parquet:
        require_parquet()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        settings = MqttSettings(
            host=host, port=port, site=site, device=device or "fnrbc", username=user, password_file=password_file,
            ca_file=ca, cert_file=cert, key_file=key,
        )  # fmt: skip
    except ValidationError as error:
        fault = error.errors()[0]
        words = f"{fault['loc'][0]} is {fault['input']!r}, but {fault['msg'].lower()}; mend the value"
        raise UsageError(words) from error
    stop = threading.Event()
    follower = Follower(settings, device, out)
    with stopped_by_signal(stop):
        paths = follower.run(stop)
    failed = follower.lost > 0 or follower.differing > 0 or follower.troubled
    for path in paths:
        try:
            print(path if not parquet else write_parquet(path))
        except PublishError as error:  # the others' tables are made all the same
            print(f"error: {error}", file=sys.stderr)
            failed = True
    if failed:
        raise typer.Exit(1)
