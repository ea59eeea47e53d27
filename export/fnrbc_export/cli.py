"""The command line of the export: onnx, see, engine, verify, sign."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from fnrbc_device.commands.exit_codes import run
from fnrbc_device.commands.program import program, with_examples
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.model.manifest import Precision
from fnrbc_export.verify import verify

ENGINES = Path("/var/lib/fnrbc/engines")
"""Where the daemon's configuration of every default looks for engines."""

Cache = Annotated[Path, typer.Option(help="Folder of the engines.")]
Key = Annotated[Path | None, typer.Option(help="Ed25519 public key, PEM: refuse a bundle that it did not sign.")]

EXAMPLES: Final = {
    "onnx": (
        "fnrbc-export onnx pnet.pt --out pnet-new",
        "fnrbc-export onnx pnet.pt --see see.pt --precision fp16 --out pnet-new.zip",
    ),
    "see": ("fnrbc-export see see.pt --bundle pnet-new --out pnet-see",),
    "engine": ("fnrbc-export engine pnet-new.zip",),
    "verify": ("fnrbc-export verify pnet-new.zip",),
    "sign": ("fnrbc-export sign pnet-new.zip --key private.pem",),
}

app = program("Checkpoint to proved bundle, and proof of a bundle.")


def main() -> NoReturn:
    """Run ``fnrbc-export``."""
    with_examples(app, EXAMPLES)
    run(app)


@app.command("onnx")
def onnx_command(
    checkpoint: Annotated[Path, typer.Argument(help="What fnrbc-train fit wrote.")],
    out: Annotated[Path, typer.Option(help="The bundle's folder, or zip if the name ends so.")],
    precision: Annotated[Precision, typer.Option(help="What the network computes in.")] = "fp32",
    see: Annotated[Path | None, typer.Option(help="What fnrbc-train see wrote: the network that finds cells.")] = None,
) -> None:
    """Convert a checkpoint, prove the model against it, and write a bundle."""
    # torch takes seconds to import, and the other commands must run where there is none.
    from fnrbc_export.to_onnx import export_bundle
    from fnrbc_training.checkpoint import load

    classifying, seeing = load(checkpoint), None
    if see is not None:
        from fnrbc_export.see_onnx import seeing_part, with_card
        from fnrbc_training import see_checkpoint

        finding = see_checkpoint.load(see)
        seeing = seeing_part(finding)
        classifying = replace(classifying, card=with_card(classifying.card.encode(), finding).decode())
    bundle = export_bundle(classifying, out, precision, lambda proof: print(proof.as_table(), flush=True), seeing)
    print(f"{out}: bundle {bundle.id[:12]}, proved on {bundle.manifest.parity.crops} crops it never saw")


@app.command("see")
def see_command(
    checkpoint: Annotated[Path, typer.Argument(help="What fnrbc-train see wrote.")],
    bundle: Annotated[Path, typer.Option(help="A bundle's folder or zip: what classifies is taken from it.")],
    out: Annotated[Path, typer.Option(help="The new bundle's folder, or zip if the name ends so.")],
) -> None:
    """Give a bundle another network that finds cells, proved; what classifies stays as it is."""
    from fnrbc_export.see_onnx import with_seeing
    from fnrbc_training.see_checkpoint import load

    made = with_seeing(bundle, load(checkpoint), out)
    assert made.manifest.seeing is not None
    print(f"{out}: bundle {made.id[:12]}, seeing off by at most {made.manifest.seeing.largest_difference:.2g}")


@app.command("engine")
def engine_command(
    bundle: Annotated[Path, typer.Argument(help="A bundle's folder or zip.")],
    cache: Cache = ENGINES,
    key: Key = None,
    timeout_s: Annotated[float, typer.Option(min=1, help="For building and proving.")] = 3600.0,
    wait_s: Annotated[float, typer.Option(min=0, help="For another builder at work.")] = 10.0,
) -> None:
    """Build the engine of a bundle for this machine, prove it here, and put it in its place."""
    from fnrbc_export.engine_command import ensure_engine

    print(ensure_engine(load_bundle(bundle, key), cache, timeout_s, wait_s))


@app.command("verify")
def verify_command(
    bundle: Annotated[Path, typer.Argument(help="A bundle's folder or zip.")],
    engine: Annotated[bool, typer.Option("--engine", help="Prove its engine on this machine, too.")] = False,
    cache: Cache = ENGINES,
    key: Key = None,
) -> None:
    """Run the device's self-test by hand: hashes, format, golden crops."""
    began = time.monotonic()
    found, difference = verify(bundle, key)
    print(f"{bundle}: bundle {found.id[:12]}, {found.manifest.precision}, classes {', '.join(found.classes)}")
    print(
        f"off by at most {difference:.2g} on {len(found.golden_crops)} golden crops, "
        f"{found.manifest.parity.tolerance:.2g} is allowed; {time.monotonic() - began:.2f} s"
    )
    if engine:
        from fnrbc_export.engine_command import verify_engine

        print(verify_engine(found, cache))


@app.command("sign")
def sign_command(
    bundle: Annotated[Path, typer.Argument(help="A bundle's folder.")],
    key: Annotated[Path, typer.Option(help="Ed25519 private key, PEM, as openssl genpkey makes it.")],
) -> None:
    """Sign a bundle, for devices that hold the public key."""
    from fnrbc_export.sign import sign

    print(f"{sign(bundle, key)}: signed bundle {load_bundle(bundle).id[:12]}")


if __name__ == "__main__":
    main()
