from __future__ import annotations

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agora.errors import TopologyError
from agora.text.topology import BUILDERS, Topology, build

ABCD = ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("value", "edges"),
    [
        ("complete", 12),
        ("isolated", 0),
        ("ring", 8),
        ("relay", 4),
        ("star", 6),
        ("chain", 3),
        ("tree", 6),
        ("layered", 3),
        ({"layered": {"widths": [2, 2]}}, 4),
        ({"star": {"hub": "c"}}, 6),
        ({"edges": [["a", "b"], ["a", "b"], ["c", "c"]]}, 1),
        ({"groups": {"size": 2}}, 6),
        ({"random_graph": {"p": 1.0}}, 12),
    ],
)
def test_number_of_edges(value: object, edges: int) -> None:
    assert len(build(value, ABCD).edges) == edges


def test_an_edge_means_the_second_reads_the_first() -> None:
    assert build("relay", ABCD).reads("a") == ("d",)
    assert build("chain", ABCD).reads("a") == ()
    assert build({"star": {"hub": "c"}}, ABCD).reads("b") == ("c",)


def test_ring_of_three_is_complete() -> None:
    assert set(build("ring", "abc").edges) == set(build("complete", "abc").edges)


def test_networkx_graphs() -> None:
    assert build(nx.DiGraph([("a", "b")]), ABCD).edges == (("a", "b"),)
    assert set(build(nx.Graph([("a", "b")]), ABCD).edges) == {("a", "b"), ("b", "a")}
    assert nx.is_isomorphic(build("ring", ABCD).graph, nx.cycle_graph(4).to_directed())


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ({"edges": [["a", "zed"]]}, "zed"),
        ({"edges": [["a"]]}, "two ends"),
        ("rnig", "rnig"),
        ({"ring": {"k": 3}}, "unknown argument"),
        ({"star": {"hub": "z"}}, "z"),
        ({"layered": {"widths": [1, 1]}}, "add up"),
        ({"small_world": {"k": 9}}, "small_world"),
        (nx.DiGraph([("a", "__class__")]), "__class__"),
        (3, "topology"),
    ],
)
def test_what_is_wrong_is_named(value: object, word: str) -> None:
    with pytest.raises(TopologyError, match=word):
        build(value, ABCD)


def test_cycle_is_named() -> None:
    with pytest.raises(TopologyError, match="circle"):
        build("ring", ABCD).layers()


@given(st.sampled_from(sorted(BUILDERS)), st.integers(1, 9))
def test_every_builder_at_every_size(name: str, n: int) -> None:
    agents = [f"n{i}" for i in range(n)]
    try:
        topology = build(name, agents)
    except TopologyError:
        assert n < 6  # too small for the default k or widths, said in a sentence
        return
    assert set(topology.graph.nodes) == set(agents)
    topology.figures()


def test_drawing_escapes_names() -> None:
    svg = Topology(["<script>", "b"], [("b", "<script>")])._repr_html_()
    assert "<script>" not in svg
    assert svg.startswith("<svg")
