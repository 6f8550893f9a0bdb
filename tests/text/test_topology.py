"""Builders, edge attributes, graphs by round, files, figures, scale."""

from __future__ import annotations

import inspect
import json
import os
import random
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agora.errors import TopologyError
from agora.model import derive_seed
from agora.text import graphfiles
from agora.text.topology import BUILDERS, Topology, build

ABC = ("a", "b", "c")
ABCD = ("a", "b", "c", "d")
ABCDEF = ("a", "b", "c", "d", "e", "f")
DRAWN = [name for name, f in BUILDERS.items() if "seed" in inspect.signature(f).parameters]
HOSTILE = (
    "__class__",
    "<script>alert(1)</script>",
    "名前",
    "عربي",
    "x" * 80,
    "]]>&\"'",
    "a b",
    "#1",
    "../..",
    "e\u0301",
)


def pairs(text: str) -> set[tuple[str, str]]:
    return {(edge[0], edge[1]) for edge in text.split()}


# ---- builders ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "edges"),
    [
        ("complete", 12),
        ("isolated", 0),
        ("ring", 8),
        ("relay", 4),
        ("star", 6),
        ("double_star", 6),
        ("chain", 3),
        ("tree", 6),
        ("reporting_tree", 5),
        ("layered", 3),
        ({"layered": {"widths": [2, 2]}}, 4),
        ({"layered": {"layers": 2}}, 4),
        ("mlp", 4),
        ("net", 6),
        ("dag_tree", 3),
        ("star_out", 3),
        ("grid", 8),
        ({"grid": {"rows": 1}}, 6),
        ({"grid": {"rows": 1, "torus": True}}, 8),
        ("bipartite", 8),
        ({"bipartite": {"proposers": 1}}, 6),
        ({"circulant": {"offsets": [1]}}, 8),
        ("k_regular", 12),
        ({"k_regular": {"k": 2}}, 8),
        ({"k_regular": {"k": 0}}, 0),
        ({"barabasi_albert": {"m": 1}}, 6),
        ({"star": {"hub": "c"}}, 6),
        ({"edges": [["a", "b"], ["a", "b"], ["c", "c"]]}, 1),
        ({"groups": {"size": 2}}, 6),
        ({"groups": {"size": 2, "bridges": "none"}}, 4),
        ({"groups": {"size": 1, "bridges": "complete"}}, 12),
        ({"groups": {"size": 3, "bridges": "d"}}, 8),
        ({"random_graph": {"p": 1.0}}, 12),
        ({"random_graph": {"p": 0}}, 0),
        ({"random_dag": {"m": 5}}, 5),
        ({"random_dag": {"p": 1}}, 6),
    ],
)
def test_number_of_edges(value: object, edges: int) -> None:
    topology = build(value, ABCD)
    assert (len(topology.edges), topology.edge_count) == (edges, edges)


@pytest.mark.parametrize(
    ("value", "agents", "edges"),
    [
        ("reporting_tree", ABC, "ba ca bc cb"),  # Exchange-of-Thought: A sees B, C; B and C see each other, not A
        ("reporting_tree", ABCDEF, "ba ca bc cb db eb de ed fc"),
        ("relay", ABC, "ab bc ca"),
        ("chain", ABC, "ab bc"),
        ({"chain": {"reverse": True}}, ABC, "ba cb"),
        ("star_out", ABCD, "ab ac ad"),
        ({"star_out": {"hub": "d", "reverse": True}}, ABCD, "ad bd cd"),
        ("dag_tree", ABCDEF, "ab ac bd be cf"),
        ("net", ABCD, "ab ac ad bc bd cd"),
        ({"net": {"reverse": True}}, ABC, "ba ca cb"),
        ("mlp", ABCDEF, "ad ae af bd be bf cd ce cf"),
        ({"layered": {"layers": 2}}, "abcde", "ad bd cd ae be ce"),
        ("double_star", ABCDEF, "ab ba ac ca bd db ae ea bf fb"),
        ({"double_star": {"hubs": ["c", "d"]}}, ABCD, "cd dc ca ac db bd"),
        ("grid", ABCDEF, "ab ba bc cb de ed ef fe ad da be eb cf fc"),
        ({"grid": {"columns": 3}}, "abcde", "ab ba bc cb de ed ad da be eb"),
        ({"grid": {"rows": 1, "torus": True}}, ABC, "ab ba bc cb ca ac"),
        ({"bipartite": {"critics": ["a"]}}, ABC, "ab ba ac ca"),
        ({"bipartite": {"proposers": 1, "critics": 2}}, ABC, "ab ba ac ca"),
        ({"groups": {"size": 2, "bridges": "a"}}, "abcde", "bc cb de ed ab ba ad da"),
    ],
)  # fmt: skip
def test_exact_edges(value: object, agents: str, edges: str) -> None:
    assert set(build(value, agents).edges) == pairs(edges)


