"""Who asks for a page, and what that person may do."""

from dataclasses import dataclass
from typing import Final, Literal

from starlette.exceptions import HTTPException
from starlette.requests import Request

from fnrbc_device.language import _
from fnrbc_device.texts import ROLES

RoleName = Literal["viewer", "operator", "reviewer", "admin"]

RANKS: Final[dict[RoleName, int]] = {"viewer": 0, "operator": 1, "reviewer": 2, "admin": 3}
"""What the higher may, the lower may not: look; start, hold and end sessions; decide on cells and sign
sessions off; take specimen ids off the device."""


@dataclass(frozen=True, slots=True)
class User:
    """A person at a browser."""

    name: str
    """Stands in the record beside what the person decides."""
    role: RoleName
    logged_in: bool = False
    """With a password; at the microscope nobody needs one."""


AT_THE_MICROSCOPE: Final = User("microscope", "admin")
"""Whoever sits before the device itself, where nobody need log in."""


def user_of(request: Request) -> User:
    """Who asks. The middleware in front of all pages has made sure of it."""
    user = request.scope.get("fnrbc.user", AT_THE_MICROSCOPE)
    assert isinstance(user, User)
    return user


def require(request: Request, role: RoleName) -> User:
    """Who asks, if that person has at least this role.

    Raises
    ------
    HTTPException
        403 otherwise.
    """
    user = user_of(request)
    if RANKS[user.role] < RANKS[role]:
        raise HTTPException(
            403,
            _(
                "%(name)s is %(role)s; this needs %(wanted)s: ask an admin",
                name=user.name,
                role=ROLES[user.role],
                wanted=ROLES[role],
            ),
        )
    return user
