"""The columns of a copied log: every field that a record of the log can have, and its type."""

from typing import Any, Final, Literal

from fnrbc_device.contract.log_records import AlarmRecord, CellRecord, SessionRecord
from fnrbc_device.contract.payloads import Record
from fnrbc_device.contract.replies import AuditRecord
from fnrbc_device.contract.results import ResultRecord

Kind = Literal["integer", "number", "boolean", "string"]

RECORDS: Final[tuple[type[Record], ...]] = (CellRecord, SessionRecord, AuditRecord, AlarmRecord, ResultRecord)

OTHER: Final = "other_fields"
"""Fields that this software does not know, as one JSON object: a newer device's record is kept whole."""


def columns() -> dict[str, Kind]:
    """Names and types of the columns in order: the envelope, then each kind of record, then what is unknown."""
    found: dict[str, Kind] = {"topic": "string", "schema": "string"}
    for record in RECORDS:
        for name, field in record.model_json_schema(by_alias=True)["properties"].items():
            found.setdefault(name, _kind(field))
    return found | {OTHER: "string"}


def _kind(field: dict[str, Any]) -> Kind:
    """The one type of a field beside null."""
    types = {one.get("type") for one in field.get("anyOf", [field])} - {"null", None}
    kind: Kind = types.pop() if types else "string"
    return kind


COLUMNS: Final = columns()
