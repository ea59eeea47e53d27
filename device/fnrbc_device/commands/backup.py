"""``fnrbc backup`` and ``fnrbc restore``: the record copied while it grows, and brought back under a new epoch."""

from pathlib import Path
from typing import Annotated

import typer

ConfigPath = Annotated[Path | None, typer.Option("--config", help="TOML file. [default: /etc/fnrbc/fnrbc.toml]")]


def backup(
    out: Annotated[Path, typer.Argument(help="A new folder for the copy.")],
    config: ConfigPath = None,
) -> None:
    """Copy the record while the device counts, and prove the copy."""
    from fnrbc_device.config import load_config
    from fnrbc_device.journal.backup import back_up

    proof = back_up(load_config(config).state_dir, out)
    print(f"{out} holds the record: {proof.links} links of {proof.sessions} sessions, the last is {proof.last_hash}")


def restore(
    source: Annotated[Path, typer.Argument(help="A folder that `fnrbc backup` made.")],
    config: ConfigPath = None,
) -> None:
    """Bring a backup back in the record's place; it goes on under a new epoch."""
    from fnrbc_device.config import load_config
    from fnrbc_device.host.clock import SystemClock
    from fnrbc_device.host.folder_lock import hold_state_folder
    from fnrbc_device.journal import backup as backing

    settings = load_config(config)
    with hold_state_folder(settings.state_dir, "fnrbc restore"):
        restored = backing.restore(source, settings.state_dir, settings.mqtt.device, SystemClock())
    log, proof = restored.log, restored.proof
    print(
        f"the record of {settings.state_dir} is {source} again: {proof.links} links of {proof.sessions} sessions. It "
        f"goes on with record {log.last_seq} under the epoch {log.epoch}; before it was {log.epoch_before}."
    )
    for path in restored.aside:
        print(f"what was there before is kept as {path}")
