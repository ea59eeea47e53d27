"""Random requests against the pages on the network, as a stranger and as who is logged in: what comes back, and what it
costs.

    tests/bench/web_fuzz.py --requests 10000 --seed 1

Exits 1 where an answer was a crash (5xx), held what it must not, the log holds a traceback, or memory grew.
"""

import argparse
import io
import json
import logging
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))

from fnrbc_device.journal.journal import Journal
from fnrbc_device.records import SessionMeta
from fnrbc_device.web.access.accounts import FILE_NAME, Account, AccountFile
from fnrbc_device.web.access.authentication import Authentication
from fnrbc_device.web.access.passwords import hash_password
from fnrbc_device.web.access.settings import AccessSettings
from fnrbc_device.web.app import application
from fnrbc_device.web.context import WebContext
from fnrbc_device.web.server import WebServer
from fnrbc_device.web.snapshot import LiveView
from fnrbc_device.web.stream import Viewers
from fuzzing import Target, fuzz
from visiting import Visit

CERTIFICATES = Path(__file__).resolve().parents[2] / "deploy" / "mqtt" / "make-certificates"
PASSWORD = "correct horse battery"
STRANGER = "zebra-keeper"
GROWTH_MB = 20.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    log = io.StringIO()
    logging.basicConfig(stream=log, level=logging.INFO)
    with tempfile.TemporaryDirectory() as folder:
        found = attacked(Path(folder), arguments.requests, arguments.seed)
    found["tracebacks"] = log.getvalue().count("Traceback")
    print(json.dumps(found, indent=2))
    if found["tracebacks"]:
        print(log.getvalue()[-4000:], file=sys.stderr)
    crashed = any(int(status) >= 500 for status in found["statuses"])
    return int(crashed or bool(found["leaks"]) or bool(found["tracebacks"]) or found["grew_mb"] > GROWTH_MB)


def attacked(folder: Path, number: int, seed: int) -> dict:
    """Serve pages of a record with a session in it, and send them random requests."""
    for words in (("authority", folder / "pki"), ("page", folder / "pki", "127.0.0.1")):
        subprocess.run([CERTIFICATES, *words], check=True, capture_output=True)
    with AccountFile(folder / FILE_NAME).changing() as accounts:
        kept = hash_password(PASSWORD)
        accounts.update({name: Account(name, "admin", kept) for name in (STRANGER, "rita")})
    journal = folder / "journal.sqlite"
    with closing(Journal.open(journal)) as record:
        record.begin("s-1", datetime.now(timezone.utc), SessionMeta("0", "b", "simulation", 0.1))
    live = LiveView()
    context = WebContext(live, journal_path=journal)
    pki = folder / "pki"
    settings = AccessSettings(folder, "always", (), pki / "page-127.0.0.1.crt", pki / "page-127.0.0.1.key")
    server = WebServer(live, context=context, access=Authentication(settings, journal))
    server.start()
    try:
        return measured(server, pki / "ca.crt", context, number, seed)
    finally:
        server.stop()


def measured(server: WebServer, ca: Path, context: WebContext, number: int, seed: int) -> dict:
    """Half of the requests warm up; what memory grows by is that of the other half."""
    pages = application(context, Viewers(context.live), Authentication())
    paths = tuple(sorted({route.path for route in pages._app.routes} - {"/logout"}))
    secrets = (STRANGER.encode(), str(ca.parents[1]).encode(), b"Traceback", b'File "', b"scrypt", b"site-packages")
    with Visit(server.url, ca) as visit:
        visit.log_in("rita", PASSWORD)
        cookie = "; ".join(f"{name}={value}" for name, value in visit.cookies.items())
        target = Target(server.port, paths, secrets, ca, cookie, visit.token)
    start = time.monotonic()
    first = fuzz(target, number // 2, seed)
    before = resident_mb()
    second = fuzz(target, number - number // 2, seed + 1)
    return {
        "requests": number,
        "paths": len(paths),
        "seconds": round(time.monotonic() - start, 1),
        "statuses": {str(status): count for status, count in sorted((first.statuses + second.statuses).items())},
        "leaks": (first.leaks + second.leaks)[:10],
        "grew_mb": round(resident_mb() - before, 1),
    }


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


if __name__ == "__main__":
    sys.exit(main())
