"""Training: from labelled cells to a P-net checkpoint and its honest figures."""
