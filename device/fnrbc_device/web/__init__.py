"""The page at the microscope."""
