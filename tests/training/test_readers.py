import re

import numpy as np
import pytest

from fnrbc_device.camera.headers import UnreadablePictureError
from fnrbc_device.errors import UsageError
from fnrbc_training.cutting import DroppedError, cut, require_most_found
from fnrbc_training.dataset import TARGET, require_learnable
from fnrbc_training.description import describe
from fnrbc_training.readers import agreed, cohens_kappa, in_manifest
from fnrbc_training.splitting import require_no_leak
from painted import DESCRIPTION, PIXEL_SIZE_UM, SIDE, paint, write

WITHOUT_CLASSES = DESCRIPTION.split("[classes]")[0]
CELLS = ["red", "white", "red", "white", "crumb", "white"]
HEADING = "image,x,y,anna,bert"


def silent(what, done, total):
    pass


@pytest.fixture
def make_manifest(tmp_path):
    """Six painted cells side by side in each field, and what two readers say of them."""

    def make(lines=None, heading=HEADING, fields=2):
        for field in range(fields):
            pictures = [paint(look, 10 * field + i) for i, look in enumerate(CELLS)]
            write(tmp_path / f"field {field}.png", np.hstack(pictures))
        path = tmp_path / "cells.csv"
        path.write_text("\n".join([heading, *(lines or said_by(fields))]) + "\n")
        (tmp_path / "dataset.toml").write_text(WITHOUT_CLASSES)
        return path

    return make


def said_by(fields, bert=("fnrbc", "leukocyte", "leukocyte", "fnrbc", "other", "leukocyte")):
    anna = ("fnrbc", "leukocyte", "fnrbc", "leukocyte", "other", "leukocyte")
    return [
        f"field {f}.png,{SIDE * i + SIDE // 2},{SIDE // 2},{anna[i]},{bert[i]}" for f in range(fields) for i in range(6)
    ]


def test_a_cell_is_an_fnrbc_only_if_both_readers_say_so(make_manifest):
    found = cut([make_manifest()], [], silent)
    assert found.originals.tolist() == ["fnrbc", "leukocyte", "leukocyte", "leukocyte", "other", "leukocyte"] * 2


def test_each_cell_is_cut_where_the_manifest_says_and_its_image_is_its_group(make_manifest):
    found = cut([make_manifest()], [], silent)
    assert found.crops.shape == (12, 120, 120, 3)
    assert set(found.groups) == {"cells/field 0.png", "cells/field 1.png"}
    radii = [np.sqrt((crop[..., 1] < 100).sum() / np.pi) * 0.2 for crop in found.crops[:5]]
    assert radii[1] > 1.4 * radii[0]  # a white cell's nucleus, and a red one's
    assert found.sources[0].pixel_size_um == PIXEL_SIZE_UM


def test_kappa_is_that_of_a_table_worked_by_hand(make_manifest):
    # Of 12 cells anna calls 4 fNRBC, bert 4, both 2: 8 of 12 alike, by chance 5/9.
    found = cut([make_manifest()], [], silent)
    assert found.sources[0].kappas == {"anna and bert": pytest.approx((8 / 12 - 5 / 9) / (4 / 9))}


@pytest.mark.parametrize(
    ("first", "second", "kappa"),
    [
        ([True, False] * 5, [True, False] * 5, 1.0),
        ([True, False] * 5, [False, True] * 5, -1.0),
        ([True, True, False, False], [True, False, True, False], 0.0),
        ([True] * 4, [True] * 4, 1.0),
    ],
)
def test_kappa_of_readers_who_always_never_or_by_chance_agree(first, second, kappa):
    assert cohens_kappa(first, second) == pytest.approx(kappa)


def test_readers_who_differ_leave_the_class_that_most_of_the_others_name():
    assert agreed(["fnrbc", "fnrbc"]) == "fnrbc"
    assert agreed(["fnrbc", "other"]) == "other"
    assert agreed(["leukocyte", "other", "other"]) == "other"


def test_readers_may_say_yes_and_no_or_words_of_their_own(make_manifest):
    lines = [
        line.replace(",fnrbc", ",1").replace(",leukocyte", ",No").replace(",other", ",dirt") for line in said_by(2)
    ]
    path = make_manifest(lines)
    (path.parent / "dataset.toml").write_text(WITHOUT_CLASSES + '\n[classes]\ndirt = "other"\n')
    assert cut([path], [], silent).labels.tolist() == [0, 1, 1, 1, 2, 1] * 2


