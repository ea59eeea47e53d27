"""``fnrbc validate``: what the network does at this site, as a page to read and as the figures that counts go by."""

import getpass
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from fnrbc_device.commands.on_record import put_on_record, require_owner
from fnrbc_device.commands.report_language import ReportLanguage, report_language
from fnrbc_device.errors import ReviewError, UsageError
from fnrbc_device.language import N_, _, speaking

# What is imported inside functions is heavy: `fnrbc --help` stays quick.
if TYPE_CHECKING:
    from fnrbc_device.config import Config
    from fnrbc_device.model.bundle import Bundle
    from fnrbc_device.quality.blanks import LimitOfBlank
    from fnrbc_device.records import Interval
    from fnrbc_device.reporting.validation_report import Compared
    from fnrbc_device.sessions.manual_counts import ManualCount
    from fnrbc_device.sessions.validation import SessionFigures, Validation

REPORT: Final = "validation.html"
FIGURES: Final = "validation.json"


def validate(
    out: Annotated[Path, typer.Option("--out", help=f"Folder for {REPORT} and {FIGURES}.")],
    session: Annotated[
        list[str] | None, typer.Option("--session", help="May be given several times. [default: all that are fit]")
    ] = None,
    manual: Annotated[
        Path | None, typer.Option("--manual", help="CSV of manual counts: session or specimen, and per_100.")
    ] = None,
    by: Annotated[str, typer.Option("--by", help="Who answers for it. [default: the user of this terminal]")] = "",
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Leave the figures that counts go by as they are.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    language: ReportLanguage = None,
    config: Annotated[Path | None, typer.Option("--config", help="TOML file. [default: /etc/fnrbc/fnrbc.toml]")] = None,
) -> None:
    """Measure the bundle in use on reviewed sessions and blanks of this site; its figures become the site's."""
    from fnrbc_device.config import load_config
    from fnrbc_device.daemon.active_bundle import bundle_for
    from fnrbc_device.journal.read_only import reading
    from fnrbc_device.journal.schema import JOURNAL_NAME
    from fnrbc_device.model.bundle import load_bundle
    from fnrbc_device.quality.blanks import limit_of_blank
    from fnrbc_device.reporting.validation_report import validation_html
    from fnrbc_device.sessions import controls, validation
    from fnrbc_device.sessions.manual_counts import read_manual_counts

    settings, spoken = load_config(config), report_language(language, config)
    if not report_only:
        require_owner(settings.state_dir, "fnrbc validate ...")
    counts = read_manual_counts(manual) if manual else []
    bundle = load_bundle(bundle_for(settings), settings.bundle_key)
    with reading(settings.state_dir / JOURNAL_NAME) as connection:
        found = validation.validate(connection, bundle.id, session or [])
        limit = limit_of_blank(list(controls.blanks(connection, bundle.id).values()))
    if not found.sessions:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in found.left_out.items()) or "none is on record"
        raise ReviewError(f"no session measures the bundle {bundle.id[:16]} ({reasons}); review one first")
    compared = _compared(found, counts, manual)
    figures = _figures(found, limit, compared)
    with speaking(spoken):
        page = validation_html(found, limit, compared, _about(bundle, by or getpass.getuser(), manual))
    _write(out, page, figures)
    kept = "the site's figures stay as they were" if report_only else _adopt(settings, bundle, found, limit, by)
    print(json.dumps(figures, indent=2) if as_json else _in_words(found, limit, compared, kept, out))


def _compared(found: "Validation", counts: "Sequence[ManualCount]", path: Path | None) -> "list[Compared]":
    """The machine's count and the verified one, each beside the manual count of the same slides."""
    from fnrbc_device.reporting.validation_report import compare

    if not counts:
        return []
    pairs = [(_of(found.sessions, one, path), one.per_100) for one in counts]
    machine = [(manual, of.machine_per_100) for of, manual in pairs if of.machine_per_100 is not None]
    verified = [(manual, of.verified_per_100) for of, manual in pairs if of.verified_per_100 is not None]
    return [compare(N_("Counted by the machine"), machine), compare(N_("Verified by a person"), verified)]


def _of(sessions: "Iterable[SessionFigures]", count: "ManualCount", path: Path | None) -> "SessionFigures":
    mine = [one for one in sessions if count.name == (one.session if count.by == "session" else one.specimen)]
    if len(mine) != 1:
        raise UsageError(
            f"{path}, line {count.line}: {count.by} {count.name} is that of {len(mine)} sessions measured here; "
            "name one session that was reviewed, or take the line out"
        )
    return mine[0]


