"""Wheel and sdist as an index shows them: the README there has no files beside it."""

import re
import sys
import tempfile
from pathlib import Path

from builder.release import Release, call, source_of

_LINK = re.compile(r"(!?)\[([^]]*)\]\((?!https?://|#)([^)\s]+)\)")


def build_wheel(release: Release, target: Path, *, source_url: str | None) -> Path:
    """The wheel in ``target``, and the sdist beside it. Raises CannotBuild.

    ``source_url`` is where the files of this version are shown, so that the README's links lead
    there; without it they become plain text.
    """
    with tempfile.TemporaryDirectory() as scratch:
        source = source_of(release, Path(scratch) / "source")
        for readme in source.glob("README*.md"):
            readme.write_text(with_absolute_links(readme.read_text(), source_url))
        call([sys.executable, "-m", "build", "-o", target, source], env=release.environment)
    (wheel,) = target.glob(f"d4d-{release.version}-*.whl")
    return wheel


def with_absolute_links(markdown: str, source_url: str | None) -> str:
    """Links to files of the source as links to ``source_url``; without one as their text."""

    def absolute(found: re.Match[str]) -> str:
        mark, text, path = found.groups()
        if source_url is not None:
            return f"{mark}[{text}]({source_url.rstrip('/')}/{path})"
        return "" if mark else text  # a picture that can't be shown says nothing

    return _LINK.sub(absolute, markdown)
