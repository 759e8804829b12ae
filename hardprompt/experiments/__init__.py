"""Published experiments: wayward prompts, the geometry of soft prompts, and the claims that are measured again."""
