"""Communication graphs from files: GraphML, GEXF, edge lists, node-link JSON; bounded, as files come from strangers."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.parsers import expat

from agora.errors import TopologyError
from agora.text.attributes import ATTRIBUTES

MAX_BYTES, MAX_NODES, MAX_EDGES = 20_000_000, 10_000, 2_000_000
Edge = tuple[str, str] | tuple[str, str, Mapping[str, Any]]
_WORD = re.compile(r'"([^"]*)"|(\S+)')
_HEADERS = ({"source", "target"}, {"from", "to"}, {"u", "v"})


class _WrongError(Exception):
    """What is wrong with a file, and what to do; the file is named by who catches it."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass
class _Graph:
    """What a file says. With `listed`, its nodes are all there are; else they are those that its edges name."""

    listed: bool
    labels: dict[str, str | None] = field(default_factory=dict)
    edges: list[Any] = field(default_factory=list)

    def node(self, name: str, label: str | None = None) -> None:
        if name not in self.labels and len(self.labels) >= MAX_NODES:
            raise _WrongError(f"has more than {MAX_NODES:,} nodes.")
        self.labels[name] = label or self.labels.get(name)

    def edge(self, u: str, v: str, given: Mapping[str, Any] | None = None, *, mutual: bool = False) -> None:
        kept = {k: x for k, x in given.items() if k in ATTRIBUTES} if given else None
        for edge in ((u, v), (v, u)) if mutual else ((u, v),):
            if len(self.edges) >= MAX_EDGES:
                raise _WrongError(f"has more than {MAX_EDGES:,} edges.")
            self.edges.append((*edge, kept) if kept else edge)


def read(path: Any, agents: Sequence[str], folder: str | Path | None = None) -> list[Edge]:
    """The edges in a file; (u, v) means v reads u. An edge without a direction goes both ways.

    Args:
        path: .graphml, .gexf, .json (node-link) or an edge list: .edgelist, .edges, .txt or .csv, whose lines begin
            with who is read and who reads.
        agents: the agents. Nodes are agents by their ids or, where not all ids are agents, by their labels.
        folder: what the path is relative to.

    Raises:
        TopologyError: one sentence: what is wrong, in which file, what to do.
    """
    if not isinstance(path, (str, Path)) or not str(path):
        raise TopologyError("file: needs the path of a graph, such as {file: graph.graphml}.")
    where = Path(folder or "", path)
    reader = _READERS.get(where.suffix.lower())
    try:
        if reader is None:
            raise _WrongError("is of no kind known here.", f"There are {', '.join(_READERS)}.")
        return _named(reader(_content(where)), tuple(agents))
    except _WrongError as error:
        raise TopologyError(f"the graph in {str(path)[:120]} {error}", hint=error.hint or None) from error


