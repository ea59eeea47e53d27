"""A microscope that exists only on paper: slide, optics, hand and stain, each from a seed."""
