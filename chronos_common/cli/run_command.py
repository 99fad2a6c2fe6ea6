"""`chronos run`: optimise a problem, on a coordinator that runs somewhere or on one of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chronos_common.cli.options import (
    HERE,
    AsJson,
    ProblemPath,
    configured_coordinator,
    keyword_arguments,
)
from chronos_common.errors import ConfigurationError

DEFAULT_WORKERS = 2
_PROBLEM, _OUTER, _ROUNDS, _WHERE = "Problem", "Outer optimiser", "Rounds", "Where"


def run(
    problem: Annotated[
        str, typer.Argument(metavar="PROBLEM", help="The problem, as package.module:ClassName.")
    ],
    config: Annotated[
        str,
        typer.Option(
            "--config",
            metavar="JSON",
            help="Arguments of the problem, a JSON object.",
            rich_help_panel=_PROBLEM,
        ),
    ] = "",
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="One argument of the problem; may be repeated.",
            rich_help_panel=_PROBLEM,
        ),
    ] = None,
    path: ProblemPath = HERE,
    estimator: Annotated[
        str, typer.Option(help="Hypergradient estimator: implicit or unrolled.", rich_help_panel=_PROBLEM)
    ] = "implicit",
    estimator_setting: Annotated[
        list[str] | None,
        typer.Option(
            "--estimator-set",
            metavar="KEY=VALUE",
            help="One setting of the estimator, such as damping=0.1; may be repeated.",
            rich_help_panel=_PROBLEM,
        ),
    ] = None,
    inner_steps: Annotated[
        int, typer.Option(min=1, help="Inner steps for each update.", rich_help_panel=_PROBLEM)
    ] = 100,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of all randomness of the run.", rich_help_panel=_PROBLEM)
    ] = 0,
    evaluate_every: Annotated[
        int,
        typer.Option(min=0, help="Evaluate at every so many versions; 0 is never.", rich_help_panel=_PROBLEM),
    ] = 1,
    versions: Annotated[
        int,
        typer.Option(min=0, help="Finish at this version; 0 goes on until stopped.", rich_help_panel=_OUTER),
    ] = 100,
    outer_optimizer: Annotated[str, typer.Option(help="adam or sgd.", rich_help_panel=_OUTER)] = "adam",
    learning_rate: Annotated[
        float,
        typer.Option(
            help="Its learning rate, in stored coordinates (log λ on a log scale).", rich_help_panel=_OUTER
        ),
    ] = 0.1,
    momentum: Annotated[
        float, typer.Option(help="Momentum of sgd, in [0, 1).", rich_help_panel=_OUTER)
    ] = 0.0,
    max_staleness: Annotated[
        int,
        typer.Option(
            min=0, help="Refuse commits that are further behind, in versions.", rich_help_panel=_ROUNDS
        ),
    ] = 2,
    quorum: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Distinct workers for each version.",
            show_default="half of the live ones",
            rich_help_panel=_ROUNDS,
        ),
    ] = None,
    run_id: Annotated[
        str,
        typer.Option(
            help="Id of the run; the id of a run with the same definition goes on with it.",
            show_default="made up",
            rich_help_panel=_WHERE,
        ),
    ] = "",
    coordinator: Annotated[
        str | None,
        typer.Option(
            "--coordinator",
            metavar="HOST:PORT",
            help="Use this coordinator and its workers. (environment: CHRONOS_CLI__COORDINATOR)",
            rich_help_panel=_WHERE,
            show_default=False,
        ),
    ] = None,
    local: Annotated[
        int | None,
        typer.Option(
            "--local",
            metavar="WORKERS",
            min=1,
            help="Start a coordinator and so many workers for this command, on this machine.",
            show_default="2, when no coordinator is given",
            rich_help_panel=_WHERE,
        ),
    ] = None,
    data: Annotated[
        Path,
        typer.Option(
            help="Directory of store and logs of a coordinator started here.", rich_help_panel=_WHERE
        ),
    ] = Path("chronos-data"),
    detach: Annotated[
        bool, typer.Option("--detach", help="Create the run and return at once.", rich_help_panel=_WHERE)
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Optimise the outer parameters of a problem.

    Without a coordinator, one is started here for as long as the command runs, with two workers which may
    import this problem and nothing else; runs stay in --data, and the same command with the same --run-id
    goes on with an interrupted one. Examples:

        chronos run mylab.problems:Cleaning --set noise=0.4 --versions 200
        chronos run weight_decay:WeightDecay --path examples --local 4
        chronos run mylab.problems:Cleaning --coordinator 10.0.0.1:50551
    """
    address = None if local is not None and coordinator is None else configured_coordinator(coordinator)
    if local is not None and address is not None:
        raise ConfigurationError("--local starts a coordinator, --coordinator names one: give one of them")
    if detach and address is None:
        raise ConfigurationError("--detach needs --coordinator: one started here ends with the command")

    from chronos_common.cli.running import RunRequest, run_local, run_remote

    request = RunRequest(
        problem=problem,
        config=keyword_arguments(config, setting or [], "problem"),
        paths=tuple(path),
        estimator=estimator,
        estimator_config=keyword_arguments("", estimator_setting or [], "estimator"),
        inner_steps=inner_steps,
        seed=seed,
        evaluate_every=evaluate_every,
        versions=versions,
        optimizer=outer_optimizer,
        learning_rate=learning_rate,
        momentum=momentum,
        max_staleness=max_staleness,
        quorum=quorum,
        run_id=run_id,
    )
    if address is None:
        run_local(request, workers=local or DEFAULT_WORKERS, data=data, as_json=as_json)
    else:
        run_remote(request, address, detach=detach, as_json=as_json)
