"""What an analyser has learned comes back from a snapshot whole; nothing in a snapshot runs or does harm."""

import dataclasses
import io
import json
import os
import pickle
import random
import zipfile

import cv2
import numpy as np
import pytest

from fnrbc_device.camera.simulated.microscope import SimulatedMicroscope
from fnrbc_device.camera.simulated.slide import SimulatedSlide
from fnrbc_device.counting.analyser import Analyser
from fnrbc_device.counting.cell import Cell
from fnrbc_device.daemon import codecs, recorder, snapshot, snapshot_cells
from fnrbc_device.daemon.checkpoint import CheckpointFile, restored
from fnrbc_device.daemon.checkpoint import snapshot as written
from fnrbc_device.daemon.recorder import Recorder
from fnrbc_device.host import npz
from fnrbc_device.host.clock import SystemClock
from fnrbc_device.host.disk_space import RecordSettings
from fnrbc_device.inference.onnx_classifier import OnnxClassifier
from fnrbc_device.journal.journal import Journal
from fnrbc_device.model.bundle import load_bundle
from fnrbc_device.records import CountEvent, Verdict
from mortal import SHAPE, calm_path
from records import META

FRAMES, SEEN = 130, 45


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(None)


@pytest.fixture(scope="module")
def classifier(bundle):
    classifier = OnnxClassifier(bundle)
    yield classifier
    classifier.close()


@pytest.fixture(scope="module")
def slide():
    return SimulatedSlide.make(77, "giemsa", 40)


@pytest.fixture(scope="module")
def fresh(bundle, classifier, slide):
    return lambda: Analyser(slide.pixel_size_um, classifier, bundle.manifest)


@pytest.fixture(scope="module")
def frames(slide):
    microscope = SimulatedMicroscope(slide, calm_path(slide, FRAMES), seed=7, frame_shape=SHAPE, fps=None)
    frames = list(iter(microscope.read, None))
    microscope.close()
    return frames


@pytest.fixture(scope="module")
def learned(fresh, frames):
    """An analyser in the middle of a session, and a snapshot of it."""
    analyser = fresh()
    for frame in frames[:SEEN]:
        analyser.analyse(frame)
    keyframes = {one.number: one.grey for one in analyser.placing.registration.keyframes}
    return analyser, written(analyser, SEEN - 1), keyframes


def said(step):
    return step.events, step.pose, step.reason, step.joins, step.sharpness, step.tally.cells, step.tally.cells_open


def test_counting_goes_on_from_a_snapshot_as_if_nothing_had_been(learned, fresh, frames):
    _, content, keyframes = learned
    undisturbed = fresh()
    steps = [said(undisturbed.analyse(frame)) for frame in frames]

    analyser, frame = restored(content, fresh, keyframes)

    assert frame == SEEN - 1
    # The area is the map's, which the journal brings back.
    assert [said(analyser.analyse(frame)) for frame in frames[SEEN:]] == steps[SEEN:]
    assert analyser.finish() == undisturbed.finish()
    assert any(events for events, *_ in steps[SEEN:])
    assert undisturbed.tally().cells >= 5


def views_wait(analyser):
    return analyser._views._waiting is not None


def half_asked(analyser):
    return any(view.said is not None for cell in analyser.ledger.cells() if not cell.settled for view in cell.best)


@pytest.mark.parametrize("state", [views_wait, half_asked])
def test_what_a_frame_leaves_to_the_next_is_in_the_snapshot_or_done_before(fresh, frames, state):
    analyser = fresh()
    seen = next(number for number, frame in enumerate(frames) if analyser.analyse(frame) and state(analyser)) + 1
    keyframes = {one.number: one.grey for one in analyser.placing.registration.keyframes}
    undisturbed = fresh()
    steps = [said(undisturbed.analyse(frame)) for frame in frames]

    resumed, _ = restored(written(analyser, seen - 1), fresh, keyframes)

    for one in (analyser, resumed):
        assert [said(one.analyse(frame)) for frame in frames[seen:]] == steps[seen:]


def test_the_last_sharp_frame_before_a_smeared_one_comes_back(fresh, frames):
    analyser = fresh()
    for frame in frames[:20]:
        analyser.analyse(frame)
    smeared = dataclasses.replace(frames[20], image=cv2.blur(frames[20].image, (25, 1)))
    assert analyser.analyse(smeared).reason == "too_fast"
    keyframes = {one.number: one.grey for one in analyser.placing.registration.keyframes}

    resumed, _ = restored(written(analyser, 20), fresh, keyframes)

    before, after = analyser.placing.registration._clear, resumed.placing.registration._clear
    assert (after.pose, after.number) == (before.pose, before.number) == (before.pose, 20)
    assert np.array_equal(after.picture.density, before.picture.density)


def test_a_snapshot_of_what_came_from_a_snapshot_is_the_same(learned, fresh):
    _, content, keyframes = learned
    analyser, frame = restored(content, fresh, keyframes)

    assert parts(written(analyser, frame)) == parts(content)


