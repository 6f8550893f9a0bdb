"""Data sets: every format, the shape of every known set, and files that are wrong in every way."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agora.answers import Choice, Number
from agora.errors import ConfigError, InputError, MissingError
from agora.evaluate.data.loading import load
from agora.evaluate.data.mapping import mapping_of, names
from agora.evaluate.records import Dataset
from agora.text.debate import MAX_QUESTION

pytestmark = pytest.mark.anyio

RECORDS = [{"question": "2+2?", "answer": "4"}, {"question": "Say, 3+3\nis?", "answer": "6"}]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(name: str, *records: Any) -> str:
    """A file of JSON lines."""
    Path(name).write_text("".join(json.dumps(record) + "\n" for record in records))
    return name


def brief(data: Dataset) -> list[tuple[str, tuple[str, ...], str]]:
    return [(item.question, item.truth, item.answer.kind) for item in data.items]


SAME = [("2+2?", ("4",), "number"), ("Say, 3+3\nis?", ("6",), "number")]


# ---- formats ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_json_lines_arrays_csv_and_tsv_are_the_same(mark: str) -> None:
    lines = "\n\n".join(json.dumps(r) for r in RECORDS)
    files = {
        "a.jsonl": lines + "\n",
        "b.ndjson": lines,
        "c.json": json.dumps(RECORDS, indent=2),
        "d.json": lines,
        "e.csv": 'question,answer\n2+2?,4\n"Say, 3+3\nis?",6\n',
        "f.csv": 'question , answer\r\n2+2?,4\r\n"Say, 3+3\nis?",6',
        "g.tsv": 'question\tanswer\n2+2?\t4\n"Say, 3+3\nis?"\t6\n',
    }
    digests = set()
    for name, text in files.items():
        Path(name).write_bytes((mark + text).encode())
        data = load(name)
        assert brief(data) == SAME, name
        assert (data.name, data.scorer.name) == (name, "exact")
        digests.add(data.digest)
    assert len(digests) == 1


def test_parquet() -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pytest.importorskip("pyarrow").Table.from_pylist(RECORDS * 1500)
    parquet.write_table(table, "a.parquet")
    data = load(Path("a.parquet"))
    assert brief(data)[:2] == SAME
    assert len({item.id for item in data.items}) == len(data.items) == 3000
    Path("b.parquet").write_bytes(Path("a.parquet").read_bytes()[:-40])
    with pytest.raises(InputError, match="not Parquet"):
        load("b.parquet")


def _no(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)


def test_extras_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    _no(monkeypatch, "pyarrow", "pyarrow.parquet", "datasets")
    Path("a.parquet").write_bytes(b"PAR1")
    Path("saved").mkdir()
    Path("saved/state.json").write_text("{}")
    for source, extra in {"a.parquet": "parquet", "saved": "datasets", "hf:openai/gsm8k/main:test": "datasets"}.items():
        with pytest.raises(MissingError, match=rf"agora-debate\[{extra}\]"):
            load(source)


def test_hugging_face_data_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked of the library, which is stood in for."""
    asked: list[Any] = []
    library: Any = ModuleType("datasets")

    def load_dataset(name: str, config: str | None, *, split: str) -> list[dict[str, Any]]:
        asked.append((name, config, split))
        if name == "gone/away":
            raise ConnectionError("no\nnetwork")
        return RECORDS

    library.load_dataset = load_dataset
    library.load_from_disk = lambda path: {"test": RECORDS, "train": RECORDS[:1]} if "dict" in path else RECORDS
    monkeypatch.setitem(sys.modules, "datasets", library)
    assert brief(load("hf:openai/gsm8k/main:test")) == SAME
    assert brief(load("hf:squad:validation[:10]")) == SAME
    assert asked == [("openai/gsm8k", "main", "test"), ("squad", None, "validation[:10]")]
    with pytest.raises(InputError, match=r"hf:gone/away:test cannot be loaded: no network\."):
        load("hf:gone/away:test")
    for folder, mark in {"saved": "state.json", "dict": "dataset_dict.json"}.items():
        Path(folder).mkdir()
        Path(folder, mark).write_text("{}")
    assert brief(load("saved")) == SAME
    assert brief(load("dict:train")) == SAME[:1]
    for source, said in {
        "dict": "must be named; there are test, train",
        "dict:dev": "no split 'dev'",
        "saved:test": "needs no name",
        "hf:squad": "names no split",
        "hf:a/b/c/d:test": "names no split",
        "hf::test": "names no split",
    }.items():
        with pytest.raises(InputError, match=said):
            load(source)


