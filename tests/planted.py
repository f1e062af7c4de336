"""Markup planted in names, and what a browser would make of a text with them."""

from html.parser import HTMLParser

SCRIPT = "window.owned=1"
NAME = f"\"'><img src=x onerror={SCRIPT}>$x_1$&lt;"  # no slash: it can name a folder


class Parsed(HTMLParser):
    """The elements of an HTML text, and its visible words."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(str(text))
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.words += data


def active(text: str) -> list[str]:
    """Elements that a table or label never has, and attributes that hold scripts."""
    wrong = []
    for tag, attributes in Parsed(text).elements:
        wrong += [tag] if tag in ("img", "script", "iframe", "object", "embed", "form", "base", "meta", "link") else []
        wrong += [f"{tag} {name}" for name in attributes if name.startswith("on")]
        wrong += [
            f"{tag} {name}"
            for name, value in attributes.items()
            if (value or "").strip().lower().startswith("javascript:")
        ]
    return wrong