def _content(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise _WrongError("is a folder.", "Name a file.")
        if path.exists() and not path.is_file():
            raise _WrongError("is no ordinary file.", "Name a file.")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise _WrongError(f"cannot be read: {said[:1].lower()}{said[1:]}.", "Check the path.") from error
    if len(content) > MAX_BYTES:
        raise _WrongError(
            f"has more than {MAX_BYTES // 1_000_000} MB.", "Write it as an edge list, or take fewer edges."
        )
    if not content.strip():
        raise _WrongError("is empty.", "Write at least one edge, or use the topology isolated.")
    return content


def _named(graph: _Graph, agents: tuple[str, ...]) -> list[Edge]:
    """The edges, with agents for nodes."""
    known = set(agents)
    names = {node: node for node in graph.labels}
    if not known.issuperset(names):
        labels = {node: label for node, label in graph.labels.items() if label is not None}
        if labels and known.issuperset(labels.values()) and len(labels) == len(names):
            names = labels
        else:
            stranger = next(node for node in names if node not in known)
            label = f" (label '{labels[stranger][:60]}')" if stranger in labels else ""
            raise _WrongError(
                f"has a node '{stranger[:60]}'{label} that is no agent.",
                f"The agents are {', '.join(agents[:12])}; let ids or labels be their names.",
            )
    if len(set(names.values())) != len(names):
        twice = sorted(names.values())
        again = next(a for a, b in pairwise(twice) if a == b)
        raise _WrongError(f"has two nodes labelled '{again[:60]}'.", "Name each node differently.")
    there = set(names.values())
    missing = [agent for agent in agents if agent not in there] if graph.listed else []
    if missing:
        raise _WrongError(f"has no node for the agent '{missing[0][:60]}'.", "An agent without edges is a node too.")
    return [(names[u], names[v], *rest) for u, v, *rest in graph.edges]


# ---- text -------------------------------------------------------------------------------------------------------


def _text(content: bytes) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise _WrongError("is not text (UTF-8).", "Save it as text, or as .graphml.")
    return text


def _edge_list(content: bytes) -> _Graph:
    """Lines that begin with two names, apart by spaces, a tab or a comma; names with spaces stand in quotes."""
    return _of_rows(_rows(_text(content)))


def _table(content: bytes) -> _Graph:
    """Comma-separated values, with or without a line of headings."""
    lines = (line for line in _text(content).splitlines())
    try:
        rows = csv.reader(lines, skipinitialspace=True)
        return _of_rows((rows.line_num, row) for row in rows if row and not row[0].lstrip().startswith("#"))
    except csv.Error as error:
        raise _WrongError(f"is no table: {error}.") from error


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if "\t" in line:
            yield number, line.split("\t")
        elif "," in line and '"' not in line and len(line.partition(",")[0].split()) == 1:
            yield number, line.split(",")
        else:
            yield number, [quoted or word for quoted, word in _WORD.findall(line)]


def _of_rows(rows: Iterator[tuple[int, list[str]]]) -> _Graph:
    graph, first = _Graph(listed=False), True
    for number, row in rows:
        cells = [cell.strip() for cell in row[:2]]
        heading, first = first and {cell.casefold() for cell in cells} in _HEADERS, False
        if heading:
            continue
        if len(cells) < 2 or not all(cells):
            raise _WrongError(
                f"has in line {number} not two names: '{' '.join(row)[:60]}'.", "A line is: who is read, who reads."
            )
        for cell in cells:
            graph.node(cell)
        graph.edge(cells[0], cells[1])
    return graph


# ---- JSON -------------------------------------------------------------------------------------------------------


def _node_link(content: bytes) -> _Graph:
    """As networkx, D3 and others write graphs: nodes with ids, and links (or edges) with sources and targets."""
    try:
        data = json.loads(_text(content))
    except (ValueError, RecursionError) as error:
        line = f" in line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise _WrongError(f"is not JSON{line}.") from error
    links = data.get("links", data.get("edges")) if isinstance(data, dict) else None
    nodes = data.get("nodes") if isinstance(data, dict) else None
    if not isinstance(nodes, list) or not isinstance(links, list):
        raise _WrongError("has no nodes and links.", 'It must be {"directed": true, "nodes": [...], "links": [...]}.')
    mutual = data.get("directed") is not True
    graph = _Graph(listed=True)
    for node in nodes:
        if not isinstance(node, dict) or not isinstance(node.get("id"), (str, int)):
            raise _WrongError(f"has a node without an id: {str(node)[:60]}.")
        label = node.get("label", node.get("name"))
        graph.node(str(node["id"]), label if isinstance(label, str) else None)
    for link in links:
        ends = [str(link.get(end)) for end in ("source", "target")] if isinstance(link, dict) else []
        if not ends or not all(end in graph.labels for end in ends):
            raise _WrongError(f"has a link that does not join two of its nodes: {str(link)[:80]}.")
        graph.edge(ends[0], ends[1], link, mutual=mutual)
    return graph


# ---- XML --------------------------------------------------------------------------------------------------------


def _xml(content: bytes, start: Callable[[str, dict[str, str]], None], end: Callable[[str, str], None]) -> None:
    """Tells start(tag, attributes) and end(tag, text), names without their namespaces. A document type is refused, and
    with it every entity: they can make a small file huge, or read other files."""
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    texts: list[list[str]] = [[]]

    def refuse(*_: Any) -> None:
        raise _WrongError("declares a document type (DOCTYPE), which is refused.", "Delete that declaration.")

    def local(name: str) -> str:
        return name.rpartition(" ")[2]

    def started(tag: str, attributes: dict[str, str]) -> None:
        texts.append([])
        if len(texts) > 100:
            raise _WrongError("is nested too deeply to be a graph.")
        start(local(tag), {local(k): v for k, v in attributes.items()})

    def ended(tag: str) -> None:
        end(local(tag), "".join(texts.pop()).strip())

    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.StartElementHandler = started
    parser.EndElementHandler = ended
    parser.CharacterDataHandler = lambda text: texts[-1].append(text)
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise _WrongError(f"is not XML: {expat.errors.messages[error.code]}, line {error.lineno}.") from error
    except (LookupError, ValueError) as error:
        raise _WrongError(f"is not XML: {str(error)[:80]}.") from error


@dataclass
class _Here:
    """Where a reader of XML is: the element it is in, and what it has seen of it."""

    kind: str = ""  # node, edge or nothing
    ends: dict[str, str] = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)
    key: str | None = None


