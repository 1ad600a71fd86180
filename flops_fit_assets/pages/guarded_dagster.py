"""`dagster dev` with its web server behind the guard, and a daemon that looks more often (`quick_daemon`).

    python -m flops_fit_assets.pages.guarded_dagster dev <options of `dagster dev`>

`dagster dev` starts its web server and its daemon as processes of their own, by commands that are replaced here, and
the web server makes its application with a function that is replaced here too (Dagster 1.13). Should a later Dagster do
either in another way, its pages would be without the guard: `flops-fit ui` asks them once, as a stranger would, and
ends them then.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from flops_fit_assets.instance.where import home_directory
from flops_fit_assets.pages.files import StudyFiles
from flops_fit_assets.pages.guard import Guard, checked_hosts

ALLOWED_VARIABLE = "FLOPS_FIT_ALLOW_HOST"  # separated by spaces


def dev() -> None:
    """`dagster dev`, whose web server is `web_server`."""
    from dagster._cli import dev as dagster_dev

    start: Callable[..., Any] = dagster_dev.open_ipc_subprocess

    def start_guarded(parts: Sequence[str], **kwargs: Any) -> Any:
        if "dagster_webserver" in parts:
            after = parts.index("dagster_webserver") + 1
            parts = [sys.executable, "-m", "flops_fit_assets.pages.guarded_dagster", "web-server", *parts[after:]]
        elif "dagster._daemon" in parts:
            after = parts.index("dagster._daemon") + 1
            parts = [sys.executable, "-m", "flops_fit_assets.pages.quick_daemon", *parts[after:]]
        return start(parts, **kwargs)

    dagster_dev.open_ipc_subprocess = start_guarded
    dagster_dev.dev_command()


def web_server() -> None:
    """`dagster-webserver` behind the guard, with the files of the home's studies."""
    from dagster_webserver import cli

    from flops_fit_assets.instance.sqlite import lighten

    lighten()
    make: Callable[..., Any] = cli.create_app_from_workspace_process_context
    allowed = checked_hosts(os.environ.get(ALLOWED_VARIABLE, "").split())

    def make_guarded(*context: Any, **options: Any) -> Any:
        return Guard(app=StudyFiles(app=make(*context, **options), home=home_directory()), allowed=allowed)

    cli.create_app_from_workspace_process_context = make_guarded
    cli.main()


if __name__ == "__main__":
    which = {"dev": dev, "web-server": web_server}[sys.argv.pop(1)]
    which()
