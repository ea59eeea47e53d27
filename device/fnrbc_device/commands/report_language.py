"""In which language a command writes its report: the one asked for, else the device's, else English."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from fnrbc_device.errors import ConfigError, UsageError
from fnrbc_device.language import ENGLISH, languages

ReportLanguage = Annotated[
    str | None,
    typer.Option("--language", help="Of the report, as de or zh. [default: web.language of the configuration, or en]"),
]


def report_language(asked: str | None, config: Path | None = None) -> str:
    """Choose the language of a report; tables and summaries are in English whatever it is.

    Parameters
    ----------
    asked
        On the command line; None where nothing was.
    config
        As it was given; None for the one that lies in its usual place, if any.

    Raises
    ------
    UsageError
        There is no such language.
    ConfigError
        The configuration that was given cannot be read.
    """
    there = languages()
    if asked is not None:
        if asked not in there:
            raise UsageError(f"--language {asked!a} is not there; choose one of {', '.join(there)}")
        return asked
    configured = _configured(config)
    return configured if configured in there else ENGLISH


def _configured(config: Path | None) -> str:
    from fnrbc_device.config import DEFAULT_PATH, load_config

    if config is None and not DEFAULT_PATH.is_file():
        return ENGLISH
    try:
        return load_config(config).web.language
    except ConfigError as error:
        if config is not None:
            raise
        print(f"note: the report is in English, for {error}", file=sys.stderr)
        return ENGLISH
