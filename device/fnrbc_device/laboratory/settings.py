"""What the configuration says about the laboratory's system."""

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

LetterForm = Literal["hl7", "fhir"]

LOCAL_SYSTEM: Final = "urn:fnrbc:measure"
"""FHIR's name for codes of our own. A general code, as LOINC has it for nucleated red cells, would say something else:
those are the patient's own, not the fetus's."""

LOCAL_TABLE: Final = "99FNRBC"
"""HL7's name for the same; tables of one's own begin with 99."""

Words = Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[^\x00-\x1f\x7f]+$")]
Optional = Annotated[str, Field(max_length=80, pattern=r"^[^\x00-\x1f\x7f]*$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Code(_Part):
    """How one thing is called in the laboratory's catalogue."""

    code: Words
    text: Words
    system: Words = LOCAL_SYSTEM
    """For FHIR: a URI, such as ``http://loinc.org``."""
    table: Words = LOCAL_TABLE
    """For HL7: its name of the coding system, such as ``LN``."""


class Codes(_Part):
    """What is reported, each under its code; those that are not given are our own."""

    report: Code = Code(code="fnrbc-count", text="Count of fetal nucleated red blood cells")
    fnrbc_per_100_leukocytes: Code = Code(code="fnrbc-per-100-leukocytes", text="fNRBC per 100 leukocytes")
    ci95_low: Code = Code(code="ci95-low", text="fNRBC per 100 leukocytes, 95 % interval, lower end")
    ci95_high: Code = Code(code="ci95-high", text="fNRBC per 100 leukocytes, 95 % interval, upper end")
    fnrbc: Code = Code(code="fnrbc", text="fNRBC counted")
    leukocytes: Code = Code(code="leukocytes", text="Leukocytes counted")
    claim: Code = Code(code="claim", text="What the count may claim")
    specimen: Code = Code(
        code="BLD", text="Whole blood", system="http://terminology.hl7.org/CodeSystem/v2-0487", table="HL70487"
    )
    """What kind of specimen it is."""


class LaboratorySettings(_Part):
    """Where signed results are handed over, and how things are called there."""

    folder: Path | None = None
    """Watched by the laboratory's interface engine. None: nothing is put anywhere."""
    forms: Annotated[tuple[LetterForm, ...], Field(min_length=1, max_length=2)] = ("hl7",)
    specimen_ids: bool = False
    """Whether files in the folder name the specimen as it is written on the slide; else by its hash."""
    facility: Optional = ""
    """Who sends; empty for the site's name."""
    receiver: Optional = ""
    """The laboratory's system."""
    receiving_facility: Optional = ""
    processing: Literal["P", "T", "D"] = "P"
    """HL7's processing id: production, training or debugging."""
    codes: Codes = Codes()

    @field_validator("folder")
    @classmethod
    def _whole_path(cls, folder: Path | None) -> Path | None:
        if folder is not None and not folder.is_absolute():
            raise ValueError("give the whole path of the folder, from / on")
        return folder
