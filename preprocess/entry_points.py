"""What installed packages add to Septet by entry point, a name each."""

from importlib.metadata import EntryPoint, entry_points


def offered(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group, by name; of several of one name the first by what they name."""
    found: dict[str, EntryPoint] = {}
    for entry in sorted(entry_points(group=group)):
        found.setdefault(entry.name, entry)
    return found


def require_single(group: str, name: str) -> None:
    """Refuse a name that two packages give to different things: which of them is meant would
    depend on what is installed.

    Raises:
        ValueError: there are several; says which, and of which packages.
    """
    found = {one.value: one for one in sorted(entry_points(group=group)) if one.name == name}
    if len(found) > 1:
        owners = (f"{one.dist.name if one.dist else '?'} ({value})" for value, one in found.items())
        raise ValueError(
            f"{name!r} is offered by {' and '.join(owners)}: uninstall one of them, or name the "
            "class itself where module:Class is taken"
        )
