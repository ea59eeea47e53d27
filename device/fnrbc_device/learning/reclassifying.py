"""What another bundle makes of the cells that people reviewed, before it goes live."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.counting.counter import FIRST_VIEWS, decide_alike, fuse
from fnrbc_device.errors import UsageError
from fnrbc_device.inference.onnx_classifier import OnnxClassifier
from fnrbc_device.inference.second_look import as_counted
from fnrbc_device.inference.selftest import prove
from fnrbc_device.model.bundle import Bundle, digest_of
from fnrbc_device.model.manifest import Manifest
from fnrbc_device.records import INDETERMINATE, Image, Role
from fnrbc_device.sessions.labels import KeptCell


@dataclass(frozen=True, slots=True)
class Reclassified:
    """One reviewed cell, as people and two bundles have it."""

    session: str
    cell: int
    label: Role
    before: Role | None
    now: Role | None
    """None where the bundle does not decide."""
    taught: bool
    """One of the networks was fitted to or tuned on this very picture: its being right says little."""

    @property
    def right_before(self) -> bool:
        """Whether the bundle before took it for the target, or for none, as the readers do."""
        return _right(self.before, self.label)

    @property
    def right_now(self) -> bool:
        """The same of the new bundle."""
        return _right(self.now, self.label)

    @property
    def mended(self) -> bool:
        """Told from the target rightly now, and not before."""
        return not self.right_before and self.right_now

    @property
    def spoiled(self) -> bool:
        """Told from the target rightly before, and not now."""
        return self.right_before and not self.right_now


def reclassify(cells: Sequence[KeptCell], before: Bundle, now: Bundle) -> list[Reclassified]:
    """Ask two networks about the reviewed cells among some, each on the views that the record keeps.

    As in a count the third view is asked about only where the first two do not decide alike. Of a cell that was no
    candidate one view is kept: these figures compare the bundles, they are none of a count.

    Raises
    ------
    ParityError
        A network does not reproduce its checkpoint's probabilities on this machine.
    UsageError
        None of the cells is reviewed.
    """
    reviewed = [(one, one.label) for one in cells if one.label is not None]
    if not reviewed:
        raise UsageError("none of these cells is reviewed; review candidates first")
    views = [one.crops for one, _ in reviewed]
    seen = np.union1d(before.seen, now.seen)
    taught = [bool(np.isin([digest_of(crop) for crop in crops], seen).any()) for crops in views]
    asked = zip(_roles(before, views), _roles(now, views), taught, strict=True)
    return [
        Reclassified(one.session, one.cell, label, *answers)
        for (one, label), answers in zip(reviewed, asked, strict=True)
    ]


def in_words(found: Sequence[Reclassified], before: str, now: str) -> str:
    """A few lines for a person; ``before`` and ``now`` name the bundles."""
    mended, spoiled = [one for one in found if one.mended], [one for one in found if one.spoiled]
    fnrbc = sum(one.label == "target" for one in found)
    lines = [
        f"{len(found)} reviewed cells, {fnrbc} of them fNRBC, on the views that the record keeps",
        f"{before}: agrees with the readers on {sum(one.right_before for one in found)}",
        f"{now}: agrees with the readers on {sum(one.right_now for one in found)}",
        _untaught(found),
        f"{len(mended)} mended{_named(mended)}",
        f"{len(spoiled)} spoiled{_named(spoiled)}",
    ]
    return "\n".join(lines)


def _untaught(found: Sequence[Reclassified]) -> str:
    """What a network was taught it knows by heart: what counts is the rest."""
    new = [one for one in found if not one.taught]
    if not new:
        return "all of these cells taught one of the two: for an honest comparison review a session that taught neither"
    agree = f"{sum(one.right_before for one in new)} before, {sum(one.right_now for one in new)} now"
    return f"of the {len(new)} that neither was taught by: {agree}"


def _right(decided: Role | None, label: Role) -> bool:
    return decided is not None and (decided == "target") == (label == "target")


def _named(cells: Sequence[Reclassified]) -> str:
    return ": " + ", ".join(f"{one.session}/{one.cell}" for one in cells) if cells else ""


def _roles(bundle: Bundle, views: list[Image]) -> list[Role | None]:
    with closing(OnnxClassifier(bundle)) as classifier:
        prove(classifier, bundle)
        found = as_counted(classifier, bundle.manifest).probabilities(np.concatenate(views))
        looks = np.split(found, np.cumsum([len(one) for one in views])[:-1])
    return [_role(look, bundle.manifest) for look in looks]


def _role(look: NDArray[np.float32], manifest: Manifest) -> Role | None:
    """What a count would make of the views of one cell, (V, classes)."""
    first = look[:FIRST_VIEWS]
    verdict, _ = fuse(first if decide_alike(first, manifest) else look, manifest)
    return None if verdict.class_name == INDETERMINATE else verdict.role
