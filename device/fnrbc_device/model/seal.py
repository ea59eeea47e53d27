"""Seals a bundle and puts it in its place in one step. Torch-free: a device may re-seal, too."""

import hashlib
import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from fnrbc_device.errors import BundleError
from fnrbc_device.model.bundle import MANIFEST, first_error
from fnrbc_device.model.manifest import FORMAT, SEALED_FILES, SEEING_FILES, Manifest
from fnrbc_device.records import Image

_UNNAMED: Final = "0" * 64
"""Holds the id's place until the rest is known."""


def seal(fields: dict[str, Any], contents: dict[str, bytes]) -> dict[str, bytes]:
    """Complete a manifest with the hashes and the id.

    Parameters
    ----------
    fields
        All of ``Manifest`` but ``format``, ``bundle_id`` and ``files``, as JSON would hold them.
    contents
        All of ``SEALED_FILES``, by name, and of ``SEEING_FILES`` where the fields describe a network that sees.

    Returns
    -------
    dict[str, bytes]
        All files of the bundle, by name.

    Raises
    ------
    BundleError
        A field is missing, unknown or out of its range.
    """
    sealed = SEALED_FILES + (SEEING_FILES if fields.get("seeing") else ())
    hashes = {name: hashlib.sha256(contents[name]).hexdigest() for name in sealed}
    draft = {"format": FORMAT, "bundle_id": _UNNAMED, **fields, "files": hashes}
    try:
        manifest = Manifest.model_validate_json(json.dumps(draft))
    except ValidationError as error:
        raise BundleError(f"the manifest cannot be sealed, {first_error(error)}; mend that field") from None
    named = manifest.model_copy(update={"bundle_id": manifest.identify()})
    return {MANIFEST: named.canonical(), **{name: contents[name] for name in sealed}}


def write_bundle(out: Path, files: dict[str, bytes], prove: Callable[[Path], object]) -> None:
    """Write a bundle, prove it, then put it where it belongs.

    A reader sees the old bundle or the new one, never a mixture; a failed proof leaves the old one.

    Parameters
    ----------
    out
        A folder, or a zip if the name ends so. What is there is replaced.
    files
        As ``seal`` gives them.
    prove
        Called with the bundle before it is in place; raises to stop it.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch:
        fresh = Path(scratch) / ("new.zip" if out.suffix == ".zip" else "new")
        (_write_zip if out.suffix == ".zip" else _write_folder)(fresh, files)
        prove(fresh)
        if out.exists():
            _require_bundle(out)
            out.rename(Path(scratch) / "old")
        fresh.rename(out)


def npy_bytes(array: NDArray[Any]) -> bytes:
    """Serialise an array as a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def golden_bytes(
    crops: Image,
    probabilities: NDArray[np.float32],
    appearance: NDArray[np.float64] | None = None,
    tunable: dict[str, NDArray[Any]] | None = None,
) -> bytes:
    """Serialise golden crops, their probabilities and, where it is known, how the crops of each class look.

    ``tunable`` is what a site's calibration needs, as ``head.arrays_of`` names it.
    """
    arrays: dict[str, Any] = {"crops": crops, "probabilities": probabilities}
    if appearance is not None:
        arrays["appearance"] = appearance
    return npz_bytes(**arrays, **(tunable or {}))


def npz_bytes(**arrays: Any) -> bytes:
    """Serialise arrays as one .npz file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _write_folder(out: Path, files: dict[str, bytes]) -> None:
    out.mkdir()
    for name, content in files.items():
        (out / name).write_bytes(content)


def _write_zip(out: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def _require_bundle(out: Path) -> None:
    """Replace nothing that is no bundle: a slip of the hand must not cost a folder."""
    if out.is_dir() and not (out / MANIFEST).exists() and any(out.iterdir()):
        raise BundleError(f"{out} is a folder with other things in it; give a new name or a bundle to replace")
