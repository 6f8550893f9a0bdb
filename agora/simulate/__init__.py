"""Simulated debates: what accuracy, calls and cost to expect of a debate before anything is paid for."""

from __future__ import annotations

from agora.simulate.fitting import Check, Fitted, Record, fit, how_well, record_of, records_of
from agora.simulate.population import Population
from agora.simulate.result import Share, Simulation, Spread
from agora.simulate.simulating import simulate, simulated

__all__ = [
    "Check", "Fitted", "Population", "Record", "Share", "Simulation", "Spread", "fit", "how_well", "record_of",
    "records_of", "simulate", "simulated",
]  # fmt: skip
