"""Finished and running sessions as people see them: archive, decisions, verified count, sign-off."""
