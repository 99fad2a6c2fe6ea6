"""The token file: what a line may be, and what is said of one that may not."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from chronos_common.errors import AuthenticationError, ConfigurationError
from chronos_common.wire.security import ClientSecurity
from chronos_common.wire.tokens import Caller, ClientToken, TokenBook, is_loopback

TOKEN = "0123456789abcdef0123456789abcdef"


def book(path: Path, text: str) -> TokenBook:
    path.write_text(text)
    return TokenBook(path)


def test_lines_comments_and_hashes(tmp_path: Path) -> None:
    hashed = hashlib.sha256(TOKEN.encode()).hexdigest()
    tokens = book(
        tmp_path / "tokens", f"# ours\n\nworker pool sha256:{hashed}  # by hash\nreader ui {TOKEN}x\n"
    )
    assert tokens.authenticate([("authorization", f"Bearer {TOKEN}")]) == Caller(name="pool", role="worker")
    assert tokens.authenticate([("authorization", f"bearer {TOKEN}x")]).role == "reader"
    with pytest.raises(AuthenticationError):
        # Its hash is no token.
        tokens.authenticate([("authorization", f"Bearer {hashed}")])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("# nothing\n", "holds no token"),
        (f"worker {TOKEN}", "line 1 .* must be ROLE NAME TOKEN"),
        (f"\nroot me {TOKEN}", "line 2 .* there are admin, worker, reader"),
        ("worker me short", "too short"),
        ("worker me " + "ü" * 32, "too short or has characters"),
        ("worker me sha256:abc", "no SHA-256"),
        (f"worker a {TOKEN}\nadmin b {TOKEN}", "line 2 .* repeats a token"),
    ],
)
def test_a_bad_file_is_one_line_without_the_token(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        book(tmp_path / "tokens", text)
    assert TOKEN not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="the token file .*nowhere cannot be read"):
        TokenBook(tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["two words-and-more", "", "line\nline"])
def test_a_client_sends_one_token_or_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "token"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="must hold one token|is empty"):
        ClientToken(ClientSecurity(token_file=path), "localhost:1").metadata()


def test_without_a_file_nothing_is_sent() -> None:
    assert ClientToken(ClientSecurity(), "coordinator.example:1").metadata() == ()


@pytest.mark.parametrize(
    ("address", "ours"),
    [
        ("127.0.0.1:50551", True),
        ("127.8.0.1", True),
        ("localhost:1", True),
        ("[::1]:50551", True),
        ("::1", True),
        ("unix:/run/chronos.sock", True),
        ("192.0.2.1", False),
        ("10.0.0.1:50551", False),
        ("localhost.example:1", False),
        ("::", False),
    ],
)
def test_loopback(address: str, ours: bool) -> None:
    assert is_loopback(address) is ours
