"""What a failed allocation of a known size was: the projection and how many tokens were in its step."""

from ullage.domain.case import Case
from ullage.engines.ipex_llm.activation import element_bytes, gate_up_width, step_tokens
from ullage.frozen import dataclass
from ullage.units import MiB

STEP = 2 * MiB  # the allocator asks the driver for whole steps


@dataclass(frozen=True, slots=True)
class Candidate:
    """A buffer that could have been asked for, and the fewest and most tokens with which it has that size."""

    name: str
    width: int
    tokens: tuple[int, int]
    possible: bool  # not more tokens than a step may have


def candidates(case: Case, nbytes: int) -> tuple[Candidate, ...]:
    """The fused gate and up, their half, and the hidden states, each with the tokens that make it ``nbytes``, rounded up to 2 MiB."""
    named = (("gate_up", gate_up_width(case)), ("gate", gate_up_width(case) // 2), ("hidden", case.model.architecture.hidden_size))
    found = []
    for name, width in named:
        each = width * element_bytes(case)
        if each and nbytes > STEP:
            fewest, most = (nbytes - STEP) // each + 1, nbytes // each
            found.append(Candidate(name, width, (fewest, most), fewest <= min(most, step_tokens(case))))
    return tuple(found)
