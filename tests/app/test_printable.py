"""What strangers wrote reaches no terminal raw."""

from hypothesis import given
from hypothesis import strategies as st

from stream_app.dead_letters.printable import printable


@given(st.binary(max_size=200), st.integers(1, 100))
def test_nothing_but_printable_characters_and_newlines_comes_out(data: bytes, bytes_max: int) -> None:
    assert all(char == "\n" or char.isprintable() for char in printable(data, bytes_max))


def test_text_stays_text_and_escapes_say_what_was_there() -> None:
    assert printable('{"temp": "20 °C"}'.encode(), 100) == '{"temp": "20 °C"}'
    assert printable(b"a\x1b[31mred\r\x08", 100) == r"a\x1b[31mred\r\x08"
    assert printable("right \u202e left".encode(), 100) == r"right \u202e left"


def test_what_is_no_text_is_a_hex_dump() -> None:
    assert printable(b"\x00\x00\x00\x00\x07avro", 100).startswith("00000000  00 00 00 00 07 61 76 72 6f")
    assert printable(b"\xff\xfe", 100).startswith("00000000  ff fe")


def test_a_long_value_is_cut_between_characters_and_says_so() -> None:
    assert printable("ä".encode() * 10, 5) == "ää\n… and 15 bytes more"
