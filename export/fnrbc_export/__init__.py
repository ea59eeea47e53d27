"""Export: from a checkpoint to a proved bundle, and on to an engine."""

import fnrbc_device  # noqa: F401 - before all else: it silences what would speak to others
