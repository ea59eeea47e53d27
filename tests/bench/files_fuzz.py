"""Damaged files of every kind that is read: what comes back, and whether a second decoder sees the same.

    tests/bench/files_fuzz.py --mutations 100000 --seed 1

Small valid files are changed at random: bytes, numbers in headers, lengths, ends. Each is opened as a recording and
read to its end, in a process of its own for some hundred. Exits 1 where one crashed, took over 5 s of the processor or
1 GB, broke with anything but one of fnrbc's own sentences, or gave a frame whose pixels differ from what Pillow or PyAV
decode.
A run can be taken in parts: seeds 1, 2, 3 ... are different mutations.
"""

import argparse
import io
import json
import multiprocessing
import os
import resource
import struct
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import av
import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image as Pillow

from fnrbc_device.camera.replay import open_source
from fnrbc_device.errors import FnrbcError
from fnrbc_device.records import Frame

LIMIT_S: Final = 5.0
MEMORY_BYTES: Final = 1 << 30
BATCH: Final = 250
"""Mutations of one process: a leak shows, and starting one is not what is measured."""
MOST_FRAMES: Final = 40
PICTURE_DIFFERENCE: Final = 2.0
"""Mean difference in levels between two decoders of one picture: they round chroma differently, by less than one."""
VIDEO_DIFFERENCE: Final = 12.0
"""The same for video, whose colours two builds of one library convert by different matrices."""
HEADER_BYTES: Final = 400
EXTREMES: Final = (0, 1, 2, 3, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)


