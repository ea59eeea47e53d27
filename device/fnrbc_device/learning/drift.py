"""How the crops of a session differ from those that a bundle's figures were measured on, in plain words."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.errors import BundleError
from fnrbc_device.language import N_, _, as_decimal
from fnrbc_device.model.bundle import Bundle
from fnrbc_device.records import Role
from fnrbc_device.sessions.labels import KeptCell
from fnrbc_device.texts import class_words
from fnrbc_device.vision.appearance import FEATURES, QUANTILES, appearance

FEWEST_CROPS: Final = 20
"""Of a class: with fewer, three of ten beyond the range are chance once in ten sessions."""

DRIFTED_SHARE: Final = 0.3
"""Share beyond that range from which a difference is told of. Of 60 real cells each, erythroblasts and neutrophils that
lay in no bundle, at most 17 % were beyond in any figure; with a quarter more or less saturation, or 2 px of blur, 98 to
100 % were in the darkness of the nucleus, and 81 to 100 % of the blurred ones in sharpness."""

WORDS: Final = {
    "red": (N_("less red"), N_("redder")),
    "green": (N_("darker in green"), N_("lighter in green")),
    "blue": (N_("less blue"), N_("bluer")),
    "nucleus": (N_("darker nuclei"), N_("paler nuclei")),
    "size_um": (N_("smaller"), N_("larger")),
    "sharpness": (N_("less sharp"), N_("sharper")),
}
"""Of each feature, what crops are said to be whose figures are lower, or higher."""


@dataclass(frozen=True, slots=True)
class Drift:
    """One figure of one class, held against the bundle's."""

    class_name: str
    feature: str
    crops: int
    usual: float
    """Median of the bundle's crops."""
    median: float
    beyond: float
    """Share of the session's crops outside the range that nine in ten of the bundle's crops lie in."""

    @property
    def is_told(self) -> bool:
        """Whether it is more than chance and more than slight."""
        return self.crops >= FEWEST_CROPS and self.beyond > DRIFTED_SHARE

    def in_words(self) -> str:
        """Such as ``fnrbc: redder (median 181, usually 164; 45 % of 120 crops beyond the usual range)``."""
        return _(
            "%(name)s: %(change)s (median %(median)s, usually %(usual)s; %(beyond)s of %(crops)s crops beyond the "
            "usual range)",
            name=class_words(self.class_name),
            change=_(WORDS[self.feature][self.median > self.usual]),
            median=as_decimal(f"{self.median:.3g}"),
            usual=as_decimal(f"{self.usual:.3g}"),
            beyond=f"{self.beyond:.0%}",
            crops=self.crops,
        )


def drifts(cells: Sequence[KeptCell], bundle: Bundle) -> list[Drift]:
    """Hold a session's crops against the bundle's, class by class: how many there are of each is no drift.

    Parameters
    ----------
    cells
        Whose pictures are kept. Each is held against the class that people say it is of, else the machine's;
        indeterminate ones belong to none.
    bundle
        With figures of appearance.

    Returns
    -------
    list
        Every class that both have, every feature.

    Raises
    ------
    BundleError
        The bundle does not say how its crops looked.
    """
    if bundle.appearance is None:
        raise BundleError(
            f"the bundle {bundle.id[:16]} does not say how the crops looked that it was measured on; "
            "export it again with this fnrbc"
        )
    return [
        drift
        for column, entry in enumerate(bundle.manifest.classes)
        if not np.isnan(bundle.appearance[column]).any()
        for drift in _of_class(entry.name, _looks(cells, entry.role), bundle.appearance[column])
    ]


def in_words(found: Iterable[Drift], session: str) -> str:
    """A few lines for a person."""
    found = list(found)
    enough = sorted({one.class_name for one in found if one.crops >= FEWEST_CROPS})
    if not enough:
        return _(
            "%(session)s: too few crops of any class to tell; %(least)s of one are needed",
            session=session,
            least=FEWEST_CROPS,
        )
    told = [one.in_words() for one in found if one.is_told]
    if not told:
        return _(
            "%(session)s: crops of %(classes)s look like those that the bundle was measured on",
            session=session,
            classes=_listed(enough),
        )
    differ = _(
        "%(session)s: crops of %(classes)s differ from those that the bundle was measured on",
        session=session,
        classes=_listed(sorted({one.class_name for one in found if one.is_told})),
    )
    cure = _(
        "Its figures may not hold here: check stain, lamp, white balance and focus; where they are as they should be, "
        "review cells and train on them"
    )
    return "\n".join([differ, *told, cure])


def _listed(classes: Iterable[str]) -> str:
    return ", ".join(map(class_words, classes))


def _looks(cells: Sequence[KeptCell], role: Role) -> NDArray[np.float64]:
    mine = [one.crop for one in cells if (one.label or _machine_role(one)) == role]
    return appearance(np.stack(mine)) if mine else np.zeros((0, len(FEATURES)))


def _machine_role(cell: KeptCell) -> Role | None:
    undecided = cell.verdict.is_candidate and cell.verdict.role != "target"
    return None if undecided else cell.verdict.role


def _of_class(name: str, looks: NDArray[np.float64], usual: NDArray[np.float64]) -> Iterator[Drift]:
    """``usual`` is (5, 6): quantiles of each feature."""
    middle = QUANTILES.index(0.5)
    for column, feature in enumerate(FEATURES):
        mine, (low, *_, high) = looks[:, column], usual[:, column]
        if len(mine):
            beyond = float(((mine < low) | (mine > high)).mean())
            yield Drift(name, feature, len(mine), float(usual[middle, column]), float(np.median(mine)), beyond)
