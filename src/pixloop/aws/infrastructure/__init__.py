"""The two stacks and their code: made, changed, looked at, removed."""
