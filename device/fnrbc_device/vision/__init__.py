"""Seeing: pictures in, records out. No files, no threads, no network."""
