"""What a command says beside its progress, which a slow machine makes it say."""

import re


def beside_progress(said: str) -> str:
    """Standard error without the lines that come every ten seconds."""
    return re.sub(r"(?m)^\d+( of \d+)? frames(, [\d:]+ left)?\n", "", said)
