"""What the runtime's process takes on a processor beside weights, cache and step."""

from ullage.domain.ledger import Amount, amount_of
from ullage.engines.runtime.versions import GGUF_TOKEN, PROCESS, STEPPING, TOKEN


def vocabulary(path: str, vocab_size: int) -> Amount:
    """What the tokeniser keeps of its vocabulary; a GGUF file's is kept a second time as the file has it."""
    each = amount_of(GGUF_TOKEN if path.endswith(".gguf") else TOKEN)
    return Amount(*(nbytes * vocab_size for nbytes in (each.low, each.expected, each.high)))


def process_bytes(path: str, vocab_size: int) -> int:
    """The process with its tokeniser once it has computed."""
    return PROCESS.value + vocabulary(path, vocab_size).expected + STEPPING.value
