"""A recipe as it stands in its file."""

import re
from pathlib import Path
from typing import Any

import yaml

from lib import InputError


class _Loader(yaml.SafeLoader):
    """YAML in which 1e-4 is a number (YAML 1.1 wants 1.0e-4) and a key may not stand twice."""

    def construct_mapping(self, node, deep=False):
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for number, key in enumerate(keys):
            if key.value in (k.value for k in keys[:number]):
                raise InputError(f"line {key.start_mark.line + 1}", f"key {key.value!r} stands twice")
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def read(path: Path) -> list[dict[str, Any]]:
    """The entries of a recipe as they stand there; InputError where it isn't a YAML list of mappings."""
    try:
        entries = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise InputError(f"recipe {path}", error.strerror) from None
    except InputError as error:
        raise InputError(f"recipe {path}", error) from None
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        words = getattr(error, "problem", None) or " ".join(str(error).split())
        raise InputError(f"recipe {path}", f"{where}not YAML: {words}") from None
    if not isinstance(entries, list) or not entries:
        kind = "nothing" if not entries else f"a {type(entries).__name__}"
        raise InputError(f"recipe {path}", f"got {kind}", "a list of tasks (- task_name: …)")
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            raise InputError(f"recipe {path}", f"entry {number}: got {entry!r}", "a mapping with task_name")
    return entries
