"""Documents as text: laid out once as lines of styled spans, then written plainly or, on a terminal with colours, with rich."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from ullage.report.document import Bar, Block, Code, Column, Document, Heading, Items, Paragraph, Segment, Table, Verdict

if TYPE_CHECKING:
    from rich.text import Text

NARROWEST = 60
_READABLE = 36  # columns of text; less makes a tower of single words
_STYLES = {"good": "bold green", "warn": "bold yellow", "bad": "bold red", "head": "bold", "dim": "dim"}
# How a purpose looks in a bar and beside its rows: in UTF-8, in ASCII, in colour.
_LOOKS = {
    "weights": ("█", "W", "blue"),
    "kv_cache": ("▓", "K", "cyan"),
    "activations": ("▒", "A", "magenta"),
    "logits": ("░", "L", "yellow"),
    "graphs": ("▚", "G", "green"),
    "communication": ("▞", "C", "bright_blue"),
    "runtime": ("▙", "R", "bright_black"),
    "workspace": ("▟", "X", "red"),
    "state": ("▛", "S", "bright_cyan"),
    "others": ("▜", "O", "white"),
    "buffers": ("▪", "B", "bright_magenta"),
    "staging": ("◧", "T", "bright_yellow"),
    "swap": ("◨", "H", "bright_green"),
}
_UNKNOWN_LOOK = ("◩", "?", "white")


class Span(NamedTuple):
    """A piece of a line and how it looks."""

    text: str
    style: str = ""


class Look(NamedTuple):
    """What the reader's screen can show."""

    width: int
    is_ascii: bool


Line = tuple[Span, ...]


def plain_text(document: Document, look: Look) -> str:
    """The document without colours."""
    return "".join("".join(span.text for span in line).rstrip() + "\n" for line in lines(document, look))


def lines(document: Document, look: Look) -> Iterator[Line]:
    """The document as lines no wider than the screen."""
    before: Block | None = None
    for block in document:
        after_list = isinstance(before, Items | Code) and isinstance(block, Paragraph)
        if before is not None and (after_list or not isinstance(block, Paragraph | Items | Table | Code)):
            yield ()
        yield from _block(block, look)
        before = block


def _block(block: Block, look: Look) -> Iterator[Line]:
    match block:
        case Heading():
            yield from ((Span(text, "head"),) for text in wrap(block.text, look.width))
        case Verdict():
            yield from _hanging(((f"{block.word}  ", block.mood),), block.sentence, look)
        case Paragraph():
            yield from ((Span(text, "dim"),) for text in wrap(block.text, look.width))
        case Bar():
            yield from _bar(block, look)
        case Table():
            yield from _table(block, look)
        case Code():
            yield from ((Span(f"  {text}"),) for text in block.text.splitlines())
        case Items():
            for number, item in enumerate(block.items, 1):
                yield from _hanging(((f"  {number}. " if block.numbered else "  - ", ""),), item, look)


def wrap(text: str, width: int) -> list[str]:
    """Lines of whole words; a word longer than a line is cut."""
    found: list[str] = []
    line = ""
    for word in text.split():
        rest = word
        while len(rest) > width:
            found.extend([line] if line else [])
            line, rest = rest[:width], rest[width:]
        if line and len(line) + 1 + len(rest) > width:
            found.append(line)
            line = rest
        else:
            line = f"{line} {rest}" if line and rest else line or rest
    return [*found, line] if line else found


def _hanging(head: tuple[tuple[str, str], ...], text: str, look: Look) -> Iterator[Line]:
    """A head, then text wrapped beside it."""
    indent = sum(len(word) for word, _ in head)
    wrapped = wrap(text, max(look.width - indent, 20)) or [""]
    yield (*(Span(word, style) for word, style in head), Span(wrapped[0]))
    for rest in wrapped[1:]:
        yield (Span(" " * indent), Span(rest))


