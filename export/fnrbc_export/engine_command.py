"""``fnrbc-export engine`` and ``verify --engine``: engines for this machine, built once and proved every time."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fnrbc_device.errors import EngineError, ParityError
from fnrbc_device.inference.engines import Engine, EngineCache, Fit, fit_for, fit_for_seeing
from fnrbc_device.inference.machine import import_runtime, look_at_machine
from fnrbc_device.model.bundle import Bundle
from fnrbc_export.graphs import Graph, classifying, seeing
from fnrbc_export.to_engine import deadline, make_engine

Runtime = tuple[Any, Any]
"""The modules ``tensorrt`` and ``pycuda.driver``."""


def ensure_engine(bundle: Bundle, cache: Path, timeout_s: float, wait_s: float) -> str:
    """Build the engines of a bundle's graphs, but those whose newest is for this machine and proves itself again.

    Parameters
    ----------
    bundle
        Proved whole.
    cache
        Folder of all engines.
    timeout_s
        For building and proving; then the process ends.
    wait_s
        For another builder at work.

    Returns
    -------
    str
        What was done, for a person.

    Raises
    ------
    EngineError
        There is no TensorRT here, it refuses the model, or another builder is at work.
    ParityError
        The engine does not compute what was trained; it was not kept.
    """
    runtime = import_runtime()
    with deadline(timeout_s):
        return "\n".join(_ensured(wanted, wait_s, runtime) for wanted in _wanted(bundle, cache, runtime))


def verify_engine(bundle: Bundle, cache: Path) -> str:
    """Prove the newest engine of each of a bundle's graphs on this machine.

    Raises
    ------
    EngineError
        There is none, it is for another machine, or it does not run.
    ParityError
        It does not compute what was trained.
    """
    runtime = import_runtime()
    return "\n".join(_verified(wanted, bundle, cache, runtime) for wanted in _wanted(bundle, cache, runtime))


@dataclass(frozen=True, slots=True)
class _Wanted:
    """An engine of one of the bundle's graphs."""

    graph: Graph
    engines: EngineCache
    fit: Fit
    does: str
    proved_on: str
    tolerance: float


def _wanted(bundle: Bundle, cache: Path, runtime: Runtime) -> list[_Wanted]:
    machine = look_at_machine(*runtime)
    engines, fit, allowed = EngineCache(cache, bundle.id), fit_for(bundle, machine), bundle.manifest.parity.tolerance
    wanted = [_Wanted(classifying(bundle), engines, fit, "that classifies", "golden crops", allowed)]
    if bundle.manifest.seeing is not None:
        engines, fit = EngineCache(cache, bundle.id, "see"), fit_for_seeing(bundle, machine)
        allowed = bundle.manifest.seeing.tolerance
        wanted.append(_Wanted(seeing(bundle), engines, fit, "that sees", "golden frames", allowed))
    return wanted


def _ensured(wanted: _Wanted, wait_s: float, runtime: Runtime) -> str:
    with wanted.engines.alone(wait_s):
        reasons = _reasons(wanted, runtime)
        if not reasons:
            return f"{wanted.engines.engines()[0].plan_path}: proved again, nothing to build"
        for reason in reasons:
            print(f"building: {reason}", file=sys.stderr, flush=True)
        engine = make_engine(wanted.graph, wanted.engines, wanted.fit, *runtime, _progress)
    return _described(engine, "built", wanted)


def _verified(wanted: _Wanted, bundle: Bundle, cache: Path, runtime: Runtime) -> str:
    found = wanted.engines.engines()
    if not found:
        raise EngineError(f"{cache} has no engine of bundle {bundle.id[:12]}; build it with fnrbc-export engine")
    differences = found[0].differences(wanted.fit)
    if differences:
        raise EngineError(f"{found[0].plan_path} is not for here: {'; '.join(differences)}; build it again")
    difference = wanted.graph.prove(found[0].plan(), *runtime)
    return f"{_described(found[0], 'proved', wanted)}; now {difference:.2g}"


def _reasons(wanted: _Wanted, runtime: Runtime) -> list[str]:
    """Why an engine must be built; none if the newest one will do."""
    found = wanted.engines.engines()
    if not found:
        return [f"there is no engine of this bundle {wanted.does} yet"]
    differences = found[0].differences(wanted.fit)
    if differences:
        return differences
    try:
        wanted.graph.prove(found[0].plan(), *runtime)
    except (EngineError, ParityError) as error:
        return [str(error)]
    return []


def _described(engine: Engine, done: str, wanted: _Wanted) -> str:
    return (
        f"{engine.plan_path}: {done}, {engine.sidecar.precision}, TensorRT {engine.sidecar.tensorrt}; off by at most "
        f"{engine.sidecar.parity:.2g} on the {wanted.proved_on} when built, {wanted.tolerance:.2g} is allowed"
    )


def _progress(what: str, done: int, total: int) -> None:
    """Show how far the builder is, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r{what}: {done} of {total}\033[K", end="\n" if done == total else "", file=sys.stderr, flush=True)
