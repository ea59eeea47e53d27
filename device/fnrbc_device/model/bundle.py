"""The model bundle: the network together with all that is needed to use it rightly, sealed by hashes.

A folder, or the same as one zip: ``manifest.json``, ``model.onnx``, ``golden.npz``, ``seen.npy``,
``proof.json``, ``MODEL_CARD.md``, ``see.onnx`` and ``golden_frames.npz`` where a network finds the cells, and
``manifest.sig`` where it was signed. What the device cannot prove whole it
refuses.
"""

import hashlib
import json
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from fnrbc_device.errors import BundleError
from fnrbc_device.host import npz
from fnrbc_device.model.graph import fault_of
from fnrbc_device.model.head import HEAD_ARRAYS, REPLAY_ARRAYS, Head, Replay
from fnrbc_device.model.manifest import FORMAT, SEALED_FILES, SEEING_FILES, Manifest
from fnrbc_device.model.signature import SIGNATURE, require_signature
from fnrbc_device.records import Image, Role
from fnrbc_device.vision.appearance import FEATURES, QUANTILES
from fnrbc_device.vision.centre_picture import CENTRE_RECIPE, MAPS, STRIDE
from fnrbc_device.vision.preprocessing import CROP_PIXEL_SIZE_UM, CROP_PX, PREPROCESSING_ID

MANIFEST: Final = "manifest.json"

MAX_FILE_BYTES: Final = 64 * 2**20
"""A bundle of ours is below 5 MB; a larger file is something else, and is not read into memory."""

MAX_BYTES: Final = {"manifest.json": 2**20, "proof.json": 2**20, "MODEL_CARD.md": 2**20, "manifest.sig": 4096}
"""Those of text are smaller."""

MAX_ZIP_BYTES: Final = 256 * 2**20

MAX_GOLDEN_BYTES: Final = 64 * 2**20
"""Of the golden crops and their probabilities in memory, however small they were packed: 1,500 crops."""

SHIPPED: Final = Path(__file__).parents[1] / "bundles" / "default"


@dataclass(frozen=True, slots=True, eq=False)
class SeeingModel:
    """The network that says where cells are, and what it must reproduce."""

    model: bytes
    """ONNX. Takes ``picture`` (1, 3, h, w) float32, gives ``maps`` (1, 5, h / 4, w / 4) float32."""
    golden_frames: Image
    """(G, h, w, 3) uint8 RGB, at the network's scale."""
    golden_glass: NDArray[np.float64]
    """(G, 3) colour of empty glass in each."""
    golden_maps: NDArray[np.float32]
    """(G, 5, h / 4, w / 4), the checkpoint's own."""


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A bundle that was proved whole. All in memory: what was proved is what is used."""

    manifest: Manifest
    model: bytes
    """ONNX. Takes ``crops`` (N, 120, 120, 3) uint8 RGB, gives ``probabilities`` (N, classes) float32."""
    golden_crops: Image
    """(G, 120, 120, 3) uint8 RGB."""
    golden_probabilities: NDArray[np.float32]
    """(G, classes), the checkpoint's own."""
    seen: NDArray[np.uint64]
    """(S,) sorted; ``digest_of`` each picture that the network was fitted to or tuned on."""
    model_card: str
    """Markdown, for people."""
    appearance: NDArray[np.float64] | None = None
    """(classes, 5, 6) how the real crops looked that its figures were measured on: ``QUANTILES`` of ``FEATURES``, not a
    number where a class had none. None where the bundle does not say."""
    seeing: SeeingModel | None = None
    """None in a bundle whose cells are found by the paper's threshold alone."""
    head: Head | None = None
    """The last two layers. None where the bundle does not bring them: it cannot be calibrated."""
    replay: Replay | None = None
    """What a calibration shows beside a site's own cells, and is held against."""

    @property
    def id(self) -> str:
        """Names the bundle in every result."""
        return self.manifest.bundle_id

    @property
    def classes(self) -> tuple[str, ...]:
        """In the order of the probabilities' columns."""
        return self.manifest.class_names

    @property
    def roles(self) -> dict[str, Role]:
        """What each class means for the count."""
        return {entry.name: entry.role for entry in self.manifest.classes}


def digest_of(image: Image) -> int:
    """Name a picture by its pixels: first 8 bytes of their sha256."""
    return int.from_bytes(hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest()[:8], "big")


def load_bundle(path: Path | None, key: Path | None = None) -> Bundle:
    """Read a bundle and prove it whole.

    Parameters
    ----------
    path
        A bundle's folder or zip; None for the one that fnrbc ships.
    key
        Ed25519 public key, PEM, that must have signed it; None where signatures are not asked for.

    Raises
    ------
    BundleError
        It is missing, incomplete, altered, of another format, made for another preprocessing, or not signed.
    ConfigError
        The key cannot be used.
    """
    where = SHIPPED if path is None else path
    read = _reader(where)
    described = read(MANIFEST)
    if key is not None:
        require_signature(described, _signature(read), key, where)
    manifest = _manifest(described, where)
    _require_preprocessing(manifest, where)
    contents = {name: read(name) for name in manifest.sealed_files}
    for name, content in contents.items():
        _require_hash(name, content, manifest.files[name], where)
    return _opened(manifest, contents, where)


