// The picture of a graph: what is drawn where, and what is said of it.

import assert from "node:assert/strict";
import { test } from "node:test";
import { curve, described, draw, linesOf, paths } from "../src/run/geometry";
import { Story, type Debate } from "../src/run/story";
import { run, teller } from "./told";

const named = (n: number): string[] => Array.from({ length: n }, (_, i) => `agent ${i}`);
const graph = (agents: string[], edges: [string, string][], at?: [number, number][]): Debate => {
  const story = new Story().add([run(), teller().started(agents, edges)]);
  if (at !== undefined) story.add([{ type: "layout", path: "", at, names: "free" }]);
  return story.main!;
};
const complete = (names: string[]): [string, string][] => names.flatMap((u) => names.filter((v) => v !== u).map((v): [string, string] => [u, v]));

test("two that read each other have one line with two heads", () => {
  const debate = graph(["a", "b", "c"], [["a", "b"], ["b", "a"], ["b", "c"]]), lines = linesOf(debate);
  assert.deepEqual(lines.map(({ u, v, both }) => [u, v, both]), [[0, 1, true], [1, 2, false]]);
  const { stroke, fill } = paths(lines, draw(debate, lines, 400, 400));
  assert.equal(stroke.split("M").length - 1, 2);
  assert.equal(fill.split("Z").length - 1, 3);
});

test("an edge of somebody who is no agent is left out", () => {
  assert.deepEqual(graph(["a"], [["a", "nobody"]]).edges, []);
});

test("everything is inside the space there is, and a name lies on no other", () => {
  for (const n of [1, 2, 5, 12, 40, 150, 1000])
    for (const space of [320, 560, 900]) {
      const names = named(n), debate = graph(names, n <= 40 ? complete(names) : []), lines = linesOf(debate), picture = draw(debate, lines, space, 520);
      assert.equal(picture.width, space);
      assert.ok(picture.height <= 520.01, `${picture.height}`);
      for (const [x, y] of picture.points) assert.ok(x >= picture.r && x <= space - picture.r && y >= picture.r && y <= picture.height - picture.r, `${n} ${space} ${x} ${y}`);
      if (n <= 12) assert.equal(picture.labels.length, n);
      const rows = picture.labels.map((label) => [label.x, label.y]);
      assert.equal(new Set(rows.map(String)).size, rows.length);
    }
});

test("a line that would run through an agent goes around it", () => {
  const debate = graph(["a", "b", "c"], [["a", "c"]], [[0, 0], [100, 0], [200, 0]]), picture = draw(debate, linesOf(debate), 500, 400), line = picture.lines[0]!;
  assert.notEqual(line.bend, 0);
  const [from, , to] = curve(line, picture.points, picture.r);
  assert.ok(from[0] > picture.points[0]![0] && to[0] < picture.points[2]![0]);
});

test("the graph in words", () => {
  const ring = named(5).flatMap((name, i, names): [string, string][] => [[name, names[(i + 1) % 5]!], [names[(i + 1) % 5]!, name]]);
  const star = named(5).slice(1).flatMap((name): [string, string][] => [[name, "agent 0"], ["agent 0", name]]);
  assert.equal(described(graph(["a"], [])), "1 agent");
  assert.equal(described(graph(named(4), complete(named(4)))), "4 agents, 12 edges, complete");
  assert.equal(described(graph(named(5), ring)), "5 agents, 10 edges, ring");
  assert.equal(described(graph(named(5), star)), "5 agents, 8 edges, star");
  assert.equal(described(graph(["a", "b", "c"], [["a", "b"], ["b", "c"]])), "3 agents, 2 edges, each reads 0.7 on average");
  assert.equal(described(graph(["a", "b"], [])), "2 agents, nobody reads anybody");
});

test("a graph whose edges are too many to be told is not said to have none", () => {
  const tell = teller(), names = named(150), story = new Story().add([run(), tell.started(names), tell.spoke("agent 0", 0, "1"), tell.spoke("agent 1", 0, "1")]);
  assert.equal(described(story.main!), "150 agents, nobody reads anybody");
  story.add([tell.spoke("agent 0", 1, "1", [["agent 0", 0, "answer"], ["agent 1", 0, "answer"]])]);
  assert.equal(described(story.main!), "150 agents, more edges than are told");
});
