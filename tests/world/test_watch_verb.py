"""``ullage watch`` as a person starts it: on this machine, against pages a real engine gave, with its exporter and webhook for real."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from tests.world.http_servers import Posted, served

from ullage.domain.admission import CostModel, State, Ticket
from ullage.errors import InputError
from ullage.report.watch_metrics import METRICS
from ullage.world import pages as http_pages
from ullage.world.exporter import read_address
from ullage.world.meters import RealMeters
from ullage.world.proxy.records import Records

DATA = Path(__file__).parent.parent / "data" / "metrics"
# What the server was started with whose pages these are.
COMMAND = (
    *("vllm", "serve", "HuggingFaceTB/SmolLM2-135M-Instruct", "--kv-cache-memory-bytes", "64M", "--block-size", "128"),
    *("--max-model-len", "1024", "--max-num-seqs", "16", "--dtype", "bfloat16"),
)
HELD_TO = ("--gpu", "24GiB", "--engine-version", "0.32.0", "--", *COMMAND)
MODELS = json.dumps({"object": "list", "data": [{"id": "smollm2-135m-shape", "max_model_len": 1024}]})


def page(name: str) -> tuple[int, str]:
    return 200, (DATA / f"vllm_0_32_cpu_{name}.prom").read_text()


def engine(name: str, health: int = 200) -> dict[str, tuple[int, str]]:
    return {"/metrics": page(name), "/health": (health, ""), "/v1/models": (200, MODELS)}


def watch(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return ullage("watch", *words, **environment)


def ullage(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ullage", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env={**os.environ, **environment})


def values(*words: str) -> tuple[int, Any]:
    done = watch(*words)
    return done.returncode, json.loads(done.stdout)


@contextmanager
def watching(*words: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "ullage", "watch", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_this_machine_is_watched_without_any_word() -> None:
    done = watch("--once")
    assert done.returncode in {0, 1}
    assert "host (host memory" in done.stdout
    assert done.stderr == ""


def test_one_process_of_this_machine_is_told_apart_from_the_others() -> None:
    code, told = values("--once", "--json", "--pid", str(os.getpid()))
    assert code in {0, 1}
    (me, *_) = told["host"]["processes"]
    assert me["pid"] == os.getpid()
    assert me["anon_bytes"] > 1 << 20
    host = told["devices"][-1]
    assert host["engine_bytes"] >= me["pss_bytes"] - (64 << 20)
    assert {part["part"] for part in host["parts"]} == {"others"}


def test_a_real_engines_pool_is_as_large_as_was_promised() -> None:
    with served(engine("idle")) as url:
        code, told = values(url, "--once", "--json", *HELD_TO)
    assert code == 0
    assert told["engine"] == {"url": url, "name": "vllm", "healthy": True, "model": "smollm2-135m-shape", "max_context_tokens": 1024}
    assert told["pool"]["tokens"] == told["pool"]["promised_tokens"]["expected"] == 2816
    assert told["pool"]["keeps_promise"] is True
    (cache,) = [part for part in told["devices"][0]["parts"] if part["part"] == "cache"]
    assert cache["seen_bytes"] == cache["promised"]["expected"] == 22 * 2949120


def test_requests_that_wait_in_the_guard_are_read_from_its_page() -> None:
    cost = CostModel(pool_bytes=1 << 20, steps=((16, 16),), longest_tokens=1024, most_sequences=2)
    held = tuple(
        Ticket(id=str(number), client="", cost_bytes=1, prompts=(1,), answer_tokens=1, at=0.0, replays_left=0) for number in range(7)
    )
    guards = Records(4).page(State(cost=cost, waiting=held, up=True))
    with served({**engine("idle"), "/metrics": (200, guards + page("idle")[1])}) as url:
        _, told = values(url, "--once", "--json")
    assert (told["engine"]["name"], told["pool"]["requests_waiting"], told["pool"]["requests_queued"]) == ("vllm", 7, 7)
    with served(engine("idle")) as url:
        _, told = values(url, "--once", "--json")
    assert (told["pool"]["requests_waiting"], told["pool"]["requests_queued"]) == (0, None)


def test_a_full_pool_ends_one_look_with_one_though_the_engine_counted_no_preemption() -> None:
    with served(engine("full")) as url:
        code, told = values(url, "--once", "--json", *HELD_TO)
    assert code == 1
    assert told["pool"]["preemptions"] == 0
    assert [(alarm["kind"], alarm["subject"]) for alarm in told["alarms"]] == [("pool", "pool")]
    assert "5 requests wait" in told["alarms"][0]["text"]


def test_another_promise_than_the_engine_keeps_is_a_drift() -> None:
    with served(engine("after")) as url:
        done = watch(url, "--once", "--gpu", "24GiB", "--engine-version", "0.32.0", "--", *COMMAND, "--kv-cache-memory-bytes", "128M")
    assert done.returncode == 1
    assert "ALARM" in done.stdout
    assert "the pool holds 2,816 tokens and 5,760 were promised" in " ".join(done.stdout.split())


def test_a_plan_on_disk_is_the_same_promise_as_its_command(tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    checked = subprocess.run(
        [sys.executable, "-m", "ullage", "check", "--json", "-o", str(plan), *HELD_TO], check=False, capture_output=True, timeout=60
    )
    assert checked.returncode == 0
    with served(engine("idle")) as url:
        _, by_file = values(url, "--once", "--json", "--plan", str(plan))
        _, by_command = values(url, "--once", "--json", *HELD_TO)
    assert [device["promised_peak"] for device in by_file["devices"]] == [device["promised_peak"] for device in by_command["devices"]]
    assert by_file["pool"] == by_command["pool"]


def test_an_engine_that_is_gone_is_an_alarm_and_no_error() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        code, told = values(f"http://127.0.0.1:{closed.getsockname()[1]}", "--once", "--json")
    assert code == 1
    assert told["pool"] is None
    assert told["engine"]["healthy"] is False
    assert [alarm["kind"] for alarm in told["alarms"]] == ["engine"]


def test_the_process_that_listens_is_found_by_the_address() -> None:
    with served({}) as url:
        assert RealMeters().listener(url) == os.getpid()
    assert RealMeters().listener("http://192.0.2.1:80") is None


def test_lines_follow_each_other_where_there_is_no_terminal() -> None:
    with served(engine("idle")) as url:
        done = watch(url, "--count", "3", "--interval", "0.1")
        lines = [json.loads(line) for line in watch(url, "--count", "3", "--interval", "0.1", "--json").stdout.splitlines()]
    assert len(done.stdout.splitlines()) == 3
    assert all(line.startswith("pool 0.0% used of 2,816 tokens") for line in done.stdout.splitlines())
    assert [line["schema"] for line in lines] == ["ullage.watch/1"] * 3
    assert lines[0]["at"] < lines[1]["at"] < lines[2]["at"]


def test_an_interrupted_watch_ends_with_what_its_last_look_said() -> None:
    with served(engine("full")) as url, watching(url, "--interval", "0.1") as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert process.returncode == 1


def test_the_exporter_serves_what_is_seen() -> None:
    with served(engine("full")) as url, watching(url, "--interval", "0.1", "--prometheus", "0", *HELD_TO) as process:
        assert process.stdout is not None
        found = re.search(r"metrics at (http://127\.0\.0\.1:\d+/metrics)", process.stdout.readline())
        assert found is not None
        with urlopen(found[1], timeout=10) as answer:  # noqa: S310 - the address that was just printed
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            text = answer.read().decode()
    samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert samples["ullage_pool_tokens"] == "2816"
    assert samples['ullage_pool_promised_tokens{bound="expected"}'] == "2816"
    assert samples["ullage_requests_waiting"] == "5"
    assert samples['ullage_alarm{kind="pool",subject="pool"}'] == "1"
    assert samples["ullage_up"] == "1"
    assert {name.split("{")[0] for name in samples} <= {metric.name for metric in METRICS}


def test_a_webhook_is_told_once_when_an_alarm_comes_and_once_when_it_goes() -> None:
    kept: list[Posted] = []
    shown = engine("full")
    with (
        served(shown) as url,
        served({}, kept) as hook,
        watching(url, "--interval", "0.1", "--webhook", hook.replace("://", "://name:secret@") + "/in") as process,
    ):
        assert process.stdout is not None
        for _ in range(4):
            process.stdout.readline()
        shown["/metrics"] = page("after")
        for _ in range(12):
            process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert process.returncode == 0
    assert [(len(one.body["raised"]), len(one.body["cleared"])) for one in kept[:1]] == [(1, 0)]
    assert kept[0].body["raised"][0]["kind"] == "pool"
    assert (kept[0].path, kept[0].body["schema"]) == ("/in", "ullage.alarm/1")
    assert kept[0].headers["Authorization"].startswith("Basic ")
    assert kept[-1].body["active"] == []
    assert any(alarm["kind"] == "pool" for one in kept[1:] for alarm in one.body["cleared"])


@pytest.mark.parametrize("status", [500, 302])
def test_a_webhook_that_fails_is_said_without_its_secrets(status: int) -> None:
    with served(engine("full")) as url, served({}, [], status) as hook:
        done = watch(url, "--once", "--webhook", hook.replace("://", "://name:secret@") + "/services/T0/hidden?key=hidden")
    assert done.returncode == 1
    assert f"the webhook was not told: {hook} answered {status}" in " ".join(done.stdout.split())
    assert "secret" not in done.stdout + done.stderr
    assert "hidden" not in done.stdout + done.stderr


def test_an_engines_password_is_sent_and_never_shown() -> None:
    with served(engine("idle")) as url:
        done = watch(url.replace("://", "://name:secret@"), "--once", "--json")
    assert json.loads(done.stdout)["engine"]["healthy"] is True
    assert "secret" not in done.stdout


def test_an_engine_that_sends_elsewhere_is_not_followed() -> None:
    with served({"/metrics": page("idle")}) as goal, served({"/metrics": (302, f"{goal}/metrics")}) as url:
        found = http_pages.get(f"{url}/metrics")
    assert found is not None
    assert (found.status, found.text) == (302, "")


@pytest.mark.parametrize(
    "words",
    [
        ("ftp://host", "--once"),
        ("http://", "--once"),
        ("--once", "--count", "3"),
        ("--once", "--prometheus", "9410"),
        ("--interval", "0"),
        ("--interval", "soon"),
        ("--prometheus", "many", "--count", "1"),
        ("--webhook", "nowhere", "--once"),
        ("--plan", "plan.json", "--model", "Qwen3-8B", "--once"),
        ("--log", "engine.log", "--once"),
        ("http://a", "http://b", "--once"),
        ("--pid", "none", "--once"),
    ],
    ids=" ".join,
)
def test_a_wrong_word_is_refused_in_one_line(words: tuple[str, ...]) -> None:
    done = watch(*words)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("ullage: ")
    assert done.stderr.count("\n") == 1


def test_a_process_that_is_not_there_is_said() -> None:
    done = watch("--once", "--pid", "9999999")
    assert (done.returncode, done.stderr.count("\n")) == (4, 1)
    assert "there is no process 9999999" in done.stderr


def test_a_port_that_is_taken_is_said_with_the_next_step() -> None:
    with served({}) as url:
        done = watch("--count", "1", "--prometheus", url.rsplit(":", 1)[1])
    assert done.returncode == 4
    assert "choose another port" in done.stderr


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("9410", ("127.0.0.1", 9410)), ("0.0.0.0:1", ("0.0.0.0", 1)), ("[::1]:9410", ("::1", 9410))],  # noqa: S104 - read, not bound
)
def test_an_exporter_is_for_this_machine_alone_unless_a_host_is_said(text: str, wanted: tuple[str, int]) -> None:
    assert read_address(text) == wanted
    with pytest.raises(InputError, match="write a port"):
        read_address(text + "x")


WEB = {"/": (200, "<html></html>")}
EVERYWHERE = dict.fromkeys(("/health", "/metrics", "/v1/models"), (200, "<!doctype html><html></html>"))


@pytest.mark.parametrize("pages", [WEB, EVERYWHERE], ids=["nothing is there", "a page for people everywhere"])
def test_a_web_server_is_no_healthy_engine(pages: dict[str, tuple[int, str]]) -> None:
    with served(pages) as url:
        code, told = values(url, "--once", "--json")
        asked = ullage("diagnose", url)
    assert (code, told["engine"]["healthy"]) == (1, False)
    (alarm,) = (alarm for alarm in told["alarms"] if alarm["kind"] == "engine")
    assert "no page of an engine does: /health" in alarm["text"]
    assert (asked.returncode, asked.stdout) == (4, "")
    assert "no page of an engine does: /health" in asked.stderr


def test_an_engine_without_a_page_of_health_is_neither_well_nor_ill() -> None:
    with served({"/v1/models": (200, MODELS)}) as url:
        _, told = values(url, "--once", "--json")
        asked = ullage("diagnose", url)
    assert told["engine"]["healthy"] is None
    assert asked.returncode == 0
    assert "has no page that says whether it is well" in " ".join(asked.stdout.split())


def test_a_key_is_taken_from_a_file_or_the_environment_and_its_absence_is_said(tmp_path: Path) -> None:
    with served(engine("idle"), key="secret-1") as url:
        said = [values(url, "--once", "--json")[1]]
        (tmp_path / "key").write_text("# mine\nsecret-1\n")
        said.append(values(url, "--once", "--json", "--api-key-file", str(tmp_path / "key"))[1])
        said.append(json.loads(watch(url, "--once", "--json", ULLAGE_API_KEY="secret-1").stdout))
        refused, asked = ullage("diagnose", url), ullage("diagnose", url, "--api-key-file", str(tmp_path / "key"))
    assert ["asks for a key" in " ".join(one["notes"]) for one in said] == [True, False, False]
    assert [one["engine"]["model"] for one in said] == [None, "smollm2-135m-shape", "smollm2-135m-shape"]
    assert (refused.returncode, asked.returncode) == (4, 0)
    assert "asks for a key" in refused.stderr
    assert "secret-1" not in asked.stdout + asked.stderr


def test_a_process_that_is_no_engine_and_an_address_without_its_beginning_are_said() -> None:
    shell, bare = ullage("diagnose", "--pid", str(os.getpid()), "--offline"), ullage("diagnose", "127.0.0.1:8000")
    assert (shell.returncode, bare.returncode) == (2, 2)
    assert "is no engine that is known" in shell.stderr
    assert "write http://127.0.0.1:8000" in bare.stderr
