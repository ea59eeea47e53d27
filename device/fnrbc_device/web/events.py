"""From a snapshot to the server-sent events that the page draws. Runs in the web's own thread."""

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, Final

import cv2
import numpy as np

from fnrbc_device import __version__
from fnrbc_device.counting.claim_words import claim_lines, provisional_words
from fnrbc_device.counting.slidemap import SlideMap
from fnrbc_device.health import HARMLESS
from fnrbc_device.language import speaking
from fnrbc_device.records import BadFrame, Image, Mark, SessionMeta, Step, Tally
from fnrbc_device.reporting.counts import claim_fields
from fnrbc_device.texts import HEALTH_STATES, KIND_WORDS, SESSION_STATES, rejection, to_go
from fnrbc_device.web.cues import cues, gauge, glance, pill, sentence, stopped_by
from fnrbc_device.web.snapshot import Shown, Snapshot

LIVE_WIDTH_PX: Final = 960
"""The picture's place on the page at 1280x800 is about 870 px wide: more is sent for nothing."""

JPEG_QUALITY: Final = 80
"""960x720 of a smear: 82 kB, 3.8 ms with the shrinking; at 90 half as large again, and no better to see."""

MAX_MARKS: Final = 1000
"""Bound on one event. A frame holds 15-25 cells, an image of a whole slide may hold thousands."""

MARK_ORDER: Final = ("target", "indeterminate", "denominator", "ignored", "open")
"""What is left out first, where there are too many marks, stands last."""


def event(name: str, fields: dict[str, Any]) -> bytes:
    """Write one server-sent event."""
    return f"event: {name}\ndata: {json.dumps(fields, separators=(',', ':'))}\n\n".encode()


def base64_of(data: bytes) -> str:
    """Bytes as text that JSON can hold."""
    return base64.b64encode(data).decode("ascii")


def frame_events(shown: Shown, languages: Iterable[str]) -> dict[str, bytes]:
    """Picture, marks and figures of one moment in one event, so that outlines fit their picture; one a language."""
    step = shown.snapshot.step
    marks = sorted(step.marks, key=lambda mark: MARK_ORDER.index(mark.role)) if step else []
    drawn = {
        "picture": _picture(step),
        "marks": [_mark(mark) for mark in marks[:MAX_MARKS]],
        "marks_left_out": max(len(marks) - MAX_MARKS, 0),
    }
    events = {}
    for language in languages:
        with speaking(language):
            events[language] = event("frame", describe(shown) | drawn)
    return events


def describe(shown: Shown) -> dict[str, Any]:
    """All figures and words of one moment, without pictures: what ``/api/state`` answers."""
    snapshot, step = shown.snapshot, shown.snapshot.step
    said = _said(snapshot)
    return {
        "seq": shown.seq,
        "version": __version__,
        "session": snapshot.session_id,
        "state": snapshot.state,
        "counts": snapshot.state == "running",
        "state_words": SESSION_STATES[snapshot.state],
        "health": {"state": snapshot.health.state, "words": HEALTH_STATES[snapshot.health.state], "reasons": said},
        "pill": pill(snapshot),
        "stopped": bool(stopped_by(snapshot)),
        "gauge": _gauge(snapshot),
        "simulated": snapshot.simulated,
        "bundle": snapshot.bundle,
        "broker": asdict(snapshot.broker) if snapshot.broker else None,
        "verified": False,
        "fps": round(snapshot.health.fps, 1),
        "pixel_size_um": snapshot.pixel_size_um,
        "tally": _tally(snapshot.tally or (step.tally if step else Tally())),
        "kind": KIND_WORDS[snapshot.meta.kind].words if snapshot.meta and snapshot.meta.kind != "sample" else "",
        "specimen": snapshot.meta.specimen if snapshot.meta else "",
        "wanted": _wanted(snapshot.meta),
        "frame": _frame(step, snapshot.pixel_size_um, snapshot.slide_map) if step else None,
    }


