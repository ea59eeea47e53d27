"""What the configuration says of the camera."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class CameraSettings(BaseModel):
    """Where frames come from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["simulated", "replay", "uvc", "gstreamer", "aravis"] = "simulated"
    path: Path | None = None
    """Of ``replay``: a folder of frames, a video file or one image."""
    pixel_size_um: Annotated[float, Field(ge=0.01, le=1.0)] | None = None
    """Size of a camera pixel on the slide; None where the source itself knows it."""
    exchange_red_blue: bool = False
    """The camera, or who recorded its frames, gives blue for red."""
    device: Annotated[str, Field(max_length=200)] = ""
    """Of ``uvc``: a name below /dev/v4l/by-id, or a path. Of ``aravis``: the camera's id; empty for the first found."""
    pipeline: Annotated[str, Field(max_length=1000)] = ""
    """Of ``gstreamer``: from the camera to raw video."""
    fps: Annotated[float, Field(ge=0.5, le=500)] = 30.0
    """Frames a second, asked of a camera or kept by the simulated one."""
    width_px: Annotated[int, Field(ge=64, le=20000)] | None = None
    height_px: Annotated[int, Field(ge=64, le=20000)] | None = None
    """Asked of ``uvc``; None for what the camera has."""
    exposure_us: Annotated[float, Field(ge=1, le=1_000_000)] | None = None
    """Of ``uvc`` and ``aravis``: fixed before the start; None to keep what is set."""
    gain: Annotated[float, Field(ge=0, le=10_000)] | None = None
    """In the camera's own unit."""
    seed: Annotated[int, Field(ge=0, le=2**31)] = 0
    """Of the simulated slide and hand."""
