"""The only widget that shows HTML: it escapes every value that isn't `Html` already."""

from typing import Any

import ipywidgets
import traitlets

from lib.markup import Html


class _Escaped(traitlets.Unicode):
    def validate(self, obj: Any, value: Any) -> Html:
        return Html.escape(super().validate(obj, value))


class HtmlBox(ipywidgets.HTML):
    """An `ipywidgets.HTML` whose `value` is `Html`; any other text is escaped."""

    value = _Escaped("").tag(sync=True)
