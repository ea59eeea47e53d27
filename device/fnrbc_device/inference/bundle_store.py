"""The bundles installed on this device, and which of them counts: immutable folders, and a small file to switch.

A session holds its bundle in memory from its start to its end, so a switch is picked up by the next one. Nothing
is ever removed here: a bundle has 1.5 MB, and a result must be repeatable with the one that it names.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from fnrbc_device.errors import BundleError, UsageError
from fnrbc_device.host.atomic_file import held, sync_folder, write_whole
from fnrbc_device.inference.onnx_classifier import OnnxClassifier
from fnrbc_device.inference.selftest import prove
from fnrbc_device.model.bundle import Bundle, load_bundle, read_files

SHIPPED_NAME: Final = "shipped"
"""Stands for the bundle that comes with fnrbc."""

HISTORY: Final = 50
"""Switches that can be taken back."""

LOCK_TIMEOUT_S: Final = 30.0
"""Another command has the store for a second at most."""

_NAME_CHARACTERS: Final = 16
_SWITCH: Final = "active.json"
_FRESH: Final = ".fresh-"


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

    def install(self, source: Path) -> Bundle:
        """Prove a bundle, put it in its place in one step, and switch to it.

        Parameters
        ----------
        source
            A bundle's folder or zip.

        Raises
        ------
        BundleError
            It is not whole, not signed, or the network in it is not what was trained. Nothing is changed then.
        """
        files = read_files(source)
        with self._alone():
            fresh = self._written(files)
            try:
                bundle = self._proved(fresh)
                self._keep(fresh, bundle)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
            self._switch_to(_name(bundle))
        return bundle

    def use(self, name: str) -> Bundle:
        """Switch to an installed bundle.

        Parameters
        ----------
        name
            The first characters of its id, as many as tell it from others; or ``shipped``.
        """
        with self._alone():
            found = self._named(name)
            bundle = self._proved(self._path(found))
            self._switch_to(found)
        return bundle

    def rollback(self) -> Bundle:
        """Take the last switch back."""
        with self._alone():
            history = self._history()
            if not history:
                raise UsageError("nothing was switched yet, the shipped bundle counts; install one first")
            before = history[:-1]
            bundle = self._proved(self._path(before[-1] if before else SHIPPED_NAME))
            self._switch(before)
        return bundle

    def active(self) -> Path | None:
        """Give the folder of the bundle that the next session counts with; None for the shipped one."""
        history = self._history()
        return self._path(history[-1]) if history else None

    def installed(self) -> list[Path]:
        """Give the folders of all bundles, by their names."""
        return sorted(path for path in self.folder.glob("*") if path.is_dir() and not path.name.startswith("."))

    def _proved(self, path: Path | None) -> Bundle:
        bundle = load_bundle(path, self._key)
        with closing(OnnxClassifier(bundle)) as classifier:
            prove(classifier, bundle)
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
