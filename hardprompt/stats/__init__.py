"""Statistics of scores over tasks and runs. All functions are pure functions of numbers.

estimate     a value with its interval, and the one rule for a verdict on it
bootstrap    intervals: runs redrawn within tasks, tasks redrawn as well, or tasks and words redrawn
summaries    mean, interquartile mean, best score so far
comparison   two optimizers on the same tasks: difference, probability of improvement, permutation test, Holm
pareto       non-dominated points and their hypervolume
"""
