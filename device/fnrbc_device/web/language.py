"""In which language each reader is spoken to: the one chosen on the page, else the configured, else the browser's."""

from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from fnrbc_device.language import ENGLISH, languages, preferred
from fnrbc_device.web.access.cookies import language_cookie
from fnrbc_device.web.access.pages import form_of, local_path

KEPT_S: Final = 365 * 24 * 3600
"""How long a choice stays in the browser."""


def routes() -> list[Route]:
    """Where the choice goes."""
    return [Route("/language", _choose, methods=["POST"])]


def language_of(scope: Scope, configured: str) -> str:
    """The language of who asks.

    Parameters
    ----------
    scope
        Of the request.
    configured
        The device's language; ``browser`` for what each browser asks for.
    """
    there, chosen = languages(), language_cookie(scope).read()
    if chosen in there:
        return chosen
    if configured in there:
        return configured
    asked = b",".join(value for name, value in scope["headers"] if name == b"accept-language")
    return preferred(asked.decode("latin-1")) or ENGLISH


def _choose(request: Request) -> Response:
    form = form_of(request)
    chosen = form.get("language", "")
    if chosen not in languages():
        raise HTTPException(400, "There is no such language here.")
    answer = RedirectResponse(local_path(form.get("next", "/")), 303)
    answer.headers["set-cookie"] = language_cookie(request.scope).written(chosen, KEPT_S)
    return answer
