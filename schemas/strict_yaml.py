"""A parser of YAML that people write: words stay words, keys stand once, and no file takes more
memory than it seems to."""

import re
from collections.abc import Iterator
from typing import Any

import yaml

_MAX_NODES = 100_000


class YamlError(ValueError):
    """Raised when a text is no YAML that can be used; says where."""


def parse_yaml(text: str, where: str) -> tuple[yaml.Node | None, Any]:
    """Parse YAML text.

    Args:
        text: A file's content.
        where: Its name in errors, usually its path.

    Returns:
        The tree with its lines, and the data; None twice where there is nothing.

    Raises:
        YamlError: not YAML, nested too deeply, too many aliases, or a key twice.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None, None
        _require_small(node, where)
        data = loader.construct_document(node)
    except yaml.YAMLError as error:
        raise YamlError(f"{where}: not YAML: {error}") from error
    except RecursionError as error:
        raise YamlError(f"{where}: nested too deeply") from error
    twice = list(_duplicate_keys(node))
    if twice:
        raise YamlError("\n".join(f"{where}:{line}: key `{key}` twice" for line, key in twice))
    return node, data


class _Loader(yaml.SafeLoader):
    """A YAML loader that reads `yes`, `no`, `on` and `off` as words, as YAML 1.2 does: `languages:
    [no]` is Norwegian. Where a setting is true or false they are understood all the same."""


_Loader.yaml_implicit_resolvers = {
    sign: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for sign, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


def _require_small(node: yaml.Node, where: str) -> None:
    """Refuse a file whose aliases stand for more than it seems: nested ones double at each level,
    and one within itself has no end.

    Raises:
        YamlError: more than `_MAX_NODES` keys and values when aliases are written out.
    """
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        if id(node) not in sizes:
            sizes[id(node)] = _MAX_NODES + 1  # while it is counted: of an alias within itself
            parts = node.value if isinstance(node, yaml.CollectionNode) else []
            flat = [one for part in parts for one in (part if isinstance(part, tuple) else [part])]
            sizes[id(node)] = 1 + sum(map(size, flat))
        return sizes[id(node)]

    if size(node) > _MAX_NODES:
        raise YamlError(
            f"{where}: aliases (`*name`) repeat more than {_MAX_NODES:,} keys and values; write "
            "it without nested aliases"
        )


def _duplicate_keys(node: yaml.Node) -> Iterator[tuple[int, str]]:
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                yield key.start_mark.line + 1, key.value
            seen.add(key.value)
            yield from _duplicate_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _duplicate_keys(value)
