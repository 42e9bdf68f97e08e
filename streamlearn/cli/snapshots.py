"""The commands about published snapshots."""

from __future__ import annotations

from typing import Annotated

import typer

from streamlearn.cli.options import ConfigOption, JsonOption, SetOption, configuration
from streamlearn.terminal import say, say_json

snapshots_app = typer.Typer(no_args_is_help=True, help="Look at the published snapshots.")
NameArgument = Annotated[str, typer.Argument(metavar="VERSION", help="A version or 'latest'.")]


@snapshots_app.command("list")
def list_snapshots(config: ConfigOption = None, overrides: SetOption = None, json_output: JsonOption = False) -> None:
    """List the published snapshots, oldest first.

    Example: streamlearn snapshots list --config streamlearn.yaml
    """
    from streamlearn.commands.snapshots import listed  # noqa: PLC0415

    settings = configuration(config, overrides)
    manifests = listed(settings)
    if json_output:
        say_json(manifests)
        return
    if not manifests:
        directory = settings.publisher.directory
        say(
            f"{directory} holds no snapshot yet"
            if directory.is_dir()
            else f"there is no snapshot: the publisher.directory {directory} is not there, and no learner has run in it"
        )
    for m in manifests:
        trained, accuracy = m["events"].get("trained", 0), m["metrics"]["prequential_accuracy"]
        mark = "  latest" if m["latest"] else ""
        shown = "-" if accuracy is None else f"{accuracy:.3f}"
        say(f"{m['version']:>8}  step {m['step']}  {trained} trained  accuracy {shown}{mark}")


@snapshots_app.command("show")
def show_snapshot(
    name: NameArgument = "latest",
    config: ConfigOption = None,
    overrides: SetOption = None,
    json_output: JsonOption = False,
) -> None:
    """Print a snapshot's manifest, which says where it comes from.

    Example: streamlearn snapshots show 12
    """
    from streamlearn.commands.snapshots import manifest  # noqa: PLC0415

    found = manifest(configuration(config, overrides), name)
    if json_output:
        say_json(found)
        return
    for key, value in found.items():
        shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        say(f"{key:>14}  {shown}")


@snapshots_app.command("verify")
def verify_snapshot(
    name: NameArgument = "latest",
    config: ConfigOption = None,
    overrides: SetOption = None,
    json_output: JsonOption = False,
) -> None:
    """Check every file of a snapshot against the SHA-256 in its manifest; exit with 4 if one differs.

    Example: streamlearn snapshots verify latest
    """
    from streamlearn.commands.snapshots import verify  # noqa: PLC0415

    found = verify(configuration(config, overrides), name)
    version, files = found["version"], len(found["files"])
    if json_output:
        say_json({"version": version, "ok": True, "files": files})
    else:
        say(f"snapshot {version}: all {files} files match the manifest")