def scene(seed: int, shape: tuple[int, int] = (72, 96)) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(small, shape[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)


def _tiff(samples: NDArray[Any], **how: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, samples, **how)
    return file.getvalue()


def _pillow(rgb: NDArray[np.uint8], kind: str, mode: str = "RGB", **how: Any) -> bytes:
    file = io.BytesIO()
    Pillow.fromarray(rgb).convert(mode).save(file, kind, **how)
    return file.getvalue()


def _video(codec: str, form: str) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=form) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height = 96, 72
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for seed in range(6):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(scene(seed), format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


def seeds() -> dict[str, bytes]:
    """Small valid files by name."""
    rgb, deep = scene(1), scene(2).astype(np.uint16) * 16
    planes = np.ascontiguousarray(np.moveaxis(rgb, -1, 0))
    composite = {"axes": "CYX", "mode": "composite"}
    return {
        "plain.tif": _tiff(rgb, photometric="rgb"),
        "lzw.tif": _tiff(rgb, photometric="rgb", compression="lzw", predictor=True, rowsperstrip=16),
        "planar.tif": _tiff(planes, photometric="rgb", planarconfig="separate", compression="deflate"),
        "deep.tif": _tiff(deep, photometric="rgb", compression="deflate"),
        "negative.tif": _tiff(255 - rgb[..., 1], photometric="miniswhite", compression="packbits"),
        "palette.tif": _pillow(rgb, "TIFF", "P"),
        "jpeg.tif": _tiff(rgb, photometric="ycbcr", compression="jpeg", tile=(32, 32)),
        "jpeg2000.tif": _tiff(rgb, photometric="rgb", compression="jpeg2000"),
        "zstd.tif": _tiff(rgb, photometric="rgb", compression="zstd", tile=(32, 32)),
        "imagej.tif": _tiff(planes, imagej=True, metadata=composite),
        "ome.tif": _tiff(np.stack([rgb] * 3), ome=True, photometric="rgb", metadata={"axes": "TYXS"}),
        "stack.tif": _tiff(np.stack([rgb] * 4), photometric="rgb", metadata=None, bigtiff=True),
        "rgb.png": _pillow(rgb, "PNG"),
        "palette.png": _pillow(rgb, "PNG", "P"),
        "alpha.png": _pillow(rgb, "PNG", "RGBA"),
        "deep.png": cv2.imencode(".png", deep)[1].tobytes(),
        "baseline.jpg": _pillow(rgb, "JPEG", quality=90),
        "progressive.jpg": _pillow(rgb, "JPEG", progressive=True),
        "grey.jpg": _pillow(rgb, "JPEG", "L"),
        "motion.avi": _video("mjpeg", "avi"),
        "mpeg4.avi": _video("mpeg4", "avi"),
        "mpeg4.mp4": _video("mpeg4", "mp4"),
        "h264.mp4": _video("libx264", "mp4"),
    }


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """A file with one to four changes, most of them near its beginning, where headers are."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        reach = min(HEADER_BYTES, len(changed)) if rng.random() < 0.7 else len(changed)
        if reach > 8:
            _CHANGES[int(rng.integers(len(_CHANGES)))](changed, int(rng.integers(0, reach - 4)), rng)
    if data.startswith(b"\x89PNG") and rng.random() < 0.8:
        return _with_right_sums(bytes(changed))
    return bytes(changed)


def _flip(data: bytearray, place: int, rng: np.random.Generator) -> None:
    data[place] ^= 1 << int(rng.integers(8))


def _replace(data: bytearray, place: int, rng: np.random.Generator) -> None:
    data[place] = int(rng.integers(256))


def _number(data: bytearray, place: int, rng: np.random.Generator) -> None:
    order, wide = str(rng.choice(["<", ">"])), bool(rng.random() < 0.5)
    value = int(rng.choice(EXTREMES)) & (0xFFFFFFFF if wide else 0xFFFF)
    struct.pack_into(order + ("I" if wide else "H"), data, place, value)


def _cut(data: bytearray, place: int, rng: np.random.Generator) -> None:
    del data[max(place, int(rng.integers(len(data)))) :]


def _remove(data: bytearray, place: int, rng: np.random.Generator) -> None:
    del data[place : place + int(rng.integers(1, 16))]


def _insert(data: bytearray, place: int, rng: np.random.Generator) -> None:
    data[place:place] = rng.bytes(int(rng.integers(1, 16)))


def _repeat(data: bytearray, place: int, rng: np.random.Generator) -> None:
    data[place:place] = data[place : place + int(rng.integers(1, 64))]


_CHANGES: Final[tuple[Callable[[bytearray, int, np.random.Generator], None], ...]] = (
    _flip, _flip, _replace, _replace, _number, _number, _number, _cut, _remove, _insert, _repeat,
)  # fmt: skip


def _with_right_sums(data: bytes) -> bytes:
    """A PNG whose chunks have the checksums of what is in them now: the change gets past the first door."""
    out, place = data[:8], 8
    while place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        body = data[place + 4 : place + 8 + length]
        out += data[place : place + 4] + body + zlib.crc32(body).to_bytes(4, "big")
        place += 12 + length
    return out


@dataclass(slots=True)
class Findings:
    """What became of some mutations."""

    outcomes: dict[str, int] = field(default_factory=dict)
    """``refused``, ``same`` (as the second decoder), ``unconfirmed`` (it refuses), and the faults."""
    faults: list[str] = field(default_factory=list)
    """Name of the seed, number, and what happened."""
    slowest_s: float = 0.0
    most_bytes: int = 0


def look_at(path: Path) -> str:
    """One file: what became of it, as in ``Findings.outcomes``; anything else says how it broke."""
    try:
        with closing(open_source(path, 0.125)) as source:
            frames = [frame for frame in _some(source) if isinstance(frame, Frame)]
    except FnrbcError as error:
        return "refused" if str(error).count("\n") == 0 else f"several lines: {error}"
    except MemoryError:
        return "out of memory"
    except Exception as error:  # noqa: BLE001  # which exception it is, is what this bench is there to tell
        return f"broke: {type(error).__name__}: {str(error)[:100]}"
    return _compared(path, frames) if frames else "refused"


def _some(source: Any) -> Iterator[Any]:
    for _ in range(MOST_FRAMES):
        frame = source.read()
        if frame is None:
            return
        yield frame


def _compared(path: Path, frames: list[Frame]) -> str:
    video = path.suffix in (".avi", ".mp4")
    try:
        others = _by_pyav(path) if video else _by_pillow(path)
    except Exception:  # noqa: BLE001  # the second decoder may refuse in any way it likes
        return "unconfirmed"
    limit = VIDEO_DIFFERENCE if video else PICTURE_DIFFERENCE
    if not others:
        return "unconfirmed"
    if all(frames[0].image.shape != other.shape for other in others):
        return f"differs: {frames[0].image.shape[:2]} px, the second decoder says {others[0].shape[:2]}"
    if video:  # the two may leave out other frames, so a frame's number says nothing: which frame it is, its pixels do
        worst = max(min(_apart(frame, other) for other in others) for frame in frames)
    else:
        worst = max(_apart(frame, others[frame.index]) for frame in frames if frame.index < len(others))
    return "same" if worst <= limit else f"differs: by {worst:.1f} levels"


def _apart(frame: Frame, other: NDArray[Any]) -> float:
    """Mean difference in levels; 255 where the sizes differ."""
    if frame.image.shape != other.shape:
        return 255.0
    return float(np.abs(frame.image.astype(np.int16) - other).mean())


def _by_pyav(path: Path) -> list[NDArray[np.uint8]]:
    with av.open(str(path)) as container:
        frames = container.decode(video=0)
        return [frame.to_ndarray(format="rgb24") for frame, _ in zip(frames, range(MOST_FRAMES), strict=False)]


def _by_pillow(path: Path) -> list[NDArray[np.int16]]:
    """Frames as Pillow decodes them; none where it would have to make 8 bits of 16 by a rule of its own."""
    found = []
    with Pillow.open(path) as picture:
        if _bits(picture, path) > 8:
            return []
        for number in range(min(getattr(picture, "n_frames", 1), MOST_FRAMES)):
            picture.seek(number)
            found.append(np.asarray(picture.convert("RGB"), np.int16))
    if path.name == "imagej.tif" and _is_composite(path):  # red, green and blue as pages, where Pillow still finds them
        return [np.dstack([page[..., 0] for page in found])] if len(found) == 3 else []
    return found


def _is_composite(path: Path) -> bool:
    """Whether ImageJ's note still says so: with the note damaged, three grey pages are what the file holds."""
    with tifffile.TiffFile(path) as tif:
        return bool(tif.is_imagej) and "channels" in (tif.imagej_metadata or {})


def _bits(picture: Pillow.Image, path: Path) -> int:
    if path.suffix == ".png":
        return path.read_bytes()[24]
    return max(getattr(picture, "tag_v2", {}).get(258, (8,)))


def _batch(job: tuple[int, int, int]) -> None:
    """Look at mutations ``first`` to ``last`` of a seed; says how far it is in a file, that a crash can be told by."""
    seed, first, last = job
    files, folder = seeds(), Path(tempfile.mkdtemp(prefix="files-fuzz-"))
    names, found = sorted(files), Findings()
    progress = Path(tempfile.gettempdir()) / f"files-fuzz-{os.getppid()}-{first}.json"
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libraries' own lines about damaged data
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    for number in range(first, last):
        name = names[number % len(names)]
        path = folder / name
        path.write_bytes(mutated(files[name], np.random.default_rng([seed, number])))
        progress.write_text(json.dumps({**asdict(found), "now": f"{name} {number}"}))
        start = time.process_time()
        outcome = look_at(path)
        took = time.process_time() - start
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
        if grown > MEMORY_BYTES:
            outcome = f"memory: {grown / 2**20:.0f} MB"
        elif took > LIMIT_S:
            outcome = f"slow: {took:.1f} s"
        found.slowest_s, found.most_bytes = max(found.slowest_s, took), max(found.most_bytes, grown)
        kind = outcome.split(":")[0]
        found.outcomes[kind] = found.outcomes.get(kind, 0) + 1
        if kind not in ("refused", "same", "unconfirmed"):
            found.faults.append(f"{name} {number}: {outcome}")
    progress.write_text(json.dumps(asdict(found)))


def run(seed: int, mutations: int) -> Findings:
    """All mutations, a process a batch; one that dies or hangs is a fault of the file it was at."""
    whole, outcomes, first = Findings(), Counter[str](), 0
    context = multiprocessing.get_context("spawn")
    while first < mutations:
        last = min(first + BATCH, mutations)
        process = context.Process(target=_batch, args=((seed, first, last),))
        process.start()
        process.join(LIMIT_S * BATCH)
        progress = Path(tempfile.gettempdir()) / f"files-fuzz-{os.getpid()}-{first}.json"
        said: dict[str, Any] = json.loads(progress.read_text()) if progress.exists() else {}
        progress.unlink(missing_ok=True)
        first = last
        if process.exitcode != 0:
            hung = process.exitcode is None
            process.kill()
            process.join()
            at = said.get("now", "")
            how = "hung" if hung else f"crashed with {process.exitcode}"
            whole.faults.append(f"{at}: {how}")
            outcomes["hung" if hung else "crashed"] += 1
            first = int(at.split()[-1]) + 1 if at else last
        outcomes.update(said.get("outcomes", {}))
        whole.faults += said.get("faults", [])
        whole.slowest_s = max(whole.slowest_s, said.get("slowest_s", 0.0))
        whole.most_bytes = max(whole.most_bytes, said.get("most_bytes", 0))
    whole.outcomes = dict(outcomes)
    return whole


def main() -> int:
    parser = argparse.ArgumentParser(description="Damaged files of every kind that is read.")
    parser.add_argument("--mutations", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    found = run(arguments.seed, arguments.mutations)
    print(json.dumps({**asdict(found), "mutations": arguments.mutations, "seed": arguments.seed}, indent=1))
    return 1 if found.faults else 0


if __name__ == "__main__":
    sys.exit(main())
