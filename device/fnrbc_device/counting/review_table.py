"""The table of what people decided on cells. It stands beside the machine's events and never changes them."""

from typing import Final

REVIEW_TABLE: Final = """
CREATE TABLE reviews (
    seq INTEGER PRIMARY KEY,
    session TEXT NOT NULL,
    cell INTEGER NOT NULL,
    reviewer TEXT NOT NULL,
    second INTEGER NOT NULL,
    decision TEXT NOT NULL CHECK (decision IN ('confirmed', 'rejected', 'reclassified', 'undone')),
    class_name TEXT NOT NULL,
    undoes INTEGER UNIQUE,
    at_utc TEXT NOT NULL,
    note TEXT NOT NULL,
    request TEXT UNIQUE
) STRICT;
CREATE INDEX reviews_of_session ON reviews (session, seq);
CREATE TRIGGER reviews_are_append_only BEFORE UPDATE ON reviews
BEGIN SELECT RAISE(ABORT, 'a decision is never changed: undo it by a new one'); END;
"""
"""``seq`` is that of the decision's record in the log. ``second`` is 1 for the second reader, blind to the first.

``class_name`` is what the cell is by that decision, empty where it is none. ``undoes`` is the ``seq`` of the decision
that this row takes back, at most once. ``request`` is the asker's own name for what was asked, so that a repetition is
known. A row goes with its link of the audit, which may outlive the session: decisions on one come while others follow.
"""
