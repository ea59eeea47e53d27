"""``fnrbc-export engine`` and ``verify --engine``: an engine for this machine, built once and proved every time."""

import sys
from pathlib import Path

from fnrbc_device.errors import EngineError, ParityError
from fnrbc_device.inference.engines import Engine, EngineCache, Fit, fit_for
from fnrbc_device.inference.machine import import_runtime, look_at_machine
from fnrbc_device.model.bundle import Bundle
from fnrbc_export.to_engine import deadline, make_engine, prove_plan


def ensure_engine(bundle: Bundle, cache: Path, timeout_s: float, wait_s: float) -> str:
    """Build the engine of a bundle, unless the newest one is for this machine and proves itself again.

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
    trt, cuda = import_runtime()
    fit = fit_for(bundle, look_at_machine(trt, cuda))
    engines = EngineCache(cache, bundle.id)
    with engines.alone(wait_s), deadline(timeout_s):
        reasons = _reasons(engines, fit, bundle, (trt, cuda))
        if not reasons:
            return f"{engines.engines()[0].plan_path}: proved again, nothing to build"
        for reason in reasons:
            print(f"building: {reason}", file=sys.stderr, flush=True)
        engine = make_engine(bundle, engines, fit, trt, cuda, _progress)
    return _described(engine, "built", bundle)


def verify_engine(bundle: Bundle, cache: Path) -> str:
    """Prove the newest engine of a bundle on this machine.

    Raises
    ------
    EngineError
        There is none, it is for another machine, or it does not run.
    ParityError
        It does not compute what was trained.
    """
    trt, cuda = import_runtime()
    found = EngineCache(cache, bundle.id).engines()
    if not found:
        raise EngineError(f"{cache} has no engine of bundle {bundle.id[:12]}; build it with fnrbc-export engine")
    differences = found[0].differences(fit_for(bundle, look_at_machine(trt, cuda)))
    if differences:
        raise EngineError(f"{found[0].plan_path} is not for here: {'; '.join(differences)}; build it again")
    difference = prove_plan(found[0].plan(), bundle, trt, cuda)
    return f"{_described(found[0], 'proved', bundle)}; now {difference:.2g}"


def _reasons(engines: EngineCache, fit: Fit, bundle: Bundle, runtime: tuple[object, object]) -> list[str]:
    """Why an engine must be built; none if the newest one will do."""
    found = engines.engines()
    if not found:
        return ["there is no engine of this bundle yet"]
    differences = found[0].differences(fit)
    if differences:
        return differences
    try:
        prove_plan(found[0].plan(), bundle, *runtime)
    except (EngineError, ParityError) as error:
        return [str(error)]
    return []


def _described(engine: Engine, done: str, bundle: Bundle) -> str:
    return (
        f"{engine.plan_path}: {done}, {engine.sidecar.precision}, TensorRT {engine.sidecar.tensorrt}; off by at most "
        f"{engine.sidecar.parity:.2g} on the golden crops when built, {bundle.manifest.parity.tolerance:.2g} is allowed"
    )


def _progress(what: str, done: int, total: int) -> None:
    """Show how far the builder is, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r{what}: {done} of {total}\033[K", end="\n" if done == total else "", file=sys.stderr, flush=True)
