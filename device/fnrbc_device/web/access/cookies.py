"""The cookies: which browser it is, its session, its language. Scripts read none of them, other sites send none."""

from dataclasses import dataclass

from starlette.types import Scope


@dataclass(frozen=True, slots=True)
class Cookie:
    """One cookie as it goes with a request."""

    scope: Scope
    name: str

    def read(self) -> str:
        """What the browser sent; empty for nothing, and where it sent two of the name."""
        header = b"; ".join(value for name, value in self.scope["headers"] if name == b"cookie")
        pairs = (pair.strip().partition("=") for pair in header.decode("latin-1").split(";"))
        found = [value for name, _, value in pairs if name == self.name]
        return found[0] if len(found) == 1 else ""

    def written(self, value: str, max_age_s: int | None = None) -> str:
        """Content of the ``Set-Cookie`` header; 0 seconds take the cookie away."""
        secure = "; Secure" if _is_tls(self.scope) else ""
        age = "" if max_age_s is None else f"; Max-Age={max_age_s}"
        return f"{self.name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{age}"


def browser_cookie(scope: Scope) -> Cookie:
    """Tell browsers apart."""
    return Cookie(scope, _named(scope, "browser"))


def session_cookie(scope: Scope) -> Cookie:
    """Tell who is logged in."""
    return Cookie(scope, _named(scope, "session"))


def language_cookie(scope: Scope) -> Cookie:
    """Keep the language that a person chose."""
    return Cookie(scope, _named(scope, "language"))


def _named(scope: Scope, what: str) -> str:
    """With the port, for browsers do not keep the cookies of a machine's ports apart.

    ``__Host-`` has the browser refuse the cookie from any other host, path or plain text (RFC 6265bis, 4.1.3.2).
    """
    port = (scope.get("server") or ("", 0))[1]
    return f"{'__Host-' if _is_tls(scope) else ''}fnrbc-{what}-{port}"


def _is_tls(scope: Scope) -> bool:
    return bool(scope["scheme"] == "https")
