"""The daemon: threads, sessions one after the other, and what lets a session go on after a power cut."""
