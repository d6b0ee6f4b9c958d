"""An OCI runtime that asks for no capability which this machine lacks, and hands over to runc.

Debian's dockerd 20.10 asks for every capability that it knows when a container is privileged; where the machine's
bounding set lacks one (some sandboxes take CAP_SYS_RESOURCE away), runc fails with "unable to apply caps". Nothing is
gained by this: it only asks for less. Run as ``python -I -S runc_fewer_caps.py RUNC ARGUMENTS...``.
"""

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from localkube.capabilities import lacking


def fewer(capabilities: dict[str, list[str]] | None, drop: set[str]) -> dict[str, list[str]] | None:
    """Return a spec's ``capabilities`` without those to drop, in each of its sets."""
    if capabilities is None:
        return None
    return {kind: [name for name in names or [] if name not in drop] for kind, names in capabilities.items()}


def edited_file(arguments: list[str]) -> tuple[Path, tuple[str, ...]] | None:
    """Return the JSON file that this call of runc reads, and where in it the process is; None for other calls."""
    verb, bundle, process = "", ".", ""
    for position, argument in enumerate(arguments):
        name, has_value, value = argument.partition("=")
        following = arguments[position + 1] if position + 1 < len(arguments) else ""
        if argument in ("create", "run", "exec", "restore") and not verb:
            verb = argument
        elif name in ("--bundle", "-b"):
            bundle = value if has_value else following
        elif name in ("--process", "-p") and verb == "exec":
            process = value if has_value else following
    if verb in ("create", "run"):
        return Path(bundle) / "config.json", ("process",)
    if verb == "exec" and process:
        return Path(process), ()
    return None


def main() -> None:
    """Edit what runc is about to read, then become runc."""
    runc, arguments = sys.argv[1], sys.argv[2:]
    target = edited_file(arguments)
    if target is not None:
        file, where = target
        spec = json.loads(file.read_text())
        parent = spec
        for key in where:
            parent = parent[key]
        if parent.get("capabilities"):
            parent["capabilities"] = fewer(parent["capabilities"], lacking())
            file.write_text(json.dumps(spec))
    os.execv(runc, [runc, *arguments])  # noqa: S606 - becoming runc is the point


if __name__ == "__main__":
    main()
