import json
import shutil
import zipfile

import numpy as np
import pytest

from fnrbc_device.errors import BundleError
from fnrbc_device.model import bundle as bundle_module
from fnrbc_device.model.bundle import SHIPPED, load_bundle
from fnrbc_device.model.manifest import SEALED_FILES, SEEING_FILES, Manifest
from fnrbc_device.model.seal import seal

FILES = ("manifest.json", *SEALED_FILES, *SEEING_FILES)


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(SHIPPED, tmp_path / "bundle")


def fields_of(folder):
    fields = json.loads((folder / "manifest.json").read_text())
    return {k: v for k, v in fields.items() if k not in ("format", "bundle_id", "files")}


def reseal(folder, **changed):
    """Seal the folder's files again under a changed manifest, as somebody with our code could."""
    contents = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name, content in seal({**fields_of(folder), **changed}, contents).items():
        (folder / name).write_bytes(content)


def rewrite(folder, change):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest, indent=2) + "\n")


def test_the_shipped_bundle_is_whole_and_below_five_megabytes():
    bundle = load_bundle(None)

    assert bundle.classes == ("fnrbc", "leukocyte", "other")
    assert bundle.roles == {"fnrbc": "target", "leukocyte": "denominator", "other": "ignored"}
    assert len(bundle.golden_crops) == len(bundle.golden_probabilities) > 0
    assert sum(f.stat().st_size for f in SHIPPED.iterdir()) < 5e6


def test_the_shipped_card_names_its_data_and_what_it_must_not_be_used_for():
    card = load_bundle(None).model_card

    for needed in (
        "10.17632/snkd93bnjr.1",
        "CC BY 4.0",
        "Not for use in diagnostic procedures",
        "sensitivity",
    ):
        assert needed in card


def test_a_zip_is_as_good_as_the_folder(folder, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", folder)
    assert load_bundle(bundle_module.Path(archive)).id == load_bundle(folder).id


def test_other_files_in_the_folder_do_not_matter(folder):
    (folder / "notes.txt").write_text("seen on the bench")
    assert load_bundle(folder).id == load_bundle(None).id


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.9999])
def test_one_changed_byte_is_refused_wherever_it_is(folder, name, share):
    content = bytearray((folder / name).read_bytes())
    content[int(share * len(content))] ^= 0x01
    (folder / name).write_bytes(content)

    with pytest.raises(BundleError, match=r"manifest\.json|sha256"):
        load_bundle(folder)


