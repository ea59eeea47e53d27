"""What may be said to ``fnrbc batch`` on the command line: each option's type, limits and help."""

from pathlib import Path
from typing import Annotated

import typer

from fnrbc_device.records import SeeingMethod, SessionKind

Out = Annotated[Path, typer.Option("--out", help="Folder for batch.csv, summary.json and a folder a source.")]

Sources = Annotated[
    list[Path] | None,
    typer.Argument(help="Folders of frames, videos, slides, pictures; or a list: .txt, or .csv with settings."),
]

BundleFile = Annotated[
    Path | None, typer.Option("--bundle", help="Model bundle, a folder or a zip. [default: the one shipped]")
]

Compare = Annotated[
    Path | None,
    typer.Option("--compare", help="A bundle, or the --out of an earlier batch: says what changes, cell by cell."),
]

PixelSize = Annotated[
    float | None, typer.Option("--pixel-size-um", help="Of sources where neither list nor files say it.")
]

Kind = Annotated[SessionKind, typer.Option("--kind", help="What is on the slides.")]

Seeing = Annotated[SeeingMethod, typer.Option("--seeing", help="What finds cells.")]

AllowLeftOut = Annotated[
    float,
    typer.Option("--allow-left-out", min=0.0, max=1.0, help="Share of a source's pictures that may be left out."),
]

ExchangeRedBlue = Annotated[
    bool, typer.Option("--exchange-red-blue", help="The cameras gave blue for red: set it right.")
]

StageAxes = Annotated[
    str, typer.Option("--stage-axes", help="Of motorised stages: right,down in the picture, as -x,y; or none.")
]

Workers = Annotated[
    int | None, typer.Option("--workers", min=1, help="Processes on this machine. [default: one a core]")
]

Scheduler = Annotated[
    str | None, typer.Option("--scheduler", help="Of a Dask cluster that runs: tcp://HOST:PORT or tls://HOST:PORT.")
]

Pem = Annotated[Path | None, typer.Option(help="PEM, with a tls:// scheduler.")]
"""One each for the authority, the certificate and its key; the parameter's name is the option's."""

Wait = Annotated[
    float, typer.Option("--wait", min=0.0, help="Seconds to wait for a scheduler, or for a first worker.")
]

Dashboard = Annotated[
    int | None,
    typer.Option("--dashboard", min=1, max=65535, help="Port on loopback for Dask's page. [default: none]"),
]

AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]
