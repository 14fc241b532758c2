import pytest

from ullage.domain.case import Version
from ullage.domain.plan import Command
from ullage.engines import engines
from ullage.errors import InputError
from ullage.planning.launch import address_of, listen, patched, server_of, with_option

VLLM, LLAMA, TABBY = (engines()[name] for name in ("vllm", "llama_cpp", "exllamav3"))


def command(text: str, **environment: str) -> Command:
    return Command(argv=tuple(text.split()), environment=tuple(environment.items()))


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("vllm serve m", "127.0.0.1", 8000),
        ("vllm serve m --port 1 --host 0.0.0.0 --port=9000", "0.0.0.0", 9000),  # noqa: S104 - read, not bound
        ("vllm serve m --port=9", "127.0.0.1", 9),
    ],
)
def test_where_a_command_listens_is_what_it_says_last_or_the_engines_own(text: str, host: str, port: int) -> None:
    made = command(text)
    assert address_of(made, server_of(VLLM.profile, made.argv)) == (host, port)


def test_ollama_is_told_by_its_variable() -> None:
    made = command("ollama serve", OLLAMA_HOST="0.0.0.0:5")
    server = server_of(LLAMA.profile, made.argv)
    assert address_of(made, server) == ("0.0.0.0", 5)  # noqa: S104 - read, not bound
    assert dict(listen(made, server, "127.0.0.1", 7).environment) == {"OLLAMA_HOST": "127.0.0.1:7"}


def test_a_port_is_replaced_where_it_stands_and_said_once() -> None:
    made = listen(command("vllm serve m --port 1 --max-model-len 5 --port=2"), server_of(VLLM.profile, ("vllm",)), "127.0.0.1", 3)
    assert made.argv == ("vllm", "serve", "m", "--max-model-len", "5", "--host", "127.0.0.1", "--port", "3")


def test_a_server_that_makes_keys_of_its_own_makes_none_where_only_this_machine_reaches_it() -> None:
    server = server_of(TABBY.profile, ("python", "main.py"))
    assert listen(command("python main.py"), server, "127.0.0.1", 3, is_private=True).argv[-2:] == ("--disable-auth", "true")
    assert "--disable-auth" not in listen(command("python main.py"), server, "127.0.0.1", 3).argv


@pytest.mark.parametrize(
    ("words", "build", "added"),
    [
        ("llama-server -m m", 11434, "--metrics --verbosity 4"),
        ("llama-server -m m --metrics", 11434, "--verbosity 4"),
        ("llama-server -m m", 9000, "--metrics"),  # says its sizes unasked
        ("llama-server -m m", 3000, "--metrics"),  # does not know the flag
        ("llama-server -m m", None, "--metrics"),
        ("llama-server -m m -lv 2", 11434, "--metrics"),
        ("llama-server -m m --log-verbosity=5", 11434, "--metrics"),
        ("llama-server -m m --verbose", 11434, "--metrics"),
    ],
)
def test_a_llama_cpp_that_hides_its_sizes_is_asked_for_them_unless_its_command_says_how_much_to_print(
    words: str, build: int | None, added: str
) -> None:
    version = None if build is None else Version((build,), str(build))
    server = server_of(LLAMA.profile, ("llama-server",))
    made = listen(command(words), server, "127.0.0.1", 3, is_private=True, version=version)
    assert " ".join(made.argv) == f"{words} --host 127.0.0.1 --port 3 {added}"
    again = listen(made, server, "127.0.0.1", 3, is_private=True, version=version)
    assert sorted(again.argv) == sorted(made.argv)


@pytest.mark.parametrize(
    ("name", "text", "is_asked"),
    [
        ("sglang", "sglang serve --model-path m", True),
        ("sglang", "python -m sglang.launch_server --model-path m --enable-metrics", False),  # it is said already
        ("ktransformers", "python -m sglang.launch_server --model m", True),
        ("ktransformers", "ktransformers --model_path m", False),  # the classic server has no counters
    ],
)
def test_an_sglang_is_asked_for_its_counters_where_only_this_machine_reaches_it(name: str, text: str, is_asked: object) -> None:
    made = command(text)
    server = server_of(engines()[name].profile, made.argv)
    told = listen(made, server, "127.0.0.1", 3, is_private=True).argv
    assert (told[-1] == "--enable-metrics") == is_asked
    assert told.count("--enable-metrics") == ("--enable-metrics" in text or is_asked)
    assert listen(made, server, "127.0.0.1", 3).argv.count("--enable-metrics") == ("--enable-metrics" in text)


def test_a_llama_cpp_whose_environment_says_how_much_to_print_prints_that() -> None:
    made = command("llama-server -m m", LLAMA_ARG_LOG_VERBOSITY="1")
    server = server_of(LLAMA.profile, made.argv)
    assert "--verbosity" not in listen(made, server, "127.0.0.1", 3, is_private=True, version=LLAMA.profile.default).argv


def test_a_script_that_answers_once_is_no_server() -> None:
    with pytest.raises(InputError, match="no server"):
        server_of(engines()["transformers"].profile, ("python", "generate.py"))


def test_a_command_of_theirs_is_changed_in_one_setting_and_kept_in_all_others() -> None:
    theirs = command("vllm serve m --max-num-seqs 64 --served-model-name x --max-model-len=32768", A="1")
    made = patched(VLLM, theirs, command("vllm serve m --max-model-len 32768"), command("vllm serve m --max-model-len 16384"))
    assert made is not None
    assert made.argv == ("vllm", "serve", "m", "--max-num-seqs", "64", "--served-model-name", "x", "--max-model-len", "16384")
    assert made.environment == (("A", "1"),)


def test_a_change_that_the_engine_would_not_read_back_is_not_made() -> None:
    theirs = command("vllm serve m")
    assert patched(VLLM, theirs, command("vllm serve m"), command("vllm serve m")) is None


def test_an_option_of_several_values_is_replaced_whole() -> None:
    assert with_option(("a", "--port", "1", "b"), "--port", "2") == ("a", "b", "--port", "2")
