"""Statistics over tasks and repetitions, and Pareto fronts. Pure functions of numbers; nothing here knows a record."""
