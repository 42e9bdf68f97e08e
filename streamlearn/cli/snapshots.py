"""The commands that look at the published snapshots."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from streamlearn.cli.options import ConfigOption, JsonOption, SetOption, configuration
from streamlearn.terminal import say, say_json

snapshots_app = typer.Typer(no_args_is_help=True, help="Look at the published snapshots.")


def snapshot_store(config: Path | None, overrides: list[str] | None) -> Any:
    """Return the store of the snapshots that the learner so configured publishes."""
    from streamlearn.publisher.snapshots import SnapshotStore  # noqa: PLC0415

    return SnapshotStore(configuration(config, overrides).publisher.directory / "snapshots")


@snapshots_app.command("list")
def list_snapshots(config: ConfigOption = None, overrides: SetOption = None, json_output: JsonOption = False) -> None:
    """List the published snapshots, oldest first.

    Example: streamlearn snapshots list --config streamlearn.yaml
    """
    store = snapshot_store(config, overrides)
    latest = store.latest()
    manifests = [store.manifest(version) for version in store.versions()]
    if json_output:
        say_json([m | {"latest": m["version"] == latest, "path": str(store.path(m["version"]))} for m in manifests])
        return
    for m in manifests:
        trained, accuracy = m["events"].get("trained", 0), m["metrics"]["prequential_accuracy"]
        mark = "  latest" if m["version"] == latest else ""
        shown = "-" if accuracy is None else f"{accuracy:.3f}"
        say(f"{m['version']:>8}  step {m['step']}  {trained} trained  accuracy {shown}{mark}")


@snapshots_app.command("show")
def show_snapshot(
    version: Annotated[str, typer.Argument(help="A version or 'latest'.")] = "latest",
    config: ConfigOption = None,
    overrides: SetOption = None,
    json_output: JsonOption = False,
) -> None:
    """Print where a snapshot comes from: its manifest.

    Example: streamlearn snapshots show 12
    """
    store = snapshot_store(config, overrides)
    manifest = store.manifest(store.resolve(version))
    if json_output:
        say_json(manifest)
        return
    for key, value in manifest.items():
        shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        say(f"{key:>14}  {shown}")


@snapshots_app.command("verify")
def verify_snapshot(
    version: Annotated[str, typer.Argument(help="A version or 'latest'.")] = "latest",
    config: ConfigOption = None,
    overrides: SetOption = None,
    json_output: JsonOption = False,
) -> None:
    """Check every file of a snapshot against the SHA-256 in its manifest; exit with 4 where one differs.

    Example: streamlearn snapshots verify latest
    """
    store = snapshot_store(config, overrides)
    number = store.resolve(version)
    manifest = store.verify(number)
    if json_output:
        say_json({"version": number, "ok": True, "files": len(manifest["files"])})
    else:
        say(f"snapshot {number}: all {len(manifest['files'])} files are what was written")
