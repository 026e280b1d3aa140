"""The frame of every page, and its theme: as one file that includes everything, or served with its parts beside it.

Either way the browser is told to run and show only what belongs to the page; no other host is asked for anything.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

# plotly.js makes an empty style element, and adds its rules to that one by one.
EMPTY_STYLE = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
PLOTLY = "plotly.min.js"
# It also brings the styles of its maps, which nobody draws here and no policy lets in, unless this name is taken.
_MAP_STYLES = re.compile(r'getElementById\("([0-9a-f]{64})"\)')


@cache
def part(name: str) -> str:
    """A file of this folder, or plotly.js of the installed wheel."""
    folder = files("plotly") / "package_data" if name == PLOTLY else files("stream_app.pages")
    return (folder / name).read_text(encoding="utf-8")


def filled(text: str, values: Mapping[str, str]) -> str:
    """{{name}} → its value, in one pass, so that nothing that was filled in is filled again."""
    parts = text.split("{{")
    return parts[0] + "".join(values[name] + rest for name, rest in (each.split("}}", 1) for each in parts[1:]))


def standalone(title: str, body: str, figures: Any, scripts: Sequence[str], styles: Sequence[str] = ()) -> str:
    """One HTML file. The scripts find `figures` under that name; scripts and styles are files of this folder."""
    data = json.dumps(figures, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")
    code = [part(PLOTLY), f"const figures = {data};\n", *map(part, ("charts.js", *scripts))]
    looks = [part(name) for name in ("style.css", *styles)]
    policy = (
        f"default-src 'none'; script-src {_hashes(code)}; style-src {_hashes(looks)} {EMPTY_STYLE}; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    return _page(
        title,
        body,
        head=f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n',
        styles="\n".join(f"<style>{look}</style>" for look in looks),
        scripts="\n".join(f"<script>{each}</script>" for each in code),
    )


def served(title: str, body: str, scripts: Sequence[str], styles: Sequence[str], folder: str) -> str:
    """A page whose parts are files under `folder` of the same host; its server sends the policy."""
    looks, code = ("style.css", *styles), (PLOTLY, "charts.js", *scripts)
    return _page(
        title,
        body,
        head='<link rel="icon" href="data:,">\n',
        styles="\n".join(f'<link rel="stylesheet" href="{folder}{name}">' for name in looks),
        scripts="\n".join(f'<script src="{folder}{name}" defer></script>' for name in code),
    )


def _page(title: str, body: str, **values: str) -> str:
    return filled(part("shell.html"), {"title": html.escape(title), "body": body, "plotly": _no_map_styles(), **values})


def _no_map_styles() -> str:
    found = _MAP_STYLES.search(part(PLOTLY))
    return f'<meta id="{found[1]}">\n' if found else ""


def _hashes(texts: Sequence[str]) -> str:
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
    return " ".join(f"'sha256-{digest}'" for digest in digests)
