"""A page as a test reads it: its tags, its attributes, the text of its tables."""

from html.parser import HTMLParser


class Document(HTMLParser):
    """Checks that every tag is closed in its place; gathers attributes, and the text of tables by row."""

    VOID = {"meta", "img", "br", "wbr", "link", "hr", "input"}

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.tables = [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag in ("small", "br"):
            self.handle_data(" ")

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data

    def values(self, name):
        return [attributes[name] for _, attributes in self.tags if name in attributes]


def row(table, name):
    """The cells of the row whose head ends with `name`."""
    return next(cells[1:] for cells in table if cells[0].endswith(name))
