"""Everything that fnrbc refuses, as one tree.

Each message is one sentence that names the value, the limit and the cure. A command prints it without
a traceback and ends with the error's exit code.
"""

from typing import ClassVar


class FnrbcError(Exception):
    """Anything that stopped a command, said in words that a person can act on."""

    exit_code: ClassVar[int] = 1


class UsageError(FnrbcError):
    """What was asked for cannot be done: a missing folder, a pixel size of zero, an unknown option."""

    exit_code = 2


class FolderHeldError(UsageError):
    """Another process works in the same state folder, or the same folder of copies."""


class ConfigError(FnrbcError):
    """The configuration is wrong; starting again without mending it cannot help."""

    exit_code = 78


class SourceError(FnrbcError):
    """The source of frames gives none: it is empty, not a picture, or the camera is gone."""


class LeftOutError(SourceError):
    """Less was counted than was given: pictures were passed over or could not be read, or no frame could be used."""


class PictureError(FnrbcError, ValueError):
    """An array is no picture that can be looked at: not (H, W, 3), not 8 bits, without a pixel."""


class BundleError(FnrbcError):
    """The model bundle is incomplete, altered or of an unknown format."""


class ParityError(BundleError):
    """The network here does not reproduce the probabilities of the checkpoint on the golden crops."""


class RegistrationError(FnrbcError):
    """Two frames cannot be laid on each other: too little overlap, or nothing to hold on to."""


class ObjectiveError(RegistrationError):
    """A frame fits nothing, and all in it is larger or smaller than before: the objective was changed."""


class JournalError(FnrbcError):
    """The record on disk cannot be written or read."""


class DiskFullError(JournalError):
    """There is no room to begin a session, or none left to go on with one; what was counted is recorded."""


class ReviewError(FnrbcError):
    """A decision on a cell is not taken down: no such cell, a session that was signed off, or undone already."""


class PublishError(FnrbcError):
    """The broker refused, or cannot be reached in the time allowed."""


class BrokerRefusedError(PublishError):
    """The broker is there and wants nothing of us, or we nothing of it: name, password or a certificate is wrong."""


class CommandError(FnrbcError):
    """What somebody asked of the daemon is not done: too old, malformed, or not possible as things stand.

    Parameters
    ----------
    code
        One word of the closed list in ``publishing.answers.RefusalCode``, for programs.
    words
        One sentence, for people.
    """

    def __init__(self, code: str, words: str) -> None:
        super().__init__(words)
        self.code = code


class EngineError(FnrbcError):
    """TensorRT cannot build, load or run the engine, or what lies in the cache is not for this machine."""
