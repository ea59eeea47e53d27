"""Training: from labelled cells to a P-net checkpoint and its honest figures."""

import fnrbc_device  # noqa: F401 - before all else: it silences what would speak to others
