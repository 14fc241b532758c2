"""What the server settles before it answers."""

import socket
import subprocess
import sys
from contextlib import nullcontext

import pytest
from tests.runtime.real_model import smollm2_file

from ullage.errors import WorldError
from ullage.runtime.serve.address import try_address
from ullage.runtime.serve.defaults import sampling_defaults


def test_a_port_in_use_is_refused_before_anything_is_loaded() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        command = [sys.executable, "-m", "ullage.runtime", str(smollm2_file()), "--port", str(port)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 4
    assert f"127.0.0.1:{port} cannot be listened on" in ended.stderr
    assert "weights:" not in ended.stdout + ended.stderr


NOBODYS = (10**6, ("of a family that no machine has", 0))
OURS = (socket.AF_INET, ("127.0.0.1", 0))


@pytest.mark.parametrize(("named", "refusal"), [((NOBODYS, OURS), None), ((OURS,), None), ((NOBODYS, NOBODYS), "localhost:80 cannot be")])
def test_of_the_addresses_of_a_name_one_that_the_machine_has_is_enough(
    monkeypatch: pytest.MonkeyPatch, named: tuple[tuple[int, tuple[str, int]], ...], refusal: str | None
) -> None:
    found = [(family, socket.SOCK_STREAM, 6, "", address) for family, address in named]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with nullcontext() if refusal is None else pytest.raises(WorldError, match=refusal):
        try_address("localhost", 80)


def test_an_address_is_taken_where_one_of_several_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in (("127.0.0.1", 0), other.getsockname())]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        with pytest.raises(WorldError, match="in use"):
            try_address("localhost", 80)


def test_the_makers_sampling_is_read_from_the_models_folder() -> None:
    said = b'{"do_sample": true, "temperature": 0.7, "top_k": 20, "top_p": true, "eos_token_id": 2, "repetition_penalty": null}'

    defaults = sampling_defaults({"generation_config.json": said})

    assert defaults == {"temperature": 0.7, "top_k": 20}
    assert sampling_defaults({}) == sampling_defaults({"generation_config.json": b"[]"}) == {}
