"""How a model is spread over devices."""

from ullage.frozen import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallel:
    """Degrees of parallelism. A model replica uses ``tensor * pipeline`` devices; data parallelism repeats it.

    ``expert`` says that experts are spread whole over the ranks of a stage instead of each being cut.
    """

    tensor: int = 1
    pipeline: int = 1
    data: int = 1
    expert: bool = False

    @property
    def devices(self) -> int:
        """Devices used in all."""
        return self.tensor * self.pipeline * self.data