def read_files(path: Path) -> dict[str, bytes]:
    """Read all files of a bundle by their names, unproved; the signature too, where there is one.

    Raises
    ------
    BundleError
        One of them is missing.
    """
    read = _reader(path)
    files = {name: read(name) for name in (MANIFEST, *SEALED_FILES)}
    if SEEING_FILES[0].encode() in files[MANIFEST]:
        files |= {name: read(name) for name in SEEING_FILES}
    signature = _signature(read)
    return files if signature is None else {**files, SIGNATURE: signature}


def _reader(where: Path) -> Callable[[str], bytes]:
    if where.is_dir():
        return lambda name: _read_from_folder(where, name)
    if where.is_file():
        return lambda name: _read_from_zip(where, name)
    raise BundleError(f"there is no bundle at {where}; give a bundle's folder or zip")


def _read_from_folder(where: Path, name: str) -> bytes:
    try:
        with (where / name).open("rb") as file:
            return _bounded(file.read(_most(name) + 1), where, name)
    except OSError as error:
        raise BundleError(_lacking(where, name, error.strerror or "unreadable")) from None


def _read_from_zip(where: Path, name: str) -> bytes:
    if where.stat().st_size > MAX_ZIP_BYTES:
        raise BundleError(f"the zip {where} is larger than {MAX_ZIP_BYTES >> 20} MiB; that is no bundle of a P-net")
    try:
        with zipfile.ZipFile(where) as archive, archive.open(name) as file:
            return _bounded(file.read(_most(name) + 1), where, name)
    except KeyError:
        raise BundleError(_lacking(where, name, "not in the zip")) from None
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise BundleError(f"the bundle {where} is no readable zip ({error}); copy it again") from None


def _signature(read: Callable[[str], bytes]) -> bytes | None:
    try:
        return read(SIGNATURE)
    except BundleError:
        return None


def _lacking(where: Path, name: str, reason: str) -> str:
    needed = ", ".join((MANIFEST, *SEALED_FILES, *(SEEING_FILES if name in SEEING_FILES else ())))
    return f"the bundle {where} lacks {name} ({reason}); {needed} are needed, export it again"


def _bounded(content: bytes, where: Path, name: str) -> bytes:
    if len(content) > _most(name):
        raise BundleError(
            f"{name} of the bundle {where} is larger than {_most(name) / 2**20:g} MiB; that is no P-net, "
            "export it again"
        )
    return content


def _most(name: str) -> int:
    return MAX_BYTES.get(name, MAX_FILE_BYTES)


def _manifest(content: bytes, where: Path) -> Manifest:
    _require_format(content, where)
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        raise BundleError(f"{MANIFEST} of the bundle {where}: {first_error(error)}; export it again") from None
    if content != manifest.canonical() or manifest.bundle_id != manifest.identify():
        raise BundleError(f"{MANIFEST} of the bundle {where} was changed after it was sealed; export it again")
    return manifest


