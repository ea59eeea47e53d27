"""Who may come in: accounts, passwords, sessions, names and limits, with a clock that the test steps."""

import contextlib
import json
import os
import threading
import time
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fnrbc_device.cli import app
from fnrbc_device.errors import ConfigError, UsageError
from fnrbc_device.journal.proof import prove
from fnrbc_device.journal.schema import open_database
from fnrbc_device.web.access import login_sessions as sessions_module
from fnrbc_device.web.access.accounts import FILE_NAME, Account, AccountFile
from fnrbc_device.web.access.authentication import WAITING_LOGINS, Authentication
from fnrbc_device.web.access.browser_cookie import NAME_S, BrowserCookies, signing_key
from fnrbc_device.web.access.login_sessions import ABSOLUTE_S, IDLE_S, LoginSessions
from fnrbc_device.web.access.pages import local_path
from fnrbc_device.web.access.passwords import NO_ACCOUNT, hash_password, is_right
from fnrbc_device.web.access.rate_limits import MAX_KEYS, LoginLimit, RequestLimit, is_loopback, place_of
from fnrbc_device.web.access.settings import AccessSettings
from fnrbc_device.web.context import WebContext
from fnrbc_device.web.server import WebServer
from fnrbc_device.web.snapshot import LiveView
from visiting import PASSWORD, Visit, cheaply_hashed

KEPT = cheaply_hashed()


