"""From a template to a page: all comes with the package, so that it works without a network."""

from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from fnrbc_device import __version__
from fnrbc_device.texts import RESEARCH_USE_ONLY, UNVERIFIED, claim_lines, claim_words
from fnrbc_device.web.access.user import user_of

_TEMPLATES: Final = Environment(
    loader=PackageLoader("fnrbc_device.web", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.globals.update(version=__version__, research_use_only=RESEARCH_USE_ONLY, unverified=UNVERIFIED)
_TEMPLATES.globals.update(claim_words=claim_words, claim_lines=claim_lines)


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
        user=user_of(request), token=token, path=request.url.path, **context
    )
    return HTMLResponse(page, status)
