"""What a log holds that matters, gathered in one pass and in a bounded space, however long it is."""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final

from ullage.catalog.death_messages import read_death
from ullage.catalog.devices import card_in
from ullage.catalog.loose_words import read_least
from ullage.catalog.traceback_frames import AFTER_FACT, mark_of
from ullage.catalog.unplanned import PROGRAMS
from ullage.domain.cause import FirstAid, Log, Sighting, Stage
from ullage.domain.engine import Engine
from ullage.domain.facts import Fact
from ullage.frozen import replace
from ullage.planning.diagnose_asked import FIRST, LAST, RECENT, Asked, Kept, asked, recognised
from ullage.planning.diagnose_command import Commands, arguments_of
from ullage.planning.diagnose_frames import Frames, Trace
from ullage.planning.diagnose_lines import Bare, goes_on, is_cut, is_of_request, pieces_of
from ullage.planning.diagnose_passed import FIRST_LINES, PASSED, Passed, is_answer
from ullage.planning.diagnose_prose import Prose
from ullage.planning.diagnose_sieve import ANSWERED, BLANK, DULL, READ, Sieve, Worth, with_forms

_SHOWN = 240  # letters of a line that are kept
_MOST_SHAPES, _MOST_JOINED = 20_000, 5
_NUMBERED = re.compile(r"(?<!\S)[^\s\d]*\d\S*")  # a word with a number; begun at its start, so that a long word costs its length
_NUMBERED_PARTS = re.compile(r"\d+")
# Words of lines that are always read: in these a number alone tells a death from an ordinary end.
_TELLING_WORDS: Final = ("exit", "signal", "status", "rror", "emory", "llocat", "illed", "xception", "OOM")
_OFTEN, _DECIDED = 20, 400  # sightings of one shape of line, and lines that say something, after which less is read


def gather(lines: Iterable[str], engines: Mapping[str, Engine], aids: Mapping[str, FirstAid], wanted: str | None = None) -> Log:
    """The facts, stages and commands of a log. ``wanted`` names the engine; else it is recognised by its own words."""
    reader = _Reader(engines, aids, wanted)
    reader.read(lines)
    return reader.log()


