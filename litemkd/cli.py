"""The command line: a thin skin over the stages. `mlflow run . -e NAME` calls the same commands."""

from __future__ import annotations

from typing import Any

import click

from litemkd import __version__
from litemkd.commands.compare import compare
from litemkd.commands.completion import completion
from litemkd.commands.cost import cost
from litemkd.commands.doctor import doctor
from litemkd.commands.evaluate import evaluate
from litemkd.commands.export import export
from litemkd.commands.init import init
from litemkd.commands.options import plain_mistakes, set_up_process
from litemkd.commands.predict import predict
from litemkd.commands.prepare import prepare
from litemkd.commands.register import register
from litemkd.commands.show import report, show
from litemkd.commands.store import export_runs, import_runs, ui
from litemkd.commands.sync import sync
from litemkd.commands.training import distill, features, student, teacher
from litemkd.commands.watch import watch
from litemkd.commands.weights import export_weights, import_weights
from litemkd.runtime import distributed


class _Commands(click.Group):
    """Prints a user's mistake as one message without a traceback; lists commands in the order of the work."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        with plain_mistakes(lambda: f"litemkd {ctx.invoked_subcommand}"):
            result = super().invoke(ctx)
            distributed.finish()
            return result


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
def main() -> None:
    """Distil a multi-modal teacher into a light RGB student for few-shot action recognition.

    Without --config every command works on the toy data set, which is made on first use. Runs, models and
    comparison tables are in MLflow; the last line of each command says where to look.
    """
    distributed.start()
    set_up_process()


# Optuna takes a second to load, which only a search needs to wait for.
@click.command(
    add_help_option=False, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def search(words: tuple[str, ...]) -> None:
    """Search distillation settings with Optuna; WORDS are those of `litemkd search --help`."""
    from litemkd.search.command import main as start

    start.main([*words], prog_name="litemkd search")


for command in (
    init,
    prepare,
    teacher,
    features,
    student,
    distill,
    evaluate,
    show,
    report,
    predict,
    watch,
    register,
    compare,
    search,
    cost,
    import_weights,
    export_weights,
    export,
    ui,
    export_runs,
    import_runs,
    sync,
    doctor,
    completion,
):
    main.add_command(command)
