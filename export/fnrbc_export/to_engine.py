"""From a graph to an engine for this machine: built, proved on the golden crops or frames, then put in its place.

Torch-free. One way through TensorRT 10.3, 10.16 and 11.4: precision stands in the graph, and the network is strongly
typed wherever that must still be asked for.
"""

import hashlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any, Final

from fnrbc_device.errors import EngineError
from fnrbc_device.inference.engines import Engine, EngineCache, Fit, Sidecar
from fnrbc_device.inference.tensorrt_words import make_logger
from fnrbc_export.graphs import Graph, Profile

WORKSPACE_BYTES: Final = 256 * 2**20
"""What a layer may use while it runs. P-net needs 40 MB at 64 crops; a bound keeps the builder from the rest of the
memory, which on a Jetson is the processor's too."""

Progress = Callable[[str, int, int], None]
"""Called with what is done, how many steps, of how many."""


def make_engine(graph: Graph, cache: EngineCache, fit: Fit, trt: Any, cuda: Any, progress: Progress) -> Engine:
    """Build an engine, prove it here, and put it in its place.

    Parameters
    ----------
    graph
        Of a bundle that was proved whole.
    cache
        Of this graph; its lock is held.
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
    plan = build_plan(trt, graph.model, progress, graph.profile)
    parity = graph.prove(plan, trt, cuda)
    sha256, now = hashlib.sha256(plan).hexdigest(), datetime.now(timezone.utc)
    return cache.add(plan, Sidecar(plan_sha256=sha256, **asdict(fit), built_at=now, parity=parity))


def build_plan(trt: Any, model: bytes, progress: Progress, profile: Profile) -> bytes:
    """Build a plan of a model for the GPU that is here.

    Parameters
    ----------
    trt
        The module ``tensorrt``, 10.3 or newer.
    model
        ONNX.
    progress
        Told how far the builder is.
    profile
        Shapes of its input.

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
    _add_profile(builder, config, profile, words.take)
    plan = builder.build_serialized_network(network, config)
    del monitor  # the configuration holds no reference of its own: it had to live until here
    if plan is None:
        raise EngineError(
            f"TensorRT builds no engine ({words.take()}); see that no other program takes the GPU's memory"
        )
    return bytes(plan)


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


def _add_profile(builder: Any, config: Any, wanted: Profile, said: Callable[[], str]) -> None:
    profile = builder.create_optimization_profile()
    profile.set_shape(wanted.tensor, *wanted.shapes)
    if config.add_optimization_profile(profile) < 0:
        raise EngineError(
            f"TensorRT refuses the profile {wanted.in_words} ({said()}); this fnrbc and this TensorRT do not fit"
        )


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
