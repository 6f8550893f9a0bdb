"""The schema of debate files."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class SettingsSpec(Strict):
    """How to sample; what is not given here is passed on from outside."""

    temperature: float | None = Field(None, ge=0, le=5, description="0 is greedy")
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=1, description="only the so many likeliest tokens")
    min_p: float | None = Field(None, ge=0, le=1, description="only tokens so likely, as a share of the likeliest")
    max_tokens: int | None = Field(None, ge=1)
    seed: int | None = Field(None, ge=0)


class AdversarySpec(Strict):
    """A planted opponent, to test a design with."""

    goal: str = Field(min_length=1, description="what it secretly works for")


class AgentSpec(SettingsSpec):
    """Someone who takes part, or several alike."""

    model: str | dict[str, Any] = Field(description="a name under models:, or a model")
    persona: str | None = Field(None, description="put into the system message")
    templates: dict[str, str] = Field(default_factory=dict, description="template or phase name -> file or text")
    count: int | None = Field(None, ge=1, le=10_000, description="so many of them: NAME-1, NAME-2, ...")
    adversary: AdversarySpec | None = Field(None, description="a planted opponent, to test the design with")
    passage: bool = Field(True, description="sees the <passage>...</passage> of the question")


Text = Literal["full", "answer", "summary", "claims"]
Gives = Literal["answer", "text", "ranking", "scores"]
Kind = Literal["simultaneous", "sequential", "layered", "quorum"]


class ViewSpec(Strict):
    """What a reader sees of what it reads."""

    text: Text = Field("full", description="full text, the answer only, a summary or the claims by the summariser")
    names: Literal["anonymous", "lettered", "named"] = Field(
        "anonymous", description="in an order drawn anew; lettered: anonymous, but the same for all readers"
    )
    own: Literal["shown", "hidden", "peer"] = Field("shown", description="its own last answer; 'peer': as one of them")
    confidence: bool = Field(False, description="agents are asked how sure they are, and it is shown")
    reasoning: bool = Field(False, description="peers' hidden reasoning too, where the model gives it")
    quotes: bool = Field(False, description="<quote>s are looked up in the question's passage and marked")


class ScheduleSpec(Strict):
    """In which order agents speak."""

    kind: Kind = "simultaneous"
    order: Literal["fixed", "shuffled", "confidence"] = Field("fixed", description="for sequential")
    share: float = Field(0.5, ge=0, le=1, description="for quorum: share of those read that must have spoken")
    deadline: float | None = Field(None, gt=0, description="for quorum: seconds to wait for them")


class PhaseSpec(Strict):
    """What a phase says of itself, under its kind: {critique: {who: [skeptic]}}."""

    name: str = Field("", description="default: its kind; no two phases of a protocol have one name")
    who: str | list[str] = Field(default_factory=list, description="agents, or a group by its name; default all")
    reads: str | list[str] = Field("peers", description="peers (by the topology), all, none, or agents by name")
    view: ViewSpec | None = Field(None, description="default: the protocol's")
    template: str | None = Field(None, description="a file, or text, in place of the shipped template")
    gives: Gives | Annotated[list[Gives], Field(min_length=1)] | None = Field(
        None, description="what its replies are read as; [answer, scores]: an answer, and a ballot with it"
    )
    first: int = Field(0, ge=0, description="the first round it belongs to")
    last: int | None = Field(None, ge=0, description="the last one")
    every: int = Field(1, ge=1, description="every n-th round")
    unless: str | None = Field(None, description="for closing phases: a stop rule; left out where that would stop")


class DialSpec(Strict):
    """A value that moves over the rounds."""

    start: float
    end: float


class PruneSpec(Strict):
    """Who stays in the debate after each round."""

    keep: int = Field(ge=1, description="how many")
    first: int = Field(0, ge=0, description="the first round after which it happens")
    by: str | dict[str, Any] = Field("confidence", description="confidence, scores, rankings, or a model that ranks")


class GatesSpec(Strict):
    """What saves calls."""

    skip: str | None = Field(None, description="a stop rule, asked once after the first answers: no debate if it stops")
    freeze: Literal["majority"] | None = Field(None, description="who holds the majority's answer keeps it unasked")
    follow: float = Field(0.0, ge=0, le=1, description="probability of taking over the majority's answer unasked")
    drop: Literal["known"] | None = Field(None, description="messages that bring a reader nothing new are not shown")
    prune: PruneSpec | None = None


class LastSpec(Strict):
    """Memory of the last rounds."""

    last: int = Field(ge=1)


Phases = list[str | dict[str, PhaseSpec | None]]


def _answer() -> Phases:
    return ["answer"]


def _revise() -> Phases:
    return ["revise"]


class ProtocolSpec(Strict):
    """How the debate runs."""

    preset: str | None = Field(None, description="a published protocol to begin from; `agora presets` lists them")
    schedule: Kind | ScheduleSpec = "simultaneous"
    view: Text | ViewSpec = Field(default_factory=lambda: ViewSpec())
    memory: Literal["own_last", "own_chat", "transcript", "summary"] | LastSpec = "own_last"
    opening: Phases = Field(default_factory=_answer, description="round 0")
    phases: Phases = Field(default_factory=_revise, description="each round after it")
    closing: Phases = Field(default_factory=list, description="once, after the last round")
    gates: GatesSpec = Field(default_factory=lambda: GatesSpec())
    summariser: str | dict[str, Any] | None = Field(None, description="the model that writes summaries and claims")
    agreement: int | float | DialSpec | None = Field(None, description="0 (contradict) to 10 (agree), told to agents")
    contentiousness: int | float | DialSpec | None = Field(None, description="0 to 1, told to agents")
    temperature: int | float | DialSpec | None = Field(None, description="of agents that do not pin their own")


Rules = Literal[
    "plurality", "majority", "supermajority", "mean", "median", "trajectory", "medoid", "borda", "copeland", "kemeny",
    "schulze", "ranked_choice", "approval", "score", "cumulative", "most_consistent",
]  # fmt: skip


class VoteSpec(Strict):
    """A vote: over the answers, or over the rankings or scores that a phase asked for."""

    rule: Rules = "plurality"
    weight: Literal["one", "confidence", "reconcile", "log_odds", "logprob"] = "one"
    ties: Literal["initial", "confidence", "seeded", "first", "abstain"] = "initial"
    threshold: float = Field(0.0, ge=0, le=1, description="share of the weight that the winner needs")
    share: float = Field(2 / 3, gt=0, lt=1, description="for supermajority")
    aggregate: Literal["mean", "median", "trimmed"] = Field("mean", description="for score")
    bar: float = Field(4.0, description="for approval: the score from which on it counts")
    accuracies: dict[str, float] = Field(default_factory=dict, description="agent -> its accuracy on past questions")
    cap: float | None = Field(None, gt=0, le=1, description="no agent's vote weighs more than this share")
    trim: float = Field(0.0, ge=0, lt=0.5, description="share of the most and least confident voters left out")
    families: int = Field(1, ge=1, description="distinct model families that must hold the winner")


class JudgeSpec(Strict):
    """A model that decides."""

    model: str | dict[str, Any]
    pairwise: bool = Field(False, description="compares two answers at a time, in both orders")
    named: bool = Field(False, description="is told who said what")
    history: bool = Field(False, description="sees all rounds, not only the last")
    template: str | None = Field(None, description="a file, or text, in place of the shipped template")
    threshold: float = Field(0.0, ge=0, le=1, description="share of the vote that the answer needs all the same")
    top: int | None = Field(None, ge=1, description="sees so many of the answers, those the ranker puts first")
    ranker: str | dict[str, Any] | None = Field(None, description="the model that compares two at a time, for top")


class SteerSpec(Strict):
    """Whom to follow."""

    agent: str
    threshold: float = Field(0.0, ge=0, le=1, description="share of the voters who must hold its answer")


Judging = str | JudgeSpec | dict[str, Any]


class DecideSpec(Strict):
    """How it is decided: one of these."""

    vote: Rules | VoteSpec | None = Field(None, description="a vote over answers, or over a phase's rankings or scores")
    judge: Judging | None = Field(None, description="a model, or what more there is to say of it")
    synthesis: Judging | None = Field(None, description="a model that writes the best single answer")
    select: Judging | None = Field(None, description="a model that picks the most consistent answer")
    overton: Judging | None = Field(None, description="a model that writes one text with every view in it")
    steer: str | SteerSpec | None = Field(None, description="the agent to follow")


class ModeratorSpec(Strict):
    """When it is over, and what came out."""

    stop: str = Field("unanimous | rounds(2)", description="rules joined with | and &")
    decide: Literal["plurality", "confidence", "distribution"] | DecideSpec = "plurality"
    quorum: float = Field(0.5, ge=0, le=1, description="share of agents that must speak in every round")
    limit: int | None = Field(None, ge=0, le=10_000, description="hard limit on rounds; default: the rule's, or 20")
    influence: float = Field(
        0.5, gt=0, le=1, description="share of the others that one may move before the verdict warns"
    )


class BudgetSpec(Strict):
    """Limits of a run."""

    calls: int | None = Field(None, ge=0)
    tokens: int | None = Field(None, ge=0)
    usd: float | None = Field(None, ge=0)
    seconds: float | None = Field(None, ge=0)


class AboutSpec(Strict):
    """What a file says about itself; it changes nothing."""

    title: str = Field(min_length=1, max_length=200, description="what it does, on one line")
    paper: str = Field("", description="where it was published, such as Du et al. 2023, arXiv:2305.14325")
    rules: str = Field("", description="what the paper prescribes")
    calls: str = Field("", description="a formula of its calls, such as n * (r + 1)")
    tokens: str = Field("", description="a formula of its input tokens")
    where: str = Field("", description="what the letters of the formulas mean")
    strengths: str = Field("", description="what it is good for")
    failures: str = Field("", description="where it is known to fail")
    differences: str = Field("", description="where it differs from the paper, on purpose")
    tags: list[str] = Field(default_factory=list, description="words to find it by")
    hosted: str = Field("", description="what to change for hosted models")

    @field_validator("title")
    @classmethod
    def _one_line(cls, title: str) -> str:
        if len(title.strip().splitlines()) != 1:
            raise ValueError("must be one line")
        return title.strip()


class DebateFile(Strict):
    """A debate: models, agents, who reads whom, protocol, moderator, budget."""

    about: AboutSpec | None = Field(None, description="what it says about itself")
    name: str = "debate"
    question: str | None = None
    models: dict[str, Any] = Field(default_factory=dict, description="name -> model")
    agents: Annotated[dict[str, AgentSpec | str], Field(min_length=1, max_length=10_000)]
    topology: str | dict[str, Any] = "complete"
    protocol: ProtocolSpec = Field(default_factory=ProtocolSpec)
    moderator: ModeratorSpec = Field(default_factory=lambda: ModeratorSpec())
    answer: str | dict[str, Any] = "text"
    voters: list[str] | None = None
    budget: BudgetSpec = Field(default_factory=lambda: BudgetSpec())
    store: StoreSpec = Field(default_factory=lambda: StoreSpec())
    seed: int = 0


class RetrySpec(Strict):
    """How long to go on asking a model that fails in a way that may pass."""

    attempts: int = Field(20, ge=1, le=1000, description="most requests for one reply")
    seconds: float = Field(900.0, ge=0, description="most time from the first request to the last")


class LimitsSpec(Strict):
    """What the endpoint allows; what is not given is learnt from the server or adapted to."""

    requests_per_minute: int | None = Field(None, ge=1)
    tokens_per_minute: int | None = Field(None, ge=1)
    concurrent: int | None = Field(None, ge=1)


class PriceSpec(Strict):
    """USD per million tokens."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached: float | None = Field(None, ge=0, description="prompt tokens served from a cache; default as input")
    cache_write: float | None = Field(None, ge=0, description="prompt tokens put into a cache; default as input")