def _require_format(content: bytes, where: Path) -> None:
    """Ask for the format first: of another format nothing else can be said."""
    try:
        found = json.loads(content)["format"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise BundleError(
            f"{MANIFEST} of the bundle {where} names no format; format {FORMAT} is needed, export it again"
        ) from None
    if found != FORMAT:
        raise BundleError(
            f"the bundle {where} has format {found!r}, this fnrbc reads format {FORMAT}; "
            "export it again, or use the fnrbc that it was exported for"
        )


def first_error(error: ValidationError) -> str:
    """Say the first of pydantic's complaints, with the field that it is about."""
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    return f"{field}: {first['msg']}" if field else first["msg"]


def _require_preprocessing(manifest: Manifest, where: Path) -> None:
    if manifest.seeing is not None and manifest.seeing.recipe != CENTRE_RECIPE:
        raise BundleError(
            f"the bundle {where} sees pictures made by {manifest.seeing.recipe!r}, this fnrbc makes them by "
            f"{CENTRE_RECIPE!r}; train and export it again with this fnrbc"
        )
    theirs = (manifest.preprocessing_id, manifest.crop_px, manifest.pixel_size_um)
    ours = (PREPROCESSING_ID, CROP_PX, CROP_PIXEL_SIZE_UM)
    if theirs != ours:
        raise BundleError(
            f"the bundle {where} was trained on crops {_recipe(*theirs)}, this fnrbc cuts {_recipe(*ours)}; "
            "train and export it again with this fnrbc"
        )


def _recipe(name: str, side_px: int, pixel_size_um: float) -> str:
    return f"{name!r} ({side_px} px of {pixel_size_um:g} um)"


def _require_hash(name: str, content: bytes, wanted: str, where: Path) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != wanted:
        raise BundleError(
            f"{name} of the bundle {where} has sha256 {found[:12]}, its manifest says {wanted[:12]}; copy it again"
        )


def _opened(manifest: Manifest, contents: dict[str, bytes], where: Path) -> Bundle:
    try:
        golden = npz.unpacked(contents["golden.npz"], MAX_GOLDEN_BYTES)
        crops, probabilities = golden["crops"], golden["probabilities"]
        # An array beside the golden crops: bundles without it stay readable, and it is sealed like all else.
        looks = golden.get("appearance")
        tuned = {str(name): golden[name] for name in (*HEAD_ARRAYS, *REPLAY_ARRAYS) if name in golden}
        seen = npz.array_of(contents["seen.npy"], "seen.npy")
        card = contents["MODEL_CARD.md"].decode()
        _require_plain_graphs(contents)
    except (ValueError, KeyError) as error:
        raise BundleError(f"the bundle {where} was sealed with a broken file ({error}); export it again") from None
    count = len(crops)
    _require_array("golden crops", crops, (count, CROP_PX, CROP_PX, 3), np.uint8, where)
    _require_array("golden probabilities", probabilities, (count, len(manifest.classes)), np.float32, where)
    _require_array("seen pictures", seen, (len(seen),), np.uint64, where)
    if looks is not None:
        shape = (len(manifest.classes), len(QUANTILES), len(FEATURES))
        _require_array("figures of appearance", looks, shape, np.float64, where)
    seeing = None if manifest.seeing is None else _seeing(contents, where)
    head, replay = _tunable(tuned, manifest, where)
    return Bundle(manifest, contents["model.onnx"], crops, probabilities, seen, card, looks, seeing, head, replay)


def _seeing(contents: dict[str, bytes], where: Path) -> SeeingModel:
    try:
        golden = npz.unpacked(contents["golden_frames.npz"], MAX_GOLDEN_BYTES)
        frames, glass, maps = golden["frames"], golden["glass"], golden["maps"]
    except (ValueError, KeyError) as error:
        raise BundleError(f"the bundle {where} was sealed with a broken file ({error}); export it again") from None
    count, height, width = (*frames.shape, 0, 0, 0)[:3]
    _require_array("golden frames", frames, (count, height, width, 3), np.uint8, where)
    _require_array("colours of glass", glass, (count, 3), np.float64, where)
    _require_array("golden maps", maps, (count, MAPS, height // STRIDE, width // STRIDE), np.float32, where)
    return SeeingModel(contents["see.onnx"], frames, glass, maps)


def _require_plain_graphs(contents: dict[str, bytes]) -> None:
    """Refuse a network that could run for ever, or whose weights are not sealed with it."""
    for name, content in contents.items():
        fault = fault_of(content) if name.endswith(".onnx") else ""
        if fault:
            raise ValueError(f"{name} holds {fault}, which no bundle may")


def _tunable(
    arrays: dict[str, NDArray[Any]], manifest: Manifest, where: Path
) -> tuple[Head, Replay] | tuple[None, None]:
    """The head and the replay cells, where a bundle brings both."""
    if set(arrays) != {*HEAD_ARRAYS, *REPLAY_ARRAYS}:
        return None, None
    first, bias, second, bias2 = (arrays[name] for name in HEAD_ARRAYS)
    head = Head(first, bias, second, bias2, manifest.temperature)
    replay = Replay(*(arrays[name] for name in REPLAY_ARRAYS))
    (width, features), classes = head.weight1.shape, len(manifest.classes)
    _require_array("the head's first layer", head.weight1, (width, features), np.float32, where)
    _require_array("the head's first bias", head.bias1, (width,), np.float32, where)
    _require_array("the head's second layer", head.weight2, (classes, width), np.float32, where)
    _require_array("the head's second bias", head.bias2, (classes,), np.float32, where)
    taught, kept = len(replay.labels), len(replay.heldout_labels)
    _require_array("cells to replay", replay.features, (taught, features), np.float16, where)
    _require_array("labels to replay", replay.labels, (taught,), np.int64, where)
    _require_array("held-out cells", replay.heldout_features, (kept, features), np.float16, where)
    _require_array("held-out labels", replay.heldout_labels, (kept,), np.int64, where)
    return head, replay


def _require_array(what: str, array: NDArray[Any], shape: tuple[int, ...], dtype: type, where: Path) -> None:
    if array.shape != shape or array.dtype != dtype or not len(array):
        raise BundleError(
            f"{what} of the bundle {where} are {array.shape} {array.dtype}; "
            f"{shape} {np.dtype(dtype)} and at least one are needed, export it again"
        )
