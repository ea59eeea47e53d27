"""A fake of pycuda: see driver.py."""
