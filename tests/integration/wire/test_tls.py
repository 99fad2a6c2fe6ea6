"""TLS and mutual TLS over real connections: who gets in, and new certificates without a restart."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from chronos_common.errors import ConfigurationError, TlsError, UnavailableError
from chronos_common.wire import ClientSecurity, CoordinatorClient, Server, ServerSecurity
from tests.support.certificates import Authority
from tests.support.fake_facade import BUDGET, FakeFacade, run_view, server_for


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("authority"))
    made.issue("server")
    made.issue("client", usage="clientAuth", hosts="DNS:worker-1")
    made.issue("elsewhere", hosts="DNS:coordinator.example")
    return made


@pytest.fixture
def own(tmp_path: Path) -> Authority:
    """An authority whose certificates a test may change."""
    made = Authority(tmp_path, "own")
    made.issue("server")
    made.issue("client", usage="clientAuth", hosts="DNS:worker-1")
    return made


def secured(facade: FakeFacade, security: ServerSecurity) -> Server:
    return server_for(facade, security=security)


def replace_all(old: Authority, new: Authority) -> None:
    """Certificates of another authority in the old places, as a rotation of the authority ends."""
    for name, usage in (("server", "serverAuth"), ("client", "clientAuth")):
        new.issue(name, usage=usage)
        for suffix in ("key", "pem"):
            (new.directory / f"{name}.{suffix}").replace(old.directory / f"{name}.{suffix}")
    old.certificate.write_bytes(new.certificate.read_bytes())


async def reached(server: Server, security: ClientSecurity | None) -> None:
    async with CoordinatorClient(server.address, deadlines=BUDGET, security=security) as client:
        assert await client.get_run("run-1") == run_view("run-1")


async def test_tls_and_mutual_tls(authority: Authority, facade: FakeFacade) -> None:
    async with secured(facade, authority.server()) as server:
        await reached(server, authority.client())
    async with secured(facade, authority.server(mutual=True)) as server:
        await reached(server, authority.client("client"))
        async with CoordinatorClient(
            server.address, deadlines=BUDGET, security=authority.client("client")
        ) as client:
            await client.wait_until_serving(10.0)


async def test_a_server_name_stands_in_for_the_host(authority: Authority, facade: FakeFacade) -> None:
    security = authority.client()
    async with secured(facade, authority.server("elsewhere")) as server:
        with pytest.raises(TlsError, match=r"not for '127\.0\.0\.1'.*--tls-server-name"):
            await reached(server, security)
        await reached(server, dataclasses.replace(security, tls_server_name="coordinator.example"))
        with pytest.raises(TlsError, match="not for 'other.example'"):
            await reached(server, dataclasses.replace(security, tls_server_name="other.example"))


async def test_who_does_not_fit_is_told_why(authority: Authority, own: Authority, facade: FakeFacade) -> None:
    async with secured(facade, authority.server()) as server:
        with pytest.raises(TlsError, match="authority that is not in .*own.pem"):
            await reached(server, own.client())
        with pytest.raises(TlsError, match="speaks TLS, and this client does not: give --tls-ca"):
            await reached(server, None)
    async with server_for(facade) as plain:
        with pytest.raises(TlsError, match="does not speak TLS, and this client does"):
            await reached(plain, authority.client())
    async with secured(facade, authority.server(mutual=True)) as server:
        with pytest.raises((TlsError, UnavailableError), match="give --tls-cert and --tls-key"):
            await reached(server, authority.client())
        stranger = dataclasses.replace(own.client("client"), tls_ca=authority.certificate)
        with pytest.raises((TlsError, UnavailableError), match="--tls-client-ca"):
            await reached(server, stranger)
    assert not facade.calls


async def test_new_certificates_are_taken_up_by_both_sides_without_a_restart(
    own: Authority, facade: FakeFacade, tmp_path: Path
) -> None:
    (tmp_path / "next").mkdir()
    following = Authority(tmp_path / "next", "following")
    async with secured(facade, own.server(mutual=True)) as server:
        before = CoordinatorClient(server.address, deadlines=BUDGET, security=own.client("client"))
        async with before:
            assert await before.get_run("run-1") == run_view("run-1")
            replace_all(own, following)
            # The server has both sides' new files, the old authority counts no more.
            await reached(server, dataclasses.replace(following.client(), **_identity(own)))
            with pytest.raises(TlsError, match="authority that is not in"):
                await reached(server, Authority(following.directory, "third").client())
            # The client that was connected goes on, on a connection of its own new certificate.
            assert await before.get_run("run-1") == run_view("run-1")


async def test_certificates_that_cannot_be_used_leave_the_old_ones_in_place(
    own: Authority, facade: FakeFacade
) -> None:
    async with secured(facade, own.server()) as server:
        own.issue("server", days=-1)
        await reached(server, own.client())
        (own.directory / "server.pem").write_text("nonsense")
        await reached(server, own.client())
        own.issue("server")
        await reached(server, own.client())


async def test_a_call_under_way_survives_the_change_of_certificates(
    own: Authority, facade: FakeFacade
) -> None:
    facade.records = []
    async with secured(facade, own.server()) as server:
        client = CoordinatorClient(server.address, deadlines=BUDGET, security=own.client("client"))
        async with client:
            updates = client.watch_run("run-1", give_up_seconds=0.0)
            first = await anext(updates)
            own.issue("client", usage="clientAuth")
            assert await client.get_run("run-1") == run_view("run-1")
            assert len(client._replaced) == 1
            await updates.aclose()
            assert await client.get_run("run-1") == run_view("run-1")
            assert not client._replaced
            assert first.status


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("expired", "server.pem has expired: put a new one in its place"),
        ("missing", "server.pem cannot be read: No such file"),
        ("no PEM", "cannot be used: they must be PEM"),
        ("other key", "is not that of the certificate"),
        ("no authority", "own.pem holds no certificate in PEM form"),
        ("empty", "server.key is empty"),
    ],
)
async def test_a_server_does_not_start_on_what_nobody_could_use(
    own: Authority, facade: FakeFacade, damage: str, message: str
) -> None:
    if damage == "expired":
        own.issue("server", days=-1)
    elif damage == "missing":
        (own.directory / "server.pem").unlink()
    elif damage == "no PEM":
        (own.directory / "server.pem").write_text("nonsense")
    elif damage == "other key":
        (own.directory / "client.key").replace(own.directory / "server.key")
    elif damage == "no authority":
        own.certificate.write_text("nonsense")
    else:
        (own.directory / "server.key").write_text("")
    with pytest.raises(ConfigurationError, match=message):
        await secured(facade, own.server(mutual=True)).start()


async def test_a_client_does_not_start_on_what_nobody_would_take(own: Authority, facade: FakeFacade) -> None:
    own.issue("client", usage="clientAuth", days=-1)
    async with secured(facade, own.server(mutual=True)) as server:
        with pytest.raises(ConfigurationError, match="client.pem has expired"):
            await reached(server, own.client("client"))
        own.certificate.unlink()
        with pytest.raises(ConfigurationError, match="own.pem cannot be read"):
            await reached(server, own.client())


async def test_a_certificate_that_expires_while_it_is_served_is_named(
    own: Authority, facade: FakeFacade, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.issue("server", days=-1)
    with monkeypatch.context() as blind:
        blind.setattr("chronos_common.wire.certificates._require_in_time", lambda *_: None)
        server = secured(facade, own.server())
        await server.start()
    try:
        with pytest.raises(TlsError, match="cannot be trusted: its certificate has expired"):
            await reached(server, own.client())
    finally:
        await server.stop()


def test_settings_that_mean_nothing_alone_are_refused() -> None:
    file = Path("file.pem")
    for settings in (
        lambda: ServerSecurity(tls_cert=file),
        lambda: ServerSecurity(tls_key=file),
        lambda: ServerSecurity(tls_client_ca=file),
        lambda: ClientSecurity(tls_ca=file, tls_cert=file),
        lambda: ClientSecurity(tls_cert=file, tls_key=file),
        lambda: ClientSecurity(tls_server_name="x"),
    ):
        with pytest.raises(ConfigurationError, match="tls_"):
            settings()


def _identity(authority: Authority) -> dict[str, Path]:
    return {"tls_cert": authority.directory / "client.pem", "tls_key": authority.directory / "client.key"}
