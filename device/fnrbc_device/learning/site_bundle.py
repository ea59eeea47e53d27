"""A site bundle: its parent's files with the tuned head in them, proved and sealed."""

from datetime import datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fnrbc_device import __version__
from fnrbc_device.errors import BundleError
from fnrbc_device.inference.onnx_classifier import INPUT, OUTPUT, open_session
from fnrbc_device.intervals import share
from fnrbc_device.model.bundle import Bundle
from fnrbc_device.model.head import Head, arrays_of, features_of, with_head
from fnrbc_device.model.manifest import UNDECIDED, Manifest, decide
from fnrbc_device.model.seal import golden_bytes, npy_bytes, npz_bytes, seal

GOLDEN_TOLERANCE: Final = 1e-4
"""Of a probability, between the tuned numbers and the model file that holds them: both compute in float32."""

BINS: Final = 15
"""Of the expected calibration error."""


def counted(
    name: str, decided: NDArray[np.int64], labels: NDArray[np.int64], manifest: Manifest
) -> list[dict[str, Any]]:
    """The laboratory's cells held back in turn, as a manifest's ``metrics.counts`` has them."""
    target = manifest.target
    right = ((decided == target) == (labels == target)) & (decided != UNDECIDED)
    rows = []
    for column, entry in enumerate(manifest.classes):
        here = labels == column
        if here.any():
            undecided = int((here & (decided == UNDECIDED)).sum())
            good = int((here & right).sum())
            rows.append(
                {
                    "laboratory": name, "class_name": entry.name, "role": entry.role, "right": good,
                    "wrong": int(here.sum()) - good - undecided, "undecided": undecided,
                }
            )  # fmt: skip
    return rows


def site_bundle(
    parent: Bundle, head: Head, site: dict[str, Any], counts: list[dict[str, Any]], at: datetime
) -> dict[str, bytes]:
    """Put a tuned head in its parent's place, prove it on the golden crops, and seal what comes out.

    Parameters
    ----------
    parent
        With head and replay cells.
    head
        Tuned.
    site
        Fields of the manifest's ``site``.
    counts
        Of the laboratory, as ``counted`` gives them.
    at
        When, with its zone.

    Returns
    -------
    dict[str, bytes]
        All files of the bundle, by name.

    Raises
    ------
    BundleError
        The file does not compute what was tuned.
    """
    assert parent.head is not None
    assert parent.replay is not None
    model = with_head(parent.model, parent.head, head)
    golden = _proved(model, head, parent)
    manifest = parent.manifest.model_dump(mode="json", exclude_none=True, exclude={"format", "bundle_id", "files"})
    manifest["site"] = site
    manifest["created"] = at.isoformat(timespec="seconds")
    manifest["software_version"] = __version__
    manifest["network"] += f", tuned for {site['name']}"
    manifest["metrics"] = _metrics(head, parent, counts)
    tunable = arrays_of(head, parent.replay)
    contents = {
        "model.onnx": model,
        "golden.npz": golden_bytes(parent.golden_crops, golden, parent.appearance, tunable),
        "seen.npy": npy_bytes(parent.seen),
        "proof.json": b'{"proved": "the golden crops, against the tuned numbers"}\n',
        "MODEL_CARD.md": _card(parent, site).encode(),
    }
    if parent.seeing is not None:
        of = parent.seeing
        frames = npz_bytes(frames=of.golden_frames, glass=of.golden_glass, maps=of.golden_maps)
        contents |= {"see.onnx": parent.seeing.model, "golden_frames.npz": frames}
    return seal(manifest, contents)


def _proved(model: bytes, head: Head, parent: Bundle) -> NDArray[np.float32]:
    """(G, C) the golden crops' probabilities by the tuned numbers; the model file must give the same."""
    crops = np.ascontiguousarray(parent.golden_crops)
    wanted = head.probabilities(features_of(parent.model, crops)).astype(np.float32)
    (found,) = open_session(model, len(parent.classes)).run([OUTPUT], {INPUT: crops})
    off = float(np.abs(found - wanted).max())
    if not off <= GOLDEN_TOLERANCE:
        raise BundleError(
            f"a probability of the golden crops is off by {off:.2g}, {GOLDEN_TOLERANCE:g} is allowed: the model file "
            "does not compute what was tuned; train and export the parent again"
        )
    return wanted


def _metrics(head: Head, parent: Bundle, counts: list[dict[str, Any]]) -> dict[str, Any]:
    """Figures on the parent's held-out cells, by the tuned head; the laboratory's own stand in the counts."""
    assert parent.replay is not None
    manifest, replay = parent.manifest, parent.replay
    found = head.probabilities(replay.heldout_features)
    decided = decide(found, manifest.target, manifest.indeterminate)
    positive = replay.heldout_labels == manifest.target
    right = ((decided == manifest.target) == positive) & (decided != UNDECIDED)
    kinds = {"accuracy": np.ones(len(right), bool), "sensitivity": positive, "specificity": ~positive}
    figures = {name: share(int(right[of].sum()), int(of.sum())) for name, of in kinds.items()}
    home = [
        {**row, "laboratory": laboratory, "class_name": name}
        for laboratory, name in sorted({tuple(str(n).split("/", 1)) for n in replay.heldout_names})
        for here in [replay.heldout_names == f"{laboratory}/{name}"]
        for row in counted(laboratory, decided[here], replay.heldout_labels[here], manifest)
    ]
    return {
        **{name: {"value": of.value, "low": of.low, "high": of.high} for name, of in figures.items()},
        "ece": _calibration_error(found[:, manifest.target], positive),
        "n": len(right),
        "indeterminate": int((decided == UNDECIDED).sum()),
        "measured_on": f"{manifest.metrics.measured_on}; counts of {counts[0]['laboratory']}: its own reviewed cells, "
        "each judged by a head that was not tuned on it",
        "counts": home + counts,
    }


def _calibration_error(wanted: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    bins = np.minimum((wanted * BINS).astype(int), BINS - 1)
    return float(np.abs(np.bincount(bins, wanted - positive, BINS)).sum() / len(wanted))


def _card(parent: Bundle, site: dict[str, Any]) -> str:
    cells = site["cells"]
    return f"""\
# Model card: P-net, tuned for {site["name"]}

**For research use only. Not for use in diagnostic procedures.**

The last two layers of the bundle `{site["parent"]}` were tuned on {cells["target"]} fNRBC and
{cells["denominator"] + cells["ignored"]} other cells that people of {site["name"]} reviewed, beside cells of its
training. On these cells, each judged by a head that was not tuned on it, the area under the ROC curve went from
{site["auc_before"]:.3f} to {site["auc_after"]:.3f}, and the surprise fell by {site["gain"]:.3f} nats
({site["gain_low"]:.3f} to {site["gain_high"]:.3f}, 95 % over cells drawn again). Cells of one slide are alike: what is
measured on other slides may be less. Nothing is claimed for laboratories but {site["name"]}.

What follows is the parent's card; its figures by laboratory are the parent's.

{parent.model_card}"""
