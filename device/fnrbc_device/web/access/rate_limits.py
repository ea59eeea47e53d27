"""How often somebody may try: requests and logins by address, logins by account. Bounded, whoever tries."""

import ipaddress
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from fnrbc_device.host.rate_limit import RateLimit

MAX_KEYS: Final = 4096
"""Addresses or accounts that are remembered; beyond it the one not heard of for longest is forgotten."""

REQUEST_BURST: Final = 600
REQUESTS_PER_S: Final = 60.0
"""Of one address on the network. A gallery of 200 candidates is some 210 requests; a person reviews one a second."""

FREE_OF_PERSON: Final = 3
FREE_OF_ADDRESS: Final = 10
FREE_OF_ACCOUNT: Final = 30
"""Wrong passwords before the first delay: with one account from one address, as a person mistypes; from one address,
several people behind it; with one account from all addresses together, which only many strangers reach."""

MAX_DELAY_OF_ACCOUNT_S: Final = 60.0
"""Enough: at one try a minute 12 letters outlast the account."""

MAX_DELAY_OF_ADDRESS_S: Final = 900.0

FORGET_S: Final = 3600.0
"""Failures count until there was none for so long."""

LOGIN_BURST: Final = 20
LOGINS_PER_S: Final = 1.0
"""Of all addresses together: each costs 0.3 s of a core that also counts."""

IPV6_SITE_BITS: Final = 64
"""One customer has that many addresses at least: they count as one."""

Made = TypeVar("Made")


class _Remembered(Generic[Made]):
    """Something for each key, made when first asked for; the oldest goes when there are too many."""

    def __init__(self, make: Callable[[], Made]) -> None:
        self._make = make
        self._found: OrderedDict[str, Made] = OrderedDict()

    def __getitem__(self, key: str) -> Made:
        if key not in self._found:
            self._found[key] = self._make()
            if len(self._found) > MAX_KEYS:
                self._found.popitem(last=False)
        self._found.move_to_end(key)
        return self._found[key]

    def forget(self, key: str) -> None:
        self._found.pop(key, None)


class RequestLimit:
    """Keeps any address beyond loopback to a pace. Belongs to the event loop."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._budgets = _Remembered(lambda: RateLimit(REQUEST_BURST, REQUESTS_PER_S, now_s))

    def allows(self, address: str) -> bool:
        """Whether an address may ask once more; this machine's own may always."""
        return is_loopback(address) or self._budgets[place_of(address)].take()


@dataclass(slots=True)
class _Failures:
    number: int = 0
    last_s: float = float("-inf")


@dataclass(slots=True)
class _Home:
    place: str = ""


class LoginLimit:
    """Makes whoever guesses passwords wait, twice as long after each. Safe from any thread.

    What counts are the failures from an address: a stranger who fails with a name elsewhere keeps nobody out. Only
    where many addresses fail with one name does that name wait everywhere, but for where its person logged in last.
    """

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._lock = threading.Lock()
        self._persons = _Remembered(_Failures)
        """By account and address."""
        self._accounts = _Remembered(_Failures)
        self._addresses = _Remembered(_Failures)
        self._at_home = _Remembered(_Home)
        self._all = RateLimit(LOGIN_BURST, LOGINS_PER_S, now_s)

    def wait_s(self, name: str, address: str) -> float:
        """Seconds until a name may be tried from an address; 0 takes one try. The same whether the name exists."""
        with self._lock:
            person = self._persons[_person(name, address)]
            left = max(
                self._left_s(self._addresses[place_of(address)], FREE_OF_ADDRESS, MAX_DELAY_OF_ADDRESS_S),
                self._left_s(person, FREE_OF_PERSON, MAX_DELAY_OF_ACCOUNT_S),
            )
            if place_of(address) != self._at_home[name].place:
                left = max(left, self._left_s(self._accounts[name], FREE_OF_ACCOUNT, MAX_DELAY_OF_ACCOUNT_S))
            return left or (0.0 if self._all.take() else 1.0 / LOGINS_PER_S)

    def failed(self, name: str, address: str) -> None:
        """Take in that a password was wrong."""
        now = self._now_s()
        with self._lock:
            person = self._persons[_person(name, address)]
            for failures in (person, self._accounts[name], self._addresses[place_of(address)]):
                failures.number = 1 if now - failures.last_s > FORGET_S else failures.number + 1
                failures.last_s = now

    def succeeded(self, name: str, address: str) -> None:
        """Take in that a password was right. The address's failures stand: its own account must not clear them."""
        with self._lock:
            self._accounts.forget(name)
            self._persons.forget(_person(name, address))
            self._at_home[name].place = place_of(address)

    def _left_s(self, failures: _Failures, free: int, most_s: float) -> float:
        past = failures.number - free
        if past < 0:
            return 0.0
        delay = min(2.0 ** min(past, 20), most_s)
        return max(0.0, failures.last_s + delay - self._now_s())


def _person(name: str, address: str) -> str:
    return f"{place_of(address)} {name}"


def place_of(address: str) -> str:
    """Name the place that an address belongs to: itself, or the site of an IPv6 address."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((int(found), IPV6_SITE_BITS), strict=False))
    return str(found)


def is_loopback(address: str) -> bool:
    """Whether an address is this machine's own, that nobody else can have."""
    try:
        return ipaddress.ip_address(place_of(address).partition("/")[0]).is_loopback or address == "::1"
    except ValueError:
        return False
