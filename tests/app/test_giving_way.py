"""A process that gives way does so also where Linux weighs sessions against each other."""

import errno
import os
import subprocess
import sys

import pytest

from stream_app.runtime import giving_way
from stream_app.runtime.giving_way import AUTOGROUP, give_way

TELLS = """
import os
from stream_app.runtime.giving_way import AUTOGROUP, give_way
before = AUTOGROUP.read_text()
give_way(7)
print(os.nice(0), before.strip(), AUTOGROUP.read_text().strip(), os.access(AUTOGROUP, os.W_OK), sep="\\n")
"""


@pytest.mark.skipif(not AUTOGROUP.exists(), reason="this system does not group processes by session")
@pytest.mark.parametrize("alone", [True, False])
def test_a_session_gives_way_when_nobody_else_is_in_it(alone: bool) -> None:
    # Without a session of its own it is in that of this test, which is to go on as before.
    command = [sys.executable, "-c", TELLS]
    told = subprocess.run(command, start_new_session=alone, capture_output=True, text=True, check=True).stdout
    # Lines as `/autogroup-12 nice 7`; nothing where a control group weighs the session.
    nice, before, after, may = told.split("\n")[:4]
    own = subprocess.run([sys.executable, "-c", "import os; print(os.nice(0))"], capture_output=True, text=True).stdout
    assert int(nice) == min(19, int(own) + 7)
    assert after == (f"{before.split()[0]} nice {nice}" if alone and before and may == "True" else before)


def test_whoever_comes_too_soon_after_another_session_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux refuses a second change within 100 ms to all but root."""
    refusals, written = [errno.EAGAIN, errno.EAGAIN], []

    class Kernel:
        def write_text(self, text: str) -> None:
            if refusals:
                raise OSError(refusals.pop(), "try again")
            written.append(text)

    monkeypatch.setattr(giving_way, "AUTOGROUP", Kernel())
    monkeypatch.setattr(giving_way, "AGAIN_S", 0.0)
    monkeypatch.setattr(os, "getsid", lambda _: os.getpid())
    monkeypatch.setattr(os, "nice", lambda more: more)
    give_way(7)
    assert written == ["7"]