def _drawn(label: str, count: int, look: Look) -> Span:
    """A purpose's sign, ``count`` times."""
    sign, ascii_sign, colour = _LOOKS.get(label, _UNKNOWN_LOOK)
    return Span((ascii_sign if look.is_ascii else sign) * count, colour)


def cells(segments: tuple[Segment, ...], total_bytes: int, width: int) -> tuple[int, ...]:
    """How many of ``width`` cells each segment takes: cut where its end falls, so that the parts add up; what is over is not drawn."""
    found = []
    position = nbytes = 0
    for segment in segments:
        nbytes += segment.nbytes
        end = min(round(nbytes * width / max(total_bytes, 1)), width)
        found.append(end - position)
        position = end
    return tuple(found)


def _bar(bar: Bar, look: Look) -> Iterator[Line]:
    yield from ((Span(text, bar.mood),) for text in wrap(bar.title, look.width))
    width = look.width - 2
    counts = cells(bar.segments, bar.total_bytes, width)
    drawn = tuple(_drawn(segment.label, count, look) for segment, count in zip(bar.segments, counts, strict=True))
    free = "." if look.is_ascii else "·"
    over = sum(segment.nbytes for segment in bar.segments) > bar.total_bytes
    edges = ("[", "!" if over else "]") if look.is_ascii else ("▕", "‼" if over else "▏")
    yield (Span(edges[0], "dim"), *drawn, Span(free * (width - sum(counts)), "dim"), Span(edges[1], "bad" if over else "dim"))


def _widths(table: Table, look: Look) -> tuple[int, ...]:
    """As wide as the widest cell; the last column has what is left."""
    own = [max([len(column.head), *(len(row[index]) for row in table.rows)]) for index, column in enumerate(table.columns)]
    taken = sum(own[:-1]) + 2 * len(own[:-1]) + (2 if table.marks else 0)
    return (*own[:-1], look.width - taken)


def _aligned(text: str, column: Column, width: int) -> str:
    return text.rjust(width) if column.is_number else text.ljust(width)


def _table(table: Table, look: Look) -> Iterator[Line]:
    """Columns side by side; where the last would be too narrow to read, it stands below its row instead."""
    widths = _widths(table, look)
    below = widths[-1] < _READABLE
    pad = "  " if table.marks else ""
    columns = list(zip(table.columns, widths, strict=True))[: -1 if below else None]
    heads = (_aligned(column.head, column, width) for column, width in columns)
    yield (Span((pad + "  ".join(heads)).rstrip(), "dim"),)
    for number, row in enumerate(table.rows):
        mark = (_drawn(table.marks[number], 1, look), Span(" ")) if table.marks else ()
        fixed = "".join(f"{_aligned(text, *column)}  " for text, column in zip(row[:-1], columns, strict=False))
        indent = f"{pad}    " if below else pad + " " * len(fixed)
        first, *rest = [""] * below + wrap(row[-1], look.width - len(indent)) or [""]
        yield (*mark, Span(fixed), Span(first, "dim"))
        yield from ((Span(indent), Span(text, "dim")) for text in rest)


def print_coloured(document: Document, look: Look) -> None:
    """To a terminal with colours, by rich."""
    from rich.console import Console  # noqa: PLC0415 - rich takes 45 ms to import; plain text has no need of it

    console = Console(width=look.width, highlight=False, soft_wrap=True)
    for text in _coloured(document, look):
        console.print(text)


def _coloured(document: Document, look: Look) -> "Iterator[Text]":
    from rich.text import Text  # noqa: PLC0415 - as above

    for line in lines(document, look):
        text = Text(no_wrap=True)
        for span in line:
            text.append(span.text, style=_STYLES.get(span.style, span.style))
        yield text


@contextmanager
def live() -> Iterator[Callable[[Document, Look], None]]:
    """A terminal on which each document takes the place of the one before; the last one stays."""
    from rich.console import Group  # noqa: PLC0415 - as above
    from rich.live import Live  # noqa: PLC0415 - as above

    with Live(auto_refresh=False) as screen:
        yield lambda document, look: screen.update(Group(*_coloured(document, look)), refresh=True)
