"""What the runtime's process takes on a processor beside weights, cache and step."""

from ullage.domain.ledger import Amount, amount_of
from ullage.domain.provenance import Constant
from ullage.engines.runtime.versions import GGUF_TOKEN, PROCESS, STEPPING, TOKEN


def token_constant(path: str) -> Constant:
    """Bytes that the tokeniser keeps for each token; a GGUF file's vocabulary is kept a second time as the file has it."""
    return GGUF_TOKEN if path.endswith(".gguf") else TOKEN


def vocabulary(path: str, vocab_size: int) -> Amount:
    """Bytes that the tokeniser keeps of its vocabulary."""
    each = amount_of(token_constant(path))
    return Amount(*(nbytes * vocab_size for nbytes in (each.low, each.expected, each.high)))


def process_bytes(path: str, vocab_size: int) -> int:
    """Bytes of the process with its tokeniser once it has computed."""
    return PROCESS.value + vocabulary(path, vocab_size).expected + STEPPING.value
