"""What the laboratory's system gets is read by others' software, agrees with the record, and comes once and whole."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

import pytest

from fnrbc_device.config import load_config
from fnrbc_device.errors import ConfigError, ReviewError
from fnrbc_device.host.clock import SystemClock
from fnrbc_device.journal.read_only import reading
from fnrbc_device.journal.results import results_of
from fnrbc_device.journal.specimen import specimen_hash
from fnrbc_device.laboratory.handover import Handover
from fnrbc_device.laboratory.hl7 import escaped
from fnrbc_device.laboratory.letters import letter_of_session, written
from fnrbc_device.laboratory.sent import SENT_NAME
from fnrbc_device.laboratory.settings import Code, Codes, LaboratorySettings
from fnrbc_device.sessions.archive import read
from fnrbc_device.sessions.decisions import Decisions
from fnrbc_device.sessions.details import Describing
from fnrbc_device.sessions.sign_off import SignOff
from fnrbc_device.texts import RESEARCH_USE_ONLY
from laboratory import cells, write_session

NASTY = "A|17^b&c~d\\e Ünï 細胞"


@pytest.fixture(scope="module")
def written_once(tmp_path_factory) -> Path:
    """Two sessions of three fNRBC and 40 leukocytes, one of them rejected by a person; and a control."""
    path = tmp_path_factory.mktemp("written") / "state" / "journal.sqlite"
    for session in ("s1", "s2"):
        write_session(path, session, cells(3, 40), specimen=NASTY)
        with Decisions(path, "bench", SystemClock()) as deciding:
            for cell, decision in enumerate(("confirmed", "confirmed", "rejected"), 1):
                deciding.decide(session, cell, decision, "dora")
    write_session(path, "c1", cells(1, 40), kind="control", specimen="low")
    return path


@pytest.fixture
def record(written_once: Path, tmp_path: Path) -> Path:
    shutil.copytree(written_once.parent, tmp_path / "state")
    return tmp_path / "state" / "journal.sqlite"


def signing(path: Path, verb: str, *words: str, session: str = "s1", who: str = "carla|x") -> None:
    with SignOff(path, "bench", SystemClock()) as writer:
        getattr(writer, verb)(session, who, *words)


def sign(path: Path, session: str = "s1", reason: str = "") -> None:
    with SignOff(path, "bench", SystemClock()) as writer:
        writer.sign(session, "carla|x", reason=reason)


def letter(path: Path, form: str, named: bool = True, session: str = "s1", settings: object = None) -> bytes:
    with reading(path) as connection:
        found = letter_of_session(connection, path, session, "lab", settings or LaboratorySettings(), named)
    return written(found, form)


def fields_of(message: str, name: str) -> list[list[str]]:
    return [line.split("|") for line in message.split("\r") if line.startswith(f"{name}|")]


def test_hl7_is_read_by_another_parser_and_says_the_records_figures(record):
    hl7 = pytest.importorskip("hl7apy.parser")
    sign(record)

    text = letter(record, "hl7").decode()
    message = hl7.parse_message(text, find_groups=True)
    assert message.validate()

    with reading(record) as connection:
        (result,) = results_of(connection, "s1")
        entry = read(connection, "s1")
    group = message.oru_r01_patient_result.oru_r01_order_observation
    values = {
        one.obx.obx_3.obx_3_1.value: one.obx.obx_5.value for one in group.oru_r01_observation
    }
    assert values["fnrbc"] == str(result.fnrbc) == str(entry.verified.fnrbc) == "2"
    assert values["leukocytes"] == str(result.leukocytes) == "40"
    assert float(values["fnrbc-per-100-leukocytes"]) == result.fnrbc_per_100_leukocytes == 5.0
    assert float(values["ci95-low"]) == result.ci95_low
    assert {one.obx.obx_11.value for one in group.oru_r01_observation} == {"F"}
    assert (group.obr.obr_25.value, group.obr.obr_3.obr_3_1.value) == ("F", "s1")
    assert next(note.nte_3.value for note in group.nte) == RESEARCH_USE_ONLY
    assert message.msh.msh_18.value == "UNICODE UTF-8"


def test_what_separates_in_hl7_comes_back_as_it_was_written(record):
    sign(record)

    (specimen,) = fields_of(letter(record, "hl7").decode(), "SPM")

    back = specimen[2]
    for code, sign_ in (("\\F\\", "|"), ("\\S\\", "^"), ("\\T\\", "&"), ("\\R\\", "~"), ("\\E\\", "\\")):
        back = back.replace(code, sign_)
    assert back == NASTY
    assert escaped("a\r\nb\x00") == "a\\X0D\\\\X0A\\b\\X00\\"
    assert len(fields_of(letter(record, "hl7").decode(), "OBX")) == 5


def test_a_segment_has_no_field_too_many_whatever_people_wrote(record):
    with Describing(record, "bench", SystemClock()) as describing:
        describing.describe("s1", "olga", note="x|y\\")
    with SignOff(record, "bench", SystemClock()) as writer:
        writer.sign("s1", "carla|^&~\\", reason="unused")
        writer.withdraw("s1", "otto", "two | pipes ^ and \\ a bar")

    text = letter(record, "hl7").decode()

    wanted = {"MSH": 18, "OBR": 33, "NTE": 4, "OBX": 19, "SPM": 5}
    assert {name: {len(one) for one in fields_of(text, name)} for name in wanted} == {
        name: {size} for name, size in wanted.items()
    }
    assert "two \\F\\ pipes \\S\\ and \\E\\ a bar" in text
    assert text.endswith("\r")
    assert "\n" not in text


def test_times_in_hl7_carry_their_offset(record):
    sign(record)

    (head,), (order,) = (fields_of(letter(record, "hl7").decode(), name) for name in ("MSH", "OBR"))

    for moment in (head[6], order[7], order[8], order[22]):
        assert re.fullmatch(r"\d{14}\.\d{3}\+0000", moment)
    assert order[7] == "20260302075500.000+0000"
    signed = datetime.strptime(order[22], "%Y%m%d%H%M%S.%f%z")
    assert abs((datetime.now(timezone.utc) - signed).total_seconds()) < 60


def test_fhir_is_valid_for_another_reader_and_says_the_records_figures(record):
    bundles = pytest.importorskip("fhir.resources.R4B.bundle")
    sign(record)

    bundle = bundles.Bundle.model_validate_json(letter(record, "fhir"))

    by_type = {entry.resource.get_resource_type(): entry.resource for entry in bundle.entry}
    assert set(by_type) == {"Observation", "Device", "Specimen"}
    found = by_type["Observation"]
    with reading(record) as connection:
        (result,) = results_of(connection, "s1")
    assert found.status == "final"
    assert float(found.valueQuantity.value) == result.fnrbc_per_100_leukocytes
    values = {one.code.coding[0].code: one.valueQuantity for one in found.component}
    assert [int(values[name].value) for name in ("fnrbc", "leukocytes")] == [2, 40]
    assert float(values["ci95-high"].value) == result.ci95_high
    assert found.note[0].text == RESEARCH_USE_ONLY
    assert "3 fNRBC beside 40 leukocytes" in " ".join(note.text for note in found.note)
    assert by_type["Specimen"].identifier[0].value == NASTY
    urls = {entry.fullUrl for entry in bundle.entry}
    assert {found.specimen.reference, found.device.reference} < urls


@pytest.mark.parametrize("form", ["hl7", "fhir"])
def test_a_result_with_candidates_open_has_no_ratio_and_says_what_is_open_and_why(record, form):
    write_session(record, "s3", cells(2, 10))
    sign(record, "s3", "the slide was broken")

    text = letter(record, form, session="s3").decode()

    assert "2 of 2 candidates are not reviewed" in text
    assert "because: the slide was broken" in text
    if form == "hl7":
        observations = {one[3].partition("^")[0]: one for one in fields_of(text, "OBX")}
        assert (observations["fnrbc-per-100-leukocytes"][5], observations["fnrbc-per-100-leukocytes"][11]) == ("", "X")
        assert observations["leukocytes"][5] == "10"
    else:
        observation = json.loads(text)["entry"][0]["resource"]
        assert "valueQuantity" not in observation
        assert observation["dataAbsentReason"]["coding"][0]["code"] == "unknown"


def test_a_withdrawn_result_strikes_every_figure_and_a_corrected_one_says_that_it_is_one(record):
    bundles = pytest.importorskip("fhir.resources.R4B.bundle")
    sign(record)
    first = json.loads(letter(record, "fhir"))
    signing(record, "withdraw", "the wrong slide")

    text = letter(record, "hl7").decode()
    assert fields_of(text, "OBR")[0][25] == "X"
    assert {(one[5], one[11]) for one in fields_of(text, "OBX")} == {("", "D")}
    assert "the wrong slide" in text
    fallen = bundles.Bundle.model_validate_json(letter(record, "fhir")).entry[0].resource
    assert (fallen.status, fallen.valueQuantity) == ("entered-in-error", None)

    sign(record)
    text = letter(record, "hl7").decode()
    assert (fields_of(text, "OBR")[0][25], {one[11] for one in fields_of(text, "OBX")}) == ("C", {"C"})
    second = json.loads(letter(record, "fhir"))
    assert second["entry"][0]["resource"]["status"] == "amended"
    assert second["entry"][0]["fullUrl"] == first["entry"][0]["fullUrl"]
    assert second["identifier"] != first["identifier"]


def test_without_leave_a_hash_stands_for_the_specimen(record):
    sign(record)

    known = specimen_hash(NASTY, record.parent)
    for form in ("hl7", "fhir"):
        text = letter(record, form, named=False).decode()
        assert known in text
        assert "17" not in text.replace(known, "") or "A\\F\\17" not in text
        assert "細胞" not in text


def test_codes_are_the_laboratorys_own(record):
    sign(record)
    mine = Code(code="19048-8", text="NRBC", system="http://loinc.org", table="LN")
    settings = LaboratorySettings(codes=Codes(fnrbc_per_100_leukocytes=mine), facility="LAB^1", receiver="LIS")

    text = letter(record, "hl7", settings=settings).decode()

    assert fields_of(text, "OBX")[0][3] == "19048-8^NRBC^LN"
    assert fields_of(text, "MSH")[0][3:6] == ["LAB\\S\\1", "LIS", ""]
    coding = json.loads(letter(record, "fhir", settings=settings))["entry"][0]["resource"]["code"]["coding"]
    assert coding == [{"system": "http://loinc.org", "code": "19048-8", "display": "NRBC"}]


def test_what_nobody_signed_and_what_is_no_specimen_has_no_letter(record):
    with pytest.raises(ReviewError, match="not signed off"):
        letter(record, "hl7")
    sign(record, "c1")
    with pytest.raises(ReviewError, match="is a control, whose count is no result"):
        letter(record, "hl7", session="c1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "to the lab"
    found.mkdir()
    return found


def handover(record: Path, folder: Path, **settings: object) -> Handover:
    return Handover(LaboratorySettings(folder=folder, **settings), record, "lab")


def there(folder: Path) -> list[str]:
    return sorted(one.name.split("-", 2)[2] for one in folder.iterdir() if not one.name.startswith("."))


def test_results_signed_from_now_on_come_into_the_folder_once_in_order(record, folder):
    sign(record, "s2")  # before the folder was named: it is not sent
    handing = handover(record, folder, forms=("hl7", "fhir"), specimen_ids=True)
    assert handing.hand_over()
    assert there(folder) == []

    sign(record)
    sign(record, "c1")  # a control is no result
    signing(record, "withdraw", "the wrong slide")
    assert handing.hand_over()
    files = sorted(folder.iterdir())
    assert [one.suffix for one in files] == [".json", ".hl7"] * 2
    states = [fields_of(one.read_bytes().decode(), "OBR")[0][25] for one in files if one.suffix == ".hl7"]
    assert states == ["F", "X"]
    assert all(one.stat().st_mode & 0o777 == 0o640 for one in files)

    for one in files:
        one.unlink()  # the engine took them
    assert handing.hand_over()
    assert handover(record, folder, forms=("hl7", "fhir"), specimen_ids=True).hand_over()
    assert list(folder.iterdir()) == []


def test_a_withdrawal_names_the_specimen_as_it_was_called_then(record, folder):
    handing = handover(record, folder, specimen_ids=True)
    assert handing.hand_over()
    sign(record)
    signing(record, "withdraw", "the wrong specimen")
    with Describing(record, "bench", SystemClock()) as describing:
        describing.describe("s1", "olga", specimen="right")
    sign(record)

    assert handing.hand_over()

    texts = [one.read_bytes().decode() for one in sorted(folder.iterdir())]
    assert [fields_of(text, "SPM")[0][2] for text in texts] == [escaped(NASTY), escaped(NASTY), "right"]


def test_a_missing_folder_is_said_and_nothing_is_lost(record, folder):
    handing = handover(record, folder)
    assert handing.hand_over()
    sign(record)
    folder.rmdir()

    assert not handing.hand_over()
    assert "No such file or directory; mount it" in handing.trouble
    assert not folder.exists()

    folder.mkdir()
    assert handing.hand_over()
    assert (handing.trouble, len(there(folder))) == ("", 1)


def test_a_folder_that_is_full_holds_no_half_file(record, folder):
    handing = handover(record, folder)
    assert handing.hand_over()
    sign(record)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400, hard))
    try:
        assert not handing.hand_over()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert handing.trouble
    assert list(folder.iterdir()) == []

    assert handing.hand_over()
    assert len(there(folder)) == 1


def test_cut_off_before_its_rename_a_file_comes_and_after_it_it_does_not_come_twice(record, folder):
    handing = handover(record, folder)
    assert handing.hand_over()
    state = record.parent / SENT_NAME
    before = json.loads(state.read_text())
    sign(record)
    assert handing.hand_over()
    (name,) = [one.name for one in folder.iterdir()]
    content = (folder / name).read_bytes()
    cut_off = {**before, "doing": name, "folder": folder.stat().st_ino}

    (folder / name).unlink()  # it was renamed, and the engine took it
    state.write_text(json.dumps(cut_off))
    assert handover(record, folder).hand_over()
    assert list(folder.iterdir()) == []

    (folder / f".{name}.part").write_bytes(content)  # it was not renamed yet
    state.write_text(json.dumps(cut_off))
    assert handover(record, folder).hand_over()
    assert [one.name for one in folder.iterdir()] == [name]

    (folder / name).unlink()
    other = folder.with_name("another")
    folder.rename(other)
    folder.mkdir()  # what a mount lay on
    state.write_text(json.dumps(cut_off))
    refused = handover(record, folder)
    assert not refused.hand_over()
    assert "another folder than before" in refused.trouble


KILLED = """
import sys
from pathlib import Path
from fnrbc_device.laboratory.handover import Handover
from fnrbc_device.laboratory.settings import LaboratorySettings
handing = Handover(LaboratorySettings(folder=Path(sys.argv[2]), forms=("hl7", "fhir")), Path(sys.argv[1]), "lab")
print("go", flush=True)
while True:
    handing.hand_over()
