"""One question: this model, this engine at this version, on this machine, for this workload, with these settings."""

from functools import cached_property

from ullage.domain.architecture import Architecture
from ullage.domain.checkpoint import Checkpoint
from ullage.domain.machine import Device, Machine
from ullage.domain.placement import Parallel
from ullage.domain.workload import Workload
from ullage.frozen import dataclass, field, replace

Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """A release as numbers; ``text`` is what a person wrote."""

    parts: tuple[int, ...]
    text: str = field(default="", compare=False)

    @classmethod
    def of(cls, text: str) -> "Version":
        """``0.10.2`` as a version; every part is a number."""
        return cls(tuple(int(part) for part in text.split(".")), text)

    def __str__(self) -> str:
        return self.text or ".".join(str(part) for part in self.parts)


@dataclass(frozen=True)
class Settings:
    """An engine's settings in the engine's own names; what is not there was not said.

    Without slots, so that the table by name is made once: a case is asked for its settings a hundred times.
    """

    items: tuple[tuple[str, Value], ...] = ()

    @classmethod
    def of(cls, values: dict[str, Value]) -> "Settings":
        """From a dictionary, sorted by name."""
        return cls(tuple(sorted(values.items())))

    def get(self, name: str) -> Value:
        """The value, or None when it was not said."""
        return self._by_name.get(name)

    def integer(self, name: str) -> int | None:
        """A whole number, or None."""
        value = self.get(name)
        return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    def number(self, name: str) -> float | None:
        """A number, or None."""
        value = self.get(name)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    def text(self, name: str) -> str | None:
        """A word, or None."""
        value = self.get(name)
        return value if isinstance(value, str) else None

    def flag(self, name: str) -> bool | None:
        """True, False, or None when it was not said."""
        value = self.get(name)
        return value if isinstance(value, bool) else None

    def has(self, name: str) -> bool:
        """Whether it was said."""
        return name in self._by_name

    @cached_property
    def _by_name(self) -> dict[str, Value]:
        return dict(self.items)

    def with_(self, **values: Value) -> "Settings":
        """A copy with some values set."""
        return Settings.of({**self._by_name, **values})

    def without(self, *names: str) -> "Settings":
        """A copy in which these were not said."""
        return Settings(tuple(item for item in self.items if item[0] not in names))


@dataclass(frozen=True, eq=False, kw_only=True)
class Model:
    """A model ready to be placed. Compared by identity, so that what is derived from it can be remembered."""

    name: str
    source: str  # where the configuration and headers came from
    architecture: Architecture
    checkpoint: Checkpoint
    parameters: int
    unread: tuple[str, ...] = ()  # configuration keys nobody read
    class_name: str = ""
    unquantised: Checkpoint | None = None  # the same tensors before a scheme was applied by rule
    path: str = ""  # where it lies on this machine, for one that does
    word: str = ""  # the scheme it is planned in by rule; empty for the model as published

    def __repr__(self) -> str:
        """Short, as there are hundreds of tensors."""
        return f"<Model {self.name}: {self.parameters} parameters, {self.checkpoint!r}>"

    @property
    def argument(self) -> str:
        """What an engine is told to load: the path, or the name it is published under."""
        return self.path or self.name

    @cached_property
    def is_quantised(self) -> bool:
        """Whether the stored format differs from the model's own dtype."""
        return self.unquantised is not None or self.checkpoint.scheme not in {"bfloat16", "float16", "float32"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A question in full. ``settings`` holds what was said and, after the engine resolved it, every default that matters.

    ``stated`` are the names of settings, and of "context", "concurrency", "parallel", "version", that a person gave.
    """

    model: Model
    engine: str
    version: Version
    machine: Machine
    parallel: Parallel = field(default_factory=Parallel)
    workload: Workload = field(default_factory=Workload)
    settings: Settings = field(default_factory=Settings)
    environment: tuple[tuple[str, str], ...] = ()
    stated: frozenset[str] = frozenset()

    @property
    def devices(self) -> tuple[Device, ...]:
        """The devices the placement uses, in order."""
        return self.machine.devices[: self.parallel.devices]

    def with_settings(self, **values: Value) -> "Case":
        """The same question with some settings changed."""
        return replace(self, settings=self.settings.with_(**values))
