"""A copied log as Parquet, for those who analyse it: made from the CSV, which stays the copy."""

from pathlib import Path
from typing import Final

from fnrbc_device.errors import PublishError, UsageError
from fnrbc_device.following.columns import COLUMNS, Kind

_TYPES: Final[dict[Kind, str]] = {"integer": "int64", "number": "float64", "boolean": "bool", "string": "string"}


def require_parquet() -> None:
    """Refuse early where Parquet cannot be written.

    Raises
    ------
    UsageError
        The package pyarrow is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise UsageError("--parquet needs the package pyarrow; run: pip install 'fnrbc[parquet]'") from error


def write_parquet(copy: Path) -> Path:
    """Write the Parquet beside a copy, whole or not at all; returns its path.

    Raises
    ------
    PublishError
        The copy cannot be read, or the disk refuses.
    """
    import pyarrow
    from pyarrow import csv, parquet

    target = copy.with_suffix(".parquet")
    part = target.with_suffix(".part")
    types = {name: pyarrow.type_for_alias(_TYPES[kind]) for name, kind in COLUMNS.items()}
    # Without types, an epoch such as 12e4 would be read as a number.
    options = csv.ConvertOptions(column_types=types, strings_can_be_null=True)
    try:
        parquet.write_table(csv.read_csv(copy, convert_options=options), part)
        part.replace(target)
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise PublishError(f"{target} cannot be written ({error}); free some disk, or give another --out") from error
    return target
