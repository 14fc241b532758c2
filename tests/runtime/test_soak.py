"""Hundreds of mixed requests at once against a pool that holds a tenth of them."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.runtime.served import Server, runtime
from tests.runtime.tiny import TINY_CONFIGS, tiny_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
REQUESTS, HUNDRED = 500, 100
MAX_LEN, PAGE_TOKENS, CACHE_TOKENS = 512, 16, 640
SWAP_BYTES = 256 << 10
GROWTH_BYTES = 4 << 20  # what Python's and the C library's own allocators wander by
TEMPLATE = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}assistant:"


def write_vocabulary(folder: Path) -> None:
    """A token for each byte, behind three special ones."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={letter: 3 + at for at, letter in enumerate(letters)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    (folder / "tokenizer.json").write_text(backend.to_str())
    (folder / "chat_template.jinja").write_text(TEMPLATE)


@pytest.fixture(scope="module", params=["on", "off"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    config = TINY_CONFIGS["llama"]
    folder = tiny_model(tmp_path_factory.mktemp("tiny"), config)
    write_vocabulary(folder)
    token_bytes = config["num_hidden_layers"] * 2 * config["hidden_size"] // 2 * 4
    flags = {
        "--cache": CACHE_TOKENS * token_bytes,
        "--page-tokens": PAGE_TOKENS,
        "--max-len": MAX_LEN,
        "--max-seqs": 16,
        "--chunk": 64,
        "--swap": SWAP_BYTES,
        "--prefix-cache": request.param,
    }
    words = [str(word) for pair in flags.items() for word in pair]
    with runtime(folder, tmp_path_factory.mktemp("soak"), *words) as found:
        yield found


def drawn(chance: random.Random) -> tuple[str, str, dict[str, Any]]:
    """(what becomes of it, path, body): most are answered, some are left early, some can never fit, some are wrong."""
    way = chance.choices(["answered", "left", "left at once", "too long", "wrong"], [70, 12, 6, 7, 5])[0]
    prompt = "".join(chance.choices("abcdefgh ", k=chance.choice([5, 40, 120])))
    body: dict[str, Any] = {"max_tokens": chance.randint(1, 60), "temperature": chance.choice([0, 1.0]), "stream": chance.random() < 0.6}
    path = chance.choice([COMPLETIONS, CHAT])
    if way.startswith("left"):
        body |= {"stream": True, "max_tokens": 100}
    elif way == "too long":
        prompt *= 110
    elif way == "wrong":
        body["top_p"] = 7
    elif chance.random() < 0.05:
        body["max_tokens"] = 350  # longer than growth is kept free for
    elif chance.random() < 0.2:
        body |= {"n": 2, "stop": ["a", "zz"], "max_tokens": 20}
    return way, path, {**body, **({"prompt": prompt} if path == COMPLETIONS else {"messages": [{"role": "user", "content": prompt}]})}


async def become(session: aiohttp.ClientSession, url: str, way: str, path: str, body: dict[str, Any]) -> str:
    """How a request ended, as its client saw it."""
    async with session.post(url + path, json=body) as response:
        if way == "left at once":
            return "left at once"
        if way == "left":
            await response.content.readany()
            return "left"
        text = await response.text()
    if response.status != 200:
        return {"context_length_exceeded": "too long", "invalid_value": "wrong"}[json.loads(text)["error"]["code"]]
    if not body["stream"]:
        ends = [choice["finish_reason"] for choice in json.loads(text)["choices"]]
    else:
        *events, done, rest = text.split("\n\n")
        assert (done, rest) == ("data: [DONE]", "")
        choices = [json.loads(event.removeprefix("data: "))["choices"][0] for event in events]
        ends = [choice["finish_reason"] for choice in choices if choice["finish_reason"] is not None]
    assert len(ends) == body.get("n", 1)
    assert set(ends) <= {"stop", "length"}
    return "answered"


async def burst(url: str, wanted: list[tuple[str, str, dict[str, Any]]]) -> Counter[tuple[str, str]]:
    """All at once: (what was to become of each, what became of it)."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=120)) as session:
        ends = await asyncio.gather(*(become(session, url, *one) for one in wanted))
    return Counter((way, end) for (way, _, _), end in zip(wanted, ends, strict=True))


@pytest.mark.slow
def test_every_request_of_a_storm_ends_in_one_way_and_leaves_nothing_behind(server: Server) -> None:
    chance = random.Random(5)  # noqa: S311 - the same storm every time
    resident, ended = [], Counter[tuple[str, str]]()
    for _ in range(REQUESTS // HUNDRED):
        wanted = [drawn(chance) for _ in range(HUNDRED)]
        tokens = sum(
            len(str(body.get("prompt") or body.get("messages"))) + body["max_tokens"] for way, _, body in wanted if way != "too long"
        )
        assert tokens > 10 * CACHE_TOKENS
        ended += asyncio.run(burst(f"http://127.0.0.1:{server.port}", wanted))
        seen = server.settle()
        assert seen["ullage_runtime_cache_used_bytes"] == 0
        assert seen["ullage_runtime_swap_used_bytes"] == 0
        assert seen["ullage_runtime_cache_idle_bytes"] <= seen["ullage_runtime_cache_budget_bytes"]
        resident.append(server.resident_bytes())
    assert sum(ended.values()) == REQUESTS
    assert all(way == end for way, end in ended), ended
    assert resident[-1] - resident[1] <= GROWTH_BYTES, resident
    sequences = {name: value for name, value in seen.items() if name.startswith("ullage_runtime_sequences_total")}
    assert sequences['ullage_runtime_sequences_total{how="error"}'] == 0
    assert sequences['ullage_runtime_sequences_total{how="refused"}'] == 0  # the server refuses before the engine is asked
    assert "error" not in server.log.read_text()