class SteppedClock:
    def __init__(self) -> None:
        self.s = 1000.0

    def utc(self) -> datetime:
        return datetime(2026, 3, 1, tzinfo=timezone.utc) + timedelta(seconds=self.s)

    def monotonic_s(self) -> float:
        return self.s

    def synchronised(self) -> bool:
        return True


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder with accounts of each role."""
    folder = tmp_path / "state"
    folder.mkdir()
    with AccountFile(folder / FILE_NAME).changing() as accounts:
        for name, role in (("vera", "viewer"), ("olga", "operator"), ("rita", "reviewer"), ("ada", "admin")):
            accounts[name] = Account(name, role, KEPT)  # type: ignore[arg-type]
    return folder


def audited(journal: Path) -> list[dict[str, object]]:
    with closing(open_database(journal)) as connection:
        rows = connection.execute("SELECT payload FROM outbox WHERE topic = 'log/audit' ORDER BY seq").fetchall()
    return [json.loads(payload) for (payload,) in rows]


def test_a_password_is_known_by_its_hash_alone() -> None:
    kept = hash_password(PASSWORD)
    assert PASSWORD not in kept
    assert is_right(PASSWORD, kept)
    assert not is_right(PASSWORD + "!", KEPT)
    assert not is_right(PASSWORD, NO_ACCOUNT)
    assert not is_right(PASSWORD, "scrypt$1")
    assert cheaply_hashed() != cheaply_hashed()  # another salt


def test_trying_an_account_that_nobody_has_costs_as_much_as_one_that_somebody_has() -> None:
    kept = hash_password(PASSWORD)
    assert NO_ACCOUNT.split("$")[:4] == kept.split("$")[:4] == ["scrypt", "14", "8", "5"]
    assert [len(part) for part in NO_ACCOUNT.split("$")] == [len(part) for part in kept.split("$")]


@pytest.mark.parametrize("password", ["", "eleven char", "x" * 257])
def test_a_password_too_short_or_too_long_is_refused_with_the_limits(password: str) -> None:
    with pytest.raises(UsageError, match=rf"has {len(password)} characters, not 12 to 256"):
        hash_password(password)


def test_accounts_are_read_by_their_owner_only_and_changed_while_others_look(state: Path) -> None:
    path = state / FILE_NAME
    reader, writer = AccountFile(path), AccountFile(path)
    assert path.stat().st_mode & 0o077 == 0
    assert reader.find("rita") == Account("rita", "reviewer", KEPT)
    with writer.changing() as accounts:
        del accounts["rita"]
    assert reader.find("rita") is None
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        AccountFile(path).all()


@pytest.mark.parametrize("content", [b"", b"{}", b'{"accounts": [{"name": "Eve"}]}', b"\xff\xfe", b'{"accounts": 7}'])
def test_a_damaged_file_lets_nobody_in_and_says_so(
    state: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    access = Authentication(AccessSettings(state))
    (state / FILE_NAME).write_bytes(content)
    assert access.find_account("ada") is None
    assert access.find_account("ada") is None
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "move it away" in caplog.text


def test_a_change_that_fails_half_way_changes_nothing(state: Path) -> None:
    accounts = AccountFile(state / FILE_NAME)
    with contextlib.suppress(RuntimeError), accounts.changing() as changed:
        changed.clear()
        raise RuntimeError
    assert len(accounts.all()) == 4


def make_sessions(clock: SteppedClock) -> tuple[LoginSessions, dict[str, Account]]:
    accounts = {name: Account(name, "reviewer", KEPT) for name in ("rita", "otto")}
    return LoginSessions(clock.monotonic_s, accounts.get), accounts


def test_a_session_ends_after_half_an_hour_without_use(clock: SteppedClock) -> None:
    sessions, accounts = make_sessions(clock)
    secret = sessions.begin(accounts["rita"])
    for _ in range(3):
        clock.s += IDLE_S - 1
        assert sessions.find(secret)
    clock.s += IDLE_S
    assert sessions.find(secret) is None


def test_a_session_ends_after_twelve_hours_however_busy(clock: SteppedClock) -> None:
    sessions, accounts = make_sessions(clock)
    secret = sessions.begin(accounts["rita"])
    session = sessions.find(secret)
    assert session
    for _ in range(int(ABSOLUTE_S / 600) - 1):
        clock.s += 600
        assert sessions.find(secret)
    clock.s += 600
    assert not sessions.may_watch(session)
    assert sessions.find(secret) is None


def test_a_new_password_or_role_ends_the_sessions_of_the_old(clock: SteppedClock) -> None:
    sessions, accounts = make_sessions(clock)
    secrets = [sessions.begin(accounts[name]) for name in ("rita", "otto", "rita")]
    accounts["rita"] = Account("rita", "admin", KEPT)
    assert [bool(sessions.find(secret)) for secret in secrets] == [False, True, False]


def test_a_picture_runs_on_while_its_session_idles_and_ends_with_a_logout(clock: SteppedClock) -> None:
    sessions, accounts = make_sessions(clock)
    secret = sessions.begin(accounts["rita"])
    session = sessions.find(secret)
    assert session
    clock.s += 2 * IDLE_S
    assert sessions.may_watch(session)
    sessions.end(secret)
    assert not sessions.may_watch(session)


def test_one_person_cannot_push_others_out_with_many_logins(clock: SteppedClock) -> None:
    sessions, accounts = make_sessions(clock)
    other = sessions.begin(accounts["otto"])
    first = sessions.begin(accounts["rita"])
    for _ in range(500):
        clock.s += 0.001
        last = sessions.begin(accounts["rita"])
    assert sessions.find(other)
    assert sessions.find(last)
    assert sessions.find(first) is None
    assert len(sessions._sessions) <= sessions_module.MAX_OF_ACCOUNT + 1


def test_guessing_takes_longer_with_each_failure_for_names_that_exist_or_not(clock: SteppedClock) -> None:
    limit = LoginLimit(clock.monotonic_s)
    waits = []
    for _ in range(12):
        clock.s += 100  # as patient as the delays ask for
        assert limit.wait_s("rita", "192.0.2.1") == 0
        limit.failed("rita", "192.0.2.1")
        waits.append(limit.wait_s("rita", "192.0.2.1"))
    assert waits[:2] == [0, 0]
    assert waits[2:10] == sorted(waits[2:10])
    assert waits[2] == 1.0
    assert waits[9] == 60.0
    assert limit.wait_s("otto", "192.0.2.2") == 0  # neither name nor address
    clock.s += 3601
    assert limit.wait_s("rita", "192.0.2.1") == 0


def test_many_names_from_one_address_are_slowed_too_and_an_own_account_does_not_help(clock: SteppedClock) -> None:
    limit = LoginLimit(clock.monotonic_s)
    for number in range(14):
        clock.s += 20
        limit.failed(f"name-{number}", "192.0.2.1")
        limit.succeeded("mine", "192.0.2.1")
    assert limit.wait_s("another", "192.0.2.1") > 10
    assert limit.wait_s("another", "192.0.2.2") == 0


def test_strangers_cannot_keep_a_person_out_of_where_that_person_works(clock: SteppedClock) -> None:
    limit = LoginLimit(clock.monotonic_s)
    limit.succeeded("rita", "192.0.2.1")
    for number in range(40):
        limit.failed("rita", f"198.51.100.{number}")
    assert limit.wait_s("rita", "192.0.2.1") == 0
    assert limit.wait_s("rita", "192.0.2.9") == 60


def test_a_stranger_who_fails_elsewhere_does_not_lock_a_person_out_whoever_that_is(clock: SteppedClock) -> None:
    """The person has not logged in since the start, so nothing says where that person works."""
    limit = LoginLimit(clock.monotonic_s)
    for _ in range(20):
        clock.s += 1000
        limit.failed("rita", "198.51.100.1")
        assert limit.wait_s("rita", "192.0.2.1") == 0
    assert limit.wait_s("rita", "198.51.100.1") > 0


def test_who_mistypes_three_times_waits_a_second_not_a_minute(clock: SteppedClock) -> None:
    limit = LoginLimit(clock.monotonic_s)
    for _ in range(3):
        limit.failed("rita", "192.0.2.1")
    assert limit.wait_s("rita", "192.0.2.1") == 1.0


def test_many_strangers_together_are_slowed_too(clock: SteppedClock) -> None:
    limit = LoginLimit(clock.monotonic_s)
    for number in range(45):
        limit.failed("rita", f"198.51.100.{number}")
    assert limit.wait_s("rita", "192.0.2.1") == 60.0


def test_logins_from_everywhere_together_keep_a_pace(clock: SteppedClock) -> None:
    limit = LoginLimit(clock.monotonic_s)
    tried = sum(limit.wait_s(f"n{number}", f"10.0.{number // 250}.{number % 250}") == 0 for number in range(500))
    assert tried == 20
    clock.s += 5
    assert sum(limit.wait_s(f"n{number}", f"10.1.0.{number}") == 0 for number in range(100)) == 5


def test_what_is_remembered_of_strangers_is_bounded(clock: SteppedClock) -> None:
    limit, requests = LoginLimit(clock.monotonic_s), RequestLimit(clock.monotonic_s)
    for number in range(3 * MAX_KEYS):
        address = f"10.{number >> 16}.{(number >> 8) & 255}.{number & 255}"
        limit.failed(f"n{number}", address)
        requests.allows(address)
    assert len(limit._accounts._found) == len(limit._addresses._found) == len(limit._persons._found) == MAX_KEYS
    assert len(requests._budgets._found) == MAX_KEYS


def test_an_address_on_the_network_keeps_a_pace_and_this_machine_need_not(clock: SteppedClock) -> None:
    requests = RequestLimit(clock.monotonic_s)
    assert sum(requests.allows("192.0.2.1") for _ in range(1000)) == 600
    clock.s += 1
    assert sum(requests.allows("192.0.2.1") for _ in range(1000)) == 60
    assert all(requests.allows("127.0.0.1") for _ in range(1000))


@pytest.mark.parametrize(
    ("address", "place", "loopback"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("::1", "::/64", True),
        ("::ffff:127.0.0.1", "127.0.0.1", True),
        ("::ffff:192.0.2.7", "192.0.2.7", False),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64", False),
        ("", "", False),
    ],
)
def test_addresses_that_one_machine_can_have_are_one_place(address: str, place: str, loopback: bool) -> None:
    assert (place_of(address), is_loopback(address)) == (place, loopback)


def test_a_name_is_kept_by_the_browser_and_cannot_be_forged(clock: SteppedClock) -> None:
    browsers = BrowserCookies(b"k" * 32, lambda: clock.s)
    known = browsers.named(browsers.new(), "Änne O'Neill; <b>")
    cookie = browsers.write(known)
    assert browsers.read(cookie) == known
    assert browsers.read(BrowserCookies(b"x" * 32, lambda: clock.s).write(known)) is None
    for broken in ("", "...", cookie[:-1], cookie.replace(".", ".9", 1), "é" + cookie):
        assert browsers.read(broken) is None
    clock.s += NAME_S
    assert browsers.read(cookie).name == ""  # type: ignore[union-attr]
    assert browsers.read(cookie).id == known.id  # type: ignore[union-attr]


def test_the_key_outlives_a_restart_and_is_its_owners(tmp_path: Path) -> None:
    key = signing_key(tmp_path / "new")
    assert signing_key(tmp_path / "new") == key
    assert (tmp_path / "new" / "page.key").stat().st_mode & 0o077 == 0
    assert signing_key(None) != signing_key(None)


@pytest.mark.parametrize("path", ["//evil.example", "/\\evil.example", "https://evil.example", "", "/a\r\nb", "/a\\b"])
def test_a_login_leads_on_to_our_own_pages_only(path: str) -> None:
    assert local_path(path) == "/"
    assert local_path("/review?session=s-1") == "/review?session=s-1"


def test_a_login_is_wanted_where_there_are_no_accounts_and_refused_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="fnrbc user add"):
        WebServer(LiveView(), access=Authentication(AccessSettings(tmp_path, "always")))


@pytest.fixture
def web(state: Path, clock: SteppedClock):
    """A page on loopback that wants a login of everybody."""
    journal = state / "journal.sqlite"
    access = Authentication(AccessSettings(state, "always"), journal, "fnrbc", clock)
    live = LiveView()
    server = WebServer(live, context=WebContext(live, journal_path=journal), access=access)
    server.start()
    yield server
    server.stop()


def test_a_person_logs_in_does_something_and_logs_out_all_on_record(
    web: WebServer, state: Path, clock: SteppedClock
) -> None:
    with Visit(web.url) as visit:
        assert visit.read("/").status_code == 401
        assert visit.give("/login", name="rita", password="wrong " + PASSWORD).status_code == 403
        assert visit.give("/login", name=PASSWORD, password="rita").status_code == 403
        answer = visit.log_in(" Rita ", PASSWORD)
        assert answer.status_code == 303
        assert "rita</b>, reviewer" in visit.read("/").text
        clock.s += IDLE_S - 1
        assert visit.get("/api/state").status_code == 200
        before = dict(visit.cookies)
        assert visit.give("/logout").status_code == 303
        assert visit.get("/api/state").status_code == 401
        visit.cookies.update(before)  # who kept the cookie has nothing
        assert visit.get("/api/state").status_code == 401
    records = audited(state / "journal.sqlite")
    assert [(one["user"], one["verb"], one["outcome"], one["code"]) for one in records] == [
        ("rita", "login", "refused", "denied"),
        ("unknown", "login", "refused", "denied"),
        ("rita", "login", "accepted", ""),
        ("rita", "logout", "accepted", ""),
    ]
    assert prove(state / "journal.sqlite").fault == ""
    for path in state.iterdir():
        assert PASSWORD.encode() not in path.read_bytes()


def test_a_session_of_the_page_expires(web: WebServer, clock: SteppedClock) -> None:
    with Visit(web.url) as visit:
        visit.log_in("ada", PASSWORD)
        clock.s += IDLE_S
        assert visit.get("/api/state").status_code == 401


def test_brute_force_is_slowed_and_the_right_password_has_to_wait_too(web: WebServer, clock: SteppedClock) -> None:
    with Visit(web.url) as visit:
        visit.read("/login")
        tried = [visit.give("/login", name="rita", password="guess number one") for _ in range(4)]
        assert [one.status_code for one in tried] == [403, 403, 403, 429]
        assert int(tried[-1].headers["retry-after"]) >= 1
        assert visit.give("/login", name="rita", password=PASSWORD).status_code == 429
        clock.s += 60
        assert visit.give("/login", name="rita", password=PASSWORD).status_code == 303


def test_an_unknown_name_gets_the_same_answer(web: WebServer) -> None:
    with Visit(web.url) as visit:
        visit.read("/login")
        known, unknown = (visit.give("/login", name=name, password="wrong guess") for name in ("rita", "nobody"))
        assert (known.status_code, known.text) == (unknown.status_code, unknown.text)


def test_two_browsers_have_two_tokens_and_neither_takes_the_others(web: WebServer) -> None:
    with Visit(web.url) as rita, Visit(web.url) as olga:
        rita.log_in("rita", PASSWORD)
        olga.log_in("olga", PASSWORD)
        assert rita.token != olga.token
        rita.token = olga.token
        assert rita.give("/logout").status_code == 403
        assert rita.get("/api/state").status_code == 200


def test_a_running_picture_ends_with_the_account(web: WebServer, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fnrbc_device.web.middleware.WATCH_S", 0.1)
    with Visit(web.url) as visit:
        visit.log_in("vera", PASSWORD)
        with visit.stream("GET", "/events") as stream:
            lines = stream.iter_lines()
            assert next(lines).startswith("event")
            with AccountFile(state / FILE_NAME).changing() as accounts:
                del accounts["vera"]
            for _ in lines:  # ends by itself
                pass


@pytest.fixture
def open_web(tmp_path: Path, clock: SteppedClock):
    """A page on loopback as it comes: no login."""
    journal = tmp_path / "journal.sqlite"
    live = LiveView()
    access = Authentication(AccessSettings(tmp_path), journal, "fnrbc", clock)
    server = WebServer(live, context=WebContext(live, journal_path=journal), access=access)
    server.start()
    yield server
    server.stop()


def test_who_sits_at_the_microscope_can_say_a_name(open_web: WebServer, tmp_path: Path, clock: SteppedClock) -> None:
    with Visit(open_web.url) as visit:
        assert "Say who you are" in visit.read("/name").text
        answer = visit.give("/name", name="  Änne  <b>O'Neill</b> ")
        assert answer.status_code == 303
        assert "HttpOnly" in answer.headers["set-cookie"]
        assert "SameSite=Strict" in answer.headers["set-cookie"]
        page = visit.read("/").text
        assert "Änne &lt;b&gt;O&#39;Neill&lt;/b&gt;" in page
        clock.s += NAME_S
        assert "Say who you are" in visit.read("/name").text
        assert visit.give("/name", name="x" * 65).status_code == 400
        assert visit.get("/login").status_code == 303
    with Visit(open_web.url) as other:
        assert "Änne" not in other.read("/").text
    assert [(one["user"], one["verb"]) for one in audited(tmp_path / "journal.sqlite")] == [
        ("Änne <b>O'Neill</b>", "name")
    ]


def test_a_page_that_stays_open_over_a_restart_still_gives_orders(tmp_path: Path) -> None:
    live = LiveView()
    first = WebServer(live, access=Authentication(AccessSettings(tmp_path)))
    first.start()
    with Visit(first.url) as visit:
        visit.read("/name")
        first.stop()
        second = WebServer(live, port=first.port, access=Authentication(AccessSettings(tmp_path)))
        second.start()
        assert visit.give("/name", name="anna").status_code == 303
        second.stop()


def test_an_order_from_elsewhere_or_without_the_token_is_refused(open_web: WebServer) -> None:
    with Visit(open_web.url) as visit, Visit(open_web.url) as other:
        visit.read("/name")
        other.read("/name")
        host = f"127.0.0.1:{open_web.port}"
        for headers, token in (
            ({"origin": "http://evil.example"}, visit.token),
            ({"origin": "null"}, visit.token),
            ({"origin": f"https://{host}"}, visit.token),
            ({"origin": f"http://127.0.0.1:{open_web.port + 1}"}, visit.token),
            ({"sec-fetch-site": "cross-site"}, visit.token),
            ({"sec-fetch-site": "same-site"}, visit.token),
            ({}, other.token),
            ({}, visit.token[:-1]),
            ({}, ""),
        ):
            assert visit.post("/name", data={"name": "eve", "token": token}, headers=headers).status_code == 403
        good = {"origin": f"http://{host}", "sec-fetch-site": "same-origin", "x-fnrbc-token": visit.token}
        assert visit.post("/name", content=b"name=anna", headers=good).status_code == 303
        visit.cookies.clear()
        assert visit.give("/name", name="eve").status_code == 403


class Command:
    """``fnrbc user`` for a state folder of its own, in this process."""

    def __init__(self, folder: Path) -> None:
        self._config = folder / "fnrbc.toml"
        self._config.write_text(f'state_dir = "{folder}"\n')

    def __call__(self, *words: str, password: str = PASSWORD) -> str:
        """What it says; raises what it refuses."""
        result = CliRunner().invoke(app, ["user", *words, "--config", str(self._config)], input=password + "\n")
        if result.exception is not None:
            raise result.exception
        return result.output


def test_accounts_are_made_and_taken_away_by_a_command_and_each_change_is_on_record(tmp_path: Path) -> None:
    user = Command(tmp_path)
    assert user("add", "anna", "--role", "reviewer") == "anna may log in as reviewer\n"
    with pytest.raises(UsageError, match="fnrbc user passwd anna"):
        user("add", "anna", "--role", "admin")
    with pytest.raises(UsageError, match="'Anna!' is not"):
        user("add", "Anna!", "--role", "admin")
    with pytest.raises(UsageError, match="5 characters"):
        user("passwd", "anna", password="short")
    user("passwd", "anna", password="another good one")
    account = AccountFile(tmp_path / FILE_NAME).find("anna")
    assert account
    assert is_right("another good one", account.password)
    assert user("list").split() == ["anna", "reviewer"]
    user("remove", "anna")
    with pytest.raises(UsageError, match="known are none"):
        user("remove", "anna")
    records = audited(tmp_path / "journal.sqlite")
    assert [one["verb"] for one in records] == ["user-add", "user-passwd", "user-remove"]
    assert prove(tmp_path / "journal.sqlite").fault == ""
    assert b"another good one" not in (tmp_path / "journal.sqlite").read_bytes()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
def test_the_command_keeps_away_from_another_users_accounts(tmp_path: Path) -> None:
    os.chown(tmp_path, 1, 1)
    with pytest.raises(UsageError, match="sudo -u"):
        Command(tmp_path)("list")


def test_logins_at_once_are_tried_one_by_one_and_few_wait(state: Path, clock: SteppedClock) -> None:
    access = Authentication(AccessSettings(state, "always"), None, "fnrbc", clock)
    found: list[object] = []
    threads = [
        threading.Thread(target=lambda: found.append(access.log_in("ada", PASSWORD, "127.0.0.1"))) for _ in range(12)
    ]
    with access._one_at_a_time:
        for thread in threads:
            thread.start()
        while len(found) < len(threads) - WAITING_LOGINS:
            time.sleep(0.01)
        assert found == [1.0] * len(found)  # come again in a second
    for thread in threads:
        thread.join()
    assert sum(isinstance(one, str) for one in found) == WAITING_LOGINS
