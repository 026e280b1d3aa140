"""Compiled kernels of the wire formats, beside their C: messages are read and written without Python code for each.

A kernel that meets a message it does not handle says so, and its caller reads that message in Python.
"""

from pathlib import Path

from model_core.compiled import ARRAY, INT, Kernel, load

_LIBRARY = load(Path(__file__).parent)

put_lines = Kernel("put_lines", [INT, ARRAY, ARRAY, ARRAY, ARRAY], library=_LIBRARY)
read_messages = Kernel("read_messages", [ARRAY, INT, ARRAY, ARRAY, ARRAY], INT, library=_LIBRARY)
place_names = Kernel("place_names", [ARRAY], library=_LIBRARY)
read_members = Kernel("read_members", [INT, ARRAY, ARRAY, ARRAY, INT, ARRAY, ARRAY], INT, library=_LIBRARY)
