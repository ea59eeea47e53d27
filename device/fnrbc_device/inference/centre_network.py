"""The network that says where cells are, and the proof that it is the one that was trained."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from fnrbc_device.errors import BundleError, EngineError, ParityError, UsageError
from fnrbc_device.inference.choose import EngineSettings, build, newest, plan_for
from fnrbc_device.inference.cuda_memory import PycudaMemory
from fnrbc_device.inference.engines import EngineCache, fit_for_seeing
from fnrbc_device.inference.machine import import_runtime, look_at_machine
from fnrbc_device.inference.onnx_classifier import new_session
from fnrbc_device.inference.tensorrt_centres import MAPS_NAME, PICTURE, TensorrtCentreNetwork
from fnrbc_device.model.bundle import Bundle
from fnrbc_device.records import SeeingMethod
from fnrbc_device.vision.centre_picture import MAPS, centre_picture
from fnrbc_device.vision.seeing import CentreModel, CentreNetwork
from fnrbc_device.vision.stain import IDENTITY

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class OpenedCentres:
    """What finds the cells."""

    model: CentreModel | None
    """None: the paper's threshold."""
    fault: str = ""
    """Why the network that is asked for is not used; empty where it is, and where there may be none."""
    runtime: str = ""
    """What runs the network, for a person; empty without one."""
    engine_fault: str = ""
    """Why the network does not run on the GPU though it should; empty if it does, and where it should not."""

    def close(self) -> None:
        """Give back what the network holds."""
        if self.model is not None:
            self.model.network.close()


def require_network(bundle: Bundle, method: SeeingMethod) -> None:
    """Refuse to look for cells by a network alone where there is none: the threshold's count would bear its name.

    Raises
    ------
    UsageError
        The bundle has none.
    """
    if method == "network" and bundle.seeing is None:
        raise UsageError(
            f"the bundle {bundle.id[:12]} has no network that finds cells; choose threshold, or a bundle that has one"
        )


def open_centres(
    bundle: Bundle,
    method: SeeingMethod,
    threads: int = 1,
    engines: EngineSettings | None = None,
    go_on: Callable[[], bool] = lambda: True,
) -> OpenedCentres:
    """Open what finds the cells, in the thread that will use it.

    Parameters
    ----------
    bundle
        Proved whole.
    method
        What is asked for; without a network that proves itself it is the paper's threshold.
    threads
        Of the network on the processor, >= 1.
    engines
        None to run it on the processor. Where no engine proves itself it runs there as well, whatever P-net's fallback
        is: the processor computes the same maps, and is proved on the same frames.
    go_on
        Called twice a second while an engine is built; False ends the building.
    """
    entry, seeing = bundle.manifest.seeing, bundle.seeing
    if method == "threshold":
        return OpenedCentres(None)
    if entry is None or seeing is None:
        words = f"the bundle {bundle.id[:12]} has no network that sees: the paper's threshold finds the cells"
        _log.info("%s", words)
        return OpenedCentres(None, words if method == "network" else "")
    try:
        processor = OnnxCentreNetwork(seeing.model, threads)
        prove_seeing(processor, bundle)
    except (BundleError, ParityError) as fault:
        _log.error("the paper's threshold finds the cells: %s", fault)
        return OpenedCentres(None, str(fault))
    network: CentreNetwork = processor
    runtime, engine_fault = "onnxruntime", ""
    if engines is not None:
        try:
            network, runtime = _on_gpu(bundle, engines, go_on, processor)
        except (EngineError, ParityError) as fault:
            _log.error("engine_parity_failed: %s", fault)
            engine_fault = str(fault)
    model = CentreModel(network, method, entry.least_heat, entry.agreed_heat)
    return OpenedCentres(model, runtime=runtime, engine_fault=engine_fault)


def _on_gpu(
    bundle: Bundle, settings: EngineSettings, go_on: Callable[[], bool], processor: "OnnxCentreNetwork"
) -> tuple["GpuCentreNetwork", str]:
    """The newest engine if it proves itself, else one that is built now."""
    try:
        return _newest_on_gpu(bundle, settings, processor)
    except (EngineError, ParityError) as reason:
        _log.warning("building an engine: %s", reason)
    build(settings, go_on)
    return _newest_on_gpu(bundle, settings, processor)


