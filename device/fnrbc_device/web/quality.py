"""The page of the laboratory's own quality control: controls, blanks, and what was measured at this site."""

from collections.abc import Callable

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fnrbc_device.errors import BundleError, JournalError
from fnrbc_device.host.clock import SystemClock
from fnrbc_device.journal.read_only import reading
from fnrbc_device.model.site_figures import SiteFigures
from fnrbc_device.quality.blanks import LEAST_BLANKS, LEAST_LEUKOCYTES, LEAST_NONPARAMETRIC, Blank, limit_of_blank
from fnrbc_device.quality.controls import LEAST_BASELINE, ControlResult, Standing, charts, standing
from fnrbc_device.quality.westgard import RULES
from fnrbc_device.reporting.control_chart import chart_svg
from fnrbc_device.sessions import controls as on_record
from fnrbc_device.web.access.user import require
from fnrbc_device.web.context import WebContext
from fnrbc_device.web.rendering import render

Respond = Callable[[Request], Response]


def routes(context: WebContext) -> list[Route]:
    """The page, and how the control stands now, for the live page."""
    return [Route("/quality", _page(context)), Route("/api/control", _control(context))]


def _page(context: WebContext) -> Respond:
    def respond(request: Request) -> Response:
        require(request, "viewer")
        bundle = _bundle(context)
        results, blanks = _records(context, bundle)
        drawn = charts(results, context.controls, bundle)
        site, fault = _site(context, bundle)
        return render(
            request,
            "quality.html",
            bundle=bundle,
            asked=context.controls.asked,
            standing=standing(results, context.controls, bundle, SystemClock().utc()),
            # Made of numbers, and of names that chart_svg has escaped.
            charts=[(one, Markup(chart_svg(one))) for one in drawn],
            others=len(results) - sum(len(one.points) for one in drawn),
            rules=RULES,
            site=site,
            fault=fault,
            blanks=blanks,
            limit=limit_of_blank(list(blanks.values())),
            least={
                "blanks": LEAST_BLANKS,
                "leukocytes": LEAST_LEUKOCYTES,
                "nonparametric": LEAST_NONPARAMETRIC,
                "baseline": LEAST_BASELINE,
            },
        )

    return respond


def _control(context: WebContext) -> Respond:
    def respond(request: Request) -> Response:
        require(request, "viewer")
        found = standing_now(context)
        return JSONResponse({"state": found.state, "words": found.words, "needs_reason": found.needs_reason})

    return respond


def standing_now(context: WebContext) -> Standing:
    """How the controls stand for a session that starts now."""
    rules = context.controls
    bundle = _bundle(context) if rules.asked else ""
    results, _ = _records(context, bundle) if rules.asked else ([], {})
    return standing(results, rules, bundle, SystemClock().utc())


def _bundle(context: WebContext) -> str:
    """Id of the bundle that the next session counts with; empty where it cannot be read, which the daemon says."""
    try:
        return context.bundle().id
    except BundleError:
        return ""


def _site(context: WebContext, bundle: str) -> tuple[SiteFigures | None, bool]:
    """What was measured at this site, and whether it cannot be used; the log of the daemon says why."""
    try:
        return context.site_figures(bundle), False
    except (BundleError, JournalError):
        return None, True


def _records(context: WebContext, bundle: str) -> tuple[list[ControlResult], dict[str, Blank]]:
    path = context.journal_path
    if path is None or not path.is_file():
        return [], {}
    with reading(path) as connection:
        return on_record.controls(connection), on_record.blanks(connection, bundle)
