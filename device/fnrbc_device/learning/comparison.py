"""The newest comparison of two bundles on reviewed cells, kept in the state folder for who looks at it later."""

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, ValidationError

from fnrbc_device.errors import JournalError, UsageError
from fnrbc_device.host.atomic_file import write_whole
from fnrbc_device.language import N_
from fnrbc_device.learning.reclassifying import Reclassified
from fnrbc_device.records import Role
from fnrbc_device.sessions.labels import KeptCell

FILE_NAME: Final = "comparison.json"

SHOWN: Final = 48
"""Cells with their pictures, 10 kB each: on more nobody looks one by one."""

SESSIONS: Final = 12
"""Sessions with a line of their own, the newest."""

MAX_BYTES: Final = 8 * 2**20
"""Of the file: with all that may be shown it has half a megabyte."""


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BundleAgreement(_Kept):
    """How often each bundle agrees with the readers on some cells."""

    what: str
    """Which cells, in words."""
    cells: Annotated[int, Field(ge=0)]
    before: Annotated[int, Field(ge=0)]
    now: Annotated[int, Field(ge=0)]


class Change(_Kept):
    """A cell that is right under one of the bundles only."""

    session: str
    cell: int
    label: Role
    before: Role | None
    now: Role | None
    """None where the bundle does not decide."""
    mended: bool
    taught: bool
    """One of the networks was taught by it."""
    png: Base64Bytes
    """The view that both were asked about."""


class Comparison(_Kept):
    """What ``fnrbc bundle compare`` found."""

    at_utc: str
    source: str
    """Where the new bundle lay, as it was given."""
    bundle_before: str
    bundle_now: str
    rows: tuple[BundleAgreement, ...]
    """All cells first, then parts of them."""
    taught: Annotated[int, Field(ge=0)]
    """Cells that one of the networks was taught by."""
    mended: Annotated[int, Field(ge=0)]
    spoiled: Annotated[int, Field(ge=0)]
    changes: tuple[Change, ...]
    """The spoiled ones first; ``SHOWN`` at most."""


def compared(
    found: Sequence[Reclassified], cells: Sequence[KeptCell], bundles: tuple[str, str], source: str, at_utc: str
) -> Comparison:
    """Sum a comparison up.

    Parameters
    ----------
    found
        As ``reclassify`` gives it.
    cells
        What it was asked about: their pictures are kept of those that change.
    bundles
        Ids of the one in use and of the new one.
    source
        Where the new one lies.
    at_utc
        ISO 8601.
    """
    pictures = {(one.session, one.cell): one.png for one in cells}
    spoiled, mended = [one for one in found if one.spoiled], [one for one in found if one.mended]
    return Comparison(
        at_utc=at_utc,
        source=source,
        bundle_before=bundles[0],
        bundle_now=bundles[1],
        rows=tuple(_rows(found)),
        taught=sum(one.taught for one in found),
        mended=len(mended),
        spoiled=len(spoiled),
        changes=tuple(_change(one, pictures) for one in [*spoiled, *mended][:SHOWN]),
    )


def keep(comparison: Comparison, state_dir: Path) -> None:
    """Put it in the place of the one before.

    Raises
    ------
    UsageError
        The state folder cannot be written.
    """
    try:
        write_whole(state_dir / FILE_NAME, comparison.model_dump_json(indent=1).encode())
    except OSError as error:
        raise UsageError(
            f"the comparison cannot be kept in {state_dir} ({error.strerror}), so the page will not show it; "
            "free some space, or run as the daemon's user"
        ) from error


def kept(state_dir: Path) -> Comparison | None:
    """Read the newest; None where nothing was compared yet.

    Raises
    ------
    JournalError
        The file is damaged.
    """
    path = state_dir / FILE_NAME
    try:
        with path.open("rb") as file:
            return Comparison.model_validate_json(file.read(MAX_BYTES))
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise JournalError(f"{path} cannot be read ({type(error).__name__}); compare the bundles again") from None


def _rows(found: Sequence[Reclassified]) -> list[BundleAgreement]:
    parts: dict[str, Callable[[Reclassified], bool]] = {
        N_("All reviewed cells"): lambda one: True,
        N_("fNRBC, as the readers say"): lambda one: one.label == "target",
        N_("No fNRBC, as the readers say"): lambda one: one.label != "target",
        N_("That neither network was taught by"): lambda one: not one.taught,
    }
    named = [_agreement(what, [one for one in found if belongs(one)]) for what, belongs in parts.items()]
    sessions = sorted({one.session for one in found})[-SESSIONS:]
    return named + [_agreement(f"Session {name}", [one for one in found if one.session == name]) for name in sessions]


def _agreement(what: str, cells: Sequence[Reclassified]) -> BundleAgreement:
    before, now = (sum(one.right_before for one in cells), sum(one.right_now for one in cells))
    return BundleAgreement(what=what, cells=len(cells), before=before, now=now)


def _change(one: Reclassified, pictures: Mapping[tuple[str, int], bytes]) -> Change:
    return Change(
        session=one.session,
        cell=one.cell,
        label=one.label,
        before=one.before,
        now=one.now,
        mended=one.mended,
        taught=one.taught,
        # The field takes what a file holds, which is base64.
        png=b64encode(pictures[one.session, one.cell]),
    )
