"""What comes from models and users is shown as it is."""

import io

from rich.console import Console

from fastserve.cli import tables


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