def _adopt(settings: "Config", bundle: "Bundle", found: "Validation", limit: "LimitOfBlank | None", by: str) -> str:
    """Make the figures the site's: on record first, then sealed beside the bundle."""
    from fnrbc_device.daemon.active_bundle import store_of
    from fnrbc_device.host.clock import SystemClock
    from fnrbc_device.model.site_figures import SiteFigures

    figures = SiteFigures(
        bundle=bundle.id,
        made=SystemClock().utc(),
        by=by or getpass.getuser(),
        device=settings.mqtt.device,
        sessions=tuple(one.session for one in found.sessions),
        targets_right=found.targets_right,
        targets_wrong=found.targets_wrong,
        leukocytes_right=found.leukocytes_right,
        leukocytes_wrong=found.leukocytes_wrong,
        misses_known=found.misses_known,
        limit_of_blank=limit.per_100 if limit else None,
        limit_method=limit.method if limit else None,
        on=f"{len(found.sessions)} sessions of this site",
    )
    detail = (
        f"{bundle.id[:16]} by {figures.by}, {len(found.sessions)} sessions: fNRBC {found.targets_right} right and "
        f"{found.targets_wrong} missed, leukocytes {found.leukocytes_right} right, {found.leukocytes_wrong} false"
    )
    path = store_of(settings).keep_site_figures(figures, lambda: put_on_record(settings, "validate", detail))
    return f"these figures are the site's from the next session on, sealed in {path}"


def _write(out: Path, page: str, figures: dict[str, Any]) -> None:
    from fnrbc_device.host.atomic_file import write_whole

    try:
        out.mkdir(parents=True, exist_ok=True)
        write_whole(out / REPORT, page.encode())
        write_whole(out / FIGURES, (json.dumps(figures, indent=2) + "\n").encode())
    except OSError as error:
        raise UsageError(f"--out {out} cannot be written ({error.strerror}); choose a folder that can") from error


def _about(bundle: "Bundle", by: str, manual: Path | None) -> dict[str, str]:
    import fnrbc_device
    from fnrbc_device.host.clock import SystemClock, iso_utc

    return {
        _("Software"): f"fnrbc {fnrbc_device.__version__}",
        _("Model bundle"): bundle.id,
        _("Network"): bundle.manifest.network,
        _("Made"): iso_utc(SystemClock().utc()),
        _("By"): by,
        _("Manual counts"): str(manual) if manual else _("none"),
    }


def _figures(found: "Validation", limit: "LimitOfBlank | None", compared: "Sequence[Compared]") -> dict[str, Any]:
    """All figures, under stable names."""
    return {
        "bundle": found.bundle,
        "sensitivity": _share(found.sensitivity) if found.targets_right + found.targets_wrong else None,
        "specificity": _share(found.specificity),
        "false_per_1000_leukocytes": _share(found.false_per_1000),
        "misses_known": found.misses_known,
        "counts": {
            "targets_right": found.targets_right,
            "targets_wrong": found.targets_wrong,
            "leukocytes_right": found.leukocytes_right,
            "leukocytes_wrong": found.leukocytes_wrong,
        },
        "limit_of_blank": {"per_100": limit.per_100, "method": limit.method, "blanks": limit.blanks} if limit else None,
        "classes": {
            name: {"called": one.called, "open": one.open, "otherwise": one.otherwise}
            for name, one in found.classes.items()
        },
        "sessions": [one.session for one in found.sessions],
        "left_out": dict(found.left_out),
        "manual": {one.name: one.as_json() for one in compared},
    }


def _share(interval: "Interval") -> dict[str, float]:
    return {"value": interval.value, "low": interval.low, "high": interval.high}


def _in_words(
    found: "Validation", limit: "LimitOfBlank | None", compared: "Sequence[Compared]", kept: str, out: Path
) -> str:
    from fnrbc_device.texts import RESEARCH_USE_ONLY

    bound = "" if found.misses_known else ", an upper bound: not all near misses were looked at"
    of = found.targets_right + found.targets_wrong
    seen = f"{_percent(found.sensitivity)}, {found.targets_right} of {of} fNRBC{bound}" if of else "no fNRBC was seen"
    false = found.false_per_1000
    blank = f"{limit.per_100:.2f} per 100, {limit.method}, of {limit.blanks} blanks" if limit else "too few blanks"
    lines = [
        f"bundle {found.bundle[:16]} on {len(found.sessions)} sessions of this site",
        f"sensitivity {seen}",
        f"specificity {_percent(found.specificity)} of leukocytes",
        f"false fNRBC per 1,000 leukocytes {false.value:.1f} ({false.low:.1f} to {false.high:.1f})",
        f"limit of blank {blank}",
        *(f"left out {name}: {reason}" for name, reason in found.left_out.items()),
        *(_agreement(one) for one in compared),
        f"{kept}; -> {out / REPORT}",
        RESEARCH_USE_ONLY,
    ]
    return "\n".join(lines)


def _agreement(one: "Compared") -> str:
    if one.differences is None:
        return f"{one.name.lower()}: {len(one.manual)} slides with a manual count, too few to compare"
    bias = one.differences.bias
    return (
        f"{one.name.lower()} against a manual count, {len(one.manual)} slides: bias {bias.value:.2f} per 100 "
        f"({bias.low:.2f} to {bias.high:.2f}), limits {one.differences.lower.value:.2f} to "
        f"{one.differences.upper.value:.2f}"
    )


def _percent(interval: "Interval") -> str:
    return f"{100 * interval.value:.1f} % ({100 * interval.low:.1f} to {100 * interval.high:.1f})"
