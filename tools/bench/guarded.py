"""A guard for the benchmark, as a process of its own: real admission, and a small tokeniser trained on our own sources."""

import signal
import sys
import threading
from pathlib import Path

import tokenizers

from ullage import wire
from ullage.domain.admission import CostModel, Limits
from ullage.domain.guard import GuardOptions
from ullage.planning.admit import begin, step
from ullage.world.proxy.guard import open_guard

TEMPLATE = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}<|assistant|>"
COST = CostModel(pool_bytes=1 << 40, steps=tuple((at, at << 16) for at in range(16, 8193, 16)), longest_tokens=8192, most_sequences=4096)


def documents() -> dict[str, bytes]:
    """The files of a model, as far as tokens are counted by them."""
    trained = tokenizers.Tokenizer(tokenizers.models.BPE())
    trained.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    sources = Path(__file__).parents[2] / "src" / "ullage" / "planning"
    trained.train_from_iterator(
        (path.read_text() for path in sources.glob("*.py")), tokenizers.trainers.BpeTrainer(vocab_size=4000, show_progress=False)
    )
    return {"tokenizer.json": trained.to_str().encode(), "tokenizer_config.json": wire.dumps({"chat_template": TEMPLATE}).encode()}


def main() -> None:
    """Listen on the first port in front of the second until ended."""
    port, engine = int(sys.argv[1]), int(sys.argv[2])
    guard = open_guard(
        GuardOptions(port=port, engine_url=f"http://127.0.0.1:{engine}"), begin(COST, Limits(queue_requests=8192)), step, documents(), {}
    )
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    guard.start()
    ended.wait()
    guard.stop()


if __name__ == "__main__":
    main()
