"""Coverage-guided bytes for the decoder (atheris): `python -m tests.chaos.fuzz_decoder CORPUS -max_total_time=60 …`.

The input is cut at zero bytes pairs into the values of one poll. Ends with a traceback and another code than 0 at the
first poll that is not accounted for.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["stream_app.wire", "stream_app.dead_letters.record"]):
    from tests.chaos.poison import assert_accounted

CUT = b"\x00\x00"


def one_poll(data: bytes) -> None:
    keys: list[bytes | None] = [None if len(part) % 7 == 6 else b"k" for part in data.split(CUT)]
    assert_accounted([None if part == b"\x01" else part for part in data.split(CUT)], keys)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_poll)
    atheris.Fuzz()