def parts(content):
    arrays = npz.unpacked(content, 2**30)
    return {name: (array.dtype.str, array.shape, array.tobytes()) for name, array in arrays.items()}


def test_a_snapshot_of_nothing_is_one_too(fresh):
    analyser, frame = restored(written(fresh(), -1), fresh, {})

    assert frame == -1
    assert analyser.frame_shape is None
    assert analyser.tally() == fresh().tally()


def objects(part, thing, path="analyser"):
    """Every object that a part is about, with the part."""
    yield path, part, thing
    if isinstance(part, codecs.Part):
        for attribute, codec in part.parts.items():
            if isinstance(codec, (codecs.Part, codecs.OwnWay)):
                yield from objects(codec, getattr(thing, attribute), f"{path}.{attribute}")


def test_no_attribute_of_an_analyser_is_forgotten(learned):
    """Who adds one says in ``daemon/snapshot.py`` how it is kept, or that it is made again."""
    analyser, *_ = learned
    for path, part, thing in objects(snapshot.ANALYSER, analyser):
        known = {*part.parts, *part.made_again} if isinstance(part, codecs.Part) else set(part.attributes)
        if path == "analyser.placing.registration":
            known = {*snapshot.REGISTRATION.parts, *snapshot.REGISTRATION.made_again}
        if path == "analyser.placing.registration.keyframes":
            known = {"_limit", "_keyframes", "_squares", "_islands", "added"}
        assert set(vars(thing)) == known, path


RECORDS = [value for value in vars(snapshot).values() if isinstance(value, codecs.Record)]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.make.__name__)
def test_no_field_of_a_record_is_forgotten(record):
    assert set(record.codecs) == {field.name for field in dataclasses.fields(record.make)}


def test_no_field_of_a_cell_is_forgotten():
    cells = snapshot_cells
    event = {*cells.EVENT_WHOLE, *cells.EVENT_REAL, *cells.EVENT_WORDS, "verdict"}
    assert {*cells.CELL_WHOLE, *cells.CELL_REAL, *cells.CELL_OTHER} == {one.name for one in dataclasses.fields(Cell)}
    assert event == {one.name for one in dataclasses.fields(CountEvent)}
    assert {*cells.VERDICT_REAL, *cells.VERDICT_WORDS} == {one.name for one in dataclasses.fields(Verdict)}


def test_a_snapshot_names_no_class_and_no_module(learned):
    _, content, _ = learned
    head = npz.unpacked(content, 2**30)["head"].tobytes().decode()

    assert "fnrbc_device" not in head
    assert json.loads(head)["format"] == "fnrbc snapshot 1"
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:  # NumPy's own reader reads it as well
        assert all(array.dtype.kind in "iuf" for array in arrays.values())


