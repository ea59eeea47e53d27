"""The words that people read on the page and in the report: kept together, so that both say the same."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fnrbc_device.health import REASONS
from fnrbc_device.intervals import PLANNED_WITHIN
from fnrbc_device.language import N_, Said, _, local, ngettext, number
from fnrbc_device.records import HealthState, Rejection, SessionKind, SessionState

RESEARCH_USE_ONLY: Final = N_("For research use only. Not for use in diagnostic procedures.")
"""Files and messages have it in English; pages and reports say it in the language that is spoken."""

UNVERIFIED: Final = N_("Machine count, unverified by a person.")


@dataclass(frozen=True, slots=True)
class Advice:
    """What is the matter, and what to do about it."""

    english_words: str
    english_cure: str = ""

    @property
    def words(self) -> str:
        """What is the matter, in the language that is spoken."""
        return _(self.english_words)

    @property
    def cure(self) -> str:
        """What to do about it, in the language that is spoken."""
        return _(self.english_cure)


REJECTIONS: Final[Mapping[Rejection, Advice]] = {
    "unreadable": Advice(N_("unreadable"), N_("The picture could not be read; check the camera's cable or the file.")),
    "wrong_size": Advice(N_("wrong size"), N_("The picture differs in size from the first; keep one camera mode.")),
    "repeated": Advice(N_("repeated"), N_("The camera sent the same picture again.")),
    "too_dark": Advice(N_("too dark"), N_("Turn the lamp up or open the aperture.")),
    "too_bright": Advice(N_("too bright"), N_("Turn the lamp down or shorten the exposure.")),
    "blurred": Advice(N_("blurred"), N_("Bring the slide into focus.")),
    "too_fast": Advice(N_("too fast"), N_("Pan more slowly.")),
    "tracking_lost": Advice(N_("place lost"), N_("Pan back a little, until cells seen before are in view.")),
    "objective_changed": Advice(
        N_("objective changed"), N_("Turn the old objective back in, or end the session and set the new pixel size.")
    ),
    "failed": Advice(N_("failed"), N_("This frame could not be analysed; the log says why.")),
}

GLANCES: Final[Mapping[str, str]] = Said(
    {
        "camera_lost": N_("no camera"),
        "camera_wrong_format": N_("camera set otherwise"),
        "camera_frozen": N_("camera stands still"),
        "camera_repeating": N_("camera repeats itself"),
        "camera_black": N_("black picture"),
        "camera_white": N_("white picture"),
        "camera_incomplete": N_("pictures incomplete"),
        "too_dark": N_("too dark"),
        "too_bright": N_("too bright"),
        "objective_changed": N_("other objective"),
        "focus_lost": N_("out of focus"),
        "pan_too_fast": N_("too fast"),
        "tracking_lost": N_("place lost"),
        "disk_low": N_("disk full"),
        "frames_dropped": N_("slow computer"),
        "camera_slow": N_("slow camera"),
        "stain_changed": N_("other stain"),
        "engine_parity_failed": N_("GPU failed its proof"),
        "seeing_by_threshold": N_("network not in use"),
        "colours_impossible": N_("colours wrong"),
        "colours_missing": N_("no colours"),
        "pixel_size_doubtful": N_("check the pixel size"),
        "pixel_size_out_of_domain": N_("unusual size"),
        "focus_out_of_domain": N_("unusual sharpness"),
        "light_out_of_domain": N_("unusual light"),
        "stain_out_of_domain": N_("unusual stain"),
        "results_waiting": N_("results wait"),
        "broker_refused": N_("messages refused"),
        "broker_away": N_("messages wait"),
        "page_certificate_ended": N_("certificate ended"),
        "clock_unsynced": N_("clock not set"),
        "recording_ended": N_("end of the recording"),
    }
)
"""What is wrong in two or three words, to be read from two metres."""

GAUGES: Final[Mapping[str, str]] = Said(
    {
        "speed": N_("Pan speed"),
        "sharpness": N_("Sharpness"),
        "light": N_("Brightness of the glass"),
        "white": N_("White picture"),
        "kept": N_("Pictures used"),
    }
)
"""What the bar beneath the picture shows."""

_SIDES: Final[Mapping[str, str]] = Said(
    {
        "too_dark": N_("Too dark: turn the lamp up, or open the aperture."),
        "too_bright": N_("Too bright: turn the lamp down, or shorten the exposure."),
        "recording_ended": N_("The recording is at its end: nothing more can be counted from it."),
    }
)

HEALTH_STATES: Final[Mapping[HealthState, str]] = Said(
    {
        "starting": N_("Starting"),
        "building_engine": N_("Preparing the network for this machine"),
        "ready": N_("Ready"),
        "counting": N_("Counting"),
        "paused": N_("Paused"),
        "degraded": N_("Counting, with trouble"),
        "fault": N_("Not counting"),
        "stopping": N_("Stopping"),
    }
)

STANDING: Final[Mapping[SessionState, str]] = Said(
    {"idle": N_("No session"), "finished": N_("Finished"), "paused": N_("Paused")}
)
"""What is told where no session runs: the health of the device must not sound like counting."""

SESSION_STATES: Final[Mapping[SessionState, str]] = Said(
    {
        "idle": N_("no session"),
        "starting": N_("starting"),
        "running": N_("running"),
        "paused": N_("paused"),
        "stopping": N_("stopping"),
        "finished": N_("finished"),
    }
)


KIND_WORDS: Final[Mapping[SessionKind, Advice]] = {
    "sample": Advice(N_("Sample"), N_("A specimen.")),
    "blank": Advice(N_("Blank"), N_("A slide without fNRBC: all that is counted as fNRBC is false.")),
    "control": Advice(
        N_("Control"), N_("A slide that is counted again and again: it says whether anything has changed.")
    ),
}


ROLES: Final[Mapping[str, str]] = Said(
    {"viewer": N_("viewer"), "operator": N_("operator"), "reviewer": N_("reviewer"), "admin": N_("admin")}
)
"""Of who is logged in."""

CONTROL_STATES: Final[Mapping[str, str]] = Said(
    {
        "not_asked": N_("Not asked"),
        "passed": N_("Passed"),
        "warning": N_("Warning"),
        "unassessed": N_("Unassessed"),
        "none": N_("None"),
        "too_old": N_("Too old"),
        "other_bundle": N_("Other bundle"),
        "failed": N_("Failed"),
    }
)
"""How the laboratory's control stands, in a word or two."""

