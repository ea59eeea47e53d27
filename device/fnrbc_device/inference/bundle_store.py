"""The bundles installed on this device, and which of them counts: immutable folders, and a small file to switch.

A session holds its bundle in memory from its start to its end, so a switch is picked up by the next one. Nothing
is ever removed here: a bundle has 1.5 MB, and a result must be repeatable with the one that it names.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from fnrbc_device.errors import BundleError, UsageError
from fnrbc_device.host.atomic_file import held, sync_folder, write_whole
from fnrbc_device.host.secret_key import secret_key
from fnrbc_device.inference.proof_apart import prove_apart
from fnrbc_device.model.bundle import Bundle, load_bundle, read_files
from fnrbc_device.model.site_figures import SiteFigures, read_site_figures
from fnrbc_device.model.weighing import Weighed

SHIPPED_NAME: Final = "shipped"
"""Stands for the bundle that comes with fnrbc."""

HISTORY: Final = 50
"""Switches that can be taken back."""

LOCK_TIMEOUT_S: Final = 30.0
"""Another command has the store for a second at most."""

_NAME_CHARACTERS: Final = 16
_SWITCH: Final = "active.json"
_FRESH: Final = ".fresh-"
_SITE: Final = ".site.json"
_SITE_KEY: Final = "site.key"


Record = Callable[[Weighed], None]
"""Puts a change on record, told by both bundles' figures."""


def _unrecorded(weighed: Weighed) -> None:
    """Nobody keeps a record."""


