"""Reading and writing the JAR lock file are inverse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.dev.local.jar_lock import LOCK_FILE, Jar, parse_lock, read_lock, render_lock

_words = st.from_regex(r"[A-Za-z0-9_.-]{1,20}", fullmatch=True)
_jars = st.builds(
    Jar,
    st.tuples(_words, _words, _words).map(":".join),
    st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
    st.integers(0, 1 << 40),
)


@given(st.lists(_jars, unique_by=lambda jar: jar.coordinate))
def test_a_written_lock_is_read_back(jars):
    """Relocking must lose no entry of a new Kafka version."""
    assert sorted(parse_lock(render_lock(jars)), key=str) == sorted(jars, key=str)


def test_the_committed_lock_is_formatted_as_the_tool_writes_it():
    """A hand-edited lock would show differences at the next relock."""
    assert render_lock(read_lock()) == LOCK_FILE.read_text()


@given(st.text(st.characters(exclude_characters="\r\n#", codec="ascii"), min_size=1))
def test_a_malformed_line_is_refused(text):
    """A truncated lock must not pass for a shorter one."""
    if len(text.split()) != 3 and text.splitlines() == [text]:
        with pytest.raises(ValueError, match="line 1"):
            parse_lock(text)
