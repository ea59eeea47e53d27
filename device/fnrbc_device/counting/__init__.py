"""Counting: the cells of a slide, each once, and the record of it on disk."""
