"""From a bundle to an engine for this machine: built, proved on the golden crops, then put in its place. Torch-free.

One way through TensorRT 10.3, 10.16 and 11.4: precision stands in the graph, and the network is strongly typed
wherever that must still be asked for.
"""

import hashlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timezone
from typing import Any, Final

import numpy as np

from fnrbc_device.errors import EngineError, ParityError
from fnrbc_device.inference.cuda_memory import PycudaMemory
from fnrbc_device.inference.engines import FLAGS, Engine, EngineCache, Fit, Sidecar
from fnrbc_device.inference.onnx_classifier import INPUT
from fnrbc_device.inference.selftest import prove
from fnrbc_device.inference.tensorrt_classifier import BATCHES, TensorrtClassifier
from fnrbc_device.inference.tensorrt_words import make_logger
from fnrbc_device.model.bundle import Bundle
from fnrbc_device.vision.preprocessing import CROP_PX

WORKSPACE_BYTES: Final = 256 * 2**20
"""What a layer may use while it runs. P-net needs 40 MB at 64 crops; a bound keeps the builder from the rest of the
memory, which on a Jetson is the processor's too."""

PROOF_BATCHES: Final = (1, 7, 16, 33, 64, 65)
"""The profile's corners, odd sizes, and one more than a chunk holds."""

Progress = Callable[[str, int, int], None]
"""Called with what is done, how many steps, of how many."""


def make_engine(bundle: Bundle, cache: EngineCache, fit: Fit, trt: Any, cuda: Any, progress: Progress) -> Engine:
    """Build an engine, prove it here, and put it in its place.

    Parameters
    ----------
    bundle
        Proved whole.
    cache
        Of this bundle; its lock is held.
    fit
        What the engine is for.
    trt, cuda
        The modules ``tensorrt`` and ``pycuda.driver``.
    progress
        Told how far the builder is.

    Raises
    ------
    EngineError
        TensorRT does not take the model, or the engine does not run.
    ParityError
        It runs, and does not compute what was trained.
    """
    plan = build_plan(trt, bundle.model, progress)
    parity = prove_plan(plan, bundle, trt, cuda)
    sidecar = Sidecar(
        plan_sha256=hashlib.sha256(plan).hexdigest(),
        bundle_id=fit.bundle_id,
        onnx_sha256=fit.onnx_sha256,
        precision=fit.precision,
        tensorrt=fit.tensorrt,
        compute_capability=fit.compute_capability,
        device_model=fit.device_model,
        l4t_release=fit.l4t_release,
        profile=BATCHES,
        flags=FLAGS,
        built_at=datetime.now(timezone.utc),
        parity=parity,
    )
    return cache.add(plan, sidecar)


def build_plan(trt: Any, model: bytes, progress: Progress, batches: tuple[int, int, int] = BATCHES) -> bytes:
    """Build a plan of a model for the GPU that is here.

    Parameters
    ----------
    trt
        The module ``tensorrt``, 10.3 or newer.
    model
        ONNX.
    progress
        Told how far the builder is.
    batches
        Fewest, usual and most crops in one call.

    Raises
    ------
    EngineError
        The parser or the builder refuses it, in its own words.
    """
    logger, words = make_logger(trt)
    builder = trt.Builder(logger)
    network = builder.create_network(_creation_flags(trt))
    parser = trt.OnnxParser(network, logger)
    # What is no ONNX at all is parsed without complaint, into a network of nothing.
    if not parser.parse(model) or not network.num_outputs:
        raise EngineError(f"TensorRT's parser refuses the model ({_said(parser)}); export the bundle again")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    config.clear_flag(trt.BuilderFlag.TF32)
    config.progress_monitor = monitor = _monitor(trt, progress)
    _add_profile(builder, config, batches, words.take)
    plan = builder.build_serialized_network(network, config)
    del monitor  # the configuration holds no reference of its own: it had to live until here
    if plan is None:
        raise EngineError(
            f"TensorRT builds no engine ({words.take()}); see that no other program takes the GPU's memory"
        )
    return bytes(plan)


def prove_plan(plan: bytes, bundle: Bundle, trt: Any, cuda: Any) -> float:
    """Run a plan on the golden crops, in batches of every kind.

    Returns
    -------
    float
        Largest difference of a probability.

    Raises
    ------
    EngineError
        It does not run here.
    ParityError
        It does not compute what was trained, or not alike in every batch.
    """
    with closing(TensorrtClassifier(plan, bundle.classes, trt, PycudaMemory(cuda))) as classifier:
        worst = prove(classifier, bundle)
        for batch in PROOF_BATCHES:
            rows = np.arange(batch) % len(bundle.golden_crops)
            found = classifier.probabilities(bundle.golden_crops[rows])
            difference = float(np.abs(found - bundle.golden_probabilities[rows]).max())
            if not difference <= bundle.manifest.parity.tolerance:
                raise ParityError(
                    f"in a batch of {batch} a probability of the golden crops is off by {difference:.2g}, "
                    f"{bundle.manifest.parity.tolerance:.2g} is allowed; the engine was not kept"
                )
            worst = max(worst, difference)
    return worst


@contextmanager
def deadline(timeout_s: float) -> Iterator[None]:
    """End this process with a sentence if the body takes longer.

    Nothing gentler ends a builder that measures one layer for minutes. Nothing is lost: what was built goes into
    the cache in one step, and the system lets go of the lock.
    """

    def end() -> None:
        print(f"error: the engine was not built within {timeout_s:g} s; give more with --timeout-s", file=sys.stderr)
        sys.stderr.flush()
        os._exit(EngineError.exit_code)

    timer = threading.Timer(timeout_s, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def _creation_flags(trt: Any) -> int:
    """Strongly typed where that is a choice: it is from 10.0 on, and nothing else may be left from some version on."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _said(parser: Any) -> str:
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    said = [
        f"node {e.node()} {e.node_operator()}: {e.code().name} {e.desc()}" if e.node() >= 0 else e.desc()
        for e in errors
    ]
    return "; ".join(" ".join(one.split()) for one in said) or "it finds no network in it"


def _add_profile(builder: Any, config: Any, batches: tuple[int, int, int], said: Callable[[], str]) -> None:
    profile = builder.create_optimization_profile()
    least, usual, most = ((batch, CROP_PX, CROP_PX, 3) for batch in batches)
    profile.set_shape(INPUT, least, usual, most)
    if config.add_optimization_profile(profile) < 0:
        raise EngineError(f"TensorRT refuses the profile {batches} ({said()}); this fnrbc and this TensorRT do not fit")


def _monitor(trt: Any, progress: Progress) -> Any:
    """Make a progress monitor of TensorRT's kind, which must inherit from the module's class."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # the module comes with the hardware
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._steps[phase_name] = num_steps

        def step_complete(self, phase_name: str, step: int) -> bool:
            progress(phase_name, step + 1, self._steps.get(phase_name, step + 1))
            return True

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

    return Monitor()
