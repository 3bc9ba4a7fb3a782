"""Sheets as text, Markdown, LaTeX and HTML. What comes from the store is escaped in each of them."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence

from litemkd.comparison.sheets import Sheet
from litemkd.report.tables import markdown_table, text_table

_LATEX = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "–": "--",
    "*": "$^{*}$",
}
_STYLE = """\
body{font:15px/1.5 system-ui,sans-serif;margin:2rem;color:#222;background:#fff}
.table{overflow-x:auto;margin-bottom:2rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
caption{font-weight:600;text-align:left;padding:.4rem 0}
th,td{padding:.25rem .7rem;text-align:right;white-space:nowrap}
thead th{border-top:2px solid;border-bottom:1px solid;vertical-align:bottom;white-space:normal;max-width:9rem}
tbody tr:last-child>*{border-bottom:2px solid}
.word{text-align:left}
.quoted{background:#f4f1e8}
.note{max-width:60rem;font-size:.85em;color:#444;margin:.2rem 0}
img{max-width:100%}"""


def one_line(text: str) -> str:
    """A text on one line, without what steers a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


def as_text(sheets: Sequence[Sheet]) -> str:
    """For a terminal."""
    parts = []
    for sheet in sheets:
        table = text_table(*_cells(sheet), sheet.left) if sheet.rows else "nothing"
        parts.append(
            "\n".join(
                [one_line(sheet.title), "", table, *(["", *map(one_line, sheet.notes)] * bool(sheet.notes))]
            )
        )
    return "\n\n".join(parts) + "\n"


def as_markdown(sheets: Sequence[Sheet]) -> str:
    """Tables of GitHub's Markdown, which MLflow shows too."""
    parts = []
    for sheet in sheets:
        header, rows = _cells(sheet)
        table = markdown_table(
            [_markdown(cell) for cell in header], [[_markdown(c) for c in row] for row in rows], sheet.left
        )
        parts.append(
            "\n\n".join(
                [
                    f"**{_markdown(one_line(sheet.title))}**",
                    table.rstrip(),
                    *(_markdown(one_line(note)) for note in sheet.notes),
                ]
            )
        )
    return "\n\n".join(parts) + "\n"


def _cells(sheet: Sheet) -> tuple[list[str], list[list[str]]]:
    return [one_line(cell) for cell in sheet.header], [[one_line(cell) for cell in row] for row in sheet.rows]


def _markdown(text: str) -> str:
    for character in "\\`*_[]|":
        text = text.replace(character, f"\\{character}")
    return text.replace("<", "&lt;")


def as_latex(sheets: Sequence[Sheet]) -> str:
    """Tables that need the package booktabs; one `table` each."""
    parts = ["% needs \\usepackage{booktabs}"]
    for sheet in sheets:
        header, rows = _cells(sheet)
        columns = "l" * sheet.left + "r" * (len(sheet.header) - sheet.left)
        parts += [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{latex(one_line(sheet.title))}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            _latex_line(header),
            r"\midrule",
            *map(_latex_line, rows),
            r"\bottomrule",
            r"\end{tabular}",
            *(rf"\par\footnotesize {latex(one_line(note))}" for note in sheet.notes),
            r"\end{table}",
        ]
    return "\n".join(parts) + "\n"


def latex(text: str) -> str:
    """A text with every character that LaTeX reads as its own escaped."""
    return "".join(_LATEX.get(character, character) for character in text)


def _latex_line(cells: Sequence[str]) -> str:
    return " & ".join(map(latex, cells)) + r" \\"


def as_html(sheets: Sequence[Sheet], pictures: Mapping[str, str] | None = None) -> str:
    """A page of its own.

    Args:
        sheets: the tables.
        pictures: what each shows, by the file's name beside the page.
    """
    parts = [
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Comparison</title>',
        f"<style>\n{_STYLE}\n</style></head><body>",
        *map(_html_sheet, sheets),
        *(
            f'<figure><img src="{html.escape(file)}" alt="{html.escape(what)}"></figure>'
            for file, what in (pictures or {}).items()
        ),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _html_sheet(sheet: Sheet) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        kinds = (' class="word"' if place < sheet.left else "" for place in range(len(cells)))
        inner = "".join(
            f"<{tag}{kind}>{html.escape(cell)}</{tag}>" for cell, kind in zip(cells, kinds, strict=True)
        )
        return f"<tr>{inner}</tr>"

    quoted = ' class="quoted"' if sheet.quoted else ""
    return "\n".join(
        [
            f'<div class="table"><table{quoted}><caption>{html.escape(sheet.title)}</caption>',
            f"<thead>{line(sheet.header, 'th')}</thead><tbody>",
            *(line(row, "td") for row in sheet.rows),
            "</tbody></table>",
            *(f'<p class="note">{html.escape(note)}</p>' for note in sheet.notes),
            "</div>",
        ]
    )


FORMATS: Mapping[str, Callable[[Sequence[Sheet]], str]] = {
    "table": as_text,
    "markdown": as_markdown,
    "latex": as_latex,
    "html": as_html,
}
SUFFIXES = {"markdown": "md", "csv": "csv", "latex": "tex", "html": "html", "json": "json", "table": "txt"}
