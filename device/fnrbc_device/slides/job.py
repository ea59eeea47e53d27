"""A slide as work that can be shared out: prepared once, counted region by region, in any order, by anyone."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from fnrbc_device.camera.stated_pixel_size import CONTRADICTION, StatedPixelSize
from fnrbc_device.errors import UsageError
from fnrbc_device.inference.centre_network import open_centres
from fnrbc_device.inference.onnx_classifier import OnnxClassifier
from fnrbc_device.inference.second_look import as_counted
from fnrbc_device.inference.selftest import prove
from fnrbc_device.model.bundle import Bundle
from fnrbc_device.records import USUAL_SEEING, SeeingMethod
from fnrbc_device.slides.learning import Learned, learn
from fnrbc_device.slides.looking import TileCount, TileLooker
from fnrbc_device.slides.opening import open_slide
from fnrbc_device.slides.overview import map_factor
from fnrbc_device.slides.plan import Plan, lay_out
from fnrbc_device.slides.slide import About, Slide
from fnrbc_device.vision.pixelsize import require_pixel_size

SETTING = "--pixel-size-um"


@dataclass(frozen=True, slots=True, eq=False)
class SlideJob:
    """A slide that is ready to be counted. Small, and can be sent to another process."""

    path: Path
    name: str
    about: About
    pixel_um: float
    method: SeeingMethod
    plan: Plan
    learned: Learned
    exchange_red_blue: bool = False

    @property
    def regions(self) -> int:
        """How many regions there are, numbered from 0."""
        return self.plan.regions

    @property
    def tiles(self) -> int:
        """How many tiles are looked at."""
        return len(self.plan.tiles)

    @property
    def stated(self) -> StatedPixelSize | None:
        """What the file says of its pixels' size."""
        return self.about.pixel_size


@dataclass(frozen=True, slots=True, eq=False)
class RegionCount:
    """What one region came to. Can be sent to another process."""

    region: int
    counts: tuple[TileCount, ...]
    """Of its tiles, in their order."""
    seeing: SeeingMethod
    """What found the cells in the end."""

    @property
    def tiles(self) -> int:
        """How many tiles it is."""
        return len(self.counts)


def prepare(
    path: Path,
    pixel_size_um: float | None = None,
    method: SeeingMethod = USUAL_SEEING,
    *,
    tile_px: int | None = None,
    offset_rc: tuple[int, int] = (0, 0),
    exchange_red_blue: bool = False,
) -> SlideJob:
    """Open a slide, find the smear on it, cut it into tiles and learn what holds for all of them.

    Parameters
    ----------
    path
        The slide's file.
    pixel_size_um
        Stated by a person; None: what the file says.
    method
        What finds the cells.
    tile_px, offset_rc
        As in ``lay_out``.
    exchange_red_blue
        The scanner gave blue for red.

    Raises
    ------
    UsageError
        Nobody knows the pixel size, or file and person contradict each other.
    SourceError
        The file is damaged, incomplete, or no slide that is read.
    """
    with closing(open_slide(path, exchange_red_blue=exchange_red_blue)) as slide:
        pixel_um = _pixel_size(slide, pixel_size_um)
        plan, smear = lay_out(slide, pixel_um, tile_px, offset_rc)
        learned = learn(slide, pixel_um, smear)
        return SlideJob(path, slide.name, slide.about, pixel_um, method, plan, learned, exchange_red_blue)


class RegionCounter:
    """Counts regions of one slide: one a worker, used by the thread that entered it.

    Parameters
    ----------
    job
        As ``prepare`` made it.
    bundle
        The model; it must reproduce its golden crops first.

    Raises
    ------
    ParityError
        The network does not reproduce its checkpoint's probabilities on this machine.
    """

    def __init__(self, job: SlideJob, bundle: Bundle) -> None:
        self._job = job
        with ExitStack() as stack:
            self._slide: Slide = stack.enter_context(
                closing(open_slide(job.path, exchange_red_blue=job.exchange_red_blue))
            )
            classifier = stack.enter_context(closing(OnnxClassifier(bundle)))
            prove(classifier, bundle)
            centres = stack.enter_context(closing(open_centres(bundle, job.method)))
            manifest = bundle.manifest
            self._looker = TileLooker(
                job.pixel_um, job.learned, as_counted(classifier, manifest), manifest, centres.model,
                map_factor(job.plan, job.pixel_um),
            )
            self.seeing: SeeingMethod = "threshold" if centres.model is None else centres.model.method
            self._stack = stack.pop_all()

    def count(self, region: int) -> RegionCount:
        """Count one region; the same whoever does it, and after whichever others."""
        return RegionCount(region, tuple(self.tiles(region)), self.seeing)

    def tiles(self, region: int) -> Iterator[TileCount]:
        """Look at a region's tiles one after the other."""
        for tile in self._job.plan.region(region):
            yield self._looker.look(tile, self._slide.read(tile.seen))

    def close(self) -> None:
        """Close the file and the networks. Safe to call twice."""
        self._stack.close()

    def __enter__(self) -> "RegionCounter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _pixel_size(slide: Slide, asked: float | None) -> float:
    """What a person or the file says, where they agree; else a refusal that names both, or asks."""
    said = slide.about.pixel_size
    known = asked if asked is not None else said.um if said else None
    if known is None:
        raise UsageError(
            f"{slide.name} does not say the size of a pixel on the slide; give {SETTING}, "
            "usually 0.25 for a scan at 40x and 0.5 at 20x"
        )
    require_pixel_size(known)
    if asked is not None and said is not None and said.contradicts(asked):
        raise UsageError(
            f"{SETTING} is {asked:g} um, but the file says {said}, more than {CONTRADICTION:.0%} apart; leave out "
            f"{SETTING} if the file is right"
        )
    return known
