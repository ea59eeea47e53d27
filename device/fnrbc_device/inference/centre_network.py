"""The network that says where cells are, and the proof that it is the one that was trained."""

import logging
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from fnrbc_device.errors import BundleError, ParityError
from fnrbc_device.inference.onnx_classifier import new_session
from fnrbc_device.model.bundle import Bundle
from fnrbc_device.records import SeeingMethod
from fnrbc_device.vision.centre_picture import MAPS, centre_picture
from fnrbc_device.vision.seeing import CentreModel, CentreNetwork
from fnrbc_device.vision.stain import IDENTITY

INPUT: Final = "picture"
OUTPUT: Final = "maps"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class OpenedCentres:
    """What finds the cells."""

    model: CentreModel | None
    """None: the paper's threshold."""
    fault: str = ""
    """Why a network that the bundle has may not be used; empty where it may, and where there is none."""

    def close(self) -> None:
        """Give back what the network holds."""
        if self.model is not None:
            self.model.network.close()


def open_centres(bundle: Bundle, method: SeeingMethod, threads: int = 1) -> OpenedCentres:
    """Open what finds the cells, in the thread that will use it.

    Parameters
    ----------
    bundle
        Proved whole.
    method
        What is asked for; without a network that proves itself it is the paper's threshold.
    threads
        Of the network, >= 1.
    """
    entry, seeing = bundle.manifest.seeing, bundle.seeing
    if method == "threshold":
        return OpenedCentres(None)
    if entry is None or seeing is None:
        _log.info("the bundle %s has no network that sees: the paper's threshold finds the cells", bundle.id[:12])
        return OpenedCentres(None)
    try:
        network = OnnxCentreNetwork(seeing.model, threads)
        prove_seeing(network, bundle)
    except (BundleError, ParityError) as fault:
        _log.error("the paper's threshold finds the cells: %s", fault)
        return OpenedCentres(None, str(fault))
    heat = entry.least_heat if method == "network" else entry.agreed_heat
    return OpenedCentres(CentreModel(network, method, heat))


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
        if (taken, given) != ([(INPUT, "tensor(float)", 3)], [(OUTPUT, "tensor(float)", MAPS)]):
            raise BundleError(
                f"the bundle's network for seeing takes {taken} and gives {given}; float {INPUT} of 3 channels and "
                f"{OUTPUT} of {MAPS} are needed, export it again"
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
        (maps,) = self._session.run([OUTPUT], {INPUT: picture})
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
