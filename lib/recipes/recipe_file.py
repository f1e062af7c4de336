"""A recipe as it stands in its file."""

import re
from pathlib import Path
from typing import Any

import yaml

from lib import InputError
from lib.files import check_no_pipe
from lib.text import one_line

MOST_BYTES, MOST_VALUES, MOST_LEVELS = 1 << 20, 10_000, 20


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-4 is a number (YAML 1.1 wants 1.0e-4) and a key may not stand twice."""

    def construct_mapping(self, node, deep=False):
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for number, key in enumerate(keys):
            if key.value in (k.value for k in keys[:number]):
                raise InputError(f"line {key.start_mark.line + 1}", f"key {key.value!r} stands twice")
        return super().construct_mapping(node, deep)


class _Loaded(_Loader):
    """It also refuses aliases that multiply, before anything is made of them, and names the line of a value of a wrong type."""

    def get_single_node(self):
        node = super().get_single_node()
        self._sizes: dict[int, tuple[int, int]] = {}
        if node is not None:
            self._measure(node, ())
        return node

    def _measure(self, node: yaml.Node, above: tuple[int, ...]) -> tuple[int, int]:
        """How many values a node stands for once its aliases are written out, and on how many levels."""
        if id(node) in above:
            raise InputError(f"line {node.start_mark.line + 1}", "an alias stands within what it stands for")
        if id(node) not in self._sizes:
            children = [] if isinstance(node, yaml.ScalarNode) else node.value
            parts = [part for child in children for part in (child if isinstance(child, tuple) else (child,))]
            sizes = [self._measure(part, (*above, id(node))) for part in parts]
            count, depth = 1 + sum(n for n, _ in sizes), 1 + max((d for _, d in sizes), default=0)
            if count > MOST_VALUES or depth > MOST_LEVELS:
                found = f"{count:,} values on {depth} levels, with what its aliases stand for"
                raise InputError(f"line {node.start_mark.line + 1}", found, f"at most {MOST_VALUES:,} on {MOST_LEVELS}")
            self._sizes[id(node)] = count, depth
        return self._sizes[id(node)]

    def construct_object(self, node, deep=False):
        try:
            return super().construct_object(node, deep)
        except (InputError, yaml.YAMLError):
            raise
        except Exception:
            kind, value = node.tag.rpartition(":")[2], str(node.value)[:40]
            words = f"{value!r} is no {kind}" if isinstance(node, yaml.ScalarNode) else f"no {kind}"
            raise InputError(f"line {node.start_mark.line + 1}", words) from None


def _check_depth(text: str) -> None:
    """InputError for lists and mappings within each other that PyYAML would call itself too often for."""
    depth = 0
    for event in yaml.parse(text, _Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_LEVELS:
            raise InputError(
                f"line {event.start_mark.line + 1}", "lists and mappings within each other", f"{MOST_LEVELS} levels"
            )


def _check_values(value: Any) -> None:
    """InputError for a text that no file can hold, with a null character or a half of one, and a number beyond 64 bits."""
    for part in (
        (*value.keys(), *value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        _check_values(part)
    if isinstance(value, str) and re.search("[\0\ud800-\udfff]", value):
        raise InputError(repr(value[:60]), "a text with characters that no file can hold", "other ones")
    if isinstance(value, int) and abs(value) >= 1 << 63:
        raise InputError(f"{str(value)[:20]} …", "a whole number of more than 64 bits", "a smaller one")


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def read(path: Path) -> list[dict[str, Any]]:
    """The entries of a recipe as they stand there; InputError where it isn't a YAML list of mappings."""
    check_no_pipe(path)
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise InputError("size", f"{size:,} bytes", f"at most {MOST_BYTES:,}")
        text = path.read_text(encoding="utf-8")
        _check_depth(text)
        entries = _Loaded(text).get_single_data()
        _check_values(entries)
    except OSError as error:
        raise InputError(f"recipe {path}", error.strerror) from None
    except InputError as error:
        raise InputError(f"recipe {path}", error) from None
    except Exception as error:  # PyYAML's constructors fail in many ways with values that aren't what their tags say
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        words = getattr(error, "problem", None) or one_line(error)
        raise InputError(f"recipe {path}", f"{where}not YAML: {words}") from None
    if not isinstance(entries, list) or not entries:
        kind = "nothing" if not entries else f"a {type(entries).__name__}"
        raise InputError(f"recipe {path}", f"got {kind}", "a list of tasks (- task_name: …)")
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            raise InputError(f"recipe {path}", f"entry {number}: got {entry!r}", "a mapping with task_name")
    return entries
