"""Where soft prompts lie in embedding space (Bakalova 2024): `run.py` trains, `analysis.py` measures, `report.py` shows."""