def _said(snapshot: Snapshot) -> list[dict[str, Any]]:
    """What is wrong and what to do, gravest first; over a counted picture, only what speaks against the count."""
    told = [cue for cue in cues(snapshot.health) if snapshot.health.state == "ready" or cue.code not in HARMLESS]
    return [{"code": cue.code, "glance": glance(cue), "sentence": sentence(cue)} for cue in told]


def _gauge(snapshot: Snapshot) -> dict[str, Any] | None:
    """The quantity that drives what is told; None where nothing is counted, or nothing measured."""
    if snapshot.state != "running":
        return None
    found = gauge(next(iter(cues(snapshot.health)), None), snapshot.step, snapshot.health)
    return asdict(found) if found else None


def _tally(tally: Tally) -> dict[str, Any]:
    fields = asdict(tally)
    fields["claim"] = _claim(tally)
    fields["provisional"] = [{"code": code, "words": provisional_words([code])} for code in tally.provisional]
    fields["to_go"] = to_go(tally.leukocytes_to_go)
    worst_first = sorted(tally.frames_rejected.items(), key=lambda item: -item[1])
    fields["frames_rejected"] = [
        {"code": code, "words": rejection(code).words, "frames": frames}
        for code, frames in worst_first
        if frames
    ]
    return fields


def _claim(tally: Tally) -> dict[str, Any] | None:
    fields = claim_fields(tally.claim, tally.provisional)
    if fields is None:
        return None
    headline, figures = claim_lines(tally.claim, tally.provisional)
    return {**fields, "headline": headline, "figures": figures}


def _wanted(meta: SessionMeta | None) -> dict[str, Any]:
    """What the session is to count and to see; null where nothing was said."""
    leukocytes, area = (meta.wanted_leukocytes, meta.wanted_area_mm2) if meta else (None, None)
    return {"leukocytes": leukocytes, "area_mm2": area}


def _frame(step: Step, pixel_size_um: float, slide_map: SlideMap | None) -> dict[str, Any]:
    place = None
    if step.pose is not None and slide_map is not None:
        corner = (step.pose.row_px * pixel_size_um, step.pose.col_px * pixel_size_um)
        place = {"island": step.pose.island, "corner_rc_um": corner, "size_rc_um": slide_map.frame_um}
    return {
        "index": step.frame.index,
        "used": step.reason is None,
        "reason": None if step.reason is None else _reason(step.reason),
        "detail": step.frame.detail if isinstance(step.frame, BadFrame) else "",
        "speed_um_s": round(step.speed_um_s, 1),
        "speed_limit_um_s": None if step.speed_limit_um_s is None else round(step.speed_limit_um_s, 1),
        "hurried": step.hurried,
        "sharpness": round(step.sharpness, 3),
        "place": place,
    }


def _reason(code: str) -> dict[str, str]:
    advice = rejection(code)
    return {"code": code, "words": advice.words, "cure": advice.cure}


def _mark(mark: Mark) -> Sequence[object]:
    """[cell, role, class, row, col, radius, probability], px in the frame: short, for there are many."""
    at = [round(value, 1) for value in (mark.row_px, mark.col_px, mark.radius_px)]
    return [mark.cell, mark.role, mark.class_name, *at, round(mark.probability, 3)]


def _picture(step: Step | None) -> dict[str, Any] | None:
    """JPEG with the size of the frame that the marks are given in; None where there is no picture."""
    if step is None or isinstance(step.frame, BadFrame):
        return None
    height, width = step.frame.image.shape[:2]
    return {"jpeg": base64_of(_jpeg(step.frame.image)), "width": width, "height": height}


def _jpeg(image: Image) -> bytes:
    height, width = image.shape[:2]
    shrink = LIVE_WIDTH_PX / max(width, height)
    if shrink < 1:
        # Averaging matters only where pixels would be skipped, and costs three times as much.
        how = cv2.INTER_AREA if shrink < 0.5 else cv2.INTER_LINEAR
        size = (max(round(width * shrink), 1), max(round(height * shrink), 1))
        image = cv2.resize(image, size, interpolation=how).astype(np.uint8, copy=False)
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)[1].tobytes()
