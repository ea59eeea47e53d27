"""What a bundle was measured to do at this site: sealed with the device's own key, and never part of the bundle."""

import hashlib
import hmac
import json
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from fnrbc_device.errors import BundleError
from fnrbc_device.model.manifest import Sha256, Text
from fnrbc_device.records import ErrorCounts

Number = Annotated[int, Field(ge=0)]

_SEAL: Final = "seal"


class _Part(BaseModel):
    """No field may be missing, none may be unknown, none changes."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SiteFigures(_Part):
    """Counts of cells that people looked at here, by what the network had made of them."""

    format: Literal[1] = 1
    bundle: Sha256
    """The one that counted all of them."""
    made: AwareDatetime
    by: Text
    """Who answers for it."""
    device: Text
    sessions: Annotated[tuple[Text, ...], Field(min_length=1)]
    targets_right: Number
    targets_wrong: Number
    """Missed, as far as people looked: see ``misses_known``."""
    leukocytes_right: Number
    leukocytes_wrong: Number
    """Whatever was called fNRBC and was none, beside so many leukocytes."""
    misses_known: bool
    """Whether people looked at all near misses; else the misses are more than these."""
    limit_of_blank: Annotated[float, Field(ge=0)] | None
    """FNRBC per 100 leukocytes; None where too few blanks were counted."""
    limit_method: Literal["nonparametric", "parametric"] | None
    on: Text

    def errors(self, shipped: tuple[ErrorCounts, ...]) -> ErrorCounts:
        """What a count is corrected by: the site's, and the misses as shipped where too few were looked for here.

        Parameters
        ----------
        shipped
            Errors that the bundle ships.
        """
        if self.misses_known and self.targets_right + self.targets_wrong:
            right, wrong, on = self.targets_right, self.targets_wrong, self.on
        else:
            right, wrong = sum(one.targets_right for one in shipped), sum(one.targets_wrong for one in shipped)
            on = f"{self.on}; misses as shipped"
        return ErrorCounts(right, wrong, self.leukocytes_right, self.leukocytes_wrong, "site", on)

    def sealed(self, key: bytes) -> bytes:
        """Write the figures with their seal: HMAC-SHA256 under the device's key."""
        fields = self.model_dump(mode="json")
        return (json.dumps({**fields, _SEAL: _seal(fields, key)}, indent=2) + "\n").encode()


def read_site_figures(path: Path, key: bytes) -> SiteFigures:
    """Read figures and prove that this device made them.

    Raises
    ------
    BundleError
        They are damaged, were changed, or were made by another device.
    """
    try:
        fields = json.loads(path.read_bytes())
        seal = str(fields.pop(_SEAL, ""))
        if not hmac.compare_digest(seal, _seal(fields, key)):
            raise BundleError(f"the site's figures {path} were changed, or made by another device; validate here again")
        return SiteFigures.model_validate(fields)
    except (OSError, ValueError, AttributeError, TypeError, ValidationError) as error:
        words = f"the site's figures {path} cannot be read ({type(error).__name__}); validate here again"
        raise BundleError(words) from error


def _seal(fields: dict[str, object], key: bytes) -> str:
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return hmac.new(key, canonical, hashlib.sha256).hexdigest()
