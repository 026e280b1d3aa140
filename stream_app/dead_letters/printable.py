"""Untrusted bytes as text for a terminal: nothing in it moves the cursor, changes colours or hides other text."""

LINE_BYTES = 16  # of a hex dump


def printable(data: bytes, bytes_max: int) -> str:
    """UTF-8 with everything unprintable escaped, else a hex dump: the first `bytes_max`, and how many follow."""
    shown, left = data[:bytes_max], len(data) - bytes_max
    text = _text(shown, is_cut=left > 0)
    if text is None:
        text = _hex(shown)
    return text if left <= 0 else f"{text}\n… and {left:,} bytes more"


def _text(data: bytes, *, is_cut: bool) -> str | None:
    """None: it is no text. The last character of what was cut may be half there."""
    for end in range(len(data), max(len(data) - (4 if is_cut else 1), -1), -1):
        try:
            text = data[:end].decode()
        except UnicodeDecodeError:
            continue
        if "\0" in text:
            return None
        # isprintable is False for control characters, for those that turn the direction of writing, and for surrogates
        return "".join(char if char.isprintable() or char == "\n" else _escaped(char) for char in text)
    return None


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode()


def _hex(data: bytes) -> str:
    lines = []
    for start in range(0, len(data), LINE_BYTES):
        part = data[start : start + LINE_BYTES]
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{start:08x}  {part.hex(' '):<{3 * LINE_BYTES}} {letters}")
    return "\n".join(lines)