def test_small_cases_agree() -> None:
    assert set(build("ring", ABC).edges) == set(build("complete", ABC).edges)
    assert set(build("small_world", ABC).edges) == set(build("complete", ABC).edges)
    assert set(build({"circulant": {"offsets": [1]}}, ABCDEF).edges) == set(build("ring", ABCDEF).edges)
    assert nx.is_isomorphic(build("ring", ABCD).graph, nx.cycle_graph(4).to_directed())
    torus = build({"grid": {"torus": True}}, [str(i) for i in range(12)])
    assert nx.is_isomorphic(torus.graph, nx.grid_2d_graph(3, 4, periodic=True).to_directed())


def test_an_edge_means_the_second_reads_the_first() -> None:
    assert build("relay", ABCD).reads("a") == ("d",)
    assert build("chain", ABCD).reads("a") == ()
    assert build({"star": {"hub": "c"}}, ABCD).reads("b") == ("c",)


@given(st.integers(2, 30), st.integers(0, 10_000))
def test_a_random_dag_is_macnets(n: int, seed: int) -> None:
    topology = build({"random_dag": {"seed": seed}}, [str(i) for i in range(n)])
    assert n - 1 <= topology.edge_count <= n * (n - 1) // 2
    assert all(int(u) < int(v) for u, v in topology.edges)
    assert all(topology.reads(str(i)) for i in range(1, n))
    assert len(nx.descendants(topology.graph, "0")) == n - 1


@pytest.mark.parametrize(("k", "n"), [(3, 8), (4, 9), (6, 10), (7, 8)])
def test_regular_graphs_are_regular(k: int, n: int) -> None:
    topology = build({"k_regular": {"k": k, "seed": 3}}, [str(i) for i in range(n)])
    assert {len(topology.reads(agent)) for agent in topology.agents} == {k}


def test_random_graphs_have_about_p_of_the_edges() -> None:
    agents = [str(i) for i in range(300)]
    for p in (0.01, 0.3, 0.9):
        assert abs(build({"random_graph": {"p": p}}, agents).figures()["density"] - p) < 0.02
    assert build({"random_graph": {"p": 1e-320}}, agents).edge_count == 0


@given(st.sampled_from(sorted(BUILDERS)), st.integers(1, 12), st.integers(-3, 2**40))
@settings(max_examples=300, deadline=None)
def test_every_builder_at_every_size(name: str, n: int, seed: int) -> None:
    agents = [f"n{i}" for i in range(n)]
    value = {name: {"seed": seed}} if name in DRAWN else name
    if name == "edge_critics":  # a chain of half of them, and a critic on each of its edges: an odd number
        agents = agents[: n - (n + 1) % 2]
    topology = build(value, agents)
    order = {agent: i for i, agent in enumerate(agents)}
    assert set(topology.graph.nodes) == set(agents)
    assert {end for edge in topology.edges for end in edge} <= set(agents)
    assert all(u != v for u, v in topology.edges)
    assert len(set(topology.edges)) == len(topology.edges) == topology.edge_count
    assert all(list(topology.reads(a)) == sorted(topology.reads(a), key=order.__getitem__) for a in agents)
    assert build(value, agents).edges == topology.edges
    renamed = [f"z{n - i}" for i in range(len(agents))]
    assert build(value, renamed).edges == tuple((renamed[order[u]], renamed[order[v]]) for u, v in topology.edges)
    figures = topology.figures()
    assert figures["changes"] is None
    if len(agents) > 1 and nx.is_strongly_connected(topology.graph):
        assert figures["diameter"] == nx.diameter(topology.graph)
    else:
        assert figures["diameter"] is None
    assert figures["parts"] == nx.number_weakly_connected_components(topology.graph)


