"""A report as values: blocks of text, bars and tables that any writer can lay out."""

from typing import NamedTuple


class Heading(NamedTuple):
    """A title of what follows."""

    text: str


class Verdict(NamedTuple):
    """The answer in a word and its reason in a sentence; ``mood`` is "good", "warn" or "bad"."""

    word: str
    sentence: str
    mood: str


class Paragraph(NamedTuple):
    """Plain sentences."""

    text: str


class Segment(NamedTuple):
    """One part of a bar, in bytes."""

    label: str
    nbytes: int


class Bar(NamedTuple):
    """Parts stacked along a whole of ``total_bytes``; what they leave is free, what passes it is over."""

    title: str
    segments: tuple[Segment, ...]
    total_bytes: int
    mood: str


class Column(NamedTuple):
    """A column: its head, and whether it holds numbers."""

    head: str
    is_number: bool = False


class Table(NamedTuple):
    """Rows of cells as text. The last column takes the width that is left and is wrapped. A row's ``marks`` name its bar's segment."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    marks: tuple[str, ...] = ()


class Code(NamedTuple):
    """Lines to copy as they stand."""

    text: str


class Items(NamedTuple):
    """A list of sentences; ``numbered`` from 1."""

    items: tuple[str, ...]
    numbered: bool = False


Block = Heading | Verdict | Paragraph | Bar | Table | Code | Items
Document = tuple[Block, ...]
