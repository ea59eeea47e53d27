"""Writes docs/technician.md: one page to print, with every cue of the live page and its cure, from the device's table.

.venv/bin/python deploy/technician.py
"""

from pathlib import Path
from typing import Final

from fnrbc_device.health import REASONS
from fnrbc_device.texts import GLANCES, REJECTIONS

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "technician.md"

HEAD: Final = """# At the microscope

One page to print. **For research use only. Not for use in diagnostic procedures.**

## A slide, from start to sign-off
1. Lay the slide in, set the light so that empty glass is light grey, bring it into focus.
2. Press **N** for a new session: scan or type the specimen's id, choose the objective, start. **S** starts at once.
3. Pan slowly, each field over half of the last one. The bar says how fast you may go.
4. Lost the place? Go back to where cells are, and pan on. **P** pauses, **M** marks a place.
5. Enough leukocytes? **E** ends the session. Another slide is another session.
6. **Review**: **F** it is an fNRBC, **R** no cell, **1** to **9** another class, **U** undo, **N** the next open one.
7. When all candidates are decided on: **Sign off**. What is open asks for a reason.

**B** shows the counts in figures that can be read from two metres. **?** lists the keys. English, Deutsch, 中文: at the
foot of each page, and under **?** on the live page.

## What the page says, and what to do
"""

LAMP: Final = {None: "", "too_fast": "too fast", "lost": "lost", "fault": "fault"}


def page() -> str:
    """The whole page."""
    cues = [
        f"| {_glance(code)} | {reason.cure} | {LAMP[reason.lamp]} | `{code}` |" for code, reason in REASONS.items()
    ]
    frames = [f"| {advice.words} | {advice.cure} |" for advice in REJECTIONS.values()]
    return "\n".join(
        [
            HEAD,
            "| in large figures | what the page says: the cause and its cure | lamp | in messages |",
            "|---|---|---|---|",
            *cues,
            "",
            "Messages that an *engineer* or whoever keeps the broker is to hear of do not stop the count.",
            "",
            "## Why a picture was not counted",
            "",
            "| on the page | what to do |",
            "|---|---|",
            *frames,
            "",
            "Words that are not explained here stand in the [glossary](glossary.md).",
            "",
        ]
    )


def _glance(code: str) -> str:
    """What is read from two metres; of the light there are two sides."""
    return GLANCES[code] if code in GLANCES else f"{GLANCES['too_dark']}, {GLANCES['too_bright']}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
