"""The engines built on this machine: each a plan with a JSON sidecar that says what it is for and how it was proved.

A plan is executable input, so none is read whose hash is not its sidecar's. A sidecar is written last, in one
step: an engine whose building was cut short has none, and does not exist.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from fnrbc_device.errors import EngineError
from fnrbc_device.host.atomic_file import held, write_whole
from fnrbc_device.inference.machine import Machine
from fnrbc_device.inference.tensorrt_centres import PICTURES
from fnrbc_device.inference.tensorrt_classifier import BATCHES
from fnrbc_device.model.bundle import Bundle
from fnrbc_device.model.manifest import Sha256, Text

KEPT: Final = 2
"""Engines of a bundle: the newest, and the last good one before it."""

FLAGS: Final = ("STRONGLY_TYPED", "no TF32")
"""How engines are built: precision as the graph says, float32 as float32. TF32 has 10 bits of fraction, and would turn
fp32's 1e-6 into 1e-3 without saying so."""

MAX_PLAN_BYTES: Final = 256 * 2**20
"""A plan has 2 MB; a larger file is something else, and is not read into memory."""


@dataclass(frozen=True, slots=True)
class Fit:
    """What an engine must have been built from and for, to be used here."""

    bundle_id: str
    onnx_sha256: str
    precision: str
    tensorrt: str
    compute_capability: str
    device_model: str
    l4t_release: str
    profile: tuple[int, ...] = BATCHES
    flags: tuple[str, ...] = FLAGS


class Sidecar(BaseModel):
    """What is known of a plan. Any field of ``Fit`` that differs here makes a new engine necessary."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    plan_sha256: Sha256
    bundle_id: Sha256
    onnx_sha256: Sha256
    precision: Text
    tensorrt: Text
    """Full version."""
    compute_capability: Text
    device_model: Text
    l4t_release: Text
    profile: tuple[int, ...]
    flags: tuple[Text, ...]
    built_at: AwareDatetime
    parity: Annotated[float, Field(ge=0, le=1)]
    """Largest difference of a probability on the golden crops, of a map's value on the golden frames, on the machine
    that built it."""


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine in the cache: proved when it was built, to be proved again before it counts."""

    plan_path: Path
    sidecar: Sidecar

    def differences(self, fit: Fit) -> list[str]:
        """Say why it is not for this bundle on this machine: one sentence for each field; none if it is."""
        wanted = asdict(fit)
        return [
            f"{name} was {getattr(self.sidecar, name)!r}, it is {value!r}"
            for name, value in wanted.items()
            if getattr(self.sidecar, name) != value
        ]

    def plan(self) -> bytes:
        """Read the plan, and prove it the one that the sidecar is of.

        Raises
        ------
        EngineError
            It is missing, or not a byte as it was built.
        """
        try:
            with self.plan_path.open("rb") as file:
                plan = file.read(MAX_PLAN_BYTES + 1)
        except OSError as error:
            raise EngineError(f"{self.plan_path} cannot be read ({error.strerror}); build the engine again") from None
        found, wanted = hashlib.sha256(plan).hexdigest(), self.sidecar.plan_sha256
        if found != wanted:
            raise EngineError(
                f"{self.plan_path} has sha256 {found[:12]}, its sidecar says {wanted[:12]}; build the engine again"
            )
        return plan


def fit_for(bundle: Bundle, machine: Machine) -> Fit:
    """What an engine for this bundle's P-net must be, on this machine."""
    return Fit(
        bundle_id=bundle.id,
        onnx_sha256=hashlib.sha256(bundle.model).hexdigest(),
        precision=bundle.manifest.precision,
        **asdict(machine),
    )


def fit_for_seeing(bundle: Bundle, machine: Machine) -> Fit:
    """What an engine for this bundle's centre network must be, on this machine. The bundle has one."""
    assert bundle.seeing is not None
    profile = tuple(side for picture in PICTURES for side in picture)
    sha256 = hashlib.sha256(bundle.seeing.model).hexdigest()
    return Fit(bundle_id=bundle.id, onnx_sha256=sha256, precision="fp32", profile=profile, **asdict(machine))


class EngineCache:
    """The engines of one graph of a bundle.

    Parameters
    ----------
    folder
        Of all engines; each bundle has a folder of its own in it.
    bundle_id
        Whose engines.
    graph
        ``see`` for the centre network's; P-net's have no word.
    """

    def __init__(self, folder: Path, bundle_id: str, graph: Literal["", "see"] = "") -> None:
        self.folder = folder / "-".join(filter(None, (bundle_id[:16], graph)))

    def engines(self) -> list[Engine]:
        """Give what is there, the newest first. A sidecar that cannot be read is no engine."""
        numbered = sorted(((_number(path), path) for path in self.folder.glob("engine-*.json")), reverse=True)
        found = [(path, _sidecar(path)) for _, path in numbered]
        return [Engine(path.with_suffix(".plan"), sidecar) for path, sidecar in found if sidecar is not None]

    def add(self, plan: bytes, sidecar: Sidecar) -> Engine:
        """Put a proved engine in its place in one step, and forget all but the last good one before it.

        Raises
        ------
        EngineError
            It cannot be written; what was there is as it was.
        """
        number = 1 + max((_number(path) for path in self.folder.glob("engine-*")), default=0)
        path = self.folder / f"engine-{number}.plan"
        try:
            write_whole(path, plan)
            write_whole(path.with_suffix(".json"), (sidecar.model_dump_json(indent=2) + "\n").encode())
        except OSError as error:
            raise EngineError(f"{path} cannot be written ({error.strerror}); free some space and build again") from None
        self._forget()
        return Engine(path, sidecar)

    @contextmanager
    def alone(self, timeout_s: float) -> Iterator[None]:
        """Hold the lock of this bundle's engines: two builders would take twice the memory and time.

        The system lets go of it however the holder ends.

        Raises
        ------
        EngineError
            Another builder holds it longer than that, or the folder cannot be made.
        """
        try:
            with held(self.folder / "lock", timeout_s):
                yield
        except TimeoutError:
            raise EngineError(
                f"another builder has held {self.folder} for more than {timeout_s:g} s; wait for it, or end it"
            ) from None
        except OSError as error:
            raise EngineError(f"{self.folder} cannot be written ({error.strerror}); choose a folder that can") from None

    def _forget(self) -> None:
        kept = {engine.plan_path.stem for engine in self.engines()[:KEPT]}
        for path in self.folder.glob("engine-*"):
            if path.name.split(".")[0] not in kept:
                path.unlink(missing_ok=True)


def _number(path: Path) -> int:
    digits = path.name.removeprefix("engine-").split(".")[0]
    return int(digits) if digits.isdigit() else 0


def _sidecar(path: Path) -> Sidecar | None:
    try:
        return Sidecar.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
