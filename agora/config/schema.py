"""The schema of debate files."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class SettingsSpec(Strict):
    """How to sample; what is not given here is passed on from outside."""

    temperature: float | None = Field(None, ge=0, le=5, description="0 is greedy")
    top_p: float | None = Field(None, gt=0, le=1)
    max_tokens: int | None = Field(None, ge=1)
    seed: int | None = None


class AgentSpec(SettingsSpec):
    """Someone who takes part."""

    model: str | dict[str, Any] = Field(description="a name under models:, or a model")
    persona: str | None = Field(None, description="put into the system message")
    templates: dict[str, str] = Field(default_factory=dict, description="template name -> file or text")


class ViewSpec(Strict):
    """What a reader sees of what it reads."""

    text: Literal["full", "answer"] = "full"
    names: Literal["anonymous", "named"] = "anonymous"
    own: Literal["shown", "hidden", "peer"] = "shown"
    confidence: bool = False
    reasoning: bool = Field(False, description="peers' hidden reasoning too, where the model gives it")


class ScheduleSpec(Strict):
    """In which order agents speak."""

    kind: Literal["simultaneous", "sequential", "layered", "quorum"] = "simultaneous"
    order: Literal["fixed", "shuffled", "confidence"] = "fixed"
    share: float = Field(0.5, ge=0, le=1)
    deadline: float | None = Field(None, gt=0, description="seconds")


def _revise() -> list[Literal["critique", "revise"]]:
    return ["revise"]


class ProtocolSpec(Strict):
    """How the debate runs."""

    schedule: Literal["simultaneous", "sequential", "layered", "quorum"] | ScheduleSpec = "simultaneous"
    view: ViewSpec = Field(default_factory=ViewSpec)
    memory: Literal["own_last", "own_chat", "transcript"] = "own_last"
    phases: list[Literal["critique", "revise"]] = Field(default_factory=lambda: _revise())


class VoteSpec(Strict):
    """A vote and its tie policy."""

    weight: Literal["one", "confidence"] = "one"
    ties: Literal["initial", "confidence", "seeded", "abstain"] = "initial"


class ModeratorSpec(Strict):
    """When it is over, and what came out."""

    stop: str = Field("unanimous | rounds(2)", description="rules joined with | and &")
    decide: Literal["plurality", "confidence"] | dict[Literal["vote", "judge", "synthesis"], Any] = "plurality"
    quorum: float = Field(0.5, ge=0, le=1, description="share of agents that must speak in every round")
    limit: int = Field(20, ge=0, le=10_000, description="hard limit on rounds")


class BudgetSpec(Strict):
    """Limits of a run."""

    calls: int | None = Field(None, ge=0)
    tokens: int | None = Field(None, ge=0)
    usd: float | None = Field(None, ge=0)
    seconds: float | None = Field(None, ge=0)


class DebateFile(Strict):
    """A debate: models, agents, who reads whom, protocol, moderator, budget."""

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


class StoreSpec(Strict):
    """What the journal keeps."""

    content: bool = Field(True, description="requests and replies; without them a run cannot be shown or resumed")
    reuse: bool = Field(False, description="take replies to the same request from earlier runs: a cache over runs")
