"""The pages on which people say who they are: login, logout, and the name at the microscope."""

from urllib.parse import parse_qsl

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from fnrbc_device.language import N_, _
from fnrbc_device.web.access.authentication import Authentication
from fnrbc_device.web.access.browser_cookie import MAX_NAME, BrowserCookie
from fnrbc_device.web.access.cookies import browser_cookie, session_cookie
from fnrbc_device.web.access.user import user_of
from fnrbc_device.web.rendering import render

WRONG = N_("This name and password do not fit together.")


def routes(access: Authentication) -> list[Route]:
    """The pages of access."""
    pages = _Pages(access)
    return [
        Route("/login", pages.login_form, methods=["GET"]),
        Route("/login", pages.login, methods=["POST"]),
        Route("/logout", pages.logout, methods=["POST"]),
        Route("/name", pages.name_form, methods=["GET"]),
        Route("/name", pages.name, methods=["POST"]),
    ]


def form_of(request: Request) -> dict[str, str]:
    """Fields of a form that was sent. The middleware has read it already, so that a plain function can ask."""
    body: bytes = request.scope.get("fnrbc.body", b"")
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=None))


class _Pages:
    """Plain functions: they run in a thread of their own, for a password takes time to try."""

    def __init__(self, access: Authentication) -> None:
        self._access = access

    def login_form(self, request: Request) -> Response:
        if not self._access.needs_login:
            return RedirectResponse("/name", 303)
        return render(request, "login.html", next="/", words="")

    def login(self, request: Request) -> Response:
        if not self._access.needs_login:
            raise HTTPException(404)
        form, address = form_of(request), _address(request)
        name, onward = form.get("name", "").strip().lower(), local_path(form.get("next", "/"))
        found = self._access.log_in(name, form.get("password", ""), address)
        if isinstance(found, float):
            if found == 0.0:
                return render(request, "login.html", 403, next=onward, words=_(WRONG))
            seconds = max(1, round(found + 0.5))
            words = _("Too many tries: wait %(seconds)s s.", seconds=seconds)
            page = render(request, "login.html", 429, next=onward, words=words)
            page.headers["retry-after"] = str(seconds)
            return page
        answer = RedirectResponse(onward, 303)
        answer.headers["set-cookie"] = session_cookie(request.scope).written(found)
        return answer

    def logout(self, request: Request) -> Response:
        secret = session_cookie(request.scope).read()
        user = user_of(request)
        if not user.logged_in:
            raise HTTPException(404)
        self._access.log_out(secret, user.name, _address(request))
        answer = RedirectResponse("/login", 303)
        answer.headers["set-cookie"] = session_cookie(request.scope).written("", max_age_s=0)
        return answer

    def name_form(self, request: Request) -> Response:
        self._require_microscope(request)
        return render(request, "name.html", words="", most=MAX_NAME)

    def name(self, request: Request) -> Response:
        self._require_microscope(request)
        name = " ".join(form_of(request).get("name", "").split())
        if len(name) > MAX_NAME or not name.isprintable():
            words = _("A name has up to %(most)s letters.", most=MAX_NAME)
            return render(request, "name.html", 400, words=words, most=MAX_NAME)
        browser: BrowserCookie = request.scope["fnrbc.browser"]
        before = user_of(request).name
        self._access.entry.done(name or before, "name", f"at the microscope, after {before}")
        answer = RedirectResponse("/", 303)
        written = self._access.browsers.write(self._access.browsers.named(browser, name))
        answer.headers["set-cookie"] = browser_cookie(request.scope).written(written)
        return answer

    def _require_microscope(self, request: Request) -> None:
        if self._access.needs_login:
            raise HTTPException(404)


def local_path(text: str) -> str:
    """Give a path of ours to go on to; whatever could lead elsewhere becomes the first page."""
    is_ours = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isascii() and text.isprintable()
    return text if is_ours and "\\" not in text else "/"


def _address(request: Request) -> str:
    return request.client.host if request.client else ""
