"""What a page holds, for the tests of pages."""

import html.parser


class Page(html.parser.HTMLParser):
    """What a page refers to, holds and says."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.ids, self.words, self.open = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href")]
        self.ids += [value for name, value in attributes if name == "id"]
        if tag not in ("img", "meta", "br", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.words.append(data)


def read(path):
    """(the page of a file, its words), of one that loads nothing from elsewhere and whose links lead somewhere."""
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []  # every tag is closed
    data = tuple(f"data:image/{kind};base64," for kind in ("png", "svg+xml"))
    assert all(link.startswith((*data, "#")) for link in page.links)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert len(set(page.ids)) == len(page.ids)
    assert "http" not in text.replace("data:image", "")
    return page, " ".join(" ".join(page.words).split())
