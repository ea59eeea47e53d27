"""``fnrbc user``: who may log in at this device's pages."""

import getpass
import os
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from fnrbc_device.errors import UsageError

# What is imported inside functions is heavy: `fnrbc --help` stays quick.
if TYPE_CHECKING:
    from fnrbc_device.config import Config
    from fnrbc_device.web.access.accounts import Account, AccountFile
    from fnrbc_device.web.access.login_audit import Act

MAX_LINE: Final = 4096
"""Of a password that comes through a pipe."""

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Accounts for the pages on the network. A password is asked for, or read from a pipe; never an argument.",
)

ConfigPath = Annotated[Path | None, typer.Option("--config", help="TOML file. [default: /etc/fnrbc/fnrbc.toml]")]
Name = Annotated[str, typer.Argument(help="a-z, 0-9, '_' and '-'.")]


class Role(Enum):
    """What the higher may, the lower may not."""

    viewer = "viewer"
    operator = "operator"
    reviewer = "reviewer"
    admin = "admin"


@app.command()
def add(
    name: Name,
    role: Annotated[
        Role,
        typer.Option(
            help="viewer looks; operator also counts; reviewer also decides on cells and signs off; "
            "admin also takes files with the specimen's id."
        ),
    ],
    config: ConfigPath = None,
) -> None:
    """Add an account. It can log in at once."""
    from fnrbc_device.web.access.accounts import Account, require_name
    from fnrbc_device.web.access.passwords import hash_password

    settings, accounts = _opened(config)
    if require_name(name) in accounts.all():
        raise UsageError(f"there is an account {name} already; give it a new password with: fnrbc user passwd {name}")
    hashed = hash_password(_new_password())
    with accounts.changing() as changed:
        changed[name] = Account(name, role.value, hashed)
        _record(settings, "user-add", f"{name} as {role.value}")
    print(f"{name} may log in as {role.value}")


@app.command("list")
def list_command(config: ConfigPath = None) -> None:
    """List the accounts and their roles."""
    _, accounts = _opened(config)
    for account in sorted(accounts.all().values(), key=lambda one: one.name):
        print(f"{account.name:<32}  {account.role}")


@app.command()
def remove(name: Name, config: ConfigPath = None) -> None:
    """Remove an account. Whoever is logged in with it is not any more."""
    settings, accounts = _opened(config)
    with accounts.changing() as changed:
        _require_known(name, changed)
        del changed[name]
        _record(settings, "user-remove", name)
    print(f"{name} cannot log in any more")


@app.command()
def passwd(name: Name, config: ConfigPath = None) -> None:
    """Give an account a new password. Whoever is logged in with the old one is not any more."""
    from dataclasses import replace

    from fnrbc_device.web.access.passwords import hash_password

    settings, accounts = _opened(config)
    _require_known(name, accounts.all())
    hashed = hash_password(_new_password())
    with accounts.changing() as changed:
        _require_known(name, changed)
        changed[name] = replace(changed[name], password=hashed)
        _record(settings, "user-passwd", name)
    print(f"{name} has a new password")


def _opened(config: Path | None) -> "tuple[Config, AccountFile]":
    from fnrbc_device.config import load_config
    from fnrbc_device.web.access.accounts import FILE_NAME, AccountFile

    settings = load_config(config)
    folder = settings.state_dir
    if not folder.is_dir():
        raise UsageError(f"state_dir {folder} does not exist; make it, and give it to the daemon's user")
    if folder.stat().st_uid != os.geteuid():
        raise UsageError(
            f"{folder} belongs to {folder.owner()}, who alone may read the accounts; run this as that user: "
            f"sudo -u {folder.owner()} fnrbc user ..."
        )
    return settings, AccountFile(folder / FILE_NAME)


def _require_known(name: str, accounts: "dict[str, Account]") -> None:
    if name not in accounts:
        raise UsageError(f"there is no account {name!r}; known are {', '.join(sorted(accounts)) or 'none'}")


def _record(settings: "Config", act: "Act", detail: str) -> None:
    """Put a change on record. It comes first, so that nothing is changed that is not."""
    from fnrbc_device.host.clock import SystemClock
    from fnrbc_device.journal.schema import JOURNAL_NAME
    from fnrbc_device.web.access.login_audit import LoginAudit

    entry = LoginAudit(settings.state_dir / JOURNAL_NAME, settings.mqtt.device, SystemClock())
    entry.done(getpass.getuser(), act, detail)


def _new_password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline(MAX_LINE).rstrip("\r\n")
    password = getpass.getpass("New password: ")
    if getpass.getpass("Once more: ") != password:
        raise UsageError("the two passwords are not the same; try again")
    return password
