"""The command in a log, and the settings that an engine repeats there as Python values."""

import re
from collections.abc import Mapping
from shlex import split
from typing import Final

_LONGEST: Final = 4000  # letters of a command
_ANYWHERE: Final = r"(?:\S*/)?"
_PROGRAMS: Final = (
    r"(?:\S*/)?vllm serve |(?:\S*/)?python3?(?:\.\d+)? (?:-\w+ )*-m "
    r"(?:vllm|sglang|ullage\.runtime|ipex_llm|ktransformers|fastchat)[\w.]* "
    r"|(?:\S*/)?(?:llama-server|llama-cli|llama-bench|llama-perplexity|main|server)(?:\.exe)? +-|(?:\S*/)?sglang serve |transformers serve "
    r"|(?:\S*/)?python3? \S*(?:ktransformers|local_chat|sglang|exllama|tabby)\S* |koboldcpp\S* |ollama (?:run|serve)"
)
_STARTS: Final = re.compile(
    r"(?:^|[\s;&\"'`$+\[(]|CMD |args: )(?P<command>(?:[A-Z][A-Z0-9_]+=\S+ +)*(?:exec +|numactl (?:\S+ +)*?|nohup +|sudo +|env +)?"
    rf"(?:{_PROGRAMS}).{{0,{_LONGEST}}})"
)
FOUND: Final = (re.compile(_PROGRAMS.replace(_ANYWHERE, "")),)  # in every line that holds a command
_PROSE = re.compile(r"\b(?:serve|run) (?:with|to|and|is|was|for|or|the|will|can|does|command|in|on|as)\b")
_ENDS = re.compile(r"\s(?:&&|\|\|?|;|2?>+|&>)\s?.*$|\s#\s.*$")
_EXAMPLE: Final = "MODEL"  # stands where a usage means any
_ITEM = re.compile(r"""['"]?(?P<key>[a-z][a-z0-9_]{0,60})['"]?\s?[=:]\s?(?P<value>'[^']{0,300}'|"[^"]{0,300}"|[\w./+-]{1,100})""")
_NOT_SAID: Final = frozenset({"None", "False", "auto", "null", ""})
_MOST, _MOST_COMMANDS = 400, 20


def command_of(text: str) -> tuple[str, ...] | None:
    """The words of an engine's command that a line holds, environment first, or None."""
    match = _STARTS.search(text)
    if match is None or _PROSE.search(match["command"]):
        return None
    command = match["command"]
    if text[: match.start("command")].endswith("`"):  # in the middle of prose
        command = command.partition("`")[0]
    line = _ENDS.sub("", command).strip().rstrip("\\").strip("'\"` ")
    try:
        words = split(line)
    except ValueError:
        words = line.split()
    while words and words[0] in {"exec", "nohup", "sudo", "env"}:
        words = words[1:]
    if words[:1] == ["numactl"]:
        first = next((index for index, word in enumerate(words[1:], 1) if word.endswith(("python", "python3")) or "/" in word), len(words))
        words = words[first:]
    return tuple(words) if words and _EXAMPLE not in words else None


def continues(text: str) -> bool:
    """Whether a shell line goes on in the next."""
    return text.rstrip().endswith("\\")


class Commands:
    """The commands of a log, also those that go on over lines."""

    def __init__(self) -> None:
        self.found: list[tuple[int, tuple[str, ...]]] = []
        self.open = ""  # one that goes on in the next line
        self._most = 0  # letters of it that are read

    def take(self, number: int, text: str) -> bool:
        """Note a line; whether it belongs to a command."""
        if self.open:
            if len(self.open) < self._most:
                self.open = f"{self.open.rstrip().rstrip(chr(92))} {text.strip()[:_LONGEST]}"
            if continues(text):
                return True
            text, self.open = self.open.rstrip().rstrip("\\"), ""
        found = command_of(text) if len(self.found) < _MOST_COMMANDS else None
        if found is None:
            return False
        if continues(text):
            self.open, self._most = text, len(text) + _LONGEST
            return True
        self.found.append((number, found))
        return True


def arguments_of(said: str) -> dict[str, str]:
    """``key=value`` and ``'key': value`` pairs of a Python value printed in one line; what was not said is left out."""
    found: dict[str, str] = {}
    for match in _ITEM.finditer(said[:LONGEST_ARGUMENTS]):
        value = match["value"].strip("'\"")
        if value not in _NOT_SAID and match["key"] not in found:
            found[match["key"]] = value
        if len(found) >= _MOST:
            break
    return found


LONGEST_ARGUMENTS = 16384


def as_words(arguments: Mapping[str, str], known: frozenset[str]) -> tuple[str, ...]:
    """Those of the arguments that are ``known`` settings, as options of a command line."""
    words: list[str] = []
    for key, value in arguments.items():
        if key not in known:
            continue
        flag = "--" + key.replace("_", "-")
        words.extend([flag] if value == "True" else [flag, value])
    return tuple(words)