@pytest.mark.parametrize("name", DRAWN)
def test_seeds_make_a_difference(name: str) -> None:
    agents = [str(i) for i in range(20)]
    made = {
        build({name: {"seed": seed} | ({"k": 6} if name == "k_regular" else {})}, agents).edges for seed in range(5)
    }
    assert len(made) == 5


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ({"edges": [["a", "zed"]]}, "zed"),
        ({"edges": [["a"]]}, "two ends"),
        ({"edges": ["ab"]}, "is a list"),
        ({"edges": [3]}, "is a list"),
        ({"edges": [[["a"], "b"]]}, "names"),
        ({"edges": {"a": "b"}}, "list of"),
        ({"edges": [["a", "b", {"dely": 1}]]}, "Did you mean 'delay'"),
        ({"edges": [["a", "b", {"delay": -1}]]}, "whole number of rounds"),
        ({"edges": [["a", "b", {"delay": 1.5}]]}, "whole number of rounds"),
        ({"edges": [["a", "b", {"delay": True}]]}, "whole number of rounds"),
        ({"edges": [["a", "b", {"probability": 1.5}]]}, "between 0 and 1"),
        ({"edges": [["a", "b", {"probability": float("nan")}]]}, "between 0 and 1"),
        ({"edges": [["a", "b", {"view": 3}]]}, "view"),
        ({"edges": [["a", "b", 3]]}, "attributes are a mapping"),
        ({"edges": [["a", "b", {"delay": 1}], ["a", "b", {"delay": 2}]]}, "different attributes"),
        ("rnig", "Did you mean 'ring'"),
        ("watts", "unknown topology 'watts'"),
        ({"ring": {"k": 3}}, "unknown argument"),
        ({"small_world": {"seeed": 3}}, "Did you mean 'seed'"),
        ({"ring": 3}, "mapping"),
        ({"ring": {"delay": -1}}, "delay"),
        ({"star": {"hub": "z"}}, "z"),
        ({"double_star": {"hubs": ["a", "a"]}}, "two different"),
        ({"double_star": {"hubs": "ab"}}, "a list"),
        ({"layered": {"widths": [1, 1]}}, "add up"),
        ({"layered": {"widths": [4, 0]}}, "at least 1"),
        ({"layered": {"layers": 9}}, "between 1 and 4"),
        ({"layered": {"layers": 1, "widths": [4]}}, "not both"),
        ({"small_world": {"k": 9}}, "small_world"),
        ({"small_world": {"p": 2}}, "probability"),
        ({"k_regular": {"k": True}}, "whole number"),
        ({"k_regular": {"seed": "x"}}, "seed"),
        ({"barabasi_albert": {"m": 0}}, "between 1 and 3"),
        ({"grid": {"rows": 3}}, "empty row"),
        ({"grid": {"torus": 1}}, "true or false"),
        ({"bipartite": {"proposers": ["a"], "critics": ["a"]}}, "one side"),
        ({"bipartite": {"proposers": 5}}, "between 0 and 4"),
        ({"groups": {"bridges": "zed"}}, "zed"),
        ({"groups": {"size": 0}}, "size"),
        ({"random_dag": {"m": 2}}, "between 3 and 6"),
        ({"random_dag": {"m": 4, "p": 0.5}}, "not both"),
        ({"circulant": {"offsets": [0]}}, "at least 1"),
        ({"rounds": []}, "list of 1"),
        ({"rounds": ["ring"], "cicle": True}, "Did you mean 'cycle'"),
        ({"rounds": ["ring"], "cycle": 1}, "true or false"),
        ({"rounds": ["ring", "rnig"]}, r"rounds\[2\]: unknown topology 'rnig'. Did you mean 'ring'"),
        ({"rounds": [{"rounds": ["ring"]}]}, "one topology"),
        ({"rewire": "ring"}, "small_world"),
        ({"rewire": {"small_world": {"k": 9}}}, "small_world: k"),
        ({"rewire": None}, "that is drawn"),
        ({"file": 3}, "path"),
        ({"file": ""}, "path"),
        (nx.DiGraph([("a", "__class__")]), "__class__"),
        (3, "topology"),
        ({}, "topology"),
        ({"ring": None, "star": None}, "topology"),
    ],
)
def test_what_is_wrong_is_named(value: object, word: str) -> None:
    with pytest.raises(TopologyError, match=word) as caught:
        build(value, ABCD)
    assert str(caught.value).rstrip()[-1] in ".?"
    assert "\n" not in str(caught.value)