def test_not_even_a_blank_of_the_manifest_can_change(folder):
    path = folder / "manifest.json"
    path.write_bytes(path.read_bytes() + b"\n")

    with pytest.raises(BundleError, match="changed after it was sealed"):
        load_bundle(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(BundleError, match=rf"lacks {name} .*; .*{name}.* are needed"):
        load_bundle(folder)


OF_LATER_BUNDLES = ("seeing", "second_look_from", "site")
"""What bundles of fnrbc 0.1 do not have."""


@pytest.mark.parametrize("field", sorted({*Manifest.model_fields} - {"format", *OF_LATER_BUNDLES}))
def test_no_field_has_a_default(folder, field):
    rewrite(folder, lambda manifest: manifest.pop(field))
    with pytest.raises(BundleError, match=f"{field}: Field required"):
        load_bundle(folder)


def test_the_network_that_sees_cannot_be_left_out_of_a_sealed_manifest(folder):
    rewrite(folder, lambda manifest: manifest.pop("seeing"))
    with pytest.raises(BundleError, match="files are"):
        load_bundle(folder)


def test_the_second_look_cannot_be_left_out_of_a_sealed_manifest(folder):
    rewrite(folder, lambda manifest: manifest.pop("second_look_from"))
    with pytest.raises(BundleError, match="changed after it was sealed"):
        load_bundle(folder)


def test_an_unknown_field_is_refused(folder):
    rewrite(folder, lambda manifest: manifest.update(mood="good"))
    with pytest.raises(BundleError, match="mood: Extra inputs"):
        load_bundle(folder)


@pytest.mark.parametrize("format_", [0, 2, "1", None])
def test_another_format_is_named_with_ours_and_the_cure(folder, format_):
    rewrite(folder, lambda manifest: manifest.update(format=format_))
    with pytest.raises(BundleError, match=r"format 1.*export it again"):
        load_bundle(folder)


@pytest.mark.parametrize(
    "changed",
    [{"preprocessing_id": "another-2"}, {"crop_px": 96}, {"pixel_size_um": 0.25}],
)
def test_crops_cut_by_another_recipe_are_refused(folder, changed):
    reseal(folder, **changed)
    with pytest.raises(BundleError, match=f"{next(iter(changed.values()))}.*train and export it again"):
        load_bundle(folder)


@pytest.mark.parametrize(
    "changed",
    [
        {"threshold": 1.5},
        {"threshold": 0.01, "indeterminate": [0.2, 0.8]},
        {"temperature": 0.0},
        {"classes": [{"name": "fnrbc", "role": "target"}, {"name": "fnrbc", "role": "denominator"}]},
        {"classes": [{"name": "a", "role": "target"}, {"name": "b", "role": "ignored"}]},
        {"classes": [{"name": "a", "role": "target"}, {"name": "b", "role": "target"}]},
        {"created": "yesterday"},
    ],
)
def test_nonsense_cannot_even_be_sealed(folder, changed):
    with pytest.raises(BundleError, match="cannot be sealed"):
        reseal(folder, **changed)


def test_a_resealed_bundle_is_another_bundle(folder):
    reseal(folder, software_version="9.9.9")
    assert load_bundle(folder).id != load_bundle(None).id


def test_golden_crops_of_another_shape_are_refused(folder):
    np.savez(folder / "golden.npz", crops=np.zeros((2, 8, 8, 3), np.uint8), probabilities=np.ones((2, 3)))
    reseal(folder)
    with pytest.raises(BundleError, match="golden crops"):
        load_bundle(folder)


def test_a_sealed_pickle_is_not_opened(folder):
    np.savez(folder / "golden.npz", crops=np.array([{}], dtype=object), probabilities=np.ones((1, 3)))
    reseal(folder)
    with pytest.raises(BundleError, match="broken file"):
        load_bundle(folder)


def test_nothing_at_the_path_is_said(tmp_path):
    with pytest.raises(BundleError, match="there is no bundle at"):
        load_bundle(tmp_path / "nowhere")


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 and then nothing"])
def test_what_is_no_zip_is_said(tmp_path, content):
    path = tmp_path / "bundle.zip"
    path.write_bytes(content)
    with pytest.raises(BundleError, match="no readable zip"):
        load_bundle(path)


def test_a_zip_without_the_model_is_said(folder, tmp_path):
    path = tmp_path / "bundle.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(folder / "manifest.json", "manifest.json")
    with pytest.raises(BundleError, match=r"lacks model\.onnx \(not in the zip\)"):
        load_bundle(path)


def test_a_huge_file_is_not_read_into_memory(folder):
    with (folder / "model.onnx").open("r+b") as file:
        file.truncate(bundle_module.MAX_FILE_BYTES + 1)
    with pytest.raises(BundleError, match="larger than 64 MiB"):
        load_bundle(folder)


def test_below_the_band_the_likeliest_other_class_wins_and_inside_it_nobody(folder):
    reseal(folder, threshold=0.5, indeterminate=[0.3, 0.7])
    probabilities = np.array(
        [[0.9, 0.1, 0.0], [0.7, 0.3, 0], [0.69, 0.3, 0.01], [0.3, 0.7, 0], [0.29, 0.3, 0.41]]
    )

    decided = load_bundle(folder).manifest.decide(probabilities)

    assert decided.tolist() == [0, 0, -1, -1, 2]
