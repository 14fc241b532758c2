"""Where a number is from."""

from typing import Literal

from ullage.frozen import dataclass

OriginKind = Literal["exact", "formula", "measured", "assumed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cited:
    """A number that stands in somebody's source or document; ``at`` names the release and place, or is a permanent link."""

    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A number taken from a stored observation; ``record`` is its name."""

    record: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumed:
    """A number nobody has shown yet; ``why`` says what it stands on."""

    why: str


Source = Cited | Measured | Assumed


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a ledger entry stands on: exact header bytes, a formula, a measurement, or an assumption."""

    kind: OriginKind
    at: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.at}" if self.at else self.kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """A figure that is not derived: its name, value, unit, the range it was seen in, and its source."""

    name: str
    value: int
    unit: str
    source: Source
    low: int | None = None
    high: int | None = None

    @property
    def origin(self) -> Origin:
        """What an entry stands on that is this constant."""
        return Origin(kind="assumed" if isinstance(self.source, Assumed) else "measured", at=self.name)


EXACT = Origin(kind="exact")
FORMULA = Origin(kind="formula")
ASSUMED = Origin(kind="assumed")
