"""Scanned slides: files whose every pixel has a known place, counted tile by tile."""
