"""What the configuration file says: one TOML, every field with its unit in the name, unknown ones refused."""

import difflib
import hashlib
import sys
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from fnrbc_device.camera.settings import CameraSettings
from fnrbc_device.errors import ConfigError
from fnrbc_device.host.disk_space import RecordSettings
from fnrbc_device.host.text_file import read_text
from fnrbc_device.laboratory.settings import LaboratorySettings
from fnrbc_device.language import languages
from fnrbc_device.mqtt.settings import MqttSettings
from fnrbc_device.quality.controls import ControlRules, Target
from fnrbc_device.records import USUAL_SEEING, SeeingMethod, SessionKind
from fnrbc_device.web.access.settings import AccessSettings, LoginPlace, is_host, is_loopback

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEFAULT_PATH: Final = Path("/etc/fnrbc/fnrbc.toml")


HostName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]
Pin = Annotated[int, Field(ge=1, le=40)]


class _ConfigPart(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ObjectiveSettings(_ConfigPart):
    """An objective that a session may be counted with."""

    name: Annotated[str, Field(pattern=r"^[\w .,/x+-]{1,40}$")]
    """As people call it, such as ``40x oil``."""
    pixel_size_um: Annotated[float, Field(ge=0.01, le=1.0)]
    """Size that a camera pixel has on the slide with it."""


class SessionSettings(_ConfigPart):
    """How sessions begin."""

    start: Literal["at_once", "by_hand"] = "at_once"
    """Whether the first begins with the daemon; the others when somebody starts them."""
    kind: SessionKind = "sample"
    """What lies under the objective where nobody says otherwise: a specimen, a blank or a control."""


class InferenceSettings(_ConfigPart):
    """What runs the network."""

    runtime: Literal["onnxruntime", "tensorrt"] = "onnxruntime"
    """The processor, or the GPU with an engine built on this machine."""
    fallback: Literal["onnxruntime", "last_good"] = "onnxruntime"
    """What counts when no engine can be built and proved: the processor, or the engine before it, or else nothing."""
    build_timeout_s: Annotated[float, Field(ge=1, le=86400)] = 3600.0
    """For building an engine; on an Orin it takes minutes."""


class ControlSlide(_ConfigPart):
    """A control whose value is known."""

    name: Annotated[str, Field(min_length=1, max_length=80)]
    """As it is written on the slide, and given for the specimen."""
    mean_per_100: Annotated[float, Field(ge=0, le=100_000)]
    """FNRBC per 100 leukocytes."""
    sd_per_100: Annotated[float, Field(ge=0, le=100_000)]
    """Of one result; 0 for a recorded control, which comes out the same each time."""


class QualityPart(_ConfigPart):
    """What a session must rest on before it is signed off."""

    ask_for_control: bool = False
    """Whether who signs off must say why, where the control failed, is too old or was counted with another bundle."""
    control_max_age_h: Annotated[float, Field(gt=0, le=8760)] = 24.0
    controls: Annotated[tuple[ControlSlide, ...], Field(max_length=16)] = ()
    """With an assigned value; others are judged by their own first 20 results."""

    def rules(self) -> ControlRules:
        """As those want it who judge controls."""
        assigned = {one.name: Target(one.mean_per_100, one.sd_per_100, "assigned") for one in self.controls}
        return ControlRules(self.ask_for_control, self.control_max_age_h, assigned)


class SeeingSettings(_ConfigPart):
    """What finds the cells."""

    method: SeeingMethod = USUAL_SEEING
    """``threshold`` is the paper's chain, ``network`` the bundle's centre network, ``both`` what they agree on."""
    everything: bool = False
    """Whether each frame is looked at. False: only those that show something new, as a camera with fewer frames a
    second would give them; the others are placed, no more."""


class RecordPart(_ConfigPart):
    """What the record may take of the disk, and how long it is kept."""

    least_free_mb: Annotated[int, Field(ge=50, le=1_000_000)] = 200
    """A session is not begun with less room on the disk of ``state_dir``."""
    keep_days: Annotated[int, Field(ge=1, le=36500)] = 365
    """Sessions that ended longer ago go, once the lab has acknowledged all their messages."""
    keep_mb: Annotated[int, Field(ge=10, le=10_000_000)] = 20_000
    """The oldest acknowledged sessions go while all together take more."""

    def settings(self) -> RecordSettings:
        """As the record's keeper wants it."""
        return RecordSettings(self.least_free_mb, self.keep_days, self.keep_mb)


class PanelSettings(_ConfigPart):
    """Footswitch, lamp and buzzer on pins of the 40-pin header, by their number there."""

    pins: Literal["none", "jetson", "mock"] = "none"
    """Whose pins: an Orin's, or the mock that tests press."""
    footswitch: Pin | None = None
    """Closes to ground."""
    green: Pin | None = None
    red: Pin | None = None
    """The lamp's two colours; None for what is not connected."""
    buzzer: Pin | None = None
    buzz: bool = False
    """Whether an fNRBC sounds the buzzer."""


class WebSettings(_ConfigPart):
    """The page at the microscope."""

    enabled: bool = True
    cert_file: Path | None = None
    """This machine's certificate, PEM, with those of its issuers; with it the page speaks TLS."""
    key_file: Path | None = None
    """Readable by the daemon's user only."""
    host: Annotated[str, Field(min_length=1, max_length=253)] = "127.0.0.1"
    """The address to listen on: this machine's own loopback, or with TLS and a login one that others reach."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8350
    """0 for any free port."""
    names: Annotated[tuple[HostName, ...], Field(max_length=16)] = ()
    """Under which others know this machine, beside its addresses and its own name."""
    login: LoginPlace = "network"
    """Who logs in: all who come over the network, or always also who sits at this machine."""
    language: str = "browser"
    """Of the page until its reader chooses another, such as ``de``; ``browser`` for what each browser asks for."""

    @field_validator("language")
    @classmethod
    def _language_is_there(cls, language: str) -> str:
        if language != "browser" and language not in languages():
            raise ValueError(f"there is no such language here; choose one of browser, {', '.join(languages())}")
        return language

    @field_validator("key_file")
    @classmethod
    def _key_goes_with_certificate(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        if key is not None and info.data.get("cert_file") is None:
            raise ValueError("key_file needs cert_file beside it; give both")
        return key

    @field_validator("host")
    @classmethod
    def _others_need_tls(cls, host: str, info: ValidationInfo) -> str:
        if not is_host(host):
            raise ValueError("an address of this machine is wanted, such as 127.0.0.1, 192.168.1.7 or 0.0.0.0")
        if not is_loopback(host) and None in (info.data.get("cert_file"), info.data.get("key_file")):
            raise ValueError("others could reach it in plain text; set cert_file and key_file, or keep 127.0.0.1")
        return host

    def access(self, state_dir: Path) -> AccessSettings:
        """As the pages want it."""
        return AccessSettings(state_dir, self.login, self.names, self.cert_file, self.key_file)


class Config(_ConfigPart):
    """The whole file."""

    state_dir: Path = Path("/var/lib/fnrbc")
    """Where the journal lives. Must survive a restart."""
    bundle: Path | None = None
    """Model bundle, a folder or a zip; None for the one that ``fnrbc bundle`` installed, or else the one shipped."""
    bundle_key: Path | None = None
    """Ed25519 public key, PEM; with it, bundles that it did not sign are refused."""
    camera: CameraSettings = CameraSettings()
    session: SessionSettings = SessionSettings()
    objectives: Annotated[tuple[ObjectiveSettings, ...], Field(max_length=16)] = ()
    """Beside the one that ``camera.pixel_size_um`` stands for. Who starts a session chooses one."""
    inference: InferenceSettings = InferenceSettings()
    quality: QualityPart = QualityPart()
    seeing: SeeingSettings = SeeingSettings()
    record: RecordPart = RecordPart()
    mqtt: MqttSettings = MqttSettings()
    panel: PanelSettings = PanelSettings()
    web: WebSettings = WebSettings()
    laboratory: LaboratorySettings = LaboratorySettings()
    """Where signed results are handed over."""

    @field_validator("objectives")
    @classmethod
    def _names_differ(cls, objectives: tuple[ObjectiveSettings, ...]) -> tuple[ObjectiveSettings, ...]:
        names = [one.name for one in objectives]
        if len(set(names)) < len(names):
            raise ValueError("two objectives have the same name; give each its own")
        return objectives

    def fingerprint(self) -> str:
        """sha256 of all values, which goes on every result."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def load_config(path: Path | None) -> Config:
    """Read a configuration file.

    Parameters
    ----------
    path
        The file; None for ``/etc/fnrbc/fnrbc.toml``, or the defaults where there is none.

    Raises
    ------
    ConfigError
        The file cannot be read, is no TOML, or a value in it is wrong or unknown.
    """
    where = path or DEFAULT_PATH
    if path is None and not where.exists():
        return Config()
    try:
        values = tomllib.loads(read_text(where))
    except OSError as error:
        raise ConfigError(f"{where} cannot be read ({error.strerror}); give an existing file with --config") from error
    except ValueError as error:  # of the TOML or of its letters
        raise ConfigError(f"{where} is no TOML: {error}; mend that line") from error
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_first_fault(error)}") from error


def _first_fault(error: ValidationError) -> str:
    """The first thing wrong, as a sentence with the cure."""
    fault = error.errors()[0]
    name = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"{name} is unknown; {_nearest(fault['loc'])}"
    return f"{name} is {fault['input']!r}, but {fault['msg'].lower()}; mend the value"


def _nearest(loc: tuple[Any, ...]) -> str:
    model: type[BaseModel] = Config
    for part in (part for part in loc[:-1] if isinstance(part, str)):  # numbers count the parts of a list
        annotation = model.model_fields[part].annotation
        found = next(iter(get_args(annotation)), annotation)
        if not (isinstance(found, type) and issubclass(found, BaseModel)):
            break
        model = found
    known = list(model.model_fields)
    near = difflib.get_close_matches(str(loc[-1]), known, n=1)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
