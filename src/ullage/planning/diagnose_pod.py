"""What the description of a pod or a container says beside its end: the image and its release, the command, the limit of memory."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from ullage.domain.cause import Log
from ullage.frozen import replace
from ullage.units import parse_bytes

_KEY = re.compile(r"(?P<indent>\s*(?:- )?)(?P<key>Image|Command|Args|Limits|Requests|image|command|args|limits|requests):\s*(?P<value>.*)$")
_MEMORY = re.compile(r"\s*memory:\s*[\"']?(?P<size>\d[\d.]*)(?P<unit>[KMGT]i?)?[\"']?\s*$")
_TAG = re.compile(r":v?(?P<version>\d+(?:\.\d+)+(?:\.?(?:post|rc)\d+)?)\S*$")
_WORD = re.compile(r"\"([^\"]*)\"|'([^']*)'|([^\s,\[\]]+)")
_KILLED: Final = "OOMKilled"
_MOST_WORDS = 200


class Described:
    """One container after the other, as the lines of a description pass; the one that was killed counts, else the last."""

    def __init__(self) -> None:
        self.image, self.limit = "", ""
        self.words: dict[str, list[str]] = {}
        self._block, self._indent, self._is_killed = "", 0, False

    def passing(self, lines: Iterable[str]) -> Iterator[str]:
        """The same lines, looked at on their way."""
        for line in lines:
            if line[:1] in {" ", "-", "I", "i"} and len(line) < _MOST_WORDS * 2:
                self._look(line.rstrip())
            yield line

    def _look(self, line: str) -> None:
        self._is_killed = self._is_killed or (_KILLED in line and bool(self.image))
        match = _KEY.match(line)
        indent = len(line) - len(line.lstrip(" -"))
        if match is not None:
            key, value = match["key"].lower(), match["value"]
            if key == "image":
                self._begin(value)
            self._block, self._indent = key, len(match["indent"])
            if value and key in {"command", "args"} and not self._is_past():
                self.words[key] = _words(value)
        elif self._block and line.strip() and (indent > self._indent or line.lstrip().startswith("- ")):
            self._inside(line)
        elif line.strip():
            self._block = ""

    def _is_past(self) -> bool:
        """Whether the container that was killed has been told whole, and this is another's."""
        return self._is_killed and bool(self.limit)

    def _begin(self, image: str) -> None:
        if not self._is_killed:
            self.image, self.limit, self.words = image.strip("\"' "), "", {}

    def _inside(self, line: str) -> None:
        memory = _MEMORY.match(line)
        if self._block == "limits" and memory is not None and not self.limit:
            self.limit = f"{memory['size']}{memory['unit'] or ''}"
        elif self._block in {"command", "args"} and not self._is_past():
            words = self.words.setdefault(self._block, [])
            if len(words) < _MOST_WORDS:
                words.append(line.strip().removeprefix("- ").strip("\"'"))

    @property
    def argv(self) -> tuple[str, ...]:
        """The command as it was started; of an image whose entry point serves, with that."""
        words = (*self.words.get("command", ()), *self.words.get("args", ()))
        starts = ("vllm", "serve") if words and "command" not in self.words and "vllm" in self.image else ()
        return (*starts, *words)

    def into(self, log: Log) -> Log:
        """The log with what the description tells."""
        tag = _TAG.search(self.image)
        return replace(
            log,
            version=log.version or (tag["version"] if tag is not None else None),
            commands=log.commands or (((0, self.argv),) if self.argv else ()),
            host_limit_bytes=_bytes(self.limit),
        )


def _words(value: str) -> list[str]:
    return ["".join(found) for found in _WORD.findall(value)]


def _bytes(text: str) -> int | None:
    """A quantity as Kubernetes writes it: 32Gi, 32G, or bytes."""
    if not text:
        return None
    return parse_bytes(f"{text}B" if text[-1].isalpha() else f"{text} B")