class _Xml:
    """What GraphML and GEXF have in common: nodes and edges with data, keys that say what data means."""

    seen = False

    def __init__(self) -> None:
        self.graph = _Graph(listed=True)
        self.here = _Here()
        self.titles: dict[str, str] = {}
        self.directed = True

    def read(self, content: bytes, kind: str) -> _Graph:
        _xml(content, self.start, self.end)
        if not self.seen:
            raise _WrongError(f"has no <graph>, so it is no {kind}.")
        for edge in self.graph.edges:
            for node in edge[:2]:
                if node not in self.graph.labels:
                    raise _WrongError(f"has an edge of a node '{node[:60]}' that it does not have.")
        return self.graph

    def begin(self, kind: str, attributes: dict[str, str]) -> None:
        self.here = _Here(kind, attributes)
        for needed in ("id",) if kind == "node" else ("source", "target"):
            if needed not in attributes:
                raise _WrongError(f"has a <{kind}> without {needed}.")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        raise NotImplementedError

    def end(self, tag: str, text: str) -> None:
        raise NotImplementedError

    def finish(self, directed: bool, defaults: Mapping[str, str]) -> None:
        here, self.here = self.here, _Here()
        if here.kind == "node":
            self.graph.node(here.ends["id"], here.ends.get("label") or here.data.get("label") or here.data.get("name"))
        elif here.kind == "edge":
            self.graph.edge(here.ends["source"], here.ends["target"], {**defaults, **here.data}, mutual=not directed)


class _GraphML(_Xml):
    """GraphML, as networkx, igraph, yEd and Gephi write it."""

    def __init__(self) -> None:
        super().__init__()
        self.defaults: dict[str, str] = {}
        self.declared: tuple[str, bool] = ("", False)

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "graph":
            self.seen = True
            self.directed = attributes.get("edgedefault") != "undirected"
        elif tag == "key":
            title = attributes.get("attr.name", attributes.get("id", ""))
            self.titles[attributes.get("id", "")] = title
            self.declared = title, attributes.get("for") in ("edge", "all", None)
        elif tag in ("node", "edge"):
            if self.here.kind == "node":  # a graph within a node
                raise _WrongError("has a node within a node.", "Ungroup its nodes.")
            self.begin(tag, attributes)
        elif tag == "data":
            key = attributes.get("key", "")
            self.here.key = self.titles.get(key, key)

    def end(self, tag: str, text: str) -> None:
        if tag == "default" and self.declared[1] and self.declared[0] in ATTRIBUTES:
            self.defaults[self.declared[0]] = text
        elif tag == "NodeLabel" and text:
            self.here.data.setdefault("label", text)  # yEd's
        elif tag == "data" and self.here.key is not None:
            if text:
                self.here.data[self.here.key] = text
            self.here.key = None
        elif tag in ("node", "edge"):
            own = self.here.ends.get("directed")
            self.finish(self.directed if own is None else own == "true", self.defaults)


class _GEXF(_Xml):
    """GEXF, as Gephi writes it."""

    of_edges = False

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if tag == "graph":
            self.seen = True
            self.directed = attributes.get("defaultedgetype", "undirected") == "directed"
        elif tag == "attributes":
            self.of_edges = attributes.get("class") == "edge"
        elif tag == "attribute":
            self.titles[f"{self.of_edges} {attributes.get('id', '')}"] = attributes.get("title", "")
        elif tag in ("node", "edge"):
            if self.here.kind == "node":
                raise _WrongError("has a node within a node.", "Ungroup its nodes.")
            self.begin(tag, attributes)
        elif tag == "attvalue":
            key = attributes.get("for", attributes.get("id", ""))
            title = self.titles.get(f"{self.here.kind == 'edge'} {key}", "")
            self.here.data[title] = attributes.get("value", "")

    def end(self, tag: str, text: str) -> None:
        if tag in ("node", "edge"):
            own = self.here.ends.get("type") if self.here.kind == "edge" else None
            self.finish(self.directed if own is None else own == "directed", {})


_READERS: Mapping[str, Callable[[bytes], _Graph]] = {
    ".graphml": lambda content: _GraphML().read(content, "GraphML"),
    ".gexf": lambda content: _GEXF().read(content, "GEXF"),
    ".json": _node_link,
    ".edgelist": _edge_list,
    ".edges": _edge_list,
    ".txt": _edge_list,
    ".csv": _table,
}