def test_a_column_of_donors_keeps_their_cells_on_one_side(make_manifest):
    lines = [f"{line},donor {i % 4}" for i, line in enumerate(said_by(6, bert=("fnrbc", "leukocyte") * 3))]
    found = cut([make_manifest(lines, HEADING + ",donor", fields=6)], [], silent)
    assert len(set(found.groups)) == 4
    require_no_leak(found)
    assert set(found.parts) == {"training", "tuning", "heldout"}


def test_a_part_that_is_stated_is_kept(make_manifest):
    parts = ["training"] * 12 + ["heldout"] * 6
    lines = [f"{line},{part}" for line, part in zip(said_by(3), parts, strict=True)]
    assert cut([make_manifest(lines, HEADING + ",part", fields=3)], [], silent).parts.tolist() == parts


@pytest.mark.parametrize(
    ("heading", "change", "says"),
    [
        ("picture,x,y,anna,bert", None, "one named 'image' is needed"),
        ("image,a,y,anna,bert", None, "does not say where"),
        ("image,x,y", "drop", "no column of a reader"),
        (HEADING, ("fnrbc,fnrbc", "fnrbc,"), "bert says ''"),
        (HEADING, ("fnrbc,fnrbc", "fnrbc,blast"), "bert says 'blast'"),
        (HEADING, (",150,150", ",left,150"), "x is 'left'"),
        (HEADING, (",150,150", ",-5,150"), "x is '-5'"),
        (HEADING, "one", "class 'fnrbc' has 1 cell"),
        (HEADING, "twice", "stands there twice with two labels"),
        (HEADING, "none", "no line below its heading"),
    ],
)
def test_a_manifest_that_lacks_something_is_refused(make_manifest, heading, change, says):
    lines = said_by(2)
    if isinstance(change, tuple):
        lines = [line.replace(*change) for line in lines]
    elif change == "one":
        lines = lines[:3]
    elif change == "twice":
        lines.append(lines[0].replace("fnrbc,fnrbc", "other,other"))
    elif change == "drop":
        lines = [line.rsplit(",", 2)[0] for line in lines]
    path = make_manifest(lines, heading)
    if change == "none":
        path.write_text(HEADING + "\n")
    with pytest.raises(UsageError, match=says):
        cut([path], [], silent)


def test_a_laboratory_without_an_fnrbc_is_read_but_nothing_is_learned_from_it_alone(make_manifest):
    lines = [line.replace("fnrbc,fnrbc", "fnrbc,leukocyte") for line in said_by(2)]
    crops = cut([make_manifest(lines)], [], silent)
    assert TARGET not in crops.labels
    with pytest.raises(UsageError, match="class 'fnrbc' has no crop for training"):
        require_learnable(crops)


def test_a_manifest_without_pixel_size_is_refused(make_manifest):
    path = make_manifest()
    (path.parent / "dataset.toml").write_text('stain = "s"\nsource = "x"\n')
    with pytest.raises(UsageError, match="pixel_size_um: Field required"):
        cut([path], [], silent)


def test_an_image_that_is_missing_is_named(make_manifest):
    path = make_manifest()
    (path.parent / "field 1.png").unlink()
    with pytest.raises(UnreadablePictureError, match=r"field 1\.png"):
        cut([path], [], silent)