def test_two_of_one_name() -> None:
    with pytest.raises(TopologyError, match="two agents are called 'a'"):
        build("ring", ("a", "b", "a"))


def test_cycle_is_named() -> None:
    for name in ("ring", "complete"):
        with pytest.raises(TopologyError, match="circle"):
            build(name, ABCD).layers()
    assert build("net", ABCD).layers() == {"a": 0, "b": 1, "c": 2, "d": 3}


def test_hostile_names() -> None:
    for name in ("complete", "star", "small_world", {"rewire": "random_graph"}):
        topology = build(name, HOSTILE)
        assert {end for edge in topology.at(1, 0).edges for end in edge} == set(HOSTILE)
    assert build({"edges": [[HOSTILE[0], HOSTILE[1]]]}, HOSTILE).reads(HOSTILE[1]) == ("__class__",)


def test_names_that_yaml_takes_for_numbers() -> None:
    assert build({"edges": [[1, 2]]}, ("1", "2")).edges == (("1", "2"),)


# ---- attributes -------------------------------------------------------------------------------------------------


def test_attributes() -> None:
    view = {"text": "answer"}
    topology = build(
        {"edges": [["a", "b"], ["b", "c", {"delay": 1, "probability": 0.5, "view": view}], ["c", "a", {"view": "x"}]]},
        ABC,
    )
    assert dict(topology.attributes("b", "c")) == {"delay": 1, "probability": 0.5, "view": view}
    assert dict(topology.attributes("c", "a")) == {"view": "x"}
    assert topology.attributes("a", "b") == topology.attributes("a", "c") == {}
    assert topology.graph.edges["b", "c"]["delay"] == 1
    assert topology.attributed
    assert topology.changes
    assert not build("ring", ABC).attributed
    assert build(topology, ABCD).attributes("b", "c")["delay"] == 1


def test_a_builders_edges_may_all_carry_something() -> None:
    topology = build({"complete": {"delay": 2, "view": "answer"}}, ABCD)
    assert {tuple(topology.attributes(*edge).items()) for edge in topology.edges} == {
        (("delay", 2), ("view", "answer"))
    }
    assert topology.at(3, 1) is topology


def test_networkx_graphs_and_their_data() -> None:
    assert build(nx.DiGraph([("a", "b")]), ABCD).edges == (("a", "b"),)
    assert set(build(nx.Graph([("a", "b")]), ABCD).edges) == {("a", "b"), ("b", "a")}
    assert build(nx.path_graph(4, nx.DiGraph), ABCD).edges == build("chain", ABCD).edges
    graph: Any = nx.Graph()
    graph.add_edge("a", "b", weight=3, delay=1, colour="red")
    topology = build(graph, ABCD)
    assert dict(topology.attributes("a", "b")) == dict(topology.attributes("b", "a")) == {"delay": 1}
    assert build(topology.graph, ABCD).attributes("a", "b")["delay"] == 1
    with pytest.raises(TopologyError, match="delay"):
        build(nx.DiGraph([("a", "b", {"delay": "soon"})]), ABCD)


