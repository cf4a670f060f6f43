"""The command `graphdsl`: what the library does to models, on files.

    pip install "onnx-graphdsl[cli,run]"
    graphdsl show model.onnx
    graphdsl extract model.onnx part.onnx --input c --output out

Each command reads models and writes models or text; a mistake ends it with the library's own message and status 1.
"""

import sys
from pathlib import Path
from typing import Annotated

try:
    import typer
except ImportError:
    sys.exit('the command line needs the extra cli: pip install "onnx-graphdsl[cli]"')

import graphdsl as gd

app = typer.Typer(
    name="graphdsl",
    help="Show, check, cut, change and compare ONNX models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Given = Annotated[Path, typer.Argument(help="The model to read.")]
Written = Annotated[Path, typer.Argument(help="Where the new model is written.")]


def _save(model: gd.Model, path: Path) -> None:
    model.save(path)
    typer.echo(f"{path}: {model!r}")


@app.command()
def show(model: Given) -> None:
    """Print a model: its inputs, nodes and outputs, with their types."""
    typer.echo(str(gd.load(model)))


@app.command()
def check(model: Given) -> None:
    """Check a model by ONNX's full check and graphdsl's own; print what is wrong, or doubtful."""
    notes = gd.check(model)
    for note in notes:
        typer.echo(note)
    typer.echo(f"{model}: valid" + (f", {len(notes)} notes" if notes else ""))


@app.command()
def extract(
    model: Given,
    part: Written,
    input: Annotated[list[str], typer.Option(help="A tensor where the part begins; may be repeated.")],
    output: Annotated[list[str], typer.Option(help="A tensor where the part ends; may be repeated.")],
) -> None:
    """Cut the part of a model between tensors out."""
    _save(gd.extract(model, input, output), part)


@app.command()
def expose(
    model: Given,
    tapped: Written,
    tensor: Annotated[list[str], typer.Option(help="An inner tensor, or a pattern such as '*/Conv_output_0'.")],
) -> None:
    """Make inner tensors outputs as well."""
    _save(gd.expose(model, *tensor), tapped)


@app.command()
def simplify(model: Given, simplified: Written) -> None:
    """Apply all stock passes that keep what a model computes."""
    before = gd.load(model)
    after = gd.passes.simplify(before)
    _save(after, simplified)
    typer.echo(f"{len(before.nodes)} nodes before, {len(after.nodes)} after")


@app.command()
def convert(
    model: Given, converted: Written, opset: Annotated[int, typer.Option(help="The opset of the new model.")]
) -> None:
    """Convert a model to another opset."""
    _save(gd.convert_opset(model, opset), converted)


@app.command()
def diff(before: Given, after: Given) -> None:
    """Print what changed between two models; status 1 where something did, as for `diff`."""
    changes = gd.diff(before, after)
    typer.echo(str(changes))
    raise typer.Exit(1 if changes else 0)


@app.command()
def source(
    model: Given,
    path: Annotated[
        Path | None, typer.Argument(help="Where the source is written, with its weights beside it.")
    ] = None,
) -> None:
    """Print a model as graphdsl source that rebuilds it, or write it."""
    text = gd.to_source(model, path)
    typer.echo(str(path) if path else text)


@app.command()
def equivalent(
    before: Given,
    after: Given,
    examples: Annotated[int, typer.Option(help="How many inputs are drawn.")] = 200,
    seed: Annotated[int, typer.Option(help="Other seeds draw other inputs.")] = 0,
) -> None:
    """Test whether two models compute the same, on drawn inputs; status 1 where they do not."""
    try:
        from graphdsl import verify
    except ImportError:
        raise gd.MissingRuntime('this command needs hypothesis: pip install "onnx-graphdsl[verify]"') from None
    typer.echo(str(verify.equivalent(before, after, examples=examples, seed=seed)))


def main() -> None:
    """Run the command; an error of the library is its message alone."""
    try:
        app()
    except gd.GraphError as error:
        # where a mistake was written is of no use to who wrote no Python
        lines = [line for line in str(error).splitlines() if not line.startswith("  at ")]
        typer.echo("graphdsl: " + "\n".join(lines), err=True)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