def as_saved(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "cells.csv"
    path.write_bytes(text.encode(encoding))
    return path


SIX = said_by(2)
PLACES_OF_SIX = [(SIDE // 2, SIDE * i + SIDE // 2) for i in range(6)] * 2


def spread(separator, heading=HEADING, decimal=None, end="\n"):
    """The same table as another spreadsheet writes it."""
    rows = [line.split(",") for line in [heading, *SIX]]
    if decimal:
        rows = [rows[0], *([image, f"{x}{decimal}0", f"{y}{decimal}0", *said] for image, x, y, *said in rows[1:])]
    return end.join(separator.join(row) for row in rows) + end


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (spread(","), "utf-8"),
        (spread(";"), "utf-8"),
        ("sep=;\n" + spread(";"), "utf-8-sig"),
        ('"sep=;"\r\n' + spread(";", end="\r\n"), "cp1252"),
        ("SEP=,\n".lower() + spread(","), "utf-8"),
        (spread(";", decimal=","), "utf-8"),
        (spread(";", decimal="."), "utf-8"),
        (spread("\t", decimal=","), "utf-16"),
        (spread(","), "utf-8-sig"),
        ("\n\n" + spread(",").replace("\n", "\n\n") + "\n,,,,\n", "utf-8"),
        (spread(";").replace("\n", "\n;;;;\n"), "utf-8"),
        (spread(";", heading="Image,X [px],Y [px],anna,bert"), "utf-8"),
        (spread(","), "utf-16"),
    ],
)
def test_the_same_table_from_any_spreadsheet_is_the_same_cells(make_manifest, tmp_path, text, encoding):
    make_manifest()
    cells, _ = in_manifest(as_saved(tmp_path, text, encoding), describe(tmp_path), False)

    said = ["fnrbc", "leukocyte", "leukocyte", "leukocyte", "other", "leukocyte"] * 2
    assert [cell.original for cell in cells] == said
    assert [cell.place_rc for cell in cells] == PLACES_OF_SIX


@pytest.mark.parametrize(
    "heading", ["image,x_um,y_um,anna,bert", "Image,X (µm),Y (µm),anna,bert", "image,x [um],y [um],anna,bert"]
)
@pytest.mark.parametrize("decimal", [".", ","])
def test_places_in_um_that_say_so_are_px_by_the_pixel_size(make_manifest, tmp_path, heading, decimal):
    make_manifest()
    rows = [line.split(",") for line in SIX]
    um = [[f"{float(value) * PIXEL_SIZE_UM:.3f}".replace(".", decimal) for value in row[1:3]] for row in rows]
    lines = [";".join([row[0], *at, *row[3:]]) for row, at in zip(rows, um, strict=True)]

    cells, _ = in_manifest(
        as_saved(tmp_path, "\n".join([heading.replace(",", ";"), *lines])), describe(tmp_path), False
    )

    assert [cell.place_rc for cell in cells] == [pytest.approx(place) for place in PLACES_OF_SIX]


def test_backslashes_are_folders_unless_a_file_is_named_so(make_manifest, tmp_path):
    path = make_manifest()
    (tmp_path / "day 1").mkdir()
    for field in tmp_path.glob("field *.png"):
        field.rename(tmp_path / "day 1" / field.name)
    path.write_text(path.read_text().replace("field 0", "day 1\\field 0").replace("field 1", ".\\day 1\\field 1"))

    cells, _ = in_manifest(path, describe(tmp_path), False)
    assert all(cell.path.is_file() for cell in cells)

    (tmp_path / "a\\b.png").write_bytes((tmp_path / "day 1" / "field 0.png").read_bytes())
    path.write_text(path.read_text().replace("day 1\\field 0.png", "a\\b.png"))
    cells, _ = in_manifest(path, describe(tmp_path), False)
    assert cells[0].path == tmp_path / "a\\b.png"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text.replace(",150,150", ",150,5,150,5"), "line 2 has 7 values, the heading 5 names"),
        (lambda text: text.replace(",", ";").replace(";450;", ";1.450,0;"), "x is '1.450,0'"),
        (lambda text: text.replace(",450,", ',"1,450",'), "x is '1,450'"),
        (lambda text: text.replace(",450,", ",4_50,"), "x is '4_50'"),
        (lambda text: text.replace(",450,", ",nan,"), "x is 'nan'"),
        (lambda text: text.replace("anna,bert", "anna,anna"), "two columns named 'anna'"),
        (lambda text: text.replace("field 1", '"field 1'), "cannot be read as CSV"),
        (lambda text: text.replace("x,y", "x_um,y"), "does not say where"),
    ],
)
def test_what_could_mean_two_things_is_refused_in_one_sentence(make_manifest, tmp_path, change, says):
    text = make_manifest().read_text()
    path = as_saved(tmp_path, change(text))

    with pytest.raises(UsageError, match=re.escape(says)) as refused:
        in_manifest(path, describe(tmp_path), False)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("dropped", "limit", "refused"), [(1, 0.1, False), (2, 0.1, True), (2, 0.2, False)]
)
def test_a_cut_that_drops_more_than_a_tenth_of_what_was_named_fails(make_manifest, dropped, limit, refused):
    lines = said_by(2)
    for one in range(1, dropped + 1):  # the first fNRBC stays
        image, x, y, *said = lines[one].split(",")
        lines[one] = ",".join([image, str(int(x) - 100), str(int(y) - 130), *said])
    found = cut([make_manifest(lines)], [], silent)
    assert sum(found.sources[0].missed.values()) == dropped

    if not refused:
        require_most_found(found, limit)
        return
    with pytest.raises(DroppedError, match=rf"no cell was found at {dropped} of 12 places, above the limit of") as why:
        require_most_found(found, limit)
    assert (why.value.exit_code, "(um are named x_um and y_um)" in str(why.value)) == (1, True)
