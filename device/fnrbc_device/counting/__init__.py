"""Counting: the cells of a slide, each once. No files, no threads."""
