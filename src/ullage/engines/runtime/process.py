"""What the runtime's process takes on a processor beside weights, cache and step."""

from ullage.domain.ledger import Amount, amount_of
from ullage.domain.provenance import Constant
from ullage.engines.runtime.versions import GGUF_TOKEN, PROCESS, READING, STEPPING, TOKEN


def token_constant(path: str) -> Constant:
    """Bytes that the tokeniser keeps for each token; a GGUF file's vocabulary is kept a second time as the file has it."""
    return GGUF_TOKEN if path.endswith(".gguf") else TOKEN


def vocabulary(path: str, vocab_size: int) -> Amount:
    """Bytes that the tokeniser keeps of its vocabulary."""
    return _of_each(token_constant(path), vocab_size)


def vocabulary_reading(vocab_size: int) -> Amount:
    """Bytes that the tokeniser takes beside what it keeps, while its vocabulary is read."""
    return _of_each(READING, vocab_size)


def _of_each(constant: Constant, count: int) -> Amount:
    return amount_of(constant).map(lambda nbytes: nbytes * count)


def process_bytes(path: str, vocab_size: int) -> int:
    """Bytes of the process with its tokeniser once it has computed."""
    return PROCESS.value + vocabulary(path, vocab_size).expected + STEPPING.value
