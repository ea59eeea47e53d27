"""From a template to a page: all comes with the package, so that it works without a network."""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import HTMLResponse

from fnrbc_device import __version__
from fnrbc_device.counting.claim_words import claim_lines, claim_words
from fnrbc_device.language import _, languages, script_words, spoken
from fnrbc_device.reporting.rendering import environment
from fnrbc_device.texts import (
    CONTROL_STATES,
    KIND_WORDS,
    RESEARCH_USE_ONLY,
    ROLES,
    SESSION_STATES,
    UNVERIFIED,
    WAITS,
    sentence,
)
from fnrbc_device.web.access.user import user_of

_TEMPLATES: Final = environment("fnrbc_device.web")
_TEMPLATES.globals.update(version=__version__, claim_words=claim_words, claim_lines=claim_lines, languages=languages)
_TEMPLATES.globals.update(states=SESSION_STATES, kind_words=KIND_WORDS, roles=ROLES, control_states=CONTROL_STATES)
_TEMPLATES.globals.update(sentence=sentence, waits=WAITS)


def render(request: Request, template: str, status: int = 200, **context: Any) -> HTMLResponse:
    """Make a page. All that stands in the context is escaped.

    Parameters
    ----------
    request
        Says who looks.
    template
        Name of a file in ``templates``.
    status
        Of the answer.
    context
        What the template shows.
    """
    token = request.scope.get("fnrbc.token", "")
    page = _TEMPLATES.get_template(template).render(
        user=user_of(request),
        token=token,
        path=request.url.path,
        here=_here(request),
        script_words=script_words(spoken()),
        research_use_only=_(RESEARCH_USE_ONLY),
        unverified=_(UNVERIFIED),
        **context,
    )
    return HTMLResponse(page, status)


def _here(request: Request) -> str:
    """Where to come back to after another language was chosen."""
    if request.method != "GET":
        return "/"
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")
