"""A page of sections. It asks no other host for anything."""

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

TEMPLATE = "page.html"


@dataclass(frozen=True)
class Section:
    """A heading, then what there is. `rows` are cells of text; the first column is to the left."""

    heading: str
    note: str = ""
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    figures: Sequence[dict[str, Any]] = ()  # in plotly's own form
    captions: Sequence[str] = ()  # of the figures


def page(title: str, subtitle: str, cards: Sequence[tuple[str, str]], sections: Sequence[Section]) -> str:
    """HTML. Cards are (number, what it is)."""
    figures = [figure for section in sections for figure in section.figures]
    filled = {
        "title": html.escape(title),
        "subtitle": html.escape(subtitle),
        "cards": "".join(
            f"<div class=card><b>{html.escape(number)}</b><span>{html.escape(what)}</span></div>"
            for number, what in cards
        ),
        "sections": _sections(sections),
        "figures": json.dumps(figures, separators=(",", ":"), allow_nan=False).replace("</", "<\\/"),
        "plotly": (files("plotly") / "package_data" / "plotly.min.js").read_text(encoding="utf-8"),
    }
    text = (files("stream_app.pages") / TEMPLATE).read_text(encoding="utf-8")
    # In one pass, so that nothing that was filled in is filled again.
    parts = text.split("{{")
    return parts[0] + "".join(filled[name] + rest for name, rest in (part.split("}}", 1) for part in parts[1:]))


def _sections(sections: Sequence[Section]) -> str:
    told, number = [], 0
    for section in sections:
        parts = [f"<h2>{html.escape(section.heading)}</h2>"]
        if section.note:
            parts.append(f"<p>{html.escape(section.note)}</p>")
        if section.rows:
            parts.append(_table(section.columns, section.rows))
        for position in range(len(section.figures)):
            caption = section.captions[position] if position < len(section.captions) else ""
            parts.append(
                f"<figure><figcaption>{html.escape(caption)}</figcaption><div id=figure-{number}></div></figure>"
            )
            number += 1
        told.append(f"<section class=panel>{''.join(parts)}</section>")
    return "\n".join(told)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
