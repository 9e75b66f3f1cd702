"""What comes from models and users is shown as it is."""

import io

from rich.console import Console

from fastserve.cli import tables
from fastserve.local.overview import MemberRow, Overview, PoolOverview, ReplicasRow


def test_square_brackets_in_labels_and_reasons_are_no_markup() -> None:
    member = {"name": "sport", "weight": 1.0, "similarity": 0.5, "belief": 1.0, "chosen": True}
    answered = {**member, "label": "[red]", "status": "Failed", "error": "closed [/b]"}
    printed = Console(file=io.StringIO(), width=100)
    printed.print(tables.answer({"members": [answered]}))
    document = {"decision": "Chosen", "threshold": 0.3, "members": [{**member, "because": "near [/i]"}]}
    printed.print(tables.decision(document))
    assert isinstance(printed.file, io.StringIO)
    text = printed.file.getvalue()
    assert all(words in text for words in ("[red]", "closed [/b]", "near [/i]"))


def test_the_status_has_the_replicas_of_a_sub_model_once() -> None:
    rows = tuple(MemberRow(sub_model="sport", instance=f"sport-{i}", phase="Ready") for i in range(2))
    sleeper = MemberRow(sub_model="world", phase="Asleep", because="the next request wakes it")
    pool = PoolOverview(
        name="news",
        url="http://127.0.0.1:8080",
        ready=True,
        because="",
        members=(*rows, sleeper),
        replicas=(
            ReplicasRow(sub_model="sport", ready=2, wanted=2),
            ReplicasRow(sub_model="world", ready=0, wanted=0),
        ),
    )
    printed = Console(file=io.StringIO(), width=120)
    printed.print(tables.status(Overview(supervisor_pid=1, pools=(pool,))))
    assert isinstance(printed.file, io.StringIO)
    text = printed.file.getvalue()
    assert (text.count("2/2"), text.count("0/0"), text.count("Asleep")) == (1, 1, 1)
    assert "world: the next request wakes it" in text
