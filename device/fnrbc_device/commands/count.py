"""``fnrbc count``: counts all frames of a source."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import cv2

from fnrbc_device.camera.colours import ColourWatch
from fnrbc_device.camera.left_out import Account
from fnrbc_device.camera.pixel_size import ScaleWatch
from fnrbc_device.camera.source import FrameSource
from fnrbc_device.commands.counted import Counted, Progress, summary_of
from fnrbc_device.counting.analyser import Analyser
from fnrbc_device.inference.centre_network import open_centres
from fnrbc_device.inference.onnx_classifier import OnnxClassifier
from fnrbc_device.inference.selftest import prove
from fnrbc_device.model.bundle import Bundle
from fnrbc_device.model.error_counts import shipped_errors
from fnrbc_device.records import USUAL_SEEING, ErrorCounts, SeeingMethod, SessionKind, Step
from fnrbc_device.reporting.gallery import Gallery
from fnrbc_device.reporting.poses_csv import Poses


def count(
    source: FrameSource,
    bundle: Bundle,
    pixel_size_um: float,
    *,
    still: bool,
    progress: Progress,
    errors: Sequence[ErrorCounts] = (),
    kind: SessionKind = "sample",
    allow_left_out: float = 0.0,
    warn: Callable[[str], None] = lambda words: None,
    method: SeeingMethod = USUAL_SEEING,
    everything: bool = False,
) -> Counted:
    """Count all frames of a source.

    Parameters
    ----------
    source
        Read to its end, then closed.
    bundle
        The model; it must reproduce its golden crops first.
    pixel_size_um
        Size of a pixel on the slide, um.
    still
        The source is one picture.
    progress
        Called with the number of frames done, after each.
    errors
        What the network is known by here; empty for what the bundle ships.
    kind
        What is on the slide.
    allow_left_out
        Share of the pictures given that may be missing from a complete count, 0..1.
    warn
        Called with a sentence as soon as frames show what makes the count doubtful.
    method
        What finds the cells.
    everything
        Whether each frame is looked at, not only those that show something new.

    Raises
    ------
    ParityError
        The network does not reproduce its checkpoint's probabilities on this machine.
    SourceError
        The source has no good frame.
    """
    start = time.perf_counter()
    cv2.setNumThreads(1)  # its pool takes a fifth more of the processor's time, and a frame takes as long as before
    with (
        closing(source),
        closing(OnnxClassifier(bundle)) as classifier,
        closing(open_centres(bundle, method)) as centres,
    ):
        prove(classifier, bundle)
        analyser = Analyser(
            pixel_size_um,
            classifier,
            bundle.manifest,
            usual_looks=bundle.appearance,
            still=still,
            centres=centres.model,
            everything=everything,
        )
        scale, poses, gallery = ScaleWatch(), Poses(), Gallery(bundle.manifest.threshold)
        account, colours = Account(source), ColourWatch("--exchange-red-blue", warn)
        for step in _steps(source, analyser, scale, progress):
            account.see(step)
            colours.see(step.frame, step.reason)
            poses.add(step)
            gallery.see(step.events, analyser.counter.pictures)
        gallery.see(analyser.finish(), analyser.counter.pictures)
        colours.finish()
        scale.finish()
    seconds = time.perf_counter() - start
    analyser.border.note("pixel_size_out_of_domain", holds=bool(scale.doubt(pixel_size_um, "the pixel size")))
    analyser.border.note("colours_impossible", holds=colours.fault is not None)
    known = errors or shipped_errors(bundle.manifest)
    summary = summary_of(analyser, known, scale, account, bundle, seconds, kind, allow_left_out)
    summary["notes"] += [colours.doubt] if colours.fault else []
    return Counted(summary, list(analyser.cells()), poses.rows(), analyser, scale, gallery, account)


def _steps(source: FrameSource, analyser: Analyser, scale: ScaleWatch, progress: Progress) -> Iterator[Step]:
    done = 0
    while (frame := source.read()) is not None:
        step = analyser.analyse(frame)
        scale.see(frame, step.reason)
        yield step
        done += 1
        progress(done)
