"""Host memory of both products: the routed experts, the token table, and the process."""

from ullage.domain.case import Case
from ullage.domain.ledger import Amount, Entry, Purpose
from ullage.domain.machine import HOST
from ullage.engines.ktransformers.lines import constant, entry, others
from ullage.engines.ktransformers.placement import reads_experts
from ullage.engines.ktransformers.versions import HOST_PROCESS
from ullage.units import format_bytes


def host_entries(case: Case, experts: int, table: int, how: str) -> tuple[Entry, ...]:
    """Lines of the host, none where its memory is not known. Experts are read for every token, so they have to stay resident."""
    host = case.machine.host
    if host is None:
        return ()
    known = reads_experts(case.model) or case.settings.has("gguf_type") or case.settings.has("kt_method")
    held = Amount(experts, experts, experts * 21 // 20) if known else Amount(experts * 9 // 10, experts, experts * 5 // 4)
    found = [constant(HOST, Purpose.RUNTIME, HOST_PROCESS, "Python, PyTorch, pinned staging and the experts' threads"), *others(host)]
    if experts:
        found.append(entry(HOST, Purpose.WEIGHTS, held, f"{how}: {format_bytes(experts)}, in use for every token", budgeted=True))
    if table:
        found.append(entry(HOST, Purpose.BUFFERS, Amount.exactly(table), "the token table in 16 bits", budgeted=True))
    return tuple(found)