class LocalSpec(SettingsSpec):
    """A model in this process, written as a mapping."""

    stop: list[str] | None = Field(None, description="strings that end an answer")
    logprobs: int | None = Field(None, ge=0, le=100, description="log-probabilities of each token and so many others")


class MergedSpec(LocalSpec):
    """A merge written as a mapping: `merge: RECIPE`, and these options; made once, and kept."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field("auto", description="auto: as the checkpoint says")
    device: str = Field("auto", description="cpu, cuda, cuda:1; auto: a GPU if there is one")
    chat: str | dict[str, Any] | None = Field(
        None, description="plain, chatml, llama3, or a format's parts; default: the checkpoint's own template"
    )


class CheckpointSpec(MergedSpec):
    """A checkpoint on this machine written as a mapping: `hf: FOLDER`, and these options."""

    adapter: str | list[str] | dict[str, float] | None = Field(
        None, description="folders of LoRA adapters, merged in this order; or folder: factor"
    )
    shared: bool = Field(False, description="adapters stay beside the base's weights, which all that share them have")


class AdapterSpec(Strict):
    """An adapter that is chosen per question."""

    adapter: str | None = Field(description="its folder; null is the base alone")
    prompts: list[str] = Field(min_length=1, description="texts that it is to be chosen for")
    negative: list[str] = Field(default_factory=list, description="texts that it is not to be chosen for")


class AdaptersSpec(MergedSpec):
    """Adapters chosen per question: `adapters: {NAME: {adapter: FOLDER, prompts: [...]}, ...}`, and these options."""

    base: str = Field(description="the folder of the checkpoint that they are on")
    top: int = Field(1, ge=1, description="so many are added together, by similarity")
    sharpness: float = Field(0.1, gt=0, description="temperature of their shares, where more than one is taken")


class HostedSpec(SettingsSpec):
    """A hosted model written as a mapping: `openai: NAME` or `anthropic: NAME`, and these options."""

    stop: list[str] | None = Field(None, description="strings that end an answer")
    logprobs: int | None = Field(None, ge=0, le=20, description="log-probabilities of each token and so many others")
    base_url: str | None = Field(
        None, description="another server: vLLM, Ollama, llama.cpp, OpenRouter, LM Studio, ..."
    )
    api_key_env: str | None = Field(None, description="the environment variable that holds the key")
    api_version: str | None = Field(None, description="for Azure; base_url is then the resource's endpoint")
    reasoning: Literal["none", "minimal", "low", "medium", "high"] | None = Field(None, description="effort")
    thinking: int | None = Field(None, ge=1024, description="tokens to think with (Anthropic's older models)")
    structured: Literal["native", "prompt"] = Field("native", description="how a JSON Schema is asked for")
    timeout: float = Field(300.0, gt=0, description="seconds a request may take")
    retry: RetrySpec = Field(default_factory=lambda: RetrySpec())
    limits: LimitsSpec = Field(default_factory=lambda: LimitsSpec())
    price: PriceSpec | None = Field(None, description="default: as genai-prices lists it")
    extra: dict[str, Any] = Field(default_factory=dict, description="passed through to the server")


class CardSpec(Strict):
    """What is known of a model that is routed to."""

    skills: str = Field("", description="what it is good at, for a model that chooses")
    cost: float | None = Field(None, ge=0, description="USD an answer; default: of its price")
    context: int | None = Field(None, ge=1, description="tokens it can read")
    local: bool = Field(False, description="prompts stay on this machine")


class RuleSpec(Strict):
    """A rule of a router."""

    when: str = Field(description="such as: length > 500 or contains('prove')")
    model: str = Field(description="a name among those that are routed to")


class RouteSpec(Strict):
    """A router written as a mapping: `route: [MODEL, ...]`, and these options."""

    by: str | dict[str, Any] = Field(
        description="a router file; {prompt: MODEL}; {rules: [{when, model}]}; random or {random: {NAME: weight}}; "
        "{best: NAME}; {bandit: FILE}"
    )
    cards: dict[str, CardSpec] = Field(default_factory=dict, description="name -> what is known of it")
    weight: float | None = Field(None, ge=0, alias="lambda", description="score per USD; default: the file's")
    threshold: float | None = Field(None, ge=0, description="of two models: win probability of the dearer one")
    otherwise: str | None = Field(None, alias="else", description="whom to fall back on; default: the first")
    local_only: bool = Field(False, description="no prompt leaves this machine")


class CascadeSpec(Strict):
    """A cascade written as a mapping: `cascade: [STAGE, ...]`, and these options, for stages that say nothing."""

    until: str | dict[str, Any] | None = Field(
        None, description="agreement >= 0.8, confidence >= 0.9, logprob >= -0.2; {verifier: MODEL}; {scorer: F, at: P}"
    )
    samples: int | None = Field(None, ge=1, le=1000, description="of each stage; default 5 for agreement, else 1")
    answer: str | dict[str, Any] | None = Field(None, description="the kind of answer; default: the debate's")


class NudgeSpec(Strict):
    """Nudging written as a mapping: `nudge: {base: MODEL, nudger: MODEL}`, and these options."""

    gamma: float = Field(
        0.4, ge=0, description="below this probability of the base's next token the nudger writes a word"
    )


class DeferSpec(Strict):
    """Deferral written as a mapping: `defer: {base: MODEL, other: MODEL}`, and these options."""

    threshold: float = Field(description="above this the other writes the next token")
    by: Literal["top", "entropy"] = Field("top", description="1 - the probability of the likeliest token, or nats")


class SwitchSpec(Strict):
    """Switch generation written as a mapping: `switch: [MODEL, ...]`, and these options."""

    selector: str | dict[str, Any] = Field("in turn", description="in turn, or the model that names who goes on")
    span: int = Field(25, ge=1, description="tokens that each writes")
    cards: dict[str, CardSpec] = Field(default_factory=dict, description="name -> what is known of it")


class MentorSpec(Strict):
    """A mentor written as a mapping: `mentor: {student: MODEL, mentor: MODEL}`, and these options."""

    rate: float = Field(0.25, ge=0, le=1, description="share of words at which the mentor is consulted")
    span: int = Field(16, ge=1, description="tokens that both write where they differ")
    judge: str | dict[str, Any] | None = Field(None, description="who chooses; default: the student's likelihood")
    seed: int = 0


class OverSpec(SettingsSpec):
    """What all ways to fuse share. The ensemble samples once; what its members pin has no effect."""

    over: Literal["vocabulary", "text"] = Field(
        "vocabulary", description="text: members with tokenizers of their own, or behind completions endpoints"
    )
    top: int = Field(10, ge=1, le=100_000, description="over text: pieces that each member proposes; servers: 20")


class FuseSpec(OverSpec):
    """An ensemble written as a mapping: `fuse: [MODEL, ...]`, and these options."""

    method: str = Field("average", description="average, product, geometric, min, max, surest, defer")
    weights: list[float] | Literal["perplexity"] | None = Field(
        None, description="one a member; perplexity: of each prompt (PackLLM)"
    )
    tau: float = Field(1.0, gt=0, description="temperature of weights by perplexity")
    sure: float | None = Field(
        None, ge=0, le=1, description="fuse only where the first model's likeliest token is less probable than this"
    )


class ContrastSpec(OverSpec):
    """Contrastive decoding written as a mapping: `contrast: {expert: MODEL, amateur: MODEL}`, and these options."""

    alpha: float = Field(0.1, ge=0, le=1, description="only tokens at least so probable, as a share of the likeliest")
    beta: float | None = Field(None, ge=0, description="(1 + beta) log expert - beta log amateur; default: the ratio")


class ProxySpec(OverSpec):
    """Proxy tuning written as a mapping: `proxy: {base: MODEL, expert: MODEL, anti: MODEL}`, and these options."""

    alpha: float = Field(1.0, description="strength")


class AwareSpec(SettingsSpec):
    """Context-aware decoding written as a mapping: `aware: MODEL`, and these options."""

    alpha: float = Field(0.5, description="strength")
    tag: str = Field("context", description="what stands between <context> and </context> is the context")


class SpeculateSpec(SettingsSpec):
    """Speculative decoding written as a mapping: `speculate: {model: MODEL, draft: MODEL}`, and these options."""

    tokens: int = Field(4, ge=1, le=64, description="drafted at a time")


class StoreSpec(Strict):
    """What the journal keeps."""

    content: bool = Field(True, description="requests and replies; without them a run cannot be shown or resumed")
    reuse: bool = Field(False, description="take replies to the same request from earlier runs: a cache over runs")
