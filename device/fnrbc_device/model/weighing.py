"""Two bundles by what they were measured to do: the one that counts beside the one that is to count."""

from dataclasses import dataclass
from typing import Final

from fnrbc_device.model.manifest import Figure, Manifest

_NAME_CHARACTERS: Final = 16


@dataclass(frozen=True, slots=True)
class Weighed:
    """A bundle's figures beside those of the bundle in use."""

    before: Manifest
    """In use."""
    now: Manifest

    @property
    def worse(self) -> tuple[str, ...]:
        """Figures of the new one whose whole interval lies below the old figure, in words; empty where none does.

        The old figure may have been measured on other cells: the words say on which, and a person decides.
        """
        return tuple(
            f"{name} {_percent(new)} against {100 * old.value:.1f} %"
            for name, old, new in self._figures()
            if new.high < old.value
        )

    def in_words(self) -> str:
        """Both, one above the other."""
        rows = [("", _name(self.before, "in use"), _name(self.now, "new"))]
        rows += [(name, _percent(old), _percent(new)) for name, old, new in self._figures()]
        old, new = (_false(one.metrics.specificity) for one in (self.before, self.now))
        rows.append(("false positives per 1,000", old, new))
        widths = [max(len(row[place]) for row in rows) for place in range(2)]
        lines = [f"{what:<{widths[0]}}  {left:<{widths[1]}}  {right}" for what, left, right in rows]
        lines.append(f"in use, measured on: {self.before.metrics.measured_on}")
        lines.append(f"new, measured on: {self.now.metrics.measured_on}")
        return "\n".join(lines)

    def refusal(self) -> str:
        """Why the new one is not installed, as a sentence."""
        return (
            f"the bundle {self.now.bundle_id[:_NAME_CHARACTERS]} is worse than the one in use beyond its interval: "
            f"{'; '.join(self.worse)}; keep the one in use, or install it for all that with --force, which goes on "
            "record"
        )

    def _figures(self) -> tuple[tuple[str, Figure, Figure], ...]:
        old, new = self.before.metrics, self.now.metrics
        return (
            ("sensitivity", old.sensitivity, new.sensitivity),
            ("specificity", old.specificity, new.specificity),
        )


def _name(manifest: Manifest, what: str) -> str:
    return f"{manifest.bundle_id[:_NAME_CHARACTERS]} ({what})"


def _percent(figure: Figure) -> str:
    return f"{100 * figure.value:.1f} % ({100 * figure.low:.1f} to {100 * figure.high:.1f})"


def _false(specificity: Figure) -> str:
    """Of 1,000 cells that are no fNRBC, how many are called so."""
    value, low, high = (1000 * (1 - share) for share in (specificity.value, specificity.high, specificity.low))
    return f"{value:.1f} ({low:.1f} to {high:.1f})"
