"""The table of what was tried."""

from collections import Counter
from pathlib import Path


def verdict(result: dict) -> str:
    """`noticed`, `named` (a person said why it is not noticed) or `missed`."""
    if result["outcome"] != "passed":
        return "noticed"
    return "named" if result.get("why") else "missed"


def room(result: dict) -> str:
    """The folder that the table counts a change under."""
    return "/".join(Path(result["path"]).parent.parts[:2])


def section(title: str, results: list[dict], command: str, drawn: int) -> str:
    """The results of one sample of so many that are drawn: the table and the list of what was not
    noticed, whose lines are of the last commit."""
    rooms: dict[str, Counter[str]] = {}
    for result in results:
        rooms.setdefault(room(result), Counter())[verdict(result)] += 1
    whole = sum(rooms.values(), Counter())
    share = whole["noticed"] / max(1, len(results))
    since = sum(
        verdict(result) == "noticed" and result.get("first") == "passed" for result in results
    )
    dates, commits = (list(dict.fromkeys(r[of] for r in results)) for of in ("date", "commit"))
    tried = f"{len(results)} changes, {share:.1%} noticed"
    if len(results) < drawn:  # Too few for a share.
        tried = f"{len(results)} of {drawn} changes so far, {whole['noticed']} noticed"
    lines = [
        f"## {title}\n",
        f"`{command}`, tried on {', '.join(dates)} of commit {', '.join(commits)}: {tried}"
        + (f", {since} of them only since tests were written for them" * bool(since))
        + f"; {whole['named']} are named with why they are not, {whole['missed']} are open.\n",
        "| room | changed | noticed | named with why | open |",
        "|---|---|---|---|---|",
    ]
    for name, counts in [*sorted(rooms.items()), ("**all**", whole)]:
        cells = [sum(counts.values()), counts["noticed"], counts["named"], counts["missed"]]
        lines.append(f"| {name} | " + " | ".join(map(str, cells)) + " |")
    if whole["named"] + whole["missed"]:
        lines.append("\nNot noticed:\n")
    for result in sorted(results, key=lambda result: (result["path"], result["line"])):
        if result["outcome"] == "passed":
            why = f": {result['why']}" if result.get("why") else ""
            lines.append(
                f"- `{result['path']}:{result['line']}` {result['kind']}: `{result['before']}` → "
                f"`{result['after']}`{why}"
            )
    return "\n".join(lines) + "\n"
