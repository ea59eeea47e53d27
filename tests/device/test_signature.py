"""Who made a bundle: a device with a key takes only what the key's owner signed."""

import shutil
import subprocess
import sys

import pytest

from fnrbc_device.errors import BundleError, ConfigError, UsageError
from fnrbc_device.inference.bundle_store import BundleStore
from fnrbc_device.model.bundle import SHIPPED, load_bundle
from fnrbc_export.sign import sign

pytest.importorskip("cryptography", reason="the extra 'signing' is not installed")


def keys(folder, name):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.generate()
    pem = serialization.Encoding.PEM
    plain, info = serialization.NoEncryption(), serialization.PublicFormat.SubjectPublicKeyInfo
    (folder / f"{name}.pem").write_bytes(private.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    (folder / f"{name}.pub").write_bytes(private.public_key().public_bytes(pem, info))
    return folder / f"{name}.pem", folder / f"{name}.pub"


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(SHIPPED, tmp_path / "bundle")


@pytest.fixture
def ours(tmp_path):
    return keys(tmp_path, "ours")


def test_a_signed_bundle_is_taken_as_folder_and_as_zip(folder, ours, tmp_path):
    sign(folder, ours[0])
    assert load_bundle(folder, ours[1]).id == load_bundle(None).id
    archive = tmp_path / "packed.zip"
    shutil.make_archive(str(archive.with_suffix("")), "zip", folder)
    assert load_bundle(archive, ours[1]).id == load_bundle(None).id


def test_the_signature_is_installed_with_the_bundle(folder, ours, tmp_path):
    sign(folder, ours[0])
    store = BundleStore(tmp_path / "store", ours[1])
    store.use(store.install(folder).id)
    assert load_bundle(store.active(), ours[1]).id == load_bundle(None).id


def test_an_unsigned_bundle_is_refused_by_a_device_with_a_key(folder, ours, tmp_path):
    with pytest.raises(BundleError, match=r"is not signed.*fnrbc-export sign"):
        load_bundle(folder, ours[1])
    with pytest.raises(BundleError, match="is not signed"):
        BundleStore(tmp_path / "store", ours[1]).install(folder)


def test_a_bundle_altered_after_it_was_signed_is_refused(folder, ours):
    sign(folder, ours[0])
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"software_version": "', '"software_version": "9'))
    with pytest.raises(BundleError, match="was altered, or signed by somebody else"):
        load_bundle(folder, ours[1])


def test_a_changed_weight_is_refused_by_its_hash_even_if_the_signature_holds(folder, ours):
    sign(folder, ours[0])
    model = bytearray((folder / "model.onnx").read_bytes())
    model[len(model) // 2] ^= 1
    (folder / "model.onnx").write_bytes(model)
    with pytest.raises(BundleError, match=r"model\.onnx of the bundle .* has sha256"):
        load_bundle(folder, ours[1])


@pytest.mark.parametrize("signature", [b"", b"\0" * 64, b"x" * 65])
def test_what_is_no_signature_is_refused(folder, ours, signature):
    (folder / "manifest.sig").write_bytes(signature)
    with pytest.raises(BundleError, match="was altered, or signed by somebody else"):
        load_bundle(folder, ours[1])


def test_somebody_elses_signature_is_refused(folder, ours, tmp_path):
    sign(folder, keys(tmp_path, "theirs")[0])
    with pytest.raises(BundleError, match="signed by somebody else"):
        load_bundle(folder, ours[1])


def test_a_key_that_is_none_is_wrong_configuration(folder, ours, tmp_path):
    sign(folder, ours[0])
    (tmp_path / "bad.pub").write_text("no key")
    for bad in (tmp_path / "bad.pub", tmp_path / "missing.pub"):
        with pytest.raises(ConfigError, match="cannot be read"):
            load_bundle(folder, bad)
    with pytest.raises(UsageError, match="cannot be read"):
        sign(folder, ours[1])


def test_without_cryptography_a_configured_key_refuses_everything(folder, ours):
    sign(folder, ours[0])
    code = (
        "import sys; sys.modules['cryptography.exceptions'] = None\n"
        "from pathlib import Path\n"
        "from fnrbc_device.model.bundle import load_bundle\n"
        "from fnrbc_device.errors import ConfigError\n"
        "try:\n    load_bundle(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "except ConfigError as error:\n    print(error)\n"
    )
    command = [sys.executable, "-c", code, str(folder), str(ours[1])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "cannot be used without cryptography; pip install 'fnrbc[signing]'" in done.stdout