# ---- by round ---------------------------------------------------------------------------------------------------


def test_edges_by_chance() -> None:
    agents = [str(i) for i in range(30)]
    topology = build({"complete": {"probability": 0.3, "delay": 1}}, agents)
    rounds = [topology.at(r, 7) for r in range(20)]
    mean = sum(t.edge_count for t in rounds) / 20 / 870
    assert abs(mean - 0.3) < 0.02
    assert len({t.edges for t in rounds}) == 20
    assert topology.at(3, 7) is topology.at(3, 7)
    assert topology.at(3, 7).edges == build({"complete": {"probability": 0.3}}, agents).at(3, 7).edges
    assert topology.at(3, 7).edges != topology.at(3, 8).edges
    assert dict(topology.at(3, 7).attributes(*topology.at(3, 7).edges[0])) == {"delay": 1}
    assert topology.edge_count == 870
    assert topology.figures()["expected_edges"] == pytest.approx(261)
    assert "chance" in topology.figures()["changes"]


def test_whether_an_edge_is_there_depends_on_no_other() -> None:
    agents = [str(i) for i in range(12)]
    all_ = [(u, v, {"probability": 0.5}) for u in agents for v in agents if u != v]
    random.Random(1).shuffle(all_)
    some = all_[::3]
    one, other = Topology(agents, all_).at(2, 5), Topology(agents, some).at(2, 5)
    assert set(other.edges) == set(one.edges) & {(u, v) for u, v, _ in some}
    never = Topology(agents, [(u, v, {"probability": 0}) for u, v, _ in all_])
    always = Topology(agents, [(u, v, {"probability": 1}) for u, v, _ in all_])
    assert (never.at(1, 1).edge_count, always.at(1, 1).edge_count) == (0, 132)


def test_rounds() -> None:
    topology = build({"rounds": ["ring", {"star": {"hub": "b"}}, "complete"]}, ABCD)
    assert [topology.at(r, 0).name for r in range(6)] == ["ring", "ring", "star", "complete", "complete", "complete"]
    assert topology.edges == build("ring", ABCD).edges
    assert "round 1" in topology.figures()["changes"]
    assert topology.changes
    again = build({"rounds": ["ring", "star"], "cycle": True}, ABCD)
    assert [again.at(r, 0).name for r in range(1, 6)] == ["ring", "star", "ring", "star", "ring"]


def test_groupdebate_can_be_said() -> None:
    inside = {"groups": {"size": 2, "bridges": "none"}}
    topology = build({"rounds": [inside, inside, "complete"], "cycle": True}, ABCD)
    assert [topology.at(r, 0).edge_count for r in range(1, 7)] == [4, 4, 12, 4, 4, 12]


def test_rewire() -> None:
    agents = [str(i) for i in range(12)]
    topology = build({"rewire": {"random_graph": {"p": 0.3}}}, agents, seed=5)
    assert topology.edges == topology.at(1, 5).edges == topology.at(0, 5).edges
    for r in (1, 2, 9):
        seed = derive_seed(5, "rewire", r)
        assert topology.at(r, 5).edges == build({"random_graph": {"p": 0.3, "seed": seed}}, agents).edges
    assert len({topology.at(r, 5).edges for r in range(1, 9)}) == 8
    fixed = build({"rewire": {"random_graph": {"p": 0.3, "seed": 5}}}, agents)
    assert fixed.at(2, 99).edges == topology.at(2, 5).edges


def test_rounds_of_rewired_graphs_whose_edges_come_by_chance() -> None:
    agents = [str(i) for i in range(12)]
    topology = build({"rounds": ["complete", {"rewire": {"random_graph": {"p": 0.5, "probability": 0.5}}}]}, agents)
    assert topology.attributed
    assert topology.at(1, 3).edge_count == 132
    counts = [topology.at(r, 3).edge_count for r in range(2, 30)]
    assert 22 < sum(counts) / len(counts) < 44
    assert topology.at(4, 3).edges == topology.at(4, 3).edges != topology.at(5, 3).edges


