import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.text_models import byte_level, byte_level_json

from ullage import wire
from ullage.cli import main
from ullage.domain.workload import LengthBin, Lengths
from ullage.errors import MalformedFileError
from ullage.planning.dialogues import Dialogue, Message, read_dialogue, with_messages
from ullage.planning.requests import Asked, Limits, Rules, is_too_long, reason_to_drop, requests_of
from ullage.planning.rewrite import OVERLAP, WINDOW, Shears, Writer, last_tokens, rewritten, spans
from ullage.planning.survey import FINE_BITS, JointTally, Tally, rounded_up
from ullage.report.workload_json import read_workload
from ullage.text.boundaries import boundaries

WORDS = "the cat 中é😀a "


def shears() -> Shears:
    tokenizer = byte_level()
    return Shears(lambda text: tokenizer.count([text])[0], lambda text: boundaries(tokenizer, text))


@pytest.mark.parametrize(
    ("value", "messages"),
    [
        ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, [("user", "q"), ("assistant", "a")]),
        ({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]}, [("system", "s"), ("user", "q")]),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}, {"type": "image_url"}]}]}, [("user", "q")]),
        ({"body": {"messages": [{"role": "user", "content": "q"}], "max_tokens": 7}}, [("user", "q")]),
        ({"prompt": "q", "completion": "a"}, [("user", "q"), ("assistant", "a")]),
        ({"instruction": "do", "input": "this", "output": "a"}, [("user", "do"), ("user", "this"), ("assistant", "a")]),
        ({"text": "q"}, [("user", "q")]),
        ("q", [("user", "q")]),
        ([{"role": "user", "content": "q"}], [("user", "q")]),
    ],
)
def test_the_common_shapes_are_read(value: Any, messages: list[tuple[str, str]]) -> None:
    assert [(one.role, one.text) for one in read_dialogue(value).messages] == messages


@pytest.mark.parametrize("value", [None, 7, {}, {"conversations": []}, {"conversations": [{"from": "human"}], "x": 1}, {"messages": ["q"]}])
def test_what_has_no_messages_says_what_was_looked_for(value: Any) -> None:
    if value == {"conversations": [{"from": "human"}], "x": 1}:  # a missing text, as of a tool call, is empty
        assert read_dialogue(value).messages[0].text == ""
        return
    with pytest.raises(MalformedFileError):
        read_dialogue(value)


def test_half_a_surrogate_pair_is_counted_as_a_question_mark() -> None:
    assert read_dialogue("a\ud800").messages[0].text == "a?"


def test_every_reply_is_a_request_whose_prompt_is_all_before_it() -> None:
    talk = Dialogue(tuple(Message(role, "") for role in ("system", "user", "assistant", "user", "assistant")), is_chat=True)
    counts = (1, 10, 100, 20, 200)
    assert requests_of(talk, counts, Rules()) == (Asked(11, 100), Asked(131, 200))
    assert requests_of(talk, counts, Rules("first")) == (Asked(11, 100),)
    assert requests_of(talk, counts, Rules("last", message_tokens=4, begin_tokens=3)) == (Asked(131 + 4 * 4 + 3, 200),)
    assert requests_of(talk._replace(is_chat=False), counts, Rules("first", message_tokens=4, begin_tokens=3)) == (Asked(11, 100),)


def test_a_record_without_an_answer_takes_the_one_it_bounds_or_the_one_assumed() -> None:
    talk = Dialogue((Message("user", ""),))
    assert requests_of(talk, (10,), Rules(answer_tokens=5)) == (Asked(10, 5),)
    assert requests_of(talk._replace(answer_tokens=7), (10,), Rules(answer_tokens=5)) == (Asked(10, 7),)


