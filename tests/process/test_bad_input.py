"""What cannot work, through the real command lines: one line that says what to do, a code, no traceback."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from chronos_common.runtime import ManagedProcess, child_environment
from tests.support.certificates import Authority
from tests.support.coordinator_process import coordinator_process, free_port

pytestmark = pytest.mark.process

TOKEN = "0123456789abcdef" * 2
READER = "fedcba9876543210" * 2


@dataclass(frozen=True, kw_only=True)
class Place:
    """A secured coordinator, a plain one, and the files that fit or do not."""

    files: Path
    secured: str
    plain: str
    nobody: str

    def client(self, *, ca: str = "ca.pem", cert: str = "client", token: str | None = None) -> list[str]:
        """Options of a client; empty leaves one out."""
        options = ["--tls-ca", str(self.files / ca)] if ca else []
        if cert:
            options += ["--tls-cert", str(self.files / f"{cert}.pem")]
            options += ["--tls-key", str(self.files / f"{cert}.key")]
        return options if token == "" else [*options, "--token-file", str(self.files / (token or "token"))]

    def server(self, cert: str = "server", key: str = "server", **others: str) -> list[str]:
        """Options of a coordinator."""
        options = ["--tls-cert", str(self.files / f"{cert}.pem"), "--tls-key", str(self.files / f"{key}.key")]
        for name, file in others.items():
            options += [f"--{name.replace('_', '-')}", str(self.files / file)]
        return [*options, "--store-path", str(self.files / "never"), "--port", "0", "--metrics-port", "none"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    files = tmp_path_factory.mktemp("files")
    authority = Authority(files)
    authority.issue("server", hosts="IP:127.0.0.1")
    authority.issue("client", usage="clientAuth")
    authority.issue("expired", usage="clientAuth", days=-1)
    authority.issue("expired-server", days=-1)
    Authority(files, "stranger").issue("strange", usage="clientAuth")
    (files / "tokens").write_text(f"admin me {TOKEN}\nreader you {READER}\n")
    (files / "token").write_text(TOKEN)
    (files / "reader").write_text(READER)
    (files / "wrong").write_text("x" * 32)
    (files / "bad-tokens").write_text("admin me short\n")
    (files / "a-file").write_text("not a directory")
    secured = [*Place.server(Place(files=files, secured="", plain="", nobody=""), tls_client_ca="ca.pem")]
    secured += ["--token-file", str(files / "tokens"), "--store-path", str(files / "store")]
    argv = [sys.executable, "-m", "chronos_coordinator", *secured]
    process = ManagedProcess(argv, name="secured", env=child_environment(threads=1))
    with process, coordinator_process(files / "plain") as plain:
        address = str(process.wait_ready(60.0)["address"])
        yield Place(files=files, secured=address, plain=plain.address, nobody=f"127.0.0.1:{free_port()}")


def error_of(module: str, *arguments: str, **environment: str) -> tuple[int, str]:
    """Exit code and the one line of a command that cannot work; log lines are JSON."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=child_environment(threads=1, **environment),
    )
    assert "Traceback" not in done.stdout + done.stderr
    # A setting that cannot work is followed by where to read about all of them.
    said = [line for line in done.stderr.splitlines() if not line.startswith(("{", "Try '"))]
    [line] = said
    assert TOKEN not in done.stdout + done.stderr
    return done.returncode, line


CLIENTS: dict[str, tuple[Callable[[Place], list[str]], int, str]] = {
    "expired certificate": (
        lambda place: [place.secured, *place.client(cert="expired")],
        2,
        r"expired\.pem has expired: put a new one in its place",
    ),
    "unknown authority": (
        lambda place: [place.secured, *place.client(ca="stranger.pem")],
        1,
        r"authority that is not in .*stranger\.pem .*give the one that signed it with --tls-ca",
    ),
    "authority of the client unknown": (
        lambda place: [place.secured, *place.client(cert="strange")],
        1,
        r"--tls-cert.*--tls-client-ca",
    ),
    "no client certificate": (
        lambda place: [place.secured, *place.client(cert="")],
        1,
        "give --tls-cert and --tls-key",
    ),
    "wrong host name": (
        lambda place: [place.secured.replace("127.0.0.1", "localhost"), *place.client()],
        1,
        r"not for 'localhost': use a name that is in it .*--tls-server-name",
    ),
    "plaintext to TLS": (
        lambda place: [place.secured],
        1,
        "speaks TLS, and this client does not: give --tls-ca",
    ),
    "TLS to plaintext": (
        lambda place: [place.plain, *place.client()],
        1,
        "does not speak TLS.*--tls-cert and --tls-key, or leave --tls-ca out",
    ),
    "missing file": (
        lambda place: [place.secured, *place.client(ca="nowhere.pem")],
        2,
        r"nowhere\.pem cannot be read: No such file",
    ),
    "certificate without key": (
        lambda place: [place.secured, "--tls-ca", str(place.files / "ca.pem"), "--tls-cert", "x.pem"],
        2,
        "tls_cert is given without tls_key",
    ),
    "nothing listens": (
        lambda place: [place.nobody],
        1,
        "nothing listens there; check that it runs, and the port",
    ),
    "unknown host": (lambda place: ["nowhere.invalid:1"], 1, "host name is not known; check the address"),
    "no token": (
        lambda place: [place.secured, *place.client(token="")],
        1,
        "wants a token.*give .*--token-file",
    ),
    "wrong token": (
        lambda place: [place.secured, *place.client(token="wrong")],
        1,
        "does not know the token.*put a token of this one into .*--token-file",
    ),
    "missing token file": (
        lambda place: [place.secured, *place.client(token="nowhere")],
        2,
        "the token file .*nowhere cannot be read",
    ),
}