class Evil:
    """Unpickled, it leaves a trace."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def forged(tmp_path, fresh):
    """Files in place of a checkpoint that would run code where pickles are read."""
    evil = Evil(tmp_path / "ran")
    yield b"fnrbc checkpoint 0.1.0 0 5\n" + pickle.dumps(evil)
    yield pickle.dumps(evil)
    room = io.BytesIO()
    np.savez(room, head=np.array([evil], object), allow_pickle=True)
    yield room.getvalue()
    with zipfile.ZipFile(room := io.BytesIO(written(fresh(), 3)), "a") as archive:
        member = io.BytesIO()
        np.save(member, np.array([evil], object), allow_pickle=True)
        archive.writestr("analyser.frame_quality.before.npy", member.getvalue())
    yield room.getvalue()


def test_a_checkpoint_that_was_changed_runs_nothing_and_is_left_aside(tmp_path, fresh, caplog):
    for content in forged(tmp_path, fresh):
        (tmp_path / "s1.checkpoint").write_bytes(content)
        assert CheckpointFile(tmp_path, "s1").read(fresh, {}) is None
        assert not (tmp_path / "ran").exists()
    assert "s1.checkpoint is left aside" in caplog.text


def changed_head(content, change):
    arrays = npz.unpacked(content, 2**30)
    head = json.loads(arrays["head"].tobytes())
    change(head)
    return npz.packed({**arrays, "head": np.frombuffer(json.dumps(head).encode(), np.uint8)})


CHANGES = [
    lambda head: head.update(format="fnrbc snapshot 0"),
    lambda head: head.update(frame="7"),
    lambda head: head["analyser"]["placing"].pop("frame_quality"),
    lambda head: head["analyser"].update(more=1),
    lambda head: head["analyser"]["placing"]["frame_quality"].update(sharpest=float("nan")),
    lambda head: head["analyser"].update(frame_shape=[480]),
    lambda head: head["analyser"].update(frame_shape=[10**9, 10**9]),
    lambda head: head["analyser"]["counter"].update(open=[99_999]),
    lambda head: head["analyser"]["ledger"].update(next=1),
    lambda head: head["analyser"]["placing"]["registration"]["part"]["relocation"].update(listed=2**39),
    lambda head: head["analyser"]["placing"]["registration"]["part"]["keyframes"].update(added=2**39),
    lambda head: head["analyser"]["ledger"].update(words=[]),
]


@pytest.mark.parametrize("change", CHANGES, ids=range(len(CHANGES)))
def test_what_cannot_be_is_left_aside(learned, fresh, change):
    _, content, keyframes = learned
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        restored(changed_head(content, change), fresh, keyframes)


@pytest.mark.parametrize("words", [(2.0, 0.0, 0.0, 0.0), (0.5, 0.5), (float("nan"), 0.0, 0.0, 0.0)])
def test_what_the_network_cannot_have_said_is_left_aside(learned, fresh, words):
    _, content, keyframes = learned
    arrays = npz.unpacked(content, 2**30)
    arrays["analyser.ledger.asked"] = np.zeros(1, np.int64)
    arrays["analyser.ledger.said"] = np.array([words], np.float32)
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        restored(npz.packed(arrays), fresh, keyframes)


def test_a_keyframe_that_is_not_in_the_journal_is_not_believed(learned, fresh):
    _, content, keyframes = learned
    with pytest.raises(ValueError, match="not in the journal"):
        restored(content, fresh, {number: keyframes[number] for number in list(keyframes)[1:]})


def test_damage_is_left_aside_or_does_no_harm(learned, fresh, tmp_path):
    _, content, keyframes = learned
    rng = random.Random(5)
    left_aside = 0
    for trial in range(200):
        damaged = bytearray(content)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        cut = damaged[: rng.randrange(len(damaged))] if trial % 4 == 0 else damaged
        (tmp_path / "s1.checkpoint").write_bytes(cut)
        read = CheckpointFile(tmp_path, "s1").read(fresh, keyframes)
        left_aside += read is None
        if read is not None:
            assert parts(written(*read)) == parts(content)
    assert left_aside > 150


@pytest.mark.parametrize("seen_again", [False, True])
def test_a_checkpoint_waits_for_a_frame_that_suits_it(fresh, frames, tmp_path, monkeypatch, seen_again):
    monkeypatch.setattr(recorder, "CHECKPOINT_FRAMES", 4)
    unsuited, kept = [], set()
    with Journal.open(tmp_path / "journal.sqlite") as journal:
        keeping = Recorder(journal, tmp_path, SystemClock(), RecordSettings(), seen_again=seen_again)
        opening = keeping.begin(META, lambda _: fresh(), 0)
        for frame in frames[:SEEN]:
            keeping.catch_up(opening.analyser)
            step = opening.analyser.analyse(frame)
            unsuited.append(opening.analyser.may_look_back if seen_again else opening.analyser.views_wait)
            keeping.write(step, opening.analyser)
            for path in tmp_path.glob("*.checkpoint"):
                kept.add(json.loads(npz.unpacked(path.read_bytes(), 2**30)["head"].tobytes())["frame"])

    assert any(unsuited)
    assert len(kept) >= SEEN // 8
    assert not any(unsuited[number] for number in kept)


def test_a_checkpoint_that_waits_for_the_views_is_of_the_frame_that_showed_them(fresh, frames, tmp_path, monkeypatch):
    monkeypatch.setattr(recorder, "CHECKPOINT_FRAMES", 1)
    owed = 0
    with Journal.open(tmp_path / "journal.sqlite") as journal:
        keeping = Recorder(journal, tmp_path, SystemClock(), RecordSettings(), seen_again=True)
        opening = keeping.begin(META, lambda _: fresh(), 0)
        file = tmp_path / f"{opening.session}.checkpoint"
        for frame in frames[:SEEN]:
            file.unlink(missing_ok=True)
            step = opening.analyser.analyse(frame)
            keeping.write(step, opening.analyser)
            waits, there = opening.analyser.views_wait, file.exists()
            keeping.catch_up(opening.analyser)
            assert not (waits and there)
            owed += waits and file.exists()
            if file.exists():
                assert parts(file.read_bytes()) == parts(written(opening.analyser, frame.index))

    assert owed > 5


def test_from_a_frame_that_nobody_may_look_back_at_a_session_goes_on_to_the_same(fresh, frames, tmp_path):
    whole = fresh()
    steps = [whole.analyse(frame) for frame in frames]
    analyser, resumed, keyframes = fresh(), 0, {}
    for frame, step in zip(frames, steps, strict=True):
        again = analyser.analyse(frame)
        assert (again.events, again.pose, again.marks) == (step.events, step.pose, step.marks)
        keyframes |= {one.number: one.grey for one in analyser.placing.registration.keyframes}
        if not analyser.may_look_back and resumed * 12 <= frame.index:
            resumed += 1
            analyser, _ = restored(written(analyser, frame.index), fresh, keyframes)

    assert resumed > 5
    assert analyser.finish() == whole.finish()
