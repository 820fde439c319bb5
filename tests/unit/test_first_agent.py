"""The code of the first guide runs, since newcomers copy it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

GUIDE = Path(__file__).parents[2] / "docs" / "first_agent.md"
APP, TEST = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)


def test_the_app_counts_and_refuses_the_payment_that_the_guide_names(
    app_tester, tmp_path, monkeypatch
):
    """The app, its test, and then the dead letter and its repair, as in the guide."""
    (tmp_path / "first_agent.py").write_text(APP)
    monkeypatch.syspath_prepend(tmp_path)
    import first_agent

    names = vars(first_agent)
    exec(compile(TEST, str(GUIDE), "exec"), names)
    names["test_balances_survive_a_crash"](app_tester)

    tester = app_tester(first_agent.app)
    nothing = first_agent.Payment(id="0", account="ann", amount=0.0, ts=tester.now_ms)
    tester.send(first_agent.payments, nothing)
    [letter] = tester.dead_letters
    assert letter.code == "agent_failed"
    assert letter.message.startswith("ZeroDivisionError")
    assert "payment.amount / (payment.amount > 0)" in APP
    del sys.modules["first_agent"]
