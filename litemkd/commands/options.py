"""Options that several commands share, as decorators."""

from __future__ import annotations

import functools
import gc
import io
import json
import logging
import os
import shlex
import signal
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import click
from click.shell_completion import CompletionItem

from litemkd.config import Config, load_config
from litemkd.config.shipped import EXPERIMENTS
from litemkd.errors import ConfigError, LitemkdError, Terminated, TrackingError, storage_words
from litemkd.runtime import distributed

DEFAULT = "toy"  # experiment of every command

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Source:
    """Where a configuration comes from: a file and what is set on top of it, `key=value` each."""

    file: Path
    settings: tuple[str, ...]

    @property
    def is_default(self) -> bool:
        """Whether it is the file that is taken when none is named."""
        return self.file.samefile(EXPERIMENTS.find(DEFAULT))

    def load(self) -> Config:
        """The configuration. ConfigError: mistakes in it, all of them."""
        return load_config(self.file, self.settings)


def configured(command: F) -> F:
    """Give a command the common options, and pass it the configuration they name as its first argument."""

    @functools.wraps(command)
    def run(source: Source, *, processes: int = 1, **rest: Any) -> Any:
        config = source.load()
        if processes > 1 and not distributed.launched():
            sys.exit(distributed.launch(processes))
        return command(config, **rest)

    return configurable(cast(F, run))


def configurable(command: F) -> F:
    """As `configured`, but pass the `Source` of the configuration, for a command that hands it to others."""

    @functools.wraps(command)
    def run(
        config_file: str | None,
        settings: tuple[str, ...],
        overrides: str,
        data_root: Path | None,
        seed: int | None,
        device: str | None,
        **rest: Any,
    ) -> Any:
        chosen = [*_words(overrides), *settings]
        # Not of every command. Empty where MLproject passes a parameter that was not given.
        own = {name: rest.pop(name, None) or None for name in ("dataset", "videos", "lists")}
        file = EXPERIMENTS.find(config_file or DEFAULT)
        if own["dataset"] and Source(file, ()).is_default:
            file = experiment_of(own["dataset"])
        if (fold := rest.get("fold")) and fold != "all":
            chosen.append(f"data.fold={fold}")
        common = (("data.root", data_root), ("seed", seed), ("device", device))
        for key, value in (*common, *((f"data.{name}", value) for name, value in own.items())):
            if value is not None:  # in quotes where it is text: a folder may be called 2024, or `no`
                quoted = value if isinstance(value, int) else json.dumps(str(value), ensure_ascii=False)
                chosen.append(f"{key}={quoted}")
        return command(Source(file, tuple(chosen)), **rest)

    for option in (
        click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where to compute."),
        click.option("--seed", type=int, metavar="N", help="Seed of weights, episodes and augmentation."),
        click.option(
            "--data-root", type=click.Path(path_type=Path), metavar="DIR", help="Folder of data sets."
        ),
        click.option(
            "--overrides", default="", metavar='"K=V …"', help="Several --set in one word, for MLproject."
        ),
        click.option(
            "--set",
            "settings",
            multiple=True,
            metavar="KEY=VALUE",
            help="Override a key of the file, for instance --set loss.temperature=2; repeatable.",
        ),
        click.option(
            "--config",
            "config_file",
            metavar="FILE|NAME",
            shell_complete=_experiments,
            help=f"Experiment file, or the name of one in experiments/ (toy/smoke); {DEFAULT} when not given.",
        ),
    ):
        run = option(run)
    return cast(F, run)


choosing_model = click.option(
    "--model", metavar="URI", help="models:/NAME@ALIAS, models:/NAME/VERSION or a folder; the champion."
)
choosing_runtime = click.option(
    "--runtime",
    type=click.Choice(["torch", "onnx", "openvino", "executorch"]),
    default="torch",
    show_default=True,
    help="What computes: PyTorch, or what --model, a folder that `litemkd export` has written, is for.",
)


def folded(command: F) -> F:
    """Give a command the options `--fold` and `--parallel`; it gets the latter, and `every_fold`."""

    @functools.wraps(command)
    def run(*args: Any, fold: str | None, **kwargs: Any) -> Any:
        return command(*args, every_fold=fold == "all", **kwargs)

    for option in (
        click.option(
            "--parallel",
            type=click.IntRange(1),
            default=1,
            show_default=True,
            metavar="N",
            help="With --fold all: so many folds at once, a process each; one a GPU, or one a core.",
        ),
        click.option(
            "--fold",
            metavar="I|all",
            callback=_fold,
            help="Which of data.folds divisions of the classes, from 0; all: each, as children of one run.",
        ),
    ):
        run = option(run)
    return cast(F, run)


