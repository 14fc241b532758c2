"""What a long prompt really needs on one rank, whatever the pool has swallowed."""

from ullage.domain.case import Case
from ullage.engines.vllm import dual_chunk
from ullage.engines.vllm.cache import in_flight_tokens, spare_states
from ullage.engines.vllm.ranks import ranks
from ullage.frozen import dataclass
from ullage.units import format_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Bytes on the rank that holds the fewest blocks; driver context and communication buffers are not in it."""

    device: str
    context_tokens: int
    weights: int  # and tables
    cache: int
    live: int
    workspace: int

    @property
    def nbytes(self) -> int:
        """The sum."""
        return self.weights + self.cache + self.live + self.workspace

    def __str__(self) -> str:
        return (
            f"weights and tables {format_bytes(self.weights)} + cache {format_bytes(self.cache)} + live activations "
            f"{format_bytes(self.live)} + dual chunk workspace {format_bytes(self.workspace)} = {format_bytes(self.nbytes)}"
        )


def need(case: Case) -> Need:
    """For a case that runs dual chunk attention and its asked context, all sequences."""
    work, rank = dual_chunk.workspace(case), min(ranks(case), key=lambda rank: rank.blocks.expected)
    length = case.workload.context_tokens or case.settings.integer("max_model_len") or 0
    blocks = rank.pool.blocks_for(length, in_flight=in_flight_tokens(case), spare_states=spare_states(case))
    return Need(
        device=rank.device.id,
        context_tokens=length,
        weights=rank.weights.nbytes,
        cache=blocks * rank.pool.block_bytes * case.workload.concurrent_sequences,
        live=work.live_bytes,
        workspace=work.workspace.expected,
    )