def _newest_on_gpu(
    bundle: Bundle, settings: EngineSettings, processor: "OnnxCentreNetwork"
) -> tuple["GpuCentreNetwork", str]:
    trt, cuda = import_runtime()
    fit = fit_for_seeing(bundle, look_at_machine(trt, cuda))
    engine = newest(EngineCache(settings.cache, bundle.id, "see"))
    network = TensorrtCentreNetwork(plan_for(engine, fit), trt, PycudaMemory(cuda))
    try:
        prove_seeing(network, bundle)
    except BaseException:
        network.close()
        raise
    return GpuCentreNetwork(network, processor), f"TensorRT {fit.tensorrt}, {engine.plan_path.name}"


class GpuCentreNetwork:
    """Implements ``CentreNetwork`` on the GPU; pictures larger than its engine takes are looked at on the processor.

    Parameters
    ----------
    engine, processor
        Of the same network, both proved. Closed with it.
    """

    def __init__(self, engine: TensorrtCentreNetwork, processor: "OnnxCentreNetwork") -> None:
        self._engine = engine
        self._processor = processor

    def maps(self, picture: NDArray[np.float32]) -> NDArray[np.float32]:
        """Look at one picture; see ``OnnxCentreNetwork.maps``."""
        network = self._engine if self._engine.takes(picture) else self._processor
        return network.maps(picture)

    def close(self) -> None:
        """Give back what both hold. Safe to call twice."""
        self._engine.close()
        self._processor.close()


class OnnxCentreNetwork:
    """Implements ``CentreNetwork`` in onnxruntime, on the processor. Use it in the thread that made it.

    Parameters
    ----------
    model
        ONNX.
    threads
        Threads within one call, >= 1.

    Raises
    ------
    BundleError
        onnxruntime does not take the model, or it is no centre network.
    """

    def __init__(self, model: bytes, threads: int = 1) -> None:
        self._session: onnxruntime.InferenceSession | None = new_session(model, threads)
        taken = [(one.name, one.type, one.shape[1]) for one in self._session.get_inputs()]
        given = [(one.name, one.type, one.shape[1]) for one in self._session.get_outputs()]
        if (taken, given) != ([(PICTURE, "tensor(float)", 3)], [(MAPS_NAME, "tensor(float)", MAPS)]):
            raise BundleError(
                f"the bundle's network for seeing takes {taken} and gives {given}; float {PICTURE} of 3 channels and "
                f"{MAPS_NAME} of {MAPS} are needed, export it again"
            )

    def maps(self, picture: NDArray[np.float32]) -> NDArray[np.float32]:
        """Look at one picture.

        Parameters
        ----------
        picture
            (1, 3, h, w) float32, as ``centre_picture`` makes it.

        Returns
        -------
        ndarray
            (5, h / 4, w / 4) float32; see ``centre_picture.MAPS``.

        Raises
        ------
        ValueError
            It is closed.
        """
        if self._session is None:
            raise ValueError("the network is closed; make a new one")
        (maps,) = self._session.run([MAPS_NAME], {PICTURE: picture})
        return np.asarray(maps[0], np.float32)

    def close(self) -> None:
        """Give back what the network holds. Safe to call twice."""
        self._session = None


def prove_seeing(network: CentreNetwork, bundle: Bundle) -> float:
    """Hold a network against the checkpoint's own maps of the golden frames.

    Returns
    -------
    float
        Largest difference of a map's value.

    Raises
    ------
    ParityError
        A difference above the bundle's tolerance, or something that is no number.
    """
    seeing, entry = bundle.seeing, bundle.manifest.seeing
    assert seeing is not None
    assert entry is not None
    worst = 0.0
    for frame, glass, wanted in zip(seeing.golden_frames, seeing.golden_glass, seeing.golden_maps, strict=True):
        red, green, blue = (float(level) for level in glass)
        found = network.maps(centre_picture(frame, (red, green, blue), IDENTITY))
        if found.shape != wanted.shape or not np.isfinite(found).all():
            raise ParityError(
                f"a golden frame gives maps {found.shape} with {np.count_nonzero(~np.isfinite(found))} values that are "
                f"no numbers; {wanted.shape} finite ones are needed, export the bundle again"
            )
        worst = max(worst, float(np.abs(found - wanted).max()))
    if worst > entry.tolerance:
        raise ParityError(
            f"a map of the golden frames is off by {worst:.2g}, {entry.tolerance:.2g} is allowed: this runtime does "
            "not compute what was trained, export the bundle again"
        )
    return worst