def _fold(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value and value != "all" and not value.isdecimal():
        raise click.BadParameter(f"{value!r} given; a number from 0, or all, would do")
    return value or None


def entry_point(*options: str, files: Collection[str] = ()) -> Callable[[F], F]:
    """Make a command an entry point of MLproject, which `python docs/generate.py` writes.

    Args:
        options: its parameters beside those of a configuration and what has to be given. Any other option can
            be given to `mlflow run` all the same.
        files: what has to be given and is read: MLflow looks for it from where it is called, not from the
            project's folder.
    """

    def mark(command: F) -> F:
        command.entry_point = (options, files)  # type: ignore[attr-defined]
        return command

    return mark


def experiment_of(dataset: str) -> Path:
    """The experiment file that a data set starts from: its own, else the published settings."""
    return EXPERIMENTS.find(dataset if dataset in EXPERIMENTS.names() else "published")


def _experiments(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """What the Tab key offers: experiments by name, and the shell's own list of files."""
    named = [CompletionItem(name) for name in EXPERIMENTS.names() if name.startswith(begun)]
    return named or [CompletionItem(begun, type="file")]


def _words(overrides: str) -> list[str]:
    try:
        return shlex.split(overrides)
    except ValueError as error:
        raise ConfigError([f"--overrides {overrides!r}: {error}; quotes must be closed"]) from None


def flag(name: str, help_text: str, **more: Any) -> Callable[[F], F]:
    """A switch that also takes true or false, as MLproject parameters do."""
    return click.option(
        name,
        type=bool,
        is_flag=False,
        flag_value=True,
        default=False,
        metavar="[true|false]",
        help=help_text,
        **more,
    )


in_processes = click.option(
    "--processes",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Processes on this host that share the work, one a GPU; as torchrun would start them.",
)


def resumable(command: F) -> F:
    """Give a command the options to go on after an interruption, `resume` and `allow_changes`."""
    changed = flag("--allow-changes", "With --resume: also where settings differ from the interrupted run's.")
    again = flag("--resume", "Go on with the interrupted run of the same command, from its checkpoints.")
    return again(changed(command))


def _teacher_choice(context: click.Context, option: click.Parameter, value: str) -> str:
    if value in ("auto", "new"):
        return value
    from litemkd.tracking import is_registered  # takes a second, which only this needs to wait for

    if is_registered(value):
        return value
    raise click.BadParameter(f"{value!r} given; auto, new, models:/NAME@ALIAS or models:/NAME/VERSION would do")


choosing_teacher = click.option(
    "--teacher",
    default="auto",
    show_default=True,
    metavar="auto|new|URI",
    callback=_teacher_choice,
    help="auto: the registered teacher of this configuration and data, or a new one; new: a new one; or that "
    "of models:/NAME@ALIAS or models:/NAME/VERSION with its own modalities, an imported one for instance.",
)


def tracked(command: F) -> F:
    """A command that writes runs: what earlier ones left open or unsent is settled first, and told; as is, at
    the end, what it could not send itself. Before hours of work it is seen whether the store answers.
    """

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        from litemkd.tracking import close_orphans, launched, require_store, send_unsent, unsent

        if not distributed.group().main:
            return command(*args, **kwargs)
        named = args[0].data.dataset if args and isinstance(args[0], Config) else None
        require_store(named, writing=not kwargs.get("no_log", False))
        try:
            for line in send_unsent():  # before lost runs are closed: their true end may be in it
                click.echo(f"sent what was kept for later: {line}", err=True)
        except TrackingError as error:
            click.echo(str(error), err=True)
        try:
            for line in close_orphans():
                click.echo(line, err=True)
        except TrackingError as error:
            click.echo(str(error), err=True)
        try:
            with launched():
                return command(*args, **kwargs)
        finally:
            for words in unsent():
                click.echo(words, err=True)

    return cast(F, run)


@contextmanager
def plain_mistakes(name: Callable[[], str]) -> Iterator[None]:
    """Print a user's mistake, a full disk, or Ctrl-C, as one message of `name()` without a traceback; exit."""
    try:
        yield
    except LitemkdError as error:
        click.secho(f"{name()}: {error}", fg="red", err=True)
        sys.exit(1)
    except OSError as error:
        if (words := storage_words(error)) is None:
            raise
        click.secho(f"{name()}: {words}", fg="red", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        click.secho(f"{name()}: interrupted", fg="red", err=True)
        sys.exit(130)


def set_up_process() -> None:
    """Logging, and an orderly end on SIGTERM, for the time of the command; the first process tells."""
    context, thresholds = click.get_current_context(), gc.get_threshold()
    gc.set_threshold(20_000)  # looking for garbage more often is a fifth of what libraries take to load
    context.call_on_close(lambda: gc.set_threshold(*thresholds))
    main = distributed.group().main
    if not main:
        os.environ["TQDM_DISABLE"] = "1"
        sys.stdout = io.StringIO()
    level = logging.INFO if main else logging.ERROR
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # It logs what a database refuses with a traceback, and raises it too, which is then told in a sentence.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    # Only the first process has a run to close; another may wait for it in a place where no handler is called.
    before = signal.signal(signal.SIGTERM, _terminated if main else signal.SIG_DFL)
    context.call_on_close(lambda: signal.signal(signal.SIGTERM, before))


def _terminated(signum: int, _: object) -> None:
    raise Terminated(signum)
