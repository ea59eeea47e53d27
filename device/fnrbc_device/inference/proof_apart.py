"""Proves a bundle in a process of its own, with bounds: a network that hangs or takes all memory must not do so here.

Run as a program it is that process: it reads the bundle from its input and says how it went in one line of JSON.
"""

import json
import resource
import subprocess
import sys
from contextlib import closing
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device.errors import BundleError, FnrbcError, ParityError
from fnrbc_device.host import npz
from fnrbc_device.model.bundle import MAX_FILE_BYTES, MAX_GOLDEN_BYTES, Bundle, SeeingModel
from fnrbc_device.model.manifest import Manifest

PROOF_S: Final = 60.0
"""For the shipped network it takes 0.9 s on two desktop cores, the start of the process included."""

MEMORY_BYTES: Final = 4 * 2**30
"""Of address space, libraries and the stacks of threads included."""


def prove_apart(bundle: Bundle) -> None:
    """Have a bundle's networks reproduce what is golden in it, in another process.

    Raises
    ------
    ParityError
        It does not.
    BundleError
        The runtime refuses it, it takes too long or too much memory, or it ends the process that runs it.
    """
    command = [sys.executable, "-m", "fnrbc_device.inference.proof_apart"]
    try:
        done = subprocess.run(command, input=_packed(bundle), capture_output=True, timeout=PROOF_S, check=False)
    except subprocess.TimeoutExpired:
        raise BundleError(_too_much(bundle)) from None
    said = _said(done.stdout)
    if done.returncode == 0 and said == {}:
        return
    if said is None:
        raise BundleError(_too_much(bundle))
    raise (ParityError if said.get("parity") else BundleError)(str(said.get("words", "the proof failed")))


def _too_much(bundle: Bundle) -> str:
    return (
        f"the network of the bundle {bundle.id[:16]} was not proved within {PROOF_S:.0f} s and "
        f"{MEMORY_BYTES >> 30} GiB; that is no P-net, export it again"
    )


def _packed(bundle: Bundle) -> bytes:
    parts: dict[str, NDArray[Any]] = {
        "manifest": np.frombuffer(bundle.manifest.canonical(), np.uint8),
        "model": np.frombuffer(bundle.model, np.uint8),
        "golden_crops": bundle.golden_crops,
        "golden_probabilities": bundle.golden_probabilities,
    }
    if bundle.seeing is not None:
        parts |= {
            "see": np.frombuffer(bundle.seeing.model, np.uint8),
            "golden_frames": bundle.seeing.golden_frames,
            "golden_glass": bundle.seeing.golden_glass,
            "golden_maps": bundle.seeing.golden_maps,
        }
    return npz.packed(parts)


def _unpacked(content: bytes) -> Bundle:
    parts = npz.unpacked(content, 3 * MAX_FILE_BYTES + 2 * MAX_GOLDEN_BYTES)
    golden = (parts.get("golden_frames"), parts.get("golden_glass"), parts.get("golden_maps"))
    return Bundle(
        manifest=Manifest.model_validate_json(parts["manifest"].tobytes()),
        model=parts["model"].tobytes(),
        golden_crops=parts["golden_crops"],
        golden_probabilities=parts["golden_probabilities"],
        seen=np.empty(0, np.uint64),
        model_card="",
        seeing=SeeingModel(parts["see"].tobytes(), *golden) if "see" in parts else None,  # type: ignore[arg-type]
    )


def _said(output: bytes) -> dict[str, Any] | None:
    try:
        said = json.loads(output)
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


def _main() -> int:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from fnrbc_device.inference.centre_network import OnnxCentreNetwork, prove_seeing
    from fnrbc_device.inference.onnx_classifier import OnnxClassifier
    from fnrbc_device.inference.selftest import prove

    bundle = _unpacked(sys.stdin.buffer.read())
    try:
        with closing(OnnxClassifier(bundle)) as classifier:
            prove(classifier, bundle)
        if bundle.seeing is not None:
            with closing(OnnxCentreNetwork(bundle.seeing.model)) as network:
                prove_seeing(network, bundle)
    except FnrbcError as error:
        print(json.dumps({"words": str(error), "parity": isinstance(error, ParityError)}))
        return 1
    print("{}")
    return 0


if __name__ == "__main__":
    sys.exit(_main())
