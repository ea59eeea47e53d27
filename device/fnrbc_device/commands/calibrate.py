"""``fnrbc calibrate``: a site bundle from cells that this laboratory's people reviewed."""

from pathlib import Path
from typing import Annotated

import typer

from fnrbc_device.errors import UsageError


def calibrate(
    name: Annotated[str, typer.Option("--name", help="Of the laboratory, as results and the card call it.")],
    out: Annotated[Path, typer.Option("--out", help="The site bundle to write, a new folder; install it then.")],
    cells: Annotated[
        Path | None, typer.Option("--cells", help="A cells.csv of fnrbc reviewed. [default: this device's record]")
    ] = None,
    session: Annotated[
        list[str] | None, typer.Option("--session", help="May be given several times. [default: all reviewed ones]")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="The bundle to tune. [default: the one in use]")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="TOML file. [default: /etc/fnrbc/fnrbc.toml]")
    ] = None,
) -> None:
    """Tune the network's last layers to this laboratory by its reviewed cells, and prove the gain; or refuse."""
    from fnrbc_device.config import load_config
    from fnrbc_device.daemon.active_bundle import bundle_for
    from fnrbc_device.host.clock import SystemClock
    from fnrbc_device.journal.schema import JOURNAL_NAME
    from fnrbc_device.learning.calibration import calibrate as tune
    from fnrbc_device.learning.reviewed_cells import from_folder, from_record
    from fnrbc_device.model.bundle import load_bundle

    if not name.strip():
        raise UsageError("--name is empty; give the laboratory's name")
    if out.exists():
        raise UsageError(f"--out {out} is there already; give a new name")
    if cells is not None and bundle is not None:  # beside the device: nothing of its configuration is needed
        reviewed, parent = from_folder(cells), load_bundle(bundle)
    else:
        settings = load_config(config)
        parent = load_bundle(bundle or bundle_for(settings), settings.bundle_key)
        reviewed = from_folder(cells) if cells else from_record(settings.state_dir / JOURNAL_NAME, session or [])
    made = tune(parent, reviewed, name.strip(), SystemClock().utc())
    write(out, made.files)
    print(f"{made.in_words()} -> {out}; count with it: fnrbc bundle install {out}")


def write(out: Path, files: dict[str, bytes]) -> None:
    """Put a bundle's files into a new folder, complete or not at all."""
    from fnrbc_device.model.bundle import load_bundle
    from fnrbc_device.model.seal import write_bundle

    try:
        write_bundle(out, files, prove=load_bundle)
    except OSError as error:
        raise UsageError(f"--out {out} cannot be written ({error.strerror}); choose another place") from None
