"""``fnrbc bundle``: rolls a retrained network out to this device, and takes it back."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fnrbc_device.commands.on_record import put_on_record, require_owner
from fnrbc_device.daemon.active_bundle import bundle_for, store_of
from fnrbc_device.errors import BundleError, UsageError

# What is imported inside functions is heavy: `fnrbc --help` stays quick.
if TYPE_CHECKING:
    from fnrbc_device.config import Config
    from fnrbc_device.inference.bundle_store import Record
    from fnrbc_device.model.bundle import Bundle
    from fnrbc_device.model.weighing import Weighed

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Install a model bundle, switch between those installed, take a switch back. The next session counts with it.",
)

ConfigPath = Annotated[Path | None, typer.Option("--config", help="TOML file. [default: /etc/fnrbc/fnrbc.toml]")]


@app.command()
def install(
    source: Annotated[Path, typer.Argument(help="A bundle's folder or zip.")],
    force: Annotated[
        bool, typer.Option("--force", help="Take one that is worse than the one in use. That goes on record.")
    ] = False,
    config: ConfigPath = None,
) -> None:
    """Prove a bundle and keep it, its figures laid beside those of the one in use. What counts stays: see use."""
    settings = _switchable(config)
    store = store_of(settings)
    print(store.weigh(source).in_words(), flush=True)
    bundle = store.install(source, force=force, record=_recorded(settings, "bundle-install"))
    name = bundle.id[:16]
    print(f"bundle {name} is installed and does not count yet; to count with it: fnrbc bundle use {name}")


@app.command("list")
def list_command(config: ConfigPath = None) -> None:
    """List the bundles on this device; a star marks the one that the next session counts with."""
    from fnrbc_device.config import load_config
    from fnrbc_device.inference.bundle_store import SHIPPED_NAME

    settings = load_config(config)
    active = bundle_for(settings)
    for path in (None, *store_of(settings).installed()):
        print(f"{'*' if path == active else ' '} {path.name if path else SHIPPED_NAME:<16}  {_described(path)}")
    if settings.bundle is not None:
        print(f"* {settings.bundle}, which the configuration names")


@app.command()
def use(
    name: Annotated[str, typer.Argument(help="The first characters of a bundle's id, or: shipped.")],
    config: ConfigPath = None,
) -> None:
    """Count with an installed bundle from the next session on, its figures laid beside those of the one in use."""
    settings = _switchable(config)
    store = store_of(settings)
    print(store.weigh(store.find(name)).in_words(), flush=True)
    print(_counts(store.use(name, _recorded(settings, "bundle-use"))))


@app.command()
def rollback(config: ConfigPath = None) -> None:
    """Take the last switch back: the bundle before it counts from the next session on."""
    settings = _switchable(config)
    print(_counts(store_of(settings).rollback(_recorded(settings, "bundle-rollback"))))


@app.command()
def compare(
    source: Annotated[Path, typer.Argument(help="The new bundle's folder or zip.")],
    session: Annotated[
        list[str] | None, typer.Option("--session", help="May be given several times. [default: all reviewed ones]")
    ] = None,
    config: ConfigPath = None,
) -> None:
    """Ask a bundle about the cells that people reviewed, beside the one in use; nothing is switched.

    The page's *Learn* shows the newest comparison.
    """
    from fnrbc_device.config import load_config
    from fnrbc_device.host.clock import SystemClock
    from fnrbc_device.journal.schema import JOURNAL_NAME
    from fnrbc_device.learning.comparison import compared, keep
    from fnrbc_device.learning.reclassifying import in_words, reclassify
    from fnrbc_device.model.bundle import load_bundle
    from fnrbc_device.sessions.labels import of_sessions

    settings = load_config(config)
    before, now = (load_bundle(one, settings.bundle_key) for one in (bundle_for(settings), source))
    of_session = of_sessions(settings.state_dir / JOURNAL_NAME, session or [])
    cells = [cell for cells in of_session.values() for cell in cells]
    found = reclassify(cells, before, now)
    print(in_words(found, f"{before.id[:16]}, in use", now.id[:16]))
    at_utc = SystemClock().utc().isoformat(timespec="seconds")
    keep(compared(found, cells, (before.id, now.id), str(source.absolute()), at_utc), settings.state_dir)


def _switchable(config: Path | None) -> "Config":
    from fnrbc_device.config import load_config

    settings = load_config(config)
    if settings.bundle is not None:
        raise UsageError(
            f"the configuration names the bundle {settings.bundle}, which counts whatever is installed; "
            "take `bundle` out of it first"
        )
    require_owner(settings.state_dir, "fnrbc bundle ...")
    return settings


def _recorded(settings: "Config", verb: str) -> "Record":
    """Put on record what is switched or installed, and what of it is worse than what counted before."""

    def record(weighed: "Weighed") -> None:
        worse = f"; worse, by force: {'; '.join(weighed.worse)}" if weighed.worse else ""
        put_on_record(settings, verb, f"{weighed.now.bundle_id[:16]}, before it {weighed.before.bundle_id[:16]}{worse}")

    return record


def _counts(bundle: "Bundle") -> str:
    return f"bundle {bundle.id[:16]} counts from the next session on"


def _described(path: Path | None) -> str:
    from fnrbc_device.model.bundle import load_bundle

    try:
        manifest = load_bundle(path).manifest
    except BundleError as error:
        return f"cannot be used: {error}"
    figures = manifest.metrics
    return (
        f"{manifest.created:%Y-%m-%d %H:%M} {manifest.precision}  sensitivity {100 * figures.sensitivity.value:.2f} %, "
        f"specificity {100 * figures.specificity.value:.2f} %  {manifest.network}"
    )
