"""A simulated microscope: slide, optics, hand and stain, each from a seed."""
