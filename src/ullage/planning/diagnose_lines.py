"""Lines of a log as the engine wrote them: without colours, progress bars, containers, collectors, stamps, and with their rank."""

import re
from typing import Final, NamedTuple

from ullage import wire
from ullage.errors import MalformedFileError

LONGEST = 16384
_LONGEST_PREFIX = 160
_COLOUR = re.compile(
    r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\[\d{1,3}(?:;\d{1,3}){1,3}m"
    r"|(?:\^\[|#033)\[[\d;]{0,12}m"  # as terminals' letters are written in files
)
_COLOURED: Final = (";", "^[", "#033")  # one stands in a colour's code of printable letters
_ESCAPED: Final = "\\n  File "  # a traceback as a string is printed
_JSON_KEYS: Final = ("log", "MESSAGE", "message", "msg", "text", "line")
# What a container runtime or a collector writes before a line; each is taken off once, in this order.
_PREFIXES: Final = tuple(
    re.compile(text)
    for text in (
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[\d.:+Z-]* (?:stdout|stderr) [FP] ",  # CRI
        r"\[(?P<rank>pod/[\w.-]+/[\w.-]+)\] ",  # kubectl logs --prefix
        r"(?:[A-Z]+ )?\d{4}-\d\d-\d\dT[\d:.]+Z \[resource\.labels\.\w+: (?P<rank>[\w.-]+)\] ",  # Google Cloud's log viewer
        r"[A-Z][a-z]{2} +\d{1,2} \d\d:\d\d:\d\d (?P<host>[\w.-]+) [\w.@/-]+(?:\[\d+\])?: ",  # journald
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[\d.:+-]* (?P<host>[\w.-]+) [\w.@/-]+\[\d+\]: ",  # the same with ISO stamps
        r"(?P<rank>[\w.-]{1,60}) +\| ",  # compose
        r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)? ",  # docker --timestamps
        r"\[(?:\d+,)?(?P<rank>\d{1,4})\](?:<std(?:out|err)>)?: ?",  # mpirun
        r"\[?(?P<rank>rank ?\d{1,4})\]?: ?",
        r"\[(?:Info|Error|Warning|Warn|Debug)\] \(Process\) ",  # a server that starts engines
    )
)
_TAG = re.compile(r"^\s*\((?P<rank>[A-Za-z][\w =]{0,80}?pid=\d{1,9}(?:, ip=[\d.]{1,20})?)\) ?")
_LEVEL = re.compile(r"^(?:DEBUG|INFO|WARNING|ERROR|CRITICAL) \d\d-\d\d \d\d:\d\d:\d\d (?:\[[\w./:]+\]|[\w./]+:\d+\]) ?")
_SGLANG = re.compile(r"^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?: (?P<rank>[A-Z0-9 ]+))?\] ")
_LOOSE = re.compile(r"^> ")  # quoted in an issue
_LONGEST_SENTENCE = 2000
_UNFINISHED = re.compile(
    r"Tried to allocate(?!.*(?:is free|MiB free|GiB free|bytes free|by PyTorch|total capacity;.*free|Error code \d))", re.IGNORECASE
)
FOUND: Final = (_UNFINISHED,)  # in every sentence that is cut
_NEW_LINE = re.compile(
    r"^(?:Traceback|  File |\[|\d{4}-|\(|(?:INFO|ERROR|WARNING|DEBUG)\b|During handling|\w+(?:\.\w+)*(?:Error|Exception)\b|\S*[#$] )"
)

_OF_REQUEST = re.compile(r"Received request \S+: |Request \S+ details: |Generated response \S+: |(?:Receive|Finish): obj=")


class Bare(NamedTuple):
    """One line, or one piece of a progress bar: its number in the file, its text, and the rank or container that wrote it.

    ``before`` is the line's beginning where something was taken off: tags and stamps tell which engine writes so.
    """

    number: int
    text: str
    rank: str
    before: str = ""


def pieces_of(number: int, line: str) -> list[Bare]:
    """What a line holds: nothing, itself, or of a progress bar drawn over itself one for each time it was drawn."""
    text = message_of(line)
    found = []
    for piece in text.split("\n") if "\r" not in text else re.split(r"[\r\n]+", text):
        text, rank = bare(piece)
        if text:
            found.append(Bare(number, text, rank, piece[: min(_LONGEST_PREFIX, max(0, len(piece.rstrip()) - len(text)))]))
    return found


def message_of(line: str) -> str:
    """The text of a line that a collector wrapped in JSON; else the line, a traceback in it taken apart."""
    plain = line.rstrip("\n")
    said = _said(plain) if plain.lstrip()[:1] == "{" and len(line) <= LONGEST else None
    if said is not None:
        return said.rstrip("\n")
    return plain.replace("\\n", "\n").replace('\\"', '"') if _ESCAPED in plain else plain


def _said(line: str) -> str | None:
    """The message of a JSON object, or of the fields in it; None where it has none."""
    try:
        value = wire.loads(line)
    except MalformedFileError:
        return None
    for known in (value, value.get("fields") if isinstance(value, dict) else None):
        if isinstance(known, dict):
            said = next((known[key] for key in _JSON_KEYS if isinstance(known.get(key), str)), None)
            if isinstance(said, str):
                return said
    return None


def bare(line: str) -> tuple[str, str]:
    """A line's own text, and who wrote it."""
    text = without_colours(line[:LONGEST].rstrip()).rstrip()
    rank = ""
    for prefix in _PREFIXES:
        match = prefix.match(text)
        if match is not None:
            text = text[match.end() :]
            rank = match.groupdict().get("rank") or rank
    for prefix in (_LOOSE, _TAG, _LEVEL, _SGLANG, _TAG):
        match = prefix.match(text)
        if match is not None:
            text = text[match.end() :]
            rank = match.groupdict().get("rank") or rank
    return text, rank


def without_colours(text: str) -> str:
    """A text without what gives it colours or moves a terminal's cursor."""
    if not text.isprintable() or ("[" in text and any(mark in text for mark in _COLOURED)):
        return _COLOUR.sub("", text)
    return text


def is_cut(text: str) -> bool:
    """Whether an allocator's sentence ends here before it is said."""
    return "llocate" in text and len(text) < _LONGEST_SENTENCE and _UNFINISHED.search(text) is not None


def goes_on(text: str) -> bool:
    """Whether a line could be the rest of the one above that a terminal's width cut."""
    return not _NEW_LINE.match(text)


def is_of_request(text: str) -> bool:
    """Whether an engine repeats what was asked of it, or what it answered: whatever stands there is no news of the engine."""
    return _OF_REQUEST.match(text) is not None
