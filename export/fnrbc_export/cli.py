"""The command line of the export: onnx, verify."""

import time
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from fnrbc_device.command import run
from fnrbc_device.manifest import Precision
from fnrbc_export.verify import verify

app = typer.Typer(
    help="Checkpoint to proved bundle, and proof of a bundle.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> NoReturn:
    """Run ``fnrbc-export``."""
    run(app)


@app.command("onnx")
def onnx_command(
    checkpoint: Annotated[Path, typer.Argument(help="What fnrbc-train fit wrote.")],
    out: Annotated[Path, typer.Option(help="The bundle's folder, or zip if the name ends so.")],
    precision: Annotated[Precision, typer.Option(help="What the network computes in.")] = "fp32",
) -> None:
    """Convert a checkpoint, prove the model against it, and write a bundle."""
    # torch takes seconds to import, and the other commands must run where there is none.
    from fnrbc_export.to_onnx import export_bundle
    from fnrbc_training.checkpoint import load

    bundle, proof = export_bundle(load(checkpoint), out, precision)
    print(f"{out}: bundle {bundle.id[:12]}, proved on {proof.crops} crops it never saw")
    print(proof.as_table())


@app.command("verify")
def verify_command(bundle: Annotated[Path, typer.Argument(help="A bundle's folder or zip.")]) -> None:
    """Run the device's self-test by hand: hashes, format, golden crops."""
    began = time.monotonic()
    found, difference = verify(bundle)
    print(f"{bundle}: bundle {found.id[:12]}, classes {', '.join(found.classes)}")
    print(
        f"off by at most {difference:.2g} on {len(found.golden_crops)} golden crops, "
        f"{found.manifest.parity.tolerance:.2g} is allowed; {time.monotonic() - began:.2f} s"
    )
