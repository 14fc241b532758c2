"""Read the options of a command line as vLLM's parser of a release would. Never fails: what is wrong becomes a finding."""

import shlex

from ullage import wire
from ullage.domain.case import Value
from ullage.domain.hyperparameters import Json
from ullage.domain.plan import Finding
from ullage.engines.vllm import option_findings as say
from ullage.engines.vllm.flags import flag_called
from ullage.engines.vllm.flags_kinds import Flag, Kind, Release
from ullage.engines.vllm.flags_values import out_of_bounds, read_value, shown
from ullage.engines.vllm.option_match import Match, match_option, tidy
from ullage.errors import InputError, UllageError
from ullage.frozen import dataclass

_SWITCH_WORDS = frozenset({"true", "false", "yes", "no", "on", "off", "0", "1"})
_OFF_WORDS = frozenset({"false", "no", "off", "0"})
_DEEPEST = 16
_NO_VALUE = frozenset({Kind.SWITCH, Kind.PAIR})


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was read: settings by the engine's names (the last of a repeated flag), positional words, and findings."""

    settings: dict[str, Value]
    words: tuple[str, ...]
    findings: tuple[Finding, ...]


def read_options(args: tuple[str, ...], at: Release, *, places: int) -> Options:
    """Read ``args``; ``places`` is how many positional words the release's parser takes."""
    return _Scan(args, at, places).run()