def test_a_callable_is_asked_once_a_round() -> None:
    asked: list[int] = []

    def by_round(round: int) -> Any:
        asked.append(round)
        return nx.DiGraph([("a", "b")]) if round % 2 else "complete"

    topology = build(by_round, ABC)
    assert [topology.at(r, s).edge_count for r in (1, 2, 1, 2) for s in (0, 1)] == [1, 1, 6, 6, 1, 1, 6, 6]
    assert sorted(asked) == [1, 2]
    with pytest.raises(TopologyError, match="round 2: unknown topology"):
        build(lambda round: "ring" if round == 1 else "rnig", ABC).at(2, 0)


def test_a_topology_for_other_agents() -> None:
    with pytest.raises(TopologyError, match="other agents"):
        build(build({"rounds": ["ring"]}, ABC), ABCD)
    topology = build("ring", ABC)
    assert build(topology, ABC) is topology
    assert build(topology, ABCD).reads("d") == ()


# ---- figures ----------------------------------------------------------------------------------------------------


def test_who_is_cut_off() -> None:
    figures = build({"edges": [["a", "b"], ["b", "c"], ["d", "e"]]}, ABCDEF).figures()
    assert figures["isolated"] == ["f"]
    assert figures["unreachable"] == ["d", "e", "f"]
    assert (figures["parts"], figures["diameter"]) == (3, None)
    quiet = build("isolated", ABC).figures()
    assert (quiet["isolated"], quiet["unreachable"], quiet["parts"]) == ([], [], 3)


@pytest.mark.parametrize(("n", "expected"), [(1, None), (2, 1), (9, 4), (400, 200)])
def test_diameter(n: int, expected: int | None) -> None:
    assert build("ring", [str(i) for i in range(n)]).figures()["diameter"] == expected


def test_ten_thousand_agents() -> None:
    agents = [f"agent {i}" for i in range(10_000)]
    start = time.process_time()
    for value in (
        "ring",
        "tree",
        "grid",
        {"groups": {"size": 5}},
        {"edges": [[u, v] for u, v in build("ring", agents).edges]},
    ):
        topology = build(value, agents)
    assert time.process_time() - start < 5  # five of them, on a busy machine
    start = time.process_time()
    for agent in agents:
        topology.reads(agent)
        topology.at(1, 0)
    assert time.process_time() - start < 0.5
    for drawn in ("small_world", "barabasi_albert", "k_regular", {"random_graph": {"p": 0.0004}}):
        start = time.process_time()
        assert build(drawn, agents).edge_count < 60_000
        assert time.process_time() - start < 2
    assert topology.figures()["isolated"] == []


def test_two_thousand_who_all_read_each_other_take_no_memory() -> None:
    agents = [str(i) for i in range(2000)]
    tracemalloc.start()
    topologies = [build(name, agents) for name in ("complete", "net", "bipartite", {"layered": {"layers": 2}})]
    figures = topologies[0].figures()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000
    assert (figures["edges"], figures["diameter"], figures["parts"]) == (3_998_000, 1, 1)
    assert len(topologies[0].reads("7")) == 1999


def test_a_graph_too_large_is_refused_at_once() -> None:
    agents = [str(i) for i in range(10_000)]
    for value in ("random_graph", {"random_dag": {"m": 40_000_000}}):
        start = time.process_time()
        with pytest.raises(TopologyError, match="edges"):
            build(value, agents)
        assert time.process_time() - start < 1


# ---- files ------------------------------------------------------------------------------------------------------

WRITERS: dict[str, Callable[[Any, Path], Any]] = {
    ".graphml": nx.write_graphml_xml,
    ".gexf": nx.write_gexf,
    ".json": lambda graph, path: path.write_text(json.dumps(nx.node_link_data(graph))),
}


