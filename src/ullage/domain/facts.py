"""What a log line or a metrics page states."""

from ullage.frozen import dataclass

ERROR = "error."  # what the names of facts about failures begin with


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One statement read from a log: ``name`` is our word ("weights_bytes", "kv_tokens", "error.kv_too_small"), ``value`` what it says."""

    name: str
    value: int | float | str
    unit: str = ""
    details: tuple[tuple[str, int | float | str], ...] = ()

    @property
    def is_error(self) -> bool:
        """Whether it is of something that failed."""
        return self.name.startswith(ERROR)
