"""Lines to copy for each command of ``fnrbc``: they stand below its help, in the manual and in docs/cli.md."""

from collections.abc import Mapping
from typing import Final

EXAMPLES: Final[Mapping[str, tuple[str, ...]]] = {
    "count": (
        "fnrbc count slide-17/ --pixel-size-um 0.125 --out result",
        "fnrbc count slide-17.svs --out result",
        "fnrbc count slide-17/ --pixel-size-um 0.125 --compare result --bundle new.zip --out again",
    ),
    "batch": (
        "fnrbc batch archive/*.svs --out counted",
        "fnrbc batch archive.csv --out counted --compare new.zip",
    ),
    "demo": ("fnrbc demo", "fnrbc demo --seconds 30 --look he"),
    "run": ("fnrbc run --config replay.toml",),
    "check": ("fnrbc check", "fnrbc check --config replay.toml"),
    "verify": ("fnrbc verify 20260301-120000", "fnrbc verify /var/lib/fnrbc --against follower"),
    "reviewed": ("fnrbc reviewed --out reviewed", "fnrbc reviewed --session 20260301-120000 --out reviewed"),
    "drift": ("fnrbc drift 20260301-120000", "fnrbc drift 20260301-120000 --bundle new.zip"),
    "bundle install": ("fnrbc bundle install pnet-new.zip",),
    "bundle list": ("fnrbc bundle list",),
    "bundle use": ("fnrbc bundle use 3fa9c1d2",),
    "bundle rollback": ("fnrbc bundle rollback",),
    "bundle compare": ("fnrbc bundle compare pnet-new.zip",),
    "user add": ("fnrbc user add rita --role reviewer", "pass show fnrbc/olaf | fnrbc user add olaf --role operator"),
    "user list": ("fnrbc user list",),
    "user remove": ("fnrbc user remove olaf",),
    "user passwd": ("fnrbc user passwd rita",),
    "follow": ("fnrbc follow --host broker.lab --ca ca.pem --out copies",),
    "backup": ("fnrbc backup /media/usb/fnrbc-backup",),
    "restore": ("fnrbc restore /media/usb/fnrbc-backup",),
    "validate": ("fnrbc validate --out validation", "fnrbc validate --manual manual.csv --by rita --out validation"),
    "calibrate": ("fnrbc calibrate --name city-hospital --out city.zip",),
    "simulate": ("fnrbc simulate --pan --seed 5 --out pan", "fnrbc simulate --cells 1000 --out cells"),
    "bench": ("fnrbc bench", "fnrbc bench pan/frames --pixel-size-um 0.125 --json"),
    "version": ("fnrbc version",),
}