@pytest.mark.parametrize("kind", sorted(WRITERS))
@pytest.mark.parametrize("directed", [True, False])
def test_files_that_networkx_writes(kind: str, directed: bool, tmp_path: Path) -> None:
    graph: Any = (nx.DiGraph if directed else nx.Graph)()
    graph.add_nodes_from(HOSTILE)
    graph.add_edge(HOSTILE[0], HOSTILE[1], weight=2.5, delay=1, probability=0.5, view="answer")
    graph.add_edge(HOSTILE[1], HOSTILE[2])
    WRITERS[kind](graph, tmp_path / f"g{kind}")
    topology = build({"file": f"g{kind}"}, HOSTILE, tmp_path)
    there = {(HOSTILE[0], HOSTILE[1]), (HOSTILE[1], HOSTILE[2])}
    assert set(topology.edges) == (there if directed else there | {(v, u) for u, v in there})
    assert dict(topology.attributes(HOSTILE[0], HOSTILE[1])) == {"delay": 1, "probability": 0.5, "view": "answer"}


@pytest.mark.parametrize(
    ("name", "text", "edges"),
    [
        ("g.edgelist", "# a comment\na b\n\nb c {'weight': 3}\n", "ab bc"),
        ("g.txt", "\ufeffa, b\nb,c, 3\n", "ab bc"),
        ("g.edges", "a\tb\t1.5\nc\ta\n", "ab ca"),
        ("g.csv", "Source,Target,Weight\na,b,1\nc,a,2\n", "ab ca"),
        ("g.csv", '# nothing\n"a", "b"\n', "ab"),
        ("g.TXT", "a b", "ab"),
        ("g.json", '{"directed": true, "nodes": [{"id": 1, "label": "a"}, {"id": 2, "name": "b"}, {"id": 3, "name": '
         '"c"}], "links": [{"source": 1, "target": 2}]}', "ab"),
        ("g.graphml", '<graphml><graph edgedefault="undirected"><node id="a"/><node id="b"/><node id="c"/>'
         '<edge source="a" target="b" directed="true"/><edge source="b" target="c"/></graph></graphml>', "ab bc cb"),
        ("g.graphml", '<graphml xmlns="http://graphml.graphdrawing.org/xmlns" xmlns:y="http://www.yworks.com/xml">'
         '<key id="d6" for="node" yfiles.type="nodegraphics"/><graph edgedefault="directed">'
         + "".join(f'<node id="n{i}"><data key="d6"><y:ShapeNode><y:NodeLabel>{c}<y:LabelModel/></y:NodeLabel>'
                   "</y:ShapeNode></data></node>" for i, c in enumerate("abc"))
         + '<edge source="n0" target="n1"/></graph></graphml>', "ab"),
        ("g.gexf", '<gexf xmlns="http://gexf.net/1.3" version="1.3"><graph defaultedgetype="directed"><nodes>'
         '<node id="0" label="a"/><node id="1" label="b"/><node id="2" label="c"/></nodes><edges>'
         '<edge source="0" target="1"/><edge source="1" target="2" type="undirected"/></edges></graph></gexf>',
         "ab bc cb"),
    ],
)  # fmt: skip
def test_files_by_hand(name: str, text: str, edges: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert set(build({"file": name}, ABC, tmp_path).edges) == pairs(edges)


def test_names_with_spaces_in_edge_lists(tmp_path: Path) -> None:
    (tmp_path / "g.txt").write_text('"a b" "#1"\n')
    assert build({"file": str(tmp_path / "g.txt")}, HOSTILE).edges == (("a b", "#1"),)


LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    + ']><graphml><graph edgedefault="directed"><node id="&i;"/></graph></graphml>'
)
GRAPH = '<graphml><graph edgedefault="directed">{}</graph></graphml>'
THREE = '<node id="a"/><node id="b"/><node id="c"/>'


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("g.graphml", LAUGHS, "DOCTYPE"),
        ("g.graphml", LAUGHS.replace('"1.0"?>', '"1.0" encoding="utf-16"?>').encode("utf-16"), "DOCTYPE"),
        ("g.gexf", '<!DOCTYPE x SYSTEM "file:///etc/passwd"><gexf/>', "DOCTYPE"),
        ("g.graphml", b"\x89PNG\r\n\x1a\n\0\0\0", "not XML"),
        ("g.graphml", "<graphml>" * 50_000, "nested too deeply"),
        ("g.graphml", "<graphml/>", "no <graph>"),
        ("g.graphml", GRAPH.format('<node id="a"/>'), "no node for the agent 'b'"),
        ("g.graphml", GRAPH.format(THREE + '<node id="__class__"/>'), "'__class__' that is no agent"),
        ("g.graphml", GRAPH.format(THREE + '<edge source="a" target="x"/>'), "does not have"),
        ("g.graphml", GRAPH.format(THREE + '<edge source="a"/>'), "without target"),
        ("g.graphml", GRAPH.format('<node id="a"><graph><node id="b"/></graph></node>'), "within a node"),
        ("g.graphml", GRAPH.format("".join(f'<node id="{i}"/>' for i in range(10_001))), "more than 10,000 nodes"),
        ("g.graphml", GRAPH.format(THREE) + "x", "not XML"),
        ("g.graphml", '<?xml version="1.0" encoding="nonsense"?><a/>', "not XML"),
        ("g.gexf", '<gexf><graph><nodes><node id="1" label="a"/><node id="2" label="a"/></nodes></graph></gexf>',
         "two nodes labelled 'a'"),
        ("g.txt", b"\x00\x01\x02", "not text"),
        ("g.txt", b"\xff\xfe\xfa", "not text"),
        ("g.csv", b"a,b\0", "not text"),
        ("g.txt", "", "empty"),
        ("g.json", " \n", "empty"),
        ("g.txt", "a\n", "line 1"),
        ("g.txt", "a b\nb zed\n", "zed"),
        ("g.csv", "a,\n", "not two names"),
        ("g.json", "[" * 100_000, "not JSON"),
        ("g.json", "{", "not JSON in line 1"),
        ("g.json", "[]", "no nodes and links"),
        ("g.json", '{"nodes": [3], "links": []}', "without an id"),
        ("g.json", '{"nodes": [{"id": "a"}, {"id": "b"}, {"id": "c"}], "links": [{"source": "a"}]}', "does not join"),
        ("g.json", '{"nodes": [], "links": [3]}', "does not join"),
        ("g.png", b"\x89PNG", "no kind known"),
        ("none.txt", None, "cannot be read: no such file"),
        ("a\0b.txt", None, "cannot be read"),
    ],
)  # fmt: skip
def test_wrong_files_are_one_sentence(name: str, content: str | bytes | None, word: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    start = time.process_time()
    with pytest.raises(TopologyError, match=word) as caught:
        build({"file": name}, ABC, tmp_path)
    assert time.process_time() - start < 2
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"the graph in {name} ")


