"""The centre network's part of a bundle: the same network, proved on frames that it never saw, or nothing at all."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from fnrbc_device.errors import ParityError
from fnrbc_device.inference.centre_network import OnnxCentreNetwork
from fnrbc_device.inference.tensorrt_centres import MAPS_NAME, PICTURE
from fnrbc_device.model.bundle import Bundle, load_bundle, read_files
from fnrbc_device.model.manifest import SEALED_FILES
from fnrbc_device.model.seal import npz_bytes, seal, write_bundle
from fnrbc_device.vision.centre_picture import DEEPEST, centre_picture
from fnrbc_device.vision.stain import IDENTITY
from fnrbc_export.to_onnx import exported, stripped
from fnrbc_export.verify import verify
from fnrbc_training.see_checkpoint import SeeCheckpoint
from fnrbc_training.see_network import CentreNet

EXPORT_TOLERANCE: Final = 1e-3
"""Largest difference of a map's value on the machine that exports; values reach 15. Trained networks needed 2e-5."""

DEVICE_TOLERANCE: Final = 2e-2
"""What a device is allowed: far below what another order of colours makes (1 and more), and no peak moves by it."""

GOLDEN: Final = 8
"""Frames that travel."""


def seeing_part(checkpoint: SeeCheckpoint) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Convert a training and prove it.

    Returns
    -------
    tuple
        The manifest's ``seeing``, and the files by name.

    Raises
    ------
    ParityError
        The model does not reproduce the checkpoint.
    BundleError
        The conversion gave other names or shapes than a device takes.
    """
    network = checkpoint.network()
    model = convert(network)
    wanted = [_maps(network, frame, glass) for frame, glass in zip(checkpoint.frames, checkpoint.glass, strict=True)]
    session = OnnxCentreNetwork(model)
    worst = 0.0
    for frame, glass, maps in zip(checkpoint.frames, checkpoint.glass, wanted, strict=True):
        found = session.maps(_picture(frame, glass))
        worst = max(worst, float(np.abs(found - maps).max()) if np.isfinite(found).all() else np.inf)
    session.close()
    if not worst <= EXPORT_TOLERANCE:
        raise ParityError(
            f"the model that sees is not what was trained: a map is off by {worst:.2g}, {EXPORT_TOLERANCE:.2g} is "
            "allowed; no bundle was written, mend the conversion"
        )
    about = {key: value for key, value in checkpoint.about.items() if key != "card"}
    fields = {**about, "tolerance": DEVICE_TOLERANCE, "largest_difference": worst}
    rows = np.unique(np.linspace(0, len(wanted) - 1, min(GOLDEN, len(wanted))).astype(int))
    golden = npz_bytes(
        frames=checkpoint.frames[rows],
        glass=checkpoint.glass[rows],
        maps=np.stack([wanted[int(row)] for row in rows]),
    )
    return fields, {"see.onnx": model, "golden_frames.npz": golden}


def with_seeing(bundle: Path, checkpoint: SeeCheckpoint, out: Path) -> Bundle:
    """Write a bundle again with a centre network in it; what classifies stays as it was proved.

    Parameters
    ----------
    bundle
        With or without one.
    out
        The new bundle's folder, or zip if the name ends so.

    Raises
    ------
    ParityError, BundleError
        As ``seeing_part``, or the bundle cannot be read.
    """
    known = load_bundle(bundle).manifest.model_dump(mode="json", exclude_none=True)
    old = read_files(bundle)
    entry, files = seeing_part(checkpoint)
    kept = {key: value for key, value in known.items() if key not in ("format", "bundle_id", "files", "seeing")}
    contents = {name: old[name] for name in SEALED_FILES}
    contents["MODEL_CARD.md"] = with_card(contents["MODEL_CARD.md"], checkpoint)
    write_bundle(out, seal({**kept, "seeing": entry}, {**contents, **files}), prove=verify)
    return load_bundle(out)


def with_card(card: bytes, checkpoint: SeeCheckpoint) -> bytes:
    """The model card with what is to be said of seeing, in place of what was said before; what follows stays."""
    before, _, said = card.decode().partition(_HEADING)
    _, following, after = said.partition("\n## ")
    about = f"{before.rstrip()}\n\n{_HEADING}\n\n{checkpoint.about['card'].strip()}\n"
    return f"{about}{following}{after}".encode()


def convert(network: CentreNet) -> bytes:
    """Convert to ONNX; the picture may have any sides that are multiples of 16."""
    example = torch.zeros(1, 3, 8 * DEEPEST, 10 * DEEPEST)
    rows, cols = torch.export.Dim("rows", min=1, max=512), torch.export.Dim("cols", min=1, max=512)
    model = exported(network, example, PICTURE, MAPS_NAME, {"densities": {2: DEEPEST * rows, 3: DEEPEST * cols}})
    return stripped(model)


def _maps(network: CentreNet, frame: NDArray[np.uint8], glass: NDArray[np.float64]) -> NDArray[np.float32]:
    with torch.no_grad():
        return np.asarray(network(torch.from_numpy(_picture(frame, glass)))[0].numpy(), np.float32)


def _picture(frame: NDArray[np.uint8], glass: NDArray[np.float64]) -> NDArray[np.float32]:
    red, green, blue = (float(level) for level in glass)
    return centre_picture(frame, (red, green, blue), IDENTITY)


_HEADING: Final = "## Seeing"
