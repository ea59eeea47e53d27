"""A consumer of the log, for the lab: ``fnrbc follow`` keeps a copy of every record, each once and without a gap."""