def test_a_folder_a_pipe_and_a_file_that_never_ends(tmp_path: Path) -> None:
    (tmp_path / "folder.txt").mkdir()
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "zero.txt").symlink_to("/dev/zero")
    for name, word in (("folder.txt", "is a folder"), ("pipe.txt", "ordinary"), ("zero.txt", "ordinary")):
        with pytest.raises(TopologyError, match=word):
            build({"file": name}, ABC, tmp_path)


def test_large_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "g.txt").write_bytes(b"a b\n" * 5_000_001)
    with pytest.raises(TopologyError, match="more than 20 MB"):
        build({"file": "g.txt"}, ABC, tmp_path)
    (tmp_path / "g.txt").write_bytes(b"a b\n" * 101)
    monkeypatch.setattr(graphfiles, "MAX_EDGES", 100)
    with pytest.raises(TopologyError, match="more than 100 edges"):
        build({"file": "g.txt"}, ABC, tmp_path)


@given(st.binary(max_size=200), st.sampled_from([".graphml", ".gexf", ".json", ".txt", ".csv"]))
@settings(max_examples=300)
def test_any_bytes_are_a_graph_or_a_sentence(tmp_path_factory: Any, content: bytes, kind: str) -> None:
    path = tmp_path_factory.getbasetemp() / f"any{kind}"
    path.write_bytes(content)
    with suppress(TopologyError):
        assert set(build({"file": str(path)}, ABC).agents) == set(ABC)
