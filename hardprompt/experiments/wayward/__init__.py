"""Wayward prompts (Khashabi et al. 2022): soft prompts that solve a task and project to a chosen text."""
