"""A page made of sections, in one file that asks no other host for anything."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stream_app.pages.shell import filled, part, standalone


@dataclass(frozen=True)
class Section:
    """A heading, then what there is. `rows` are cells of text: numbers to the right, the first column and those that
    `sentences` names to the left."""

    heading: str
    note: str = ""
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    sentences: Sequence[str] = ()
    figures: Sequence[dict[str, Any]] = ()  # in plotly's own form
    captions: Sequence[str] = ()  # of the figures


@dataclass(frozen=True)
class Document:
    """What stands on a page. Cards are (number, what it is)."""

    title: str
    subtitle: str
    cards: Sequence[tuple[str, str]]
    sections: Sequence[Section]


def page(document: Document) -> str:
    """HTML."""
    figures = [figure for section in document.sections for figure in section.figures]
    body = filled(
        part("sections.html"),
        {
            "title": html.escape(document.title),
            "subtitle": html.escape(document.subtitle),
            "cards": cards_html(document.cards),
            "sections": _sections(document.sections),
        },
    )
    return standalone(document.title, body, figures, ["sections.js"])


def cards_html(cards: Sequence[tuple[str, str]]) -> str:
    return "".join(
        f"<div class=card><b>{html.escape(number)}</b><span>{html.escape(what)}</span></div>" for number, what in cards
    )


def _sections(sections: Sequence[Section]) -> str:
    told, number = [], 0
    for section in sections:
        parts = [f"<h2>{html.escape(section.heading)}</h2>"]
        if section.note:
            parts.append(f"<p>{html.escape(section.note)}</p>")
        if section.rows:
            parts.append(_table(section))
        for position in range(len(section.figures)):
            caption = section.captions[position] if position < len(section.captions) else ""
            parts.append(
                f"<figure><figcaption>{html.escape(caption)}</figcaption><div id=figure-{number}></div></figure>"
            )
            number += 1
        told.append(f"<section class=panel>{''.join(parts)}</section>")
    return "\n".join(told)


def _table(section: Section) -> str:
    left = [" class=left" if column in section.sentences else "" for column in section.columns]
    head = "".join(
        f"<th scope=col{side}>{html.escape(column)}</th>" for column, side in zip(section.columns, left, strict=True)
    )
    cells = (
        "".join(f"<td{side}>{html.escape(cell)}</td>" for cell, side in zip(row, left, strict=True))
        for row in section.rows
    )
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
