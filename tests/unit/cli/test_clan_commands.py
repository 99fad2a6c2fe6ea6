"""`chronos clan`, with a coordinator that is none."""

from __future__ import annotations

import io
import json
import math
import re
from pathlib import Path

import pytest
from rich.console import Console

from chronos_common.clan import BoolAllele, ClanConfig, FloatAllele, LogFloatAllele, StringAllele
from chronos_common.clan.checking import ClanReport
from chronos_common.clan.definition import ClanDefinition
from chronos_common.clan.job import ClanJob
from chronos_common.clan.views import ClanView, clan_view
from chronos_common.cli import clan_watch
from chronos_common.errors import ClanNotFoundError, UnavailableError
from tests.support.fake_client import Cli, FakeClient

DEFINITION = ClanDefinition(
    config=ClanConfig(population_size=3, round_length=10, total_steps=60),
    genes={
        "lr": LogFloatAllele(value=1e-2, domain=(1e-6, 1.0)),
        "dropout": FloatAllele(value=0.25, domain=(0.0, 0.9), specialised=True),
        "nesterov": BoolAllele(value=True),
        "loss": StringAllele(value="l1", domain=("l1", "l2")),
    },
)


def played(rounds: int) -> ClanJob:
    job = ClanJob(DEFINITION)
    for worker in "abc":
        job.join(worker, 1, now=0.0)
    for number in range(rounds):
        if job.clan.finished:
            break
        job.begin("a", 1, now=0.0)
        for place, worker in enumerate("abc"):
            fitness = math.nan if (number, place) == (1, 2) else 2.5 + math.sin(number + place)
            job.report(worker, 1, number=number, fitness=fitness)
    return job


@pytest.fixture
def jobs(fake: type[FakeClient], monkeypatch: pytest.MonkeyPatch) -> list[ClanJob]:
    """Clans as the command sees them, one look after the other."""
    looks = [played(4)]

    def describe(_: FakeClient, clan_id: str) -> ClanView:
        if clan_id != "digits":
            raise ClanNotFoundError(f"there is no clan {clan_id!r}; list the clans to see their ids")
        return clan_view("digits", looks[0])

    def history(_: FakeClient, clan_id: str, first_round: int = 0) -> object:
        job = looks.pop(0) if len(looks) > 1 else looks[0]
        return [record for record in job.history if record.number >= first_round]

    def verify(_: FakeClient, clan_id: str) -> ClanReport:
        clean = clan_id == "digits"
        return ClanReport(
            clean=clean, rounds=4, entries=20, problem="" if clean else "entry 7: it is another"
        )

    monkeypatch.setattr(FakeClient, "describe_clan", describe, raising=False)
    monkeypatch.setattr(FakeClient, "list_clans", lambda _: ["digits"] if looks else [], raising=False)
    monkeypatch.setattr(FakeClient, "clan_history", history, raising=False)
    monkeypatch.setattr(FakeClient, "verify_clan", verify, raising=False)
    return looks


def test_show_says_how_a_clan_stands_and_what_its_members_train_with(cli: Cli, jobs: list[ClanJob]) -> None:
    done = cli("clan", "show", "digits")
    assert done.code == 0
    best = min(seat.genome.loss for seat in jobs[0].clan.seats)
    for text in ("round 4 waits", "of 60", "3 of 3 members", f"{best:.4g}", "dropout", "l1"):
        assert text in done.out
    facts = json.loads(cli("clan", "show", "digits", "--json").out)
    assert (facts["round"], facts["members"][0]["worker_id"]) == (4, "a")
    assert facts["members"][1]["genes"] == jobs[0].clan.seats[1].genome.values()


def test_list_names_every_clan(cli: Cli, jobs: list[ClanJob]) -> None:
    assert "digits" in cli("clan", "list").out
    assert [one["clan_id"] for one in json.loads(cli("clan", "list", "--json").out)["clans"]] == ["digits"]
    jobs.clear()
    assert "no clan" in cli("clan", "list").out


def test_watch_prints_each_round_once_until_the_end(cli: Cli, jobs: list[ClanJob]) -> None:
    jobs[:] = [played(1), played(3), played(3), played(9)]
    assert jobs[-1].clan.finished
    lines = cli("clan", "watch", "digits", "--every", "0.05").out.splitlines()
    numbers = [int(line.split()[1]) for line in lines]
    assert numbers == list(range(len(jobs[-1].history)))
    assert "fan-out" in lines[0]
    assert "to inf of 3" in lines[1]
    rounds = [json.loads(line) for line in cli("clan", "watch", "digits", "--json").out.splitlines()]
    assert rounds[1]["members"][2]["fitness"] is None


def test_watch_draws_a_table_on_a_terminal_and_outlives_a_coordinator_that_is_away(
    cli: Cli, jobs: list[ClanJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    screen, away = io.StringIO(), [UnavailableError("it is away")]
    monkeypatch.setattr(clan_watch, "results", lambda: Console(file=screen, force_terminal=True, width=200))
    jobs[:] = [played(2), played(9)]
    history = FakeClient.clan_history  # type: ignore[attr-defined]

    def sometimes(client: FakeClient, clan_id: str, first_round: int = 0) -> object:
        if len(jobs) == 1 and away:
            raise away.pop()
        return history(client, clan_id, first_round)

    monkeypatch.setattr(FakeClient, "clan_history", sometimes)
    assert cli("clan", "watch", "digits", "--every", "0.05").code == 0
    assert not away
    for text in ("dropout", "replaced", "finished"):
        assert text in screen.getvalue()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (240, 50)])
def test_watch_fits_the_terminal_with_a_line_for_each_round_and_the_newest_at_the_end(
    cli: Cli, jobs: list[ClanJob], monkeypatch: pytest.MonkeyPatch, width: int, height: int
) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, no_color=True, width=width, height=height)
    monkeypatch.setattr(clan_watch, "results", lambda: console)
    jobs[:] = [played(9)]
    assert cli("clan", "watch", "digits").code == 0
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue()).rstrip().splitlines()
    lines = lines[
        max(place for place, line in enumerate(lines) if "clan digits" in line) :
    ]  # the last picture
    assert len(lines) <= height
    rounds = [line.split()[0] for line in lines if "←" in line or line.split()[-1:] == ["-"]]
    last = jobs[0].history[-1].number
    assert str(last) in rounds
    assert ("median" in "".join(lines)) == (width >= 120)
    assert (" to " in "".join(lines)) == (width >= 240)


def test_the_report_has_the_figure_and_every_round(cli: Cli, jobs: list[ClanJob], tmp_path: Path) -> None:
    done = cli("clan", "report", "digits", "--out", str(tmp_path / "out"))
    assert done.code == 0
    document = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [record["number"] for record in document["rounds"]] == [0, 1, 2, 3]
    assert (tmp_path / "out" / "report.png").read_bytes().startswith(b"\x89PNG")
    jobs[:] = [played(0)]
    assert "no round" in cli("clan", "report", "digits", "--out", str(tmp_path)).err


@pytest.mark.usefixtures("jobs")
def test_verify_fails_when_anything_disagrees(cli: Cli) -> None:
    assert "4 rounds decided again" in cli("clan", "verify", "digits").out
    done = cli("clan", "verify", "other")
    assert (done.code, "entry 7" in done.out) == (1, True)
    assert json.loads(cli("clan", "verify", "digits", "--json").out)["clean"] is True


@pytest.mark.usefixtures("jobs")
def test_an_unknown_clan_is_one_line(cli: Cli) -> None:
    done = cli("clan", "show", "nothing")
    assert done.code == 1
    assert "chronos clan list" in done.err