def test_a_reason_to_drop_names_the_limit_and_the_length() -> None:
    asked = (Asked(100, 50), Asked(300, 10))
    assert reason_to_drop(asked, 2, Limits(max_prompt=300, max_total=310, min_turns=2)) == ""
    assert reason_to_drop(asked, 2, Limits(max_prompt=299)) == "prompt of 300 tokens is above --max-prompt 299"
    assert reason_to_drop(asked, 2, Limits(max_total=309)) == "prompt and answer of 310 tokens are above --max-total 309"
    assert reason_to_drop(asked, 2, Limits(min_turns=3)) == "2 turns are below --min-turns 3"


@given(st.text(alphabet=WORDS, min_size=1, max_size=200), st.integers(4, 40), st.integers(0, 12))
def test_parts_of_a_text_are_all_of_it_within_their_length(text: str, most: int, overlap: int) -> None:
    cut, allowed, at = shears(), min(overlap, most - 1), 0
    ends = set(cut.boundaries(text))
    for start, end in spans(text, most, allowed, cut):
        assert {start, end} <= ends
        assert cut.count(text[start:end]) <= most
        assert start <= at < end
        assert cut.count(text[start:at]) <= allowed
        at = end
    assert at == len(text)


@given(st.text(alphabet=WORDS, min_size=1, max_size=200), st.integers(0, 40))
def test_the_last_tokens_are_an_end_of_the_text(text: str, most: int) -> None:
    end = last_tokens(text, most, shears())
    assert text.endswith(end)
    assert shears().count(end) <= most


TALK = st.lists(
    st.tuples(st.text(alphabet=WORDS, min_size=1, max_size=80), st.text(alphabet=WORDS, min_size=1, max_size=15)), min_size=1, max_size=5
)


