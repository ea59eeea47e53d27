"""A result as FHIR R4: a bundle of one observation with what it needs to be understood."""

import json
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from fnrbc_device.laboratory.letter import CELLS, Letter, Measure
from fnrbc_device.laboratory.settings import Code

STATUS: Final = {"final": "final", "amended": "amended", "withdrawn": "entered-in-error"}

CATEGORY: Final = "http://terminology.hl7.org/CodeSystem/observation-category"

ABSENT: Final = "http://terminology.hl7.org/CodeSystem/data-absent-reason"

UCUM: Final = "http://unitsofmeasure.org"

_DISPLAYED: Final = {"/100{WBCs}": "per 100 leukocytes", CELLS: "cells"}


def document(letter: Letter) -> bytes:
    """Write a letter as JSON, UTF-8."""
    return json.dumps(bundle(letter), indent=1, ensure_ascii=False).encode()


def bundle(letter: Letter) -> dict[str, Any]:
    """Put a letter together as a *collection*: Observation, Device and, where one was named, Specimen.

    No patient: the device knows none. The laboratory's system finds the patient by the specimen.

    Parameters
    ----------
    letter
        With the research-use sentence as the first of its notes, which is the first ``note`` of the observation.
    """
    resources = {"observation": _observation(letter), "device": _device(letter)}
    if letter.specimen:
        resources["specimen"] = _specimen(letter)
    return {
        "resourceType": "Bundle",
        "identifier": {"system": _system(letter, "letter"), "value": letter.identity},
        "type": "collection",
        "timestamp": letter.record.ts,
        "entry": [{"fullUrl": _url(letter, name), "resource": resource} for name, resource in resources.items()],
    }


def _observation(letter: Letter) -> dict[str, Any]:
    record = letter.record
    found: dict[str, Any] = {
        "resourceType": "Observation",
        "identifier": [{"system": _system(letter, "session"), "value": record.session}],
        "status": STATUS[letter.state],
        "category": [{"coding": [{"system": CATEGORY, "code": "laboratory"}]}],
        "code": _coded(letter.main.code),
        "effectivePeriod": {"start": record.started, "end": record.finished},
        "issued": record.ts,
        "performer": [{"display": record.signed_by}],
        **_value(letter, letter.main),
        "note": [{"text": words} for words in letter.notes],
        "method": {"text": "Counted by microscope and network, candidates decided on by a person"},
        "device": {"reference": _url(letter, "device")},
        "component": [{"code": _coded(one.code), **_value(letter, one)} for one in letter.others],
    }
    if letter.specimen:
        found["specimen"] = {"reference": _url(letter, "specimen")}
    return found


def _device(letter: Letter) -> dict[str, Any]:
    record = letter.record
    return {
        "resourceType": "Device",
        "identifier": [{"system": f"urn:fnrbc:device:{letter.site}", "value": record.device}],
        "deviceName": [{"name": f"fnrbc {letter.site} {record.device}", "type": "user-friendly-name"}],
        "type": {"text": "Counter of fetal nucleated red blood cells"},
        "version": [{"value": record.software}, {"value": f"model bundle {record.bundle}"}],
    }


def _specimen(letter: Letter) -> dict[str, Any]:
    system = _system(letter, "specimen-hash") if letter.hashed else f"urn:fnrbc:specimen:{letter.site}"
    return {
        "resourceType": "Specimen",
        "identifier": [{"system": system, "value": letter.specimen}],
        "type": _coded(letter.settings.codes.specimen),
    }


def _value(letter: Letter, one: Measure) -> dict[str, Any]:
    if one.value is None:
        why = "error" if letter.state == "withdrawn" else "unknown"
        return {"dataAbsentReason": {"coding": [{"system": ABSENT, "code": why}]}}
    if isinstance(one.value, str):
        return {"valueString": one.value}
    unit = {"unit": _DISPLAYED[one.unit], "system": UCUM, "code": one.unit}
    return {"valueQuantity": {"value": one.value, **unit}}


def _coded(code: Code) -> dict[str, Any]:
    return {"coding": [{"system": code.system, "code": code.code, "display": code.text}], "text": code.text}


def _system(letter: Letter, what: str) -> str:
    return f"urn:fnrbc:{what}:{letter.site}:{letter.record.device}"


def _url(letter: Letter, what: str) -> str:
    """The same for each version of a result, so that who keeps one knows the next."""
    record = letter.record
    return uuid5(NAMESPACE_URL, f"fnrbc/{letter.site}/{record.device}/{record.session}/{what}").urn