class _Reader:
    """Everything noted so far."""

    def __init__(self, engines: Mapping[str, Engine], aids: Mapping[str, FirstAid], wanted: str | None) -> None:
        chosen = {wanted: engines[wanted]} if wanted is not None else engines
        self._engines = {name: asked(known.read_log_line, aids.get(name, FirstAid())) for name, known in chosen.items()}
        if wanted is None:
            self._engines |= {name: asked(program.read, program.aid) for name, program in PROGRAMS.items()}
        self._wanted = wanted
        self._read_death, self._read_least = lru_cache(RECENT)(read_death), lru_cache(RECENT)(read_least)
        self._common: dict[str, Kept] = {}
        self._least: dict[str, Kept] = {}
        self._stages: list[tuple[Stage, int]] = []
        self._frames, self._prose = Frames(), Prose()
        self._commands, self._sieve, self._passed = Commands(), Sieve(), Passed(self._engines.values())
        self._dull: set[int] = set()  # shapes, by their hash: a shape can be as long as a line
        self._counted: set[int] = set()
        self._often: dict[int, int] = {}
        self._later: dict[int, Worth] = {}  # the last line of shapes that come again and again
        self._looked: set[str] = set()
        self._read_lines = 0
        self._is_between = True  # what the next line says does not hang on the last one
        self._open: Bare | None = None  # an allocator's sentence cut by a terminal's width
        self._joined = 0
        self._lines = self._answered = 0
        self._card = ""

    def read(self, lines: Iterable[str]) -> None:
        """Note every line; of one whose form was seen, what that came to."""
        known, number = self._sieve.known, 0
        for some, forms in with_forms(lines):
            passed = self._passed.among(number, some, forms, known)
            for line, form in zip(some, forms, strict=False):
                number += 1
                worth = known.get(hash(form)) if self._is_between else None
                if passed and self._is_between and (worth is None or worth.is_telling):
                    worth = passed.get(number, worth)
                if worth is DULL:
                    self._lines = number
                elif worth is ANSWERED:
                    self._lines = number
                    self._answered += 1
                elif worth is not PASSED:
                    self._pass(number, line, self._look(number, line, form) if worth is None or worth.is_telling else worth)
            self._end_of(passed, some, number)

    def _end_of(self, passed: dict[int, Worth], lines: Sequence[str], number: int) -> None:
        """Count up to the last line that holds something, among those that were passed over."""
        for at in reversed(passed):
            if at <= self._lines or pieces_of(at, lines[at - number - 1]):
                self._lines = max(self._lines, at)
                return

    def _pass(self, number: int, line: str, worth: Worth) -> None:
        """Note a line by what those of its form come to."""
        self._lines = number if worth.is_line else self._lines
        self._answered += worth.answers
        if worth.stage is not None:
            self._reach(worth.stage, number)
        if worth.is_last_kept:
            worth.number, worth.line = number, line

    def _look(self, number: int, line: str, form: bytes) -> Worth:
        """What a line of a new form comes to."""
        was_between = self._is_between
        known = self._sieve.nearly(form, line) if was_between else None
        if known is not None:
            return known
        pieces = pieces_of(number, line)
        worths = [self.take(piece) for piece in pieces]
        self._is_between = self._open is None and not self._frames.waits and not self._commands.open
        if len(pieces) > 1 or not (was_between and self._is_between) or self._frames.took:  # what was taken is not the line alone
            self._answered += sum(worth.answers for worth in worths)
            return READ if pieces else BLANK
        worth = worths[0] if worths else BLANK
        if worth is not READ:
            self._sieve.learn(form, line, pieces, worth)
        return worth

    def take(self, line: Bare) -> Worth:
        """Note one line; what the next of its shape comes to."""
        line = self._whole(line)
        file = self._frames.take(line)
        if file is not None:
            self._prose.is_written = True
            self._sign(file)
            return READ
        if line.before:
            self._sign(_NUMBERED_PARTS.sub("0", line.before))
        if is_answer(line.text):
            return ANSWERED
        if is_of_request(line.text):
            return READ
        shape = hash(_NUMBERED.sub("0", line.text))
        if line.number <= FIRST_LINES:
            self._prose.take(line, shape)
        if shape in self._dull:
            return DULL
        if self._often.get(shape, 0) >= _OFTEN:
            worth = self._later.setdefault(shape, Worth(is_last_kept=True))
            worth.number, worth.line = line.number, line
            return worth
        return self._noted(line, shape)

    def _noted(self, line: Bare, shape: int) -> Worth:
        """Ask what a line says, and remember how often its shape was asked."""
        if any(word in line.text for word in _TELLING_WORDS):
            return self._told(line, shape)
        says = self._interesting(line)
        worth = READ
        if says and len(self._often) < _MOST_SHAPES:
            self._often[shape] = self._often.get(shape, 0) + 1
        elif not says and len(self._dull) < _MOST_SHAPES:
            self._dull.add(shape)
            worth = DULL
        if says:
            self._decide()
        return worth

    def _told(self, line: Bare, shape: int) -> Worth:
        """Ask what a line says that could say it by a number; of one shape, the engine's words in it count once."""
        before = [(engine, engine.signed, engine.said_at) for engine in self._engines.values()]
        stage, says = self._mark(line), self._states(line)
        if shape in self._counted:
            for engine, signed, _ in before:
                engine.signed = signed
        elif len(self._counted) < _MOST_SHAPES:
            self._counted.add(shape)
        return READ if says or any(engine.said_at != at for engine, _, at in before) else Worth(is_telling=True, stage=stage)

    def _sign(self, words: str) -> None:
        """Note whose words a file's path, or what stands before a line, are. Each is looked at once."""
        if words in self._looked or len(self._looked) >= _MOST_SHAPES:
            return
        self._looked.add(words)
        for engine in self._engines.values():
            engine.signed += any(sign.search(words) is not None for sign in engine.signs)

    def _decide(self) -> None:
        """After a while only the engines whose own words were seen, and those they could be mistaken for, are asked."""
        self._read_lines += 1
        if self._read_lines != _DECIDED:
            return
        signed = {name for name, engine in self._engines.items() if engine.signed}
        if signed:
            behind = {name for engine in signed for name in self._engines[engine].aid.stands_before}
            forks = {name for name, engine in self._engines.items() if set(engine.aid.stands_before) & (signed - behind)}
            self._engines = {name: engine for name, engine in self._engines.items() if name in (signed - behind) | forks}

    def _whole(self, line: Bare) -> Bare:
        """A sentence that a terminal cut is read with what follows it."""
        if self._open is not None and self._joined < _MOST_JOINED and goes_on(line.text):
            self._joined += 1
            line = Bare(self._open.number, f"{self._open.text} {line.text.strip()}", self._open.rank)
        self._open = line if is_cut(line.text) else None
        if self._open is None:
            self._joined = 0
        return line

    def _interesting(self, line: Bare) -> bool:
        """Note what a line says; False when it says nothing."""
        is_mark = self._mark(line) is not None
        return self._states(line) or is_mark

    def _mark(self, line: Bare) -> Stage | None:
        stage = mark_of(line.text)
        if stage is not None:
            self._reach(stage, line.number)
        return stage

    def _states(self, line: Bare) -> bool:
        """Note what a line says beside how far the run came."""
        text = line.text
        found = self._commands.take(line.number, line.text)
        self._card = self._card or card_in(text)
        seen = [self._read(engine, line) for engine in self._engines.values()]
        death = self._read_death(text)
        if death is not None:
            self._keep(self._common, line, death)
        elif (least := self._read_least(text)) is not None:
            self._keep(self._least, line, least)
            found = True
        return found or any(seen) or death is not None

    def _read(self, engine: Asked, line: Bare) -> bool:
        for sign in engine.signs:
            match = sign.search(line.text)
            if match is not None:
                engine.signed += 1
                engine.version = engine.version or match.groupdict().get("version")
        for pattern in engine.arguments:
            match = pattern.search(line.text)
            if match is not None:
                engine.said = {**engine.said, **arguments_of(match["said"])}
                engine.said_at = line.number
        for index, advice in enumerate(engine.advice):
            if index not in engine.advised and (given := advice.search(line.text)) is not None:
                start = max(0, given.end() - _SHOWN // 2) if given.end() > _SHOWN else 0  # a long line is shown where the advice stands
                engine.advised[index] = (line.number, index, line.text[start:].strip()[:_SHOWN])
        fact = engine.read(line.text)
        if fact is None:
            return False
        if fact.name == "version":
            engine.version, engine.signed = str(fact.value), engine.signed + 1
        self._keep(engine.kept, line, fact)
        after = AFTER_FACT.get(fact.name) if mark_of(line.text) is None else None
        if after is not None:
            self._reach(after, line.number)
        return True

    def _reach(self, stage: Stage, number: int) -> None:
        if not self._stages or self._stages[-1][0] is not stage:
            self._stages.append((stage, number))
            del self._stages[FIRST : -LAST * 4]

    def _keep(self, kept: dict[str, Kept], line: Bare, fact: Fact) -> None:
        trace = self._frames.above(line) if fact.is_error else Trace()
        frames, source = tuple(trace.names), tuple(trace.source)
        seen = Sighting(line=line.number, fact=fact, text=line.text.strip()[:_SHOWN], rank=line.rank, frames=frames, source=source)
        kept.setdefault(fact.name, Kept()).add(seen)

    def log(self) -> Log:
        """What was gathered."""
        for line in sorted(worth.last() for worth in self._later.values()):
            self._interesting(line)
        name = self._wanted or recognised(self._engines)
        engine = self._engines.get(name) if name is not None else None
        tables = [self._common, *([engine.kept] if engine is not None else [])]
        seen = [seen for kept in tables for one in kept.values() for seen in (*one.first, *one.last)]
        if not any(seen.fact.is_error for seen in seen):
            seen += [seen for one in self._least.values() for seen in (*one.first, *one.last)]
        if not self._wanted and self._prose.is_all(seen, has_run=bool(self._commands.found or self._answered)):
            return Log(lines=self._lines, engine=None, version=None, sightings=())
        seen = [self._with_frames_below(one) for one in seen]
        return Log(
            lines=self._lines,
            engine=name,
            version=engine.version if engine is not None else None,
            sightings=tuple(sorted(seen, key=lambda one: one.line)),
            stages=tuple(sorted(self._stages, key=lambda mark: mark[1])),
            commands=tuple(self._commands.found),
            arguments=tuple(engine.said.items()) if engine is not None else (),
            arguments_line=engine.said_at if engine is not None else 0,
            card=self._card,
            requests=self._answered,
            advice=tuple(engine.advised.values()) if engine is not None else (),
        )

    def _with_frames_below(self, seen: Sighting) -> Sighting:
        """An error that stands above its traceback, as a headline or as a logger writes it, with that traceback's functions."""
        if seen.frames or not seen.fact.is_error:
            return seen
        trace = self._frames.below(seen.line, seen.rank)
        return replace(seen, frames=tuple(trace.names), source=tuple(trace.source))
