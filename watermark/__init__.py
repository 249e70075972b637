"""Mark keys, sampler and detector. Knows no tenant's data and no prompt."""
