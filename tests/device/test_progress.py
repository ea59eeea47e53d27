"""Long work says how far it is: a bar with the time left on a terminal, a line every ten seconds elsewhere."""

import io

from fnrbc_device.commands.progress import EVERY_S, Lines, progress


class Terminal(io.StringIO):
    """Takes what a terminal would."""

    def isatty(self) -> bool:
        return True


def test_a_pipe_gets_a_line_every_ten_seconds_with_the_time_left():
    now_s, said = [0.0], io.StringIO()
    lines = Lines("frames", 400, said, lambda: now_s[0])
    for done in range(1, 401):
        now_s[0] = done / 8  # 8 frames a second, 50 s in all
        lines.update(done)
    assert said.getvalue().splitlines() == [
        "80 of 400 frames, 0:00:40 left",
        "160 of 400 frames, 0:00:30 left",
        "240 of 400 frames, 0:00:20 left",
        "320 of 400 frames, 0:00:10 left",
        "400 of 400 frames, 0:00:00 left",
    ]


def test_where_nobody_knows_how_many_there_are_none_is_promised():
    now_s, said = [0.0], io.StringIO()
    lines = Lines("frames", None, said, lambda: now_s[0])
    now_s[0] = EVERY_S
    lines.update(7)
    assert said.getvalue() == "7 frames\n"


def test_short_work_says_nothing_in_a_pipe():
    said = io.StringIO()
    with progress("frames", said) as begin:
        begin(3)(3)
    assert said.getvalue() == ""


def test_a_terminal_gets_one_bar_that_ends_full():
    said = Terminal()
    with progress("frames", said) as begin:
        update = begin(40)
        for done in range(41):
            update(done)
    assert "40/40" in said.getvalue()
    assert "frames" in said.getvalue()