"""


def test_killed_again_and_again_every_result_comes_exactly_once(record, folder, tmp_path):
    assert handover(record, folder, forms=("hl7", "fhir")).hand_over()
    taken: list[str] = []

    def take() -> None:
        """What the engine does: reads, and removes."""
        for one in sorted(folder.iterdir()):
            if not one.name.startswith("."):
                content = one.read_bytes()
                assert content.endswith(b"\r") or json.loads(content)
                taken.append(one.name)
                one.unlink()

    for round_ in range(3):
        for _ in range(2):
            sign(record)
            signing(record, "withdraw", "again")
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(record), str(folder)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "go\n"
        deadline = time.monotonic() + 0.005 * (round_ + 1)
        while time.monotonic() < deadline:
            take()
        os.kill(child.pid, signal.SIGKILL)
        child.wait(10)
        child.stdout.close()
        take()
    assert handover(record, folder, forms=("hl7", "fhir")).hand_over()
    take()
    with reading(record) as connection:
        wanted = [one.seq for one in results_of(connection, "s1") if one.event != "superseded"]
    assert len(wanted) == 12
    assert [name.split("-")[2] for name in taken if name.endswith(".hl7")] == [f"{seq:09d}" for seq in wanted]
    assert len(taken) == len(set(taken)) == 24


def test_the_configuration_names_the_folder_and_the_codes(tmp_path):
    path = tmp_path / "fnrbc.toml"
    path.write_text(
        '[laboratory]\nfolder = "/srv/lis"\nforms = ["hl7", "fhir"]\n'
        '[laboratory.codes.fnrbc]\ncode = "X1"\ntext = "fNRBC"\ntable = "L"\n'
    )
    settings = load_config(path).laboratory
    assert (settings.folder, settings.codes.fnrbc.table, settings.codes.leukocytes.code) == (
        Path("/srv/lis"), "L", "leukocytes",
    )  # fmt: skip
    wrongs = {'folder = "lis"': "whole path", 'forms = ["pdf"]': "forms", 'codes.fnrbc.code = ""': "code"}
    for wrong, why in wrongs.items():
        path.write_text(f"[laboratory]\n{wrong}\n")
        with pytest.raises(ConfigError, match=why):
            load_config(path)
