"""Records that are too long, written as ones that are not: the latest part of each, or all of it in parts that overlap.

Messages stay whole where they can; one that is too long by itself is cut between two tokens and between two characters.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from ullage.planning.dialogues import ASSISTANT, SYSTEM, Dialogue, Message
from ullage.planning.requests import Limits, Rules, is_too_long, requests_of

WINDOW, OVERLAP = "window", "overlap"
WAYS = (WINDOW, OVERLAP)


class Shears(NamedTuple):
    """How texts are counted, and where they may be cut (character offsets from 0 to the end, rising)."""

    count: Callable[[str], int]
    boundaries: Callable[[str], Sequence[int]]


class Part(NamedTuple):
    """Messages that make a record of their own, and their counts.

    ``answer_tokens`` is of the reply that stands in another part, which the model would write behind this one too.
    """

    messages: tuple[Message, ...]
    counts: tuple[int, ...]
    answer_tokens: int | None = None


class Writer(NamedTuple):
    """What a rewriting needs to know: limits, what requests are, how to cut, and the tokens that parts share at most."""

    limits: Limits
    rules: Rules
    shears: Shears
    overlap_tokens: int

    def fits(self, part: Part, dialogue: Dialogue) -> bool:
        """Whether all requests of these messages are short enough."""
        return not is_too_long(requests_of(dialogue._replace(messages=part.messages), part.counts, self.rules), self.limits)


def last_tokens(text: str, most: int, shears: Shears) -> str:
    """The longest end of ``text`` of at most ``most`` tokens."""
    ends = shears.boundaries(text)
    at = max(0, len(ends) - 1 - most)
    while at < len(ends) - 1 and (count := shears.count(text[ends[at] :])) > most:
        at = min(len(ends) - 1, at + max(1, (count - most) // 2))
    return text[ends[at] :]


def spans(text: str, most: int, overlap: int, shears: Shears) -> Iterator[tuple[int, int]]:
    """Where parts of ``text`` begin and end: all of it, in parts of at most ``most`` tokens that share ``overlap`` at most with the last.

    A single step between two boundaries that has more tokens, as a rare character may, is a part of its own.
    """
    ends = shears.boundaries(text)
    start, done, last = 0, 0, len(ends) - 1
    while start < last:
        end = min(last, start + most)
        while end > start + 1 and (count := shears.count(text[ends[start] : ends[end]])) > most:
            end = max(start + 1, end - max(1, (count - most) // 2))
        if end <= done:  # what is shared left no room for the next step: begin behind it
            start = done
            continue
        yield ends[start], ends[end]
        done = end
        if end == last:
            return
        back = max(start + 1, end - overlap)
        while back < end and shears.count(text[ends[back] : ends[end]]) > overlap:
            back += 1
        start = back


def rewritten(dialogue: Dialogue, counts: Sequence[int], way: str, writer: Writer) -> tuple[Part, ...]:
    """The parts of a record that is too long; none where no part of it could be short enough, as its answer alone is too long."""
    whole = Part(dialogue.messages, tuple(counts))
    fixed = sum(message.role == SYSTEM for message in dialogue.messages[:1])
    found = (_window(dialogue, whole, fixed, writer),) if way == WINDOW else tuple(_parts(dialogue, whole, fixed, writer))
    return tuple(part for part in found if part is not None) if None not in found else ()


def _run(whole: Part, fixed: int, start: int, end: int) -> Part:
    """The system message and the messages from ``start`` to ``end``."""
    keep = [*range(min(fixed, start)), *range(start, end)]
    return Part(tuple(whole.messages[at] for at in keep), tuple(whole.counts[at] for at in keep))


def _window(dialogue: Dialogue, whole: Part, fixed: int, writer: Writer) -> Part | None:
    """The latest messages that fit, beginning with one that is no reply; else the end of the last question and its reply."""
    size = len(whole.messages)
    starts = [at for at in range(fixed, size) if whole.messages[at].role != ASSISTANT]
    for start in starts:
        part = _run(whole, fixed, start, size)
        if writer.fits(part, dialogue):
            return part
    return _shortened(dialogue, _run(whole, fixed, starts[-1], size), min(fixed, starts[-1]), writer) if starts else None


def _shortened(dialogue: Dialogue, part: Part, at: int, writer: Writer) -> Part | None:
    """With the message ``at`` cut to its longest end that fits, found by halving."""
    low, high, best = 1, part.counts[at], None
    while low <= high:
        middle = (low + high) // 2
        made = _with_text(part, at, last_tokens(part.messages[at].text, middle, writer.shears), writer)
        if made.counts[at] and writer.fits(made, dialogue):
            best, low = made, middle + 1
        else:
            high = middle - 1
    return best


def _with_text(part: Part, at: int, text: str, writer: Writer) -> Part:
    messages, counts = list(part.messages), list(part.counts)
    messages[at], counts[at] = messages[at]._replace(text=text), writer.shears.count(text)
    return part._replace(messages=tuple(messages), counts=tuple(counts))


def _parts(dialogue: Dialogue, whole: Part, fixed: int, writer: Writer) -> Iterator[Part | None]:
    """Runs of messages as long as they may be, each beginning with what the run before ended with."""
    start, size = fixed, len(whole.messages)
    while start < size:
        end = _furthest(dialogue, whole, fixed, start, writer)
        if end > start:
            yield _run(whole, fixed, start, end)
            start = size if end == size else _step_back(whole, start, end, writer.overlap_tokens)
            continue
        yield from _cut_message(dialogue, whole, fixed, start, writer)
        start = _after_reply(whole, start)


def _furthest(dialogue: Dialogue, whole: Part, fixed: int, start: int, writer: Writer) -> int:
    """Behind the last message of the longest run from ``start`` that fits and leaves no question of it to the next; ``start`` if none."""
    best = start
    for end in range(start + 1, len(whole.messages) + 1):
        if not writer.fits(_run(whole, fixed, start, end), dialogue):
            break
        is_whole = end == len(whole.messages) or whole.messages[end].role != ASSISTANT
        best = end if is_whole else best
    return best


def _after_reply(whole: Part, start: int) -> int:
    end = start + 1
    while end < len(whole.messages) and whole.messages[end].role == ASSISTANT:
        end += 1
    return end


def _step_back(whole: Part, start: int, end: int, overlap_tokens: int) -> int:
    """Where the next run begins: a question before ``end`` with no more tokens behind it than may be shared."""
    best, shared = end, 0
    for at in range(end - 1, start, -1):
        shared += whole.counts[at]
        if shared > overlap_tokens:
            break
        best = at if whole.messages[at].role != ASSISTANT else best
    return best


def _cut_message(dialogue: Dialogue, whole: Part, fixed: int, at: int, writer: Writer) -> Iterator[Part | None]:
    """One message in parts, the last with its reply; a nothing where the system message or the reply leaves no room."""
    run = _run(whole, fixed, at, _after_reply(whole, at))
    own = min(fixed, at)
    if run.messages[own].role == ASSISTANT:
        yield None
        return
    last = _shortened(dialogue, run, own, writer)
    if last is None:
        yield None
        return
    reply = run.counts[own + 1] if len(run.counts) > own + 1 and dialogue.answer_tokens is None else None
    alone = Part(run.messages[: own + 1], run.counts[: own + 1], reply)
    room = _shortened(dialogue if reply is None else dialogue._replace(answer_tokens=reply), alone, own, writer)
    most = (room or last).counts[own]
    text = run.messages[own].text
    texts = [text[start:end] for start, end in spans(text, most, min(writer.overlap_tokens, most - 1), writer.shears)]
    for text in texts[:-1]:
        yield _with_text(alone, own, text, writer)
    yield last if len(texts) > 1 or last.counts[own] < run.counts[own] else run
