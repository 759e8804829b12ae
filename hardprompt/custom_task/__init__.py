"""Custom tasks: write a template for one, check it before a long run, and score what needs no prompt."""
