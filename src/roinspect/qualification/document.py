"""An HTML document with numbered sections, tables and figures, in one file that prints well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources

_STYLE = "style.css"
_LONG = 20
"""Letters of a word."""
_WHOLE = 12
"""Rows of a table that is printed on one page."""


class Document:
    """Collects content in reading order.

    Args:
        title: of the document.
        subtitle: the line above the title.
    """

    def __init__(self, title: str, subtitle: str) -> None:
        self._title, self._subtitle = title, subtitle
        self._parts = list[str]()
        self._sections = self._tables = self._figures = 0

    def section(self, heading: str, *, new_page: bool = False) -> None:
        """Begin a numbered section."""
        self._sections += 1
        css = ' class="new-page"' if new_page else ""
        self._parts.append(f"<h2{css}>{self._sections} {escape(heading)}</h2>")

    def paragraph(self, text: str, css: str = "") -> None:
        """Add a paragraph of plain text."""
        self._parts.append(f"<p{_css(css)}>{escape(text)}</p>")

    def points(self, texts: Sequence[str]) -> None:
        """Add a list."""
        self._parts.append(f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in texts)}</ul>")

    def legend(self, series: Sequence[tuple[str, str]]) -> None:
        """Explain the lines of figures: (CSS class, meaning)."""
        entries = "".join(f'<li><span class="key {css}"></span>{escape(text)}</li>' for css, text in series)
        self._parts.append(f'<ul class="legend">{entries}</ul>')

    def table(
        self,
        caption: str,
        header: Sequence[str],
        rows: Sequence[Sequence[object]],
        *,
        numbers: Sequence[int] = (),
        marks: Mapping[int, str] | None = None,
    ) -> None:
        """Add a numbered table.

        Args:
            caption: in words.
            header: of the columns.
            rows: cells as text.
            numbers: columns that are aligned to the right.
            marks: CSS class by row.
        """
        self._tables += 1
        head = "".join(
            f"<th{_number(index in numbers)}>{escape(name)}</th>" for index, name in enumerate(header)
        )
        body = "".join(
            f"<tr{_css((marks or {}).get(row, ''))}>"
            + "".join(
                f"<td{_number(index in numbers) or _long(str(cell))}>{escape(str(cell))}</td>"
                for index, cell in enumerate(cells)
            )
            + "</tr>"
            for row, cells in enumerate(rows)
        )
        classes = ["narrow"] * (len(header) == 2 and bool(numbers)) + ["whole"] * (len(rows) <= _WHOLE)
        self._parts.append(
            f"<table{_css(' '.join(classes))}><caption>Table {self._tables}. {escape(caption)}</caption>"
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        )

    def figure(self, caption: str, svgs: Sequence[tuple[str, str]]) -> None:
        """Add a numbered figure of one or more plots: (heading, SVG)."""
        self._figures += 1
        plots = "".join(
            f"<div>{f'<h3>{escape(heading)}</h3>' if heading else ''}{svg}</div>" for heading, svg in svgs
        )
        css = "plots" if len(svgs) > 1 else "plots one"
        self._parts.append(
            f'<figure><div class="{css}">{plots}</div>'
            f"<figcaption>Figure {self._figures}. {escape(caption)}</figcaption></figure>"
        )

    def signatures(self, text: str, roles: Sequence[str]) -> None:
        """Add a numbered section with lines to sign, all on one page."""
        self._sections += 1
        lines = "".join(f"<tr><th>{escape(role)}</th>{'<td></td>' * 3}</tr>" for role in roles)
        self._parts.append(
            f'<div class="keep"><h2>{self._sections} Signatures</h2><p>{escape(text)}</p>'
            '<table class="signatures"><thead><tr><th></th><th>Name</th><th>Date</th><th>Signature</th></tr>'
            f"</thead><tbody>{lines}</tbody></table></div>"
        )

    def listing(self, text: str) -> None:
        """Add text as it is."""
        self._parts.append(f"<pre>{escape(text)}</pre>")

    def html(self) -> str:
        """The whole document."""
        style = (resources.files(__package__) / "page" / _STYLE).read_text(encoding="utf-8")
        running = self._title.replace("\\", "").replace('"', "'").replace("\n", " ").replace("<", "")
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{escape(self._title)}</title>\n<style>\n{style}"
            f'@page {{ @top-left {{ content: "{running}"; }} }}\n</style>\n</head>\n<body>\n<main>\n'
            f'<p class="eyebrow">{escape(self._subtitle)}</p>\n<h1>{escape(self._title)}</h1>\n'
            + "\n".join(self._parts)
            + "\n<footer>Written by roinspect. This file is self-contained; nothing is loaded from elsewhere."
            "</footer>\n</main>\n</body>\n</html>\n"
        )


def _css(name: str) -> str:
    return f' class="{name}"' if name else ""


def _number(is_number: bool) -> str:
    return ' class="number"' if is_number else ""


def _long(text: str) -> str:
    """Words that would widen a table may break anywhere."""
    return ' class="long"' if any(len(word) > _LONG for word in text.split()) else ""
