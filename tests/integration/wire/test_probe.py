"""``chronos-health``: what the health checks of containers run."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from chronos_common.probe import check, main
from chronos_common.wire import Server


async def test_a_service_that_serves(server: Server) -> None:
    for name in ("", "chronos.v1.CoordinatorService"):
        assert await asyncio.to_thread(check, server.address, name) == ""


async def test_a_name_that_the_server_does_not_know(server: Server) -> None:
    problem = await asyncio.to_thread(check, server.address, "chronos.worker")
    assert (
        problem
        == f"chronos.worker at {server.address} does not serve: it has no service 'chronos.worker' (yet)"
    )


async def test_a_service_that_says_no(server: Server) -> None:
    await server.set_serving("chronos.worker", serving=False)
    problem = await asyncio.to_thread(check, server.address, "chronos.worker")
    assert problem.endswith("it says NOT_SERVING; it is starting or stopping")
    await server.set_serving("chronos.worker", serving=True)
    assert await asyncio.to_thread(check, server.address, "chronos.worker") == ""


async def test_nobody_at_the_address(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    address = server.address
    await server.stop()
    assert await asyncio.to_thread(main, [address]) == 1
    line = f"chronos-health: {address} does not serve: nobody answers; is it running, and is this its gRPC port?\n"
    assert capsys.readouterr().err == line


async def test_it_starts_fast_since_it_imports_nothing_else_of_chronos(server: Server) -> None:
    script = (
        "import sys; from chronos_common.probe import main; code = main(sys.argv[1:]);"
        "print(code, *sorted(n for n in sys.modules if n.startswith(('chronos', 'numpy', 'torch', 'typer'))))"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, server.address, stdout=subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert output.decode().split() == ["0", "chronos_common", "chronos_common.probe"]