# ---- generated ----------------------------------------------------------------------------------------------------


def test_generated_tasks_are_typed_without_quotes() -> None:
    data = load("arithmetic:7,operands=8,digits=2", seed=4)
    assert (data.name, len(data.items)) == ("arithmetic", 7)
    assert "operands 8, digits 2; generated, seed 4" in data.about
    assert load("arithmetic,digits=2,operands=8", seed=4, n=7).digest == data.digest
    assert [i.id for i in load("arithmetic:7,operands=8,digits=2", seed=4, n=3).items] == [i.id for i in data.items][:3]
    assert len(load("dates").items) == 100
    assert load("dates:5", scorer="f1").scorer.name == "f1"
    write("arithmetic", *RECORDS)
    assert load("arithmetic:2").items[0].question.startswith("What is the result of")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("arithmetic:3,4", "'4' is neither"),
        ("arithmetic:-3", "'-3' is neither"),
        ("arithmetic:3,operands", "'operands' is neither"),
        ("arithmetic:3,digits=2,digits=3", "'digits=3' is neither"),
        ("arithmetic:", "'' is neither"),
        ("arithmetic:0", "1 to 100,000"),
        ("arithmetik:3", "Did you mean 'arithmetic'"),
        ("arithmetic:3,diggits=2", "Did you mean 'digits'"),
    ],
)
def test_generated_tasks_that_are_mistyped(source: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load(source)


def test_what_excludes_another() -> None:
    write("a.jsonl", *RECORDS)
    with pytest.raises(InputError, match="takes no mapping"):
        load("arithmetic", mapping="gsm8k")
    with pytest.raises(InputError, match="two mappings"):
        load("gsm8k:a.jsonl", mapping="math")
    with pytest.raises(InputError, match="at least 1 item"):
        load("a.jsonl", n=0)


# ---- mappings -----------------------------------------------------------------------------------------------------

SHAPES: dict[str, tuple[dict[str, Any], str, str, tuple[str, ...], str]] = {
    "gsm8k": ({"question": "How many?", "answer": "1+1=<<1+1=2>>2\n#### 1,042"}, "How many?", "number", ("1042",), ""),
    "gsm-hard": ({"input": "How?", "code": "x", "target": -9867630.0}, "How?", "number", ("-9867630",), ""),
    "math": (
        {"problem": "P", "level": "Level 5", "type": "Algebra", "solution": "\\boxed{1}, so \\boxed{\\frac{1}{2}}"},
        "P", "latex", ("\\frac{1}{2}",), "Level 5",
    ),
    "math-500": (
        {"problem": "P", "solution": "s", "answer": "\\frac{1}{2}", "subject": "Algebra", "level": 3,
         "unique_id": "test/1.json"},
        "P", "latex", ("\\frac{1}{2}",), "3",
    ),
    "mmlu": (
        {"question": "Q", "subject": "anatomy", "choices": ["w", "x", "y", "z"], "answer": 2},
        "Q\n\nA) w\nB) x\nC) y\nD) z", "choice", ("C",), "anatomy",
    ),
    "mmlu-pro": (
        {"question_id": 70, "question": "Q", "options": list("0123456789"), "answer": "J", "answer_index": 9,
         "category": "law"},
        "Q\n\n" + "\n".join(f"{a}) {b}" for a, b in zip("ABCDEFGHIJ", "0123456789", strict=True)),
        "choice", ("J",), "law",
    ),
    "csqa": (
        {"id": "x1", "question": "Q", "question_concept": "c", "answerKey": "B",
         "choices": {"label": ["A", "B"], "text": ["x", "y"]}},
        "Q\n\nA) x\nB) y", "choice", ("B",), "",
    ),
    "strategyqa": ({"qid": "1", "question": "Q?", "answer": False, "facts": []}, "Q?", "yes_no", ("no",), ""),
    "medqa": (
        {"question": "Q", "answer": "y", "options": {"A": "x", "B": "y"}, "meta_info": "step1", "answer_idx": "B"},
        "Q\n\nA) x\nB) y", "choice", ("B",), "",
    ),
    "hellaswag": (
        {"ind": 24, "activity_label": "Roof", "ctx_a": "A man.", "ctx_b": "he", "ctx": "A man. he", "label": "3",
         "endings": ["a", "b", "c", "d"]},
        "Roof: A man. he\n\nWhich of these goes on from there?\n\nA) a\nB) b\nC) c\nD) d", "choice", ("D",), "Roof",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_known_sets(name: str) -> None:
    if mapping_of(name).scorer == "math":
        pytest.importorskip("math_verify")
    record, question, kind, truth, group = SHAPES[name]
    data = load(f"{name}:{write('x.jsonl', record)}")
    (item,) = data.items
    assert (item.question, item.answer.kind, item.truth, item.group) == (question, kind, truth, group)
    assert data.about
    assert data.digest == load("x.jsonl", mapping=name).digest


def test_every_mapping_is_tested() -> None:
    assert set(SHAPES) | {"gpqa", "truthfulqa"} == set(names())


GPQA = [
    {"Question": f"Q{i}", "Correct Answer": f"right {i}", "Record ID": f"r{i}", "High-level domain": "Physics",
     **{f"Incorrect Answer {k}": f"wrong {i} {k}" for k in (1, 2, 3)}}
    for i in range(400)
]  # fmt: skip
TRUTHFUL = [
    {"question": f"Q{i}", "mc1_targets": {"choices": [f"right {i}", f"b {i}", f"c {i}", f"d {i}"],
                                         "labels": [1, 0, 0, 0]}, "mc2_targets": {}}
    for i in range(400)
]  # fmt: skip


@pytest.mark.parametrize(("name", "records"), [("gpqa", GPQA), ("truthfulqa", TRUTHFUL)])
def test_options_whose_first_is_right_are_shuffled_by_the_seed(name: str, records: list[dict[str, Any]]) -> None:
    write("x.jsonl", *records)
    write("y.jsonl", *reversed(records))
    data = load(f"{name}:x.jsonl", seed=1)
    for i, item in enumerate(data.items):
        assert isinstance(item.answer, Choice)
        assert item.answer.options[item.truth[0]] == f"right {i}"
        assert f"\n{item.truth[0]}) right {i}" in item.question
        assert sorted(item.answer.options) == list("ABCD")
    count = Counter(item.truth[0] for item in data.items)
    assert all(abs(count[letter] - 100) < 45 for letter in "ABCD")
    assert load(f"{name}:x.jsonl", seed=1).digest == data.digest != load(f"{name}:x.jsonl", seed=2).digest
    other = {item.question.partition("\n")[0]: item.truth for item in load(f"{name}:y.jsonl", seed=1).items}
    assert all(other[item.question.partition("\n")[0]] == item.truth for item in data.items)  # wherever it stands


def test_a_mapping_of_your_own_from_a_file_inline_or_as_a_mapping() -> None:
    write("x.jsonl", {"a": {"b": "Q"}, "t": ["x", "y"], "tags": {"u": 1}})
    Path("m.yaml").write_text(
        'question: {template: "Q: {{ a.b }} {{ record.tags.u + 1 }}"}\nanswer: t\n'
        "kind: text\nscorer: {set: {partial: true}}\n"
    )
    data = load("m.yaml:x.jsonl")
    assert brief(data) == [("Q: Q 2", ("x", "y"), "text")]
    assert data.scorer.name == "set"
    assert load("x.jsonl", mapping=Path("m.yaml")).digest == data.digest
    inline = load("x.jsonl", mapping={"question": "a.b", "answer": "t"}, scorer="f1")
    assert (inline.items[0].question, inline.scorer.name) == ("Q", "f1")


def test_a_template_that_lists_the_options_itself() -> None:
    write("x.jsonl", {"q": "Q", "o": ["x", "y"], "t": "y"})
    template = "{{ q }}{% for o in options %} [{{ o.label }}: {{ o.text }}]{% endfor %}"
    data = load("x.jsonl", mapping={"question": {"template": template}, "choices": "o", "answer": "t"})
    assert brief(data) == [("Q [A: x] [B: y]", ("B",), "choice")]


@pytest.mark.parametrize(
    ("choices", "how", "answer", "right"),
    [
        (["x", "y", "z"], "index", 0, ("A",)),
        (["x", "y", "z"], "index", "2", ("C",)),
        (["x", "y", "z"], "number", 3, ("C",)),
        (["x", "y", "z"], "label", "b", ("B",)),
        (["x", "y", "z"], "label", "(B)", ("B",)),
        (["B", "A", "C"], "label", "B", ("B",)),
        (["B", "A", "C"], "text", "B", ("A",)),
        (["x", "y", "z"], "marks", [0, 1, 1], ("B", "C")),
        (["x", "y", "z"], "marks", "[1, 0, 0]", ("A",)),
        ({"1": "x", "2": "y"}, "label", 2, ("2",)),
        ('["x", "y"]', None, "y", ("B",)),
        ("x|y|z", None, "Z", ("C",)),
        (["x", "y", "z"], None, ["A", "z"], ("A", "C")),
        ([1, 2.5, True], None, "2.5", ("B",)),
    ],
)
def test_which_option_is_right(choices: Any, how: str | None, answer: Any, right: tuple[str, ...]) -> None:
    write("x.jsonl", {"question": "Q", "choices": choices, "answer": answer})
    where = {"field": "answer"} if how is None else {"field": "answer", "as": how}
    data = load("x.jsonl", mapping={"question": "question", "choices": "choices", "answer": where})
    assert data.items[0].truth == right


@pytest.mark.parametrize(
    ("choices", "how", "answer", "said"),
    [
        (["x", "y"], "index", 2, "0 to 1, not '2'"),
        (["x", "y"], "index", -1, "not '-1'"),
        (["x", "y"], "number", 0, "1 to 2, not '0'"),
        (["x", "y"], "index", "9" * 50, "0 to 1"),
        (["x", "y"], "index", "one", "0 to 1, not 'one'"),
        (["x", "y"], "label", "C", "none of the options"),
        (["x", "y"], None, 1, "how it counts"),
        (["B", "A"], None, "A", "label of one option and the text of another"),
        (["x", "x"], "text", "x", "text of several options"),
        (["x", "y"], "marks", [0, 0], "with a 1"),
        (["x", "y"], "marks", [1], "for each of the 2"),
        (["x", "y"], "marks", [1, 2], "one 0 or 1"),
        (["x", "y"], "marks", "1, 0", "no JSON"),
        (["x"], None, "x", "2 to 26 options"),
        ([], None, "x", "2 to 26 options"),
        (list(map(str, range(27))), None, "x", "2 to 26 options"),
        (["x", None], None, "x", "is empty"),
        (["x", ["y"]], None, "x", "must be a text or a number"),
        ("only", None, "only", "2 to 26 options"),
        ("[1, 2", None, "1", "no JSON"),
        (None, None, "x", "2 to 26 options"),
        (3, None, "x", "2 to 26 options"),
        ({"a": "x", "A": "y"}, None, "x", "one label each"),
        ({"": "x", "b": "y"}, None, "x", "1 to 40 printable"),
        ({"a\nb": "x", "b": "y"}, None, "x", "1 to 40 printable"),
    ],
)
def test_options_that_are_wrong(choices: Any, how: str | None, answer: Any, said: str) -> None:
    write("x.jsonl", {"question": "Q", "choices": choices, "answer": answer})
    where = {"field": "answer"} if how is None else {"field": "answer", "as": how}
    with pytest.raises(InputError, match=said) as caught:
        load("x.jsonl", mapping={"question": "question", "choices": "choices", "answer": where})
    assert str(caught.value).startswith("x.jsonl:1: ")


@pytest.mark.parametrize(
    ("text", "said", "line"),
    [
        ("quesion: q\nanswer: a\n", "Did you mean 'question'", 1),
        ("question: q\nanswer: {feld: a}\n", "Did you mean 'field'", 2),
        ("question: q\nanswer: {field: a, as: indx}\n", "Did you mean 'index'", 2),
        ("question: q\n", "must name the field of the truth", None),
        ("answer: a\n", "'question' is missing", None),
        ("question: q\nchoices: c\nanswer: {as: first}\n", "shuffle: must be true", None),
        ("question: q\nanswer: {field: a, as: index}\n", "needs choices", None),
        ("question: q\nanswer: a\nchoices: c\nkind: number\n", "exclude each other", None),
        ('question: q\nanswer: a\n\n\nquestion: "x"\n', "stands twice", 5),
        ("question:\n  template: '{% for x %}'\nanswer: a\n", "question.template: line 1", 2),
        ("question:\n  template: '{% include \"x\" %}'\nanswer: a\n", "question.template", 2),
        ("question: {template: ''}\nanswer: a\n", "template", 1),
        ("- question\n", "a mapping is a mapping that begins with", 1),
        ("", "is empty", None),
        ("{", "not YAML", None),
    ],
)
def test_mappings_that_are_wrong(text: str, said: str, line: int | None) -> None:
    write("x.jsonl", *RECORDS)
    Path("m.yaml").write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        load("m.yaml:x.jsonl")
    assert str(caught.value).startswith(f"m.yaml:{line}: " if line else "m.yaml:")
    assert "debate file" not in str(caught.value)
    assert caught.value.exit_status == 2


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ({"question": "questio", "answer": "answer"}, "no field 'questio'.*Did you mean 'question'"),
        ({"question": "question", "answer": "answer.x"}, "no field 'answer.x'"),
        ({"question": {"template": "{{ nobody }}"}, "answer": "answer"}, "'nobody' is undefined; the record has"),
        ({"question": {"template": "{{ question.nope.x }}"}, "answer": "answer"}, "template"),
        ({"question": {"template": "{{ 'x' * 9999999 }}"}, "answer": "answer"}, "more than"),
        ({"question": {"template": "{% for i in range(9999999) %}x{% endfor %}"}, "answer": "answer"}, "template"),
        ({"question": {"template": "{{ question.__class__ }}"}, "answer": "answer"}, "template"),
        ({"question": {"template": " {# nothing #} "}, "answer": "answer"}, "is empty"),
        ({"question": "question", "answer": {"field": "answer", "after": "####"}}, "nothing follows '####'"),
        ({"question": "question", "answer": {"field": "answer", "boxed": True}}, "no \\\\boxed"),
        ({"question": "question", "answer": "answer", "kind": "yes_no"}, "none of the kind 'yes_no'"),
        ({"question": "question", "answer": "answer", "kind": "nmber"}, "unknown answer type"),
        ({"question": "question", "answer": "answer", "kind": {"number": {"place": 1}}}, "does not take"),
        ({"question": "question", "answer": "answer", "scorer": "exakt"}, "Did you mean 'exact'"),
        ({"question": "question", "answer": "answer", "tolerance": "question"}, "tolerance must be a number"),
        ({"question": "question", "views": "answer"}, "views must be"),
        ({"question": "question", "distribution": "answer"}, "distribution must be"),
    ],
)
def test_records_that_do_not_fit_a_mapping(mapping: dict[str, Any], said: str) -> None:
    write("x.jsonl", *RECORDS)
    with pytest.raises(InputError, match=said) as caught:
        load("x.jsonl", mapping=mapping)
    assert "\n" not in str(caught.value)


def test_a_mapping_names_functions_of_its_own_folder_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a model says is never given to whatever else is installed."""
    write("x.jsonl", *RECORDS)
    Path("mine").mkdir()
    Path("mine/own_scorer_for_tests.py").write_text("from os import system\ndef half(answer):\n    return 0.5\n")
    mapping = Path("mine/m.yaml")
    mapping.write_text("question: question\nanswer: answer\nscorer: own_scorer_for_tests:half\n")
    data = load("mine/m.yaml:x.jsonl")
    assert anyio.run(data.scorer.score, "4", data.items[0], "") == 0.5
    asked: list[str] = []
    monkeypatch.setattr("os.system", asked.append)
    for name in ("os:system", "own_scorer_for_tests:system", "json:loads", "numpy:load", "no_such:f", "own_scorer:x"):
        mapping.write_text(f"question: question\nanswer: answer\nscorer: {name}\n")
        with pytest.raises(InputError, match=r"of no module in mine|from elsewhere"):
            load("mine/m.yaml:x.jsonl")
    assert load("x.jsonl", scorer="own_scorer_for_tests:half").scorer.name == "own_scorer_for_tests:half"


def test_truths_that_nothing_ever_equals_are_an_error_and_not_a_zero() -> None:
    write("x.jsonl", {"question": "Q", "answer": "so 1+1\n#### 2"})
    with pytest.raises(InputError, match=r"gsm8k:x.jsonl"):
        load("x.jsonl")
    write("y.jsonl", {"question": "Q", "answer": "and so on " * 30})
    with pytest.raises(InputError, match="Name a scorer"):
        load("y.jsonl")
    assert load("y.jsonl", scorer="f1").scorer.name == "f1"


def test_unknown_mappings() -> None:
    write("x.jsonl", *RECORDS)
    with pytest.raises(InputError, match="Did you mean 'gsm8k'"):
        load("x.jsonl", mapping="gsm8")
    with pytest.raises(InputError, match="Did you mean 'gsm8k:FILE'"):
        load("gsm8:x.jsonl")
    with pytest.raises(ConfigError, match="cannot be read"):
        load("none.yaml:x.jsonl")


# ---- usual names and kinds ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("truths", "kind"),
    [
        (["1", "-2.50", "$1,000", "3e5", ".5", "\u22124", "50%"], "number"),
        ([1, 2.0], "number"),
        (["1", "two"], "text"),
        (["yes", "No", "TRUE"], "yes_no"),
        ([True, False], "yes_no"),
        (["yes", "maybe"], "text"),
        ([{"a": 1}, {"b": [1]}], "json"),
        ([[["a"], ["b"]], {"b": 1}], "json"),
        (["9" * 400], "text"),
        (["1.", "1,00"], "text"),
    ],
)
def test_the_kind_of_answer_is_what_all_truths_are(truths: list[Any], kind: str) -> None:
    write("x.jsonl", *({"Problem": f"Q{i}", "Target": truth} for i, truth in enumerate(truths)))
    assert {item.answer.kind for item in load("x.jsonl", scorer="exact").items} == {kind}


def test_fields_by_their_usual_names() -> None:
    Path("x.csv").write_text("ID,Prompt,Options,Gold,Subject\n7,Q,x|y,y,law\n")
    (item,) = load("x.csv").items
    assert (item.id, item.question, item.truth, item.group) == ("7", "Q\n\nA) x\nB) y", ("B",), "law")
    Path("y.csv").write_text("question,A,B,C,answer\nQ,x,y,,B\nR,x,y,z,C\n")
    assert brief(load("y.csv")) == [("Q\n\nA) x\nB) y", ("B",), "choice"), ("R\n\nA) x\nB) y\nC) z", ("C",), "choice")]
    for text, said in {
        "questoin,answer\nQ,4\n": "known to be the question; it has questoin, answer. Is it 'questoin'",
        "question,solutions\nQ,4\n": "known to be the answer",
        "A,B,answer\nx,y,A\n": "known to be the question",
    }.items():
        Path("z.csv").write_text(text)
        with pytest.raises(InputError, match=said):
            load("z.csv")


def test_plural_questions_need_no_truth() -> None:
    write("x.jsonl", {"q": "Q", "v": ["one", "two"], "d": {"yes": 0.7, "no": 0.3}, "t": 0.5, "a": "4"})
    views = load("x.jsonl", mapping={"question": "q", "views": "v"})
    assert (views.items[0].truth, views.scorer.name, views.items[0].data["views"]) == ((), "coverage", ["one", "two"])
    shares = load("x.jsonl", mapping={"question": "q", "distribution": "d", "kind": "yes_no"})
    assert (shares.scorer.name, shares.items[0].data["distribution"]["no"]) == ("distribution", 0.3)
    near = load("x.jsonl", mapping={"question": "q", "answer": "a", "tolerance": "t"})
    assert (near.scorer.name, near.items[0].answer) == ("numeric", Number())


# ---- ids and samples ----------------------------------------------------------------------------------------------


def test_ids_are_made_from_content_and_copies_are_numbered() -> None:
    write("x.jsonl", *RECORDS, RECORDS[0])
    write("y.jsonl", RECORDS[1], RECORDS[0])
    first = [item.id for item in load("x.jsonl").items]
    assert len(set(first)) == 3
    assert first[2] == f"{first[0]}-2"
    assert [item.id for item in load("y.jsonl").items] == [first[1], first[0]]


def test_an_id_that_stands_twice_is_an_error_that_names_both_places() -> None:
    write("x.jsonl", {"id": 1, **RECORDS[0]}, RECORDS[1] | {"id": "2"}, {"id": "1", **RECORDS[1]})
    with pytest.raises(InputError, match=r"x.jsonl:3: the id '1' is taken already, at x.jsonl:1"):
        load("x.jsonl")


def test_a_larger_sample_begins_with_the_smaller() -> None:
    write("x.jsonl", *({"question": f"Q{i}", "answer": str(i)} for i in range(50)))
    ids = [item.id for item in load("x.jsonl", n=20, seed=3).items]
    assert [item.id for item in load("x.jsonl", n=7, seed=3).items] == ids[:7]
    assert [item.id for item in load("x.jsonl", n=7, seed=4).items] != ids[:7]
    assert len(load("x.jsonl", n=99).items) == 50


# ---- hostile files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.jsonl", b"", "x.jsonl: there is no record"),
        ("x.jsonl", b"\n \n", "x.jsonl: there is no record"),
        ("x.json", b"[]", "x.json: there is no record"),
        ("x.csv", b"question,answer\n", "x.csv: there is no record"),
        ("x.csv", b"", "x.csv: there is no record"),
        ("x.jsonl", b'{"question": "Q"}', "x.jsonl:1: no field is known to be the answer"),
        ("x.jsonl", b'{"question": "Q", "answer": ""}', "x.jsonl:1: 'answer' is empty"),
        (
            "x.jsonl",
            b'{"question": "Q", "answer": 1}\n\n{"question": " ", "answer": 1}',
            "x.jsonl:3: 'question' is empty",
        ),
        ("x.jsonl", b'{"question": "Q", "answer": 1}\n{"question": "R"}', "x.jsonl:2: there is no field 'answer'"),
        ("x.jsonl", b'{"question": "Q", "answer": null}', "x.jsonl:1: 'answer' is empty"),
        ("x.jsonl", b'{"question": "Q", "answer": []}', "x.jsonl:1: 'answer' is empty"),
        ("x.jsonl", b'{"question": "Q", "answer": NaN}', "x.jsonl:1: NaN is no JSON"),
        ("x.jsonl", b'{"question": "Q", "answer": -Infinity}', "x.jsonl:1: -Infinity is no JSON"),
        ("x.jsonl", b'{"question": "Q", "answer": 1e999}', "x.jsonl:1: 'answer' must be a text or a number, not inf"),
        ("x.jsonl", b'{"question": "Q", "answer": ' + b"9" * 5000 + b"}", "x.jsonl:1: a number in it has thousands"),
        ("x.jsonl", b'{"question": {"a": 1}, "answer": 1}', "x.jsonl:1: 'question' must be a text"),
        ("x.jsonl", b'{"question": "\\ud800", "answer": 1}', "x.jsonl:1: 'question' has half a character"),
        ("x.jsonl", b'{"question": "Q", "question": "R", "answer": 1}', "x.jsonl:1: 'question' stands twice"),
        ("x.jsonl", b'{"question": "Q"', "x.jsonl:1: this is not JSON"),
        ("x.jsonl", b"[1]", "x.jsonl:1: this is not a JSON object"),
        ("x.jsonl", b'"text"', "x.jsonl:1: this is not a JSON object"),
        ("x.jsonl", b'{"a":' * 100_000, "x.jsonl:1: it is nested too deeply"),
        ("x.json", b"[" * 100_000, "x.json: it is nested too deeply"),
        ("x.json", b'[{"question": "Q", "answer": 1},\n\n 3]', "x.json, record 2: this is not a JSON object"),
        ("x.json", b'[\n{"question": "Q",}]', "x.json, line 2: this is not JSON"),
        ("x.json", b'{\n"question": "Q"}', "x.json:1: this is not JSON"),
        ("x.jsonl", b'{"question": "Q", "answer": 1}\n\xff\xfe\n', "x.jsonl:2: this is not UTF-8"),
        ("x.json", b'[\n{"question": "\xe9"}]', "x.json:2: this is not UTF-8"),
        ("x.csv", "question,answer\nQ,4\n".encode("utf-16"), "x.csv:1: this is not UTF-8"),
        ("x.csv", b"question,answer\nQ,4\nR\n", "x.csv:3: the record has 1 fields where the header names 2"),
        ("x.csv", b"question,answer\nQ, 4, 5\n", "x.csv:2: the record has 3 fields"),
        ("x.csv", b'question,answer\n"Q\nR",4\n"S,5\nT,6\n', "x.csv:4: this is not CSV"),
        ("x.csv", b'question,answer\n"Q"R,4\n', "x.csv:2: this is not CSV"),
        ("x.csv", b"question;answer\nQ;4\n", "x.csv:1: the header has no ','"),
        ("x.csv", b"question,question,answer\nQ,R,4\n", "x.csv:1: 'question' stands twice in the header"),
        ("x.csv", b"question,,answer\nQ,R,4\n", "x.csv:1: a column has no name"),
        ("x.txt", b"Q", "x.txt: what is in it is told by its ending"),
        ("x.parquet", b"PAR1 and so on PAR1", "x.parquet: this is not Parquet"),
        ("x.jsonl", json.dumps({"question": "Q" * (MAX_QUESTION + 1), "answer": 1}).encode(), "x.jsonl:1: .*200,001"),
    ],
    ids=str,
)
def test_hostile_files(name: str, content: bytes, said: str) -> None:
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    Path(name).write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        load(name)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700
    assert caught.value.exit_status == 2


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv"])
def test_a_record_of_50_megabytes_is_refused_without_reading_it_all(name: str) -> None:
    with open(name, "wb") as file:
        file.write(b'{"question": "Q", "answer": 1}\n' if name == "x.jsonl" else b"question,answer\n")
        file.write(b'"' + b"x" * 50_000_000)
    with pytest.raises(InputError, match=rf"{name}:2: the record has more than 20,000,000 bytes"):
        load(name)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("missing.jsonl", "there is no data 'missing.jsonl'"),
        ("traning.jsonl", "Did you mean 'training.jsonl'"),
        ("folder", "is a folder.*Name a file in it: a.jsonl"),
        ("", "is a folder"),
        ("x" * 5_000, "cannot be read"),
        ("a\0b", "a.b"),
        ("gsm8k:missing.jsonl", "there is no data"),
        ("https://example.org/x.jsonl", "there is no data"),
    ],
    ids=lambda value: value[:20],
)
def test_sources_that_are_not_there(source: str, said: str) -> None:
    Path("folder").mkdir()
    Path("folder/a.jsonl").touch()
    Path("training.jsonl").touch()
    with pytest.raises(InputError, match=said) as caught:
        load(source)
    assert len(str(caught.value)) < 900


def test_a_file_that_may_not_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    write("x.jsonl", *RECORDS)

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"x.jsonl cannot be read: permission denied"):
        load("x.jsonl")


_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=300)
@given(st.fixed_dictionaries({"question": _VALUES, "answer": _VALUES}, optional={"choices": _VALUES, "id": _VALUES}))
def test_whatever_a_record_has_it_is_an_item_or_one_sentence(record: dict[str, Any]) -> None:
    Path("any.jsonl").write_text(json.dumps(record))
    made, error = _loaded("any.jsonl")
    if made is None:
        assert error.startswith("any.jsonl:1: ")
        assert "\n" not in error
    else:
        (item,) = made.items
        assert item.question.strip()
        assert item.truth


def _loaded(source: str) -> tuple[Dataset | None, str]:
    try:
        return load(source), ""
    except InputError as error:
        return None, str(error)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=200), st.sampled_from(["x.jsonl", "x.json", "x.csv", "x.tsv"]))
def test_whatever_a_file_has_it_is_read_or_one_sentence(content: bytes, name: str) -> None:
    Path(name).write_bytes(content)
    made, error = _loaded(name)
    assert made is not None or (error and "\n" not in error)


async def test_the_truth_of_every_item_scores_one() -> None:
    write("x.jsonl", *(record for record in GPQA[:20]))
    data = load("gpqa:x.jsonl", seed=5)
    for item in data.items:
        answer = item.answer.read(f"I say so.\nAnswer: {item.truth[0]}")
        assert answer is not None
        assert await data.scorer.score(answer, item, "") == 1
