"""One result on its way to the laboratory's system: what is said, apart from how it is written."""

from dataclasses import dataclass
from typing import Final, Literal

from fnrbc_device.contract.results import ResultRecord
from fnrbc_device.counting.claim_words import CLAIMS, provisional_words
from fnrbc_device.laboratory.settings import Code, LaboratorySettings
from fnrbc_device.language import ENGLISH, speaking
from fnrbc_device.texts import RESEARCH_USE_ONLY, UNVERIFIED, sentence

LetterState = Literal["final", "amended", "withdrawn"]

PER_100_LEUKOCYTES: Final = "/100{WBCs}"
"""UCUM's unit: leukocytes are an annotation, for UCUM counts nothing."""

CELLS: Final = "{cells}"


@dataclass(frozen=True, slots=True)
class Measure:
    """One thing that is reported."""

    name: str
    code: Code
    value: float | int | str | None
    """None where there is none, or it does not stand any more."""
    unit: str = ""
    """By UCUM; empty for words."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A result with all that is said beside it."""

    record: ResultRecord
    specimen: str
    """The specimen's id, or the hash that stands for it; empty where none was given."""
    hashed: bool
    """Whether it is the hash."""
    site: str
    settings: LaboratorySettings

    @property
    def state(self) -> LetterState:
        """How it stands."""
        if not self.record.verified:
            return "withdrawn"
        return "amended" if self.record.version > 1 else "final"

    @property
    def identity(self) -> str:
        """Of this letter, among all that all devices ever send: sent again, it is the same."""
        return f"{self.record.epoch[:10]}-{self.record.seq}"

    @property
    def main(self) -> Measure:
        """What is asked for."""
        codes, record = self.settings.codes, self.record
        value = record.fnrbc_per_100_leukocytes
        return Measure("fnrbc_per_100_leukocytes", codes.fnrbc_per_100_leukocytes, value, PER_100_LEUKOCYTES)

    @property
    def others(self) -> list[Measure]:
        """What stands beside it."""
        codes, record = self.settings.codes, self.record
        claim = Measure("claim", codes.claim, _claim(record))
        return [
            Measure("ci95_low", codes.ci95_low, record.ci95_low, PER_100_LEUKOCYTES),
            Measure("ci95_high", codes.ci95_high, record.ci95_high, PER_100_LEUKOCYTES),
            Measure("fnrbc", codes.fnrbc, record.fnrbc, CELLS),
            Measure("leukocytes", codes.leukocytes, record.leukocytes, CELLS),
            *([claim] if claim.value is not None or self.state == "withdrawn" else []),
        ]

    @property
    def notes(self) -> list[str]:
        """What a reader must know, the first thing first. In English, as all files are."""
        record = self.record
        notes = [RESEARCH_USE_ONLY]
        if self.state == "withdrawn":
            by = f" by {record.withdrawn_by} on {record.withdrawn}" if record.withdrawn_by else ""
            why = f": {record.withdrawn_reason}" if record.withdrawn_reason else ""
            void = f"The result of {record.signed}, signed off by {record.signed_by}, is void."
            return [*notes, f"Withdrawn{by}{why}. {void}"]
        notes.append(f"Verified and signed off by {record.signed_by} on {record.signed}.")
        if self.state == "amended":
            notes.append(f"Corrected result, version {record.version}: it stands in the place of all earlier ones.")
        if record.left_open:
            because = f" Signed off for all that because: {record.reason}" if record.reason else ""
            notes.append(f"Not complete: {record.left_open}.{because}")
        elif record.reason:
            notes.append(f"Signed off for a reason: {record.reason}")
        with speaking(ENGLISH):
            if record.provisional:
                notes.append(sentence(f"provisional: {provisional_words(record.provisional.split(','))}"))
        notes.append(f"{UNVERIFIED} It had {record.machine_fnrbc} fNRBC beside {record.machine_leukocytes} leukocytes.")
        alone = f"{record.leukocytes_by_machine} of the leukocytes are the machine's alone: nobody decided on them."
        return [*notes, alone]


def _claim(record: ResultRecord) -> str | None:
    """The claim in English words, with its figure."""
    if record.claim is None:
        return None
    with speaking(ENGLISH):
        words = CLAIMS[record.claim]
    if record.claim_per_100_leukocytes is None:
        return words
    high = "more" if record.claim_ci95_high is None else f"{record.claim_ci95_high:.1f}"
    ends = f"95 % interval {record.claim_ci95_low or 0:.1f} to {high}"
    return f"{words}; {record.claim_per_100_leukocytes:.1f} per 100 leukocytes ({ends}) with misses taken out"