class _Scan:
    """One pass over the words, left to right."""

    def __init__(self, args: tuple[str, ...], at: Release, places: int) -> None:
        self._words = [tidy(word, at) for word in args]
        self._at = at
        self._places = places
        self._index = 0
        self._settings: dict[str, Value] = {}
        self._objects: dict[str, dict[str, Json]] = {}
        self._free: list[str] = []
        self._findings: list[Finding] = []

    def run(self) -> Options:
        while self._index < len(self._words):
            word = self._words[self._index]
            self._index += 1
            if word == "--":
                for free in self._words[self._index :]:
                    self._positional(free)
                break
            match = match_option(word, self._at)
            if match is None:
                self._positional(word)
            else:
                self._option(word, match)
        for name, keys in self._objects.items():
            self._settings[name] = wire.dumps(keys)
        return Options(settings=self._settings, words=tuple(self._free), findings=tuple(self._findings))

    def _positional(self, word: str) -> None:
        if len(self._free) < self._places:
            self._free.append(word)
            return
        self._findings.append(Finding(text=f"vLLM {say.written(self._at)} stops with `error: unrecognized arguments: {word}`"))

    def _option(self, word: str, match: Match) -> None:
        if match.spelling is None:
            self._without_meaning(word, match)
            return
        flag = match.spelling.flag
        if match.full != match.text:
            self._findings.append(say.abbreviated(match))
        if match.keys:
            self._key(flag, match)
            return
        if flag.setting in self._settings and flag.name != "middleware":
            self._findings.append(say.repeated(flag))
        kind = flag.kind_in(self._at)
        if kind in _NO_VALUE:
            self._switch(flag, match, positive=match.spelling.positive)
        elif kind is Kind.LIST:
            self._list(flag, match)
        elif kind in {Kind.YES_NO, Kind.OPTIONAL}:
            self._optional(flag, match)
        else:
            text = match.explicit if match.explicit is not None else self._next()
            if text is None:
                self._findings.append(Finding(text=f"vLLM stops with `error: argument {flag.option}: expected one argument`"))
            else:
                self._set(flag, text)

    def _next(self) -> str | None:
        """The next word if it can be a value."""
        if self._index >= len(self._words):
            return None
        word = self._words[self._index]
        if word == "--" or match_option(word, self._at) is not None:
            return None
        self._index += 1
        return word

    def _set(self, flag: Flag, text: str) -> None:
        try:
            value = read_value(flag, text, self._at)
        except InputError as error:
            self._findings.append(Finding(text=f"vLLM {say.written(self._at)} stops: {error}"))
            return
        problem = out_of_bounds(flag.setting, value)
        if problem:
            self._findings.append(Finding(text=f"vLLM stops after reading the command: {problem}"))
        self._settings[flag.setting] = value

    def _switch(self, flag: Flag, match: Match, *, positive: bool) -> None:
        self._settings[flag.setting] = positive
        if match.explicit is not None:
            self._findings.append(say.takes_no_value(match, flag))
            self._settings[flag.setting] = positive is not (match.explicit.lower() in _OFF_WORDS)
            return
        following = self._words[self._index] if self._index < len(self._words) else ""
        if following.lower() in _SWITCH_WORDS:
            self._index += 1
            as_model = len(self._free) < self._places
            self._findings.append(say.swallowed(match, flag, following, as_model=as_model))
            if as_model:
                self._free.append(following)
            else:
                self._settings[flag.setting] = positive is not (following.lower() in _OFF_WORDS)

    def _list(self, flag: Flag, match: Match) -> None:
        words = [] if match.explicit is None else [match.explicit]
        while match.explicit is None and (word := self._next()) is not None:
            words.append(word)
        if not words:
            self._findings.append(Finding(text=f"vLLM stops with `error: argument {flag.option}: expected at least one argument`"))
            return
        self._settings[flag.setting] = shlex.join(words)

    def _optional(self, flag: Flag, match: Match) -> None:
        text = match.explicit if match.explicit is not None else self._next()
        if text is None:
            self._settings[flag.setting] = True
        else:
            self._set(flag, text)

    def _key(self, flag: Flag, match: Match) -> None:
        """``--name.key value``: gathered into one JSON object per flag."""
        text = match.explicit if match.explicit is not None else self._next()
        name = ".".join((flag.option, *match.keys[:_DEEPEST]))
        if len(match.keys) > _DEEPEST:
            self._findings.append(Finding(text=f"{name}… is nested deeper than {_DEEPEST} keys"))
            return
        if text is None:
            self._findings.append(Finding(text=f"vLLM stops: {name} stands without a value"))
            return
        if flag.kind_in(self._at) is not Kind.JSON:
            self._findings.append(Finding(text=f"vLLM stops: {flag.option} takes one value and has no keys, but {name} was written"))
            return
        value = _loose_json(text)
        target = self._objects.setdefault(flag.setting, {})
        *path, last = match.keys
        for key in path:
            inner = target.get(key)
            if not isinstance(inner, dict):
                inner = {}
                target[key] = inner
            target = inner
        before = target.get(last)
        target[last] = ([*before] if isinstance(before, list) else []) + list(text.split(",")) if match.adds else value

    def _without_meaning(self, word: str, match: Match) -> None:
        """An option of no or several meanings; a flag of another release keeps its value, so that the plan can use it."""
        flag = flag_called(match.text) if match.text.startswith("--") else None
        words: tuple[str, ...] = (word,)
        takes_value = match.explicit is None and (flag is None or flag.kind not in _NO_VALUE)
        if takes_value and (flag is not None or self._spare_words()):
            text = self._next()
            words = words if text is None else (word, text)
        if len(match.candidates) > 1:
            self._findings.append(say.ambiguous(match, self._at))
        else:
            self._findings.append(say.unrecognised(match, words, self._at))
        if flag is not None:
            self._keep(flag, match.explicit if match.explicit is not None else words[1] if len(words) > 1 else None)

    def _spare_words(self) -> bool:
        """Whether the next word can be an unknown flag's value: it is not the only word left that could name the model."""
        if len(self._free) >= self._places:
            return True
        rest = self._words[self._index :]
        return len([word for word in rest if match_option(word, self._at) is None]) > 1

    def _keep(self, flag: Flag, text: str | None) -> None:
        try:
            value = True if text is None and flag.kind in _NO_VALUE else None if text is None else read_value(flag, text, flag.first)
        except InputError:
            self._findings.append(say.remark(f"{shown(text or '')} is no value of {flag.option} either"))
            return
        if value is not None:
            self._settings[flag.setting] = value


def _loose_json(text: str) -> Json:
    try:
        return wire.loads(text)
    except UllageError:
        return text
