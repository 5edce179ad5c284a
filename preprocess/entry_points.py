"""What installed packages add to Septet by entry point, a name each."""

from importlib.metadata import EntryPoint, entry_points


def offered(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group, by name; of several of one name the first by what they name."""
    found: dict[str, EntryPoint] = {}
    for entry in sorted(entry_points(group=group)):
        found.setdefault(entry.name, entry)
    return found


def require_single(group: str, name: str, built_in: str | None = None) -> None:
    """Refuse a name that two packages give to different things: which of them is meant would
    depend on what is installed.

    Args:
        group: The group of entry points.
        name: A name of it.
        built_in: What Septet itself has by that name, `module:attribute`, where it is no entry
            point.

    Raises:
        ValueError: there are several; says which, and of which packages.
    """
    found = {one.value: one for one in sorted(entry_points(group=group)) if one.name == name}
    owners = [f"{package_of(one)} ({value})" for value, one in found.items() if value != built_in]
    if built_in is not None:
        owners.insert(0, f"septet ({built_in})")
    if len(owners) > 1:
        raise ValueError(
            f"{name!r} is offered by {' and '.join(owners)}: uninstall one of them, or name the "
            "class itself where module:Class is taken"
        )


def package_of(entry: EntryPoint) -> str:
    """The package that offers an entry point."""
    return entry.dist.name if entry.dist else entry.module.partition(".")[0]
