"""The local broker's Java is independent of settings for other Java programs."""

from __future__ import annotations

import pytest

from streams.dev.local import java
from streams.dev.local.kafka import _escape


def test_options_of_other_programs_are_left_out():
    """A second collector, or a heap of 64 MB, would keep the broker from starting."""
    inherited = dict.fromkeys(("JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS"), "-Xmx64m")
    found = java.environment(
        {**inherited, "CLASSPATH": "x", "LC_ALL": "tr_TR.UTF-8", "PATH": "/bin"}
    )
    assert found == {"PATH": "/bin", "LC_ALL": "C.UTF-8"}


def test_the_language_is_fixed_and_options_can_be_added():
    """In Turkish, lower-casing changes the letter i, also in Kafka's names."""
    assert java.options({}) == java.FLAGS
    assert java.options({java.OPTIONS: " -Xint  -Xshare:off "})[2:] == ("-Xint", "-Xshare:off")


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("Picked up JAVA_TOOL_OPTIONS: -X\nError: two collectors\n", "Error: two collectors"),
        ("java.io.IOException: no room\n\tat kafka.Tool.main\n", "java.io.IOException: no room"),
        ("one\ntwo\n", "two"),
        ("Picked up _JAVA_OPTIONS: -X\n", "it said nothing"),
    ],
)
def test_the_reason_of_a_failed_start_is_found(output, reason):
    """The last line is often a banner or a stack frame instead of the reason."""
    assert java.reason(output) == reason


def test_a_path_survives_the_properties_format():
    """Java reads the file as Latin-1, with backslash escapes, and drops leading blanks."""
    assert _escape(" a\\é😀\n") == r"\u0020a\u005c\u00e9\ud83d\ude00\u000a"
