"""Export: from a checkpoint to a proved bundle, and on to an engine."""
