"""The shipped bundle as it was before a network found cells."""

import json
import shutil
from pathlib import Path

import fnrbc_device
from fnrbc_device.model.manifest import SEEING_FILES, Manifest

SHIPPED = Path(fnrbc_device.__file__).parent / "bundles" / "default"


def bundle_without_eyes(folder: Path) -> Path:
    """Write it, sealed."""
    shutil.copytree(SHIPPED, folder, ignore=shutil.ignore_patterns(*SEEING_FILES))
    said = json.loads((folder / "manifest.json").read_text())
    del said["seeing"]
    said["files"] = {name: digest for name, digest in said["files"].items() if name not in SEEING_FILES}
    manifest = Manifest.model_validate_json(json.dumps(said))
    sealed = manifest.model_copy(update={"bundle_id": manifest.identify()})
    (folder / "manifest.json").write_bytes(sealed.canonical())
    return folder
