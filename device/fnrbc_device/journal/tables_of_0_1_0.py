"""The tables of a journal as 0.1.0 made them. They stay as they are: what came since is a step (migrations.py)."""

from typing import Final

TABLES_OF_0_1_0: Final = """
CREATE TABLE journal (
    epoch TEXT NOT NULL,
    last_seq INTEGER NOT NULL,
    oldest_seq INTEGER NOT NULL DEFAULT 1,
    first_link INTEGER NOT NULL DEFAULT 1,
    before_first TEXT NOT NULL,
    last_link INTEGER NOT NULL DEFAULT 0,
    last_hash TEXT NOT NULL
) STRICT;
CREATE TABLE sessions (
    session TEXT PRIMARY KEY,
    started_utc TEXT NOT NULL,
    ended_utc TEXT,
    complete INTEGER,
    ending TEXT NOT NULL DEFAULT '',
    meta TEXT NOT NULL,
    signed_utc TEXT,
    signed_by TEXT,
    area_mm2 REAL,
    revisit_share REAL,
    frame_rows INTEGER,
    frame_cols INTEGER
) STRICT;
CREATE TRIGGER signed_sessions_stay BEFORE UPDATE ON sessions WHEN OLD.signed_utc IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'a session that was signed off stays as it is'); END;
CREATE TABLE frames (
    session TEXT NOT NULL REFERENCES sessions,
    frame INTEGER NOT NULL,
    captured_at_s REAL NOT NULL,
    name TEXT NOT NULL,
    island INTEGER,
    row_px REAL,
    col_px REAL,
    used INTEGER NOT NULL,
    reason TEXT,
    detail TEXT,
    PRIMARY KEY (session, frame)
) STRICT, WITHOUT ROWID;
CREATE TABLE joins (
    session TEXT NOT NULL,
    frame INTEGER NOT NULL,
    island INTEGER NOT NULL,
    into_island INTEGER NOT NULL,
    row_px REAL NOT NULL,
    col_px REAL NOT NULL,
    PRIMARY KEY (session, island),
    FOREIGN KEY (session, frame) REFERENCES frames
) STRICT, WITHOUT ROWID;
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    session TEXT NOT NULL REFERENCES sessions,
    frame INTEGER NOT NULL,
    event TEXT NOT NULL,
    cell INTEGER NOT NULL,
    class_name TEXT NOT NULL,
    role TEXT NOT NULL,
    probability REAL NOT NULL,
    target_probability REAL NOT NULL,
    island INTEGER NOT NULL,
    row_px REAL NOT NULL,
    col_px REAL NOT NULL,
    x_um REAL NOT NULL,
    y_um REAL NOT NULL,
    diameter_um REAL NOT NULL,
    nucleus_ratio REAL NOT NULL,
    views INTEGER NOT NULL,
    best_frame INTEGER NOT NULL,
    reason TEXT NOT NULL
) STRICT;
CREATE INDEX events_of_session ON events (session, seq);
CREATE TRIGGER events_are_append_only BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'an event is never changed: correct it by a new one'); END;
CREATE TABLE crops (
    seq INTEGER NOT NULL REFERENCES events ON DELETE CASCADE,
    view INTEGER NOT NULL,
    frame INTEGER NOT NULL,
    picture BLOB NOT NULL,
    PRIMARY KEY (seq, view)
) STRICT;
CREATE TABLE plates (
    session TEXT NOT NULL,
    number INTEGER NOT NULL,
    frame INTEGER NOT NULL,
    placed INTEGER NOT NULL,
    island INTEGER NOT NULL,
    row_px REAL NOT NULL,
    col_px REAL NOT NULL,
    factor REAL NOT NULL,
    pixel_um REAL NOT NULL,
    frame_rows INTEGER NOT NULL,
    frame_cols INTEGER NOT NULL,
    picture BLOB NOT NULL,
    PRIMARY KEY (session, number)
) STRICT;
CREATE TABLE audit (
    link INTEGER PRIMARY KEY,
    session TEXT NOT NULL,
    kind TEXT NOT NULL,
    frame INTEGER,
    first_seq INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    at_utc TEXT NOT NULL,
    note TEXT NOT NULL,
    told TEXT NOT NULL,
    hash TEXT NOT NULL
) STRICT;
CREATE INDEX audit_of_session ON audit (session, link);
CREATE TRIGGER audit_is_append_only BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'a link of the audit is never changed'); END;
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY,
    topic TEXT NOT NULL,
    payload TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'acked', 'refused')),
    reason TEXT NOT NULL DEFAULT '',
    settled_utc TEXT
) STRICT;
CREATE INDEX outbox_pending ON outbox (seq) WHERE state = 'pending';
CREATE TABLE alarms (
    code TEXT PRIMARY KEY,
    detail TEXT NOT NULL
) STRICT;
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
"""An event's ``seq`` is that of its log message: the journal and the log can be laid side by side.

Frames and events stand on the islands as they were when written. A row of ``joins`` says that an island ended after a
frame, and what must be added to its places to get those on the older one; joins follow each other in the frames' order.

A row of ``crops`` is a view of a cell that people may decide on, or of a sample of the others; 0 is the best.
``plates`` are what registration holds on to when an unfinished session goes on; they go with its end. ``audit`` has a
link for each transaction (audit.py).

From ``oldest_seq`` on the outbox keeps every message. ``alarms`` are those that stand, however old.

In ``reviews`` ``seq`` is that of the decision's record in the log. ``second`` is 1 for the second reader, blind to the
first.

``class_name`` is what the cell is by that decision, empty where it is none. ``undoes`` is the ``seq`` of the decision
that this row takes back, at most once. ``request`` is the asker's own name for what was asked, so that a repetition is
known. A row goes with its link of the audit, which may outlive the session: decisions on one come while others follow.
"""
