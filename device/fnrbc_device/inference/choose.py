"""Which network counts: the engine if it proves itself, else what the configuration falls back to, and never silently.

Whatever is opened here has reproduced the golden crops a moment ago.
"""

import logging
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from fnrbc_device.errors import EngineError, ParityError
from fnrbc_device.inference.classifier import Classifier
from fnrbc_device.inference.cuda_memory import PycudaMemory
from fnrbc_device.inference.engines import Engine, EngineCache, Fit, fit_for
from fnrbc_device.inference.machine import import_runtime, look_at_machine
from fnrbc_device.inference.onnx_classifier import OnnxClassifier
from fnrbc_device.inference.selftest import prove
from fnrbc_device.inference.tensorrt_classifier import TensorrtClassifier
from fnrbc_device.model.bundle import SHIPPED, Bundle

_POLL_S: Final = 0.5
"""Between two looks at a builder: how soon a stop is noticed."""

_END_S: Final = 10.0
"""For a builder that was killed to be gone."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How to come by an engine, and what to do without one."""

    bundle_path: Path | None
    """Where the bundle lies, for the builder; None for the shipped one."""
    cache: Path
    fallback: Literal["onnxruntime", "last_good"]
    build_timeout_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A network that proved itself."""

    classifier: Classifier
    runtime: str
    """What runs it, for a person."""
    fault: str = ""
    """Why it is not the network that the configuration wants; empty if it is."""


def open_classifier(bundle: Bundle, engines: EngineSettings | None, go_on: Callable[[], bool]) -> Opened:
    """Open the network of a bundle, in the thread that will use it.

    Parameters
    ----------
    bundle
        Proved whole.
    engines
        None to run it in onnxruntime.
    go_on
        Called twice a second while an engine is built; False ends the building.

    Raises
    ------
    ParityError
        No network that may be used reproduces the golden crops.
    EngineError
        There is no engine that may be used, and the configuration wants no other network.
    """
    if engines is None:
        return _on_processor(bundle)
    try:
        return _newest_or_built(bundle, engines, go_on)
    except (EngineError, ParityError) as fault:
        _log.error("engine_parity_failed: %s", fault)
        return _fallen_back(bundle, engines, fault)


def _on_processor(bundle: Bundle, fault: str = "") -> Opened:
    classifier = OnnxClassifier(bundle)
    prove(classifier, bundle)
    return Opened(classifier, "onnxruntime", fault)


def _newest_or_built(bundle: Bundle, settings: EngineSettings, go_on: Callable[[], bool]) -> Opened:
    trt, cuda = import_runtime()
    fit = fit_for(bundle, look_at_machine(trt, cuda))
    cache = EngineCache(settings.cache, bundle.id)
    try:
        return _opened(newest(cache), bundle, fit, trt, cuda)
    except (EngineError, ParityError) as reason:
        _log.warning("building an engine: %s", reason)
    build(settings, go_on)
    return _opened(newest(cache), bundle, fit, trt, cuda)


def _fallen_back(bundle: Bundle, settings: EngineSettings, fault: EngineError | ParityError) -> Opened:
    if settings.fallback == "onnxruntime":
        return _on_processor(bundle, str(fault))
    trt, cuda = import_runtime()
    fit = fit_for(bundle, look_at_machine(trt, cuda))
    for engine in EngineCache(settings.cache, bundle.id).engines():
        try:
            opened = _opened(engine, bundle, fit, trt, cuda)
        except (EngineError, ParityError) as error:
            _log.error("engine_parity_failed: %s", error)
            continue
        return Opened(opened.classifier, opened.runtime, str(fault))
    raise EngineError(
        f"{fault}; nor is there a last good engine: set inference.fallback to onnxruntime to count"
    ) from fault


def newest(cache: EngineCache) -> Engine:
    """The engine that was built last.

    Raises
    ------
    EngineError
        There is none.
    """
    found = cache.engines()
    if not found:
        raise EngineError(f"{cache.folder} has no engine of this bundle")
    return found[0]


def _opened(engine: Engine, bundle: Bundle, fit: Fit, trt: Any, cuda: Any) -> Opened:
    classifier = TensorrtClassifier(plan_for(engine, fit), bundle.classes, trt, PycudaMemory(cuda))
    try:
        prove(classifier, bundle)
    except BaseException:
        classifier.close()
        raise
    return Opened(classifier, f"TensorRT {fit.tensorrt}, {engine.plan_path.name}")


def plan_for(engine: Engine, fit: Fit) -> bytes:
    """Read an engine's plan.

    Raises
    ------
    EngineError
        It is not for this graph on this machine, or not a byte as it was built.
    """
    differences = engine.differences(fit)
    if differences:
        raise EngineError(f"{engine.plan_path} is not for here: {'; '.join(differences)}")
    return engine.plan()


def build(settings: EngineSettings, go_on: Callable[[], bool]) -> None:
    """Have the engines of a bundle's graphs built, those that are missing.

    The builder is a process of its own: it may take gigabytes, crash or hang, and the daemon must not.

    Raises
    ------
    EngineError
        It failed, in its own last sentence, took too long, or ``go_on`` ended it.
    """
    bundle = SHIPPED if settings.bundle_path is None else settings.bundle_path
    command = [sys.executable, "-m", "fnrbc_export.cli", "engine", str(bundle), "--cache", str(settings.cache)]
    # A builder that an earlier daemon left behind may be nearly done: its engine will do.
    command += ["--timeout-s", str(settings.build_timeout_s), "--wait-s", str(settings.build_timeout_s)]
    deadline = time.monotonic() + settings.build_timeout_s + _END_S
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as builder:
        while (said := _said(builder)) is None:
            if not go_on() or time.monotonic() > deadline:
                builder.kill()
                builder.communicate(timeout=_END_S)
                raise EngineError(
                    f"building the engine was ended before its {settings.build_timeout_s:g} s; start again"
                )
    if builder.returncode != 0:
        last = (said.strip().splitlines() or [f"the builder ended with {builder.returncode}"])[-1]
        raise EngineError(last.removeprefix("error: "))


def _said(builder: "subprocess.Popen[str]") -> str | None:
    """What a builder said once it has ended; None while it works."""
    try:
        return builder.communicate(timeout=_POLL_S)[1]
    except subprocess.TimeoutExpired:
        return None
