"""A laboratory's own quality control: blanks, controls, agreement with other methods. Pure numbers."""
