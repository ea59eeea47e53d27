"""What a dataset says of itself, in the ``dataset.toml`` beside its pictures."""

import sys
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fnrbc_device.errors import UsageError
from fnrbc_device.host.text_file import read_text
from fnrbc_device.model.bundle import first_error

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DESCRIPTION: Final = "dataset.toml"


class Description(BaseModel):
    """What a ``dataset.toml`` says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pixel_size_um: Annotated[float, Field(ge=0.02, le=2.0)]
    """Of the pictures, um. Beyond these bounds no microscope counts cells."""
    stain: Annotated[str, Field(min_length=1)]
    source: Annotated[str, Field(min_length=1)]
    crops: str | None = None
    """The recipe by which its pictures were cut to crops already, as ``fnrbc reviewed`` writes them."""
    classes: dict[str, Literal["fnrbc", "leukocyte", "other"]] = {}
    """What each class folder, or each word of a reader, counts as."""


def describe(folder: Path) -> Description:
    """Read a dataset's description.

    Raises
    ------
    UsageError
        It is missing, no TOML, or lacks something such as the pixel size.
    """
    path = folder / DESCRIPTION
    try:
        return Description.model_validate(tomllib.loads(read_text(path)))
    except ValidationError as error:
        raise UsageError(f"{path}: {first_error(error)}; mend it") from None
    except FileNotFoundError:
        raise UsageError(f"there is no {path}; it must give pixel_size_um, stain, source and [classes]") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); let this user read it") from None
    except ValueError as error:  # of the TOML or of its letters
        raise UsageError(f"{path} is no TOML ({error}); mend it") from None