@pytest.mark.parametrize("case", CLIENTS)
def test_the_command_line_says_why_it_does_not_get_through(place: Place, case: str) -> None:
    make, code, message = CLIENTS[case]
    address, *options = make(place)
    got, line = error_of("chronos_common.cli", "runs", "--coordinator", address, *options)
    assert line.startswith("chronos: error: ")
    assert _matches(message, line)
    assert got == code


def test_a_role_that_is_too_small_is_named(place: Place) -> None:
    options = ["--coordinator", place.secured, *place.client(token="reader")]
    code, line = error_of("chronos_common.cli", "stop", "any", *options)
    assert (code, line) == (
        1,
        "chronos: error: StopRun needs a token of role admin; the one of 'you' has role reader",
    )


def test_environment_and_file_secure_the_command_line_too(place: Place, tmp_path: Path) -> None:
    code, line = error_of(
        "chronos_common.cli",
        "runs",
        CHRONOS_CLI__COORDINATOR=place.secured,
        CHRONOS_CLIENT__TLS_CA=str(place.files / "stranger.pem"),
    )
    assert (code, "stranger.pem" in line) == (1, True)
    file = tmp_path / "chronos.toml"
    file.write_text(f'[cli]\ncoordinator = "{place.secured}"\n[client]\ntls_ca = "{place.files}/nowhere"\n')
    code, line = error_of("chronos_common.cli", "runs", CHRONOS_CONFIG=str(file))
    assert (code, "nowhere cannot be read" in line) == (2, True)


def test_an_unknown_problem(tmp_path: Path) -> None:
    code, line = error_of(
        "chronos_common.cli", "run", "nowhere.problems:Mine", "--data", str(tmp_path / "data")
    )
    assert code in (1, 2)
    assert _matches("^chronos: error: .*nowhere", line)


SERVERS: dict[str, tuple[Callable[[Place], list[str]], int, str]] = {
    "expired certificate": (
        lambda place: place.server(cert="expired-server", key="expired-server"),
        1,
        r"expired-server\.pem has expired: put a new one in its place",
    ),
    "missing certificate": (lambda place: place.server(cert="nowhere"), 1, r"nowhere\.pem cannot be read"),
    "key of another": (lambda place: place.server(key="client"), 1, "is not that of the certificate"),
    "no key": (lambda place: ["--tls-cert", "x.pem"], 2, "tls_cert is given without tls_key"),
    "bad tokens": (
        lambda place: place.server(token_file="bad-tokens"),
        1,
        "line 1 of the token file .*too short.*openssl rand -hex 32",
    ),
    "unwritable data": (
        lambda place: ["--port", "0", "--store-path", str(place.files / "a-file" / "data")],
        1,
        "a-file/data",
    ),
    "read-only volume": (
        lambda place: ["--port", "0", "--store-path", "/proc/chronos"],
        1,
        "/proc/chronos",
    ),
}


@pytest.mark.parametrize("case", SERVERS)
def test_the_coordinator_says_why_it_does_not_start(place: Place, case: str) -> None:
    make, code, message = SERVERS[case]
    got, line = error_of("chronos_coordinator", *make(place), "--log-format", "json")
    assert line.startswith("chronos-coordinator: error: ") or code == 2
    assert _matches(message, line)
    assert got == code


WORKERS: dict[str, tuple[Callable[[Place], list[str]], int, str]] = {
    "wrong token": (
        lambda place: [place.secured, *place.client(token="wrong")],
        1,
        "does not know the token",
    ),
    "role": (
        lambda place: [place.secured, *place.client(token="reader")],
        1,
        "RegisterWorker needs a token of role worker or admin",
    ),
    "unknown authority": (
        lambda place: [place.secured, *place.client(ca="stranger.pem")],
        1,
        "give the one that signed it with --tls-ca",
    ),
    "missing certificate": (
        lambda place: [place.secured, *place.client(cert="nowhere")],
        2,
        r"nowhere\.pem cannot be read",
    ),
    "nothing listens": (
        lambda place: [place.nobody, "--connect-seconds", "0.5"],
        1,
        "nothing listens there; check that it runs, and the port .*--connect-seconds",
    ),
    "unwritable state": (
        lambda place: [place.plain, "--state-dir", str(place.files / "a-file" / "state")],
        2,
        "a-file/state",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", WORKERS)
def test_the_worker_says_why_it_does_not_begin(place: Place, case: str) -> None:
    make, code, message = WORKERS[case]
    address, *options = make(place)
    got, line = error_of(
        "chronos_worker", "--coordinator", address, "--problem", "*", *options, "--log-format", "json"
    )
    assert line.startswith("chronos-worker: error: ")
    assert _matches(message, line)
    assert got == code


def test_a_port_beyond_this_machine_without_security_is_warned_of(tmp_path: Path) -> None:
    lines: list[str] = []
    argv = [sys.executable, "-m", "chronos_coordinator", "--host", "::", "--port", "0", "--metrics-port"]
    process = ManagedProcess(
        [*argv, "none", "--store-path", str(tmp_path), "--log-format", "json"],
        name="open",
        env=child_environment(threads=1),
        on_line=lines.append,
    )
    with process:
        process.wait_ready(60.0)
    [warning] = [line for line in lines if "whoever reaches this port" in line]
    assert "--tls-cert, --token-file or --tls-client-ca" in warning


def _matches(pattern: str, line: str) -> bool:
    assert re.search(pattern, line), line
    return True
