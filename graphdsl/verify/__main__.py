"""The command `python -m graphdsl.verify`: a campaign with a progress bar, its results in files."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ..errors import GraphError
from . import AGREE, CRASH, DIFFER, KNOWN, NOT_RUN, USUAL, Campaign, InProcess, Result, campaign

_STYLES = {AGREE: "green", KNOWN: "cyan", DIFFER: "red", CRASH: "bold red", NOT_RUN: "dim"}


def table(found: Campaign) -> Table:
    """How the tasks of each operator ended."""
    made = Table("operator", *_STYLES)
    for operator, counts in found.operators.items():
        made.add_row(
            operator, *(f"[{style}]{counts[status]}" if counts[status] else "" for status, style in _STYLES.items())
        )
    return made


def command(
    operators: Annotated[list[str] | None, typer.Argument(help="The operators; all, if none is named.")] = None,
    dtype: Annotated[list[str] | None, typer.Option(help="A dtype; may be given several times.")] = None,
    opset: Annotated[list[int] | None, typer.Option(help="An opset; may be given several times.")] = None,
    witness: Annotated[list[str] | None, typer.Option(help="Who runs the models; may be given several times.")] = None,
    examples: Annotated[int, typer.Option(help="Models tried for each operator, dtype and opset.")] = 30,
    random: Annotated[int, typer.Option(help="Tasks of whole random models besides, for each opset.")] = 0,
    seed: Annotated[int, typer.Option(help="What all draws follow from.")] = 0,
    seconds: Annotated[float, typer.Option(help="What one run may take.")] = 20.0,
    processes: Annotated[int, typer.Option(help="How many processes; 0 for one for each core, 1 for this one.")] = 0,
    resume: Annotated[Path | None, typer.Option(help="A file of results to go on from, and to write to.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Where to write JUnit XML.")] = None,
    json: Annotated[Path | None, typer.Option(help="Where to write JSON.")] = None,
) -> None:
    """Run operators, and random models, by several witnesses, and report where these differ."""
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        line = bar.add_task("verifying", total=None)

        def advance(result: Result, total: int) -> None:
            bar.update(line, total=total, advance=1, description=str(result.task))
            if result.status in (DIFFER, CRASH):
                bar.console.print(f"{result.task}: {result.reason}", style=_STYLES[result.status], markup=False)

        try:
            found = campaign(
                operators or None,
                dtypes=dtype or None,
                opsets=opset or (21,),
                witnesses=witness or USUAL,
                examples=examples,
                random=random,
                seed=seed,
                seconds=seconds,
                executor=InProcess() if processes == 1 else None,
                processes=processes,
                path=resume,
                progress=advance,
            )
        except GraphError as error:
            console.print(str(error), style="red", markup=False)
            raise typer.Exit(2) from None
    console.print(table(found))
    for result in found.findings:
        console.print(f"\n{result.task}: {result.reason}", style="bold", markup=False)
        console.print(result.repro, markup=False, highlight=False)
    if junit:
        found.to_junit(junit)
    if json:
        found.to_json(json)
    raise typer.Exit(1 if found.findings else 0)


if __name__ == "__main__":
    typer.run(command)
