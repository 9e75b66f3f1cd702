"""Example texts of a ConfigMap are anybody's bytes: what cannot be read is told of the sub-model that names
it, and its neighbours go on."""

import pytest

from pretend_cluster import PretendCluster, sub_model_manifest


@pytest.mark.parametrize(
    "line",
    ['{"text": "\\ud800"}', '{"text": ' + "[" * 200_000, '{"text": 1}', '{"text"'],
    ids=["half a character", "brackets in brackets", "no text", "no end"],
)
def test_a_line_that_cannot_be_read_rejects_its_own_sub_model_only(line: str) -> None:
    source = {"configMap": {"name": "texts"}}
    cluster = PretendCluster().add(
        sub_model_manifest("sport"), sub_model_manifest("world", examplesFrom=source)
    )
    cluster.config_maps = {"texts": {"metadata": {"name": "texts"}, "data": {"examples": f"fine\n{line}"}}}

    cluster.settle()

    statuses = cluster.statuses()
    assert statuses["world"]["Accepted"] == "False InvalidSpec"
    assert "texts/examples, line 2" in cluster.status("world")["conditions"][0]["message"]
    assert statuses["sport"]["Ready"] == "True InferenceAnswered"


def test_a_whole_surrogate_pair_is_a_character() -> None:
    source = {"configMap": {"name": "texts"}}
    cluster = PretendCluster().add(sub_model_manifest("world", examplesFrom=source))
    line = '{"text": "\\ud83d\\ude00"}'
    cluster.config_maps = {"texts": {"metadata": {"name": "texts"}, "data": {"examples": line}}}

    cluster.settle()

    assert cluster.statuses()["world"]["Accepted"] == "True Accepted"