_CLASSES: Final[Mapping[str, str]] = Said(
    {"fnrbc": "fNRBC", "leukocyte": N_("leukocyte"), "other": N_("other"), "indeterminate": N_("indeterminate")}
)


def class_words(name: str) -> str:
    """A class as people call it; one that only the bundle knows keeps its name."""
    return _CLASSES.get(name, name)


def downloads(has_result: bool) -> dict[str, str]:
    """What a session is taken along as, by the name of the format; a result only where there is one."""
    letters = {"fhir": _("Result (FHIR)"), "hl7": _("Result (HL7)")} if has_result else {}
    return {
        "html": _("Report (HTML)"),
        "excel": _("Cells (Excel)"),
        "csv": _("Cells (CSV)"),
        "parquet": _("Cells (Parquet)"),
        "json": _("All figures (JSON)"),
        **letters,
    }


def rejection(reason: str) -> Advice:
    """Find the words for a reason why frames were not used; a reason without words stays readable."""
    known = {str(code): advice for code, advice in REJECTIONS.items()}
    return known.get(reason) or Advice(reason.replace("_", " "), N_("The log says more."))


def health_reason(reason: str) -> str:
    """Find the sentence for a reason of the health state; one without a sentence stays readable."""
    known = REASONS.get(reason)
    return known.cure if known else f"{reason.replace('_', ' ').capitalize()}: {_('the log says more.')}"


def cue_sentence(code: str) -> str:
    """Find the sentence of a cue: a reason of the health state, or which side of one it is."""
    return _SIDES.get(code) or health_reason(code)


def not_counting(glance: str) -> str:
    """Say that nothing is counted, and why in two or three words."""
    return _("Not counting: %(why)s", why=glance)


def left_open(frames_used: int, islands: int, cells_open: int) -> list[str]:
    """Say what keeps a count from being complete; nothing where nothing does."""
    words = [] if frames_used else [_("no frame could be used")]
    if islands > 1:
        words.append(
            _(
                "the frames form %(islands)s islands that are not joined: a cell seen on two of them is counted twice",
                islands=islands,
            )
        )
    if cells_open:
        words.append(
            ngettext("%(count)s cell was seen and not settled", "%(count)s cells were seen and not settled", cells_open)
        )
    return words


def signed_words(signed_by: str | None, signed_utc: str | None, why: str = "", reason: str = "") -> str:
    """Say who verified a count and when.

    Parameters
    ----------
    signed_by, signed_utc
        None while nobody signed it off.
    why, reason
        What was open, and why it was signed off for all that; empty where nothing was.
    """
    if signed_utc is None:
        return _("All candidates are decided on. Nobody has signed it off yet.")
    words = _("Verified and signed off by %(name)s on %(when)s.", name=signed_by, when=local(signed_utc))
    because = _("Signed off for all that because: %(reason)s", reason=reason)
    return f"{words} {sentence(why)} {because}" if reason else words


WAITS: Final[Mapping[str, str]] = Said(
    {
        "end": N_("end the session"),
        "specimen": N_("give the specimen id"),
        "decide": N_("decide on candidates"),
        "sign": N_("sign off"),
    }
)
"""What a session may wait for, as what somebody has to do."""


UNDECIDED: Final = N_("%(left)s of %(all)s candidates are not decided on")


def undecided(left: int, all_of_them: int) -> str:
    """Say that candidates are not decided on."""
    return _(UNDECIDED, left=number(left), all=number(all_of_them))


def sentence(words: str) -> str:
    """Write words with a capital at their begin and a full stop at their end; nothing stays nothing."""
    return f"{words[:1].upper()}{words[1:]}." if words else ""


def to_go(leukocytes: int | None) -> str:
    """Say how many more leukocytes the ratio's interval needs, e.g. ``412 more leukocytes for +-20 %``."""
    within = f"\N{PLUS-MINUS SIGN}{PLANNED_WITHIN:.0%}".replace("%", "\N{NO-BREAK SPACE}%")
    if leukocytes is None:
        return _("no ratio yet to plan %(within)s with", within=within)
    if leukocytes == 0:
        return _("leukocytes enough for %(within)s", within=within)
    return ngettext(
        "%(count)s more leukocyte for %(within)s", "%(count)s more leukocytes for %(within)s", leukocytes, within=within
    )
