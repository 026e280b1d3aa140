"""The header of a state, read by several threads at once: as a worker does that takes over partitions."""

from __future__ import annotations

import subprocess
import sys

# The first thread waits in the middle of what msgspec does at the first use of a class: when it has begun with the
# header, and looks into a class that the header contains.
FIRST_USES = """
import sys, threading, time
from stream_app.checkpoints.header import Header

def read():
    try:
        Header.decode(b'{"meta": {}}')
    except ValueError:
        pass

def is_inside(frame):
    return frame.f_code.co_name == "get_class_annotations" and frame.f_locals["obj"] is not Header

def wait_inside(frame, *_):
    if is_inside(frame):
        sys.setprofile(None)
        inside.set()
        time.sleep(0.2)

def first_use():
    sys.setprofile(wait_inside)
    read()
    inside.set()

inside = threading.Event()
first = threading.Thread(target=first_use)
first.start()
inside.wait()
read()
first.join()
"""


def test_the_first_states_may_be_read_by_several_threads() -> None:
    done = subprocess.run([sys.executable, "-X", "faulthandler", "-c", FIRST_USES], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
