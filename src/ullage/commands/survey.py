"""A file of requests read, counted, filtered and written again, in bounded memory."""

from collections.abc import Iterator
from typing import NamedTuple

from ullage.commands._gathered import Gathered
from ullage.commands.tokens import find_counter
from ullage.domain.survey import Survey
from ullage.errors import InputError, MalformedFileError, WorldError
from ullage.planning.dialogues import Dialogue, read_dialogue, with_answer, with_messages
from ullage.planning.requests import Limits, Rules, is_too_long, reason_to_drop, requests_of, turns_of
from ullage.planning.rewrite import Part, Shears, Writer, rewritten
from ullage.ports import DataSet, Record, RecordWriter, World

_LIST_CHARACTERS, _LIST_TEXTS = 1 << 20, 1024
_TEXTS = ("jsonl", "ndjson", "json", "txt", "csv")
# Endings of names that say another format than the one that data is written in.
_OTHERS = {"json": ("jsonl", "ndjson", "parquet"), "jsonl": ("parquet",), "text": ("parquet",), "parquet": _TEXTS}


class Order(NamedTuple):
    """What to do with a file: count it by this, keep these, put them there, and rewrite those too long."""

    path: str
    rules: Rules
    limits: Limits = Limits()
    by_template: bool = True  # what surrounds a message is counted by the model's chat template
    tokenizer: str | None = None
    model: str | None = None
    split: str | None = None
    overlap_tokens: int = 0
    kept: str | None = None
    dropped: str | None = None
    summary: str | None = None  # written behind all else


class _Read(NamedTuple):
    record: Record
    dialogue: Dialogue | None
    why: str


def survey(order: Order, world: World) -> Survey:
    """The file, counted. Raises every error; MalformedFileError only where no record could be read."""
    data = world.data.open(order.path)
    if data is None:
        raise WorldError(f"{order.path} does not exist: give a .json, .jsonl, .txt or .parquet file")
    _check_written(order, data, world)
    found = find_counter(order.tokenizer, order.model, world, nbytes=data.nbytes)
    counter = found.counter
    if order.by_template:
        order = order._replace(rules=found.around(order.rules))
    shears = Shears(lambda text: counter.count([text])[0], counter.boundaries)
    desk = _Desk(order, data, Writer(order.limits, order.rules, shears, order.overlap_tokens))
    for reads, counts in counter.count_batches(_lists(data)):
        desk.seen.counted_tokens += sum(counts)
        at = 0
        for read in reads:
            size = len(read.dialogue.messages) if read.dialogue is not None else 0
            desk.take(read, tuple(counts[at : at + size]))
            at += size
    seen = desk.seen
    if seen.malformed == seen.records:
        why = f"; the first, on line {seen.faults[0].line}: {seen.faults[0].why}" if seen.faults else ": it has none"
        raise MalformedFileError(f"no record of {order.path} could be read{why}")
    desk.close()
    return seen.survey(order.path, data, counter, found.notes)


def _check_written(order: Order, data: DataSet, world: World) -> None:
    """Raises InputError where a file that is read or written would be written over, and for a name that says another format."""
    taken = {world.data.place(order.path): "the data"}
    for option, path in (("--output", order.summary), ("--kept", order.kept), ("--dropped", order.dropped)):
        if path is None:
            continue
        place = world.data.place(path)
        if place in taken:
            raise InputError(f"{option} {path} would be written over {taken[place]}: give another file")
        taken[place] = option
        ending = path.rpartition(".")[2].lower()
        if option != "--output" and ending in _OTHERS[data.format]:
            raise InputError(f"{option} {path}: it is written in the format of the data, {data.format}: give a name that ends so")


def _lists(data: DataSet) -> Iterator[tuple[list[_Read], list[str]]]:
    """Records with their texts, as many at a time as are counted together."""
    reads, texts, size = list[_Read](), list[str](), 0
    for record in data.records():
        read = _read(record)
        reads.append(read)
        own = [message.text for message in read.dialogue.messages] if read.dialogue is not None else []
        texts += own
        size += sum(map(len, own))
        if size > _LIST_CHARACTERS or len(texts) > _LIST_TEXTS or len(reads) > _LIST_TEXTS:
            yield reads, texts
            reads, texts, size = [], [], 0
    if reads:
        yield reads, texts


def _read(record: Record) -> _Read:
    if record.why:
        return _Read(record, None, record.why)
    try:
        return _Read(record, read_dialogue(record.value), "")
    except MalformedFileError as error:
        return _Read(record, None, str(error))


class _Desk:
    """Where counted records are sorted: kept, dropped with a reason, or written anew."""

    def __init__(self, order: Order, data: DataSet, writer: Writer) -> None:
        self.seen = Gathered()
        self._order, self._writer = order, writer
        self._has_keys = data.format != "text"
        self._kept: RecordWriter | None = data.writer(order.kept) if order.kept is not None else None
        self._dropped: RecordWriter | None = data.writer(order.dropped) if order.dropped is not None else None

    def take(self, read: _Read, counts: tuple[int, ...]) -> None:
        """One record with the counts of its messages."""
        self.seen.records += 1
        if read.dialogue is None:
            self.seen.fault(read.record, read.why)
            self._put_dropped(read.record, f"not understood: {read.why}")
            return
        parts = self._parts(read.dialogue, counts)
        if not parts:
            self._sort(read.record, read.dialogue, counts)
            return
        self.seen.rewritten += 1
        self.seen.cut_requests += len(requests_of(read.dialogue, counts, self._order.rules))
        for number, part in enumerate(parts, 1):
            value = with_messages(read.record.value, read.dialogue, part.messages, f"part{number}")
            dialogue = read.dialogue._replace(messages=part.messages)
            if part.answer_tokens is not None:
                dialogue = dialogue._replace(answer_tokens=part.answer_tokens)
                value = with_answer(value, dialogue) if self._has_keys else value
            self.seen.cut_requests -= len(requests_of(dialogue, part.counts, self._order.rules))
            self._sort(Record(read.record.number, read.record.line, value), dialogue, part.counts)

    def close(self) -> None:
        """Put the files in their places."""
        for file in (self._kept, self._dropped):
            if file is not None:
                file.close()

    def _parts(self, dialogue: Dialogue, counts: tuple[int, ...]) -> tuple[Part, ...]:
        order = self._order
        if order.split is None or not dialogue.messages or not is_too_long(requests_of(dialogue, counts, order.rules), order.limits):
            return ()
        return rewritten(dialogue, counts, order.split, self._writer)

    def _sort(self, record: Record, dialogue: Dialogue, counts: tuple[int, ...]) -> None:
        asked = requests_of(dialogue, counts, self._order.rules)
        reason = reason_to_drop(asked, turns_of(dialogue), self._order.limits)
        if reason:
            self.seen.drop(reason)
            self._put_dropped(record, reason)
            return
        self.seen.keep(dialogue, asked)
        if self._kept is not None:
            self._kept.write(record)

    def _put_dropped(self, record: Record, reason: str) -> None:
        if self._dropped is not None:
            self._dropped.write(record, dropped=reason)