class BundleStore:
    """Installed bundles.

    Parameters
    ----------
    folder
        Of the store; made when something is installed.
    key
        Ed25519 public key, PEM, that must have signed them; None where signatures are not asked for.
    """

    def __init__(self, folder: Path, key: Path | None = None) -> None:
        self.folder = folder
        self._key = key

    def install(self, source: Path, *, force: bool = False, record: Record = _unrecorded) -> Bundle:
        """Prove a bundle and put it in its place in one step. What counts stays what it was: see ``use``.

        Parameters
        ----------
        source
            A bundle's folder or zip.
        force
            Take one that is worse than the one in use, too.
        record
            Called before anything is changed; where it raises, nothing is.

        Raises
        ------
        BundleError
            It is not whole, not signed, the network in it is not what was trained, or it is worse beyond its interval
            than the one in use. Nothing is changed then.
        """
        files = read_files(source)
        with self._alone():
            fresh = self._written(files)
            try:
                bundle = self._proved(fresh)
                weighed = self._weighed(bundle)
                if weighed.worse and not force:
                    raise BundleError(weighed.refusal())
                record(weighed)
                self._keep(fresh, bundle)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
        return bundle

    def weigh(self, source: Path | None) -> Weighed:
        """Lay a bundle's figures beside those of the one in use; nothing is changed.

        Parameters
        ----------
        source
            A bundle's folder or zip; None for the shipped one.

        Raises
        ------
        BundleError
            It is not whole, or not signed.
        """
        return self._weighed(load_bundle(source, self._key))

    def find(self, name: str) -> Path | None:
        """Give the folder of an installed bundle by the first characters of its id; None for ``shipped``.

        Raises
        ------
        UsageError
            None or several have that name.
        """
        return self._path(self._named(name))

    def _weighed(self, bundle: Bundle) -> Weighed:
        """Beside the one in use, or the shipped one where that cannot be read: it is mended by installing it again."""
        try:
            before = load_bundle(self.active(), self._key)
        except BundleError:
            before = load_bundle(None)
        return Weighed(before.manifest, bundle.manifest)

    def use(self, name: str, record: Record = _unrecorded) -> Bundle:
        """Switch to an installed bundle.

        Parameters
        ----------
        name
            The first characters of its id, as many as tell it from others; or ``shipped``.
        record
            Called before the switch; where it raises, there is none.
        """
        with self._alone():
            found = self._named(name)
            bundle = self._proved(self._path(found))
            record(self._weighed(bundle))
            self._switch_to(found)
        return bundle

    def rollback(self, record: Record = _unrecorded) -> Bundle:
        """Take the last switch back; ``record`` as in ``use``."""
        with self._alone():
            history = self._history()
            if not history:
                raise UsageError("nothing was switched yet, the shipped bundle counts; install one first")
            before = history[:-1]
            bundle = self._proved(self._path(before[-1] if before else SHIPPED_NAME))
            record(self._weighed(bundle))
            self._switch(before)
        return bundle

    def site_figures(self, bundle_id: str) -> SiteFigures | None:
        """Give what a bundle was measured to do at this site; None where that was not measured.

        Raises
        ------
        BundleError
            They were changed, or made by another device.
        JournalError
            The device's key cannot be read.
        """
        path = self.folder / f"{bundle_id[:_NAME_CHARACTERS]}{_SITE}"
        if not path.is_file():
            return None
        figures = read_site_figures(path, self._site_key())
        if figures.bundle != bundle_id:
            raise BundleError(f"the site's figures {path} are of another bundle, {figures.bundle[:16]}; validate again")
        return figures

    def keep_site_figures(self, figures: SiteFigures, record: Callable[[], None] = lambda: None) -> Path:
        """Seal figures and put them beside their bundle, in the place of earlier ones; returns their file.

        Parameters
        ----------
        record
            Called before anything is changed; where it raises, nothing is.
        """
        with self._alone():
            sealed = figures.sealed(self._site_key())
            record()
            path = self.folder / f"{figures.bundle[:_NAME_CHARACTERS]}{_SITE}"
            write_whole(path, sealed)
        return path

    def _site_key(self) -> bytes:
        return secret_key(self.folder / _SITE_KEY, "under which the site's figures have to be made again")

    def active(self) -> Path | None:
        """Give the folder of the bundle that the next session counts with; None for the shipped one."""
        history = self._history()
        return self._path(history[-1]) if history else None

    def installed(self) -> list[Path]:
        """Give the folders of all bundles, by their names."""
        return sorted(path for path in self.folder.glob("*") if path.is_dir() and not path.name.startswith("."))

    def _proved(self, path: Path | None) -> Bundle:
        bundle = load_bundle(path, self._key)
        prove_apart(bundle)
        return bundle

    def _written(self, files: dict[str, bytes]) -> Path:
        """Write files into a folder that nobody looks at yet, and what earlier commands left half-way away."""
        for left in self.folder.glob(f"{_FRESH}*"):
            shutil.rmtree(left, ignore_errors=True)
        fresh = self.folder / f"{_FRESH}new"
        fresh.mkdir()
        for name, content in files.items():
            write_whole(fresh / name, content)
        return fresh

    def _keep(self, fresh: Path, bundle: Bundle) -> None:
        place = self.folder / _name(bundle)
        if place.exists():
            try:
                self._proved(place)
            except BundleError:
                place.rename(self.folder / f"{_FRESH}damaged")  # cleared away by the next install
            else:
                return
        for file in fresh.iterdir():
            file.chmod(0o444)
        fresh.rename(place)
        sync_folder(self.folder)

    def _named(self, name: str) -> str:
        names = [path.name for path in self.installed()] + [SHIPPED_NAME]
        found = [one for one in names if name and one.startswith(name[:_NAME_CHARACTERS])]
        if len(found) != 1:
            raise UsageError(f"{name!r} names {len(found)} of the bundles {', '.join(names)}; give one of these")
        return found[0]

    def _path(self, name: str) -> Path | None:
        return None if name == SHIPPED_NAME else self.folder / name

    def _history(self) -> list[str]:
        try:
            found = json.loads((self.folder / _SWITCH).read_bytes())
            return [str(name) for name in found["history"]]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BundleError(
                f"{self.folder / _SWITCH} does not say which bundle counts ({error}); delete it and use one again"
            ) from None

    def _switch_to(self, name: str) -> None:
        history = self._history()
        if history[-1:] != [name]:
            self._switch([*history, name])

    def _switch(self, history: list[str]) -> None:
        content = json.dumps({"history": history[-HISTORY:]}, indent=2) + "\n"
        write_whole(self.folder / _SWITCH, content.encode())

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the store; the system lets go of it however the holder ends."""
        try:
            with held(self.folder / ".lock", LOCK_TIMEOUT_S):
                yield
        except TimeoutError:
            raise UsageError(f"another command has held {self.folder} for {LOCK_TIMEOUT_S:g} s; end it") from None
        except OSError as error:
            raise UsageError(
                f"{self.folder} cannot be written ({error.strerror}); free some space, or run as the daemon's user"
            ) from None


def _name(bundle: Bundle) -> str:
    return bundle.id[:_NAME_CHARACTERS]
