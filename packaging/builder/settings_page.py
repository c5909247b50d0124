"""The settings as docs/operate/settings.md tells them, for those who read no Markdown."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from builder.release import ROOT, CannotBuild

_PAGE = ROOT / "docs" / "operate" / "settings.md"
_BEGIN, _END = "<!-- settings: begin", "<!-- settings: end -->"
_ROW = re.compile(r"^\| `(D4D_[A-Z_]+)` \| (.*?) \| `(.*?)` \| (.*) \|$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One of them, in plain text."""

    name: str
    default: str
    """A value where it ``is_value``, else the words that say what D4D does without one."""
    is_value: bool
    example: str
    meaning: str

    @property
    def line(self) -> str:
        """The setting as a line of a file."""
        return f"{self.name}={self.default if self.is_value else self.example}"


def settings() -> Iterator[Setting]:
    """All of them, in the page's order; a test holds that page against the code.

    Raises CannotBuild where the page has another form.
    """
    _, _, rest = _PAGE.read_text().partition(_BEGIN)
    table, end, _ = rest.partition(_END)
    rows = [line for line in table.splitlines() if line.startswith("| `D4D_")]
    if not end or not rows:
        raise CannotBuild(f"{_PAGE} has no table of settings")
    for row in rows:
        parts = _ROW.match(row)
        if parts is None:
            raise CannotBuild(f"{_PAGE}: {row}")
        name, default, example, meaning = parts.groups()
        yield Setting(
            name=name,
            default=_plain(default),
            is_value=default.startswith("`"),
            example=example,
            meaning=_plain(meaning),
        )


def _plain(markdown: str) -> str:
    """Without the marks of code and links; where another page is meant, with its name."""
    named = re.sub(r"\[([^]]*)\]\(([^)#]+)[^)]*\)", r"\1 (\2)", markdown)
    return re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", named).replace("`", "")
