"""Nodes that a pod may go to, judged by a small scheduler of the test's own."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastserve.api.submodel import Gpu
from fastserve.planning.objects.affinity import affinity, gpu_words

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
H100 = Gpu(product="H100", memory="70Gi")


def admits(written: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a node with `labels` fits, by Kubernetes' rules: terms are alternatives, an empty one fits
    nowhere, and no requirement at all fits everywhere."""
    required = (written.get("nodeAffinity") or {}).get(REQUIRED)
    if not required:
        return True
    return any(_term(term, labels) for term in required["nodeSelectorTerms"])


def _term(term: dict[str, Any], labels: dict[str, str]) -> bool:
    expressions = term.get("matchExpressions") or []
    return bool(expressions) and all(_expression(one, labels) for one in expressions)


def _expression(expression: dict[str, Any], labels: dict[str, str]) -> bool:
    found = labels.get(expression["key"])
    match expression["operator"]:
        case "In":
            return found in expression["values"]
        case "NotIn":
            return found not in expression["values"]
        case "Exists":
            return found is not None
        case "Gt":
            return found is not None and int(found) > int(expression["values"][0])
    raise AssertionError(expression)


expressions = st.sampled_from(
    [
        {"key": "zone", "operator": "In", "values": ["a", "b"]},
        {"key": "zone", "operator": "NotIn", "values": ["a"]},
        {"key": "disk", "operator": "Exists"},
    ]
)
terms = st.one_of(
    st.just({}), st.builds(lambda found: {"matchExpressions": found}, st.lists(expressions, min_size=1))
)
affinities = st.one_of(
    st.none(),
    st.just({}),
    st.just({"nodeAffinity": None}),
    st.just({"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}),
    st.builds(
        lambda found: {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": found}}},
        st.lists(terms, min_size=1, max_size=3),
    ),
)
nodes = st.fixed_dictionaries(
    {},
    optional={
        "zone": st.sampled_from(["a", "b", "c"]),
        "disk": st.just("fast"),
        "nvidia.com/gpu.product": st.sampled_from(["H100", "A100"]),
        "nvidia.com/gpu.memory": st.sampled_from(["71679", "71680", "71681"]),
    },
)


def gpu_fits(gpu: Gpu, labels: dict[str, str]) -> bool:
    product = not gpu.product or labels.get("nvidia.com/gpu.product") == gpu.product
    memory = gpu.memory is None or int(labels.get("nvidia.com/gpu.memory", "0")) >= 70 * 1024
    return product and memory


@given(affinities, st.sampled_from([Gpu(), H100, Gpu(product="A100"), Gpu(memory="70Gi")]), nodes)
def test_a_node_fits_exactly_when_it_suits_the_user_and_the_gpu(
    written: dict[str, Any] | None, gpu: Gpu, labels: dict[str, str]
) -> None:
    wanted = admits(written or {}, labels) and gpu_fits(gpu, labels)
    assert admits(affinity(written, gpu), labels) is wanted


@given(affinities)
def test_without_a_gpu_the_users_affinity_is_handed_on_as_it_is(written: dict[str, Any] | None) -> None:
    assert affinity(written, None) == (written or {})


@given(affinities)
def test_what_is_not_about_nodes_stays_and_nothing_given_is_changed(written: dict[str, Any] | None) -> None:
    before = repr(written)
    made = affinity(written, H100)
    assert repr(written) == before
    assert {**made, "nodeAffinity": 0} == {**(written or {}), "nodeAffinity": 0}


@pytest.mark.parametrize(
    "nonsense",
    [
        {"nodeAffinity": "zone a"},
        {"nodeAffinity": {REQUIRED: ["zone a"]}},
        {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": "zone a"}}},
        {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": ["zone a"]}}},
        {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": "zone a"}]}}},
    ],
)
def test_what_is_no_affinity_is_left_for_the_api_server_to_refuse(nonsense: dict[str, Any]) -> None:
    assert affinity(nonsense, H100) == nonsense


def test_what_gpus_ask_of_a_node_is_said_in_words() -> None:
    written = {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": []}, {}]}}}
    spec = {"affinity": affinity(written, H100)}
    assert gpu_words(spec) == "nvidia.com/gpu.product H100 and nvidia.com/gpu.memory above 71679"
    assert gpu_words({"affinity": written}) == gpu_words({}) == ""
