"""Cameras: where frames come from, behind one protocol."""
