"""What a reader of a report must know: what each baseline is, how each figure is made."""

from __future__ import annotations

ROLES = {
    "member": ("one agent's model alone, asked what it is asked in the debate's first round: what no debate costs"),
    "best single": (
        "the best of the members, chosen on other items than those it answers here (in folds), as the best "
        "of several on the same items is overrated"
    ),
    "round-0 vote": (
        "the debate's own decision on the answers of its first round, before anybody has read anybody: what "
        "debating adds is measured against this"
    ),
    "self-consistency": (
        "a vote over independent samples of the best member, as many as cost what the debate costs: what "
        "the same money buys without debate (Wang et al. 2022)"
    ),
    "isolated": (
        "the same agents and rounds, but nobody reads anybody: each corrects its own answer; what further "
        "rounds add by themselves"
    ),
    "noise": ("the same debate, but what agents read of each other is of another question: what being disturbed does"),
    "without": ("the same debate without one of its agents"),
}
"""Of the roles of baselines."""

METHOD = (
    (
        "Accuracy",
        "The mean score of all items. An answer that is missing, could not be read or failed counts as "
        "wrong. Where scores are right or wrong the interval is Wilson's, else a bias-corrected accelerated "
        "bootstrap (BCa).",
    ),
    (
        "Differences",
        "Of the same items, item by item. The interval is Tango's score interval where scores are right or "
        "wrong, else a bootstrap of the pairs. p is McNemar's exact test, two-sided, or a permutation test "
        "of the differences' signs. It is adjusted by Holm's method over a family: the baselines of one debate "
        "(best single, round-0 vote, self-consistency in each unit, isolated, noise); its members one by one, for "
        "whom the best single stands in the first; or debates with each other. Each debate has its own. "
        "Intervals are not adjusted.",
    ),
    (
        "Verdicts",
        "'Better' and 'worse' are said where the adjusted p is below 0.05. 'No difference shown' does not "
        "say that there is none: beside it stands the smallest difference that as many items, as discordant "
        "as these, would show four times in five.",
    ),
    (
        "Changes",
        "Each agent's answers of two rounds that follow each other. Vulnerability: of right answers, the "
        "share given up (RW / (RW + RR)); correction: of wrong ones, the share put right (WR / (WR + WW)). "
        "Calls that failed are in neither. Intervals are Wilson's at the effective number of steps, as "
        "agents and rounds of one item are not independent.",
    ),
    (
        "Following",
        "How often an agent takes up the answer that most of those it just read hold, where its own was another one.",
    ),
    (
        "Rounds",
        "Where a debate ended, its last state stands for the rounds that others went on to. Votes are "
        "unweighted, and ties count as the mean of the answers that are tied.",
    ),
    (
        "Influence",
        "A change of answer is put down to the agents that had just been read holding the new one, in equal "
        "parts. That is what was seen, not why.",
    ),
    (
        "Calibration",
        "ECE: the mean distance of confidence and accuracy in bins of equal numbers; beside it what "
        "perfectly calibrated confidences would show by noise alone. Brier: mean squared distance to right "
        "(1) or wrong (0). AUROC: the probability that a right answer is the surer one, with DeLong's "
        "interval.",
    ),
)
"""How each figure is made."""
