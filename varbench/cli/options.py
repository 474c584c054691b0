"""Options that commands share, and user errors reported without a traceback."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from varbench.cli.output import echo
from varbench.errors import UserError, machine_failed
from varbench.utils.seeds import LARGEST, check_seed

Command = Callable[..., None]
STOPPED = "stopped; the same command goes on from here"

DEFAULT_MODEL = "gallery"
DEFAULT_METHOD = "svare"
DEFAULT_CONCEPT = "face-ada"
DEFAULT_SUITE = "smoke"
DEFAULT_STORE = Path("varbench-runs")

StoreOption = Annotated[Path, typer.Option("--store", help="Folder that keeps all results.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
ModelOption = Annotated[str, typer.Option("--model", help="Model name.")]
EditSeedOption = Annotated[
    int, typer.Option("--seed", min=0, max=LARGEST, help="Seed of the edit.")
]


@contextmanager
def user_errors() -> Iterator[None]:
    """End the command on an error that the user can fix, exit code 2, or on Ctrl-C, 130."""
    try:
        yield
    except KeyboardInterrupt:  # typer would end the command without a word
        echo(STOPPED, err=True)
        raise typer.Exit(130) from None
    except (Exception, SystemExit) as error:
        problem = problem_of(error)
        if problem is None:
            raise
        echo(f"error: {problem}", err=True)
        raise typer.Exit(2) from error


def problem_of(error: BaseException) -> str | None:
    """The message of an error that the user can fix; None of a fault of the program."""
    from varbench.report.cells import ReportError
    from varbench.store import StoreError
    from varbench.store.entry import full_disk

    if isinstance(error, UserError | StoreError | ReportError):
        return str(error)
    if isinstance(error, SystemExit):
        return f"a plugin or a library ended the program (sys.exit({error.code!r})); uninstall it"
    if (full := full_disk(error)) is not None:
        return f"disk full: free space ({full})"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}; check the path"
    if machine_failed(error):
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        return (
            f"{first}: where memory ran out, close other programs or lower model.batch or "
            "suite.block; what is done is in the store"
        )
    return None


def split_names(text: str, option: str) -> tuple[str, ...]:
    """Names separated by commas, each once.

    Raises:
        UserError: there is none.
    """
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not names:
        raise UserError(f"{option} needs at least one name")
    return names


def split_seeds(text: str) -> tuple[int, ...]:
    """Seeds separated by commas.

    Raises:
        UserError: one is not a whole number in plain digits, or too large.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"[0-9]{1,20}", part) for part in parts):
        raise UserError(
            f"--seed takes whole numbers separated by commas, such as 0,1,2,3,4, got {text!r}"
        )
    return tuple(check_seed(int(part)) for part in parts)


def filters_of(
    model: Annotated[
        str | None, typer.Option(help="Only these models, separated by commas.")
    ] = None,
    method: Annotated[str | None, typer.Option(help="Only these methods.")] = None,
    concept: Annotated[str | None, typer.Option(help="Only these concepts.")] = None,
    suite: Annotated[str | None, typer.Option(help="Only these suites.")] = None,
    settings: Annotated[
        str | None, typer.Option(help="Only these settings, as a report names them.")
    ] = None,
) -> Any:
    """The cells that these options select, `varbench.report.Filters`."""
    from varbench.report import Filters

    given = {
        "--model": model, "--method": method, "--concept": concept, "--suite": suite,
        "--settings": settings,
    }  # fmt: skip
    return Filters(
        *(() if text is None else split_names(text, option) for option, text in given.items())
    )


def shares(name: str, options: Callable[..., Any]) -> Callable[[Command], Command]:
    """Give a command the options of a function, whose result becomes its parameter `name`.

    Options that the command has itself too are given to both.
    """

    def decorate(command: Command) -> Command:
        own, shared = (
            inspect.signature(each, eval_str=True).parameters for each in (command, options)
        )
        parameters: dict[str, inspect.Parameter] = {}
        for parameter in own.values():
            parameters |= shared if parameter.name == name else {parameter.name: parameter}

        @wraps(command)
        def with_options(**given: Any) -> None:
            with user_errors():
                made = options(**{key: given[key] for key in shared})
            command(**{key: given[key] for key in own if key != name}, **{name: made})

        with_options.__annotations__ = {key: each.annotation for key, each in parameters.items()}
        with_options.__signature__ = inspect.Signature([*parameters.values()])  # type: ignore[attr-defined]
        return with_options

    return decorate
