"""The page that leads from reviewed cells to the next network: drift, the newest comparison, and what to run."""

import base64
import logging
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fnrbc_device.contract.names import is_segment
from fnrbc_device.errors import BundleError, JournalError, ReviewError
from fnrbc_device.host.console import readable
from fnrbc_device.journal.read_only import reading
from fnrbc_device.language import N_, _, decimal, number
from fnrbc_device.learning.comparison import Change, Comparison, kept
from fnrbc_device.learning.drift import Drift
from fnrbc_device.learning.drift_cache import DriftCache, DriftReport
from fnrbc_device.records import Role
from fnrbc_device.sessions.lookup import newest
from fnrbc_device.web.access.user import require
from fnrbc_device.web.context import WebContext
from fnrbc_device.web.rendering import render

_log = logging.getLogger(__name__)

SESSIONS_LISTED: Final = 50
"""Of the newest, to choose from; every other one by its name in the address."""

FEATURES: Final = {
    "red": N_("Red of the cell, 0 to 255"),
    "green": N_("Green of the cell, 0 to 255"),
    "blue": N_("Blue of the cell, 0 to 255"),
    "nucleus": N_("Nucleus in green, 0 to 255: lower is darker"),
    "size_um": N_("Diameter, \N{MICRO SIGN}m"),
    "sharpness": N_("Sharpness, grey values a pixel"),
}

CALLED: Final[dict[Role | None, str]] = {
    "target": "fNRBC", "denominator": N_("leukocyte"), "ignored": N_("other"), None: N_("indeterminate")
}  # fmt: skip

Respond = Callable[[Request], Response]


@dataclass(frozen=True, slots=True)
class Command:
    """One step of the way, to be copied into a shell."""

    where: str
    what: str
    line: str


def routes(context: WebContext) -> list[Route]:
    """The page."""
    return [Route("/learn", _page(context))]


def _page(context: WebContext) -> Respond:
    path = context.journal_path
    reports = DriftCache(path, context.bundle) if path else None
    config = _options(context)

    def respond(request: Request) -> Response:
        require(request, "reviewer")
        listed = _sessions(context)
        if path is None or reports is None or not listed:
            return render(request, "learn_empty.html")
        session = request.query_params.get("session") or listed[0][0]
        drift, fault = _drift(reports, session)
        comparison, damage = _comparison(path.parent)
        return render(
            request,
            "learn.html",
            session=session,
            listed=listed,
            drift=drift,
            fault=fault,
            features=FEATURES,
            figure=_figure,
            comparison=comparison,
            damage=damage,
            changes=[(one, _picture(one)) for one in comparison.changes] if comparison else [],
            called=CALLED,
            number=number,
            install=f"fnrbc bundle install {shlex.quote(comparison.source)}{config}" if comparison else "",
            use=f"fnrbc bundle use {comparison.bundle_now[:16]}{config}" if comparison else "",
            rollback=f"fnrbc bundle rollback{config}",
            shell=f"fnrbc drift {session}{config}",
            commands=_commands(config),
            calibrating=context.calibrating,
            standing=context.calibrating.standing if context.calibrating else None,
            config=config,
        )

    return respond


def _drift(reports: DriftCache, session: str) -> tuple[DriftReport | None, str]:
    """The report, or why there is none."""
    try:
        if is_segment(session):
            return reports.of(session), ""
    except BundleError as error:
        _log.warning("no drift can be told: %s", error)
        return None, _(
            "The bundle in use cannot be read, or does not say how the crops looked that it was measured on."
        )
    except ReviewError:
        pass
    raise HTTPException(404, _("There is no such session in the record; choose one of the list."))


def _comparison(state_dir: Path) -> tuple[Comparison | None, str]:
    """The newest, or what is wrong with it."""
    try:
        return kept(state_dir), ""
    except JournalError as error:
        _log.warning("no comparison can be shown: %s", error)
        return None, _("The file of the newest comparison is damaged; compare the bundles again.")


def _sessions(context: WebContext) -> list[tuple[str, str]]:
    """Names and starts, newest first."""
    path = context.journal_path
    if path is None or not path.is_file():
        return []
    with reading(path) as connection:
        return newest(connection, SESSIONS_LISTED)


def _commands(config: str) -> list[Command]:
    """The way from here on, in the order in which it is gone; ``config`` ends what runs on this device."""
    here, there = N_("on this device"), N_("where torch is")
    cut = "fnrbc-train cut --data FOLDER --data reviewed/cells.csv --out crops.npz"
    return [
        Command(here, N_("All reviewed sessions as a dataset"), f"fnrbc reviewed --out reviewed{config}"),
        Command(there, N_("Their crops, and those of other labelled cells in FOLDER"), cut),
        Command(there, N_("A network: ten minutes of a core or so"), "fnrbc-train fit --data crops.npz --out pnet.pt"),
        Command(there, N_("A bundle, proved against the network"), "fnrbc-export onnx pnet.pt --out pnet-new"),
        Command(here, N_("What it makes of the reviewed cells"), f"fnrbc bundle compare pnet-new{config}"),
        Command(here, N_("Keep it here, beside the one in use"), f"fnrbc bundle install pnet-new{config}"),
        Command(here, N_("Count with it from the next session on, by its id"), f"fnrbc bundle use ID{config}"),
        Command(here, N_("Take that back"), f"fnrbc bundle rollback{config}"),
    ]


def _options(context: WebContext) -> str:
    """What a command on this device needs to find what the daemon found."""
    return f" --config {readable(shlex.quote(str(context.config_file)))}" if context.config_file else ""


def _figure(one: Drift, value: float) -> str:
    return decimal(value, 1 if one.feature in ("size_um", "sharpness") else 0)


def _picture(one: Change) -> str:
    return f"data:image/png;base64,{base64.b64encode(one.png).decode('ascii')}"
