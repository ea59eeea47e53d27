"""The model bundle: its folder, its manifest and its signature."""