@given(TALK, st.integers(20, 60), st.sampled_from([WINDOW, OVERLAP]))
def test_what_is_rewritten_is_never_too_long_and_is_the_same_twice(talk: list[tuple[str, str]], most: int, way: str) -> None:
    cut, rules = shears(), Rules()
    messages = tuple(
        Message(role, text, at) for at, (role, text) in enumerate((r, t) for q, a in talk for r, t in (("user", q), ("assistant", a)))
    )
    dialogue, counts = Dialogue(messages, ("messages",)), tuple(cut.count(one.text) for one in messages)
    limits = Limits(max_prompt=most)
    parts = rewritten(dialogue, counts, way, Writer(limits, rules, cut, most // 4))
    assert parts
    assert parts == rewritten(dialogue, counts, way, Writer(limits, rules, cut, most // 4))
    for part in parts:
        assert part.counts == tuple(cut.count(one.text) for one in part.messages)
        assert not is_too_long(requests_of(dialogue._replace(messages=part.messages), part.counts, rules), limits)
    assert parts[-1].messages[-1] == messages[-1]
    if way == OVERLAP:
        assert {one.place for part in parts for one in part.messages} == {one.place for one in messages}


def test_a_rewritten_record_keeps_its_other_keys() -> None:
    value = {"id": "7", "lang": "en", "conversations": [{"from": "human", "value": "long", "x": 1}, {"from": "gpt", "value": "a"}]}
    dialogue = read_dialogue(value)
    question, reply = dialogue.messages
    made = with_messages(value, dialogue, (question._replace(text="ng"), reply), "part1")
    assert made == {
        "id": "7_part1",
        "lang": "en",
        "conversations": [{"from": "human", "value": "ng", "x": 1}, {"from": "gpt", "value": "a"}],
    }


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=60))
def test_quantiles_are_those_of_the_sorted_list_rounded_up_a_little(found: list[int]) -> None:
    tally = Tally()
    for one in found:
        tally.add(one)
    spread, ordered = tally.spread(), sorted(found)
    assert (spread.least, spread.most, spread.count) == (ordered[0], ordered[-1], len(found))
    for fraction, seen in ((0.5, spread.p50), (0.9, spread.p90), (0.99, spread.p99)):
        exact = ordered[max(0, -int(-(fraction * len(found)) // 1) - 1)]
        assert exact <= seen <= exact * 1.001 + 1
    assert sum(count for _, _, count in spread.bars) == len(found)


@given(st.integers(0, 1 << 40))
def test_rounding_up_is_never_down_and_never_far(tokens: int) -> None:
    assert tokens <= rounded_up(tokens, FINE_BITS) <= tokens * (1 + 2 ** (1 - FINE_BITS))


@given(st.lists(st.tuples(st.integers(0, 10**5), st.integers(0, 10**4)), min_size=1, max_size=50))
@example([(18433, 0), (18435, 0)])
def test_bins_hold_every_request_and_the_longest_exactly(found: list[tuple[int, int]]) -> None:
    tally = JointTally()
    for one in found:
        tally.add(*one)
    lengths = tally.lengths()
    assert lengths.requests == len(found)
    assert lengths.longest_total_tokens == max(map(sum, found))
    assert lengths.total_quantile(1.0) == lengths.longest_total_tokens


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tokenizer.json").write_bytes(byte_level_json())
    records = [
        {"id": str(at), "conversations": [{"from": "human", "value": "the cat " * (at + 1)}, {"from": "gpt", "value": "the cat"}]}
        for at in range(40)
    ]
    (tmp_path / "data.json").write_text(json.dumps([*records, {"id": "x"}]))
    return tmp_path


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any]:
    code = main(words)
    return code, wire.loads(capsys.readouterr().out)


def test_a_file_is_counted_filtered_and_its_summary_sizes_a_plan(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, kept, dropped, summary = (str(folder / name) for name in ("data.json", "kept.json", "dropped.json", "summary.json"))
    given = ("workload", data, "--tokenizer", str(folder), "--max-prompt", "60", "--kept", kept, "--dropped", dropped)
    code, seen = answer(capsys, *given, "--json")
    assert code == 0
    assert (seen["records"], seen["malformed"], seen["faults"][0]["record"]) == (41, 1, 41)
    assert seen["tokenizer"]["exact"]
    assert seen["prompt_tokens"]["max"] <= 60
    assert len(json.loads(Path(kept).read_text())) == seen["kept"]
    reasons = [one["dropped"] for one in json.loads(Path(dropped).read_text())]
    assert len(reasons) == seen["dropped"]["--max-prompt"] + 1
    assert main((*given, "-o", summary)) == 0
    capsys.readouterr()
    for workload in (summary, kept):
        words = ("plan", "Qwen3-8B", "--gpu", "H100-80GB", "--workload", workload, "--tokenizer", str(folder), "--rate", "2", "--json")
        code, plan = answer(capsys, *words)
        assert code == 0
        assert plan["workload"]["context_tokens"] == seen["lengths"]["longest_total_tokens"]
        assert plan["forecast"]["preemptions"] == 0
        assert plan["forecast"]["arrivals"]["rate_per_s"] == 2.0


def test_without_a_tokeniser_lengths_are_an_estimate_that_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, seen = answer(capsys, "workload", str(folder / "data.json"), "--json")
    assert code == 0
    assert not seen["tokenizer"]["exact"]
    assert any("estimated" in note for note in seen["notes"])


@pytest.mark.parametrize("way", ["window", "overlap"])
def test_rewriting_gives_the_same_file_twice_and_nothing_too_long(folder: Path, capsys: pytest.CaptureFixture[str], way: str) -> None:
    texts = []
    for name in ("one.json", "two.json"):
        kept = str(folder / name)
        words = (
            "workload",
            str(folder / "data.json"),
            "--tokenizer",
            str(folder),
            "--max-prompt",
            "20",
            "--split",
            way,
            "--kept",
            kept,
            "--json",
        )
        _, seen = answer(capsys, *words)
        assert seen["rewritten"] > 0
        texts.append(Path(kept).read_text())
    assert texts[0] == texts[1]
    _, again = answer(capsys, "workload", str(folder / "one.json"), "--tokenizer", str(folder), "--json")
    assert again["prompt_tokens"]["max"] <= 20


@pytest.mark.parametrize("limit", ["--max-prompt", "--max-total"])
def test_parts_of_a_long_question_are_answered_at_the_length_of_its_reply(
    folder: Path, capsys: pytest.CaptureFixture[str], limit: str
) -> None:
    kept = str(folder / "kept.json")
    counted = ("--tokenizer", str(folder), "--json")
    _, seen = answer(capsys, "workload", str(folder / "data.json"), limit, "24", "--split", "overlap", "--kept", kept, *counted)
    assert seen["rewritten"] > 0
    assert seen["output_tokens"]["min"] == seen["output_tokens"]["max"] > 0
    assert not any("no answer" in note for note in seen["notes"])
    _, again = answer(capsys, "workload", kept, *counted)
    assert again["output_tokens"] == seen["output_tokens"]
    assert again["total_tokens"] == seen["total_tokens"]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("workload", "data.json", "--split", "window"), 2),
        (("workload", "data.json", "--split", "half", "--max-prompt", "9"), 2),
        (("workload", "data.json", "--requests", "some"), 2),
        (("workload", "data.json", "--max-prompt", "9", "--min-prompt", "10"), 2),
        (("workload", "data.json", "--tokenizer", "data.json"), 3),
        (("workload", "data.json", "--kept", "data.json"), 2),
        (("workload", "data.json", "--kept", "a.json", "--dropped", "a.json"), 2),
        (("workload", "data.json", "--kept", "x/../data.json"), 2),
        (("workload", "data.json", "--kept", "a.json", "--dropped", "./a.json"), 2),
        (("workload", "data.json", "--kept", "link.json"), 2),
        (("workload", "data.json", "--kept", "a.json", "-o", "a.json"), 2),
        (("workload", "data.json", "--dropped", "a.parquet"), 2),
        (("plan", "Qwen3-8B", "--gpu", "H100", "--workload", "data.json", "--rate", "0"), 2),
        (("plan", "Qwen3-8B", "--gpu", "H100", "--workload", "data.json", "--rate", "1", "--concurrency", "2"), 2),
    ],
)
def test_a_wrong_request_is_an_error_with_its_code(
    folder: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: int
) -> None:
    monkeypatch.chdir(folder)
    (folder / "link.json").symlink_to("data.json")
    before = (folder / "data.json").read_bytes()
    assert main(words) == code
    assert (folder / "data.json").read_bytes() == before
    assert not list(folder.glob("a.*"))


def test_a_file_of_nothing_but_broken_records_is_refused(folder: Path) -> None:
    (folder / "bad.jsonl").write_text("{\n{]\n")
    assert main(("workload", str(folder / "bad.jsonl"))) == 3


def test_every_engine_forecasts_or_has_no_cache_to_forecast(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = str(folder / "s.json")
    main(("workload", str(folder / "data.json"), "--tokenizer", str(folder), "-o", summary))
    capsys.readouterr()
    for engine in ("vllm", "sglang", "llama_cpp", "exllamav3", "transformers"):
        _, plan = answer(
            capsys, "plan", "Qwen3-8B", "--gpu", "H100-80GB", "--engine", engine, "--workload", summary, "--concurrency", "3", "--json"
        )
        assert plan["forecast"]["requests"] == 2000, engine
        assert plan["forecast"]["max_running"] <= 3


def test_a_summary_that_was_changed_by_hand_is_refused_by_its_key() -> None:
    with pytest.raises(MalformedFileError, match=r"bins\[0\]"):
        read_workload({"schema": "ullage.workload/1", "lengths": {"bins": [[1, 2]]}}, "s.json")


def test_a_plan_without_a_workload_reads_none_of_it() -> None:
    import subprocess  # noqa: PLC0415 - only this test starts a program

    code = (
        "import sys; from ullage.cli import main; main(('plan', 'Qwen3-8B', '--gpu', 'H100', '--json')); "
        "heavy = {'ullage.commands.traffic', 'ullage.planning.simulate', 'ullage.text.opening', 'tokenizers', 'pyarrow'}; "
        "print(sorted(heavy & sys.modules.keys()), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_quantiles_of_lengths_come_from_their_bins() -> None:
    lengths = Lengths(
        bins=(LengthBin(10, 10, 98), LengthBin(100, 100, 2)), longest_prompt_tokens=100, longest_output_tokens=100, longest_total_tokens=200
    )
    assert [lengths.total_quantile(at) for at in (0.5, 0.98, 0.99)] == [20, 20, 200]


def test_what_a_chat_template_adds_is_counted_and_can_be_said_instead(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    template = "a{% for message in messages %}<|end|>{{ message.content }}a{% endfor %}{% if add_generation_prompt %}<|end|>{% endif %}"
    (folder / "chat_template.jinja").write_text(template)
    words = ("workload", str(folder / "data.json"), "--tokenizer", str(folder), "--json")
    (_, by_template), (_, said) = answer(capsys, *words), answer(capsys, *words, "--message-tokens", "5")
    (folder / "chat_template.jinja").unlink()
    _, bare = answer(capsys, *words)
    assert by_template["prompt_tokens"]["min"] == bare["prompt_tokens"]["min"] + 2 + 2
    assert said["prompt_tokens"]["min"] == bare["prompt_tokens"]["min"] + 5 + 5
    assert any("chat template adds 2 tokens around each message and 2 once" in note for note in by_template["notes"])


def test_more_around_a_reply_than_around_a_question_is_counted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    template = (
        "{% for message in messages %}{% if message.role == 'assistant' %}<|end|><|end|>{% endif %}<|end|>{{ message.content }}{% endfor %}"
    )
    (folder / "chat_template.jinja").write_text(template)
    turns = [{"from": who, "value": "the cat"} for who in ("human", "gpt", "human", "gpt", "human", "gpt")]
    (folder / "turns.json").write_text(json.dumps([{"conversations": turns}]))
    _, seen = answer(capsys, "workload", str(folder / "turns.json"), "--tokenizer", str(folder), "--json")
    (word,) = byte_level().count(["the cat"])
    # What the template itself makes of one, three and five messages.
    assert [seen["prompt_tokens"][key] for key in ("min", "p50", "max")] == [word + 1, 3 * word + 5, 5 * word + 9]


def test_requests_that_go_with_what_is_cut_are_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    turns = [{"from": who, "value": "the cat " * 9} for who in ("human", "gpt", "human", "gpt", "human", "gpt")]
    (folder / "turns.json").write_text(json.dumps([{"conversations": turns}]))
    (count,) = byte_level().count(["the cat " * 9])
    words = ("workload", str(folder / "turns.json"), "--tokenizer", str(folder), "--max-prompt", str(count), "--split")
    _, seen = answer(capsys, *words, "window", "--json")
    assert (seen["prompt_tokens"]["count"], seen["cut_requests"]) == (1, 2)
    assert main((*words, "window")) == 0
    assert "2 requests of them went with what was cut" in " ".join(capsys.readouterr().out.split())
    _, seen = answer(capsys, *words, "overlap", "--json")
    assert (seen["prompt_tokens"]["count"], seen["cut_requests"]) == (3, 0)


def test_requests_of_one_length_need_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    code, plan = answer(capsys, "plan", "Qwen3-8B", "--gpu", "H100", "--workload", "1000:200", "--concurrency", "8", "--json")
    assert code == 0
    assert plan["workload"]["context_tokens"] == 1200
    assert plan["forecast"]["arrivals"]["clients"] == 8


@pytest.mark.parametrize("names", [("prompt_tokens", "completion_tokens"), ("input_tokens", "output_tokens"), ("prompt_len", "output_len")])
def test_lengths_under_common_names_count_where_there_is_no_text(names: tuple[str, str]) -> None:
    said = dict(zip(names, (7, 3), strict=True))
    stated = read_dialogue(said)
    assert (stated.prompt_tokens, stated.answer_tokens) == (7, 3)
    assert read_dialogue({"prompt": "a question", **said}).prompt_tokens is None
    with pytest.raises(MalformedFileError, match="no lengths"):
        read_dialogue(dict.fromkeys(names, 10**20))


@pytest.mark.parametrize(
    "text",
    [
        '{"timestamp": 96, "input_length": 1062, "output_length": 139}\n{"timestamp": 2596, "input_length": 7, "output_length": 9}\n',
        "Timestamp,Model,Request tokens,Response tokens,Log Type\n5,ChatGPT,1062,139,Conversation log\n7.5,GPT-4,7,9,API log\n",
        "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:15:46.6805900,1062,139\r\n2023-11-16 18:15:49.1805900,7,9\r\n",
    ],
    ids=["mooncake", "burstgpt", "azure"],
)
def test_a_trace_of_lengths_needs_no_tokeniser(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, kept = tmp_path / "trace", tmp_path / "kept.jsonl"
    path.write_bytes(text.encode())
    code, found = answer(capsys, "workload", str(path), "--json")
    assert (code, found["records"], found["malformed"]) == (0, 2, 0)
    assert [(found[key]["min"], found[key]["max"]) for key in ("prompt_tokens", "output_tokens")] == [(7, 1062), (9, 139)]
    assert found["tokenizer"] == {"name": "the lengths that the file states", "exact": True}
    assert found["times_s"] == [0.0, 2.5]
    assert answer(capsys, "workload", str(path), "--max-prompt", "100", "--split", "window", "--kept", str(kept), "--json")[0] == 0
    assert answer(capsys, "workload", str(kept), "--json")[1]["prompt_tokens"]["max"] == 7


def test_a_filter_that_leaves_nothing_is_said_and_is_no_success(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("workload", str(folder / "data.json"), "--tokenizer", str(folder), "--min-prompt", "100000")
    assert main(words) == 1
    text = " ".join(capsys.readouterr().out.split())
    assert "NOTHING IS LEFT" in text
    assert "dropped by --min-prompt" in text
    assert main((*words, "--json")) == 1


def test_a_dialogue_with_a_system_message_of_its_own_is_not_counted_with_the_template_s(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    default = "{% if messages[0].role != 'system' %}<|end|>aaaaaaaa{% endif %}"
    (folder / "chat_template.jinja").write_text(default + "{% for message in messages %}<|end|>{{ message.content }}{% endfor %}")
    turns = [{"role": "user", "content": "the cat"}, {"role": "assistant", "content": "a"}]
    for name, leading in (("bare", []), ("led", [{"role": "system", "content": "a"}])):
        (folder / f"{name}.jsonl").write_text(json.dumps({"messages": [*leading, *turns]}) + "\n")
    (_, bare), (_, led) = (
        answer(capsys, "workload", str(folder / f"{name}.jsonl"), "--tokenizer", str(folder), "--json") for name in ("bare", "led")
    )
    # Its default of nine tokens makes way for a message of one, with the token that stands before each.
    assert bare["prompt_tokens"]["min"] - led["prompt_tokens"]["min"] == 9 - 2
    assert any("9 once for each request, 0 where that has a system message of its own" in note for note in led["notes"])


def test_a_part_of_a_long_question_keeps_the_length_of_its_reply_in_parquet(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    records = [one for one in json.loads((folder / "data.json").read_text()) if "conversations" in one]
    parquet.write_table(arrow.Table.from_pylist(records), folder / "data.parquet")
    given = ("--tokenizer", str(folder), "--max-prompt", "20", "--split", "overlap", "--json")
    kept, as_json = str(folder / "kept.parquet"), str(folder / "kept.json")
    _, seen = answer(capsys, "workload", str(folder / "data.parquet"), *given, "--kept", kept)
    answer(capsys, "workload", str(folder / "data.json"), *given, "--kept", as_json)
    assert seen["rewritten"] > 0
    lengths = [one.get("output_tokens") for one in json.loads(Path(as_json).read_text())]
    assert any(lengths)
    assert parquet.read_table(kept).column("output_tokens").to_pylist() == lengths
